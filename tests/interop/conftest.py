"""The other implementation's process, one per test, or a word on why there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.peer import PINNED, Peer, folder_of_peer, why_not_run
from tests.support.world import NOW


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that the other implementation was not met: a skipped test would be one dot among many."""
    reason = why_not_run()
    if reason is not None:
        terminalreporter.write_line(f"tests/interop, against ts-mls {PINNED}: not run, since {reason}", yellow=True)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Start the other implementation, under the clock that our clients live by."""
    reason = why_not_run()
    if reason is not None:
        pytest.skip(f"not run: {reason}")
    with Peer(folder_of_peer()) as started:
        started.ask("clock", seconds=NOW)
        yield started
