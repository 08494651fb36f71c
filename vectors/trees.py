"""Kinds tree-operations and tree-validation: proposals applied to trees, and trees as a joiner judges them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from mls.crypto import CipherSuite
from mls.messages import Add, KeyPackage, LeafPosition, Proposal, Remove, Update, leaf_node_tbs
from treekem.hashing import verify_tree_structure
from treekem.index import LeafIndex, NodeIndex, node_width
from treekem.nodes import LeafSlot
from treekem.suite import Entropy
from treekem.tree import RatchetTree
from treekem.wire import decode, encode_as
from vectors.case import Case, Kind, Mismatch, Recipe, array, expect, expect_octets, number, octets, suite_of
from vectors.signed_trees import Owner, SignedTree

# Operations.


def verify_tree_operations(case: Case, entropy: Entropy) -> None:
    """Apply the proposal, and compare trees and hashes before and after."""
    del entropy
    suite, before = suite_of(case), RatchetTree.decode(octets(case, "tree_before"))
    expect_octets(before.encode(), case, "tree_before")
    expect_octets(before.tree_hash(suite), case, "tree_hash_before")
    proposal: Proposal = decode(Proposal, octets(case, "proposal"))
    after = _applied(before, proposal, LeafIndex(number(case, "proposal_sender")))
    expect_octets(after.encode(), case, "tree_after")
    expect_octets(after.tree_hash(suite), case, "tree_hash_after")


def _applied(tree: RatchetTree, proposal: Proposal, sender: LeafIndex) -> RatchetTree:
    if tree.leaf(sender) is None:
        raise Mismatch(f"proposal_sender: leaf {sender} is blank")
    match proposal:
        case Add(key_package=key_package):
            return tree.add_leaf(LeafSlot.of(key_package.leaf_node))[0]
        case Update(leaf_node=leaf_node):
            return tree.update_leaf(sender, LeafSlot.of(leaf_node))
        case Remove(removed=leaf):
            return tree.remove_leaf(leaf)
        case _:
            raise Mismatch(f"a {type(proposal).__name__} does not change the tree")


def generate_tree_operations(recipe: Recipe) -> Iterator[Case]:
    """Yield adds that fill a gap or double the tree, updates, and removals that halve the tree or do not."""
    suite, entropy = recipe.suite, recipe.entropy
    scenarios: tuple[Callable[[SignedTree], tuple[Proposal, int]], ...] = (_add, _update, _remove_last, _remove_first)
    for n_members in (3,) if recipe.small else (3, 5, 8):
        for scenario in scenarios:
            yield _operation(SignedTree.grown(suite, entropy, n_members), scenario)
    full = SignedTree.grown(suite, entropy, 4)
    yield _operation(full, _add)
    full.remove(LeafIndex(1))
    yield _operation(full, _add)


def _operation(grown: SignedTree, scenario: Callable[[SignedTree], tuple[Proposal, int]]) -> Case:
    before = grown.tree
    proposal, sender = scenario(grown)
    return {
        "cipher_suite": grown.suite.id,
        "tree_before": before.encode().hex(),
        "proposal": encode_as(Proposal, proposal).hex(),
        "proposal_sender": sender,
        "tree_hash_before": before.tree_hash(grown.suite).hex(),
        "tree_after": grown.tree.encode().hex(),
        "tree_hash_after": grown.tree.tree_hash(grown.suite).hex(),
    }


def _add(grown: SignedTree) -> tuple[Proposal, int]:
    offer: tuple[KeyPackage, Owner] = grown.offer()
    grown.add(*offer)
    return Add(offer[0]), 0


def _update(grown: SignedTree) -> tuple[Proposal, int]:
    leaf = LeafIndex(1)
    leaf_node = grown.updated_leaf(leaf)
    grown.update(leaf, leaf_node)
    return Update(leaf_node), leaf


def _remove_last(grown: SignedTree) -> tuple[Proposal, int]:
    leaf = max(grown.owners)
    grown.remove(leaf)
    return Remove(leaf), 0


def _remove_first(grown: SignedTree) -> tuple[Proposal, int]:
    grown.remove(LeafIndex(0))
    return Remove(LeafIndex(0)), 1


# Validation.


def verify_tree_validation(case: Case, entropy: Entropy) -> None:
    """Compare resolutions and tree hashes; check the tree's structure and parent hashes, and every leaf's signature."""
    del entropy
    suite, tree = suite_of(case), RatchetTree.decode(octets(case, "tree"))
    expect_octets(tree.encode(), case, "tree")
    resolutions, tree_hashes = array(case, "resolutions"), array(case, "tree_hashes")
    width = node_width(tree.n_leaves)
    expect((len(resolutions), len(tree_hashes)), (width, width), "the lengths of resolutions and tree_hashes")
    for x in range(width):
        expect(list(tree.resolution(NodeIndex(x))), resolutions[x], f"resolutions[{x}]")
        expect(tree.node_hash(suite, NodeIndex(x)).hex(), tree_hashes[x], f"tree_hashes[{x}]")
    verify_tree_structure(tree, suite)
    _verify_leaf_signatures(tree, suite, octets(case, "group_id"))


def _verify_leaf_signatures(tree: RatchetTree, suite: CipherSuite, group_id: bytes) -> None:
    for leaf, slot in tree.leaves():
        leaf_node = slot.leaf_node()
        tbs = leaf_node_tbs(leaf_node, LeafPosition(group_id, leaf))
        suite.verify_with_label(leaf_node.signature_key, b"LeafNodeTBS", tbs, leaf_node.signature)


_SIZES: Final = (2, 3, 4, 5, 6, 7, 8, 9, 32, 33, 34)
_SMALL_SIZES: Final = (2, 3, 4, 5)


def generate_tree_validation(recipe: Recipe) -> Iterator[Case]:
    """Yield trees that are full or have trailing blanks, inner blanks, skipped blanks, and unmerged leaves."""
    for n_members in _SMALL_SIZES if recipe.small else _SIZES:
        yield _judged(SignedTree.grown(recipe.suite, recipe.entropy, n_members))
    for blanked in _blanked(recipe):
        yield _judged(blanked)


def _blanked(recipe: Recipe) -> Iterator[SignedTree]:
    """Yield the trees of the format's list whose origin is more than growth."""
    suite, entropy = recipe.suite, recipe.entropy
    unmerged = SignedTree.grown(suite, entropy, 7)
    unmerged.add(*unmerged.offer())
    yield unmerged
    yield appendix_a_tree(suite, entropy)
    if recipe.small:
        return
    for removals, additions in (((2, 3), 1), ((1, 2, 3), 0)):
        grown = SignedTree.grown(suite, entropy, 8)
        grown.commit(LeafIndex(0), map(LeafIndex, removals), additions)
        yield grown


