"""Credential policies: the application's word on who may be a member.

A policy is RFC 9420's Authentication Service. It is asked about every credential that is new to a group, and has no
default: whoever embeds the engine chooses one. Policies are values; the keys that an identity has shown before are kept
by the client and handed to them. RFC 9420 §5.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mls.errors import Code, Refused
from mls.messages import BasicCredential, Credential, X509Credential
from mls.rules import require


class Place(StrEnum):
    """Where a credential shows up. RFC 9420 §5.3.1."""

    ADD = "add"
    UPDATE = "update"
    COMMIT = "commit"
    JOIN = "join"
    EXTERNAL_JOIN = "external join"
    EXTERNAL_SENDER = "external sender"


@dataclass(frozen=True, slots=True)
class Subject:
    """A credential that asks to be accepted.

    `known_keys` are the signature keys that this identity has been accepted with before; `replaces` is the credential
    that the same leaf had, where it changes.
    """

    credential: Credential
    signature_key: bytes
    known_keys: frozenset[bytes] = frozenset()
    replaces: Credential | None = None


class CredentialPolicy(Protocol):
    """What the engine asks of an Authentication Service. RFC 9420 §5.3.1."""

    def identity(self, credential: Credential) -> bytes:
        """Return the identity that a credential presents; equal for all clients of one user."""

    def same_client(self, one: Subject, other: Subject) -> bool:
        """Whether two leaves stand for one client, which may be in a group only once.

        It is asked of leaves of one identity alone, also before `accept` has seen them, so that a list which adds a
        client twice costs no signature.
        """

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        """Return if the credential may appear at `place` at `now`, seconds since 1970. Raises Refused, with the reason.

        The engine puts the identity before the reason, and the leaf, where there is one. What tells of the policy, such
        as a directory that does not answer, may be any other exception: it passes through, nothing has changed, and the
        same message can be received again.
        """


def identity_of(credential: Credential) -> bytes:
    """Return the identity of a basic credential, or the end-entity certificate of an X.509 one."""
    match credential:
        case BasicCredential(identity=identity):
            return identity
        case X509Credential(certificates=certificates):
            return certificates[0].cert_data if certificates else b""


@dataclass(frozen=True, slots=True)
class AcceptAnyone:
    """Accepts every credential: for tests, and for those who check members elsewhere."""

    def identity(self, credential: Credential) -> bytes:
        """Return the bare identity."""
        return identity_of(credential)

    def same_client(self, one: Subject, other: Subject) -> bool:
        """Hold that a client is its signature key."""
        return one.signature_key == other.signature_key

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        """Accept."""


@dataclass(frozen=True, slots=True)
class TrustOnFirstUse:
    """Pins the signature keys of an identity.

    The first key is accepted. A further one is accepted, and reported as a new device, or refused, by `new_devices`.
    """

    new_devices: bool = True

    def identity(self, credential: Credential) -> bytes:
        """Return the bare identity."""
        return identity_of(credential)

    def same_client(self, one: Subject, other: Subject) -> bool:
        """Hold that a client is its signature key."""
        return one.signature_key == other.signature_key

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        """Refuse a changed identity, and an unknown key of a known identity where new devices are not welcome."""
        del now
        changed = subject.replaces is not None and identity_of(subject.replaces) != identity_of(subject.credential)
        message = f"{place}: a leaf may not pass to another identity"
        require(not changed, Refused, "R-5.3.1-08", message, code=Code.CREDENTIAL_CHANGED)
        unknown = bool(subject.known_keys) and subject.signature_key not in subject.known_keys
        message = f"{place}: an unknown key of a known identity"
        require(self.new_devices or not unknown, Refused, "S-new_devices", message, code=Code.CREDENTIAL_REFUSED)
