"""Framing: signing, tagging and encrypting content, and undoing it.

A message is accepted when everything that vouches for it has been verified; only then is its content looked at. Keys
are staged, never consumed, while that is open. RFC 9420 §6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mls.crypto import CipherSuite, SignaturePrivateKey
from mls.epoch.extensions import external_senders
from mls.epoch.leaves import verify_signature
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidFraming,
    InvalidTag,
    MalformedMessage,
    UsageError,
)
from mls.messages import (
    Add,
    ApplicationData,
    AuthenticatedContent,
    Commit,
    Content,
    ContentType,
    CustomProposal,
    ExternalSenderIndex,
    FramedContent,
    FramedContentAuthData,
    GroupContext,
    LeafNode,
    MemberSender,
    MLSMessage,
    NewMemberCommitSender,
    NewMemberProposalSender,
    PrivateContentAAD,
    PrivateMessage,
    ProposalContent,
    ProposalType,
    ProtocolVersion,
    PublicMessage,
    SenderData,
    SenderDataAAD,
    WireFormat,
    content_type_of,
)
from mls.rules import refuse, require, require_kind, require_present
from mls.schedule.key_schedule import MembershipKey, SenderDataSecret, sender_data_key_and_nonce
from mls.schedule.secret_tree import SecretTree, StagedKey
from treekem.index import LeafIndex
from treekem.suite import Entropy
from treekem.wire import Bodies, UInt16, decode, decode_prefix, encode, encode_as

LeafLookup = Callable[[LeafIndex], LeafNode | None]
"""Returns a leaf of an epoch's tree, or None where it is blank or outside."""

EXTERNAL_PROPOSALS = frozenset(
    (
        ProposalType.ADD,
        ProposalType.REMOVE,
        ProposalType.PSK,
        ProposalType.REINIT,
        ProposalType.GROUP_CONTEXT_EXTENSIONS,
    )
)
"""What an external sender may propose. RFC 9420 §12.1.8, §17.4."""

_CONTENT_TYPES: dict[ContentType, type[ApplicationData | ProposalContent | Commit]] = {
    ContentType.APPLICATION: ApplicationData,
    ContentType.PROPOSAL: ProposalContent,
    ContentType.COMMIT: Commit,
}
_GUARD_LENGTH = 4
_SEALED_OVERHEAD = 12 + 16 + 16 + 3
"""Sender data, two AEAD tags, and the bytes by which a ciphertext's length prefix grows at most."""


@dataclass(frozen=True, slots=True)
class SenderKeys:
    """The keys that open sender data and content of one epoch; the secret tree is the one thing that is mutable."""

    sender_data_secret: SenderDataSecret
    secret_tree: SecretTree


@dataclass(frozen=True, slots=True)
class Opened:
    """A PrivateMessage that decrypted and verified; `key` is still to be consumed."""

    content: AuthenticatedContent
    key: StagedKey


# Signatures and tags, §6.1, §6.2.


def framed_content_tbs(content: FramedContent, wire_format: WireFormat, context: GroupContext) -> bytes:
    """Return FramedContentTBS; members and external joiners bind it to the group context. RFC 9420 §6.1."""
    head = encode_as(UInt16, ProtocolVersion.MLS10) + encode_as(UInt16, wire_format) + encode(content)
    match content.sender:
        case MemberSender() | NewMemberCommitSender():
            return head + encode(context)
        case _:
            return head


def sign_content(
    suite: CipherSuite,
    signature_key: SignaturePrivateKey,
    content: FramedContent,
    wire_format: WireFormat,
    context: GroupContext,
) -> bytes:
    """Return the signature over the content. RFC 9420 §6.1."""
    return suite.sign_with_label(signature_key, b"FramedContentTBS", framed_content_tbs(content, wire_format, context))


