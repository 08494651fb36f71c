"""The key schedule: from the last epoch's init secret to every secret of the next epoch.

One `Secret` subclass per stage makes feeding a stage the wrong secret a type error. What lies between two stages is
wiped as soon as the next stage exists; the arguments belong to the caller, except an epoch secret, which is consumed.
RFC 9420 §8.
"""

from __future__ import annotations

from dataclasses import dataclass

from mls.crypto import CipherSuite
from treekem.secrets import Secret
from treekem.suite import CommitSecret, Entropy, HPKEKeyPair, HPKEPrivateKey

EXTERNAL_INIT_CONTEXT = b"MLS 1.0 external init secret"
"""The exporter context of an external commit, used verbatim. RFC 9420 §8.3."""


class InitSecret(Secret):
    """Carries one epoch's entropy into the next; Nh bytes."""

    __slots__ = ()


class JoinerSecret(Secret):
    """What a Welcome tells its new members; Nh bytes."""

    __slots__ = ()


class PSKSecret(Secret):
    """All injected pre-shared keys in one; Nh bytes. RFC 9420 §8.4."""

    __slots__ = ()


class WelcomeSecret(Secret):
    """Encrypts the GroupInfo of a Welcome; Nh bytes."""

    __slots__ = ()


class EpochSecret(Secret):
    """Derives every secret of one epoch; Nh bytes."""

    __slots__ = ()


class SenderDataSecret(Secret):
    """Derives the keys that hide who sent a message; Nh bytes."""

    __slots__ = ()


class EncryptionSecret(Secret):
    """The root of the secret tree; Nh bytes."""

    __slots__ = ()


class ExporterSecret(Secret):
    """Derives secrets for use outside of MLS; Nh bytes."""

    __slots__ = ()


class ExportedSecret(Secret):
    """A secret for use outside of MLS, as long as the application asked."""

    __slots__ = ()


class ExternalSecret(Secret):
    """Derives the key pair that external commits are addressed to; Nh bytes."""

    __slots__ = ()


class ConfirmationKey(Secret):
    """Computes the confirmation tag of an epoch; Nh bytes."""

    __slots__ = ()


class MembershipKey(Secret):
    """Computes membership tags of PublicMessages; Nh bytes."""

    __slots__ = ()


class ResumptionPSK(Secret):
    """Proves membership in an epoch, later; Nh bytes. RFC 9420 §8.6."""

    __slots__ = ()


class AEADKey(Secret):
    """A key of the suite's AEAD; Nk bytes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class EpochSecrets:
    """What one epoch secret derives, by purpose. RFC 9420 §8, Table 4."""

    sender_data: SenderDataSecret
    encryption: EncryptionSecret
    exporter: ExporterSecret
    external: ExternalSecret
    confirmation_key: ConfirmationKey
    membership_key: MembershipKey
    resumption_psk: ResumptionPSK
    epoch_authenticator: bytes
    init_secret: InitSecret

    def wipe(self) -> None:
        """Wipe every secret of the epoch; the authenticator is public among members and stays."""
        self.sender_data.wipe()
        self.encryption.wipe()
        self.exporter.wipe()
        self.external.wipe()
        self.confirmation_key.wipe()
        self.membership_key.wipe()
        self.resumption_psk.wipe()
        self.init_secret.wipe()


def derive_joiner_secret(
    suite: CipherSuite, init_secret: InitSecret, commit_secret: CommitSecret, group_context: bytes
) -> JoinerSecret:
    """Return the joiner secret of the epoch whose encoded GroupContext is given.

    `init_secret` is that of the epoch before, or the one of an external commit.

    RFC 9420 §8.
    """
    intermediate = suite.extract(init_secret, commit_secret)
    joiner_secret = suite.expand_with_label(intermediate, b"joiner", group_context, suite.hash_length, JoinerSecret)
    intermediate.wipe()
    return joiner_secret


def derive_welcome_secret(suite: CipherSuite, joiner_secret: JoinerSecret, psk_secret: PSKSecret) -> WelcomeSecret:
    """Return the secret that encrypts a GroupInfo; it needs no GroupContext, which the joiner has yet to learn.

    RFC 9420 §8.
    """
    intermediate = suite.extract(joiner_secret, psk_secret)
    welcome_secret = suite.derive_secret(intermediate, b"welcome", WelcomeSecret)
    intermediate.wipe()
    return welcome_secret


def derive_epoch_secrets(
    suite: CipherSuite, joiner_secret: JoinerSecret, psk_secret: PSKSecret, group_context: bytes
) -> EpochSecrets:
    """Return the secrets of the epoch whose encoded, final GroupContext is given.

    RFC 9420 §8.
    """
    intermediate = suite.extract(joiner_secret, psk_secret)
    epoch_secret = suite.expand_with_label(intermediate, b"epoch", group_context, suite.hash_length, EpochSecret)
    intermediate.wipe()
    return epoch_secrets_of(suite, epoch_secret)


def epoch_secrets_of(suite: CipherSuite, epoch_secret: EpochSecret) -> EpochSecrets:
    """Return what the epoch secret derives, and wipe it: every value derived would otherwise outlive its deletion.

    A new group begins here, with a random epoch secret of Nh bytes.

    RFC 9420 §8, §11.
    """
    authenticator = suite.derive_secret(epoch_secret, b"authentication", Secret)
    secrets = EpochSecrets(
        sender_data=suite.derive_secret(epoch_secret, b"sender data", SenderDataSecret),
        encryption=suite.derive_secret(epoch_secret, b"encryption", EncryptionSecret),
        exporter=suite.derive_secret(epoch_secret, b"exporter", ExporterSecret),
        external=suite.derive_secret(epoch_secret, b"external", ExternalSecret),
        confirmation_key=suite.derive_secret(epoch_secret, b"confirm", ConfirmationKey),
        membership_key=suite.derive_secret(epoch_secret, b"membership", MembershipKey),
        resumption_psk=suite.derive_secret(epoch_secret, b"resumption", ResumptionPSK),
        epoch_authenticator=revealed(authenticator),
        init_secret=suite.derive_secret(epoch_secret, b"init", InitSecret),
    )
    epoch_secret.wipe()
    return secrets


def zero_commit_secret(suite: CipherSuite) -> CommitSecret:
    """Return the commit secret of a commit without a path: Nh zero bytes. RFC 9420 §12.4.1."""
    return CommitSecret(bytes(suite.hash_length))


def welcome_key_and_nonce(suite: CipherSuite, welcome_secret: WelcomeSecret) -> tuple[AEADKey, bytes]:
    """Return key and nonce of a Welcome's encrypted GroupInfo. RFC 9420 §12.4.3.1."""
    key = suite.expand_with_label(welcome_secret, b"key", b"", suite.aead_key_length, AEADKey)
    nonce = suite.expand_with_label(welcome_secret, b"nonce", b"", suite.aead_nonce_length, Secret)
    return key, revealed(nonce)


