"""Message framing. RFC 9420 §6."""

from __future__ import annotations

from typing import Annotated

from mls.messages.group import GroupInfo, Welcome
from mls.messages.key_package import KeyPackage
from mls.messages.proposals import Commit, Proposal
from mls.messages.registry import ContentType
from treekem.index import LeafIndex
from treekem.wire import Fixed, Given, UInt16, UInt32, UInt64, When, Width, struct


@struct(tag=1, tag_width=1)
class MemberSender:
    """A member, by its leaf. RFC 9420 §6."""

    leaf_index: LeafIndex


@struct(tag=2, tag_width=1)
class ExternalSenderIndex:
    """An entry of the external_senders extension. RFC 9420 §6."""

    sender_index: UInt32


@struct(tag=3, tag_width=1)
class NewMemberProposalSender:
    """A client that proposes to be added. RFC 9420 §6."""


@struct(tag=4, tag_width=1)
class NewMemberCommitSender:
    """A client that joins by an external commit. RFC 9420 §6."""


Sender = MemberSender | ExternalSenderIndex | NewMemberProposalSender | NewMemberCommitSender
"""Who sends a message. RFC 9420 §6."""


@struct(tag=1, tag_width=1)
class ApplicationData:
    """What the application says. RFC 9420 §6."""

    application_data: bytes


@struct(tag=2, tag_width=1)
class ProposalContent:
    """A proposal that stands alone. RFC 9420 §6."""

    proposal: Proposal


Content = ApplicationData | ProposalContent | Commit
"""What a framed message carries, after its content type. RFC 9420 §6."""


@struct
class FramedContent:
    """A message's content and where it belongs. RFC 9420 §6."""

    group_id: bytes
    epoch: UInt64
    sender: Sender
    authenticated_data: bytes
    content: Content


def is_commit(content: FramedContent) -> bool:
    """Whether the content is a commit, which alone bears a confirmation tag."""
    return isinstance(content.content, Commit)


def is_from_member(content: FramedContent) -> bool:
    """Whether a member sent the content, which then bears a membership tag."""
    return isinstance(content.sender, MemberSender)


def content_type_of(content: Content) -> ContentType:
    """Return the content type that stands before the content."""
    match content:
        case ApplicationData():
            return ContentType.APPLICATION
        case ProposalContent():
            return ContentType.PROPOSAL
        case _:
            return ContentType.COMMIT


@struct
class FramedContentAuthData:
    """A signature and, for commits alone, the confirmation tag. RFC 9420 §6.1."""

    signature: bytes
    confirmation_tag: Annotated[bytes | None, When()]


@struct
class AuthenticatedContent:
    """Content with its authentication, as it enters transcripts and proposal references. RFC 9420 §6."""

    wire_format: UInt16
    content: FramedContent
    auth: Annotated[FramedContentAuthData, Given("content", is_commit)]


@struct(tag=1, tag_width=2)
class PublicMessage:
    """A message that is authenticated, not encrypted. RFC 9420 §6.2."""

    content: FramedContent
    auth: Annotated[FramedContentAuthData, Given("content", is_commit)]
    membership_tag: Annotated[bytes | None, When("content", is_from_member)]


@struct(tag=2, tag_width=2)
class PrivateMessage:
    """A message that only members can read. RFC 9420 §6.3."""

    group_id: bytes
    epoch: UInt64
    content_type: Annotated[ContentType, Width(1)]
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes


@struct
class PrivateContentAAD:
    """What the content's encryption authenticates besides. RFC 9420 §6.3.1."""

    group_id: bytes
    epoch: UInt64
    content_type: Annotated[ContentType, Width(1)]
    authenticated_data: bytes


@struct
class SenderDataAAD:
    """What the sender data's encryption authenticates besides. RFC 9420 §6.3.2."""

    group_id: bytes
    epoch: UInt64
    content_type: Annotated[ContentType, Width(1)]


@struct
class SenderData:
    """Who sent a PrivateMessage, and with which key. RFC 9420 §6.3.2."""

    leaf_index: LeafIndex
    generation: UInt32
    reuse_guard: Annotated[bytes, Fixed(4)]


MLSMessageBody = PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage
"""What an MLSMessage carries, after its wire format. RFC 9420 §6."""


@struct
class MLSMessage:
    """The envelope of everything that is sent. RFC 9420 §6."""

    version: UInt16
    body: MLSMessageBody