def membership_tag(
    suite: CipherSuite, key: MembershipKey, content: AuthenticatedContent, context: GroupContext
) -> bytes:
    """Return the tag that shows a PublicMessage to come from a member. RFC 9420 §6.2."""
    return suite.mac(key, _tbm(content, context))


def _tbm(content: AuthenticatedContent, context: GroupContext) -> bytes:
    # AuthenticatedContent, with version and context around what is signed; encoded once, as nothing vouches for it yet.
    encoded = encode(content)
    auth = (content.auth.signature, content.auth.confirmation_tag)
    end = len(encoded) - sum(len(encode_as(bytes, each)) for each in auth if each is not None)
    return encode_as(UInt16, ProtocolVersion.MLS10) + encoded[:end] + encode(context) + encoded[end:]


def verify_sender(content: FramedContent, wire_format: WireFormat) -> None:
    """Check that sender, wire format and content may go together. Raises InvalidFraming. RFC 9420 §6, §12.1.8."""
    inner = content.content
    is_private = wire_format is WireFormat.PRIVATE_MESSAGE
    if isinstance(inner, ApplicationData):
        require(is_private, InvalidFraming, "R-6-01", "application data in a PublicMessage")
        require(
            isinstance(content.sender, MemberSender), InvalidFraming, "R-6-09", "application data of a sender outside"
        )
    match content.sender:
        case MemberSender():
            return
        case ExternalSenderIndex():
            proposed = isinstance(inner, ProposalContent) and _may_come_from_outside(inner)
            message = "an external sender may not send this"
            require(isinstance(inner, ProposalContent), InvalidFraming, "R-6.1-10", message)
            require(proposed, InvalidFraming, "R-12.1.8-04", message)
        case NewMemberProposalSender():
            adds = isinstance(inner, ProposalContent) and isinstance(inner.proposal, Add)
            require(adds, InvalidFraming, "R-6.1-12", "a new member may propose its own addition only")
        case NewMemberCommitSender():
            commits = isinstance(inner, Commit) and inner.path is not None
            message = "a new member's commit carries a path"
            require(commits, InvalidFraming, "R-6.1-11", message, code=Code.PATH_REQUIRED)
    require(not is_private, InvalidFraming, "R-12.1.8-03", "a sender outside the group sends a PublicMessage")


def _may_come_from_outside(content: ProposalContent) -> bool:
    # Of types that the application has registered, its registry says so.
    return isinstance(content.proposal, CustomProposal) or _type_of(content) in EXTERNAL_PROPOSALS


def _type_of(content: ProposalContent) -> int:
    return decode_prefix(UInt16, encode(content))[0]


def signature_key_of(content: FramedContent, context: GroupContext, leaf: LeafLookup) -> bytes:
    """Return the public key that must have signed the content. Raises InvalidFraming. RFC 9420 §6.1."""
    match content.sender:
        case MemberSender(leaf_index=index):
            message = f"leaf {index} sends, but it is blank"
            node = require_present(leaf(index), InvalidFraming, "R-6.1-07", message, code=Code.UNVERIFIED)
            return node.signature_key
        case ExternalSenderIndex(sender_index=index):
            senders = external_senders(context.extensions)
            listed = () if senders is None else senders.external_senders
            require(index < len(listed), InvalidFraming, "R-6.1-09", f"the group has no external sender {index}")
            return listed[index].signature_key
        case _:
            return _joiner_key(content.content)


def _joiner_key(content: Content) -> bytes:
    match content:
        case ProposalContent(proposal=Add(key_package=key_package)):
            return key_package.leaf_node.signature_key
        case Commit(path=path) if path is not None:
            return path.leaf_node.signature_key
        case _:
            refuse(InvalidFraming, "R-6.1-12", "a sender outside the group sends nothing of its own")
            return b""


