"""Limits and policies of the engine: one frozen value, safe by default, and presets.

Two deployments that differ here may refuse each other's messages. What is refused by a setting names it: by its ID,
`S-` and the setting's name, or by that of the requirement which its description cites. On receipt the error is that
of the object refused; when one's own message would exceed a limit, it is a UsageError.

How old a GroupInfo is cannot be bounded here: it bears no time, and only its epoch shows that it is stale. An
application that fetches them bounds the time between fetching and joining.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from mls.errors import UsageError
from mls.rules import require

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
_NEVER: Final = 2**64 - 1
_SUITES: Final = frozenset(range(1, 8))


def no_padding(length: int) -> int:
    """Add no padding to a plaintext of `length` bytes. RFC 9420 §15.1."""
    del length
    return 0


def pad_to_power_of_two(length: int) -> int:
    """Return how many bytes bring a plaintext of `length` bytes to a power of two, 256 at least. RFC 9420 §15.1."""
    bucket = 256
    while bucket < length:
        bucket *= 2
    return bucket - length


def pad_padme(length: int) -> int:
    """Return how many bytes bring a plaintext of `length` bytes to the next size of Padmé, 256 at least.

    A size of n bits keeps as many leading bits as n has bits itself, so that little leaks, and what is
    added is a sixteenth at most. RFC 9420 §15.1.
    """
    size = max(length, 256)
    low_bits = size.bit_length() - 1 - (size.bit_length() - 1).bit_length()
    return (size + (1 << low_bits) - 1 >> low_bits << low_bits) - length


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a client accepts, sends and keeps. Durations are seconds, sizes bytes."""

    cipher_suites: frozenset[int] = _SUITES
    """The cipher suites that one's identities and groups may have.

    All of them, for each wants a choice of one's own besides: a client enters groups of those suites alone for which it
    was given an identity, which is suite 1 where none is named. Suites 2, 5 and 7 sign with ECDSA: whoever sees one of
    its signatures can make a second one that verifies.
    """

    max_lifetime: int = 90 * DAY
    """The longest lifetime of a leaf, R-7.2-13."""
    default_lifetime: int = 28 * DAY
    """That of a key package for which none is asked, where `max_lifetime` allows it."""
    clock_skew: int = HOUR
    """How far other clocks may be off; a key package is back-dated by as much."""
    check_peer_lifetimes: bool = True
    """Whether the lifetime of leaves received is compared with the clock, R-7.3-09."""
    check_joined_lifetimes: bool = False
    """Whether that holds for members of a group that one joins; a lifetime is about being added, not about staying.

    A member's first leaf shows its key package's lifetime until the member commits, so where this is set nobody joins a
    group of which one member has been silent for that long, R-7.3-09.
    """
    require_listed_suite: bool = False
    """Whether the leaves of others must list the group's version and cipher suite, R-7.3-05; peers break it."""
    require_declared_key_package_extensions: bool = False
    """Whether the extensions of others' key packages must stand in their capabilities, R-10-10; peers break it."""

    max_past_epochs: int = 2
    """How many epochs back application messages are still read, R-15-02."""
    past_epoch_ttl: int = DAY
    """How long after its end an epoch's messages are still read, where `max_past_epochs` keeps it as long."""
    max_forward_steps: int = 1_000
    """How far ahead of the last message of its sender a message may be, R-15.3-03."""
    max_skipped_keys: int = 1_000
    """How many keys of skipped messages are kept for a sender, R-15.3-02."""
    max_skipped_keys_per_group: int = 10_000
    """How many are kept for all senders of an epoch, R-15.3-02."""
    skipped_key_ttl: int = DAY
    """How long they are kept, R-15.3-02; a message that comes later than that after a later one is not read."""
    resumption_psk_epochs: int = 3
    """How many past epochs can be named by a resumption PSK, R-8.6-02."""
    messages_per_epoch: int = 2**20
    """How many messages one sends under one epoch's keys, R-15.2-01."""

    max_message_bytes: int = 2**20
    """The largest message accepted or sent, and the largest key package, R-2.1.2-07."""
    max_welcome_bytes: int = 2**23
    """The largest Welcome, GroupInfo and ratchet tree accepted or sent, R-2.1.2-07."""
    max_leaves: int = 65_536
    """The widest tree, blank leaves included."""
    max_extensions: int = 64
    """How many extensions a leaf, key package, group or GroupInfo may have."""
    max_commit_proposals: int = 2**14
    """How many proposals a commit may cover."""
    max_pending_proposals: int = 256
    """How many proposals an epoch may collect."""
    max_pending_proposals_per_sender: int = 16
    """How many of them one sender may contribute."""

    private_handshakes: bool = True
    """Whether one's own proposals and commits are sent as PrivateMessage, R-6-02."""
    accept_public_handshakes: bool = True
    """Whether members' proposals and commits are accepted as PublicMessage, R-6-03.

    They are authenticated all the same, and what they give away their sender gave away by sending them so: refusing
    them would part this client from a group that others let a delivery service follow.
    """
    external_commits: bool = False
    """Whether clients may join by an external commit."""
    resync: bool = False
    """Whether such a commit may replace the joiner's own former leaf."""
    resync_without_psk: bool = False
    """Whether it may do so without a resumption PSK, by the signature key alone, N-E06."""
    external_senders: bool = False
    """Whether proposals of the group's external senders are accepted."""
    new_member_proposals: bool = False
    """Whether clients may propose their own addition."""
    grease: bool = True
    """Whether meaningless values stand among one's own capabilities and extensions, R-13.5-01."""
    padding: Callable[[int], int] = pad_to_power_of_two
    """Given the bytes of a plaintext, how many zeros follow it, R-15.1-01."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense. Raises UsageError, naming the setting."""
        for field in fields(self):
            _verify_setting(field.name, getattr(self, field.name))

    @classmethod
    def default(cls) -> Settings:
        """Return the settings that hold where none are given."""
        return cls()

    @classmethod
    def strict(cls) -> Settings:
        """Return settings for those who would rather lose a message than keep a key, and deal with careful peers only.

        No key outlives its epoch, handshakes in the clear and leaves that claim less than they use are refused, and of
        the cipher suites only those over Curve25519 are taken. Who joins demands that every lifetime still runs.
        """
        return cls(
            cipher_suites=frozenset((1, 3)),
            check_joined_lifetimes=True,
            require_listed_suite=True,
            require_declared_key_package_extensions=True,
            max_past_epochs=0,
            max_skipped_keys=100,
            max_skipped_keys_per_group=1_000,
            skipped_key_ttl=HOUR,
            resumption_psk_epochs=1,
            accept_public_handshakes=False,
        )

    @classmethod
    def large(cls) -> Settings:
        """Return settings for groups of up to a million members, who trust each other not to waste their memory.

        A Welcome or tree may be of 1 GiB, as may be a commit, which covers 2^20 proposals at most. Give them to all
        clients of such a group, and to no others.
        """
        return cls(
            max_message_bytes=_LARGEST,
            max_welcome_bytes=_LARGEST,
            max_leaves=2**20,
            max_commit_proposals=2**20,
            max_pending_proposals=2**20,
            max_pending_proposals_per_sender=2**20,
        )

    @classmethod
    def vectors(cls) -> Settings:
        """Return the settings under which the published test vectors can pass.

        Their lifetimes ended in 2024 or never end, and one member proposes 29 times in an epoch. Scenarios beyond the
        official files, our own among them, also join externally and let external senders speak.
        """
        return cls(
            max_lifetime=_NEVER,
            check_peer_lifetimes=False,
            max_pending_proposals_per_sender=256,
            external_commits=True,
            resync=True,
            resync_without_psk=True,
            external_senders=True,
            new_member_proposals=True,
            grease=False,
            padding=no_padding,
        )


