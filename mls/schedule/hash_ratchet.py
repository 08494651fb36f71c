"""The hash ratchet: single-use keys and nonces of one sender, for one kind of content. RFC 9420 §9.1, §9.2, §15.3.

A `Ratchet` is a value. Taking a key returns a new ratchet and leaves the old one as it was, so nothing is consumed
before the caller says so. Generations passed over leave their key and nonce behind, never a ratchet secret: from that,
later keys that are consumed already could be derived again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from mls.crypto import CipherSuite
from mls.errors import Code, UnavailableSecret, UsageError
from mls.rules import require
from mls.schedule.key_schedule import AEADKey, revealed
from treekem.secrets import Secret

MAX_GENERATION = 0xFFFFFFFF
"""The last generation that a uint32 names. RFC 9420 §9.1."""

_STAMPS_OF_A_SECOND: Final = 20  # bits
_LAST_SECOND: Final = 2**43 - 1  # whose stamps fit 63 bits


class RatchetSecret(Secret):
    """ratchet_secret_[N]_[j], from which generation j and all later ones derive; Nh bytes."""

    __slots__ = ()


class MessageKey(AEADKey):
    """ratchet_key_[N]_[j], which encrypts one message; Nk bytes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class SkippedKey:
    """Key and nonce of a generation passed over; `stamp` orders such keys by age across the ratchets of a group.

    A tree counts stamps on from the time at which a key was passed over, see `stamp_of`.
    """

    key: MessageKey
    nonce: bytes
    stamp: int


@dataclass(frozen=True, slots=True, eq=False)
class Ratchet:
    """One ratchet: `secret` belongs to `generation`, the next one; there is none once generation 2^32 - 1 is consumed.

    `skipped` holds unconsumed generations before it, ascending. Of the generations before it that are not held, those
    below `floor` may have been evicted; the others are certainly consumed.
    """

    secret: RatchetSecret | None
    generation: int = 0
    floor: int = 0
    skipped: Mapping[int, SkippedKey] = field(default_factory=dict)

    def key_and_nonce(self, suite: CipherSuite, generation: int) -> tuple[MessageKey, bytes]:
        """Return copies of the key and nonce of a generation that `verify_available` let pass, and keep nothing else.

        RFC 9420 §9.1.
        """
        entry = self.skipped.get(generation)
        if entry is not None:
            return entry.key.copy(), entry.nonce

        secret = self._secret_copy()
        for passed in range(self.generation, generation):
            secret = _next_secret(suite, secret, passed)
        key, nonce = _key_and_nonce(suite, secret, generation)
        secret.wipe()
        return key, nonce

    def consume(self, suite: CipherSuite, generation: int, stamp: int, max_skipped: int) -> Consumption:
        """Return the ratchet without a generation that `verify_available` let pass.

        Of the generations passed over, the latest `max_skipped` stay, and bear `stamp`.

        RFC 9420 §9.1, §9.2.
        """
        entry = self.skipped.get(generation)
        if entry is None:
            return self._move_ahead(suite, generation, stamp, max_skipped)
        kept = {number: other for number, other in self.skipped.items() if number != generation}
        return Consumption(replace(self, skipped=kept), fresh=[], doomed=[entry.key])

    def without_oldest(self, count: int) -> tuple[Ratchet, list[Secret]]:
        """Return the ratchet without its `count` oldest skipped keys, and those keys. RFC 9420 §15.3."""
        oldest = list(islice(self.skipped, count)) if count > 0 else []
        if not oldest:
            return self, []
        kept = dict(islice(self.skipped.items(), len(oldest), None))
        evicted: list[Secret] = [self.skipped[generation].key for generation in oldest]
        return replace(self, skipped=kept, floor=max(self.floor, oldest[-1] + 1)), evicted

    def wipe(self) -> None:
        """Wipe the secret and every skipped key."""
        if self.secret is not None:
            self.secret.wipe()
        for entry in self.skipped.values():
            entry.key.wipe()

    def _move_ahead(self, suite: CipherSuite, generation: int, stamp: int, max_skipped: int) -> Consumption:
        secret = self._secret_copy()
        skipped = dict(self.skipped)
        fresh: list[Secret] = []
        for passed in range(self.generation, generation):
            key, nonce = _key_and_nonce(suite, secret, passed)
            skipped[passed] = SkippedKey(key, nonce, stamp)
            fresh.append(key)
            secret = _next_secret(suite, secret, passed)

        following = None if generation == MAX_GENERATION else _next_secret(suite, secret, generation)
        secret.wipe()
        fresh.extend(() if following is None else (following,))
        moved = Ratchet(following, generation + 1, self.floor, skipped)
        ratchet, evicted = moved.without_oldest(len(skipped) - max_skipped)
        return Consumption(ratchet, fresh, doomed=evicted if self.secret is None else [self.secret, *evicted])

    def _secret_copy(self) -> RatchetSecret:
        assert self.secret is not None  # noqa: S101  (a ratchet that is used up has no generation ahead that is available)
        return self.secret.copy()


