"""The scenario of a large group, at small sizes: it runs, its members agree, and what it counts is right."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.disk_store import BatchSize, DiskStore
from bench.likeness import SETTINGS, compare, real_siblings
from bench.memory import allocated_bytes
from bench.million import MAX_COMMIT_BATCH, Scenario
from bench.synthetic import Plan, SyntheticGroup
from mls import MemoryStore
from treekem.index import LeafIndex
from treekem.tree import RatchetTree


def test_two_members_commit_and_talk(tmp_path: Path) -> None:
    scenario = Scenario(Plan(64), tmp_path, tmp_path)
    scenario.run()
    steps = {step.what: step for step in scenario.steps}
    assert len(steps) == len(scenario.steps)
    for name in ("first", "second", "third"):
        (size,) = steps[f"{name} commit: merge"].batches
        assert 0 < size.bytes < MAX_COMMIT_BATCH
        assert not steps[f"{name} commit: process, far half"].batches
    (size,) = steps["second message of the first member: encrypt"].batches
    assert size.records == 1
    peaks = [step.peak_bytes for step in scenario.steps]
    assert peaks == sorted(peaks)


def test_the_disk_keeps_what_memory_keeps(tmp_path: Path) -> None:
    disk, memory = DiskStore(tmp_path / "a.db"), MemoryStore()
    for batch in ({"a/1": b"one", "a0": b"x", "b/1": b"two"}, {"a/1": None, "a/2": b"three", "a/": b""}, {"c": None}):
        disk.apply(batch)
        memory.apply(batch)
    assert disk.batches == [BatchSize(3, 15), BatchSize(2, 10), BatchSize(0, 0)]
    disk.close()
    again = DiskStore(tmp_path / "a.db")
    for prefix in ("a/", "a", "b/", "c"):
        assert list(again.scan(prefix)) == list(memory.scan(prefix))
    for key in ("a/1", "a/2", "nothing"):
        assert again.read(key) == memory.read(key)


@pytest.mark.slow
def test_memory_follows_the_number_of_members(tmp_path: Path) -> None:
    found = []
    for plan in (Plan(64), Plan(256)):
        path = tmp_path / f"{plan.n_leaves}.db"
        SyntheticGroup(plan, tmp_path).write_records(LeafIndex(0), DiskStore(path))
        found.append(allocated_bytes(plan, path))
    # Small trees hold an object for each node, which large ones do not.
    assert 192 * 190 < found[1] - found[0] < 192 * 1500


@pytest.mark.slow
def test_a_group_made_by_real_commits_is_like_a_synthetic_one(tmp_path: Path) -> None:
    plan, joined = Plan(16), list[int]()
    real = real_siblings(plan, joined.append)
    assert joined == [1] * 15
    assert [group.me.leaf for group in real] == [15, 14]
    assert real[0].epoch_authenticator == real[1].epoch_authenticator
    tree = RatchetTree.decode(real[0].ratchet_tree)
    assert [parent.unmerged_leaves for _, parent in tree.parents()] == [()] * 15
    found = compare(SyntheticGroup(plan, tmp_path, SETTINGS), real, 1, time.perf_counter)
    assert [each.operation for each in found] == ["create commit", "process commit (sibling)"]


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    written = tmp_path / "found.json"
    for name, size in (("million", "128"), ("likeness", "16")):
        options = ["--members", size, "--cache", str(tmp_path), "--json", str(written)]
        result = CliRunner().invoke(app, [name, *options])
        assert result.exit_code in {0, 1}, result.output
        assert json.loads(written.read_text())["members"] == int(size)
