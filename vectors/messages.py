"""Kind messages: structs that decode, and encode to the same bytes again; what they hold means nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mls.messages import (
    Add,
    ApplicationData,
    BasicCredential,
    Capabilities,
    Certificate,
    Commit,
    CommitSource,
    Content,
    ContentType,
    Credential,
    EncryptedGroupSecrets,
    Extension,
    ExternalInit,
    ExternalPSK,
    FramedContent,
    FramedContentAuthData,
    GroupContext,
    GroupContextExtensions,
    GroupInfo,
    GroupSecrets,
    InlineProposal,
    KeyPackage,
    KeyPackageSource,
    LeafNode,
    Lifetime,
    MemberSender,
    MLSMessage,
    MLSMessageBody,
    PreSharedKey,
    PreSharedKeyID,
    PrivateMessage,
    ProposalContent,
    ProposalRef,
    ProtocolVersion,
    PublicMessage,
    RatchetTreeExtension,
    ReInit,
    Remove,
    ResumptionPSK,
    ResumptionPSKUsage,
    Update,
    UpdateSource,
    Welcome,
    WirePathSecret,
    X509Credential,
)
from treekem.index import LeafIndex
from treekem.nodes import HPKECiphertext, ParentNode, UpdatePath, UpdatePathNode
from treekem.suite import Entropy
from treekem.wire import decode, encode
from vectors.case import B, Case, Kind, Mismatch, Recipe, expect_octets, message_body, octets

_MESSAGES: Final[dict[str, type]] = {
    "mls_welcome": Welcome,
    "mls_group_info": GroupInfo,
    "mls_key_package": KeyPackage,
    "private_message": PrivateMessage,
}
_PUBLIC_MESSAGES: Final[dict[str, type]] = {
    "public_message_application": ApplicationData,
    "public_message_proposal": ProposalContent,
    "public_message_commit": Commit,
}
_STRUCTS: Final[dict[str, type]] = {
    "ratchet_tree": RatchetTreeExtension,
    "group_secrets": GroupSecrets,
    "add_proposal": Add,
    "update_proposal": Update,
    "remove_proposal": Remove,
    "pre_shared_key_proposal": PreSharedKey,
    "re_init_proposal": ReInit,
    "external_init_proposal": ExternalInit,
    "group_context_extensions_proposal": GroupContextExtensions,
    "commit": Commit,
}


def verify_messages(case: Case, entropy: Entropy) -> None:
    """Decode every field by its struct, and compare its encoding with what it was decoded from."""
    del entropy
    for name, struct in _STRUCTS.items():
        expect_octets(encode(decode(struct, octets(case, name))), case, name)
    for name, body in _MESSAGES.items():
        _verify_message(case, name, body)
    for name, content in _PUBLIC_MESSAGES.items():
        message = _verify_message(case, name, PublicMessage)
        if not isinstance(message.content.content, content):
            raise Mismatch(f"{name} holds a {type(message.content.content).__name__}")


def _verify_message(case: Case, name: str, kind: type[B]) -> B:
    body = message_body(octets(case, name), kind, name)
    expect_octets(encode(MLSMessage(ProtocolVersion.MLS10, body)), case, name)
    return body


def generate_messages(recipe: Recipe) -> Iterator[Case]:
    """Yield 20 cases, or three, of random fields; each varies which credential, source and sender it shows."""
    for variant in range(3 if recipe.small else 20):
        yield _Author(recipe.entropy, variant).case()


class _Author:
    """Writes one case. Lengths are those of real keys and hashes, the bytes are random."""

    def __init__(self, entropy: Entropy, variant: int) -> None:
        self._entropy = entropy
        self._variant = variant

    def case(self) -> Case:
        """Return the case."""
        values: dict[str, object] = {
            "ratchet_tree": RatchetTreeExtension((self._leaf(), self._parent(), self._leaf(), None, self._leaf())),
            "group_secrets": GroupSecrets(self._octets(32), WirePathSecret(self._octets(32)), (self._psk(),)),
            "add_proposal": Add(self._key_package()),
            "update_proposal": Update(self._leaf()),
            "remove_proposal": Remove(self._index()),
            "pre_shared_key_proposal": PreSharedKey(self._psk()),
            "re_init_proposal": ReInit(self._octets(16), ProtocolVersion.MLS10, 1, self._extensions()),
            "external_init_proposal": ExternalInit(self._octets(32)),
            "group_context_extensions_proposal": GroupContextExtensions(self._extensions()),
            "commit": self._commit(),
        }
        messages: dict[str, MLSMessageBody] = {
            "mls_welcome": Welcome(1, (EncryptedGroupSecrets(self._octets(32), self._sealed()),), self._octets(300)),
            "mls_group_info": self._group_info(),
            "mls_key_package": self._key_package(),
            "private_message": self._private_message(),
            "public_message_application": self._public(ApplicationData(self._octets(50)), None),
            "public_message_proposal": self._public(ProposalContent(Remove(self._index())), None),
            "public_message_commit": self._public(self._commit(), self._octets(32)),
        }
        values |= {name: MLSMessage(ProtocolVersion.MLS10, body) for name, body in messages.items()}
        return {name: encode(value).hex() for name, value in values.items()}

    def _octets(self, length: int) -> bytes:
        return self._entropy(length)

    def _number(self, width: int) -> int:
        return int.from_bytes(self._entropy(width), "big")

    def _index(self) -> LeafIndex:
        return LeafIndex(self._number(4))

    def _extensions(self) -> tuple[Extension, ...]:
        return tuple(Extension(0xF000 + number, self._octets(5 * number)) for number in range(self._variant % 3))

    def _credential(self) -> Credential:
        if self._variant % 2:
            return X509Credential((Certificate(self._octets(200)), Certificate(self._octets(250))))
        return BasicCredential(self._octets(12))

    def _leaf(self) -> LeafNode:
        lifetime = Lifetime(0, self._number(8))
        sources = (KeyPackageSource(lifetime), UpdateSource(), CommitSource(self._octets(32)))
        return LeafNode(
            encryption_key=self._octets(32),
            signature_key=self._octets(32),
            credential=self._credential(),
            capabilities=Capabilities((1,), (1, 2, 3), (self._number(2),), (self._number(2),), (1, 2)),
            source=sources[self._variant % 3],
            extensions=self._extensions(),
            signature=self._octets(64),
        )

    def _parent(self) -> ParentNode:
        return ParentNode(self._octets(32), self._octets(32), (LeafIndex(0), LeafIndex(1)))

    def _key_package(self) -> KeyPackage:
        init_key, leaf, signature = self._octets(32), self._leaf(), self._octets(64)
        return KeyPackage(ProtocolVersion.MLS10, 1, init_key, leaf, self._extensions(), signature)

    def _psk(self) -> PreSharedKeyID:
        nonce = self._octets(32)
        if self._variant % 2:
            usage = (ResumptionPSKUsage.APPLICATION, ResumptionPSKUsage.BRANCH)[self._variant % 4 // 2]
            return PreSharedKeyID(ResumptionPSK(usage, self._octets(16), self._number(8)), nonce)
        return PreSharedKeyID(ExternalPSK(self._octets(20)), nonce)

    def _sealed(self) -> HPKECiphertext:
        return HPKECiphertext(self._octets(32), self._octets(48))

    def _commit(self) -> Commit:
        nodes = tuple(UpdatePathNode(self._octets(32), (self._sealed(),) * count) for count in (1, 2, 0))
        path = UpdatePath(self._leaf(), nodes) if self._variant % 3 else None
        return Commit((ProposalRef(self._octets(32)), InlineProposal(Remove(self._index()))), path)

    def _group_info(self) -> GroupInfo:
        tree_hash, confirmed = self._octets(32), self._octets(32)
        version = ProtocolVersion.MLS10
        context = GroupContext(version, 1, self._octets(16), self._number(8), tree_hash, confirmed, self._extensions())
        return GroupInfo(context, self._extensions(), self._octets(32), self._index(), self._octets(64))

    def _private_message(self) -> PrivateMessage:
        group_id, epoch, sealed = self._octets(16), self._number(8), self._octets(28)
        return PrivateMessage(group_id, epoch, ContentType.APPLICATION, self._octets(3), sealed, self._octets(200))

    def _public(self, content: Content, tag: bytes | None) -> PublicMessage:
        group_id, epoch = self._octets(16), self._number(8)
        framed = FramedContent(group_id, epoch, MemberSender(self._index()), self._octets(3), content)
        return PublicMessage(framed, FramedContentAuthData(self._octets(64), tag), self._octets(32))


_FIELDS = (*_STRUCTS, *_MESSAGES, *_PUBLIC_MESSAGES)
KINDS = (Kind("messages", frozenset(_FIELDS), verify_messages, generate_messages, suites=False),)
