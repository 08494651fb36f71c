"""A client's own identity: a credential, and the cipher suite it signs under. RFC 9420 §5.3."""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.crypto import SignaturePrivateKey, cipher_suite
from mls.messages import BasicCredential, Certificate, Credential, X509Credential


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is.

    `signature_key` is None until the client is created, which then makes one; an X.509 identity brings the key that its
    certificate names.
    """

    credential: Credential
    suite: int = 1
    signature_key: SignaturePrivateKey | None = field(default=None, repr=False)

    @classmethod
    def basic(cls, identity: bytes, suite: int = 1, signature_key: SignaturePrivateKey | None = None) -> Identity:
        """Return an identity that is a name which the application understands. RFC 9420 §5.3."""
        return cls(BasicCredential(identity), suite, signature_key)

    @classmethod
    def x509(cls, chain: tuple[bytes, ...], signature_key: SignaturePrivateKey, suite: int = 1) -> Identity:
        """Return an identity that is a chain of DER certificates, end entity first.

        Raises UsageError for a key that the first certificate is not for, InvalidMessage for one that cannot be read.
        RFC 9420 §5.3, §6.1.
        """
        from mls.identity.x509 import verify_own_key  # noqa: PLC0415  (for those who have certificates)

        credential = X509Credential(tuple(Certificate(der) for der in chain))
        verify_own_key(credential, cipher_suite(suite).signature_public_key(signature_key))
        return cls(credential, suite, signature_key)
