"""Synthetic groups are groups: their trees are accepted, and their members understand each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.synthetic import Plan, SyntheticGroup
from mls import ApplicationMessage, StagedCommit
from mls.errors import InvalidTree
from treekem.index import LeafIndex


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "bare"])
@pytest.mark.parametrize("size", [2, 3, 100, 256, pytest.param(4096, marks=pytest.mark.slow)])
def test_a_joiner_accepts_the_tree(size: int, warm: bool, tmp_path: Path) -> None:
    group = SyntheticGroup(Plan(size, warm=warm), tmp_path)
    group.verify()
    assert group.tree.n_members == size
    assert sum(1 for _ in group.tree.parents()) == (size - 1 if warm else 0)
    assert all(len(slot.encoded) == 190 for _, slot in group.tree.leaves())


def test_other_suites_and_seeds_give_other_trees(tmp_path: Path) -> None:
    hashes = set()
    for plan in (Plan(16), Plan(16, seed=1), Plan(16, suite_id=2), Plan(16, suite_id=7)):
        group = SyntheticGroup(plan, tmp_path)
        group.verify()
        hashes.add(group.state.context.tree_hash)
    assert len(hashes) == 4


def test_a_damaged_tree_is_refused(tmp_path: Path) -> None:
    group = SyntheticGroup(Plan(16), tmp_path)
    data = bytearray(group.data)
    data[-1] ^= 1
    group.data = bytes(data)
    with pytest.raises(InvalidTree) as caught:
        group.verify()
    assert caught.value.rule == "R-7.9.2-03"


def test_a_tree_is_read_back_from_its_folder(tmp_path: Path) -> None:
    built = SyntheticGroup(Plan(16), tmp_path).data
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == built
    kept.write_bytes(b"read and not built")
    assert SyntheticGroup(Plan(16), tmp_path).data == b"read and not built"


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "bare"])
def test_members_commit_and_talk(warm: bool, tmp_path: Path) -> None:
    synthetic = SyntheticGroup(Plan(16, warm=warm), tmp_path)
    first, sibling, far = map(synthetic.open, synthetic.plan.kept)
    for committer in (first, far, sibling):
        commit = committer.commit()
        for other in {first, sibling, far} - {committer}:
            staged = other.receive(commit.message)
            assert isinstance(staged, StagedCommit)
            other.merge(staged)
        committer.merge(commit)
        said = first.receive(far.encrypt(b"from afar"))
        assert isinstance(said, ApplicationMessage)
        assert said.data == b"from afar"
    assert len({group.epoch_authenticator for group in (first, sibling, far)}) == 1


def test_keys_of_others_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody kept the keys of member 3"):
        SyntheticGroup(Plan(16), tmp_path).open(LeafIndex(3))
