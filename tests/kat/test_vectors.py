"""The vectors that this engine makes, those that it is given, and the command line that checks both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mls.crypto import SUITES, cipher_suite
from mls.errors import UsageError
from vectors.actors import create_actor
from vectors.case import hpke_private_key, octets, signature_private_key
from vectors.cli import main
from vectors.generate import as_file, generated_cases
from vectors.kinds import KINDS, PASSIVE
from vectors.report import Report
from vectors.stream import SeededStream
from vectors.verify import Selection, failure_of, verify_paths

DATA = Path(__file__).resolve().parents[2] / "vectors" / "data"


def verified(*paths: Path, kind: str | None = None, suite: int | None = None) -> Report:
    return verify_paths(paths, Selection(kind, suite))


def written(path: Path, contents: object) -> Path:
    path.write_text(json.dumps(contents), encoding="utf-8")
    return path


def cases_of(kind: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((DATA / f"{kind}.json").read_text(encoding="utf-8"))
    return cases


def suites_of(kind: str) -> set[int | None]:
    return set(SUITES) if KINDS[kind].suites else {None}


# What is verified.


def test_there_are_sixteen_kinds() -> None:
    assert len(KINDS) == 16
    assert {path.stem for path in DATA.glob("*.json")} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_small_set_passes(kind: str) -> None:
    report = verified(DATA / f"{kind}.json")
    assert report.is_good, "\n".join(report.lines())
    assert report.passed == len(cases_of(kind))
    assert {(cell.kind, cell.suite) for cell in report.cells} == {(kind, suite) for suite in suites_of(kind)}


def official_files() -> list[Path]:
    folder = os.environ.get("MLS_VECTORS")
    return sorted(Path(folder).glob("*.json")) if folder else []


@pytest.mark.parametrize("path", official_files(), ids=lambda path: path.stem)
def test_the_vectors_of_a_folder_pass(path: Path) -> None:
    report = verified(path)
    assert report.is_good, "\n".join(report.lines())
    assert report.passed == len(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.skipif(not os.environ.get("MLS_VECTORS"), reason="MLS_VECTORS is not set")
def test_the_folder_holds_every_kind() -> None:
    assert {path.stem for path in official_files()} >= set(KINDS)


# What is generated.


@pytest.mark.parametrize("kind", KINDS)
def test_the_small_set_is_generated_byte_for_byte(kind: str) -> None:
    generated = as_file(list(generated_cases(KINDS[kind], 0, small=True)))
    assert generated.encode() == (DATA / f"{kind}.json").read_bytes()


def test_another_seed_gives_other_vectors() -> None:
    kind = KINDS["crypto-basics"]
    assert list(generated_cases(kind, 1, small=True)) != list(generated_cases(kind, 0, small=True))


def test_the_small_set_is_small() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 1_500_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stories_of_other_seeds_pass(seed: int, tmp_path: Path) -> None:
    assert main(["generate", str(tmp_path), "--seed", str(seed), "--small", "--kind", "passive-client-random"]) == 0
    report = verified(tmp_path)
    assert report.is_good, "\n".join(report.lines())
    assert {cell.suite for cell in report.cells} == suites_of("passive-client-random")


def test_a_key_package_is_imported_with_its_own_keys_only() -> None:
    case = cases_of("passive-client-welcome")[0]
    suite, encoded = cipher_suite(case["cipher_suite"]), octets(case, "key_package")
    init_key, encryption_key = (hpke_private_key(suite, case, name) for name in ("init_priv", "encryption_priv"))
    own = signature_private_key(suite, case, "signature_priv")
    client = create_actor(suite.id, b"owner", SeededStream("import"), signature_key=own).client
    with pytest.raises(UsageError, match="not those of the key package"):
        client.import_key_package(encoded, encryption_key, init_key)
    client.import_key_package(encoded, init_key, encryption_key)
    joined = client.join(octets(case, "welcome")).accept()
    assert joined.epoch_authenticator == octets(case, "initial_epoch_authenticator")

    stranger = create_actor(suite.id, b"stranger", SeededStream("import")).client
    with pytest.raises(UsageError, match="not those of the key package"):
        stranger.import_key_package(encoded, init_key, encryption_key)


# Files by name and by form.


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_name_is_known_by_its_form(kind: str, tmp_path: Path) -> None:
    report = verified(written(tmp_path / "renamed.json", cases_of(kind)[:1]))
    assert report.is_good
    assert [cell.kind for cell in report.cells] == [PASSIVE if kind.startswith(PASSIVE) else kind]


@pytest.mark.parametrize("contents", [[{"strange": 1}], [17], {}, [], "text"], ids=str)
def test_what_is_of_no_kind_fails(contents: object, tmp_path: Path) -> None:
    report = verified(written(tmp_path / "strange.json", contents))
    assert (report.passed, report.failed) == (0, 1)


def test_what_cannot_be_read_fails(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[{", encoding="utf-8")
    absent = tmp_path / "absent.json"
    assert (verified(broken, absent).passed, verified(broken, absent).failed) == (0, 2)
    assert any("the file is no JSON" in line for line in verified(broken).lines())
    assert f"  {absent}: the file cannot be read: No such file or directory" in set(verified(absent).lines())


def test_an_unknown_suite_fails_and_is_not_skipped() -> None:
    for kind in KINDS:
        if KINDS[kind].suites:
            reason = failure_of(kind, {**cases_of(kind)[0], "cipher_suite": 0x0F0F})
            assert reason is not None, kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_must_be_there(kind: str) -> None:
    case = cases_of(kind)[0]
    for absent in case:
        if absent != "ratchet_tree" or kind == "treekem":
            assert failure_of(kind, {name: case[name] for name in case if name != absent}) is not None, absent
    assert failure_of(kind, "no object") is not None


# The command line.


def test_verify_shows_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    arguments = ["verify", str(DATA), "--kind", "psk_secret", "--suite", "2", "--json", str(result)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == ["psk_secret", "2", "4", "0"]
    assert captured.out.splitlines()[-1] == "4 passed, 0 failed"
    assert "psk_secret.json: 4 cases" in captured.err

    cell = {"kind": "psk_secret", "suite": 2, "passed": 4, "failed": 0, "first_failure": None}
    assert json.loads(result.read_text(encoding="utf-8")) == {"passed": 4, "failed": 0, "ok": True, "cells": [cell]}


def test_one_failing_case_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = cases_of("psk_secret")
    cases[5]["psk_secret"] = "00" * 32
    path, result = written(tmp_path / "psk_secret.json", cases), tmp_path / "result"
    assert main(["verify", str(path), "--json", str(result)]) == 1
    output = capsys.readouterr().out
    assert "first failure of psk_secret, suite 2" in output
    assert f"{path}, case 5: Mismatch: psk_secret: the vector has 000000" in output

    cells = json.loads(result.read_text(encoding="utf-8"))["cells"]
    (failed,) = (cell for cell in cells if cell["failed"])
    assert (failed["suite"], failed["passed"], failed["first_failure"]["case"]) == (2, 3, 5)


@pytest.mark.parametrize(
    "arguments",
    [["--suite", "9"], ["--kind", "passive-client"]],
    ids=["no case of this suite", "no file of this kind"],
)
def test_a_run_without_a_case_fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(DATA / "tree-math.json"), *arguments]) == 1
    assert "nothing was verified" in capsys.readouterr().out


def test_an_empty_folder_fails(tmp_path: Path) -> None:
    assert main(["verify", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["verify"], ["verify", "x", "--kind", "no-such-kind"], ["generate", "x", "--kind", "no-such-kind"]],
)
def test_a_command_that_is_none_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2


def test_generate_writes_the_kind_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["generate", str(folder), "--small", "--kind", "deserialization"]) == 0
    assert [path.name for path in folder.iterdir()] == ["deserialization.json"]
    assert (folder / "deserialization.json").read_bytes() == (DATA / "deserialization.json").read_bytes()


def test_generate_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    assert main(["generate", str(occupied)]) == 1
    assert "file" in capsys.readouterr().err
