"""Groups of both implementations' members, who do at random what they may; all must agree after every step.

What they are known to do otherwise than the RFC is left out; test_ts_mls_differences.py lists it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from mls import Update
from tests.interop.members import Member, Ours, Table, Theirs
from tests.interop.peer import Peer, PeerRefusedError
from tests.support.world import World

STEPS = 12
SMALLEST, LARGEST = 3, 8


class Story:
    """One group whose members come from either side."""

    def __init__(self, peer: Peer, seed: int) -> None:
        self.random = Random(seed)
        self._suite = self.random.choice((1, 2, 3))
        self._private = self.random.random() < 0.5
        self._peer, self._world, self._n_made = peer, World(self._suite, seed), 0
        self.table = Table(self._client())

    def step(self) -> None:
        """Let somebody do something."""
        acts: list[Callable[[Member], None]] = [self._add, self._rekey, self._remove, self._enter, self._update]
        members = self.table.members
        chosen = acts[:2] if len(members) < SMALLEST else acts[1:3] if len(members) >= LARGEST else acts
        self.random.choice(chosen)(self.random.choice(members))

    def _add(self, by: Member) -> None:
        newcomers = [self._client() for _ in range(self.random.choice((1, 1, 2)))]
        self.table.add(by, *newcomers, inside=self.random.random() < 0.5)

    def _rekey(self, by: Member) -> None:
        self.table.rekey(by)

    def _remove(self, by: Member) -> None:
        self.table.remove(by, self._other(by))

    def _enter(self, host: Member) -> None:
        guest = self._client() if self.random.random() < 0.5 else self._other(host)
        self.table.enter(host, guest, inside=self.random.random() < 0.5)

    def _update(self, by: Member) -> None:
        other = self._other(by)
        if isinstance(other, Ours):
            self.table.propose(other, Update())
        self.table.commit(by)
        self.table.agree()

    def _other(self, than: Member) -> Member:
        # The founder stays: without anybody in the left half of the tree they derive other secrets.
        return self.random.choice([each for each in self.table.members[1:] if each is not than])

    def _client(self) -> Member:
        self._n_made += 1
        name = f"member-{self._n_made}"
        if self.random.random() < 0.5:
            return Ours(self._world, name, private=self._private)
        return Theirs(self._peer, self._suite, name, private=self._private)


@pytest.mark.slow
def test_random_stories(peer: Peer) -> None:
    n_steps = 0
    for seed in range(12):
        story = Story(peer, seed)
        try:
            for _ in range(STEPS):
                story.step()
                n_steps += 1
        except PeerRefusedError as refused:
            # They refuse some trees that the RFC allows: the story ends there.
            assert "unmerged_leaves" in str(refused)  # noqa: PT017  (any other refusal fails, this one is no failure)
        else:
            story.table.talk()
    assert n_steps > 80
