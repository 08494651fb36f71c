"""What trees look up and count is what a scan finds, after any edits and whenever it is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

import pytest

from mls.crypto import cipher_suite
from mls.epoch.members import SIGNATURE_KEY, IdentityOf, has_every_member, traits_of
from mls.identity import AcceptAnyone
from tests.support.tree_group import leaf_node
from treekem.columns import NodeColumns
from treekem.index import LeafIndex, NodeIndex, node_width
from treekem.leaf_node import (
    BasicCredential,
    Capabilities,
    Certificate,
    Credential,
    LeafPart,
    X509Credential,
    leaf_parts,
)
from treekem.nodes import LeafSlot, ParentNode
from treekem.scanned import ScannedTree
from treekem.tables import traits_of_slot
from treekem.tree import RatchetTree
from treekem.wire import decode, decode_varint, encode, encode_as

SUITE = cipher_suite(1)
IDENTITY = IdentityOf(AcceptAnyone())


def fresh_leaf(random: Random) -> LeafSlot:
    """Return a leaf that has few of everything to choose from, so that keys, names and types occur again."""
    name = random.choice((b"", b"a", b"b", b"c" * 100))
    credential: Credential = BasicCredential(name)
    if random.random() < 0.3:
        credential = X509Credential((Certificate(b"x" * random.choice((1, 70))),))
    types = [tuple(random.choices((1, 2, 0x0A0A, 0xFFFF), k=random.randrange(4))) for _ in range(3)]
    capabilities = Capabilities((1,), (1,), types[0], types[1], types[2])
    key = bytes([random.randrange(40)]).ljust(32, b"k")
    drawn = replace(leaf_node(key), signature_key=random.randbytes(1), credential=credential, capabilities=capabilities)
    return LeafSlot.of(drawn)


def edited(tree: RatchetTree, random: Random) -> RatchetTree:
    members = [leaf for leaf, _ in tree.leaves()]
    chosen = random.choice(members)
    match random.randrange(6):
        case 0 if len(members) > 1:
            return tree.remove_leaf(chosen)
        case 1:
            return tree.update_leaf(chosen, fresh_leaf(random))
        case 2:
            parents = random.choices(range(1, node_width(2 * tree.n_leaves), 2), k=3)
            wide = tree if max(parents) < node_width(tree.n_leaves) else tree.with_room()[0]
            inside = [NodeIndex(x) for x in parents if x < node_width(wide.n_leaves)]
            return wide.with_nodes({x: ParentNode(random.randbytes(1).ljust(32, b"k"), b"", ()) for x in inside})
        case 3:
            return tree.truncated()
        case _:
            for _ in range(random.randrange(1, 40)):
                tree = tree.add_leaf(fresh_leaf(random))[0]
            return tree


def check(tree: RatchetTree, random: Random) -> None:
    leaves = [(leaf, slot.leaf_node()) for leaf, slot in tree.leaves()]
    for key in random.sample([key for _, key in tree.encryption_keys()], 1):
        held = [x for x, other in tree.encryption_keys() if other == key]
        marked = key[:-1] + bytes([key[-1] | 0x80])
        assert list(tree.nodes_with_encryption_key(key, SUITE)) == held
        assert list(tree.nodes_with_encryption_key(marked, SUITE)) == held
    for key in map(bytes, ([number] for number in range(256))):
        assert tree.leaves_with(key, SIGNATURE_KEY) == tuple(x for x, leaf in leaves if leaf.signature_key == key)
    for name in (b"a", b"c" * 100, b"x", b"nobody"):
        found = tuple(x for x, leaf in leaves if AcceptAnyone().identity(leaf.credential) == name)
        assert tree.leaves_with(name, IDENTITY) == found
    counts = Counter(trait for _, slot in tree.leaves() for trait in traits_of_slot(slot, traits_of))
    census = tree.census(traits_of)
    assert {trait: census.count(trait) for trait in census.traits(range(2**18))} == counts
    for trait in (*counts, 5):
        assert has_every_member(tree, [trait]) == (counts[trait] == len(leaves))


@pytest.mark.parametrize("seed", range(6))
def test_tables_equal_a_scan_after_random_edits(seed: int) -> None:
    random = Random(seed)
    tree = RatchetTree.of_leaf(fresh_leaf(random))
    for _ in range(25):
        before = tree
        for _ in range(random.randrange(1, 4)):  # some trees are never asked
            tree = edited(tree, random)
        check(tree, random)
        if random.random() < 0.3:
            check(before, random)


@pytest.mark.parametrize("seed", range(4))
def test_tables_of_a_tree_kept_in_its_bytes_equal_a_scan_before_and_after_edits(seed: int) -> None:
    random = Random(seed)
    tree = RatchetTree.of_leaf(fresh_leaf(random))
    for _ in range(12):
        tree = edited(tree, random)
    data = tree.encode()
    for n_edits in (0, 1, 3, 9):
        scanned = ScannedTree.of(data, decode_varint(data)[1])
        assert scanned is not None
        tree = RatchetTree(NodeColumns.of_scanned(scanned))
        if random.random() < 0.5:
            check(tree, random)
        for _ in range(n_edits):
            tree = edited(tree, random)
        check(tree, random)


@dataclass(frozen=True)
class Asked:
    """A key of a leaf that remembers what it was asked for."""

    parts: list[bytes]
    part: ClassVar[LeafPart] = LeafPart.SIGNATURE_KEY

    def __call__(self, part: bytes) -> bytes:
        self.parts.append(part)
        return part


def test_a_tree_asks_every_leaf_once_for_all_its_relatives() -> None:
    random = Random(2)
    key_of = Asked([])
    base = RatchetTree.of_leaf(fresh_leaf(random))
    for _ in range(100):
        base = base.add_leaf(fresh_leaf(random))[0]
    for _ in range(3):
        key = random.randbytes(8)
        slot = LeafSlot.of(replace(fresh_leaf(random).leaf_node(), signature_key=key))
        dropped = base.update_leaf(LeafIndex(7), slot)
        assert dropped.leaves_with(key, key_of) == (7,)
        assert base.leaves_with(key, key_of) == ()
        # All members once, then what differs, there and back, and the leaf that was found.
        assert len(key_of.parts) <= base.n_members + 5
        del key_of.parts[base.n_members :]


def test_an_encoded_leaf_is_cut_where_its_parts_end() -> None:
    random = Random(1)
    for _ in range(50):
        slot = fresh_leaf(random)
        leaf, parts = slot.leaf_node(), leaf_parts(slot.encoded)
        assert parts.signature_key == leaf.signature_key
        assert parts.credential == encode_as(Credential, leaf.credential)
        assert decode(Credential, parts.credential) == leaf.credential
        assert parts.capabilities == encode(leaf.capabilities)
