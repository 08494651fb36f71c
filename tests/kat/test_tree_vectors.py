"""The official vectors of the tree: index arithmetic, proposals, validation, and update paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mls.crypto import CipherSuite, HPKEPrivateKey, cipher_suite
from mls.messages import Add, GroupContext, Proposal, Remove, Update
from tests.support.entropy import DeterministicEntropy
from tests.support.vectors import official
from treekem import index, reference
from treekem.errors import UsageError
from treekem.hashing import verify_parent_hashes, verify_tree_structure
from treekem.index import LeafIndex, NodeIndex, node_of
from treekem.leaf_node import CommitSource, LeafNode
from treekem.nodes import LeafSlot, UpdatePath
from treekem.path import OpenedPath, apply_path, open_path, path_keys_from, plan_path, seal_path
from treekem.suite import PathSecret
from treekem.tree import RatchetTree
from treekem.wire import decode, encode

ALL_SUITES = range(1, 8)


def octets(value: str) -> bytes:
    return bytes.fromhex(value)


def cases_of(kind: str, suite_id: int) -> list[dict[str, Any]]:
    cases = [case for case in official(kind) if case["cipher_suite"] == suite_id]
    assert cases
    return cases


def or_none(function: Callable[..., NodeIndex], *arguments: int) -> int | None:
    try:
        return function(*arguments)
    except UsageError:
        return None


@pytest.mark.rfc("R-C-01", "R-4.1-01", "R-4.1.1-01")
def test_tree_math() -> None:
    for case in official("tree-math"):
        n_leaves, width = case["n_leaves"], case["n_nodes"]
        assert index.node_width(n_leaves) == width
        assert index.root(n_leaves) == case["root"]
        assert [or_none(index.left, x) for x in range(width)] == case["left"]
        assert [or_none(index.right, x) for x in range(width)] == case["right"]
        assert [or_none(index.parent, x, n_leaves) for x in range(width)] == case["parent"]
        assert [or_none(index.sibling, x, n_leaves) for x in range(width)] == case["sibling"]


def after_proposal(tree: RatchetTree, proposal: Proposal, sender: LeafIndex) -> RatchetTree:
    match proposal:
        case Add(key_package=key_package):
            return tree.add_leaf(LeafSlot.of(key_package.leaf_node))[0]
        case Update(leaf_node=leaf_node):
            return tree.update_leaf(sender, LeafSlot.of(leaf_node))
        case Remove(removed=leaf):
            return tree.remove_leaf(leaf)
        case _:
            raise AssertionError(proposal)


@pytest.mark.rfc("R-12.1.1-03", "R-12.1.1-04", "R-12.1.2-04", "R-12.1.3-03", "R-12.4.3.3-02")
def test_tree_operations() -> None:
    cases = official("tree-operations")
    assert len(cases) == 5
    for case in cases:
        suite = cipher_suite(case["cipher_suite"])
        before = RatchetTree.decode(octets(case["tree_before"]))
        proposal: Proposal = decode(Proposal, octets(case["proposal"]))

        assert before.tree_hash(suite) == octets(case["tree_hash_before"])
        after = after_proposal(before, proposal, case["proposal_sender"])
        assert after.encode() == octets(case["tree_after"])
        assert after.tree_hash(suite) == octets(case["tree_hash_after"])
        assert before.encode() == octets(case["tree_before"])


@pytest.mark.parametrize("suite_id", ALL_SUITES)
@pytest.mark.rfc("R-7.8-01", "R-7.8-02", "R-7.8-04", "R-4.1.1-03", "R-4.1.1-07")
def test_resolutions_and_tree_hashes(suite_id: int) -> None:
    suite = cipher_suite(suite_id)
    for case in cases_of("tree-validation", suite_id):
        tree = RatchetTree.decode(octets(case["tree"]))
        nodes = range(index.node_width(tree.n_leaves))
        assert tree.encode() == octets(case["tree"])
        assert [list(tree.resolution(NodeIndex(x))) for x in nodes] == case["resolutions"]
        assert [tree.node_hash(suite, NodeIndex(x)).hex() for x in nodes] == case["tree_hashes"]

        plain = reference.nodes_of(tree)
        assert [reference.tree_hash(plain, NodeIndex(x), suite).hex() for x in nodes] == case["tree_hashes"]


@pytest.mark.parametrize("suite_id", ALL_SUITES)
@pytest.mark.rfc("R-7.9-01", "R-7.9-04", "R-7.9-05", "R-7.9.2-03", "R-12.4.3.1-14")
def test_trees_are_valid(suite_id: int) -> None:
    suite = cipher_suite(suite_id)
    for case in cases_of("tree-validation", suite_id):
        tree = RatchetTree.decode(octets(case["tree"]))
        verify_tree_structure(tree, suite)
        reference.verify_parent_hashes(reference.nodes_of(tree), suite)


@dataclass
class Receiver:
    """A member of a treekem vector, with the private keys that the vector gives it."""

    me: LeafIndex
    private_keys: dict[NodeIndex, HPKEPrivateKey]


def receivers_of(case: dict[str, Any], tree: RatchetTree, suite: CipherSuite) -> list[Receiver]:
    receivers = []
    for entry in case["leaves_private"]:
        private_keys = {node_of(entry["index"]): HPKEPrivateKey(octets(entry["encryption_priv"]))}
        for known in entry["path_secrets"]:
            pair = suite.derive_node_key_pair(PathSecret(octets(known["path_secret"])))
            private_keys[known["node"]] = pair.private
        for x, private in private_keys.items():
            assert suite.hpke_public_key(private) == tree.encryption_key(x)
        receivers.append(Receiver(entry["index"], private_keys))
    return receivers


def group_context(case: dict[str, Any], tree_hash: bytes) -> bytes:
    group_id, transcript_hash = octets(case["group_id"]), octets(case["confirmed_transcript_hash"])
    return encode(GroupContext(1, case["cipher_suite"], group_id, case["epoch"], tree_hash, transcript_hash, ()))


def opened_by_all(
    case: dict[str, Any], tree: RatchetTree, sender: LeafIndex, path: UpdatePath, receivers: list[Receiver]
) -> tuple[RatchetTree, dict[LeafIndex, OpenedPath]]:
    suite = cipher_suite(case["cipher_suite"])
    after = apply_path(tree, sender, path, suite)
    context = group_context(case, after.tree_hash(suite))
    opened = {
        r.me: open_path(after, sender, r.me, path, suite, r.private_keys, context) for r in receivers if r.me != sender
    }
    assert opened
    return after, opened


@pytest.mark.parametrize("suite_id", ALL_SUITES)
@pytest.mark.rfc("R-7.4-03", "R-7.4-04", "R-7.5-11", "R-7.5-13", "R-7.6-05")
def test_update_paths_are_opened(suite_id: int) -> None:
    suite = cipher_suite(suite_id)
    for case in cases_of("treekem", suite_id):
        tree = RatchetTree.decode(octets(case["ratchet_tree"]))
        verify_parent_hashes(tree, suite)
        receivers = receivers_of(case, tree, suite)
        for sent in case["update_paths"]:
            sender, path = sent["sender"], decode(UpdatePath, octets(sent["update_path"]))
            after, opened = opened_by_all(case, tree, sender, path, receivers)
            assert after.tree_hash(suite).hex() == sent["tree_hash_after"]
            verify_tree_structure(after, suite)
            for me, result in opened.items():
                assert result.path_secret.expose().hex() == sent["path_secrets"][me]
                assert result.commit_secret.expose().hex() == sent["commit_secret"]
                joined = path_keys_from(after, sender, result.node, result.path_secret, suite)
                assert joined.keys() == result.private_keys.keys()


@pytest.mark.parametrize("suite_id", ALL_SUITES)
@pytest.mark.rfc("R-7.5-01", "R-7.5-05", "R-7.5-07", "R-7.4-05", "R-7.6-01")
def test_own_update_paths_are_opened_by_everyone(suite_id: int, entropy: DeterministicEntropy) -> None:
    suite = cipher_suite(suite_id)
    for case in cases_of("treekem", suite_id):
        tree = RatchetTree.decode(octets(case["ratchet_tree"]))
        receivers = receivers_of(case, tree, suite)
        for sent in case["update_paths"]:
            sender = sent["sender"]
            key = suite.generate_key_pair(entropy).public
            plan = plan_path(tree, sender, suite, PathSecret(entropy(suite.hash_length)), key)
            leaf_node = planned_leaf(tree, sender, key, plan.leaf_parent_hash)
            after = plan.install(LeafSlot.of(leaf_node))
            context = group_context(case, after.tree_hash(suite))
            path = seal_path(plan, after, leaf_node, suite, context, entropy)

            received = decode(UpdatePath, encode(path))
            theirs, opened = opened_by_all(case, tree, sender, received, receivers)
            assert theirs.encode() == after.encode()
            assert {r.commit_secret.expose() for r in opened.values()} == {plan.commit_secret.expose()}


def planned_leaf(tree: RatchetTree, sender: LeafIndex, key: bytes, parent_hash: bytes) -> LeafNode:
    slot = tree.leaf(sender)
    assert slot is not None
    return replace(slot.leaf_node(), encryption_key=key, source=CommitSource(parent_hash))
