"""The state of one epoch, as frozen values.

`GroupState` is what anyone who sees the handshakes can know; `EpochState` adds the secrets that members share and the
keys that are this member's alone. What is consumed, the ratchets of the secret tree, is kept apart. RFC 9420 §3.1,
§8.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mls.crypto import CipherSuite, SignaturePrivateKey
from mls.epoch.leaves import decode_leaf_node
from mls.messages import Extension, GroupContext, LeafNode
from mls.schedule.key_schedule import EpochSecrets
from treekem.index import LeafIndex, NodeIndex
from treekem.secrets import Secret
from treekem.suite import HPKEPrivateKey
from treekem.tree import RatchetTree
from treekem.wire import encode


@dataclass(frozen=True, slots=True)
class GroupState:
    """What an epoch agrees on in public: its context, its tree and the transcript so far."""

    suite: CipherSuite
    context: GroupContext
    tree: RatchetTree
    interim_transcript_hash: bytes
    confirmation_tag: bytes

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The group context's extensions."""
        return self.context.extensions

    def leaf_node(self, leaf: LeafIndex) -> LeafNode | None:
        """Return the leaf, decoded, or None where it is blank or outside the tree."""
        return leaf_node_at(self.tree, leaf)

    def encoded_context(self) -> bytes:
        """Return the group context as it is signed and derived from."""
        return encode(self.context)


@dataclass(frozen=True, slots=True)
class OwnLeaf:
    """What this member alone knows: its place, its signature key, and private keys of nodes above it. RFC 9420 §4.2."""

    index: LeafIndex
    signature_key: SignaturePrivateKey
    private_keys: Mapping[NodeIndex, HPKEPrivateKey]

    def secrets(self) -> Iterator[Secret]:
        """Iterate over all private keys, that which signs among them."""
        yield self.signature_key
        yield from self.private_keys.values()


@dataclass(frozen=True, slots=True)
class EpochState:
    """One member's view of one epoch."""

    group: GroupState
    secrets: EpochSecrets
    own: OwnLeaf

    @property
    def suite(self) -> CipherSuite:
        """The group's cipher suite."""
        return self.group.suite

    @property
    def epoch(self) -> int:
        """The epoch's number."""
        return self.group.context.epoch


def leaf_node_at(tree: RatchetTree, leaf: LeafIndex) -> LeafNode | None:
    """Return a leaf of `tree`, decoded, or None where it is blank or outside the tree."""
    if not 0 <= leaf < tree.n_leaves:
        return None
    slot = tree.leaf(leaf)
    return None if slot is None else decode_leaf_node(slot.encoded)
