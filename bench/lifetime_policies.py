"""What happens to a group in the course of its epochs, and who refreshes keys when: pure decisions, from a seed.

Everybody who wants to join or to leave does so alike under every policy, so that policies can be compared: they differ
in who commits, with a path or without, and in who proposes an Update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final


@dataclass(frozen=True, slots=True)
class Model:
    """A group of `n_members` over `n_epochs`; of `joins` and `leaves` there are so many in an epoch, on average."""

    n_members: int
    n_epochs: int
    joins: float = 0.5
    leaves: float = 0.5
    seed: int = 0

    def days(self) -> Iterator[Day]:
        """Yield what each epoch brings. Members are numbered in the order in which they come; nobody comes twice."""
        random = Random(f"{self.seed} who comes and goes")
        present, following = list(range(self.n_members)), self.n_members
        for epoch in range(self.n_epochs):
            n_joins, n_leaves = _drawn(self.joins, random), _drawn(self.leaves, random)
            leaving = tuple(random.sample(present, min(n_leaves, max(0, len(present) - 2))))
            joining = tuple(range(following, following + n_joins))
            following += n_joins
            present = [member for member in present if member not in leaving] + list(joining)
            yield Day(epoch, joining, leaving)

    def chance(self, number: int, purpose: str) -> Random:
        """Return the randomness of an epoch or a member for a purpose, the same under every policy."""
        return Random(f"{self.seed} {purpose} {number}")


@dataclass(frozen=True, slots=True)
class Day:
    """Who wants to join and who to leave, by number."""

    epoch: int
    joining: tuple[int, ...]
    leaving: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What a policy decides by.

    `ages` tells of every member that stays how many epochs ago its leaf's key was replaced, in the order of numbers;
    `fresh` are those who joined and have sent no path yet; `is_waiting` says whether somebody wants to join or leave.
    """

    model: Model
    epoch: int
    ages: Mapping[int, int]
    fresh: tuple[int, ...]
    is_waiting: bool

    def oldest(self, members: Iterable[int]) -> int:
        """Return the one of some members whose key is oldest; of equal ones any, and not the first in the tree.

        Neighbours that commit one after the other would leave the rest of the tree alone for long.
        """
        return max(members, key=lambda member: (self.ages[member], self.model.chance(member, "order").random()))

    def anybody(self) -> int:
        """Return the member that happens to commit, who is a random one."""
        return self.model.chance(self.epoch, "committer").choice(list(self.ages))


@dataclass(frozen=True, slots=True)
class Turn:
    """A commit by a member, who covers the Updates that others propose, and all that wait to join or leave."""

    committer: int
    updating: tuple[int, ...] = ()
    with_path: bool = True


Policy = Callable[[View], Turn | None]
"""Decides who does what in an epoch; None lets it pass without a commit."""


def policy_named(text: str) -> Policy:
    """Return a policy by its name, `batch=10` for one that takes a number. Raises ValueError."""
    name, _, argument = text.partition("=")
    try:
        if name in _PLAIN and not argument:
            return _PLAIN[name]
        if name in _COUNTED:
            return partial(_COUNTED[name], count=_positive(argument))
        if name == "chance":
            return partial(_chance, probability=_probability(argument))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    known = (*_PLAIN, *(f"{each}=K" for each in _COUNTED), "chance=P")
    raise ValueError(f"{text!r} is no policy; there are {', '.join(known)}")


def _never(view: View) -> Turn | None:
    """Refresh nothing: a path is sent only where the RFC asks for one, with a removal. RFC 9420 §12.4."""
    return Turn(view.anybody(), with_path=False) if view.is_waiting else None


def _changes(view: View) -> Turn | None:
    """Send a path with every join or leave, and otherwise nothing."""
    return Turn(view.anybody()) if view.is_waiting else None


def _newcomer(view: View) -> Turn | None:
    """As `changes`, and whoever joined commits as soon as possible: so nobody stays unmerged for long."""
    if view.fresh:
        return Turn(view.fresh[0])
    return _changes(view)


def _always(view: View) -> Turn:
    """Commit in every epoch, whoever it is."""
    return Turn(view.anybody())


def _oldest(view: View) -> Turn:
    """Commit in every epoch, by the member whose key is oldest."""
    return Turn(view.oldest(view.ages))


def _every(view: View, count: int) -> Turn | None:
    """Let each member refresh its key every `count` epochs, spread evenly: one commits, the others propose Updates."""
    return _refreshing(view, [member for member in view.ages if (view.epoch + member) % count == 0])


def _chance(view: View, probability: float) -> Turn | None:
    """Let each member refresh its key in an epoch with this probability: one commits, the others propose Updates."""
    random = view.model.chance(view.epoch, "who updates")
    return _refreshing(view, [member for member in view.ages if random.random() < probability])


def _batch(view: View, count: int) -> Turn | None:
    """Gather who wants to join or leave for `count` epochs, then commit once."""
    is_due = view.epoch % count == count - 1
    return _changes(view) if is_due else None


def _refreshing(view: View, due: list[int]) -> Turn | None:
    if not due:
        return _changes(view)
    committer = view.oldest(due)
    return Turn(committer, tuple(member for member in due if member != committer))


_PLAIN: Final[dict[str, Policy]] = {
    "never": _never,
    "changes": _changes,
    "newcomer": _newcomer,
    "always": _always,
    "oldest": _oldest,
}
_COUNTED: Final[dict[str, Callable[..., Turn | None]]] = {"every": _every, "batch": _batch}


def _drawn(rate: float, random: Random) -> int:
    """Return a whole number whose average is `rate`."""
    return int(rate) + (random.random() < rate % 1)


def _positive(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError("at least 1 is wanted")
    return count


def _probability(text: str) -> float:
    probability = float(text)
    if not 0 < probability <= 1:
        raise ValueError("a probability lies between 0 and 1")
    return probability
