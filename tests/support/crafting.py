"""Commits, leaves and key packages that no honest client makes, well signed and tagged; and clients of other abilities.

A `Forger` is an insider that says what it likes within a commit. What it sends carries a wrong confirmation tag unless
it is `honest`: a receiver looks at the tag last, so a refusal by any other rule shows that this rule was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mls import Client, Extension, Group, MLSError, intents
from mls.crypto import SignatureKeyPair, SignaturePrivateKey, cipher_suite
from mls.epoch.create_commit import CommitOrder, CreatedCommit, LeafContent, create_commit, own_leaf_content
from mls.epoch.environment import Environment
from mls.epoch.join import KeyPackageBundle, create_epoch_zero
from mls.epoch.proposals import QueuedProposal, apply_proposals
from mls.epoch.queue import proposal_ref
from mls.messages import (
    Capabilities,
    Commit,
    CommitSource,
    InlineProposal,
    KeyPackage,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    MemberSender,
    MLSMessage,
    Proposal,
    ProposalContent,
    ProposalRef,
    ProtocolVersion,
    Sender,
    UpdateSource,
    encode_unsigned,
    leaf_node_tbs,
)
from mls.store.client_records import key_package_key, pack_bundle, unpack_bundle
from tests.adversarial.insider import PRIVATE, PUBLIC, Insider, assert_refused
from tests.support.world import World, join
from treekem.index import LeafIndex
from treekem.nodes import HPKECiphertext, LeafSlot, UpdatePath
from treekem.path import _parents_of_path, apply_path, plan_path, seal_path
from treekem.suite import PathSecret
from treekem.tree import RatchetTree
from treekem.wire import decode, encode

UNKNOWN_EXTENSION = 0xF001
UNKNOWN_PROPOSAL = 0xF002
Source = KeyPackageSource | UpdateSource | CommitSource
UPDATE = UpdateSource()


@dataclass(frozen=True)
class Sent:
    """A proposal message and its reference."""

    message: bytes
    reference: bytes
    queued: QueuedProposal


class Forger(Insider):
    """An insider that commits what it likes."""

    @property
    def env(self) -> Environment:
        """What a transition of this member gets."""
        return self.group._environment()

    # Leaves and paths.

    def own_leaf(self) -> LeafNode:
        """Return this member's leaf as it is."""
        leaf = self.state.group.leaf_node(self.leaf)
        assert leaf is not None
        return leaf

    def leaf_node(
        self,
        source: Source,
        *,
        position: LeafPosition | None = None,
        signed: bool = True,
        **fields: Any,  # noqa: ANN401  (fields of LeafNode)
    ) -> LeafNode:
        """Return this member's leaf with a fresh encryption key and other `fields`, signed for its own place."""
        key = self.suite.generate_key_pair(self.env.entropy).public
        unsigned = replace(self.own_leaf(), **{"encryption_key": key, "source": source, "signature": b"", **fields})
        if not signed:
            return replace(unsigned, signature=bytes(64))
        place = LeafPosition(self.context.group_id, self.leaf) if position is None else position
        return signed_leaf(self.suite.id, unsigned, place, self.state.own.signature_key)

    def queued(self, *proposals: Proposal | Sent) -> tuple[QueuedProposal, ...]:
        """Return proposals as this member commits them."""
        own = MemberSender(self.leaf)
        return tuple(each.queued if isinstance(each, Sent) else QueuedProposal(each, own) for each in proposals)

    def path(self, *proposals: Proposal | Sent, source: Source | None = None, **fields: Any) -> UpdatePath:  # noqa: ANN401  (what `leaf_node` takes)
        """Return a path over the tree that valid proposals leave behind; `fields` change its leaf after the fact."""
        group, suite, env = self.state.group, self.suite, self.env
        applied = apply_proposals(group, self.queued(*proposals), env)
        pair = suite.generate_key_pair(env.entropy)
        plan = plan_path(applied.tree, self.leaf, suite, PathSecret(env.entropy(suite.hash_length)), pair.public)
        true = CommitSource(plan.leaf_parent_hash)
        honest = self.leaf_node(true, encryption_key=pair.public)
        after = plan.install(LeafSlot.of(honest))
        tree_hash = after.tree_hash(suite)
        context = replace(
            self.context, epoch=self.context.epoch + 1, tree_hash=tree_hash, extensions=applied.extensions
        )
        path = seal_path(plan, after, honest, suite, encode(context), env.entropy, applied.new_leaves)
        changed = {"encryption_key": pair.public, **fields}
        return replace(path, leaf_node=self.leaf_node(true if source is None else source, **changed))

    def crooked_path(self, keys: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> UpdatePath:
        """Return a path whose secrets are good and whose public keys are others, parent hashes and all."""
        group, suite, env = self.state.group, self.suite, self.env
        pair = suite.generate_key_pair(env.entropy)
        plan = plan_path(group.tree, self.leaf, suite, PathSecret(env.entropy(suite.hash_length)), pair.public)
        parents, leaf_parent_hash = _parents_of_path(group.tree, self.leaf, suite, keys(plan.public_keys))
        plan = replace(plan, parents=parents, leaf_parent_hash=leaf_parent_hash)
        leaf = self.leaf_node(CommitSource(leaf_parent_hash), encryption_key=pair.public)
        after = plan.install(LeafSlot.of(leaf))
        return seal_path(plan, after, leaf, suite, self.path_context(after), env.entropy)

    def resealed(self, path: UpdatePath, node: int, entry: int, secret: bytes) -> UpdatePath:
        """Return a path that tells one recipient another secret, sealed under the right context."""
        after = apply_path(self.state.group.tree, self.leaf, path, self.suite)
        _, copath_child = after.filtered_direct_path(self.leaf)[node]
        key = after.encryption_key(after.resolution(copath_child)[entry])
        assert key is not None
        context = self.path_context(after)
        sealed = self.suite.encrypt_with_label(key, b"UpdatePathNode", context, secret, self.env.entropy)
        return with_ciphertext(path, node, entry, HPKECiphertext(*sealed))

    def path_context(self, after: RatchetTree) -> bytes:
        """Return the context that a path is sealed under which leads to a tree. RFC 9420 §7.6, §12.4.1."""
        tree_hash = after.tree_hash(self.suite)
        return encode(replace(self.context, epoch=self.context.epoch + 1, tree_hash=tree_hash))

    # Commits.

    def commit(
        self,
        *entries: Proposal | Sent | bytes,
        path: UpdatePath | None = None,
        tag: bytes = bytes(32),
        sender: Sender | None = None,
        private: bool = False,
    ) -> bytes:
        """Return a commit of proposals, by value or by reference, that nobody has checked."""
        commit = Commit(tuple(map(_entry, entries)), path)
        wire_format = PRIVATE if private else PUBLIC
        signed = self.signed(self.framed(commit, sender=sender), wire_format, tag=tag)
        return self.private(signed) if private else self.public(signed)

    def order(self, *proposals: Proposal | Sent, path: bool | None = None, **options: Any) -> CreatedCommit:  # noqa: ANN401  (options of CommitOrder)
        """Create a commit as the engine does, with all its checks."""
        order = CommitOrder(self.queued(*proposals), path, private=False, **options)
        return create_commit(self.state, order, self.standing.keys, self.env)

    def honest(self, *proposals: Proposal | Sent, path: bool | None = None, **options: Any) -> bytes:  # noqa: ANN401  (likewise)
        """Return a commit that the engine created."""
        return encode(self.order(*proposals, path=path, **options).message)

    def content(self, **changes: Any) -> LeafContent:  # noqa: ANN401  (fields of LeafContent)
        """Return what this member's leaf says, with changes."""
        return replace(own_leaf_content(self.state), **changes)

    def new_signature_keys(self) -> SignatureKeyPair:
        """Return a new signature key pair of the group's suite."""
        return self.suite.generate_signature_key_pair(self.env.entropy)

    def send(self, proposal: Proposal) -> Sent:
        """Return a proposal message of this member, in the clear."""
        signed = self.signed(self.framed(ProposalContent(proposal)), PUBLIC)
        reference = proposal_ref(self.suite, signed)
        return Sent(self.public(signed), reference, QueuedProposal(proposal, MemberSender(self.leaf), reference))


def _entry(entry: Proposal | Sent | bytes) -> InlineProposal | ProposalRef:
    match entry:
        case bytes():
            return ProposalRef(entry)
        case Sent(reference=reference):
            return ProposalRef(reference)
        case _:
            return InlineProposal(entry)


def with_node(path: UpdatePath, position: int, **fields: Any) -> UpdatePath:  # noqa: ANN401  (fields of UpdatePathNode)
    """Return a path of which one node has other fields."""
    node = replace(path.nodes[position], **fields)
    return replace(path, nodes=(*path.nodes[:position], node, *path.nodes[position + 1 :]))


def with_ciphertext(path: UpdatePath, position: int, entry: int, sealed: HPKECiphertext) -> UpdatePath:
    """Return a path of which one recipient gets another ciphertext."""
    before = path.nodes[position].encrypted_path_secret
    return with_node(path, position, encrypted_path_secret=(*before[:entry], sealed, *before[entry + 1 :]))


def assert_both_refuse(
    forger: Forger,
    receivers: Group | Sequence[Group],
    proposals: Sequence[Proposal | Sent],
    refusal: tuple[type[MLSError], str, str],
    path: UpdatePath | None = None,
) -> None:
    """Assert that a committer does not send a list, and that nobody takes it, by the same rule. RFC 9420 §12.2."""
    error, rule, code = refusal
    with pytest.raises(MLSError) as caught:
        forger.order(*proposals)
    assert (type(caught.value), caught.value.rule, caught.value.code) == (error, rule, code), caught.value
    some_path = forger.path() if path is None else path
    refused = assert_refused(receivers, forger.commit(*proposals, path=some_path), error, rule, code)
    assert refused.authenticated


# Leaves and key packages of clients outside.


def signed_leaf(suite: int, unsigned: LeafNode, position: LeafPosition, key: SignaturePrivateKey) -> LeafNode:
    """Sign a leaf for a place."""
    tbs = leaf_node_tbs(unsigned, position)
    return replace(unsigned, signature=cipher_suite(suite).sign_with_label(key, b"LeafNodeTBS", tbs))


def package_of(message: bytes) -> KeyPackage:
    """Return the key package in a message."""
    body = decode(MLSMessage, message).body
    assert isinstance(body, KeyPackage)
    return body


def plain_package(client: Client) -> KeyPackage:
    """Return a new key package of a client without values that mean nothing, which crafted lists would belie."""
    settings = client._settings
    client._settings = replace(settings, grease=False)
    try:
        return package_of(client.key_package())
    finally:
        client._settings = settings


def crafted_package(
    client: Client,
    *,
    leaf: dict[str, Any] | None = None,
    leaf_position: LeafPosition | None = None,
    leaf_signature: bytes | None = None,
    signature_keys: SignatureKeyPair | None = None,
    **fields: Any,  # noqa: ANN401  (fields of KeyPackage)
) -> KeyPackage:
    """Return a key package of a client with other contents, signed again throughout; its private half is kept too."""
    keys = client._signature_keys if signature_keys is None else signature_keys
    genuine = plain_package(client)
    name = key_package_key(_reference(genuine))
    record = client._store.read(name)
    assert record is not None
    suite = genuine.cipher_suite
    unsigned = replace(genuine.leaf_node, **{"signature_key": keys.public, **(leaf or {}), "signature": b""})
    place = LeafPosition(b"", LeafIndex(0)) if leaf_position is None else leaf_position
    node = signed_leaf(suite, unsigned, place, keys.private)
    if leaf_signature is not None:
        node = replace(node, signature=leaf_signature)
    package = resigned_package(replace(genuine, **{"leaf_node": node, **fields}), suite, keys.private)
    bundle = unpack_bundle(name, record)
    kept = KeyPackageBundle(package, bundle.init_key, bundle.encryption_key, keys)
    client._store.apply({name: None, key_package_key(_reference(package, suite)): pack_bundle(kept)})
    return package


def resigned_package(package: KeyPackage, suite: int, key: SignaturePrivateKey) -> KeyPackage:
    """Sign a key package."""
    tbs = encode_unsigned(package)
    return replace(package, signature=cipher_suite(suite).sign_with_label(key, b"KeyPackageTBS", tbs))


def _reference(package: KeyPackage, suite: int | None = None) -> bytes:
    number = package.cipher_suite if suite is None else suite
    return cipher_suite(number).ref_hash(b"MLS 1.0 KeyPackage Reference", encode(package))


def message_of(package: KeyPackage, version: int = ProtocolVersion.MLS10) -> bytes:
    """Return a key package as a message."""
    return encode(MLSMessage(version, package))


def capabilities_of(client: Client, **changes: tuple[int, ...]) -> Capabilities:
    """Return what a client says it can do, with changes."""
    return replace(plain_package(client).leaf_node.capabilities, **changes)


# Groups of clients that can do more than this engine.


def capable_package(client: Client, **capabilities: tuple[int, ...]) -> bytes:
    """Return a key package of a client that claims other capabilities than the engine has."""
    claimed = capabilities_of(client, **capabilities)
    return message_of(crafted_package(client, leaf={"capabilities": claimed}))


def founded(client: Client, in_use: tuple[Extension, ...] = (), **capabilities: tuple[int, ...]) -> Group:
    """Found a group by a client that claims other capabilities than the engine has."""
    package = package_of(capable_package(client, **capabilities))
    name = key_package_key(_reference(package))
    record = client._store.read(name)
    assert record is not None
    env = client._environment()
    state = create_epoch_zero(env.entropy(16), unpack_bundle(name, record), in_use, env)
    return client._founded(state, {name: None})


def capable_group(
    world: World, n: int, in_use: tuple[Extension, ...] = (), **capabilities: tuple[int, ...]
) -> list[Group]:
    """Return a group whose members claim other capabilities than the engine has, as each holds it."""
    clients = [world.client(f"capable-{len(world.clients)}") for _ in range(n)]
    founder = founded(clients[0], in_use, **capabilities)
    packages = [capable_package(client, **capabilities) for client in clients[1:]]
    if not packages:
        return [founder]
    pending = world.commit(founder, [intents.Add(package) for package in packages])
    return [founder, *(join(client, pending) for client in clients[1:])]
