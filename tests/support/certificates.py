"""A small world of certificates: authorities that certify one another, and end entities under any suite's keys.

>>> root = authority("root")
>>> alice = end_entity("alice", 1, root)
>>> alice.credential == X509Credential((Certificate(alice.der),))
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mls import Identity
from mls.crypto import SignatureKeyPair, cipher_suite
from mls.errors import Code, MLSError, Refused
from mls.identity import CredentialPolicy, Place, Subject
from mls.identity.x509 import X509Chain
from mls.messages import Certificate, X509Credential
from tests.support.entropy import DeterministicEntropy
from tests.support.world import NOW

DAY = 86_400
PublicKey = ed25519.Ed25519PublicKey | ed448.Ed448PublicKey | ec.EllipticCurvePublicKey
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_NIST = {65: ec.SECP256R1(), 97: ec.SECP384R1(), 133: ec.SECP521R1()}


@dataclass(frozen=True)
class Terms:
    """What a certificate says beside names and keys; a `ca` of None leaves basicConstraints out."""

    ca: bool | None = False
    path_length: int | None = None
    usage: tuple[str, ...] | None = None
    purposes: tuple[x509.ObjectIdentifier, ...] | None = None
    names: Sequence[x509.GeneralName] = ()
    begins: int = NOW - DAY
    ends: int = NOW + 30 * DAY
    critical: tuple[x509.ExtensionType, ...] = ()
    others: tuple[x509.ExtensionType, ...] = ()

    def extensions(self) -> list[tuple[x509.ExtensionType, bool]]:
        """Return the extensions, and whether each is critical."""
        found: list[tuple[x509.ExtensionType, bool]] = []
        if self.ca is not None:
            found.append((x509.BasicConstraints(self.ca, self.path_length), True))
        if self.usage is not None:
            found.append((usage_of(*self.usage), True))
        if self.purposes is not None:
            found.append((x509.ExtendedKeyUsage(self.purposes), False))
        if self.names:
            found.append((x509.SubjectAlternativeName(self.names), False))
        return [*found, *((each, True) for each in self.critical), *((each, False) for each in self.others)]


@dataclass(frozen=True)
class Authority:
    """A certificate that certifies others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True)
class EndEntity:
    """A certificate for a signature key, that key, and the certificates that are sent along."""

    certificate: x509.Certificate
    suite: int
    keys: SignatureKeyPair = field(repr=False)
    sent: tuple[bytes, ...] = ()

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def credential(self) -> X509Credential:
        """The certificate and those that are sent along."""
        return X509Credential(tuple(map(Certificate, (self.der, *self.sent))))

    @property
    def identity(self) -> Identity:
        """What a client is created with."""
        return Identity.x509((self.der, *self.sent), self.keys.private, self.suite)

    def sending(self, *authorities: Authority) -> EndEntity:
        """Send these along."""
        return replace(self, sent=tuple(each.der for each in authorities))


def usage_of(*asserted: str) -> x509.KeyUsage:
    """Return a key usage that asserts these alone."""
    return x509.KeyUsage(**{name: name in asserted for name in _USAGES})


def name_of(common_name: str) -> x509.Name:
    """Return a distinguished name, an empty one for an empty string."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def authority(
    name: str,
    issuer: Authority | None = None,
    **terms: Any,  # noqa: ANN401  (fields of Terms)
) -> Authority:
    """Return an authority that another one certifies, or that certifies itself; its key follows from its name."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1
    key = ec.derive_private_key(number, ec.SECP256R1())
    said = Terms(**{"ca": True, "usage": ("key_cert_sign", "crl_sign"), **terms})
    itself = Authority(certified(name, key.public_key(), (name_of(name), key), said), key)
    return itself if issuer is None else replace(itself, certificate=certified(name, key.public_key(), issuer, said))


def end_entity(
    name: str,
    suite: int,
    issuer: Authority,
    *,
    keys: SignatureKeyPair | None = None,
    seed: str = "",
    **terms: Any,  # noqa: ANN401  (fields of Terms)
) -> EndEntity:
    """Return a certified signature key; name, suite and seed give the same key again."""
    entropy = DeterministicEntropy(f"{name}/{suite}/{seed}".encode())
    pair = cipher_suite(suite).generate_signature_key_pair(entropy) if keys is None else keys
    said = Terms(**{"usage": ("digital_signature",), **terms})
    return EndEntity(certified(name, public_key(pair.public), issuer, said), suite, pair)


