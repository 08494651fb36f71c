"""What receiving a message comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.epoch.effect import Effect, Member
from mls.epoch.state import EpochState
from mls.epoch.transition import Transition
from mls.messages import Proposal, Sender
from mls.schedule.secret_tree import StagedKey


@dataclass(frozen=True, slots=True)
class ApplicationMessage:
    """What a member said. `sender` is the member as of `epoch`; gaps in `generation` show that messages are missing.

    `authenticated_data` was readable on the way, and is as authentic as `data`. RFC 9420 §15, §16.9.
    """

    sender: Member
    data: bytes
    authenticated_data: bytes
    epoch: int
    generation: int


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A proposal that now waits for a commit. RFC 9420 §12.1."""

    ref: bytes
    proposal: Proposal
    sender: Sender


@dataclass(frozen=True, slots=True)
class OwnMessage:
    """A message of our own came back. `generation` is None for a PublicMessage, which has none.

    Any member can make it look so; nothing follows from it.
    """

    generation: int | None


@dataclass(frozen=True, slots=True, eq=False)
class StagedCommit:
    """A commit that was checked in full and changes nothing until it is merged.

    `own` commits are recognised, not decrypted. RFC 9420 §12.4.2.
    """

    own: bool
    effect: Effect
    epoch: int
    base: EpochState = field(repr=False)
    transition: Transition = field(repr=False)
    key: StagedKey | None = field(default=None, repr=False)
    candidate: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SentProposal:
    """A proposal that we made: the message to deliver, and the reference by which a commit may cover it."""

    message: bytes = field(repr=False)
    ref: bytes


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """A commit that we made: deliver `message`, and `welcome` once the commit is taken; then merge it.

    `ratchet_tree` accompanies a Welcome that does not carry the tree. `left_out` holds pending proposals that did not
    go in, each with the reason. RFC 9420 §12.4.1, §14.
    """

    message: bytes = field(repr=False)
    welcome: bytes | None = field(repr=False)
    ratchet_tree: bytes | None = field(repr=False)
    effect: Effect
    left_out: tuple[tuple[ProposalReceived, str], ...]
    epoch: int
    candidate: str = field(repr=False)
