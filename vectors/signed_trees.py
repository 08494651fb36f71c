"""Groups that are nothing but a ratchet tree with every private key known: what the kinds of the tree are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from mls.crypto import CipherSuite, HPKEPrivateKey, SignatureKeyPair
from mls.messages import (
    BasicCredential,
    Capabilities,
    CommitSource,
    KeyPackage,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    Lifetime,
    ProtocolVersion,
    UpdateSource,
    encode_unsigned,
    leaf_node_tbs,
)
from treekem.index import LeafIndex, NodeIndex, is_in_subtree, node_of
from treekem.nodes import LeafSlot, UpdatePath
from treekem.path import PathPlan, plan_path, seal_path
from treekem.suite import Entropy, HPKEKeyPair, PathSecret
from treekem.tree import RatchetTree

_ALWAYS: Final = Lifetime(0, 2**64 - 1)
_Source = KeyPackageSource | UpdateSource | CommitSource


@dataclass(slots=True)
class Owner:
    """A member with all that it knows in secret: `path_secrets` are those of the nodes above its leaf."""

    encryption_key: HPKEPrivateKey
    signature_keys: SignatureKeyPair
    path_secrets: dict[NodeIndex, PathSecret]


class SignedTree:
    """A tree that grows by proposals and paths, and its owners by their leaves."""

    def __init__(self, suite: CipherSuite, entropy: Entropy) -> None:
        self.suite = suite
        self.group_id = entropy(16)
        self._entropy = entropy
        package, owner = self.offer()
        self.tree = RatchetTree.of_leaf(LeafSlot.of(package.leaf_node))
        self.owners = {LeafIndex(0): owner}

    @classmethod
    def grown(cls, suite: CipherSuite, entropy: Entropy, n_members: int) -> SignedTree:
        """Return the tree in which each new member in turn commits the next one."""
        grown = cls(suite, entropy)
        for sender in range(n_members - 1):
            grown.commit(LeafIndex(sender), additions=1)
        return grown

    def offer(self) -> tuple[KeyPackage, Owner]:
        """Return a key package of somebody new."""
        suite = self.suite
        init_keys, leaf_keys = suite.generate_key_pair(self._entropy), suite.generate_key_pair(self._entropy)
        owner = Owner(leaf_keys.private, suite.generate_signature_key_pair(self._entropy), {})
        leaf = self._signed(owner, leaf_keys, KeyPackageSource(_ALWAYS), LeafIndex(0), self._entropy(8))
        unsigned = KeyPackage(ProtocolVersion.MLS10, suite.id, init_keys.public, leaf, (), b"")
        signed = suite.sign_with_label(owner.signature_keys.private, b"KeyPackageTBS", encode_unsigned(unsigned))
        return replace(unsigned, signature=signed), owner

    def updated_leaf(self, leaf: LeafIndex) -> LeafNode:
        """Return a leaf for an Update, and keep its private key."""
        owner, pair = self.owners[leaf], self.suite.generate_key_pair(self._entropy)
        owner.encryption_key = pair.private
        return self._signed(owner, pair, UpdateSource(), leaf, self.name_of(leaf))

    def name_of(self, leaf: LeafIndex) -> bytes:
        """Return the identity of a member."""
        slot = self.tree.leaf(leaf)
        credential = None if slot is None else slot.leaf_node().credential
        return credential.identity if isinstance(credential, BasicCredential) else b""

    def add(self, package: KeyPackage, owner: Owner) -> LeafIndex:
        """Add a member without a path, and return its leaf."""
        self.tree, leaf = self.tree.add_leaf(LeafSlot.of(package.leaf_node))
        self.owners[leaf] = owner
        return leaf

    def update(self, leaf: LeafIndex, leaf_node: LeafNode) -> None:
        """Replace a member's leaf."""
        self.tree = self.tree.update_leaf(leaf, LeafSlot.of(leaf_node))
        self._forget_lost_secrets()

    def remove(self, *leaves: LeafIndex) -> None:
        """Remove members."""
        for leaf in leaves:
            self.tree = self.tree.remove_leaf(leaf)
            del self.owners[leaf]
        self._forget_lost_secrets()

    def commit(self, sender: LeafIndex, removals: Iterable[LeafIndex] = (), additions: int = 0) -> None:
        """Remove members, add new ones, and let `sender` refresh its path."""
        self.remove(*removals)
        for _ in range(additions):
            self.add(*self.offer())
        planned = self.planned(sender)
        self.tree = planned.tree_after
        self.owners[sender].encryption_key = planned.leaf_key
        for node, secret in planned.plan.path_secrets.items():
            for leaf in self._members_below(node):
                self.owners[leaf].path_secrets[node] = secret.copy()
        self._forget_lost_secrets()

    def planned(self, sender: LeafIndex) -> PlannedPath:
        """Plan a path of `sender`, and change nothing."""
        owner, pair = self.owners[sender], self.suite.generate_key_pair(self._entropy)
        secret = PathSecret(self._entropy(self.suite.hash_length))
        plan = plan_path(self.tree, sender, self.suite, secret, pair.public)
        leaf = self._signed(owner, pair, CommitSource(plan.leaf_parent_hash), sender, self.name_of(sender))
        return PlannedPath(plan, leaf, plan.install(LeafSlot.of(leaf)), pair.private)

    def sealed(self, planned: PlannedPath, group_context: bytes) -> UpdatePath:
        """Seal a planned path to everybody under an encoded group context."""
        return seal_path(planned.plan, planned.tree_after, planned.leaf, self.suite, group_context, self._entropy)

    def _signed(self, owner: Owner, pair: HPKEKeyPair, source: _Source, leaf: LeafIndex, name: bytes) -> LeafNode:
        unsigned = LeafNode(
            encryption_key=pair.public,
            signature_key=owner.signature_keys.public,
            credential=BasicCredential(name),
            capabilities=Capabilities((ProtocolVersion.MLS10,), (self.suite.id,), (), (), (1,)),
            source=source,
            extensions=(),
            signature=b"",
        )
        tbs = leaf_node_tbs(unsigned, LeafPosition(self.group_id, leaf))
        signature = self.suite.sign_with_label(owner.signature_keys.private, b"LeafNodeTBS", tbs)
        return replace(unsigned, signature=signature)

    def _members_below(self, node: NodeIndex) -> list[LeafIndex]:
        return [leaf for leaf in self.owners if is_in_subtree(node_of(leaf), node)]

    def _forget_lost_secrets(self) -> None:
        """Drop path secrets whose nodes are blank or cut off."""
        for owner in self.owners.values():
            kept = owner.path_secrets.items()
            owner.path_secrets = {x: secret for x, secret in kept if not self.tree.is_blank(x)}


@dataclass(frozen=True, slots=True)
class PlannedPath:
    """A path before it is sealed, and the tree with it merged in."""

    plan: PathPlan
    leaf: LeafNode
    tree_after: RatchetTree
    leaf_key: HPKEPrivateKey
