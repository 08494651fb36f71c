"""Mutants of valid messages: each is refused by an MLSError that changed nothing, and the genuine one still works.

Some are changed as bytes; others as structures, then tagged, encrypted or signed again by an insider, so that they get
as far as the very last check.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from mls import Invitation, MLSError, ProposalReceived, StagedCommit
from mls.errors import UsageError
from mls.messages import ProposalContent
from tests.adversarial.targets import STAGES, Event, Target, group_targets, stage_of, welcome_targets

SUITES = (1, 2, 3, 7)
SMALLEST_SHARE = 0.05


def targets() -> list[Target]:
    return [target for suite in SUITES for source in (group_targets, welcome_targets) for target in source(suite)]


def batch(target: Target, n: int, random: Random) -> Counter[str]:
    """Let a target meet n mutants, then the genuine message; count how far they came."""
    ways = sorted(target.ways)
    stages: Counter[str] = Counter()
    while stages.total() < n:
        try:
            mutant, said = target.ways[random.choice(ways)](random)
        except UsageError:
            continue  # The structure cannot be encoded: there is no such message.
        if mutant == target.genuine:
            continue
        outcome = target.refuses(mutant)
        if isinstance(outcome, MLSError):
            stages[stage_of(outcome)] += 1
        else:
            assert_explained(target, outcome, said)
            stages["accepted"] += 1
            target.start()
    target.client.receive(target.genuine)
    target.start()
    target.client.receive(target.genuine)
    return stages


def assert_explained(target: Target, event: Event, said: object) -> None:
    """Assert that what was accepted is what the insider signed, or differs in nothing that the receiver sees."""
    match event:
        case ProposalReceived(proposal=proposal):
            assert isinstance(said, ProposalContent), target.name
            assert proposal == said.proposal, target.name
        case Invitation():
            assert said in {"entry", "no path secret", "unknown extension"}, target.name
        case _:
            raise AssertionError(f"{target.name}: taken for {event}")
    assert not isinstance(event, StagedCommit)


def run(n: int, seed: int) -> None:
    """Spread n mutants over all targets, print how far they came, and assert that every check had its share."""
    everyone, random = targets(), Random(seed)
    stages: Counter[str] = Counter()
    for number, target in enumerate(everyone):
        share = (n * (number + 1)) // len(everyone) - (n * number) // len(everyone)
        stages += batch(target, share, random)
    assert stages.total() == n
    for stage in (*STAGES, "accepted"):
        print(f"{stage:>12}: {stages[stage]:6} of {n}, {stages[stage] / n:.1%}")  # noqa: T201  (what the run is for)
    assert min(stages[stage] for stage in STAGES) >= SMALLEST_SHARE * n
    assert stages["accepted"] < SMALLEST_SHARE * n


@pytest.mark.rfc("R-12.4.2-06", "R-9.2-05", "R-12.4.3.1-29", "R-6.1-13", "N-C12")
def test_mutants_are_refused() -> None:
    run(2_600, seed=9420)


@pytest.mark.rfc("N-C12")
@pytest.mark.slow
def test_many_mutants_are_refused() -> None:
    run(100_000, seed=1)
