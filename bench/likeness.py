"""Whether a synthetic group costs what a group made by real commits does: `python -m bench likeness`.

In the real one every member came in by an external commit of its own, so that every parent was set by somebody who
joined below it, and nobody is unmerged. RFC 9420 §12.4.3.2.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from bench.machine import Clock, interleaved, machine, versions
from bench.synthetic import NOW, Plan, Progress, SyntheticGroup, credential, nothing
from mls import AcceptAnyone, Client, Group, Identity, MemoryStore, Settings, StagedCommit
from treekem.index import LeafIndex

SETTINGS: Final = replace(Settings.large(), external_commits=True, grease=False)
"""What members of both groups go by."""

LIMIT: Final = 1.2
"""How many times as long as in the other group an operation may take."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The median seconds of an operation in either group, and the median of the ratios of neighbouring runs."""

    operation: str
    synthetic_seconds: float
    real_seconds: float
    ratio: float


def main(
    members: Annotated[int, typer.Option(help="Number of members, a power of two.")] = 1024,
    suite: Annotated[int, typer.Option(help="Cipher suite.")] = 1,
    rounds: Annotated[int, typer.Option(help="Interleaved pairs.")] = 25,
    cpu_time: Annotated[bool, typer.Option("--cpu-time", help="On a busy machine: processor time.")] = False,
    cache: Annotated[Path | None, typer.Option(help="The folder that trees are kept in.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here as well.")] = None,
) -> None:
    """Compare a synthetic group with one made by real commits; exit with 1 if they differ by more than 20 %."""
    plan = Plan(members, suite)
    with typer.progressbar(length=members, label=f"{members} members join") as bar:
        real = real_siblings(plan, bar.update)
    clock = time.process_time if cpu_time else time.perf_counter
    found = compare(SyntheticGroup(plan, cache, SETTINGS), real, rounds, clock)
    for each in found:
        seconds = f"{each.synthetic_seconds * 1e3:.2f} ms synthetic, {each.real_seconds * 1e3:.2f} ms real"
        print(f"{each.operation:26} {seconds}, ratio {each.ratio:.2f}")
    if json_file is not None:
        result = {
            "machine": machine(),
            "versions": versions(),
            "members": members,
            "rows": [asdict(each) for each in found],
        }
        json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if not all(1 / LIMIT <= each.ratio <= LIMIT for each in found):
        raise typer.Exit(1)


def compare(synthetic: SyntheticGroup, real: tuple[Group, Group], rounds: int, clock: Clock) -> list[Likeness]:
    """Time a self-update, and how the committer's sibling judges it, alternately in a synthetic and in a real group."""
    pairs = (synthetic.open(LeafIndex(0)), synthetic.open(LeafIndex(1))), real
    messages = [committer.commit().message for committer, _ in pairs]
    operations: dict[str, list[Callable[[], object]]] = {
        "create commit": [partial(_create, committer) for committer, _ in pairs],
        "process commit (sibling)": [
            partial(sibling.receive, message) for (_, sibling), message in zip(pairs, messages, strict=True)
        ],
    }
    found = []
    for operation, ways in operations.items():
        for way in ways:
            way()  # What only the first question costs, such as a table, belongs to neither.
        found.append(Likeness(operation, *interleaved(ways[0], ways[1], rounds, clock)))
    return found


def _create(group: Group) -> None:
    group.discard(group.commit())


def real_siblings(plan: Plan, progress: Progress = nothing) -> tuple[Group, Group]:
    """Return the last two members of a group of so many, which are siblings, the last committer first."""
    before, last = None, _client(plan, 0).create_group(plan.group_id)
    for number in range(1, plan.n_leaves):
        entry = _client(plan, number).join_external(last.group_info())
        before, last = last, entry.accept()
        progress(1)
    if before is None:
        raise ValueError("a group of one has no siblings")
    staged = before.receive(entry.message)
    assert isinstance(staged, StagedCommit)
    before.merge(staged)
    return last, before


def _client(plan: Plan, number: int) -> Client:
    identity = Identity(credential(LeafIndex(number), 0), plan.suite_id)
    return Client.create(MemoryStore(), identity, policy=AcceptAnyone(), settings=SETTINGS, clock=lambda: NOW)
