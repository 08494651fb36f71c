"""The pytest plugin behind `--rfc-report`: which requirements the suite shows, as observed rather than as marked.

- A checked or generated requirement is shown when one passing test saw its predicate hold, and another ended in an
  error with its ID.
- What is derived, encoded, kept, deleted or offered is shown when each fault declared for it is noticed by a test that
  bears its ID; the faults are planted one by one, in forks, before the tests run.
- A meta requirement is shown when those are that it follows from, one outside of the engine when its place exists.
"""

from __future__ import annotations

import importlib
import json
import re
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mls.rules import Requirement, requirements
from tests.faults import faults
from tests.support.knocking import Knockout, of_fault, verdicts
from tests.support.modules import ENGINE, ROOT, modules
from tests.support.observation import Observations, Observer
from tests.support.planting import Fault
from tests.support.requirements import cited_ids

_SHOWN_TESTS = 5


@dataclass
class Evidence:
    """What is known about requirements: what tests observed, which test noticed each fault, and who bears which ID.

    Marks show nothing: they only say which of several tests that show a requirement are named first.
    """

    observations: Observations = field(default_factory=Observations)
    noticed: dict[str, list[str | None]] = field(default_factory=lambda: defaultdict(list))
    bearing: Mapping[str, list[str]] = field(default_factory=dict)

    def tests_showing(self, requirement: Requirement) -> list[str] | None:
        """Return tests that show a requirement, none where none is needed; None where it is not shown."""
        match requirement.sort:
            case "checked" | "generated":
                held = self._foremost(requirement.id, self.observations.tests_seeing_held(requirement.id))
                refused = self._foremost(requirement.id, self.observations.tests_seeing_refused(requirement.id))
                accepting = next((test for test in held if set(refused) - {test}), None)
                if accepting is None:
                    return None
                return [*[test for test in refused if test != accepting][:_SHOWN_TESTS], accepting]
            case "shown":
                killers = self.noticed.get(requirement.id, [])
                named = [killer for killer in killers if killer is not None]
                return sorted(set(named)) if killers and len(named) == len(killers) else None
            case "meta":
                return [] if all(self.is_shown(requirements()[source]) for source in requirement.sources) else None
            case "outside":
                return [] if place_exists(requirement.where, requirement.id) else None

    def note(self, rules: Iterable[str], killer: str | None) -> None:
        """Take down that a fault for these rules was noticed by a test, or by none."""
        for rule in rules:
            self.noticed[rule].append(killer)

    def _foremost(self, rule: str, tests: list[str]) -> list[str]:
        return sorted(tests, key=lambda test: test not in self.bearing.get(rule, []))

    def is_shown(self, requirement: Requirement) -> bool:
        """Whether a requirement is shown."""
        return self.tests_showing(requirement) is not None


class Reporter(Observer):
    """Observes a run, and writes the report at its end."""

    def __init__(self, path: Path, knocked_out: Path | None) -> None:
        super().__init__()
        self._path = path
        self._knocked_out = knocked_out
        self._evidence = Evidence(self.observations)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Plant the faults first, while this process has done nothing that a fork should not inherit."""
        self._evidence.bearing = marked(session.items)
        if not session.config.option.collectonly:
            if self._knocked_out is not None:
                self._read(json.loads(self._knocked_out.read_text(encoding="utf-8")))
            else:
                self._plant_all(session.items)
        with self.observing():
            return (yield)

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        self._path.write_text(json.dumps(report(self._evidence), indent=1) + "\n", encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401  (pytest does not export its type)
        """Say how many requirements of the engine are shown."""
        entries = report(self._evidence)["requirements"].values()
        owned = [entry for entry in entries if entry["owner"] == "engine"]
        shown = sum(entry["shown"] for entry in owned)
        terminalreporter.write_line(f"{shown} of the engine's {len(owned)} requirements are shown: {self._path}")

    def _plant_all(self, items: list[pytest.Item]) -> None:
        for verdict in verdicts(fault_knockouts(faults(), items), {item.nodeid: item for item in items}, jobs=2):
            self._evidence.note(verdict.knockout.rules, verdict.killer)

    def _read(self, results: Mapping[str, Any]) -> None:
        for result in results["knockouts"]:
            if result["kind"] == "fault":
                self._evidence.note(result["rules"], result["killer"])


def fault_knockouts(
    chosen: Sequence[Fault], items: Iterable[pytest.Item], observed: Observations | None = None
) -> list[Knockout]:
    """Return one knock-out per fault, to be noticed by the tests that bear one of its rules, cheapest first.

    Where tests were observed, only those that passed count: one that fails anyhow notices nothing.
    """
    by_rule = marked(items)
    bearing = [{test for rule in fault.rules for test in by_rule[rule]} for fault in chosen]
    if observed is None:
        return [of_fault(fault, sorted(tests)) for fault, tests in zip(chosen, bearing, strict=True)]
    seconds = observed.seconds
    passed = (sorted(tests & seconds.keys(), key=seconds.__getitem__) for tests in bearing)
    return [of_fault(fault, tests) for fault, tests in zip(chosen, passed, strict=True)]


def marked(items: Iterable[pytest.Item]) -> dict[str, list[str]]:
    """Return, by rule, the tests that bear it."""
    tests: dict[str, list[str]] = defaultdict(list)
    for item in items:
        for rule in {str(rule) for mark in item.iter_markers("rfc") for rule in mark.args}:
            tests[rule].append(item.nodeid)
    return tests


def report(evidence: Evidence) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the report: every requirement, and how it is shown."""
    places = where_cited()
    return {
        "requirements": {
            rule: {
                "section": requirement.section,
                "level": requirement.level,
                "sort": requirement.sort,
                "owner": requirement.owner,
                "shown": evidence.is_shown(requirement),
                "tests": evidence.tests_showing(requirement) or [],
                "where": requirement.where or list(requirement.sources) or places.get(rule, []),
            }
            for rule, requirement in requirements().items()
        }
    }


def where_cited() -> dict[str, list[str]]:
    """Return, by rule, the modules that name it: of the engine, or those that break what it asks for."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules(*ENGINE, "tests/faults"):
        for rule in dict.fromkeys(cited_ids(module)):
            places[rule].append(module.path)
    return places


def place_exists(where: str, rule: str) -> bool:
    """Whether a document of the project has this name and names the rule, or a public object has this name."""
    if where.endswith(".md"):
        document = ROOT / where
        return (
            document.is_file() and re.search(rf"{re.escape(rule)}\b", document.read_text(encoding="utf-8")) is not None
        )
    parts = where.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name, None)
        return found is not None
    return False


def add_options(parser: pytest.Parser) -> None:
    """Add the command line's options."""
    group = parser.getgroup("rfc", "requirements of RFC 9420")
    group.addoption("--rfc-report", metavar="FILE", type=Path, help="write which requirements the run shows, as JSON")
    group.addoption(
        "--rfc-knockouts",
        metavar="FILE",
        type=Path,
        help="take from here, instead of finding out, which faults are noticed",
    )


def register(config: pytest.Config) -> None:
    """Register the plugin, if a report is asked for."""
    path = config.getoption("rfc_report")
    if path is not None:
        config.pluginmanager.register(Reporter(path, config.getoption("rfc_knockouts")), "rfc-report")
