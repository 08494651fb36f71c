"""What a transition needs besides state and message: the clock's word, randomness, policies and keys from outside.

Nothing below the shell reads a clock, a random source or a store; it is all handed down here, as values and functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from mls.errors import InvalidMessage, MalformedMessage, Refused
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
_FindingT = TypeVar("_FindingT")
_FEW: Final = 32
_CHUNK: Final = 64  # What a thread takes at once.
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


def no_threads() -> AbstractContextManager[Executor | None]:
    """Give no threads."""
    return nullcontext(None)


@dataclass(frozen=True, slots=True)
class Environment:
    """The arguments that every transition shares.

    `now` is in seconds since 1970; `psk` returns keys to be wiped; `origin` the group and epoch that a PSK names;
    `announced` tells whether a successor of this id is awaited; `registry` is what the application adds to the types of
    the protocol; `threads` gives those in which many signatures are checked.
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
    threads: Callable[[], AbstractContextManager[Executor | None]] = no_threads

    def findings(
        self, examine: Callable[[_ItemT], _FindingT | None], items: Sequence[_ItemT]
    ) -> list[_FindingT | None]:
        """Return what `examine` finds of many items, asked by threads where there are some; of few, None for each.

        Whoever asks looks again at those of which it finds nothing, one by one, so that what is refused, and in which
        order, does not depend on threads: nor does it matter whether any can be started.
        """
        if len(items) <= _FEW:
            return [None] * len(items)
        with self.threads() as executor:
            if executor is None:
                return list(map(examine, items))
            pieces = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
            try:
                return list(chain.from_iterable(executor.map(lambda piece: list(map(examine, piece)), pieces)))
            except RuntimeError:  # The system gives no thread, or the executor has ended.
                return [None] * len(items)

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
