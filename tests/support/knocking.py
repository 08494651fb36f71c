"""Knocks out one rule, or plants one fault, and runs tests in a fork to see whether they notice.

All forks come from one process that has collected the tests, so that imports and collection cost nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import pytest
from _pytest import runner

from mls.rules import requirements
from tests.support.planting import Fault, Stale
from tests.support.rule_sites import Watch, watched

TIMEOUT = 60.0
"""Seconds after which tests that do not end count as having noticed: a fault may well make them run forever."""

_KILLED, _SURVIVED, _STALE = range(3)


@dataclass(frozen=True)
class Knockout:
    """One thing to break, and the tests that should notice, the most promising first."""

    name: str
    kind: Literal["rule", "fault"]
    rules: tuple[str, ...]
    what: str
    planted: Callable[[], AbstractContextManager[object]] = field(repr=False)
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """How it went: `killer` is the test that noticed, or says what else ended the run; None for a survivor.

    A fault that does not fit the engine any more survives, and `remark` says why.
    """

    knockout: Knockout
    killer: str | None
    seconds: float
    remark: str = ""

    @property
    def is_killed(self) -> bool:
        """Whether a test noticed."""
        return self.killer is not None


def of_rule(rule: str, what: str, tests: Sequence[str], without_check: Fault | None) -> Knockout:
    """Return the knock-out that lets a rule refuse nothing; `without_check` is the codec without a generated one."""

    @contextmanager
    def planted() -> Iterator[None]:
        with watched(Watch(passing=frozenset({rule}))), without_check.planted() if without_check else nullcontext():
            yield

    is_possible = without_check is not None or requirements()[rule].sort != "generated"
    return Knockout(rule, "rule", (rule,), what, planted, tuple(tests) if is_possible else ())


def of_fault(fault: Fault, tests: Sequence[str]) -> Knockout:
    """Return the knock-out that plants a fault."""
    return Knockout(f"{fault.rules[0]}: {fault.what}", "fault", fault.rules, fault.what, fault.planted, tuple(tests))


def verdicts(knockouts: Sequence[Knockout], items: dict[str, pytest.Item], jobs: int) -> Iterator[Verdict]:
    """Yield a verdict per knock-out, as they come in; `jobs` forks run at a time."""
    waiting = list(reversed(knockouts))
    running: dict[int, _Fork] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            knockout = waiting.pop()
            if knockout.tests:
                fork = _Fork(knockout, [items[test] for test in knockout.tests])
                running[fork.pid] = fork
            else:
                yield Verdict(knockout, None, 0.0)
        for pid, fork in list(running.items()):
            verdict = fork.verdict()
            if verdict is not None:
                del running[pid]
                yield verdict
        time.sleep(0.005)


class _Fork:
    """A child process that plants the fault, runs the tests, and says through a pipe which one noticed."""

    def __init__(self, knockout: Knockout, items: list[pytest.Item]) -> None:
        self._knockout = knockout
        self._began = time.monotonic()
        self._pipe, answer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            os._exit(_run(knockout, items, answer))
        os.close(answer)

    def verdict(self) -> Verdict | None:
        """Return how it went, or None while it goes on."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        seconds = time.monotonic() - self._began
        if pid == 0 and seconds <= TIMEOUT:
            return None
        if pid == 0:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        with os.fdopen(self._pipe, "rb") as pipe:
            said = pipe.read().decode()
        if pid == 0:
            return Verdict(self._knockout, f"no end after {TIMEOUT:.0f} seconds, {said}", seconds)
        code = os.waitstatus_to_exitcode(status)
        if code in {_SURVIVED, _STALE}:
            return Verdict(self._knockout, None, seconds, said)
        return Verdict(self._knockout, said or f"the process ended with {code}", seconds)


def _run(knockout: Knockout, items: list[pytest.Item], answer: int) -> int:
    """Plant the fault, run tests until one fails, and say which."""
    be_quiet()
    try:
        with knockout.planted():
            noticed = next(filter(_fails, items), None)
    except Stale as error:
        os.write(answer, str(error).encode())
        return _STALE
    except BaseException as error:  # noqa: BLE001  (a fork must not go on as its parent)
        os.write(answer, f"{type(error).__name__}: {error}".encode())
        return _KILLED
    if noticed is None:
        return _SURVIVED
    os.write(answer, noticed.nodeid.encode())
    return _KILLED


def reports_of(item: pytest.Item, following: pytest.Item | None = None) -> list[pytest.TestReport]:
    """Run a test, and return how it went; fixtures stay that the test `following` shares."""
    return runner.runtestprotocol(item, log=False, nextitem=following)


def _fails(item: pytest.Item) -> bool:
    """Run a test with its fixtures; a skipped one does not fail."""
    return any(report.failed for report in reports_of(item))


def be_quiet() -> None:
    """Send what a test prints nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