def verify_content(suite: CipherSuite, content: AuthenticatedContent, context: GroupContext, leaf: LeafLookup) -> None:
    """Check who signed the content and that it did. Raises InvalidFraming or InvalidSignature. RFC 9420 §6.1."""
    wire_format = WireFormat(content.wire_format)
    verify_sender(content.content, wire_format)
    key = signature_key_of(content.content, context, leaf)
    tbs = framed_content_tbs(content.content, wire_format, context)
    verify_signature(suite, key, b"FramedContentTBS", tbs, content.auth.signature, "R-6.1-13", "the message's")


# PublicMessage, §6.2.


def protect_public(
    suite: CipherSuite, content: AuthenticatedContent, context: GroupContext, key: MembershipKey | None
) -> PublicMessage:
    """Frame signed content as a PublicMessage; `key` is the membership key, for a member's content. RFC 9420 §6.2."""
    is_handshake = not isinstance(content.content.content, ApplicationData)
    require(is_handshake, UsageError, "R-6-01", "application data is never sent in a PublicMessage")
    tag = None if key is None else membership_tag(suite, key, content, context)
    return PublicMessage(content.content, content.auth, tag)


def open_public(
    suite: CipherSuite, message: PublicMessage, context: GroupContext, key: MembershipKey, leaf: LeafLookup
) -> AuthenticatedContent:
    """Return a PublicMessage's content once its tag and signature have verified.

    Raises InvalidFraming, InvalidTag or InvalidSignature. RFC 9420 §6.2.
    """
    content = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, message.content, message.auth)
    verify_sender(message.content, WireFormat.PUBLIC_MESSAGE)
    if message.membership_tag is not None:
        matches = suite.verify_mac(key, _tbm(content, context), message.membership_tag)
        require(matches, InvalidTag, "R-6.2-03", "the membership tag does not match")
    verify_content(suite, content, context, leaf)
    return content


# PrivateMessage, §6.3.


def protect_private(
    suite: CipherSuite,
    content: AuthenticatedContent,
    keys: SenderKeys,
    *,
    padding: Callable[[int], int],
    entropy: Entropy,
    limit: int | None = None,
) -> tuple[PrivateMessage, StagedKey]:
    """Encrypt signed content, and return the key that this spends: consume it before the message leaves.

    Padding stops where the message would become larger than `limit`, in bytes of an MLSMessage. Raises UsageError for
    padding of less than nothing. RFC 9420 §6.3.
    """
    framed = content.content
    message_text = "only a member sends a PrivateMessage"
    sender = require_kind(framed.sender, MemberSender, UsageError, "R-6.3.2-02", message_text)
    kind = content_type_of(framed.content)
    staged = keys.secret_tree.stage_next(sender.leaf_index, kind)
    guard = entropy(_GUARD_LENGTH)
    plaintext = _private_plaintext(content)
    wanted = padding(len(plaintext))
    require(wanted >= 0, UsageError, "S-padding", f"padding of {wanted} bytes")
    plaintext += bytes(wanted if limit is None else min(wanted, _room(framed, len(plaintext), limit)))
    aad = encode(PrivateContentAAD(framed.group_id, framed.epoch, kind, framed.authenticated_data))
    ciphertext = suite.aead_seal(staged.key, _guarded(staged.nonce, guard), aad, plaintext)
    sender_data = encode(SenderData(sender.leaf_index, staged.generation, guard))
    key, nonce = sender_data_key_and_nonce(suite, keys.sender_data_secret, ciphertext)
    sender_aad = encode(SenderDataAAD(framed.group_id, framed.epoch, kind))
    sealed = suite.aead_seal(key, nonce, sender_aad, sender_data)
    key.wipe()
    message = PrivateMessage(framed.group_id, framed.epoch, kind, framed.authenticated_data, sealed, ciphertext)
    return message, staged


def _room(framed: FramedContent, length: int, limit: int) -> int:
    """Return how much padding fits behind a plaintext of `length` bytes; 0 where the message is too large without."""
    kind = content_type_of(framed.content)
    empty = PrivateMessage(framed.group_id, framed.epoch, kind, framed.authenticated_data, b"", b"")
    frame = len(encode(MLSMessage(ProtocolVersion.MLS10, empty))) + _SEALED_OVERHEAD
    return max(0, limit - frame - length)


