"""Observes which rules a test saw hold, and which errors it ended in; marks are not believed.

A rule is seen to hold when its predicate did while the test ran. A test ends in an error when `pytest.raises` catches
it and the test passes: what an error's `rule` says then is what the test saw refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.rule_sites import Watch, watched
from treekem.errors import MLSError


@dataclass
class Observations:
    """By test: the rules that held, the rules that refused, and the seconds it took; passing tests alone."""

    held: dict[str, frozenset[str]] = field(default_factory=dict)
    refused: dict[str, frozenset[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, others: Observations) -> None:
        """Add what was observed elsewhere."""
        self.held.update(others.held)
        self.refused.update(others.refused)
        self.seconds.update(others.seconds)

    def tests_seeing_held(self, rule: str) -> list[str]:
        """Return the tests that saw a rule hold, cheapest first."""
        return self._cheapest(self.held, rule)

    def tests_seeing_refused(self, rule: str) -> list[str]:
        """Return the tests that ended in an error with this rule, cheapest first."""
        return self._cheapest(self.refused, rule)

    def _cheapest(self, seen: dict[str, frozenset[str]], rule: str) -> list[str]:
        return sorted((test for test, rules in seen.items() if rule in rules), key=self.seconds.__getitem__)


class Observer:
    """A part of a pytest plugin: it fills `observations` while tests run within `observing`."""

    def __init__(self) -> None:
        self.observations = Observations()
        self._watch = Watch()
        self._refused: set[str] = set()

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Watch rules and caught errors while tests run."""
        with watched(self._watch), _caught_errors(self._refused):
            yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Start each test with a clean slate, its fixtures included."""
        self._watch.held.clear()
        self._refused.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down what a test saw."""
        self.note(report)

    def note(self, report: pytest.TestReport) -> None:
        """Take down what a test saw, if it passed."""
        if report.when == "call" and report.passed:
            self.observations.held[report.nodeid] = frozenset(self._watch.held)
            self.observations.refused[report.nodeid] = frozenset(self._refused)
            self.observations.seconds[report.nodeid] = report.duration


@contextmanager
def _caught_errors(rules: set[str]) -> Iterator[None]:
    """Collect the rules of the errors that `pytest.raises` catches."""
    kind: Any = type(pytest.raises(MLSError))
    leave = kind.__exit__

    def noting(self: object, error_type: object, error: object, traceback: object) -> object:
        if isinstance(error, MLSError) and error.rule:
            rules.add(error.rule)
        return leave(self, error_type, error, traceback)

    kind.__exit__ = noting
    try:
        yield
    finally:
        kind.__exit__ = leave