def appendix_a_tree(suite: CipherSuite, entropy: Entropy) -> SignedTree:
    """Return the tree of RFC 9420 Appendix A that shows parent hashes: F is unmerged, and blanks are skipped."""
    grown = SignedTree.grown(suite, entropy, 7)
    grown.commit(LeafIndex(0), removals=[LeafIndex(5)])
    grown.commit(LeafIndex(4))
    grown.add(*grown.offer())
    return grown


def _judged(grown: SignedTree) -> Case:
    tree, suite = grown.tree, grown.suite
    nodes = [NodeIndex(x) for x in range(node_width(tree.n_leaves))]
    return {
        "cipher_suite": suite.id,
        "tree": tree.encode().hex(),
        "group_id": grown.group_id.hex(),
        "resolutions": [list(tree.resolution(x)) for x in nodes],
        "tree_hashes": [tree.node_hash(suite, x).hex() for x in nodes],
    }


KINDS = (
    Kind(
        "tree-operations",
        frozenset(
            {
                *("cipher_suite", "tree_before", "proposal", "proposal_sender"),
                *("tree_hash_before", "tree_after", "tree_hash_after"),
            }
        ),
        verify_tree_operations,
        generate_tree_operations,
    ),
    Kind(
        "tree-validation",
        frozenset({"cipher_suite", "tree", "group_id", "resolutions", "tree_hashes"}),
        verify_tree_validation,
        generate_tree_validation,
    ),
)
