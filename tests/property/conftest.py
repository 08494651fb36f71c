"""What a run says at its end of how often everything happened in the simulated groups."""

from __future__ import annotations

from collections import Counter

import pytest

HAPPENED = pytest.StashKey[Counter[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how often everything succeeded that may happen to a group."""
    counts = terminalreporter.config.stash.get(HAPPENED, None)
    if counts is not None:
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"simulated groups, {counts.total()} successes: {told}")
