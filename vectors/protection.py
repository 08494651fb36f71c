"""Kind message-protection: messages of both wire formats, opened, and made anew. RFC 9420 §6."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from mls.crypto import CipherSuite
from mls.epoch.framing import (
    SenderKeys,
    open_private,
    open_public,
    open_sender_data,
    protect_private,
    protect_public,
    sign_content,
)
from mls.errors import UsageError
from mls.messages import (
    ApplicationData,
    AuthenticatedContent,
    BasicCredential,
    Capabilities,
    Commit,
    Content,
    FramedContent,
    FramedContentAuthData,
    GroupContext,
    InlineProposal,
    LeafNode,
    MemberSender,
    MLSMessage,
    PrivateMessage,
    Proposal,
    ProposalContent,
    ProtocolVersion,
    PublicMessage,
    Remove,
    UpdateSource,
    WireFormat,
)
from mls.schedule.key_schedule import EncryptionSecret, MembershipKey, SenderDataSecret
from mls.schedule.secret_tree import SecretTree
from mls.settings import no_padding
from treekem.index import LeafIndex
from treekem.suite import Entropy
from treekem.wire import decode, encode, encode_as
from vectors.case import (
    Case,
    Kind,
    Mismatch,
    Recipe,
    expect,
    expect_octets,
    message_body,
    number,
    octets,
    signature_private_key,
    suite_of,
)

M = TypeVar("M", PublicMessage, PrivateMessage)

_SENDER: Final = LeafIndex(1)
_SECRETS: Final = ("encryption_secret", "sender_data_secret", "membership_key")


@dataclass(frozen=True, slots=True)
class _Setting:
    """The group of two that a case describes, and the member that sends."""

    suite: CipherSuite
    context: GroupContext
    case: Case

    @classmethod
    def of(cls, case: Case) -> _Setting:
        """Read the group's part of a case."""
        suite = suite_of(case)
        context = GroupContext(
            ProtocolVersion.MLS10,
            suite.id,
            octets(case, "group_id"),
            number(case, "epoch"),
            octets(case, "tree_hash"),
            octets(case, "confirmed_transcript_hash"),
            (),
        )
        return cls(suite, context, case)

    @property
    def membership_key(self) -> MembershipKey:
        """The key of membership tags."""
        return MembershipKey(octets(self.case, "membership_key"))

    def keys(self) -> SenderKeys:
        """Return the keys of PrivateMessages, with a secret tree that is yet untouched."""
        tree = SecretTree(self.suite, 2, EncryptionSecret(octets(self.case, "encryption_secret")))
        return SenderKeys(SenderDataSecret(octets(self.case, "sender_data_secret")), tree)

    def leaf(self, index: LeafIndex) -> LeafNode | None:
        """Return the sender's leaf, of which only the signature key counts."""
        if index != _SENDER:
            return None
        nothing = Capabilities((), (), (), (), ())
        key = octets(self.case, "signature_pub")
        return LeafNode(b"", key, BasicCredential(b""), nothing, UpdateSource(), (), b"")

    def signed(self, content: Content, wire_format: WireFormat, tag: bytes | None) -> AuthenticatedContent:
        """Sign content anew."""
        framed = FramedContent(self.context.group_id, self.context.epoch, MemberSender(_SENDER), b"", content)
        private = signature_private_key(self.suite, self.case, "signature_priv")
        signature = sign_content(self.suite, private, framed, wire_format, self.context)
        return AuthenticatedContent(wire_format, framed, FramedContentAuthData(signature, tag))

    def opened_public(self, message: PublicMessage) -> AuthenticatedContent:
        """Verify a PublicMessage."""
        return open_public(self.suite, message, self.context, self.membership_key, self.leaf)

    def opened_private(self, message: PrivateMessage) -> AuthenticatedContent:
        """Decrypt and verify a PrivateMessage."""
        keys = self.keys()
        sender = open_sender_data(self.suite, message, keys.sender_data_secret)
        return open_private(self.suite, message, sender, keys, self.context, self.leaf).content

    def sealed_public(self, content: Content, tag: bytes | None) -> PublicMessage:
        """Protect content as a PublicMessage."""
        signed = self.signed(content, WireFormat.PUBLIC_MESSAGE, tag)
        return protect_public(self.suite, signed, self.context, self.membership_key)

    def sealed_private(self, content: Content, tag: bytes | None, entropy: Entropy) -> PrivateMessage:
        """Protect content as a PrivateMessage."""
        signed = self.signed(content, WireFormat.PRIVATE_MESSAGE, tag)
        return protect_private(self.suite, signed, self.keys(), padding=no_padding, entropy=entropy)[0]


