"""What a type checker must accept of programs that use the engine, and what it must refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
MARK = re.compile(r"#\s*refused: (?P<code>[a-z-]+)")
ERROR = re.compile(r":(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")


def errors_in(program: str, folder: Path) -> list[tuple[int, str]]:
    """Return line and code of each error that mypy finds, each once, in order."""
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    cache = folder / "cache"
    options = ["--strict", "--no-error-summary", f"--cache-dir={cache}", "--config-file=", "--follow-imports=silent"]
    report, complaint, _ = api.run([*options, str(path)])
    assert not complaint
    found = [ERROR.search(line) for line in report.splitlines() if ": error: " in line]
    assert all(found), report
    return sorted({(int(each["line"]), each["code"]) for each in found if each is not None})


@pytest.fixture(autouse=True)
def _at_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYPYPATH", str(CHECKOUT))


@pytest.mark.slow
def test_programs_that_must_type_check(tmp_path: Path) -> None:
    assert errors_in((HERE / "accepted.py.txt").read_text(encoding="utf-8"), tmp_path) == []


@pytest.mark.slow
def test_programs_that_must_not(tmp_path: Path) -> None:
    program = (HERE / "refused.py.txt").read_text(encoding="utf-8")
    marks = [(number, MARK.search(line)) for number, line in enumerate(program.splitlines(), start=1)]
    expected = [(number + 1, found["code"]) for number, found in marks if found is not None]
    assert len(expected) > 10
    assert errors_in(program, tmp_path) == expected
