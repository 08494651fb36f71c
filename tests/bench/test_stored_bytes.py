"""What a store is given follows the depth of the tree, and not the number of members."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.synthetic import NOW, Plan, SyntheticGroup
from mls import AcceptAnyone, ApplicationMessage, Client, Group, MemoryStore, StagedCommit
from mls.errors import StorageError
from mls.store.seam import Batch
from treekem.index import LeafIndex
from treekem.tree_hashes import BYTES_FOR_KERNELS

KIB = 1024
LARGEST_BATCH = 256 * KIB


class CountingStore(MemoryStore):
    """Remembers what each batch wrote, by key."""

    __slots__ = ("batches",)

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[dict[str, int]] = []

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        self.batches.append({key: len(key) + len(value) for key, value in batch.items() if value is not None})


def opened(synthetic: SyntheticGroup, leaf: LeafIndex, store: CountingStore) -> Group:
    group = synthetic.open(leaf, store)
    store.batches.clear()
    return group


def blocks_in(batch: dict[str, int]) -> int:
    return sum("/tree/" in key for key in batch)


def committed(synthetic: SyntheticGroup, *, restarted: bool) -> list[dict[str, int]]:
    """Return the batches of creating a commit, merging it, and merging it as somebody from the far half."""
    stores = [CountingStore(), CountingStore()]
    near, far = (opened(synthetic, synthetic.plan.kept[i], store) for i, store in zip((0, -1), stores, strict=True))
    commit = near.commit()
    if restarted:
        client = Client.open(stores[0], policy=AcceptAnyone(), settings=synthetic.settings, clock=lambda: NOW)
        near = client.group(near.group_id)
        (commit,) = near.pending
    staged = far.receive(commit.message)
    assert isinstance(staged, StagedCommit)
    near.merge(commit)
    far.merge(staged)
    assert near.epoch_authenticator == far.epoch_authenticator
    return [*stores[0].batches, *stores[1].batches]


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
def test_a_commit_writes_the_blocks_that_it_changed(restarted: bool, tmp_path: Path) -> None:
    small, large = (committed(SyntheticGroup(Plan(n), tmp_path), restarted=restarted) for n in (64, 2048))
    assert len(small) == len(large) == 3
    for few, many in zip(small[1:], large[1:], strict=True):
        assert blocks_in(few) == blocks_in(many) == 2
    for few, many in zip(small, large, strict=True):
        # A block of parents has 4.3 KiB; each further level adds a node to the commit, a key and a secret beside it.
        assert sum(many.values()) < sum(few.values()) + 4.3 * KIB + 5 * KIB
        assert sum(many.values()) < LARGEST_BATCH // 8


def test_a_message_writes_one_ratchet(tmp_path: Path) -> None:
    synthetic = SyntheticGroup(Plan(2048), tmp_path)
    stores = [CountingStore(), CountingStore()]
    near, far = (
        opened(synthetic, leaf, store) for leaf, store in zip((LeafIndex(0), LeafIndex(1024)), stores, strict=True)
    )
    for _ in range(2):
        assert isinstance(far.receive(near.encrypt(b"hello")), ApplicationMessage)
    for store in stores:
        first, second = store.batches
        # The first message of a sender also derives the secrets of the nodes beside its path.
        assert len(first) <= 2 * 11 + 2
        assert [key.rpartition("/ratchet/")[2] for key in second] == ["0/application"]
        assert sum(second.values()) < KIB


@pytest.mark.slow  # Kernels read trees from some thousands of members on.
def test_a_large_group_is_opened_again_between_commits(tmp_path: Path) -> None:
    synthetic = SyntheticGroup(Plan(8192), tmp_path)
    assert len(synthetic.data) >= BYTES_FOR_KERNELS
    stores = [CountingStore(), CountingStore()]
    groups = [opened(synthetic, synthetic.plan.kept[i], store) for i, store in zip((0, -1), stores, strict=True)]
    for turn in range(4):
        committer, other = groups[turn % 2], groups[1 - turn % 2]
        commit = committer.commit()
        staged = other.receive(commit.message)
        assert isinstance(staged, StagedCommit)
        if turn > 1:
            groups = [synthetic.plan.open(store, synthetic.settings) for store in stores]
            (commit,) = groups[turn % 2].pending
            again = groups[1 - turn % 2].receive(commit.message)
            assert isinstance(again, StagedCommit)
            staged = again
        groups[turn % 2].merge(commit)
        groups[1 - turn % 2].merge(staged)
        assert groups[0].epoch_authenticator == groups[1].epoch_authenticator
        assert groups[0].tree_hash == groups[1].tree_hash
    assert all(sum(batch.values()) < LARGEST_BATCH // 8 for store in stores for batch in store.batches)
    assert groups[0].ratchet_tree == groups[1].ratchet_tree


@pytest.mark.slow  # As above.
def test_a_large_group_whose_records_are_damaged_is_not_opened(tmp_path: Path) -> None:
    synthetic = SyntheticGroup(Plan(8192), tmp_path)
    store = CountingStore()
    opened(synthetic, LeafIndex(0), store)
    blocks = dict(store.scan(f"group/{synthetic.plan.group_id.hex()}/tree/"))
    key = next(key for key in blocks if key.endswith("/tree/64"))
    for damaged in (
        b"",
        blocks[key][:-1],
        blocks[key] + b"\0",
        b"\x41" + blocks[key][1:],
        blocks[key][:9] + blocks[key][8:],
    ):
        store.apply({key: damaged})
        with pytest.raises(StorageError):
            synthetic.plan.open(store, synthetic.settings)
    stray = key.replace("/tree/64", "/tree/65")
    store.apply({key: blocks[key], stray: blocks[key]})
    with pytest.raises(StorageError):
        synthetic.plan.open(store, synthetic.settings)
    store.apply({stray: None})
    assert synthetic.plan.open(store, synthetic.settings).ratchet_tree == synthetic.data
