"""Groups of two to six clients to which anything may happen: what must hold after every single step."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.property.conftest import HAPPENED
from tests.support.happenings import HAPPENINGS, Chance, Happening
from tests.support.rooms import Simulation

ENOUGH = 50
CREATE = "create"
NUMBERS = st.integers(0, 2**16)
LATE = st.sampled_from((0, 0, 1, 2, 4, 21, 42, 63, 63))
CHANCES = st.builds(Chance, NUMBERS, NUMBERS, LATE)


class Machine(RuleBasedStateMachine):
    """Two rooms at most; the numbers choose who, what, and which seats hear of it late."""

    counts: Counter[str]

    @initialize(private=st.booleans())
    def begin(self, private: bool) -> None:
        self.simulation = Simulation(private=private)
        self.counts[CREATE] += 1

    @rule(happening=st.sampled_from(HAPPENINGS), chance=CHANCES, place=st.integers(0, 1))
    def step(self, happening: Happening, chance: Chance, place: int) -> None:
        rooms = self.simulation.rooms
        if happening(rooms[place % len(rooms)], chance):
            self.counts[happening.__name__] += 1

    @invariant()
    def all_is_well(self) -> None:
        self.simulation.verify()


@pytest.mark.rfc("R-16.2-01", "R-12.4.2-23", "R-8.7-01", "R-16.7-01", "R-14-04")
def test_members_agree_whatever_happens(request: pytest.FixtureRequest) -> None:
    """In a run that is the same every time, everything happens often enough to mean something."""
    counts = Counter[str]()
    machine = type("Machine", (Machine,), {"counts": counts})
    is_repeatable = settings().derandomize
    examples, steps = (150, 50) if is_repeatable else (30, 40)
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=steps))
    request.config.stash[HAPPENED] = counts
    names = {CREATE, *(each.__name__ for each in HAPPENINGS)}
    rare = {name: counts[name] for name in names if counts[name] < ENOUGH}
    assert not is_repeatable or rare == {}
