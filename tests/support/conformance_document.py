"""CONFORMANCE.md: the list of requirements, joined with the last results that were recorded in it.

The document is its own record: what the last full run showed is read back from its rows, so that a change of the list
of requirements can be written out without another run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from mls.rules import Requirement, requirements

_NOT_SHOWN = "**not shown**"
_ROW = re.compile(r"\| ([RNS]-\S+) \| .* \| (.*) \|")
_TEST = re.compile(r"`([^`]+\.py::[^`]+)`")
_KNOCKED = re.compile(r"(\d+) of (\d+) were noticed")
_NAMED_TESTS = 2

_INTRODUCTION = """# Conformance

What RFC 9420 asks of an implementation, requirement by requirement, and how this engine shows that it complies. The
list itself is `mls/requirements.md`; `CONTRIBUTING.md` says how requirements are observed rather than claimed:

- what is *checked* or *generated* was seen to hold in one test, and another ended in an error that names it;
- what is *shown* was broken on purpose, by the faults in `tests/faults`, and a test for the requirement noticed each;
- what is *meta* follows from the requirements named, and what is *outside* is offered or written where the row says.

This document is generated:

```
python -m pytest -m '' --rfc-report report.json
python -m tests.knockout --json knockouts.json
python -m tests.conformance --report report.json --knockouts knockouts.json
```

Without arguments the last command keeps the results recorded here, and writes out the list of requirements anew.
"""


@dataclass
class Record:
    """The last results: by ID the tests that show a requirement, None where it is not shown; and the knock-outs."""

    tests: dict[str, list[str] | None] = field(default_factory=dict)
    noticed: int = 0
    knocked_out: int = 0


def read(text: str) -> Record:
    """Return what a document records."""
    record = Record()
    for line in text.splitlines():
        row = _ROW.fullmatch(line)
        if row is not None:
            record.tests[row[1]] = None if row[2] == _NOT_SHOWN else _TEST.findall(row[2])
    knocked = _KNOCKED.search(text)
    if knocked is not None:
        record.noticed, record.knocked_out = int(knocked[1]), int(knocked[2])
    return record


def write(record: Record) -> str:
    """Return the document."""
    listed = list(requirements().values())
    knocked = f"{record.noticed} of {record.knocked_out} were noticed"
    parts = [_INTRODUCTION, f"Rules were knocked out and faults planted one at a time: {knocked}.\n"]
    parts += [_summary(listed, record)]
    for section, rows in groupby(listed, key=lambda requirement: requirement.section):
        parts.append(_section(section, rows, record))
    return "\n".join(parts)


def _summary(listed: list[Requirement], record: Record) -> str:
    sorts = _counted("Sort", listed, record, lambda requirement: requirement.sort)
    levels = _counted("Level", [each for each in listed if each.section], record, lambda requirement: requirement.level)
    return f"## Summary\n\n{sorts}\n{levels}"


def _counted(title: str, listed: Iterable[Requirement], record: Record, key: Callable[[Requirement], str]) -> str:
    counts: dict[str, list[int]] = {}
    for requirement in listed:
        is_shown = record.tests.get(requirement.id) is not None
        for name in (key(requirement), "all"):
            count = counts.setdefault(name, [0, 0])
            count[0] += 1
            count[1] += is_shown
    rows = [
        f"| {name} | {count} | {shown} |" for name, (count, shown) in sorted(counts.items(), key=lambda item: item[1])
    ]
    return "\n".join([f"| {title} | Requirements | Shown |", "|---|---|---|", *rows, ""])


def _section(section: str, rows: Iterable[Requirement], record: Record) -> str:
    title = f"## §{section}" if section[:1].isdigit() else f"## Appendix {section}" if section else "## Beyond the RFC"
    lines = [
        f"| {requirement.id} | {requirement.level} | {requirement.line} | {_how(requirement, record.tests)} |"
        for requirement in rows
    ]
    return "\n".join([title, "", "| ID | Level | Requirement | How shown |", "|---|---|---|---|", *lines, ""])


def _how(requirement: Requirement, tests: Mapping[str, list[str] | None]) -> str:
    shown = tests.get(requirement.id)
    if shown is None:
        return _NOT_SHOWN
    if requirement.sort == "meta":
        return f"follows from {', '.join(requirement.sources)}"
    if requirement.sort == "outside":
        return f"{requirement.owner}: `{requirement.where}`"
    names = dict.fromkeys(test.removeprefix("tests/").partition("[")[0] for test in shown)
    return ", ".join(f"`{name}`" for name in list(names)[:_NAMED_TESTS])
