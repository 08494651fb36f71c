"""X.509 credentials: a policy that follows certificate chains up to trust anchors which the application holds.

Import it from here: `import mls` does not load it, nor `cryptography.x509` behind it. Path building, signatures,
validity, name constraints and the order of path lengths are those of `cryptography.x509.verification`, under a profile
for messaging rather than the Web's. It demands:

- of the chain: DER throughout, the end entity first (R-5.3-04), the rest in any order. Issuers that the verifier holds,
  as `intermediates` or trust anchors, may be left out (R-5.3-06). What does not lead to an anchor is ignored.
- of the end entity: the leaf's signature key in the suite's encoding, hence an Ed25519, Ed448, P-256, P-384 or P-521
  key (R-5.3-05); no CA; `digitalSignature`, where it has a key usage (N-X509-01); a purpose out of `purposes`, where it
  has extended key usages (S-purposes); a subjectAltName or a subject, of any type (N-X509-02): no DNS name is wanted.
- of every issuer, anchors included: `basicConstraints` with CA:TRUE, whose path length holds; `keyCertSign`, where it
  has a key usage; a purpose as above; a key of RSA, with 2048 bits at least, or of ECDSA on a NIST curve. The library
  takes no EdDSA key for an issuer, although it does for an end entity.
- of each of them: version 3, an issuer's name, valid at the time given, no critical extension other than those named
  here, key identifiers, and name constraints over DNS names, mailboxes and addresses.

An anchor is trusted as it stands: one that is an end entity is pinned, and leads nowhere. Revocation is not looked at.
RFC 9420 §5.3, §5.3.1, §5.3.2; RFC 5280 §6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store

from mls.errors import Code, InvalidMessage, MLSError, Refused, UsageError
from mls.identity.policy import CredentialPolicy, Place, Subject
from mls.messages import BasicCredential, Credential, CredentialType, X509Credential
from mls.rules import refuse, require, require_kind

E = TypeVar("E", bound=x509.ExtensionType)

IM_URI: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.40")
"""id-kp-imUri, the purpose of those who sign instant messages. RFC 9734 §3."""

MESSAGING: Final = frozenset({IM_URI, ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
"""The purposes that fit a messaging client; a certificate of a Web server has none of them."""

_LARGEST_REMEMBERED: Final = 2_048
MAX_CERTIFICATE_BYTES: Final = 2**15
"""The largest certificate that is read, N-X509-03: anybody can send some."""


def presented_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    """Return everything that a certificate says its holder is: the subjectAltName, then the subject, where it has them.

    RFC 9420 §5.3.
    """
    subject = certificate.subject
    return (*_alternative_names(certificate), *((x509.DirectoryName(subject),) if list(subject) else ()))


def certified_identity(certificate: x509.Certificate) -> bytes:
    """Return the subjectAltName as DER, sorted and each entry once; the subject as DER where there is none.

    No two sets of names have the same bytes, and names are compared as bytes, so a certificate that is renewed must
    spell them alike.
    """
    names = {x509.SubjectAlternativeName([name]).public_bytes(): name for name in _alternative_names(certificate)}
    if not names:
        return certificate.subject.public_bytes()
    return x509.SubjectAlternativeName([names[der] for der in sorted(names)]).public_bytes()


@dataclass(frozen=True, slots=True)
class X509Chain:
    """Accepts the credentials whose chains lead to a certificate in `trust_store`.

    A leaf keeps its identity: a certificate that replaces another one must present the same. RFC 9420 §5.3.1.
    """

    trust_store: tuple[x509.Certificate, ...]
    """The trust anchors, not empty."""
    _: KW_ONLY
    intermediates: tuple[x509.Certificate, ...] = ()
    """Issuers that members need not send; they are not trusted, but must lead to an anchor. R-5.3-06."""
    identities: Callable[[x509.Certificate], bytes] = certified_identity
    """The identity that an end entity presents. It is asked before the certificate is verified."""
    references: Container[x509.GeneralName] | None = None
    """The names that are expected; of those presented one at least must be among them. R-5.3.1-01."""
    purposes: frozenset[x509.ObjectIdentifier] = MESSAGING
    """The extended key usages of which a certificate that restricts its use must allow one. S-purposes."""
    max_chain_depth: int = 8
    """How many certificates may stand between an end entity and its anchor."""
    grace: int = 0
    """For how many seconds an expired chain is still accepted, since messages may be read late. R-5.3.2-03."""
    expired_members: bool = False
    """Whether those whom one finds in a group at joining may have expired at any time.

    By default they may not: nobody vouches for an expired certificate, and whom it named may have lost the key since.
    Members who are known already are never asked about again, so in either case expired members can rotate. R-5.3.2-02.
    """
    _store: Store = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.trust_store:
            raise UsageError("a trust store without a certificate accepts nobody")
        object.__setattr__(self, "_store", Store(list(self.trust_store)))

    def identity(self, credential: Credential) -> bytes:
        """Return the identity of the end entity; a basic one, which is never accepted, as it is. Raises InvalidMessage.

        A chain is not verified for that, only read.
        """
        if isinstance(credential, BasicCredential):
            return credential.identity
        return self._identity(_end_entity(credential))

    def identifiers(self, credential: Credential) -> tuple[x509.GeneralName, ...]:
        """Return all presented identifiers, for people to see; a basic credential has none. Raises InvalidMessage.

        RFC 9420 §5.3.
        """
        return () if isinstance(credential, BasicCredential) else presented_names(_end_entity(credential))

    def expires(self, credential: Credential) -> int | None:
        """Return when the first certificate of a chain ends, in seconds since 1970, or None for a basic credential.

        Raises InvalidMessage. RFC 9420 §5.3.2.
        """
        return None if isinstance(credential, BasicCredential) else _end(_read_chain(credential))

    def same_client(self, one: Subject, other: Subject) -> bool:
        """Hold that a client is its signature key."""
        return one.signature_key == other.signature_key

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        """Verify the chain at `now`, its key, its names and whom it succeeds. Raises Refused or InvalidMessage.

        RFC 9420 §5.3, §5.3.1.
        """
        refused, message = Code.CREDENTIAL_REFUSED, f"{place}: the credential is no X.509 credential"
        credential = require_kind(subject.credential, X509Credential, Refused, "R-5.3.1-01", message, code=refused)
        length, longest = len(credential.certificates), self.max_chain_depth + 2
        _accept(length <= longest, place, "S-max_chain_depth", f"a chain of {length} certificates")
        chain = _read_chain(credential)
        _verify_key(chain[0], subject.signature_key, place)
        self._verify_use(chain[0], place)
        self._verify_path(chain, place, now)
        self._verify_names(chain[0], place)
        self._verify_successor(subject, place)

    def _identity(self, certificate: x509.Certificate) -> bytes:
        try:
            return self.identities(certificate)
        except MLSError:
            raise
        except Exception:  # An application's function, on what nobody has vouched for.
            message = "the end entity has no readable identity"
            refuse(Refused, "S-identities", message, code=Code.CREDENTIAL_REFUSED)
            raise

    def _verify_use(self, certificate: x509.Certificate, place: Place) -> None:
        usage = _extension(certificate, x509.KeyUsage)
        signs = usage is None or usage.digital_signature
        _accept(signs, place, "N-X509-01", "the end entity's key usage is not digitalSignature")
        fits = self._fits_purposes(_extension(certificate, x509.ExtendedKeyUsage))
        _accept(fits, place, "S-purposes", "the end entity's extended key usages are for something else")

    def _fits_purposes(self, usages: x509.ExtendedKeyUsage | None) -> bool:
        return usages is None or not self.purposes.isdisjoint(usages)

    def _verify_path(self, chain: tuple[x509.Certificate, ...], place: Place, now: int) -> None:
        objection = self._objection(chain, now)
        ended = _end(chain)
        is_tolerated = now - ended <= self.grace or (self.expired_members and place is Place.JOIN)
        if objection is not None and ended < now and is_tolerated:
            objection = self._objection(chain, ended)
        _accept(objection is None, place, "R-5.3.1-01", f"the chain does not verify: {objection}")

    def _objection(self, chain: tuple[x509.Certificate, ...], moment: int) -> str | None:
        """Return why no path leads from the end entity to an anchor at `moment`, or None if one does."""
        any_end_entity = ExtensionPolicy.permit_all()
        builder = PolicyBuilder().store(self._store).time(datetime.fromtimestamp(moment, UTC))
        builder = builder.extension_policies(ca_policy=self._issuer_policy(), ee_policy=any_end_entity)
        verifier = builder.max_chain_depth(self.max_chain_depth).build_client_verifier()
        try:
            verifier.verify(chain[0], [*chain[1:], *self.intermediates])
        except Exception as error:  # noqa: BLE001  (whatever the library makes of hostile input, it is a refusal)
            # What follows is a description of the certificate, in its own words.
            return str(error).partition(" (encountered")[0]
        return None

    def _issuer_policy(self) -> ExtensionPolicy:
        # The library reports what these raise as one reason among those for which it dropped a path.
        def verify_key_usage(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
            if usage is not None and not usage.key_cert_sign:
                raise ValueError("an issuer's key usage is not keyCertSign")

        def verify_purposes(_: Policy, __: x509.Certificate, usages: x509.ExtendedKeyUsage | None) -> None:
            if not self._fits_purposes(usages):
                raise ValueError("an issuer's extended key usages are for something else")

        either = Criticality.AGNOSTIC
        policy = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, either, None)
        policy = policy.may_be_present(x509.KeyUsage, either, verify_key_usage)
        return policy.may_be_present(x509.ExtendedKeyUsage, either, verify_purposes)

    def _verify_names(self, certificate: x509.Certificate, place: Place) -> None:
        names = presented_names(certificate)
        _accept(bool(names), place, "N-X509-02", "the end entity names nobody")
        expected = self.references is None or any(name in self.references for name in names)
        _accept(expected, place, "R-5.3.1-01", "none of the names presented is expected")

    def _verify_successor(self, subject: Subject, place: Place) -> None:
        old = subject.replaces
        if old is not None:
            same = isinstance(old, X509Credential) and self.identity(old) == self.identity(subject.credential)
            message = "a leaf may not pass to another identity"
            _accept(same, place, "R-5.3.1-08", message, code=Code.CREDENTIAL_CHANGED)


@dataclass(frozen=True, slots=True)
class ByCredentialType:
    """Hands each credential to the policy for its type; a leaf may not pass from one type to the other.

    An identity is the two bytes of the type, then what the policy says: a basic credential, which may say anything,
    must not be taken for the identity of a certificate.
    """

    basic: CredentialPolicy
    x509: CredentialPolicy

    def identity(self, credential: Credential) -> bytes:
        """Return the type and the identity."""
        return _type_of(credential).to_bytes(2, "big") + self._policy(credential).identity(credential)

    def same_client(self, one: Subject, other: Subject) -> bool:
        """Ask the policy of the type, where both have the same."""
        same = _type_of(one.credential) is _type_of(other.credential)
        return same and self._policy(one.credential).same_client(one, other)

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        """Ask the policy of the type. Raises Refused, and what that raises."""
        old = subject.replaces
        same = old is None or _type_of(old) is _type_of(subject.credential)
        message = "a leaf may not pass to another type of credential"
        _accept(same, place, "R-5.3.1-08", message, code=Code.CREDENTIAL_CHANGED)
        self._policy(subject.credential).accept(subject, place, now)

    def _policy(self, credential: Credential) -> CredentialPolicy:
        return self.basic if isinstance(credential, BasicCredential) else self.x509


def _type_of(credential: Credential) -> CredentialType:
    return CredentialType.BASIC if isinstance(credential, BasicCredential) else CredentialType.X509


def verify_own_key(credential: X509Credential, signature_key: bytes) -> None:
    """Check that a public key of one's own is the one that one's own certificate names.

    Whether anybody trusts the certificate is for their policies. Raises UsageError for another key; InvalidMessage for
    what is no certificate. RFC 9420 §5.3, §6.1.
    """
    if _public_key(_end_entity(credential)) != signature_key:
        raise UsageError("the certificate is for another key than one's own signature key", code=Code.BAD_KEY)


# Reading certificates.


def _end_entity(credential: X509Credential) -> x509.Certificate:
    return _read_chain(credential, 1)[0]


def _read_chain(credential: X509Credential, first: int | None = None) -> tuple[x509.Certificate, ...]:
    require(bool(credential.certificates), InvalidMessage, "R-5.3-04", "a certificate chain is empty")
    return tuple(_read(each.cert_data, position) for position, each in enumerate(credential.certificates[:first]))


def _read(der: bytes, position: int) -> x509.Certificate:
    is_small = len(der) <= MAX_CERTIFICATE_BYTES
    message = f"certificate {position} of a chain has {len(der)} bytes"
    require(is_small, InvalidMessage, "N-X509-03", message, code=Code.LIMIT_EXCEEDED, index=position)
    try:
        return _remembered_certificate(der) if len(der) <= _LARGEST_REMEMBERED else _decode_certificate(der)
    except Exception:  # The library does not list what it raises for what is no certificate.
        refuse(InvalidMessage, "R-5.3-04", f"certificate {position} of a chain is malformed", index=position)
        raise


@lru_cache(maxsize=2_048)
def _remembered_certificate(der: bytes) -> x509.Certificate:
    """Decode a certificate; the same ones are looked at in every epoch.

    Large ones are not remembered: one that is little but names takes some 40 times its length, and nobody has vouched
    for it.
    """
    return _decode_certificate(der)


def _decode_certificate(der: bytes) -> x509.Certificate:
    """Decode a certificate and all that is asked of it later."""
    certificate = x509.load_der_x509_certificate(der)
    presented_names(certificate)
    certified_identity(certificate)
    _end((certificate,))
    return certificate


def _alternative_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return () if names is None else tuple(names)


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    found = (each.value for each in certificate.extensions if isinstance(each.value, kind))
    return next(found, None)


def _end(chain: tuple[x509.Certificate, ...]) -> int:
    return min(int(certificate.not_valid_after_utc.timestamp()) for certificate in chain)


def _verify_key(certificate: x509.Certificate, signature_key: bytes, place: Place) -> None:
    constraints = _extension(certificate, x509.BasicConstraints)
    is_first = constraints is None or not constraints.ca
    _valid(is_first, place, "R-5.3-04", "the first certificate is that of a CA, and no end entity")
    is_same = _public_key(certificate) == signature_key
    _valid(is_same, place, "R-5.3-05", "the certificate is for another key than the leaf's signature key")


def _public_key(certificate: x509.Certificate) -> bytes | None:
    """Return an end entity's key as MLS writes it, or None if no suite has such keys. RFC 9420 §5.1.1."""
    try:
        key = certificate.public_key()
    except Exception:  # noqa: BLE001  (as for reading: a key that the library does not load is none)
        return None
    match key:
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return key.public_bytes_raw()
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1() | ec.SECP521R1()):
            return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        case _:
            return None


def _valid(condition: bool, place: Place, rule: str, message: str) -> None:
    require(condition, InvalidMessage, rule, f"{place}: {message}", code=Code.CREDENTIAL_REFUSED)


def _accept(condition: bool, place: Place, rule: str, message: str, *, code: Code = Code.CREDENTIAL_REFUSED) -> None:
    require(condition, Refused, rule, f"{place}: {message}", code=code)
