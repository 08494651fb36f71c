"""The catalogue of hostile trees, N-T: what an inviter may hand to a joiner, signed and sealed as the true one is.

The structure by itself is tried in tests/rfc9420/test_section_7_tree.py, by the engine and by its slow twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from mls import Add, Remove
from mls.crypto import SUITES
from mls.errors import Code, InvalidTree, MLSError
from mls.messages import Add as AddProposal
from tests.support.crafting import Forger, package_of
from tests.support.tree_builder import with_parent
from tests.support.tree_group import TreeGroup
from tests.support.welcome_scenes import Scene
from tests.support.welcomes import Inviter
from tests.support.world import World, join
from treekem import reference
from treekem.hashing import verify_parent_hashes, verify_tree_structure
from treekem.index import LeafIndex, NodeIndex, root
from treekem.tree import RatchetTree

Refusal = tuple[type[MLSError], str, str]
UNLINKED = (InvalidTree, "R-7.9.2-03", Code.PARENT_HASH_MISMATCH)
DUPLICATE = (InvalidTree, "R-12.4.3.1-18", Code.DUPLICATE_KEY)


def unmerged(rule: str) -> Refusal:
    return (InvalidTree, rule, Code.UNMERGED_LEAVES_INVALID)


def scene_of(suite: int = 1, gone: tuple[int, ...] = (), n: int = 8) -> Scene:
    """Return a group of eight in which everybody has committed, some have gone, and one invites without a path."""
    world = World(suite)
    groups = world.group(n)
    for group in groups:
        world.commit(group, (), *(other for other in groups if other is not group))
    left = [group for group in groups if group.me.leaf not in gone]
    if gone:
        world.commit(left[-1], [Remove(leaf) for leaf in gone], *left[:-1])
    world.commit(left[0], (), *left[1:])
    joiner = world.client("joiner")
    forger = Forger(world, left[0])
    created = forger.order(AddProposal(package_of(joiner.key_package())), path=False)
    return Scene(world, left, joiner, Inviter(forger, created, joiner))


def tree_of(scene: Scene) -> RatchetTree:
    return scene.inviter.after.group.tree


@dataclass(frozen=True)
class Crooked:
    """What is changed of one parent, and what that ends in."""

    node: int
    refused: Refusal
    unmerged: tuple[int, ...] | None = None
    parent_hash: bytes | None = None
    key_of: int | None = None


# Leaf 8 joins, unmerged at the root of sixteen leaves, which is blank; nodes 3, 7, 11 and so on stand as they were.
CROOKED = [
    pytest.param(Crooked(7, unmerged("R-7.1-02"), unmerged=(3, 1)), id="unsorted", marks=pytest.mark.rfc("N-T", "B21")),
    pytest.param(Crooked(7, unmerged("R-7.1-02"), unmerged=(2, 2)), id="twice", marks=pytest.mark.rfc("N-T", "B21")),
    pytest.param(
        Crooked(3, unmerged("R-12.4.3.1-16"), unmerged=(4,)), id="not below", marks=pytest.mark.rfc("N-T", "B21")
    ),
    pytest.param(
        Crooked(7, unmerged("R-12.4.3.1-16"), unmerged=(99,)), id="nobody", marks=pytest.mark.rfc("N-T", "B21")
    ),
    pytest.param(
        Crooked(7, unmerged("R-12.4.3.1-17"), unmerged=(1,)), id="not all the way", marks=pytest.mark.rfc("N-T", "B21")
    ),
    pytest.param(Crooked(3, UNLINKED, parent_hash=b""), id="null hash", marks=pytest.mark.rfc("N-T", "B19")),
    pytest.param(Crooked(11, UNLINKED, parent_hash=b""), id="null hash aside", marks=pytest.mark.rfc("N-T", "B19")),
    pytest.param(Crooked(3, UNLINKED, parent_hash=bytes(32)), id="wrong hash", marks=pytest.mark.rfc("N-T", "B18")),
    pytest.param(Crooked(13, UNLINKED, parent_hash=bytes(32)), id="elsewhere", marks=pytest.mark.rfc("N-T", "B18")),
    pytest.param(Crooked(13, DUPLICATE, key_of=3), id="another parent's key", marks=pytest.mark.rfc("N-T")),
    pytest.param(Crooked(13, DUPLICATE, key_of=0), id="a leaf's key", marks=pytest.mark.rfc("N-T")),
]


@pytest.mark.parametrize("crooked", CROOKED)
def test_a_hostile_tree_is_refused(crooked: Crooked) -> None:
    scene = scene_of()
    tree = tree_of(scene)
    assert tree.n_leaves == 16
    # The chain of every leaf ends below a blank root, which is no reason to look no further.
    assert tree.is_blank(root(16))
    key = None if crooked.key_of is None else tree.encryption_key(NodeIndex(crooked.key_of))
    other = with_parent(
        tree, crooked.node, unmerged=crooked.unmerged, parent_hash=crooked.parent_hash, encryption_key=key
    )
    scene.assert_refused(scene.with_tree(other), *crooked.refused)


@pytest.mark.parametrize("suite", sorted(SUITES))
@pytest.mark.rfc("N-T", "B18", "B20", "R-7.9.2-03")
def test_a_corrupted_subtree_is_refused_wherever_it_stands(suite: int) -> None:
    # The left half is blank, the joiner stands there, and nothing above the right half's root says anything of it.
    scene = scene_of(suite, gone=(0, 1, 2, 3))
    tree = tree_of(scene)
    assert tree.is_blank(root(8))
    for x, node in tree.parents():
        forged = with_parent(tree, x, parent_hash=bytes(len(node.parent_hash)) if node.parent_hash else b"x")
        scene.assert_refused(scene.with_tree(forged), *UNLINKED)


@pytest.mark.rfc("N-T", "P02", "R-7.9.2-03")
def test_a_subtree_does_not_change_places() -> None:
    scene = scene_of()
    tree = tree_of(scene)
    pairs = ((9, 13), (1, 5), (3, 11))
    for one, other in pairs:
        swapped = {NodeIndex(one): tree.parent(NodeIndex(other)), NodeIndex(other): tree.parent(NodeIndex(one))}
        scene.assert_refused(scene.with_tree(tree.with_nodes(swapped)), *UNLINKED)


@pytest.mark.rfc("N-T", "N-W12", "R-12.4.3.1-13")
def test_a_tree_of_another_hash_is_refused() -> None:
    scene = scene_of()
    tree = tree_of(scene)
    message = scene.inviter.message(info=scene.inviter.info(extensions=()))
    mismatch = (InvalidTree, "R-12.4.3.1-13", Code.TREE_HASH_MISMATCH)
    others = (
        tree.remove_leaf(LeafIndex(1)),
        with_parent(tree, 3, parent_hash=b""),
        tree.with_nodes({NodeIndex(9): None}),
    )
    for other in others:
        scene.assert_refused(message, *mismatch, tree=other.encode())
    assert scene.joiner.join(message, tree.encode()).epoch == scene.inviter.after.epoch


@pytest.mark.rfc("B19", "R-7.9.2-03", "R-7.9-02")
def test_a_group_of_eighteen_with_removals_is_joined() -> None:
    world = World()
    groups = world.group(18)
    for leaf in (3, 17, 8):
        world.commit(groups[leaf], (), *(group for group in groups if group is not groups[leaf]))
    gone = {2, 5, 9, 10, 11, 16}
    left = [group for group in groups if group.me.leaf not in gone]
    world.commit(left[-1], [Remove(leaf) for leaf in gone], *left[:-1])
    host, client = left[3], world.client("joiner")
    pending = world.commit(host, [Add(client.key_package())], *(group for group in left if group is not host))
    joined = join(client, pending)
    world.agree(*left, joined)
    tree = RatchetTree.decode(joined.ratchet_tree)
    suite = joined._standing.state.suite
    verify_tree_structure(tree, suite)
    reference.verify_parent_hashes(reference.nodes_of(tree), suite)
    for x, node in tree.parents():
        if node.parent_hash:
            with pytest.raises(InvalidTree):
                verify_parent_hashes(with_parent(tree, x, parent_hash=b""), suite)


@pytest.mark.rfc("P07", "R-7.5-12", "R-4.2-01")
@pytest.mark.parametrize("leaver", range(8))
def test_whoever_goes_takes_no_key_of_the_tree_along(leaver: int) -> None:
    # A member that was added by one path and is unmerged further up may know keys on both sides of its leaf; all that
    # it can ever have known is gone when it is.
    group = TreeGroup.of_size(8, b"double join %d" % leaver)
    group.remove(LeafIndex(7))
    group.commit(LeafIndex(4))
    group.add()
    group.partial_commit()
    for sender in (6, 0, 7):
        group.commit(LeafIndex(sender))
    known = [group.suite.hpke_public_key(key) for key in group.private_keys[LeafIndex(leaver)].values()]
    assert len(known) > 2
    tree = group.tree
    assert all(tree.has_encryption_key(key, group.suite) for key in known)
    held = partial(RatchetTree.has_encryption_key, suite=group.suite)
    group.remove(LeafIndex(leaver))
    assert not any(held(group.tree, key) for key in known)
    group.commit(LeafIndex((leaver + 1) % 8))
    verify_parent_hashes(group.tree, group.suite)
