"""From what an application asks for to a proposal of RFC 9420 §12.1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, assert_never

from mls import intents
from mls.arguments import leaf_to_remove, octets_of, verify_bytes, verify_new_leaf
from mls.crypto import CipherSuite, SignatureKeyPair, SignaturePrivateKey
from mls.epoch.create_commit import LeafContent, own_leaf_content, sign_leaf
from mls.epoch.environment import Environment
from mls.epoch.grease import grease_extensions, greased, without_grease
from mls.epoch.state import EpochState
from mls.errors import Code, InvalidKeyPackage
from mls.header import verify_size
from mls.messages import (
    Add,
    CustomProposal,
    ExternalPSK,
    GroupContextExtensions,
    KeyPackage,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    Remove,
    ResumptionPSK,
    ResumptionPSKUsage,
    Update,
    UpdateSource,
    X509Credential,
)
from mls.rules import require, require_kind
from mls.settings import Settings
from treekem.suite import Entropy, HPKEPrivateKey
from treekem.wire import decode

_Drafted = (
    intents.Add
    | intents.Remove
    | intents.PreSharedKey
    | intents.ResumptionPSK
    | intents.GroupContextExtensions
    | intents.ReInit
    | CustomProposal
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal, and behind an Update its private keys; `signature_key` is None where the leaf keeps its own."""

    proposal: Proposal
    update_key: HPKEPrivateKey | None = None
    signature_key: SignaturePrivateKey | None = None


def draft_update(state: EpochState, intent: intents.Update, env: Environment) -> Draft:
    """Return an Update of our own leaf. Raises UsageError or InvalidKey. RFC 9420 §12.1.2."""
    keys = state.suite.generate_key_pair(env.entropy)
    content = own_leaf_content(state) if intent.leaf is None else draft_leaf(state, intent.leaf, env)
    leaf = sign_leaf(state.group, content, keys, UpdateSource(), state.own.index)
    private = content.signature_keys.private
    return Draft(Update(leaf), keys.private, None if private is state.own.signature_key else private)


def draft_leaf(state: EpochState, changes: intents.NewLeaf, env: Environment) -> LeafContent:
    """Return what our leaf is to say. Raises UsageError, or InvalidKey for a key of another kind.

    A certificate goes with the key that it names, or UsageError is raised. RFC 9420 §5.3, §6.1, §7.5.
    """
    verify_new_leaf(changes)
    wanted = {name: getattr(changes, name) for name in ("credential", "capabilities", "extensions")}
    told: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if changes.rotate_signature_key:
        told["signature_keys"] = state.suite.generate_signature_key_pair(env.entropy)
    elif changes.signature_key is not None:
        # A copy is the group's to keep, and to wipe when it is replaced.
        private = changes.signature_key.copy()
        told["signature_keys"] = SignatureKeyPair(private, state.suite.signature_public_key(private))
    content = own_leaf_content(state)
    if {"credential", "signature_keys"}.intersection(told):
        _verify_certified(replace(content, **told))
    if not env.settings.grease or not {"capabilities", "extensions"}.intersection(told):
        return replace(content, **told)
    # What is replaced takes its meaningless values along, and gets others.
    plain = without_grease(told.pop("extensions", content.extensions))
    extensions = (*plain, *grease_extensions(env, plain))
    capabilities = greased(told.pop("capabilities", content.capabilities), extensions, env)
    return replace(content, **told, capabilities=capabilities, extensions=extensions)


def _verify_certified(content: LeafContent) -> None:
    if isinstance(content.credential, X509Credential):
        from mls.identity.x509 import verify_own_key  # noqa: PLC0415  (for those who have certificates)

        verify_own_key(content.credential, content.signature_keys.public)


def draft_proposal(state: EpochState, intent: _Drafted, env: Environment) -> Proposal:
    """Return the proposal that a member's application asks for. Raises MalformedMessage or InvalidKeyPackage.

    RFC 9420 §12.1.
    """
    return draft_from(intent, state.group.context.group_id, state.suite, env.settings, env.entropy)


def draft_from(intent: _Drafted, group_id: bytes, suite: CipherSuite, settings: Settings, entropy: Entropy) -> Proposal:
    """Return a proposal to a group of which no more is known than its id and cipher suite. RFC 9420 §12.1.8."""
    match intent:
        case intents.Add(key_package=key_package):
            return Add(read_key_package(key_package, settings))
        case intents.Remove(member=member):
            return Remove(leaf_to_remove(member))
        case intents.PreSharedKey() | intents.ResumptionPSK():
            return PreSharedKey(draft_psk(intent, group_id, suite, entropy))
        case intents.GroupContextExtensions(extensions=extensions):
            return GroupContextExtensions(extensions)
        case intents.ReInit():
            return ReInit(intent.group_id, intent.version, intent.cipher_suite, intent.extensions)
        case CustomProposal():
            return intent
        case _:
            assert_never(intent)


def draft_psk(
    intent: intents.PreSharedKey | intents.ResumptionPSK, group_id: bytes, suite: CipherSuite, entropy: Entropy
) -> PreSharedKeyID:
    """Return the name of a pre-shared key in one commit, under a fresh nonce. RFC 9420 §8.4."""
    psk: ExternalPSK | ResumptionPSK
    if isinstance(intent, intents.PreSharedKey):
        verify_bytes(intent.psk_id, "the id of a pre-shared key")
        psk = ExternalPSK(intent.psk_id)
    else:
        group = group_id if intent.group_id is None else intent.group_id
        psk = ResumptionPSK(ResumptionPSKUsage.APPLICATION, group, intent.epoch)
    return PreSharedKeyID(psk, entropy(suite.hash_length))


def read_key_package(data: object, settings: Settings) -> KeyPackage:
    """Return the key package in an MLSMessage, which must fit the message that adds its client.

    Raises MalformedMessage or InvalidKeyPackage, and UsageError for what is no bytes. RFC 9420 §10.
    """
    octets = octets_of(data, "a key package")
    verify_size(octets, settings.max_message_bytes, "S-max_message_bytes")
    message = decode(MLSMessage, octets)
    text, code = "the message is no key package", Code.WRONG_WIRE_FORMAT
    body = require_kind(message.body, KeyPackage, InvalidKeyPackage, "R-6-06", text, code=code)
    same = body.version == message.version
    require(same, InvalidKeyPackage, "R-10-04", "the key package is of another version than its message")
    return body