def certified(
    subject: str, public: PublicKey, issuer: Authority | tuple[x509.Name, ec.EllipticCurvePrivateKey], terms: Terms
) -> x509.Certificate:
    """Return a certificate for any key, by an authority or by whoever has a name and a key."""
    name, key = (issuer.certificate.subject, issuer.key) if isinstance(issuer, Authority) else issuer
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name_of(subject),
        public_key=public,
        serial_number=int.from_bytes(hashlib.sha256(repr((subject, terms)).encode()).digest()[:8], "big") + 1,
        not_valid_before=_moment(terms.begins),
        not_valid_after=_moment(terms.ends),
    )
    for extension, is_critical in terms.extensions():
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def signed_part_of(der: bytes) -> bytes:
    """Return the part of a certificate that its issuer signs, its header included."""
    return x509.load_der_x509_certificate(der).tbs_certificate_bytes


def resigned(signed_part: bytes, issuer: Authority) -> bytes:
    """Return a certificate around any bytes, which an authority signed nevertheless. RFC 5280 §4.1."""
    ecdsa_with_sha256 = _der(0x30, _der(0x06, bytes.fromhex("2a8648ce3d040302")))
    signature = issuer.key.sign(signed_part, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return _der(0x30, signed_part + ecdsa_with_sha256 + _der(0x03, b"\0" + signature))


def public_key(serialized: bytes) -> PublicKey:
    """Return a signature public key of any suite, as the certificates' library holds it."""
    match len(serialized):
        case 32:
            return ed25519.Ed25519PublicKey.from_public_bytes(serialized)
        case 57:
            return ed448.Ed448PublicKey.from_public_bytes(serialized)
        case length:
            return ec.EllipticCurvePublicKey.from_encoded_point(_NIST[length], serialized)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes((size,)) if size < 0x80 else bytes((0x80 | len(octets),)) + octets
    return bytes((tag,)) + length + content


def _moment(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


# What most tests begin with, and how they ask a policy.

REFUSED, CHANGED = Code.CREDENTIAL_REFUSED, Code.CREDENTIAL_CHANGED
ROOT = authority("root")
MIDDLE = authority("middle", ROOT)
LOWER = authority("lower", MIDDLE)
TRUSTING = X509Chain((ROOT.certificate,))
DNS, MAIL = x509.DNSName("alice.example"), x509.RFC822Name("alice@example.org")


@cache
def alice(issuer: Authority = ROOT, suite: int = 1) -> EndEntity:
    """Return the end entity that most tests are about."""
    return end_entity("alice", suite, issuer)


def subject_of(who: EndEntity, **changes: object) -> Subject:
    """Return how the engine puts a certified key to a policy."""
    subject = Subject(who.credential, who.keys.public)
    return replace(subject, **changes)  # type: ignore[arg-type]  # fields of Subject


def accept(
    who: EndEntity | Subject, policy: CredentialPolicy = TRUSTING, place: Place = Place.ADD, now: int = NOW
) -> None:
    """Let a policy accept somebody."""
    policy.accept(who if isinstance(who, Subject) else subject_of(who), place, now)


def objection(
    who: EndEntity | Subject,
    policy: CredentialPolicy = TRUSTING,
    place: Place = Place.ADD,
    now: int = NOW,
    *,
    error: type[MLSError] = Refused,
    rule: str = "R-5.3.1-01",
    code: Code = REFUSED,
) -> str:
    """Return what a refusal says, once it is certain that it is this one and names its place."""
    with pytest.raises(MLSError) as caught:
        accept(who, policy, place, now)
    found = caught.value
    assert (type(found), found.rule, found.code) == (error, rule, code), found
    assert found.message.startswith(f"{place}: ")
    return found.message


def credential_of(*ders: bytes) -> X509Credential:
    """Return a credential of these certificates, whatever they are."""
    return X509Credential(tuple(map(Certificate, ders)))