def open_sender_data(suite: CipherSuite, message: PrivateMessage, secret: SenderDataSecret) -> SenderData:
    """Decrypt who sent a message; any member can have written it. Raises InvalidCiphertext. RFC 9420 §6.3.2."""
    key, nonce = sender_data_key_and_nonce(suite, secret, message.ciphertext)
    aad = encode(SenderDataAAD(message.group_id, message.epoch, message.content_type))
    try:
        plaintext = suite.aead_open(key, nonce, aad, message.encrypted_sender_data)
    except InvalidCiphertext:
        message_text = "the sender data does not decrypt"
        refuse(InvalidCiphertext, "R-6.3.2-05", message_text, code=Code.SENDER_DATA_UNDECRYPTABLE)
        raise
    finally:
        key.wipe()
    return decode(SenderData, plaintext)


def open_private(
    suite: CipherSuite,
    message: PrivateMessage,
    sender: SenderData,
    keys: SenderKeys,
    context: GroupContext,
    leaf: LeafLookup,
    bodies: Bodies = (),
    now: int = 0,
) -> Opened:
    """Return a PrivateMessage's content once it has decrypted and its signature verified; no key is consumed yet.

    `bodies` are those of the proposal types that the application registered; `now` is as for `SecretTree.stage`.
    Raises InvalidCiphertext, InvalidFraming, InvalidSignature, MalformedMessage or UnavailableSecret. RFC 9420 §6.3.
    """
    blank = leaf(sender.leaf_index) is None
    message_text = f"leaf {sender.leaf_index} sends, but it is blank or outside the tree"
    require(not blank, InvalidFraming, "R-6.3.2-06", message_text, code=Code.UNVERIFIED)
    staged = keys.secret_tree.stage(sender.leaf_index, message.content_type, sender.generation, now)
    aad = encode(PrivateContentAAD(message.group_id, message.epoch, message.content_type, message.authenticated_data))
    plaintext = suite.aead_open(staged.key, _guarded(staged.nonce, sender.reuse_guard), aad, message.ciphertext)
    inner, auth = _decode_private_plaintext(message.content_type, plaintext, bodies)
    member = MemberSender(sender.leaf_index)
    framed = FramedContent(message.group_id, message.epoch, member, message.authenticated_data, inner)
    content = AuthenticatedContent(WireFormat.PRIVATE_MESSAGE, framed, auth)
    verify_content(suite, content, context, leaf)
    return Opened(content, staged)


def _guarded(nonce: bytes, guard: bytes) -> bytes:
    head = int.from_bytes(nonce[:_GUARD_LENGTH], "big") ^ int.from_bytes(guard, "big")
    return head.to_bytes(_GUARD_LENGTH, "big") + nonce[_GUARD_LENGTH:]


def _private_plaintext(content: AuthenticatedContent) -> bytes:
    auth = (content.auth.signature, content.auth.confirmation_tag)
    return encode(content.content.content) + b"".join(encode_as(bytes, each) for each in auth if each is not None)


def _decode_private_plaintext(
    kind: ContentType, plaintext: bytes, bodies: Bodies
) -> tuple[Content, FramedContentAuthData]:
    """Split PrivateMessageContent, whose layout the outer content type decides. RFC 9420 §6.3.1."""
    inner, offset = decode_prefix(_CONTENT_TYPES[kind], plaintext, bodies=bodies)
    auth, offset = decode_prefix(FramedContentAuthData, plaintext, offset, given=kind is ContentType.COMMIT)
    require(
        not any(plaintext[offset:]),
        MalformedMessage,
        "R-6.3.1-03",
        f"the padding from byte {offset} on is not all zero",
        code=Code.NON_ZERO_PADDING,
    )
    return inner, auth