# What numbers may be; the wire format itself ends at 2^30 bytes, a leaf index at 2^32 and a generation too.
_LARGEST: Final = 2**30
_COUNT: Final = (0, 2**32 - 1)
_SIZE: Final = (1, _LARGEST)
_TIME: Final = (0, _NEVER)
_RANGES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "max_lifetime": (1, _NEVER),
        "default_lifetime": (1, _NEVER),
        "clock_skew": _TIME,
        "max_past_epochs": _COUNT,
        "past_epoch_ttl": _TIME,
        "max_forward_steps": _COUNT,
        "max_skipped_keys": _COUNT,
        "max_skipped_keys_per_group": _COUNT,
        "skipped_key_ttl": _TIME,
        "resumption_psk_epochs": _COUNT,
        "messages_per_epoch": (1, 2**32),
        "max_message_bytes": _SIZE,
        "max_welcome_bytes": _SIZE,
        "max_leaves": (1, 2**31),
        "max_extensions": _COUNT,
        "max_commit_proposals": _COUNT,
        "max_pending_proposals": _COUNT,
        "max_pending_proposals_per_sender": _COUNT,
    }
)


def _verify_setting(name: str, value: object) -> None:
    if name in _RANGES:
        lowest, highest = _RANGES[name]
        fits = isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
        require(fits, UsageError, "S-values", f"{name} is a whole number from {lowest} to {highest}, not {value!r}")
    elif name == "cipher_suites":
        are_numbers = isinstance(value, frozenset) and all(isinstance(each, int) for each in value)
        require(are_numbers and bool(value), UsageError, "S-values", f"{name} is a frozenset of numbers, not {value!r}")
    elif name == "padding":
        require(callable(value), UsageError, "S-values", f"{name} is a function of a length, not {value!r}")
    else:
        require(isinstance(value, bool), UsageError, "S-values", f"{name} is True or False, not {value!r}")
