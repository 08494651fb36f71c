"""`mls demo`: clients and a delivery service play a group's life in one process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console

from mls.cli.delivery import DeliveryService
from mls.cli.play import Play
from mls.cli.report import Performance, as_mapping, print_comparison, print_story
from mls.cli.story import ACTS, perform
from mls.cli.terminal import new_console
from mls.crypto import SUITES
from treekem.tree import RatchetTree

MIN_MEMBERS: Final = 3
MAX_MEMBERS: Final = 128


def demonstrate(
    suites: Sequence[int],
    *,
    members: int,
    seed: int | None,
    as_json: bool,
    service: Callable[[], DeliveryService] = DeliveryService,
) -> bool:
    """Play the story under each suite, print it, and return whether every check held."""
    console = new_console()
    if as_json:
        performances = [performed(Play(suite, members, seed, service())) for suite in suites]
        print(json.dumps(as_mapping(performances, members=members, seed=seed), indent=2))
        return all(performance.passed for performance in performances)
    performances = [_watched(console, Play(suite, members, seed, service())) for suite in suites]
    if len(performances) == 1:
        print_story(console, performances[0], members=members)
    else:
        print_comparison(console, performances, members=members)
    return all(performance.passed for performance in performances)


def performed(play: Play) -> Performance:
    """Play all acts."""
    suite, steps = play.suite.id, tuple(perform(play))
    return Performance(suite, steps, _tree_of(play))


def parse_suites(text: str) -> tuple[int, ...]:
    """Return the suites that a user asks for, as a number or as "all". Raises ValueError.

    >>> parse_suites("2"), parse_suites("all")
    ((2,), (1, 2, 3, 4, 5, 6, 7))
    """
    if text == "all":
        return tuple(sorted(SUITES))
    if int(text, 0) not in SUITES:
        raise ValueError(text)
    return (int(text, 0),)


def _watched(console: Console, play: Play) -> Performance:
    """Play all acts, and say on a terminal which one is on."""
    suite, steps = play.suite.id, []
    with console.status(f"suite {suite}: {ACTS[0][0]}") as status:
        for step in perform(play):
            steps.append(step)
            coming = ACTS[min(len(steps), len(ACTS) - 1)][0]
            status.update(f"suite {suite}: {coming}")
    return Performance(suite, tuple(steps), _tree_of(play))


def _tree_of(play: Play) -> RatchetTree:
    return RatchetTree.decode(play.members[0].group.ratchet_tree)
