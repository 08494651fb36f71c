"""The persistent array of nodes equals a plain dictionary, at sizes that need several strata of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from treekem.blocks import node_at, place_of
from treekem.columns import NodeColumns
from treekem.index import LeafIndex, NodeIndex, is_in_subtree, is_leaf, leaf_of, level, node_width, root
from treekem.nodes import Content, LeafSlot, ParentNode, encode_ratchet_tree

Model = dict[NodeIndex, LeafSlot | ParentNode]


def fresh(x: NodeIndex, random: Random) -> LeafSlot | ParentNode:
    key = random.randbytes(4)
    return LeafSlot(key, key, None) if is_leaf(x) else ParentNode(key, b"", ())


def check(columns: NodeColumns, model: Model, random: Random) -> None:
    assert list(columns.items()) == sorted(model.items())
    leaves = {leaf_of(x) for x in model if is_leaf(x)}
    assert columns.n_members == len(leaves)
    assert columns.last_member() == max(leaves, default=None)
    blank = next((leaf for leaf in range(columns.n_leaves) if leaf not in leaves), None)
    assert columns.first_blank_leaf() == blank
    for _ in range(20):
        x = NodeIndex(random.randrange(node_width(columns.n_leaves)))
        assert columns.node(x) == model.get(x)
        assert columns.is_subtree_blank(x) == (not any(is_in_subtree(y, x) for y in model))


def changes_for(n_leaves: int, random: Random) -> dict[NodeIndex, Content]:
    width = node_width(n_leaves)
    places: Sequence[int]
    match random.randrange(4):
        case 0:  # a run
            start = random.randrange(width)
            places = range(start, min(width, start + random.randrange(1, 300)))
        case 1:  # all over the place
            places = range(random.randrange(width), width, random.randrange(1, 100))
        case _:  # a few
            places = random.sample(range(width), min(width, 4))
    is_cleared = random.random() < 0.4
    return {x: None if is_cleared else fresh(x, random) for x in map(NodeIndex, places)}


@pytest.mark.parametrize("largest", [1, 16, 32, 64, 128, 2048, 4096, 8192])
@pytest.mark.rfc("R-4.1-02", "R-C-02")
def test_columns_equal_a_dictionary(largest: int) -> None:
    random = Random(largest)
    columns, model = NodeColumns.of(largest, {}), Model()
    seen = set()
    for _ in range(60):
        before, contents = columns, list(columns.items())
        if random.random() < 0.2:
            n_leaves = max(1, largest >> random.randrange(4))
            columns = columns.resized(n_leaves)
            model = {x: node for x, node in model.items() if x < node_width(n_leaves)}
        else:
            changes = changes_for(columns.n_leaves, random)
            columns = columns.replaced(changes)
            model = {x: node for x, node in {**model, **changes}.items() if node is not None}
        seen.add((columns.n_leaves, len(model) > columns.n_leaves // 2))
        check(columns, model, random)
        assert list(before.items()) == contents
        check_blocks(columns, before)
        check_changes(columns, before)
    assert len(seen) >= min(4, largest.bit_length())


def check_blocks(columns: NodeColumns, before: NodeColumns) -> None:
    now = dict(columns.records())
    records = dict(before.records())
    for number, record in columns.changed_records(before):
        if record is None:
            del records[number]
        else:
            records[number] = record
    assert records == now
    blocks: dict[NodeIndex, list[tuple[NodeIndex, LeafSlot | ParentNode]]] = {}
    for x, node in columns.items():
        stratum, block, slot = place_of(x)
        blocks.setdefault(node_at(stratum, block, 0), []).append((NodeIndex(slot), node))
    assert now == {number: encode_ratchet_tree(nodes) for number, nodes in blocks.items()}


def check_changes(columns: NodeColumns, before: NodeColumns) -> None:
    now, old = Model(columns.items()), Model(before.items())
    told = {x: (was, becomes) for x, was, becomes in columns.changes_since(before)}
    assert told == {x: (old.get(x), now.get(x)) for x in {**old, **now} if old.get(x) is not now.get(x)}


@pytest.mark.parametrize("n_leaves", [32, 64, 1 << 11, 1 << 12, 1 << 20, 1 << 32])
@pytest.mark.rfc("R-7.8-06")
def test_an_edit_copies_one_path_and_keeps_other_hashes(n_leaves: int) -> None:
    leaf = NodeIndex(2 * (n_leaves // 3))
    columns = NodeColumns.of(n_leaves, {leaf: LeafSlot(b"a", b"a", None), root(n_leaves): ParentNode(b"r", b"", ())})
    path = [x for x in map(NodeIndex, ancestors(leaf, n_leaves)) if x != leaf]
    far = NodeIndex(0 if leaf else 2)
    columns.remember_digest(far, "sha256", b"far")
    for x in (leaf, *path):
        columns.remember_digest(x, "sha256", b"near")

    edited = columns.replaced({leaf: LeafSlot(b"b", b"b", None)})
    assert len(list(edited.changed_records(columns))) == 1
    assert all(edited.known_digest(x, "sha256") is None for x in (leaf, *path))
    assert all(columns.known_digest(x, "sha256") == b"near" for x in (leaf, *path))
    assert edited.known_digest(far, "sha256") == columns.known_digest(far, "sha256")
    assert edited.known_digest(far, "sha512") is None


def ancestors(x: NodeIndex, n_leaves: int) -> list[int]:
    found = [int(x)]
    while found[-1] != root(n_leaves):
        bit = 1 << level(NodeIndex(found[-1]))
        found.append((found[-1] | bit) & ~(bit << 1))
    return found


@pytest.mark.rfc("R-7.8-06")
def test_the_hash_of_a_blank_block_is_remembered_by_its_position() -> None:
    columns = NodeColumns.of(1 << 12, {NodeIndex(0): LeafSlot(b"a", b"a", None)})
    blank_tops = [NodeIndex(64 * number + 31) for number in range(1, 64)]
    for x in blank_tops:
        columns.remember_digest(x, "sha256", bytes(str(x), "ascii"))
    edited = columns.replaced({NodeIndex(128): LeafSlot(b"b", b"b", None)})

    assert [columns.known_digest(x, "sha256") for x in blank_tops] == [bytes(str(x), "ascii") for x in blank_tops]
    assert edited.known_digest(NodeIndex(128 + 31), "sha256") is None
    assert edited.known_digest(NodeIndex(64 + 31), "sha256") == b"95"
    other = NodeColumns.of(1 << 12, {NodeIndex(0): LeafSlot(b"a", b"a", None)})
    assert [other.known_digest(x, "sha256") for x in blank_tops] == [None] * 63
    assert columns.first_blank_leaf() == LeafIndex(1)
