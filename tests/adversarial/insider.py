"""A member that says what it likes: it builds any structure, then signs, tags and encrypts it as the protocol asks.

What it knows is what a member knows: its own signature key, the keys that all members share, and every ratchet of the
secret tree that it has not used up itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from mls import Group, MLSError
from mls.crypto import SignaturePrivateKey
from mls.epoch.framing import membership_tag, open_private, open_public, open_sender_data, sign_content
from mls.messages import (
    AuthenticatedContent,
    Commit,
    Content,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    MemberSender,
    MLSMessage,
    PrivateContentAAD,
    PrivateMessage,
    Proposal,
    ProposalContent,
    ProtocolVersion,
    PublicMessage,
    Sender,
    SenderData,
    SenderDataAAD,
    WireFormat,
    content_type_of,
)
from mls.schedule.key_schedule import sender_data_key_and_nonce
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.wire import Bodies, UInt16, decode, encode, encode_as

PUBLIC, PRIVATE = WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE
GUARD = b"\x10\x20\x30\x40"


@dataclass(frozen=True)
class Envelope:
    """What a PrivateMessage says beside its content; None stands for the truth."""

    leaf: int | None = None
    generation: int | None = None
    ratchet_of: int | None = None
    padding: bytes = b""
    plaintext: bytes | None = None
    sender_data: bytes | None = None
    header_type: ContentType | None = None


TRUE_ENVELOPE = Envelope()


class Insider:
    """A copy of a member, taken as it stands; what it sends does not touch the member it was taken from."""

    def __init__(self, world: World, group: Group) -> None:
        self.group = world.twin(group)
        self.standing = self.group._standing
        self.state = self.standing.state
        self.suite = self.state.suite
        self.context = self.state.group.context
        self.leaf = self.state.own.index

    # Building.

    def framed(
        self,
        content: Content,
        *,
        sender: Sender | None = None,
        group_id: bytes | None = None,
        epoch: int | None = None,
        authenticated_data: bytes = b"",
    ) -> FramedContent:
        """Return content as this member would send it, but for what is given."""
        return FramedContent(
            self.context.group_id if group_id is None else group_id,
            self.context.epoch if epoch is None else epoch,
            MemberSender(self.leaf) if sender is None else sender,
            authenticated_data,
            content,
        )

    def signed(
        self,
        framed: FramedContent,
        wire_format: WireFormat = PUBLIC,
        *,
        tag: bytes = b"no tag",
        key: SignaturePrivateKey | None = None,
    ) -> AuthenticatedContent:
        """Sign content, by this member's key unless another is given; `tag` serves where the content is a commit."""
        chosen = self.state.own.signature_key if key is None else key
        signature = sign_content(self.suite, chosen, framed, wire_format, self.context)
        confirmation = tag if isinstance(framed.content, Commit) else None
        return AuthenticatedContent(wire_format, framed, FramedContentAuthData(signature, confirmation))

    def resigned(self, content: AuthenticatedContent) -> AuthenticatedContent:
        """Sign changed content again; a confirmation tag stays as it is."""
        tag = content.auth.confirmation_tag
        return self.signed(content.content, WireFormat(content.wire_format), tag=tag or b"")

    # Sending.

    def public(self, content: AuthenticatedContent) -> bytes:
        """Return a PublicMessage with a membership tag that fits, where the sender is a member."""
        is_member = isinstance(content.content.sender, MemberSender)
        key = self.state.secrets.membership_key
        tag = membership_tag(self.suite, key, content, self.context) if is_member else None
        return wrapped(PublicMessage(content.content, content.auth, tag))

    def private(self, content: AuthenticatedContent, envelope: Envelope = TRUE_ENVELOPE) -> bytes:
        """Return a PrivateMessage; the signature within need not be a good one."""
        framed = content.content
        kind = content_type_of(framed.content) if envelope.header_type is None else envelope.header_type
        leaf = LeafIndex(self.leaf if envelope.leaf is None else envelope.leaf)
        ratchet_of = LeafIndex(leaf if envelope.ratchet_of is None else envelope.ratchet_of)
        tree = self.standing.secret_tree
        generation = tree.next_generation(ratchet_of, kind) if envelope.generation is None else envelope.generation
        staged = tree.stage(ratchet_of, kind, min(generation, tree.next_generation(ratchet_of, kind) + 100))
        nonce = bytes(a ^ b for a, b in zip(staged.nonce, GUARD.ljust(len(staged.nonce), b"\0"), strict=True))
        plaintext = plaintext_of(content) if envelope.plaintext is None else envelope.plaintext
        aad = encode(PrivateContentAAD(framed.group_id, framed.epoch, kind, framed.authenticated_data))
        ciphertext = self.suite.aead_seal(staged.key, nonce, aad, plaintext + envelope.padding)
        told = encode(SenderData(leaf, generation, GUARD)) if envelope.sender_data is None else envelope.sender_data
        return self.sealed(framed, kind, told, ciphertext)

    def sealed(self, framed: FramedContent, kind: ContentType, sender_data: bytes, ciphertext: bytes) -> bytes:
        """Return a PrivateMessage around a ciphertext, whatever it is."""
        key, nonce = sender_data_key_and_nonce(self.suite, self.state.secrets.sender_data, ciphertext)
        aad = encode(SenderDataAAD(framed.group_id, framed.epoch, kind))
        sealed = self.suite.aead_seal(key, nonce, aad, sender_data)
        head = (framed.group_id, framed.epoch, kind, framed.authenticated_data)
        return wrapped(PrivateMessage(*head, sealed, ciphertext))

    # The common cases.

    def say(self, content: Content, *, wire_format: WireFormat = PUBLIC, **said: object) -> bytes:
        """Return a message as this member would send it, but for what `said` changes of its framing."""
        framed = replace(self.framed(content), **said)  # type: ignore[arg-type]  # whatever a test wants to say
        signed = self.signed(framed, wire_format)
        return self.private(signed) if wire_format is PRIVATE else self.public(signed)

    def propose(self, proposal: Proposal, *, wire_format: WireFormat = PUBLIC, **said: object) -> bytes:
        """Return a proposal of this member."""
        return self.say(ProposalContent(proposal), wire_format=wire_format, **said)

    # Reading.

    def read(self, message: bytes) -> AuthenticatedContent:
        """Return the content of another member's message, and use up nothing."""
        body = decode(MLSMessage, message).body
        look = self.state.group.leaf_node
        if isinstance(body, PublicMessage):
            return open_public(self.suite, body, self.context, self.state.secrets.membership_key, look)
        assert isinstance(body, PrivateMessage)
        sender = open_sender_data(self.suite, body, self.state.secrets.sender_data)
        return open_private(self.suite, body, sender, self.standing.keys, self.context, look).content


