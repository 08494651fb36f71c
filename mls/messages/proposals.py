"""Proposals and commits. RFC 9420 §12.1, §12.4."""

from __future__ import annotations

from mls.messages.key_package import KeyPackage
from mls.messages.psk import PreSharedKeyID
from treekem.index import LeafIndex
from treekem.leaf_node import Extension, LeafNode
from treekem.nodes import UpdatePath
from treekem.wire import Kept, UInt16, struct


@struct(tag=1, tag_width=2)
class Add:
    """Add the client that published a key package. RFC 9420 §12.1.1."""

    key_package: KeyPackage


@struct(tag=2, tag_width=2)
class Update:
    """Replace the sender's leaf. RFC 9420 §12.1.2."""

    leaf_node: LeafNode


@struct(tag=3, tag_width=2)
class Remove:
    """Remove a member. RFC 9420 §12.1.3."""

    removed: LeafIndex


@struct(tag=4, tag_width=2)
class PreSharedKey:
    """Inject a pre-shared key. RFC 9420 §12.1.4."""

    psk: PreSharedKeyID


@struct(tag=5, tag_width=2)
class ReInit:
    """Continue in a new group with other parameters. RFC 9420 §12.1.5."""

    group_id: bytes
    version: UInt16
    cipher_suite: UInt16
    extensions: tuple[Extension, ...]


@struct(tag=6, tag_width=2)
class ExternalInit:
    """Join with a commit of one's own. RFC 9420 §12.1.6."""

    kem_output: bytes


@struct(tag=7, tag_width=2)
class GroupContextExtensions:
    """Replace the group context's extensions. RFC 9420 §12.1.7."""

    extensions: tuple[Extension, ...]


@struct(rest=True, tag_width=2)
class CustomProposal:
    """A proposal of a type that the application has registered; `body` is what stands behind the type, encoded.

    Nothing on the wire says how long it is, so only who knows the type can read a message with one in it.
    RFC 9420 §13.2.
    """

    proposal_type: UInt16
    body: bytes


Proposal = Add | Update | Remove | PreSharedKey | ReInit | ExternalInit | GroupContextExtensions | CustomProposal
"""A change that a commit may cover. RFC 9420 §12.1."""


@struct(tag=1, tag_width=1)
class InlineProposal:
    """A proposal that stands in the commit itself. RFC 9420 §12.4."""

    proposal: Proposal


@struct(tag=2, tag_width=1)
class ProposalRef:
    """A proposal sent before, by its hash. RFC 9420 §5.2, §12.4."""

    reference: bytes


ProposalOrRef = InlineProposal | ProposalRef
"""RFC 9420 §12.4."""


@struct(tag=3, tag_width=1)
class Commit(Kept):
    """Proposals to apply, and new keys for the committer's path. RFC 9420 §12.4."""

    proposals: tuple[ProposalOrRef, ...]
    path: UpdatePath | None
