"""What a transition needs besides state and message: the clock's word, randomness, policies and keys from outside.

Nothing below the shell reads a clock, a random source or a store; it is all handed down here, as values and functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from mls.errors import InvalidMessage, MalformedMessage, MLSError, Refused
from mls.identity import CredentialPolicy, Place, Subject
from mls.identity.roles import EVERYTHING_ALLOWED, RolePolicy
from mls.messages import Credential, PreSharedKeyID, ReInit, ResumptionPSK
from mls.registry import NO_REGISTRY, Registry
from mls.schedule.psk import PSK
from mls.settings import Settings
from treekem.index import LeafIndex
from treekem.suite import Entropy

if TYPE_CHECKING:
    from concurrent.futures import Executor

_ItemT = TypeVar("_ItemT")
_CHUNK: Final = 32
# What a policy raises about a credential; any other error tells of the policy itself.
_REFUSALS: Final = (Refused, InvalidMessage, MalformedMessage)


@dataclass(frozen=True, slots=True)
class Origin:
    """A group that another one continues, as of one epoch; what the two are compared by. RFC 9420 §11.2, §11.3.

    `identities` are those of its members, one for each leaf. `reinit` is what the commit announced that led to this
    epoch, if it did.
    """

    version: int
    cipher_suite: int
    identities: tuple[bytes, ...]
    reinit: ReInit | None


def no_known_keys(identity: bytes) -> frozenset[bytes]:
    """Know no keys of any identity."""
    del identity
    return frozenset()


def no_psk(psk_id: PreSharedKeyID) -> PSK | None:
    """Hold no pre-shared key."""
    del psk_id
    return None


def no_origin(link: ResumptionPSK) -> Origin | None:
    """Know no other group."""
    del link
    return None


def nothing_announced(group_id: bytes) -> bool:
    """Wait for the successor of no group."""
    del group_id
    return False


@dataclass(frozen=True, slots=True)
class Environment:
    """The arguments that every transition shares.

    `now` is in seconds since 1970; `psk` returns keys to be wiped; `origin` the group and epoch that a PSK names;
    `announced` tells whether a successor of this id is awaited;
    `registry` is what the application adds to the types of the protocol; `executor` lends threads to check signatures.
    """

    settings: Settings
    policy: CredentialPolicy
    now: int
    entropy: Entropy
    known_keys: Callable[[bytes], frozenset[bytes]] = no_known_keys
    psk: Callable[[PreSharedKeyID], PSK | None] = no_psk
    origin: Callable[[ResumptionPSK], Origin | None] = no_origin
    announced: Callable[[bytes], bool] = nothing_announced
    roles: RolePolicy = EVERYTHING_ALLOWED
    registry: Registry = NO_REGISTRY
    executor: Executor | None = None

    def passing(self, check: Callable[[_ItemT], None], items: Sequence[_ItemT]) -> frozenset[int]:
        """Return the positions of the items that `check` takes, which many threads find sooner; none without them.

        Whoever asks runs the check on all others, so that what is refused, and in which order, does not depend on
        threads.
        """
        if self.executor is None or len(items) <= _CHUNK:
            return frozenset()
        starts = range(0, len(items), _CHUNK)
        passing = self.executor.map(lambda start: _passing(check, items, range(start, start + _CHUNK)), starts)
        return frozenset(chain.from_iterable(passing))

    def accept(
        self,
        credential: Credential,
        signature_key: bytes,
        place: Place,
        replaces: Credential | None = None,
        leaf: LeafIndex | None = None,
    ) -> None:
        """Ask the policy about a credential that is new to the group, of the member at `leaf` if it has one.

        Raises Refused, InvalidMessage or MalformedMessage, as the policy does; the identity stands before the reason.
        RFC 9420 §5.3.1.
        """
        try:
            self.policy.accept(self.subject(credential, signature_key, replaces), place, self.now)
        except _REFUSALS as refusal:
            # A policy may hold on to its error, and raise it about others too; so ours is another one.
            kind = next(each for each in _REFUSALS if isinstance(refusal, each))
            identity = self.identity_of(credential)
            name = "a credential" if identity is None else repr(identity[:32])
            text = f"{name}{'' if leaf is None else f' at leaf {leaf}'}: {refusal.message}"
            culprit = leaf if refusal.leaf is None else refusal.leaf
            raise kind(text, code=refusal.code, rule=refusal.rule, leaf=culprit, index=refusal.index) from refusal

    def identity_of(self, credential: Credential) -> bytes | None:
        """Return the identity that the policy reads in a credential, or None where it cannot read any."""
        try:
            return self.policy.identity(credential)
        except _REFUSALS:
            return None

    def subject(self, credential: Credential, signature_key: bytes, replaces: Credential | None = None) -> Subject:
        """Describe a credential to the policy."""
        known = self.known_keys(self.policy.identity(credential))
        return Subject(credential, signature_key, known, replaces)


def _passing(check: Callable[[_ItemT], None], items: Sequence[_ItemT], positions: range) -> list[int]:
    passing = []
    for position in positions[: max(0, len(items) - positions.start)]:
        try:
            check(items[position])
        except MLSError:
            continue
        passing.append(position)
    return passing