@dataclass(frozen=True, slots=True, eq=False)
class Consumption:
    """A ratchet after consuming a generation.

    `fresh` are the secrets derived for it; `doomed` are those to be wiped once it replaces the ratchet before.
    """

    ratchet: Ratchet
    fresh: list[Secret]
    doomed: list[Secret]


def stamp_of(seconds: int) -> int:
    """Return the first stamp of a second since 1970; each has room for a million messages."""
    return min(max(seconds, 0), _LAST_SECOND) << _STAMPS_OF_A_SECOND


def verify_available(ratchet: Ratchet, generation: int, max_forward: int, oldest: int = 0) -> None:
    """Raise UnavailableSecret for a generation that is consumed, evicted or more than `max_forward` steps ahead.

    So is one whose key was skipped before the stamp `oldest`. Nothing is derived to find out. Raises UsageError for a
    generation that no uint32 names.

    RFC 9420 §9.1, §9.2, §15.3.
    """
    text = f"generation {generation} lies beyond the ratchet's end"
    require(0 <= generation <= MAX_GENERATION, UsageError, "R-9.1-05", text, code=Code.MUST_REKEY)
    if generation == ratchet.generation:
        return
    entry = ratchet.skipped.get(generation)
    if entry is not None:
        text = f"the key of generation {generation} was kept for longer than skipped_key_ttl"
        require(entry.stamp >= oldest, UnavailableSecret, "S-skipped_key_ttl", text, code=Code.TOO_OLD)
        return

    text = f"generation {generation} is older than the keys that are kept"
    require(generation >= ratchet.floor, UnavailableSecret, "R-15.3-04", text, code=Code.TOO_OLD)
    text = f"generation {generation} is consumed"
    require(generation >= ratchet.generation, UnavailableSecret, "R-9.2-08", text, code=Code.KEY_CONSUMED)
    steps = generation - ratchet.generation
    text = f"generation {generation} lies {steps} steps ahead, {max_forward} are allowed"
    require(steps <= max_forward, UnavailableSecret, "R-15.3-03", text, code=Code.TOO_FAR_FUTURE)


def _key_and_nonce(suite: CipherSuite, secret: RatchetSecret, generation: int) -> tuple[MessageKey, bytes]:
    key = suite.derive_tree_secret(secret, b"key", generation, suite.aead_key_length, MessageKey)
    nonce = suite.derive_tree_secret(secret, b"nonce", generation, suite.aead_nonce_length, Secret)
    return key, revealed(nonce)


def _next_secret(suite: CipherSuite, secret: RatchetSecret, generation: int) -> RatchetSecret:
    """Derive the secret of the next generation, and wipe this one."""
    following = suite.derive_tree_secret(secret, b"secret", generation, suite.hash_length, RatchetSecret)
    secret.wipe()
    return following
