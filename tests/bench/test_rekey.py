"""Operations are measured on copies, floors count no more than an operation does, and rows say what was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.floors import commit_floor, joining_floor
from bench.key_packages import key_packages
from bench.measuring import measured, pairs_for
from bench.operations import Operation, bulk_add, operations
from bench.primitives import primitives_of
from bench.scenes import Founding, Scene
from bench.synthetic import Plan
from mls import StagedCommit
from mls.crypto import SUITES, cipher_suite
from tests.support.counting import cost_of

NAMES = (
    "create commit",
    "process commit (sibling)",
    "merge commit (sibling)",
    "process commit (far)",
    "merge commit (far)",
    "encrypt 100 bytes",
    "encrypt first 100 bytes",
    "decrypt 100 bytes",
    "decrypt first 100 bytes",
    "remove one",
    "add one",
    "join (tree inside)",
    "join (tree beside)",
)
FIELDS = {"operation", "members", "tree", "suite", "seconds", "floor_seconds", "ratio", "bytes", "memory_bytes"}


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture(scope="module", params=[True, False], ids=["warm", "bare"])
def scene(
    request: pytest.FixtureRequest, executor: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory
) -> Scene:
    return Scene(Plan(16, warm=request.param), executor, tmp_path_factory.mktemp("trees"))


@pytest.fixture(scope="module")
def founding(executor: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Founding:
    return Founding(16, 1, executor, tmp_path_factory.mktemp("packages"))


def verify_floor(operation: Operation) -> None:
    """Compare a floor with what the operation calls: public keys exactly, hashes and MACs from below."""
    assert operation.floor is not None
    due = operation.floor.times(operation.repeats).counts
    cost = cost_of(operation.prepare())
    assert cost.error is None
    assert cost.calls["sign"] == due.get("sign", 0)
    # Each key pair and each seal loads a private key, and who verifies a public one. The external key pair is derived
    # when somebody asks for it; nobody does here.
    external = 1 if "keypair" in due else 0
    loads = due.get("keypair", 0) - external + due.get("seal", 0) + due.get("verify", 0)
    # Signature keys of leaves, one of a commit and one of whom it adds, are read once more, to judge them.
    assert loads <= cost.calls["load"] <= loads + 2 * external
    assert cost.calls["aead"] == due["aead"] + due.get("seal", 0) + due.get("open", 0)
    assert cost.calls["verify"] == due.get("verify", 0)
    inside = 2 * due.get("keypair", 0) + 5 * (due.get("seal", 0) + due.get("open", 0))
    assert cost.digests + 2 * external >= due["hkdf"] + due.get("hash", 0) + inside


def test_every_operation_is_there(scene: Scene) -> None:
    assert [each.name for each in operations(scene)] == list(NAMES)


def test_floors_are_what_operations_call(scene: Scene) -> None:
    for operation in operations(scene):
        if operation.floor is not None and not operation.threads:
            verify_floor(operation)


def test_the_formula_of_a_million_members_is_that_of_the_budget() -> None:
    counts = commit_floor(20, 20).counts
    assert (counts["sign"], counts["keypair"], counts["seal"]) == (2, 22, 20)
    assert commit_floor(20, 20).formula.startswith("2 sign + 22 keypair + 20 seal + ")
    assert joining_floor(100).formula == "100 verify on all cores"


def test_measuring_leaves_groups_as_they_were(scene: Scene) -> None:
    before = [snapshot.open().fingerprint() for snapshot in (scene.near, scene.sibling, scene.far)]
    for operation in operations(scene):
        operation.prepare()()
    assert [snapshot.open().fingerprint() for snapshot in (scene.near, scene.sibling, scene.far)] == before
    commit = scene.near.open().commit()
    assert isinstance(scene.far.open().receive(commit.message), StagedCommit)


def test_one_adds_everybody(founding: Founding) -> None:
    operation = bulk_add(founding, 1)
    assert operation.floor is not None
    assert operation.floor.counts["verify on all cores"] == 30
    assert operation.floor.counts["seal"] == 15
    operation.prepare()()
    assert (operation.size() or 0) > 15 * 100


@pytest.mark.slow
def test_a_row_has_its_ratio_and_at_least_nine_pairs(scene: Scene, executor: ThreadPoolExecutor) -> None:
    primitives = primitives_of(cipher_suite(1), executor, 2)
    operation = next(each for each in operations(scene) if each.name == "encrypt 100 bytes")
    row = measured(operation, primitives)
    assert row.pairs >= 9
    assert row.ratio is not None
    assert row.ratio > 1
    assert row.bytes == len(scene.messages[0])
    assert row.memory_bytes is not None
    assert [pairs_for(seconds) for seconds in (1.9, 2.1, 60)] == [9, 3, 1]


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_has_all_primitives(suite: int, executor: ThreadPoolExecutor) -> None:
    for run in primitives_of(cipher_suite(suite), executor, 2).values():
        run(3)


def test_key_packages_are_kept_and_all_different(tmp_path: Path) -> None:
    made = key_packages(1, 5, tmp_path)
    assert len(set(made)) == 5
    assert key_packages(1, 5, tmp_path) == made
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"\0\0\0\1x")
    assert key_packages(1, 5, tmp_path) == [b"x"]


@pytest.mark.slow
def test_the_command_writes_rows_and_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result, picture = tmp_path / "r.json", tmp_path / "r.svg"
    options = ["--sizes", "16", "--only", "encrypt 100 bytes", "--cache", str(tmp_path)]
    ran = CliRunner().invoke(app, ["rekey", *options, "--json", str(result), "--plot", str(picture)])
    assert ran.exit_code == 0, ran.output
    assert "floor: 1 sign + 5 hkdf + 2 aead" in ran.output
    written = json.loads(result.read_text())
    assert set(written) == {"machine", "versions", "rows", "skipped"}
    assert [row["operation"] for row in written["rows"]] == ["encrypt 100 bytes"]
    assert all(row.keys() >= FIELDS for row in written["rows"])
    assert "encrypt 100 bytes" in picture.read_text()


def test_what_is_too_large_is_said_to_be_skipped(tmp_path: Path) -> None:
    result = tmp_path / "r.json"
    options = ["--sizes", "1048576", "--tree", "bare", "--only", "bulk", "--cache", str(tmp_path)]
    ran = CliRunner().invoke(app, ["rekey", *options, "--json", str(result)])
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("skipped") == 2
    assert [each["members"] for each in json.loads(result.read_text())["skipped"]] == [1_048_576, 1_048_576]


@pytest.mark.parametrize("sizes", ["8", "24", "x", ""])
def test_sizes_are_powers_of_two(sizes: str) -> None:
    ran = CliRunner().invoke(app, ["rekey", "--sizes", sizes])
    assert ran.exit_code == 2
