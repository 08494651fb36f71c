"""Breaks one rule at a time, and sees whether the suite notices: `python -m tests.knockout [--rule ID…] [--jobs N]`.

A rule that is checked is let pass; what is shown by faults has them planted; the codec is compiled without the check.
Tests that should notice are those that were observed to end in an error with the rule, or for a fault those that bear
its ID, cheapest first; where rules are named, only tests that bear them are looked at. Everything is forked from one
process that has collected the tests. Exit code 0 says that all was noticed; survivors are listed.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import pickle
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import pytest

from mls.rules import requirements
from tests.faults import faults
from tests.support.conformance import Evidence, fault_knockouts, marked, report
from tests.support.knocking import Knockout, Verdict, be_quiet, of_rule, reports_of, verdicts
from tests.support.observation import Observations, Observer
from tests.support.rule_sites import Watch, watched


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the knock-outs that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.knockout", description=__doc__)
    parser.add_argument("--rule", nargs="+", action="extend", metavar="ID", help="only these rules; a prefix ends in *")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="how many forks at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write there what `pytest --rfc-report` would write"
    )
    options = parser.parse_args(arguments)

    plugin = _Knockouts(options.rule, options.jobs)
    status = pytest.main(["-qq", "--no-summary", "-p", "no:cacheprovider", "tests"], plugins=[plugin])
    if status != pytest.ExitCode.OK or not plugin.verdicts:
        print("the run did not come to its end" if plugin.verdicts else "nothing was knocked out")
        return 2
    if options.json is not None:
        options.json.write_text(json.dumps(_as_json(plugin.verdicts), indent=1) + "\n", encoding="utf-8")
    if options.report is not None:
        options.report.write_text(json.dumps(_report(plugin), indent=1) + "\n", encoding="utf-8")
    return _conclude(plugin.verdicts)


class _Knockouts(Observer):
    """Takes the place of pytest's loop: observe the tests in one fork, then break things in others."""

    def __init__(self, rules: list[str] | None, jobs: int) -> None:
        super().__init__()
        self.verdicts: list[Verdict] = []
        self.observed = Observations()
        self.bearing: dict[str, list[str]] = {}
        self._rules = rules
        self._jobs = jobs

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        """Have Hypothesis remember nothing, for what fails here is not a failure."""
        import hypothesis  # noqa: PLC0415  (pytest wants to import it first)

        hypothesis.settings.register_profile("knockout", hypothesis.settings(), database=None, derandomize=True)
        hypothesis.settings.load_profile("knockout")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Knock out rule after rule. Returns true, so that pytest does not run the tests itself."""
        began = time.monotonic()
        items = {item.nodeid: item for item in session.items}
        self.bearing = marked(session.items)
        with watched(Watch()):
            pass  # Forks inherit what this reads and compiles.
        observed = self.observed = self._observe(list(items.values()))
        print(f"observed {len(observed.seconds)} tests in {time.monotonic() - began:.0f} s", flush=True)
        chosen = self._chosen(observed, list(items.values()))
        for verdict in verdicts(chosen, items, self._jobs):
            self.verdicts.append(verdict)
            _show(verdict, len(self.verdicts), len(chosen))
        print(f"{time.monotonic() - began:.0f} s in all")
        return True

    def _observe(self, items: list[pytest.Item]) -> Observations:
        """Run tests in forks, and return what they saw; where rules are named, only the tests that bear them."""
        if self._rules is not None:
            bearing = {test for rule in self._chosen_rules() for test in self.bearing.get(rule, [])}
            items = [item for item in items if item.nodeid in bearing]
        # A module stays together, for its tests may share what they set up.
        by_module = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
        shares = [list(chain.from_iterable(by_module[n :: self._jobs])) for n in range(self._jobs)]
        readers = [self._observing(share) for share in shares if share]
        observations = Observations()
        for reader in readers:
            with os.fdopen(reader, "rb") as pipe:
                observations.add(pickle.load(pipe))  # noqa: S301  (our own fork wrote it)
            os.wait()
        return observations

    def _observing(self, items: list[pytest.Item]) -> int:
        """Run tests in a fork, and return the pipe through which it will tell what they saw."""
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            os._exit(self._tell_observations(items, writer))
        os.close(writer)
        return reader

    def _tell_observations(self, items: list[pytest.Item], writer: int) -> int:
        be_quiet()
        with self.observing():
            for item, following in zip(items, [*items[1:], None], strict=True):
                for report in reports_of(item, following):
                    self.note(report)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(self.observations, pipe)
        return 0

    def _chosen_rules(self) -> list[str]:
        """Return the rules that the command line names, which a trailing star stands for several of."""
        patterns = self._rules or ["*"]
        return [rule for rule in requirements() if any(fnmatch.fnmatchcase(rule, pattern) for pattern in patterns)]

    def _chosen(self, observed: Observations, items: Iterable[pytest.Item]) -> list[Knockout]:
        wanted = {rule: requirements()[rule] for rule in self._chosen_rules()}
        planted = [fault for fault in faults() if not wanted.keys().isdisjoint(fault.rules)]
        sorts = {rule: requirement.sort for rule, requirement in requirements().items()}
        without_check = {fault.rules[0]: fault for fault in planted if sorts[fault.rules[0]] == "generated"}
        return [
            *(
                of_rule(rule, wanted[rule].line, observed.tests_seeing_refused(rule), without_check.get(rule))
                for rule in wanted
                if _is_refusing(rule)
            ),
            *fault_knockouts([fault for fault in planted if fault not in without_check.values()], items, observed),
        ]


def _is_refusing(rule: str) -> bool:
    return requirements()[rule].sort in {"checked", "generated"}


def _show(verdict: Verdict, count: int, total: int) -> None:
    result = (
        f"killed by {verdict.killer}"
        if verdict.is_killed
        else f"SURVIVED {len(verdict.knockout.tests)} tests {verdict.remark}"
    )
    print(f"[{count:4}/{total}] {verdict.seconds:5.1f} s  {verdict.knockout.name}: {result}", flush=True)


def _conclude(results: Iterable[Verdict]) -> int:
    """List what survived; return the exit code."""
    results = list(results)
    survivors = [verdict.knockout for verdict in results if not verdict.is_killed]
    for knockout in survivors:
        tests = f"{len(knockout.tests)} tests did not notice" if knockout.tests else "no test would notice"
        print(f"survivor: {knockout.name} ({tests})")
    print(f"{len(results) - len(survivors)} of {len(results)} killed")
    return 1 if survivors else 0


def _report(plugin: _Knockouts) -> dict[str, Any]:
    evidence = Evidence(plugin.observed, bearing=plugin.bearing)
    for verdict in plugin.verdicts:
        if verdict.knockout.kind == "fault":
            evidence.note(verdict.knockout.rules, verdict.killer)
    return report(evidence)


def _as_json(results: Iterable[Verdict]) -> dict[str, Any]:
    return {
        "knockouts": [
            {
                "name": verdict.knockout.name,
                "kind": verdict.knockout.kind,
                "rules": list(verdict.knockout.rules),
                "what": verdict.knockout.what,
                "killer": verdict.killer,
                "tests": len(verdict.knockout.tests),
                "seconds": round(verdict.seconds, 2),
            }
            for verdict in results
        ]
    }


if __name__ == "__main__":
    sys.exit(main())
