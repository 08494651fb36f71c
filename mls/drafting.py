"""From what an application asks for to a proposal of RFC 9420 §12.1."""

from __future__ import annotations

from typing import assert_never

from mls import intents
from mls.arguments import leaf_to_remove, verify_bytes
from mls.crypto import CipherSuite
from mls.epoch.create_commit import own_leaf_content, sign_leaf
from mls.epoch.environment import Environment
from mls.epoch.state import EpochState
from mls.errors import Code, InvalidKeyPackage
from mls.messages import (
    Add,
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
)
from mls.rules import require
from treekem.suite import Entropy, HPKEPrivateKey
from treekem.wire import decode

_Drafted = (
    intents.Add
    | intents.Remove
    | intents.PreSharedKey
    | intents.ResumptionPSK
    | intents.GroupContextExtensions
    | intents.ReInit
)


def draft_update(state: EpochState, env: Environment) -> tuple[Update, HPKEPrivateKey]:
    """Return an Update of our own leaf and the private key behind it. RFC 9420 §12.1.2."""
    keys = state.suite.generate_key_pair(env.entropy)
    leaf = sign_leaf(state.group, own_leaf_content(state), keys, UpdateSource(), state.own.index)
    return Update(leaf), keys.private


def draft_proposal(state: EpochState, intent: _Drafted, env: Environment) -> Proposal:
    """Return the proposal that a member's application asks for. Raises MalformedMessage or InvalidKeyPackage.

    RFC 9420 §12.1.
    """
    return draft_from(intent, state.group.context.group_id, state.suite, env.entropy)


def draft_from(intent: _Drafted, group_id: bytes, suite: CipherSuite, entropy: Entropy) -> Proposal:
    """Return a proposal to a group of which no more is known than its id and cipher suite. RFC 9420 §12.1.8."""
    match intent:
        case intents.Add(key_package=key_package):
            return Add(read_key_package(key_package))
        case intents.Remove(member=member):
            return Remove(leaf_to_remove(member))
        case intents.PreSharedKey() | intents.ResumptionPSK():
            return PreSharedKey(draft_psk(intent, group_id, suite, entropy))
        case intents.GroupContextExtensions(extensions=extensions):
            return GroupContextExtensions(extensions)
        case intents.ReInit():
            return ReInit(intent.group_id, intent.version, intent.cipher_suite, intent.extensions)
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


def read_key_package(data: bytes) -> KeyPackage:
    """Return the key package in an MLSMessage. Raises MalformedMessage or InvalidKeyPackage.

    RFC 9420 §10.
    """
    message = decode(MLSMessage, data)
    body = message.body
    if not isinstance(body, KeyPackage):
        raise InvalidKeyPackage("the message is no key package", code=Code.WRONG_WIRE_FORMAT)
    same = body.version == message.version
    require(same, InvalidKeyPackage, "R-10-04", "the key package is of another version than its message")
    return body