def wrapped(body: PublicMessage | PrivateMessage) -> bytes:
    """Return a message in its envelope."""
    return encode(MLSMessage(ProtocolVersion.MLS10, body))


def public_message(message: bytes, bodies: Bodies = ()) -> PublicMessage:
    """Return the PublicMessage that a message is; `bodies` are those of proposals that an application added."""
    body = decode(MLSMessage, message, bodies=bodies).body
    assert isinstance(body, PublicMessage)
    return body


def private_message(message: bytes) -> PrivateMessage:
    """Return the PrivateMessage that a message is."""
    body = decode(MLSMessage, message).body
    assert isinstance(body, PrivateMessage)
    return body


def plaintext_of(content: AuthenticatedContent) -> bytes:
    """Return PrivateMessageContent without padding: the content, then its authentication. RFC 9420 §6.3.1."""
    head = encode_as(UInt16, content.wire_format) + encode(content.content)
    return encode(content.content.content) + encode(content)[len(head) :]


def refusal(group: Group, message: bytes) -> MLSError:
    """Return the error that a message ends in, once it is certain that nothing else came of it."""
    before, stored = group.fingerprint(), records(group._store)
    with pytest.raises(MLSError) as caught:
        group.receive(message)
    assert group.fingerprint() == before
    assert records(group._store) == stored
    return caught.value


def assert_refused(
    groups: Group | Sequence[Group], message: bytes, error: type[MLSError], rule: str, code: str
) -> MLSError:
    """Assert that every group refuses a message by this very rule, and return the first one's error."""
    receivers = [groups] if isinstance(groups, Group) else groups
    refusals = [refusal(group, message) for group in receivers]
    for refused in refusals:
        assert (type(refused), refused.rule, refused.code) == (error, rule, code), refused
    return refusals[0]
