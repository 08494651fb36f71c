"""Marks, fixtures and Hypothesis profiles that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

from tests.support import conformance, vectors
from tests.support.entropy import DeterministicEntropy
from tests.support.requirements import faults_of_marks

# Cryptography on a busy machine is slow, so examples have no deadline. A profile named on the command line
# (`--hypothesis-profile`) is loaded after this one and wins.
_SLOW_IS_FINE = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=_SLOW_IS_FINE)
hypothesis.settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=_SLOW_IS_FINE, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--rfc-report`."""
    conformance.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Observe the run, if a report on it is asked for."""
    conformance.register(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a run in which a test carries an unknown requirement ID, or too many."""
    faults = []
    for item in items:
        marks = list(item.iter_markers("rfc"))
        if marks:
            rules = tuple(rule for mark in marks for rule in mark.args)
            faults += [f"{item.nodeid}: {fault}" for fault in faults_of_marks(rules)]

    if faults:
        raise pytest.UsageError("\n".join(faults))


@pytest.fixture
def entropy(request: pytest.FixtureRequest) -> DeterministicEntropy:
    """Bytes that are the same in every run of this test, and others than those of any other test."""
    return DeterministicEntropy(request.node.nodeid.encode())


@pytest.fixture
def official_vectors() -> Callable[[str], list[dict[str, Any]]]:
    """Load the official vectors of a kind, or skip; at collection time use `tests.support.vectors` itself."""
    return vectors.official


@pytest.fixture
def wycheproof_vectors() -> Callable[[str], dict[str, Any]]:
    """Load a file of Wycheproof's vectors, or skip."""
    return vectors.wycheproof
