"""Mutants of public handshakes, shown to a member and to an observer: they agree but for what takes a secret to see."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from mls import AcceptAnyone, MLSError, ProposalReceived, StagedCommit
from mls.errors import UsageError
from mls.observer import Observed, ObservedCommit, PublicGroup
from mls.receiving import Received
from tests.adversarial.targets import Target, group_targets
from tests.support.world import NOW

SECRET = frozenset(("R-6.2-03", "R-6.1-15", "R-5.1.3-03", "R-5.1.1-04"))
"""What takes a secret to see: membership tags, confirmation tags, and path secrets that do not open."""


def observer_of(target: Target) -> PublicGroup:
    """Return an observer that has seen what the target's client has."""
    assert target.group is not None
    info = target.group.group_info()
    observer = PublicGroup.follow(info, policy=AcceptAnyone(), clock=lambda: NOW)
    waiting = {reference: each.queued for reference, each in target.group._standing.proposals.items()}
    observer._view = replace(observer._view, queue=waiting)
    return observer


def seen(observer: PublicGroup, message: bytes) -> MLSError | Observed:
    """Return the error that a message ends in, or what it was taken for; what it changed is undone."""
    before = observer._view
    try:
        return observer.receive(message)
    except MLSError as error:
        assert observer._view is before
        return error
    finally:
        observer._view = before


def judged(target: Target, message: bytes) -> MLSError | Received:
    """Return the error that a message to the target's group ends in, or what it was taken for; then begin again."""
    assert target.group is not None
    try:
        event = target.group.receive(message)
    except MLSError as error:
        return error
    target.start()
    return event


def mutants(target: Target, n: int, random: Random) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < n:
        try:
            found.append(target.ways[random.choice(sorted(target.ways))](random)[0])
        except UsageError:
            continue  # The structure cannot be encoded: there is no such message.
    return found


def verdict(member: object, observed: object) -> str:
    """Compare what a message came to; assert that a difference is one of secrets."""
    if isinstance(observed, MLSError):
        assert isinstance(member, MLSError), observed
        alike = (type(member), member.rule, member.code) == (type(observed), observed.rule, observed.code)
        assert alike or member.rule == "R-6.2-03", (member, observed)
        return "refused alike" if alike else "refused by both"
    if isinstance(member, MLSError):
        assert member.rule in SECRET, (member, observed)
        return "refused by the member"
    pairs = {ObservedCommit: StagedCommit, ProposalReceived: ProposalReceived}
    assert isinstance(member, pairs[type(observed)])
    return "taken by both"


@pytest.mark.rfc("R-6.2-03", "R-6.1-15", "R-6.1-13")
def test_an_observer_refuses_what_members_refuse() -> None:
    random, verdicts = Random(12), Counter[str]()
    targets = [target for target in group_targets(1) if ", public," in target.name]
    for target in targets:
        observer = observer_of(target)
        for mutant in (*mutants(target, 150, random), target.genuine):
            verdicts[verdict(judged(target, mutant), seen(observer, mutant))] += 1
    assert verdicts["refused alike"] > 500, verdicts
    assert verdicts["taken by both"] >= len(targets), verdicts
