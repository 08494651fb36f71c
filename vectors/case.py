"""What both halves of every kind share: reading values out of JSON, and comparing them with what was computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from mls.crypto import CipherSuite, HPKEPrivateKey, SignaturePrivateKey, cipher_suite
from mls.messages import GroupInfo, KeyPackage, MLSMessage, PrivateMessage, ProtocolVersion, PublicMessage, Welcome
from treekem.secrets import Secret
from treekem.suite import Entropy
from treekem.wire import decode

B = TypeVar("B", PublicMessage, PrivateMessage, Welcome, GroupInfo, KeyPackage)

Case = dict[str, Any]
"""One object of a vector file, as JSON has it."""

NOW: Final = 1_700_000_000
"""The clock under which vectors are verified and generated, in seconds since 1970."""

_SHOWN: Final = 64
_SCALAR_LENGTHS: Final = {2: 32, 5: 66, 7: 48}


class Mismatch(Exception):
    """The engine does not agree with a vector, or the vector is not of its kind's form."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a generator is asked for: a suite's cases from one stream of randomness, `small` for few and small ones."""

    suite: CipherSuite
    entropy: Entropy
    small: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of vectors.

    `fields` are the names by which a case is known; `suites` says whether its cases belong to cipher suites. `verify`
    raises Mismatch or MLSError, and draws randomness where it makes something anew; `generate` yields cases.
    """

    name: str
    fields: frozenset[str]
    verify: Callable[[Case, Entropy], None]
    generate: Callable[[Recipe], Iterator[Case]]
    suites: bool = True


def octets(case: Case, name: str) -> bytes:
    """Return the hex-encoded value of a field. Raises Mismatch."""
    value = field(case, name)
    if not isinstance(value, str):
        raise Mismatch(f"{name}: {shown(value)} is no string of hex digits")
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise Mismatch(f"{name}: {error}") from error


def hpke_private_key(suite: CipherSuite, case: Case, name: str) -> HPKEPrivateKey:
    """Return the HPKE private key of a field. Raises Mismatch."""
    return HPKEPrivateKey(_full_length(suite, octets(case, name)))


def signature_private_key(suite: CipherSuite, case: Case, name: str) -> SignaturePrivateKey:
    """Return the signature private key of a field. Raises Mismatch."""
    return SignaturePrivateKey(_full_length(suite, octets(case, name)))


def _full_length(suite: CipherSuite, private_key: bytes) -> bytes:
    """Restore the leading zeros of a scalar: published vectors leave them out, though the format demands them."""
    return private_key.rjust(_SCALAR_LENGTHS.get(suite.id, 0), b"\0")


def message_body(encoded: bytes, kind: type[B], name: str) -> B:
    """Return what an MLSMessage of this version carries. Raises Mismatch for another kind, or MalformedMessage."""
    message = decode(MLSMessage, encoded)
    expect(ProtocolVersion.MLS10, message.version, f"the version of {name}")
    if not isinstance(message.body, kind):
        raise Mismatch(f"{name} is no {kind.__name__}, but a {type(message.body).__name__}")
    return message.body


def number(case: Case, name: str) -> int:
    """Return the unsigned integer of a field. Raises Mismatch."""
    value = field(case, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Mismatch(f"{name}: {shown(value)} is no unsigned integer")
    return value


def text(case: Case, name: str) -> bytes:
    """Return the UTF-8 encoding of a field that is a string. Raises Mismatch."""
    value = field(case, name)
    if not isinstance(value, str):
        raise Mismatch(f"{name}: {shown(value)} is no string")
    return value.encode()


def part(case: Case, name: str) -> Case:
    """Return a field that is an object. Raises Mismatch."""
    value = field(case, name)
    if not isinstance(value, dict):
        raise Mismatch(f"{name}: {shown(value)} is no object")
    return value


def parts(case: Case, name: str) -> list[Case]:
    """Return a field that is an array of objects. Raises Mismatch."""
    values = array(case, name)
    if not all(isinstance(value, dict) for value in values):
        raise Mismatch(f"{name} is no array of objects")
    return values


def array(case: Case, name: str) -> list[Any]:
    """Return a field that is an array. Raises Mismatch."""
    value = field(case, name)
    if not isinstance(value, list):
        raise Mismatch(f"{name}: {shown(value)} is no array")
    return value


def field(case: Case, name: str) -> object:
    """Return a field. Raises Mismatch where it is absent."""
    if name not in case:
        raise Mismatch(f"the field {name} is absent")
    return case[name]


def suite_of(case: Case) -> CipherSuite:
    """Return the suite that a case names. Raises Mismatch or Unsupported."""
    return cipher_suite(number(case, "cipher_suite"))


def expect_octets(computed: bytes | Secret, case: Case, name: str, where: str = "") -> None:
    """Compare what was computed with a hex-encoded field. Raises Mismatch."""
    value = computed.expose() if isinstance(computed, Secret) else computed
    expect(value.hex(), octets(case, name).hex(), where + name)


def expect(computed: object, stated: object, what: str) -> None:
    """Compare what was computed with what a vector states. Raises Mismatch."""
    if computed != stated:
        raise Mismatch(f"{what}: the vector has {shown(stated)}, computed was {shown(computed)}")


def shown(value: object) -> str:
    """Return a value for people, cut where it is long."""
    written = value.hex() if isinstance(value, bytes) else str(value)
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}… ({len(written)} characters)"
