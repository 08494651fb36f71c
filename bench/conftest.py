"""What the benchmarks of small operations share: a unit to measure in, and groups to measure with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.utils import load_timer

from bench.lifetime import founded
from bench.lifetime_group import AwakeGroup
from bench.lifetime_policies import Model
from bench.machine import Clock, timed
from mls.crypto import cipher_suite
from treekem.secrets import Secret

_ROUNDS: Final = 50
_AT_ONCE: Final = 10


@pytest.fixture(autouse=True)
def in_encryptions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say of every result how many HPKE encryptions of suite 1 take as long, which depends less on the machine."""
    yield
    fixture = request.node.funcargs.get("benchmark")
    if isinstance(fixture, BenchmarkFixture) and fixture.stats is not None and fixture.stats.stats.data:
        unit = encryption_seconds(load_timer(request.config.getoption("benchmark_timer")).target)
        fixture.extra_info["in HPKE encryptions"] = round(fixture.stats.stats.median / unit, 3)


@cache
def encryption_seconds(clock: Clock) -> float:
    """Return the seconds that one HPKE encryption of a path secret takes, by the clock of the run."""
    suite = cipher_suite(1)
    key = suite.derive_key_pair(Secret(bytes(32))).public

    def encrypt() -> None:
        for _ in range(_AT_ONCE):
            suite.encrypt_with_label(key, b"UpdatePathNode", b"", bytes(32), bytes)

    return min(timed(encrypt, clock) for _ in range(_ROUNDS)) / _AT_ONCE


@cache
def group_of(size: int) -> AwakeGroup:
    """Return a group whose every parent is filled."""
    return founded(Model(size, 0), 1)
