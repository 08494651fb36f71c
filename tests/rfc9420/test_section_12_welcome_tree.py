"""Joining by a Welcome: the ratchet tree, and the path secret. RFC 9420 §12.4.3.1, §12.4.3.3."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import Extension, Invitation
from mls.errors import (
    Code,
    InvalidLeafNode,
    InvalidPath,
    InvalidSignature,
    InvalidTree,
    InvalidWelcome,
    MLSError,
)
from mls.messages import (
    Add,
    ExtensionType,
    LeafPosition,
    Remove,
    WirePathSecret,
)
from tests.support.crafting import Forger, package_of, signed_leaf
from tests.support.welcome_scenes import MISMATCH, Scene, scene_of
from tests.support.welcomes import Inviter, assert_join_refused
from tests.support.world import World, records
from treekem.index import LeafIndex, NodeIndex
from treekem.leaf_node import LeafNode
from treekem.nodes import LeafSlot, ParentNode
from treekem.tree import RatchetTree


@pytest.fixture
def scene() -> Scene:
    return scene_of(World())


# The tree.


def tree_of(scene: Scene) -> RatchetTree:
    return scene.inviter.after.group.tree


@pytest.mark.rfc("R-12.4.3.1-10", "R-12.4.3.3-07", "R-12.4.3.3-08", "N-W12")
def test_the_tree_comes_inside_or_beside(scene: Scene) -> None:
    inviter, tree = scene.inviter, tree_of(scene)
    message = inviter.message(info=inviter.info(extensions=()))
    scene.assert_refused(message, InvalidWelcome, "R-12.4.3.1-10", Code.BAD_WELCOME)
    refused = (InvalidTree, "R-12.4.3.1-13", Code.TREE_HASH_MISMATCH)
    for other in (tree.remove_leaf(LeafIndex(0)), scene.groups[0]._standing.state.group.tree):
        scene.assert_refused(message, *refused, tree=other.encode())
    with pytest.raises(MLSError):
        scene.joiner.join(message, b"nonsense")
    assert isinstance(scene.joiner.join(message, tree.encode()), Invitation)


@pytest.mark.rfc("R-12.4.3.1-13", "R-12.4.3.3-08", "N-T", "N-W12")
def test_the_tree_is_the_one_that_was_agreed_on(scene: Scene) -> None:
    inviter = scene.inviter
    other = Extension(ExtensionType.RATCHET_TREE, tree_of(scene).remove_leaf(LeafIndex(0)).encode())
    message = inviter.message(info=inviter.info(extensions=(other,)))
    scene.assert_refused(message, InvalidTree, "R-12.4.3.1-13", Code.TREE_HASH_MISMATCH)


def parent_of(scene: Scene, x: int) -> ParentNode:
    node = tree_of(scene).parent(NodeIndex(x))
    assert node is not None
    return node


@pytest.mark.rfc("R-12.4.3.1-14", "R-7.9.2-03", "N-T")
def test_every_parent_is_chained_to_a_leaf(scene: Scene) -> None:
    tree = tree_of(scene)
    root = parent_of(scene, 3)
    for x, node in ((3, replace(root, parent_hash=b"x")), (1, replace(parent_of(scene, 1), parent_hash=bytes(32)))):
        message = scene.with_tree(tree.with_nodes({NodeIndex(x): node}))
        scene.assert_refused(message, InvalidTree, "R-7.9.2-03", Code.PARENT_HASH_MISMATCH)


@pytest.mark.rfc("R-12.4.3.1-15", "R-7.3-01", "N-W07")
def test_every_leaf_of_the_tree_is_judged(scene: Scene) -> None:
    # Parents would notice first that a leaf below them has changed.
    tree = tree_of(scene)
    tree = tree.with_nodes({x: None for x, _ in tree.parents()})
    first = Forger(scene.world, scene.groups[0])
    leaf = first.own_leaf()
    position = LeafPosition(scene.groups[0].group_id, LeafIndex(1))
    elsewhere = signed_leaf(1, leaf, position, first.state.own.signature_key)
    message = scene.with_tree(tree.with_nodes({NodeIndex(0): LeafSlot.of(elsewhere)}))
    scene.assert_refused(message, InvalidSignature, "R-7.3-03", Code.BAD_SIGNATURE)
    # Well signed, and of a third member that shares the second one's signature key.
    second = Forger(scene.world, scene.groups[1])
    twin = signed_leaf(
        1,
        replace(leaf, signature_key=second.own_leaf().signature_key),
        LeafPosition(scene.groups[0].group_id, LeafIndex(0)),
        second.state.own.signature_key,
    )
    message = scene.with_tree(tree.with_nodes({NodeIndex(0): LeafSlot.of(twin)}))
    scene.assert_refused(message, InvalidLeafNode, "R-7.3-13", Code.DUPLICATE_KEY)


@pytest.mark.rfc("R-12.4.3.1-16", "R-12.4.3.1-17", "B21", "N-T")
def test_unmerged_leaves_are_below_and_listed_all_the_way(scene: Scene) -> None:
    tree = tree_of(scene)
    for unmerged in ((4,), (99,)):
        node = replace(parent_of(scene, 3), unmerged_leaves=tuple(map(LeafIndex, unmerged)))
        message = scene.with_tree(tree.with_nodes({NodeIndex(3): node}))
        refused = assert_any_refusal(scene, message)
        assert (type(refused), refused.rule) == (InvalidTree, "R-12.4.3.1-16")
    node = replace(parent_of(scene, 3), unmerged_leaves=(LeafIndex(0),))
    refused = assert_any_refusal(scene, scene.with_tree(tree.with_nodes({NodeIndex(3): node})))
    assert (type(refused), refused.rule) == (InvalidTree, "R-12.4.3.1-17")


def assert_any_refusal(scene: Scene, message: bytes) -> MLSError:
    before = records(scene.joiner._store)
    with pytest.raises(MLSError) as caught:
        scene.joiner.join(message)
    assert records(scene.joiner._store) == before
    return caught.value


@pytest.mark.rfc("R-12.4.3.1-18", "R-16.7-01", "N-T", "N-L08")
def test_no_encryption_key_is_held_twice(scene: Scene) -> None:
    tree = tree_of(scene)
    shared = replace(parent_of(scene, 1), encryption_key=parent_of(scene, 3).encryption_key)
    message = scene.with_tree(tree.with_nodes({NodeIndex(1): shared}))
    scene.assert_refused(message, InvalidTree, "R-12.4.3.1-18", Code.DUPLICATE_KEY)
    first, own = Forger(scene.world, scene.groups[0]), package_leaf(scene)
    thief = first.leaf_node(first.own_leaf().source, encryption_key=own.encryption_key)
    message = scene.with_tree(tree.with_nodes({NodeIndex(0): LeafSlot.of(thief)}))
    scene.assert_refused(message, InvalidTree, "R-16.7-01", Code.DUPLICATE_KEY)


def package_leaf(scene: Scene) -> LeafNode:
    return scene.inviter.bundle.key_package.leaf_node


@pytest.mark.rfc("R-12.4.3.1-19", "N-W07")
def test_our_leaf_is_in_the_tree_byte_for_byte() -> None:
    scene = scene_of(World(), path=False)
    tree, keys = tree_of(scene), scene.inviter.bundle.signature_keys
    refused = (InvalidWelcome, "R-12.4.3.1-19", Code.BAD_LEAF)
    unsigned = replace(package_leaf(scene), extensions=(Extension(ExtensionType.APPLICATION_ID, b"\x01x"),))
    changed = signed_leaf(1, unsigned, LeafPosition(b"", LeafIndex(0)), keys.private)
    other = tree.with_nodes({NodeIndex(6): LeafSlot.of(changed)})
    scene.assert_refused(scene.with_tree(other), *refused)
    scene.assert_refused(scene.with_tree(scene.groups[0]._standing.state.group.tree), *refused)


# The path secret.


@pytest.mark.rfc("R-12.4.3.1-21", "N-W08")
def test_a_path_secret_leads_to_the_keys_of_the_tree(scene: Scene) -> None:
    inviter = scene.inviter
    for secret in (bytes(32), b"", b"short"):
        message = inviter.message(secrets=inviter.secrets(path_secret=WirePathSecret(secret)))
        scene.assert_refused(message, InvalidPath, "R-12.4.3.1-21", MISMATCH)


@pytest.mark.rfc("R-12.4.3.1-22", "N-W08")
def test_a_path_secret_is_for_a_node_that_holds_something(scene: Scene) -> None:
    # The commit had no path, and nobody had one there before: the common ancestor is blank.
    world = World(seed=2)
    groups = world.group(3)
    joiner = world.client("joiner")
    forger = Forger(world, groups[1])
    created = forger.order(Remove(LeafIndex(2)), Add(package_of(joiner.key_package())), path=True)
    inviter = Inviter(forger, created, joiner)
    assert joiner.join(inviter.message()).epoch == 2
    tree = inviter.after.group.tree
    blank = tree.with_nodes({NodeIndex(3): None, NodeIndex(1): None})
    context = replace(inviter.parts.info.group_context, tree_hash=blank.tree_hash(inviter.suite))
    extension = Extension(ExtensionType.RATCHET_TREE, blank.encode())
    message = inviter.message(info=inviter.info(group_context=context, extensions=(extension,)))
    refused = (InvalidWelcome, "R-12.4.3.1-22", MISMATCH)
    assert_join_refused(joiner, lambda: joiner.join(message), refused)
    # And nobody tells a path secret to itself.
    alone = scene.inviter
    info = alone.info(signer=LeafIndex(3), key=alone.bundle.signature_keys.private)
    scene.assert_refused(alone.message(info=info), InvalidWelcome, "R-12.4.3.1-22", Code.BAD_WELCOME)


@pytest.mark.rfc("N-W08", "R-12.4.3.1-20", "R-4.2-01")
def test_an_inviter_does_not_hold_back_a_key(scene: Scene) -> None:
    message = scene.inviter.message(secrets=scene.inviter.secrets(path_secret=None))
    scene.assert_refused(message, InvalidWelcome, "N-W08", MISMATCH)
    # Without a path there is nothing to tell: the joiner is unmerged wherever a key is held.
    pathless = scene_of(World(seed=3), path=False)
    assert pathless.joiner.join(pathless.inviter.message()).accept().epoch == 3