def verify_message_protection(case: Case, entropy: Entropy) -> None:
    """Open each message, and open it again after protecting its content anew."""
    setting = _Setting.of(case)
    for name, content in _contents(case).items():
        tag = None
        if name != "application":
            public = setting.opened_public(message_body(octets(case, f"{name}_pub"), PublicMessage, f"{name}_pub"))
            _expect_content(public, content, f"{name}_pub")
            tag = public.auth.confirmation_tag
            again = setting.sealed_public(content, tag)
            _expect_content(setting.opened_public(_sent(again)), content, f"{name}_pub, made anew")
        else:
            _expect_no_public(setting, content)
        private = setting.opened_private(message_body(octets(case, f"{name}_priv"), PrivateMessage, f"{name}_priv"))
        _expect_content(private, content, f"{name}_priv")
        sealed = setting.sealed_private(content, private.auth.confirmation_tag, entropy)
        _expect_content(setting.opened_private(_sent(sealed)), content, f"{name}_priv, made anew")


def _contents(case: Case) -> dict[str, Content]:
    proposal: Proposal = decode(Proposal, octets(case, "proposal"))
    expect_octets(encode_as(Proposal, proposal), case, "proposal")
    return {
        "proposal": ProposalContent(proposal),
        "commit": decode(Commit, octets(case, "commit")),
        "application": ApplicationData(octets(case, "application")),
    }


def _sent(message: M) -> M:
    """Return a message of our own as a receiver decodes it."""
    return message_body(encode(MLSMessage(ProtocolVersion.MLS10, message)), type(message), "a message made anew")


def _expect_content(opened: AuthenticatedContent, content: Content, what: str) -> None:
    expect(encode(opened.content.content), encode(content), f"the content of {what}")
    expect(opened.content.sender, MemberSender(_SENDER), f"the sender of {what}")


def _expect_no_public(setting: _Setting, content: Content) -> None:
    try:
        setting.sealed_public(content, None)
    except UsageError:
        return
    raise Mismatch("application data was protected as a PublicMessage")


def generate_message_protection(recipe: Recipe) -> Iterator[Case]:
    """Yield one case: a Remove, a commit of it, and some application data."""
    suite, entropy = recipe.suite, recipe.entropy
    signer = suite.generate_signature_key_pair(entropy)
    proposal = Remove(LeafIndex(int.from_bytes(entropy(2), "big")))
    commit = Commit((InlineProposal(proposal),), None)
    case: Case = {
        "cipher_suite": suite.id,
        "group_id": entropy(16).hex(),
        "epoch": int.from_bytes(entropy(4), "big"),
        "tree_hash": entropy(suite.hash_length).hex(),
        "confirmed_transcript_hash": entropy(suite.hash_length).hex(),
        "signature_priv": signer.private.expose().hex(),
        "signature_pub": signer.public.hex(),
        **{name: entropy(suite.hash_length).hex() for name in _SECRETS},
        "proposal": encode_as(Proposal, proposal).hex(),
        "commit": encode(commit).hex(),
        "application": entropy(64).hex(),
    }
    setting = _Setting.of(case)
    tag = entropy(suite.hash_length)
    contents: dict[str, tuple[Content, bytes | None]] = {
        "proposal": (ProposalContent(proposal), None),
        "commit": (commit, tag),
        "application": (ApplicationData(octets(case, "application")), None),
    }
    for name, (content, confirmation_tag) in contents.items():
        if name != "application":
            case[f"{name}_pub"] = _encoded(setting.sealed_public(content, confirmation_tag))
        case[f"{name}_priv"] = _encoded(setting.sealed_private(content, confirmation_tag, entropy))
    yield case


def _encoded(message: PublicMessage | PrivateMessage) -> str:
    return encode(MLSMessage(ProtocolVersion.MLS10, message)).hex()


_FIELDS = (
    *("cipher_suite", "group_id", "epoch", "tree_hash", "confirmed_transcript_hash"),
    *("signature_priv", "signature_pub", *_SECRETS),
    *("proposal", "proposal_pub", "proposal_priv", "commit", "commit_pub", "commit_priv"),
    *("application", "application_priv"),
)
KINDS = (Kind("message-protection", frozenset(_FIELDS), verify_message_protection, generate_message_protection),)
