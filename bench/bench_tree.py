"""Edits of a ratchet tree, what is asked of it, and its hashes after an edit. RFC 9420 §4.1, §7.7, §7.8."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.synthetic import Plan, SyntheticGroup
from mls.crypto import cipher_suite
from treekem.index import LeafIndex, NodeIndex, node_of, root
from treekem.nodes import LeafSlot
from treekem.tree import RatchetTree

SIZES: Final = (64, 4096)
SUITE: Final = cipher_suite(1)
_ROUNDS: Final = 50


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size} leaves")
def tree(request: pytest.FixtureRequest) -> RatchetTree:
    warm = SyntheticGroup(Plan(request.param)).tree
    warm.tree_hash(SUITE)
    warm.has_encryption_key(bytes(32), SUITE)
    return warm


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size} leaves")
def bare(request: pytest.FixtureRequest) -> RatchetTree:
    return SyntheticGroup(Plan(request.param, warm=False)).tree


def _middle(tree: RatchetTree) -> LeafIndex:
    return LeafIndex(tree.n_leaves // 2 + 3)


def _other_slot(tree: RatchetTree) -> LeafSlot:
    slot = tree.leaf(_middle(tree))
    assert slot is not None
    return replace(slot, encryption_key=bytes(range(32)))


def bench_update_leaf(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    benchmark(tree.update_leaf, _middle(tree), _other_slot(tree))


def bench_remove_leaf(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    benchmark(tree.remove_leaf, _middle(tree))


def bench_add_leaf(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    benchmark(tree.remove_leaf(_middle(tree)).add_leaf, _other_slot(tree))


def bench_filtered_direct_path(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    path = benchmark.pedantic(
        lambda each: each.filtered_direct_path(_middle(each)),
        setup=lambda: ((tree.with_nodes({}),), {}),  # It forgets the path that was asked for last.
        rounds=_ROUNDS,
    )
    assert len(path) == tree.n_leaves.bit_length() - 1


def bench_resolution_of_the_root(benchmark: BenchmarkFixture, bare: RatchetTree) -> None:
    found = benchmark(bare.resolution, root(bare.n_leaves))
    assert len(found) == bare.n_leaves


def bench_resolution_of_a_filled_node(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    assert benchmark(tree.resolution, root(tree.n_leaves)) == (root(tree.n_leaves),)


def bench_tree_hash_after_an_edit(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    slot = _other_slot(tree)
    benchmark.pedantic(
        lambda edited: edited.tree_hash(SUITE),
        setup=lambda: ((tree.with_nodes({node_of(_middle(tree)): slot}),), {}),
        rounds=_ROUNDS,
    )


def bench_tree_hash_of_all(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    data = tree.encode()
    benchmark.pedantic(lambda fresh: fresh.tree_hash(SUITE), setup=lambda: ((RatchetTree.decode(data),), {}), rounds=5)


def bench_look_up_an_encryption_key(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    key = tree.encryption_key(NodeIndex(1))
    assert key is not None
    assert benchmark(tree.nodes_with_encryption_key, key, SUITE) == (1,)


def bench_encode_tree(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    benchmark(tree.encode)


def bench_decode_tree(benchmark: BenchmarkFixture, tree: RatchetTree) -> None:
    benchmark(RatchetTree.decode, tree.encode())
