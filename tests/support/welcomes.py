"""Welcomes that say what a test likes: taken apart, changed, signed and sealed again, as a malicious inviter could."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mls import Client, Group, MLSError
from mls.crypto import SignaturePrivateKey
from mls.epoch.create_commit import CreatedCommit
from mls.epoch.join import KeyPackageBundle
from mls.epoch.welcome import key_package_ref, open_group_info, open_group_secrets
from mls.messages import (
    EncryptedGroupSecrets,
    GroupInfo,
    GroupSecrets,
    MLSMessage,
    ProtocolVersion,
    Welcome,
    encode_unsigned,
)
from mls.schedule.key_schedule import JoinerSecret, derive_welcome_secret, welcome_key_and_nonce
from mls.schedule.psk import psk_secret
from mls.schedule.transcript import confirmation_tag
from mls.store.client_records import unpack_bundle
from tests.support.crafting import Forger
from tests.support.world import records
from treekem.nodes import HPKECiphertext
from treekem.wire import decode, encode


@dataclass(frozen=True)
class Parts:
    """What a Welcome for one joiner says."""

    secrets: GroupSecrets
    info: GroupInfo


class Inviter:
    """A member whose commit added one client; it knows what it told, and can tell something else."""

    def __init__(self, forger: Forger, created: CreatedCommit, joiner: Client) -> None:
        assert created.welcome is not None
        assert created.transition.state is not None
        self.forger = forger
        self.suite = forger.suite
        self.genuine = created.welcome
        self.after = created.transition.state
        self.bundle = bundle_of(joiner)
        opened = open_group_secrets(
            self.suite, self.genuine, key_package_ref(self.suite, self.bundle.key_package), self.bundle.init_key
        )
        psks = [(psk_id, psk) for psk_id in opened.psks if (psk := forger.env.psk(psk_id)) is not None]
        self.injected = psk_secret(self.suite, psks)
        info = open_group_info(self.suite, self.genuine, opened.joiner_secret, self.injected)
        self.parts = Parts(self._plain_secrets(), info)

    def _plain_secrets(self) -> GroupSecrets:
        sealed = self.genuine.secrets[0].encrypted_group_secrets
        context = self.suite.seal_context(b"Welcome", self.genuine.encrypted_group_info)
        plaintext = self.suite.open(self.bundle.init_key, context, sealed.kem_output, sealed.ciphertext)
        return decode(GroupSecrets, plaintext)

    # Saying something else.

    def info(self, *, key: SignaturePrivateKey | None = None, **fields: Any) -> GroupInfo:  # noqa: ANN401  (fields of GroupInfo)
        """Return the GroupInfo with other fields, signed again."""
        unsigned = replace(self.parts.info, **{**fields, "signature": b""})
        chosen = self.after.own.signature_key if key is None else key
        return replace(
            unsigned, signature=self.suite.sign_with_label(chosen, b"GroupInfoTBS", encode_unsigned(unsigned))
        )

    def secrets(self, **fields: Any) -> GroupSecrets:  # noqa: ANN401  (fields of GroupSecrets)
        """Return the GroupSecrets with other fields."""
        return replace(self.parts.secrets, **fields)

    def confirmed_info(self, **context: Any) -> GroupInfo:  # noqa: ANN401  (fields of GroupContext)
        """Return a GroupInfo of another context; its tag stays that of the true one."""
        return self.info(group_context=replace(self.parts.info.group_context, **context))

    def welcome(
        self,
        *,
        info: GroupInfo | None = None,
        secrets: GroupSecrets | None = None,
        plain_secrets: bytes | None = None,
        plain_info: bytes | None = None,
    ) -> Welcome:
        """Seal what is given, and the genuine rest, for the joiner."""
        told = self.parts.secrets if secrets is None else secrets
        secret = derive_welcome_secret(self.suite, JoinerSecret(self.parts.secrets.joiner_secret), self.injected)
        key, nonce = welcome_key_and_nonce(self.suite, secret)
        encoded = encode(self.parts.info if info is None else info) if plain_info is None else plain_info
        sealed_info = self.suite.aead_seal(key, nonce, b"", encoded)
        plaintext = encode(told) if plain_secrets is None else plain_secrets
        context = self.suite.seal_context(b"Welcome", sealed_info)
        package = self.bundle.key_package
        sealed = self.suite.seal(package.init_key, context, plaintext, self.forger.env.entropy)
        reference = key_package_ref(self.suite, package)
        entry = EncryptedGroupSecrets(reference, HPKECiphertext(*sealed))
        return Welcome(self.genuine.cipher_suite, (entry,), sealed_info)

    def message(self, **said: Any) -> bytes:  # noqa: ANN401  (what `welcome` takes)
        """Return such a Welcome as a message."""
        return encode(MLSMessage(ProtocolVersion.MLS10, self.welcome(**said)))

    def true_tag(self) -> bytes:
        """Return the tag that confirms the epoch."""
        confirmed = self.after.group.context.confirmed_transcript_hash
        return confirmation_tag(self.suite, self.after.secrets.confirmation_key, confirmed)


def bundle_of(client: Client) -> KeyPackageBundle:
    """Return the only key package that a client holds."""
    ((name, record),) = [item for item in records(client._store).items() if item[0].startswith("keypackage/")]
    return unpack_bundle(name, record)


def assert_join_refused(
    client: Client,
    join: Callable[[], object],
    refusal: tuple[type[MLSError], str, str],
) -> MLSError:
    """Assert that joining fails by this rule, and that the client keeps all that it had, its key package too."""
    error, rule, code = refusal
    before = records(client._store)
    with pytest.raises(MLSError) as caught:
        join()
    assert (type(caught.value), caught.value.rule, caught.value.code) == (error, rule, code), caught.value
    assert records(client._store) == before
    return caught.value


def group_info_of(group: Group, *, ratchet_tree: bool = True) -> GroupInfo:
    """Return a group's GroupInfo for clients outside."""
    body = decode(MLSMessage, group.group_info(ratchet_tree=ratchet_tree)).body
    assert isinstance(body, GroupInfo)
    return body
