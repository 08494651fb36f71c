"""Verifying files of vectors: nothing is skipped, and what cannot be read or told is a failure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mls.errors import MLSError
from vectors.case import Case, Mismatch
from vectors.kinds import KINDS, PASSIVE, kind_of
from vectors.passive import verify_passive_client
from vectors.progress import Progress
from vectors.report import Failure, Report
from vectors.stream import SeededStream

UNKNOWN = "(none)"
"""The kind of a file that cannot be read or told."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which kind and which suite to verify; None for all."""

    kind: str | None = None
    suite: int | None = None


def verify_paths(paths: Iterable[Path], selection: Selection) -> Report:
    """Verify files, and all JSON files of folders."""
    report = Report()
    for path in paths:
        found = False
        for file in _files_of(path):
            found = True
            verify_file(file, selection, report)
        if not found:
            report.add(UNKNOWN, None, Failure(str(path), None, "the folder holds no JSON file"))
    return report


def _files_of(path: Path) -> Iterator[Path]:
    return iter(sorted(path.glob("*.json"))) if path.is_dir() else iter((path,))


def verify_file(path: Path, selection: Selection, report: Report) -> None:
    """Verify the selected cases of one file."""
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = f"the file is no JSON: {error}"
        if isinstance(error, OSError):
            reason = f"the file cannot be read: {error.strerror}"
        report.add(UNKNOWN, None, Failure(str(path), None, reason))
        return
    if not isinstance(cases, list) or not cases:
        report.add(UNKNOWN, None, Failure(str(path), None, "the file is no array of cases, or an empty one"))
        return
    kind = kind_of(path, cases)
    if kind is None:
        reason = "neither the name nor the form of the first case is of a known kind"
        report.add(UNKNOWN, None, Failure(str(path), None, reason))
        return
    if selection.kind not in {None, kind}:
        return
    _verify_cases(path, kind, cases, selection, report)


def _verify_cases(path: Path, kind: str, cases: list[object], selection: Selection, report: Report) -> None:
    chosen = [
        (index, case) for index, case in enumerate(cases) if selection.suite in {None, _suite_named_by(kind, case)}
    ]
    if not chosen:
        return
    progress = Progress(path.name, len(chosen))
    for index, case in chosen:
        reason = failure_of(kind, case, index)
        failure = None if reason is None else Failure(str(path), index, reason)
        report.add(kind, _suite_named_by(kind, case), failure)
        progress.step()
    progress.finish()


def _suite_named_by(kind: str, case: object) -> int | None:
    if (kind in KINDS and not KINDS[kind].suites) or not isinstance(case, dict):
        return None
    suite = case.get("cipher_suite")
    return suite if isinstance(suite, int) else None


def failure_of(kind: str, case: object, index: int = 0) -> str | None:
    """Return why a case fails, or None when it passes. `index` keeps what is made anew apart from other cases."""
    if not isinstance(case, dict):
        return "the case is no object"
    try:
        _verify(kind, case, index)
    except (Mismatch, MLSError) as error:
        return " ".join((*getattr(error, "__notes__", ()), f"{type(error).__name__}: {error}"))
    except Exception as error:  # noqa: BLE001  (whatever a vector provokes is its failure, and the others go on)
        return f"unexpected {type(error).__name__}: {error}"
    return None


def _verify(kind: str, case: Case, index: int) -> None:
    entropy = SeededStream("verify", kind, str(index))
    if kind == PASSIVE:
        verify_passive_client(case, entropy)
    else:
        KINDS[kind].verify(case, entropy)