def sender_data_key_and_nonce(
    suite: CipherSuite, sender_data_secret: SenderDataSecret, ciphertext: bytes
) -> tuple[AEADKey, bytes]:
    """Return key and nonce of the sender data that stands beside `ciphertext`, whose first Nh bytes are the sample.

    RFC 9420 §6.3.2.
    """
    sample = ciphertext[: suite.hash_length]
    key = suite.expand_with_label(sender_data_secret, b"key", sample, suite.aead_key_length, AEADKey)
    nonce = suite.expand_with_label(sender_data_secret, b"nonce", sample, suite.aead_nonce_length, Secret)
    return key, revealed(nonce)


def export_secret(
    suite: CipherSuite, exporter_secret: ExporterSecret, label: bytes, context: bytes, length: int
) -> ExportedSecret:
    """Return MLS-Exporter(label, context, length), a secret of `length` bytes that is bound to the epoch.

    The label is used verbatim, whatever it looks like. Raises UsageError unless 1 <= length <= 255 * Nh.

    RFC 9420 §8.5.
    """
    derived = suite.derive_secret(exporter_secret, label, Secret)
    exported = suite.expand_with_label(derived, b"exported", suite.hash(context), length, ExportedSecret)
    derived.wipe()
    return exported


def external_key_pair(suite: CipherSuite, external_secret: ExternalSecret) -> HPKEKeyPair:
    """Return the key pair that external commits to this epoch are addressed to. RFC 9420 §8."""
    return suite.derive_key_pair(external_secret)


def create_external_init(suite: CipherSuite, external_pub: bytes, entropy: Entropy) -> tuple[bytes, InitSecret]:
    """Return the kem_output of an ExternalInit proposal, and the init secret that it stands for.

    Raises InvalidKey for a public key that the suite does not accept.

    RFC 9420 §8.3.
    """
    kem_output, exported = suite.export_to(external_pub, EXTERNAL_INIT_CONTEXT, suite.hash_length, entropy)
    return kem_output, _as_init_secret(exported)


def external_init_secret(suite: CipherSuite, external_priv: HPKEPrivateKey, kem_output: bytes) -> InitSecret:
    """Return the init secret that an ExternalInit proposal stands for; it replaces the last epoch's.

    Raises InvalidKey or InvalidCiphertext for a kem_output that the suite does not accept.

    RFC 9420 §8.3.
    """
    return _as_init_secret(suite.export_from(external_priv, kem_output, EXTERNAL_INIT_CONTEXT, suite.hash_length))


def revealed(secret: Secret) -> bytes:
    """Return the bytes of a derived value that is no secret by itself, such as a nonce, and wipe what it came in."""
    value = secret.expose()
    secret.wipe()
    return value


def _as_init_secret(exported: Secret) -> InitSecret:
    return InitSecret(revealed(exported))
