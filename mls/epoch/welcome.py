"""Inviting and being invited. RFC 9420 §12.4.3, §12.4.3.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from mls.crypto import CipherSuite
from mls.epoch.environment import Environment
from mls.epoch.grease import grease_extensions
from mls.epoch.limits import verify_extension_count
from mls.epoch.proposals import Applied
from mls.epoch.state import EpochState
from mls.epoch.transition import NextEpoch
from mls.errors import Code, InvalidCiphertext, InvalidWelcome, MalformedMessage, UsageError
from mls.messages import (
    EncryptedGroupSecrets,
    Extension,
    ExtensionType,
    ExternalPub,
    GroupInfo,
    GroupSecrets,
    KeyPackage,
    PreSharedKeyID,
    Welcome,
    WirePathSecret,
    encode_unsigned,
)
from mls.registry import GROUP_INFO
from mls.rules import refuse, require, require_present
from mls.schedule.key_schedule import (
    JoinerSecret,
    PSKSecret,
    derive_welcome_secret,
    external_key_pair,
    welcome_key_and_nonce,
)
from treekem.index import NodeIndex, common_ancestor, node_of
from treekem.nodes import HPKECiphertext
from treekem.path import PathPlan
from treekem.suite import HPKEPrivateKey, PathSecret
from treekem.wire import UInt16, decode, decode_prefix, encode

_ENVELOPE: Final = 4  # The bytes of version and wire format.


@dataclass(frozen=True, slots=True)
class OpenedSecrets:
    """GroupSecrets as a joiner holds them."""

    joiner_secret: JoinerSecret
    path_secret: PathSecret | None
    psks: tuple[PreSharedKeyID, ...]


def key_package_ref(suite: CipherSuite, key_package: KeyPackage) -> bytes:
    """Return the hash that a Welcome names a key package by. RFC 9420 §5.2."""
    return suite.ref_hash(b"MLS 1.0 KeyPackage Reference", encode(key_package))


def create_group_info(
    state: EpochState, env: Environment, *, ratchet_tree: bool, external_pub: bool = True
) -> GroupInfo:
    """Sign what a client needs to know to join. Raises UsageError for more extensions than settings allow.

    RFC 9420 §12.4.3.
    """
    extensions = []
    if ratchet_tree:
        extensions.append(Extension(ExtensionType.RATCHET_TREE, state.group.tree.encode()))
    if external_pub:
        pair = external_key_pair(state.suite, state.secrets.external)
        pair.private.wipe()
        extensions.append(Extension(ExtensionType.EXTERNAL_PUB, encode(ExternalPub(pair.public))))
    extensions.extend(grease_extensions(env, extensions))
    verify_extension_count(extensions, GROUP_INFO, UsageError, env.settings, own=True)
    group, own = state.group, state.own
    unsigned = GroupInfo(group.context, tuple(extensions), group.confirmation_tag, own.index, b"")
    signature = state.suite.sign_with_label(own.signature_key, b"GroupInfoTBS", encode_unsigned(unsigned))
    return replace(unsigned, signature=signature)


# Sending, §12.4.1.


def create_welcome(
    after: EpochState,
    following: NextEpoch,
    applied: Applied,
    plan: PathPlan | None,
    env: Environment,
    *,
    tree_inside: bool,
) -> Welcome | None:
    """Return the Welcome for all members that a commit added, or None where there are none. RFC 9420 §12.4.1."""
    if not applied.added:
        return None
    suite = after.suite
    group_info = create_group_info(after, env, ratchet_tree=tree_inside, external_pub=False)
    secret = derive_welcome_secret(suite, following.joiner_secret, following.psk_secret)
    key, nonce = welcome_key_and_nonce(suite, secret)
    secret.wipe()
    encrypted_group_info = suite.aead_seal(key, nonce, b"", encode(group_info))
    key.wipe()
    # The HPKE info is the same for all: it is digested once, however many join.
    context = suite.seal_context(b"Welcome", encrypted_group_info)
    entries, encoded = [], dict[NodeIndex, bytes]()
    for index, key_package in applied.added:
        # All below one node of the committer's path are told the same.
        ancestor = common_ancestor(node_of(index), node_of(after.own.index))
        if ancestor not in encoded:
            encoded[ancestor] = encode(_secrets_for(ancestor, following, applied.psks, plan))
        sealed = suite.seal(key_package.init_key, context, encoded[ancestor], env.entropy)
        entries.append(EncryptedGroupSecrets(key_package_ref(suite, key_package), HPKECiphertext(*sealed)))
    return Welcome(suite.id, tuple(entries), encrypted_group_info)


def _secrets_for(
    ancestor: NodeIndex,
    following: NextEpoch,
    psks: tuple[PreSharedKeyID, ...],
    plan: PathPlan | None,
) -> GroupSecrets:
    path_secret = None
    if plan is not None:
        path_secret = WirePathSecret(plan.path_secrets[ancestor].expose())
    return GroupSecrets(following.joiner_secret.expose(), path_secret, psks)


# Receiving, §12.4.3.1.


def open_group_secrets(
    suite: CipherSuite, welcome: Welcome, reference: bytes, init_key: HPKEPrivateKey
) -> OpenedSecrets:
    """Decrypt what a Welcome tells one key package. Raises InvalidWelcome or InvalidCiphertext. RFC 9420 §12.4.3.1."""
    entry = next((each for each in welcome.secrets if each.new_member == reference), None)
    message, code = "no entry for this key package", Code.NO_MATCHING_KEY_PACKAGE
    sealed = require_present(entry, InvalidWelcome, "R-12.4.3.1-03", message, code=code).encrypted_group_secrets
    context = suite.seal_context(b"Welcome", welcome.encrypted_group_info)
    try:
        plaintext = suite.open(init_key, context, sealed.kem_output, sealed.ciphertext)
    except InvalidCiphertext:
        refuse(InvalidCiphertext, "R-12.4.3.1-05", "the GroupSecrets do not decrypt")
        raise
    secrets = decode(GroupSecrets, plaintext)
    fits = len(secrets.joiner_secret) == suite.hash_length
    require(fits, InvalidWelcome, "R-12.4.3.1-06", f"a joiner_secret of {len(secrets.joiner_secret)} bytes")
    path_secret = None if secrets.path_secret is None else PathSecret(secrets.path_secret.path_secret)
    return OpenedSecrets(JoinerSecret(secrets.joiner_secret), path_secret, secrets.psks)


def open_group_info(
    suite: CipherSuite, welcome: Welcome, joiner_secret: JoinerSecret, psk_secret: PSKSecret
) -> GroupInfo:
    """Decrypt a Welcome's GroupInfo. Raises InvalidCiphertext or MalformedMessage. RFC 9420 §12.4.3.1."""
    secret = derive_welcome_secret(suite, joiner_secret, psk_secret)
    key, nonce = welcome_key_and_nonce(suite, secret)
    secret.wipe()
    try:
        plaintext = suite.aead_open(key, nonce, b"", welcome.encrypted_group_info)
    except InvalidCiphertext:
        refuse(InvalidCiphertext, "R-12.4.3.1-09", "the GroupInfo does not decrypt")
        raise
    finally:
        key.wipe()
    return decode(GroupInfo, plaintext)


