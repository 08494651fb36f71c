"""Mutants of public handshakes, shown to a member and to an observer: they agree but for what takes a secret to see."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from mls import AcceptAnyone, MLSError
from mls.errors import UsageError
from mls.observer import PublicGroup
from mls.receiving import Received
from tests.adversarial.targets import Target, group_targets
from tests.support.observing import seen, verdict
from tests.support.world import NOW


def observer_of(target: Target) -> PublicGroup:
    """Return an observer that has seen what the target's client has."""
    assert target.group is not None
    info = target.group.group_info()
    observer = PublicGroup.follow(info, policy=AcceptAnyone(), clock=lambda: NOW)
    waiting = {reference: each.queued for reference, each in target.group._standing.proposals.items()}
    observer._view = replace(observer._view, queue=waiting)
    return observer


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
