"""A group that is nothing but its ratchet tree: every member with its private keys, and commits that all open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mls.crypto import CipherSuite, HPKEPrivateKey, cipher_suite
from tests.support.entropy import DeterministicEntropy
from treekem.index import LeafIndex, NodeIndex, common_ancestor, node_of
from treekem.leaf_node import (
    BasicCredential,
    Capabilities,
    CommitSource,
    KeyPackageSource,
    LeafNode,
    Lifetime,
    UpdateSource,
)
from treekem.nodes import LeafSlot, UpdatePath
from treekem.path import PathPlan, apply_path, open_path, path_keys_from, plan_path, seal_path, surviving_keys
from treekem.suite import PathSecret
from treekem.tree import RatchetTree

Source = KeyPackageSource | UpdateSource | CommitSource

PUBLISHED = KeyPackageSource(Lifetime(0, 2**64 - 1))


def leaf_node(key: bytes, source: Source = PUBLISHED, name: bytes = b"") -> LeafNode:
    """Return a leaf whose signature nobody checks."""
    capabilities = Capabilities((1,), (1,), (), (), (1,))
    return LeafNode(key, b"signature key", BasicCredential(name), capabilities, source, (), b"")


@dataclass
class Committed:
    """What a commit did, for tests that look at its parts."""

    before: RatchetTree
    path: UpdatePath
    plan: PathPlan
    context: bytes
    new_leaves: frozenset[LeafIndex]


class TreeGroup:
    """Members of one suite; proposals change the tree at once, and members added since the last commit are new."""

    def __init__(self, seed: bytes = b"", suite_id: int = 1) -> None:
        self.suite: CipherSuite = cipher_suite(suite_id)
        self.entropy = DeterministicEntropy(seed)
        pair = self.suite.generate_key_pair(self.entropy)
        self.tree = RatchetTree.of_leaf(LeafSlot.of(leaf_node(pair.public)))
        self.private_keys: dict[LeafIndex, dict[NodeIndex, HPKEPrivateKey]] = {
            LeafIndex(0): {NodeIndex(0): pair.private}
        }
        self.new_leaves: frozenset[LeafIndex] = frozenset()

    @classmethod
    def of_size(cls, n_members: int, seed: bytes = b"", suite_id: int = 1) -> TreeGroup:
        """Return a group in which every member has committed once, so that no parent is blank."""
        group = cls(seed, suite_id)
        group.add(n_members - 1)
        for leaf in range(n_members):
            group.commit(LeafIndex(leaf))
        return group

    @property
    def members(self) -> list[LeafIndex]:
        return [leaf for leaf, _ in self.tree.leaves()]

    def add(self, n_members: int = 1) -> list[LeafIndex]:
        added = []
        for _ in range(n_members):
            pair = self.suite.generate_key_pair(self.entropy)
            self.tree, leaf = self.tree.add_leaf(LeafSlot.of(leaf_node(pair.public)))
            self.private_keys[leaf] = {node_of(leaf): pair.private}
            self.new_leaves |= {leaf}
            added.append(leaf)
        return added

    def update(self, leaf: LeafIndex) -> None:
        pair = self.suite.generate_key_pair(self.entropy)
        self.tree = self.tree.update_leaf(leaf, LeafSlot.of(leaf_node(pair.public, UpdateSource())))
        self.private_keys[leaf][node_of(leaf)] = pair.private

    def remove(self, *leaves: LeafIndex) -> None:
        for leaf in leaves:
            self.tree = self.tree.remove_leaf(leaf)
            del self.private_keys[leaf]
            self.new_leaves -= {leaf}

    def plan(self, sender: LeafIndex) -> tuple[PathPlan, HPKEPrivateKey]:
        pair = self.suite.generate_key_pair(self.entropy)
        secret = PathSecret(self.entropy(self.suite.hash_length))
        return plan_path(self.tree, sender, self.suite, secret, pair.public), pair.private

    def commit(self, sender: LeafIndex) -> Committed:
        """Send a full commit, let everybody open it, and move on."""
        before, new_leaves = self.tree, self.new_leaves
        plan, leaf_private = self.plan(sender)
        leaf = leaf_node(plan.leaf_public_key, CommitSource(plan.leaf_parent_hash))
        after = plan.install(LeafSlot.of(leaf))
        context = after.tree_hash(self.suite)
        path = seal_path(plan, after, leaf, self.suite, context, self.entropy, new_leaves)

        self._receive(sender, path, plan, context)
        kept = surviving_keys(before, after, self.private_keys[sender])
        self.private_keys[sender] = {**kept, node_of(sender): leaf_private, **plan.private_keys}
        self.tree, self.new_leaves = after, frozenset()
        return Committed(before, path, plan, context, new_leaves)

    def partial_commit(self) -> None:
        """Move on without a path: the members added meanwhile are no longer new."""
        self.new_leaves = frozenset()

    def keys_of(self, tree: RatchetTree, leaves: Iterable[LeafIndex]) -> list[bytes]:
        return [slot.encryption_key for leaf in leaves if (slot := tree.leaf(leaf)) is not None]

    def _receive(self, sender: LeafIndex, path: UpdatePath, plan: PathPlan, context: bytes) -> None:
        after = apply_path(self.tree, sender, path, self.suite, self.new_leaves)
        for me, keys in self.private_keys.items():
            if me == sender:
                continue
            if me in self.new_leaves:
                # A joiner learns the secret of the lowest node above both from the Welcome.
                node = common_ancestor(node_of(sender), node_of(me))
                learnt = path_keys_from(after, sender, node, plan.path_secrets[node], self.suite)
            else:
                opened = open_path(after, sender, me, path, self.suite, keys, context, self.new_leaves)
                assert opened.commit_secret.expose() == plan.commit_secret.expose()
                learnt = dict(opened.private_keys)
            self.private_keys[me] = {**surviving_keys(self.tree, after, keys), **learnt}
