"""`python -m bench check`: runs what `budgets.toml` lists, and exits with 1 if a budget is exceeded."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import typer

from bench import hashing
from bench.importing import import_ratio
from bench.machine import machine, timed, versions
from bench.measuring import Row, pairs_for, settled
from bench.operations import BULK, Operation, bulk_add, operations
from bench.rekey import Bench, bench, held, say
from bench.scenes import Scene
from treekem.kernels import sha2_instructions

BUDGETS: Final = Path(__file__).with_name("budgets.toml")
_ROUNDS: Final = 9
_WORKERS: Final = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """A row of the file: what is measured how, and the most or the least that it may come to."""

    what: str
    measure: str
    operation: str = ""
    members: int = 0
    than: int = 0
    tree: str = "warm"
    at_most: float | None = None
    at_least: float | None = None
    at_least_without_instructions: float | None = None

    @property
    def least(self) -> float | None:
        """The least on this machine: some budgets count on instructions that not all processors have."""
        weaker = self.at_least_without_instructions
        return self.at_least if weaker is None or sha2_instructions.HAS_SHA_INSTRUCTIONS else weaker

    def is_met(self, found: float) -> bool:
        """Whether what was found is within the budget."""
        return (self.at_most is None or found <= self.at_most) and (self.least is None or found >= self.least)


def main(
    budgets: Annotated[Path, typer.Option(help="The budgets to hold.")] = BUDGETS,
    only: Annotated[str, typer.Option(help="Budgets whose description or measure contains this.")] = "",
    cache: Annotated[Path | None, typer.Option(help="The folder that trees are kept in.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to a file.")] = None,
) -> None:
    """Measure everything that has a budget; exit with 1 if one is exceeded."""
    print(f"{machine()}\n{versions()}")
    print(f"{'what':46} {'members':>9} {'budget':>9} {'measured':>9}")
    wanted = [each for each in read_budgets(budgets) if only in each.what or only in each.measure]
    start, found = time.perf_counter(), []
    with bench(1, cache) as shared:
        checker = Checker(shared)
        # Small groups first: what is exceeded there shows early.
        for each in sorted(wanted, key=lambda budget: max(budget.members, budget.than)):
            found.append((each, checker.found(each)))
            print(line(*found[-1]), flush=True)
    exceeded = [each for each, value in found if not each.is_met(value)]
    verdict = f"{len(exceeded)} exceeded" if exceeded else "all met"
    print(f"{len(found)} budgets, {verdict}, in {time.perf_counter() - start:.0f} s")
    if json_file is not None:
        rows = [{**asdict(each), "found": value, "met": each.is_met(value)} for each, value in found]
        result = {"machine": machine(), "versions": versions(), "budgets": rows}
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if exceeded:
        raise typer.Exit(1)


def read_budgets(path: Path) -> list[Budget]:
    """Return the budgets of a file."""
    return [Budget(**each) for each in tomllib.loads(path.read_text(encoding="utf-8"))["budget"]]


def line(budget: Budget, value: float) -> str:
    """Return a budget and what was found as a line of a table."""
    bound = f"≤ {budget.at_most:g}" if budget.at_most is not None else f"≥ {budget.least:g}"
    verdict = "ok" if budget.is_met(value) else "EXCEEDED"
    return f"{budget.what:46} {budget.members or '':>9} {bound:>9} {value:>9.2f}  {verdict}"


class Checker:
    """Measures what budgets ask for; scenes and rows are kept, as several budgets speak of the same."""

    def __init__(self, shared: Bench) -> None:
        self._shared = shared
        self._scenes: dict[tuple[int, str], Scene] = {}
        self._operations: dict[tuple[str, int, str], Operation] = {}
        self._rows: dict[tuple[str, int, str], Row] = {}
        self._hashed: dict[int, Mapping[str, float]] = {}

    def found(self, budget: Budget) -> float:
        """Measure what a budget is about."""
        measures: dict[str, Callable[[Budget], float]] = {
            "ratio": self._ratio,
            "growth": self._growth,
            "workers": self._with_workers,
            "hashing": self._hashing,
            "memory": self._memory,
            "import": lambda _: import_ratio(),
        }
        say(f"{budget.what}: {budget.measure}")
        return measures[budget.measure](budget)

    def _ratio(self, budget: Budget) -> float:
        ratio = self._row(budget, budget.members).ratio
        assert ratio is not None
        return ratio

    def _growth(self, budget: Budget) -> float:
        ways = [self._operation(budget, members) for members in (budget.members, budget.than)]
        clock = time.perf_counter if ways[0].threads else time.thread_time
        first = timed(ways[0].prepare())
        with settled():
            pairs = [[timed(each.prepare(), clock) / each.repeats for each in ways] for _ in range(pairs_for(first))]
        return median(one / other for one, other in pairs)

    def _with_workers(self, budget: Budget) -> float:
        scene = self._scene(budget.members, budget.tree)
        with ProcessPoolExecutor(_WORKERS) as executor:
            list(executor.map(abs, range(_WORKERS)))
            pairs = []
            for _ in range(_ROUNDS):
                groups = scene.near.open(executor), scene.near.open()
                lent, alone = (timed(partial(group.commit), time.perf_counter) for group in groups)
                pairs.append(lent / alone)
        return median(pairs)

    def _hashing(self, budget: Budget) -> float:
        if budget.members not in self._hashed:
            rows = hashing.measured_ways(budget.members, "sha256", _ROUNDS, time.thread_time)
            self._hashed[budget.members] = {row.way: row.ratio for row in rows}
        return self._hashed[budget.members][budget.operation]

    def _memory(self, budget: Budget) -> float:
        row = held(self._scene(budget.members, budget.tree))
        assert row.memory_bytes is not None
        return row.memory_bytes / budget.members

    def _row(self, budget: Budget, members: int) -> Row:
        key = (budget.operation, members, budget.tree)
        if key not in self._rows:
            self._rows[key] = self._shared.row(self._operation(budget, members))
        return self._rows[key]

    def _operation(self, budget: Budget, members: int) -> Operation:
        key = (budget.operation, members, budget.tree)
        if key not in self._operations:
            self._operations[key] = self._made(budget.operation, members, budget.tree)
        return self._operations[key]

    def _made(self, name: str, members: int, tree: str) -> Operation:
        if name == BULK:
            return bulk_add(self._shared.founding(members), self._shared.suite)
        return next(each for each in operations(self._scene(members, tree)) if each.name == name)

    def _scene(self, members: int, tree: str) -> Scene:
        if (members, tree) not in self._scenes:
            self._scenes[members, tree] = self._shared.scene(members, tree)
        return self._scenes[members, tree]
