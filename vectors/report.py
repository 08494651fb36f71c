"""What verifying came to: counts by kind and suite, the first failure of each, as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case failed; `index` is its place in the file, None when the file itself failed."""

    file: str
    index: int | None
    reason: str

    def __str__(self) -> str:
        place = self.file if self.index is None else f"{self.file}, case {self.index}"
        return f"{place}: {self.reason}"


@dataclass(slots=True)
class Cell:
    """The cases of one kind and one suite; `suite` is None for kinds without suites."""

    kind: str
    suite: int | None
    passed: int = 0
    failed: int = 0
    first_failure: Failure | None = None


class Report:
    """Counts cases as they are verified."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, int | None], Cell] = {}

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The counts: kinds in the order in which they began, and their suites."""
        kinds = list(dict.fromkeys(kind for kind, _ in self._cells))
        return tuple(sorted(self._cells.values(), key=lambda cell: (kinds.index(cell.kind), cell.suite or 0)))

    @property
    def passed(self) -> int:
        """How many cases passed."""
        return sum(cell.passed for cell in self.cells)

    @property
    def failed(self) -> int:
        """How many cases and files failed."""
        return sum(cell.failed for cell in self.cells)

    @property
    def is_good(self) -> bool:
        """Whether at least one case ran, and none failed."""
        return self.passed > 0 and self.failed == 0

    def add(self, kind: str, suite: int | None, failure: Failure | None) -> None:
        """Count one case, or one file that could not be read."""
        cell = self._cells.setdefault((kind, suite), Cell(kind, suite))
        if failure is None:
            cell.passed += 1
            return
        cell.failed += 1
        if cell.first_failure is None:
            cell.first_failure = failure

    def lines(self) -> Iterator[str]:
        """Yield the table, then the first failure of each of its rows that has one, then the verdict."""
        width = max((len(cell.kind) for cell in self.cells), default=4)
        yield f"{'kind':<{width}}  suite  passed  failed"
        for cell in self.cells:
            suite = "-" if cell.suite is None else cell.suite
            yield f"{cell.kind:<{width}}  {suite:>5}  {cell.passed:>6}  {cell.failed:>6}"
        for cell in self.cells:
            if cell.first_failure is not None:
                yield ""
                suite = "" if cell.suite is None else f", suite {cell.suite}"
                yield f"first failure of {cell.kind}{suite}:"
                yield f"  {cell.first_failure}"
        yield ""
        ran = self.passed + self.failed
        yield f"{self.passed} passed, {self.failed} failed" if ran else "nothing was verified: no case was found"

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "passed": self.passed,
            "failed": self.failed,
            "ok": self.is_good,
            "cells": [
                {
                    "kind": cell.kind,
                    "suite": cell.suite,
                    "passed": cell.passed,
                    "failed": cell.failed,
                    "first_failure": _failure_as_json(cell.first_failure),
                }
                for cell in self.cells
            ],
        }


def _failure_as_json(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"file": failure.file, "case": failure.index, "reason": failure.reason}
