"""Limits and policies of the engine: one frozen value, safe by default, and presets.

Two deployments that differ here may refuse each other's messages; a refusal names the setting by an `S-` ID.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
_NEVER: Final = 2**64 - 1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a client accepts, sends and keeps. Durations are seconds, sizes bytes."""

    max_lifetime: int = 90 * DAY
    """The longest lifetime of a leaf, R-7.2-13."""
    clock_skew: int = HOUR
    """How far other clocks may be off; a key package is back-dated by as much."""
    check_peer_lifetimes: bool = True
    """Whether the lifetime of leaves received is compared with the clock, R-7.3-09."""
    check_joined_lifetimes: bool = False
    """Whether that holds for members of a group that one joins; a lifetime is about being added, not about staying."""
    require_listed_suite: bool = True
    """Whether the leaves of others must list the group's version and cipher suite, R-7.3-05."""
    require_declared_key_package_extensions: bool = False
    """Whether the extensions of others' key packages must stand in their capabilities, R-10-10; peers break it."""

    max_past_epochs: int = 2
    """How many epochs back application messages are still read, R-15-02."""
    max_forward_steps: int = 1_000
    """How far ahead of the last message of its sender a message may be, R-15.3-03."""
    max_skipped_keys: int = 1_000
    """How many keys of skipped messages are kept for a sender, R-15.3-02."""
    max_skipped_keys_per_group: int = 10_000
    """How many are kept for all senders of an epoch, R-15.3-02."""
    resumption_psk_epochs: int = 3
    """How many past epochs can be named by a resumption PSK, R-8.6-02."""
    messages_per_epoch: int = 2**20
    """How many messages one sends under one epoch's keys, R-15.2-01."""

    max_message_bytes: int = 2**20
    """The largest message accepted or sent, R-2.1.2-07."""
    max_welcome_bytes: int = 2**23
    """The largest Welcome, GroupInfo and ratchet tree accepted or sent, R-2.1.2-07."""
    max_leaves: int = 65_536
    """The widest tree, blank leaves included."""
    max_pending_proposals: int = 256
    """How many proposals an epoch may collect."""
    max_pending_proposals_per_sender: int = 16
    """How many of them one sender may contribute."""

    private_handshakes: bool = True
    """Whether one's own proposals and commits are sent as PrivateMessage, R-6-02."""
    accept_public_handshakes: bool = True
    """Whether members' proposals and commits are accepted as PublicMessage, R-6-03."""
    external_commits: bool = False
    """Whether clients may join by an external commit."""
    resync: bool = False
    """Whether such a commit may replace the joiner's own former leaf."""
    external_senders: bool = False
    """Whether proposals of the group's external senders are accepted."""
    new_member_proposals: bool = False
    """Whether clients may propose their own addition."""
    padding: Callable[[int], int] = pad_to_power_of_two
    """Given the bytes of a plaintext, how many zeros follow it, R-15.1-01."""

    @classmethod
    def vectors(cls) -> Settings:
        """Return the settings under which the published test vectors can pass.

        Their lifetimes ended in 2024 or never end, some of their leaves do not list the suite they are used with, and
        one member proposes 29 times in an epoch. Scenarios beyond the official files, our own among them, also join
        externally and let external senders speak.
        """
        return cls(
            max_lifetime=_NEVER,
            check_peer_lifetimes=False,
            require_listed_suite=False,
            max_pending_proposals_per_sender=256,
            external_commits=True,
            resync=True,
            external_senders=True,
            new_member_proposals=True,
            padding=no_padding,
        )
