"""Proposals from outside: by a party that a group names as an external sender, and by a client for itself.

Neither holds anything of the group; its proposals are signed over group id and epoch alone. RFC 9420 §12.1.8.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast

from mls import intents
from mls.arguments import suite_of, verify_parts
from mls.crypto import CipherSuite, SignaturePrivateKey, cipher_suite
from mls.drafting import draft_from
from mls.epoch.extensions import external_senders, verify_extensions
from mls.epoch.framing import sign_content
from mls.epoch.join import KeyPackageBundle
from mls.epoch.limits import verify_extension_count
from mls.errors import Code, InvalidGroupInfo, InvalidProposal, UsageError
from mls.identity import Identity
from mls.joining import read_group_info
from mls.messages import (
    Add,
    CustomProposal,
    ExternalSender,
    ExternalSenderIndex,
    FramedContent,
    FramedContentAuthData,
    GroupContext,
    GroupContextExtensions,
    MLSMessage,
    NewMemberProposalSender,
    ProposalContent,
    ProtocolVersion,
    PublicMessage,
    ReInit,
    WireFormat,
)
from mls.registry import GROUP_CONTEXT
from mls.rules import require
from mls.settings import Settings
from treekem.suite import Entropy
from treekem.wire import encode

Proposable = (
    intents.Add
    | intents.Remove
    | intents.PreSharedKey
    | intents.ResumptionPSK
    | intents.GroupContextExtensions
    | intents.ReInit
    | CustomProposal
)
"""What an external sender may ask a group to do. RFC 9420 §12.1.8."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an external sender speaks: a group in one epoch, and its place in the group's list of external senders."""

    group_id: bytes
    epoch: int
    sender_index: int


class Outsider:
    """A party outside of groups, such as a directory, that may send proposals to those that name it.

    A group names it by `mls.extensions.external_senders(outsider.entry)`. RFC 9420 §12.1.8.
    """

    def __init__(self, identity: Identity, *, settings: Settings | None = None, entropy: Entropy = os.urandom) -> None:
        verify_parts(settings=settings, entropy=entropy)
        self._suite = suite_of(identity, "an external sender")
        if identity.signature_key is None:
            raise UsageError("an external sender brings its signature key: Identity.basic(name, signature_key=...)")
        self._key = identity.signature_key.copy()
        self._settings = Settings() if settings is None else settings
        self._entropy = entropy
        self.entry = ExternalSender(self._suite.signature_public_key(self._key), identity.credential)

    def __repr__(self) -> str:
        return f"<Outsider, {self._suite.name}>"

    def address(self, group_info: bytes) -> Address:
        """Return where this sender speaks in a group, as its GroupInfo has it.

        The GroupInfo is not verified, for want of the group's state: take it from someone you would take the group id
        and epoch from. Raises MalformedMessage, InvalidGroupInfo, or UsageError if the group does not name this sender.
        """
        context = read_group_info(group_info, self._settings).group_context
        fits = context.cipher_suite == self._suite.id
        text = f"the group is of cipher suite {context.cipher_suite}, this sender of {self._suite.id}"
        require(fits, InvalidGroupInfo, "R-12.4.3.1-12", text)
        verify_extensions(context.extensions, GROUP_CONTEXT, InvalidGroupInfo)
        senders = external_senders(context.extensions)
        listed = () if senders is None else senders.external_senders
        is_named = self.entry in listed
        require(is_named, UsageError, "R-12.1.8-01", "the group does not name this external sender")
        return Address(context.group_id, context.epoch, listed.index(self.entry))

    def propose(self, address: Address, intent: intents.Intent, *, authenticated_data: bytes = b"") -> bytes:
        """Return a signed proposal to deliver to the group. Raises UsageError for what is not an outsider's to propose.

        Whether it is valid there only the group can tell. RFC 9420 §12.1.8.
        """
        text = f"an external sender does not propose this: {type(intent).__name__}"
        require(isinstance(intent, Proposable), UsageError, "R-12.1.8-04", text)
        proposal = draft_from(cast("Proposable", intent), address.group_id, self._suite, self._settings, self._entropy)
        if isinstance(proposal, GroupContextExtensions | ReInit):
            verify_extension_count(proposal.extensions, GROUP_CONTEXT, InvalidProposal, self._settings, own=True)
            verify_extensions(proposal.extensions, GROUP_CONTEXT, InvalidProposal)
        sender = ExternalSenderIndex(address.sender_index)
        content = ProposalContent(proposal)
        framed = FramedContent(address.group_id, address.epoch, sender, authenticated_data, content)
        return _sized(_signed(framed, self._suite, self._key), self._settings)


def propose_oneself(
    group_id: bytes, epoch: int, bundle: KeyPackageBundle, authenticated_data: bytes, settings: Settings
) -> bytes:
    """Return a client's proposal of its own addition, signed with the key of its key package. RFC 9420 §12.1.8."""
    package = bundle.key_package
    content, sender = ProposalContent(Add(package)), NewMemberProposalSender()
    framed = FramedContent(group_id, epoch, sender, authenticated_data, content)
    return _sized(_signed(framed, cipher_suite(package.cipher_suite), bundle.signature_keys.private), settings)


def _signed(framed: FramedContent, suite: CipherSuite, key: SignaturePrivateKey) -> bytes:
    # The signature of who is outside covers nothing of the group context but what the content repeats of it.
    known = GroupContext(ProtocolVersion.MLS10, suite.id, framed.group_id, framed.epoch, b"", b"", ())
    signature = sign_content(suite, key, framed, WireFormat.PUBLIC_MESSAGE, known)
    message = PublicMessage(framed, FramedContentAuthData(signature, None), None)
    return encode(MLSMessage(ProtocolVersion.MLS10, message))


def _sized(message: bytes, settings: Settings) -> bytes:
    fits = len(message) <= settings.max_message_bytes
    text = f"a message of {len(message)} bytes, more than max_message_bytes"
    require(fits, UsageError, "S-max_message_bytes", text, code=Code.LIMIT_EXCEEDED)
    return message