def read_welcome(data: bytes, is_known: Callable[[bytes], bool], max_entries: int) -> Welcome:
    """Return the Welcome in an MLSMessage without the entries of others, whose references we do not know.

    Anyone can send three bytes for an entry, so entries are read one by one and dropped, and no more of them than a
    group may have leaves. Raises MalformedMessage or InvalidWelcome. RFC 9420 §12.4.3.1.
    """
    suite, offset = decode_prefix(UInt16, data, _ENVELOPE)
    entries, offset = decode_prefix(bytes, data, offset)
    start = offset - len(entries)
    sealed, end = decode_prefix(bytes, data, offset)
    is_whole, message = end == len(data), f"{len(data) - end} bytes after the Welcome"
    require(is_whole, MalformedMessage, "R-2.1-08", message, code=Code.TRAILING_DATA)
    addressed = tuple(each for each in _entries(entries, start, max_entries) if is_known(each.new_member))
    return Welcome(suite, addressed, sealed)


def _entries(data: bytes, start: int, most: int) -> Iterator[EncryptedGroupSecrets]:
    """Yield the entries in `data`, which begins at byte `start` of its message."""
    index, offset = 0, 0
    while offset < len(data):
        fits, message = index < most, f"the Welcome has more than {most} entries"
        require(fits, InvalidWelcome, "S-max_leaves", message, code=Code.LIMIT_EXCEEDED)
        try:
            entry, offset = decode_prefix(EncryptedGroupSecrets, data, offset)
        except MalformedMessage as error:
            error.index, error.where, error.offset = (
                index,
                f"Welcome.secrets[{index}].{error.where}",
                start + error.offset,
            )
            raise
        yield entry
        index += 1
