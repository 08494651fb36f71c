"""A ratchet tree, read by the decoder and in its bytes by the kernels: both refuse the same, and find the same.

A kernel is compiled without checks of its indices, so what it does with hostile bytes had better be seen here.
"""

from __future__ import annotations

from mls import MLSError, Remove
from mls.crypto import cipher_suite
from tests.fuzz.target import Target
from tests.support.world import World
from treekem.columns import NodeColumns
from treekem.hashing import verify_tree_structure
from treekem.nodes import decode_ratchet_tree
from treekem.tree import RatchetTree
from treekem.tree_hashes import scanned_tree

_LARGEST = 2**12
_SUITE = cipher_suite(1)


def tree_target() -> Target:
    """Any bytes, as a ratchet_tree vector.

    The kernels are compiled at once, which takes longer than a fuzzer waits for an input.
    """
    seeds = _trees()
    _compare(seeds[0])
    return Target("tree", _compare, lambda: seeds)


def _trees() -> list[bytes]:
    """Return trees of a group with blanks, with unmerged leaves, and with both."""
    world = World(seed=9420)
    alice, bob, carol, dora = groups = world.group(4)
    found = [alice.ratchet_tree]
    world.commit(carol, (), alice, bob, dora)
    found.append(alice.ratchet_tree)
    groups += world.add(alice, *(world.client(name) for name in ("erin", "frank", "grace")), others=groups[1:])
    found.append(alice.ratchet_tree)
    world.commit(alice, [Remove(bob.me)], *groups[1:])
    return [*found, alice.ratchet_tree]


def _compare(data: bytes) -> None:
    try:
        n_entries, nodes = decode_ratchet_tree(data, max_entries=_LARGEST)
    except MLSError:
        n_entries, nodes = 0, {}
    try:
        scanned = scanned_tree(data, _LARGEST)
    except MLSError:
        scanned = None
    if (scanned is None) == bool(nodes):
        raise AssertionError("the decoder and the kernels differ in what they take")
    if scanned is None:
        return
    plain = RatchetTree(NodeColumns.of(1 << (n_entries // 2).bit_length(), nodes))
    kept = RatchetTree(NodeColumns.of_scanned(scanned))
    if not plain.encode() == kept.encode() == data:
        raise AssertionError("a tree is encoded otherwise than it was read")
    if plain.tree_hash(_SUITE) != kept.tree_hash(_SUITE) or _judged(plain) != _judged(kept):
        raise AssertionError("the plain way and the kernels find something else in a tree")


def _judged(tree: RatchetTree) -> tuple[object, ...]:
    try:
        verify_tree_structure(tree, _SUITE)
    except MLSError as error:
        return type(error), error.rule, error.code, error.message
    return ()
