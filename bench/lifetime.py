"""`python -m bench lifetime`: what a group costs in the course of its epochs, under policies of refreshing keys.

A group that nobody refreshes becomes expensive: a removal blanks a path, an addition leaves a leaf unmerged, and each
makes the paths of all others longer. Refreshing costs bytes and time as well, and what it is for is that a stolen key
is of no use for long. Here are both sides, so that a designer can choose.

Commits, proposals and Welcomes are real: made by the engine, received and opened by another member who is drawn anew in
each epoch, and joined with by a newcomer. Who comes, who leaves and who happens to commit follows from the seed, alike
under every policy, and so do all bytes; only seconds differ from run to run. They are processor time of one thread, and
are told in units of one HPKE encryption at the same moment, so that machines and loads cancel out.

What is not simulated: delivery, losses, commits that collide, stores on disk, application messages, and members that
stay behind. Messages are encrypted, and bear neither padding nor meaningless values (GREASE), which would blur bytes.
All members have followed the group and hold its hashes and tables warm. Members who leave are removed by somebody else
at once, or with the next commit of their policy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Final

import typer

from bench.lifetime_group import AwakeGroup, Work
from bench.lifetime_policies import Day, Model, Policy, View, policy_named
from bench.machine import machine, versions
from treekem.index import NodeIndex, level, node_of, node_width, root
from treekem.tree import RatchetTree

DEFAULT_POLICIES: Final = "never,changes,newcomer,always,oldest,every=20,chance=0.05,batch=10"


@dataclass(frozen=True, slots=True)
class Row:
    """One epoch under one policy. Bytes and seconds are those of `Work`, and 0 where nobody committed.

    `create` and `process` are in units of one HPKE encryption. Of the tree as the epoch leaves it, there are the share
    of parents above a member that are blank, the entries of lists of unmerged leaves, and the encryptions that a path
    of an average member takes. `exposure` tells for how many epochs members have had their leaf's key.
    """

    policy: str
    epoch: int
    members: int
    joined: int
    left: int
    updates: int
    commit_bytes: int
    welcome_bytes: int
    proposal_bytes: int
    encryptions: int
    create: float
    process: float
    join_seconds: float | None
    unit_seconds: float
    blank_parents: float
    unmerged: int
    path_encryptions: float
    median_exposure: float
    max_exposure: int

    @property
    def bytes_to_members(self) -> int:
        """What each member is sent: the proposals and the commit."""
        return self.proposal_bytes + self.commit_bytes


@dataclass(frozen=True, slots=True)
class TreeShape:
    """What the tree's blank nodes and unmerged leaves amount to."""

    blank_parents: float
    unmerged: int
    path_encryptions: float

    @classmethod
    def of(cls, tree: RatchetTree) -> TreeShape:
        """Count in two passes: sizes of resolutions from the leaves up, then what each path costs from the root down.

        RFC 9420 §4.1.1.
        """
        width, parents = node_width(tree.n_leaves), dict(tree.parents())
        halves = [1 << height for height in range(level(root(tree.n_leaves)))]
        sizes, members = [0] * width, [0] * width
        for leaf, _ in tree.leaves():
            sizes[node_of(leaf)] = members[node_of(leaf)] = 1
        inner = [(NodeIndex(x), half) for half in halves for x in range(2 * half - 1, width, 4 * half)]
        for x, half in inner:
            node = parents.get(x)
            sizes[x] = sizes[x - half] + sizes[x + half] if node is None else 1 + len(node.unmerged_leaves)
            members[x] = members[x - half] + members[x + half]
        costs = [0] * width
        for x, half in reversed(inner):
            costs[x - half], costs[x + half] = costs[x] + sizes[x + half], costs[x] + sizes[x - half]
        inhabited = [x for x, _ in inner if members[x]]
        return cls(
            sum(x not in parents for x in inhabited) / max(1, len(inhabited)),
            sum(len(node.unmerged_leaves) for node in parents.values()),
            mean(costs[node_of(leaf)] for leaf, _ in tree.leaves()),
        )


def main(  # noqa: PLR0913  (one parameter per option)
    members: Annotated[int, typer.Option(help="How many members the group has at first.")] = 200,
    epochs: Annotated[int, typer.Option(help="How many epochs pass.")] = 200,
    *,
    joins: Annotated[float, typer.Option(help="How many join in an epoch, on average.")] = 0.5,
    leaves: Annotated[float, typer.Option(help="How many leave in an epoch, on average.")] = 0.5,
    policies: Annotated[str, typer.Option(help="Who refreshes keys when; bench/README.md lists them.")] = (
        DEFAULT_POLICIES
    ),
    suite: Annotated[int, typer.Option(help="Cipher suite.")] = 1,
    seed: Annotated[int, typer.Option(help="What everything but the seconds follows from.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all epochs to a file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw all epochs to a file, an SVG.")] = None,
) -> None:
    """Follow a group through many epochs under several policies of refreshing keys."""
    model = Model(members, epochs, joins, leaves, seed)
    try:
        chosen = {name: policy_named(name) for name in policies.split(",")}
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    print(f"{machine()}\n{versions()}\n{model}, suite {suite}")
    rows = simulate(model, chosen, suite, lambda text: print(text, file=sys.stderr, flush=True))
    print(summary_of(rows))
    if json_file is not None:
        measured = {"model": asdict(model), "suite": suite, "rows": [asdict(row) for row in rows]}
        result = {"machine": machine(), "versions": versions(), **measured}
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        from bench.lifetime_plot import draw  # noqa: PLC0415  (it loads matplotlib, which a table does not need)

        draw(rows, plot, f"{members} members at first, {joins:g} joining and {leaves:g} leaving in an epoch")


def simulate(model: Model, policies: dict[str, Policy], suite_id: int, report: Callable[[str], None]) -> list[Row]:
    """Return an entry for every epoch under every policy; all begin with the same group, every parent filled."""
    report(f"founding a group of {model.n_members}, and filling its parents")
    group = founded(model, suite_id)
    rows: list[Row] = []
    for name, policy in policies.items():
        for row in _Run(name, policy, model, group).rows():
            rows.append(row)
            if row.epoch % max(1, model.n_epochs // 4) == 0:
                report(f"{name}: epoch {row.epoch} of {model.n_epochs}, {row.members} members")
    return rows


def founded(model: Model, suite_id: int) -> AwakeGroup:
    """Return a group in which one member of each pair of leaves has committed, in an order that makes short work."""
    group = AwakeGroup(suite_id, f"{model.seed} founding")
    group.commit(0, joining=range(1, model.n_members))
    n_bits = (group.tree.n_leaves - 1).bit_length()
    spread = (int(f"{member:0{n_bits}b}"[::-1], 2) for member in range(group.tree.n_leaves))
    for member in spread:
        if member % 2 == 0 and member < model.n_members:
            group.commit(member)
    return group


class _Run:
    """One policy at work on a group."""

    def __init__(self, name: str, policy: Policy, model: Model, founded: AwakeGroup) -> None:
        self._name, self._policy, self._model = name, policy, model
        self._group = founded.copy(f"{model.seed} {name}")
        self._renewed = dict.fromkeys(range(model.n_members), 0)
        self._fresh: list[int] = []
        self._joining: list[int] = []
        self._leaving: list[int] = []

    def rows(self) -> Iterator[Row]:
        for day in self._model.days():
            self._wait(day)
            yield self._row(day.epoch)

    def _wait(self, day: Day) -> None:
        """Let those who want to come and go queue up; who leaves without ever having come in is not heard of."""
        self._joining = [member for member in (*self._joining, *day.joining) if member not in day.leaving]
        self._leaving += [member for member in day.leaving if member in self._renewed]

    def _row(self, epoch: int) -> Row:
        staying = {member: epoch - at for member, at in self._renewed.items() if member not in self._leaving}
        fresh = tuple(member for member in self._fresh if member in staying)
        is_waiting = bool(self._joining or self._leaving)
        turn = self._policy(View(self._model, epoch, staying, fresh, is_waiting))
        if turn is None:
            return self._described(epoch, _NO_WORK, 0, 0, 0)
        others = [member for member in staying if member != turn.committer and member not in turn.updating]
        work = self._group.commit(
            turn.committer,
            joining=self._joining,
            leaving=self._leaving,
            updating=turn.updating,
            with_path=turn.with_path,
            witness=self._model.chance(epoch, "witness").choice(others) if others else None,
        )
        joined, left = len(self._joining), len(self._leaving)
        self._note(epoch, turn.committer, turn.updating, renewed=work.has_path)
        return self._described(epoch, work, joined, left, len(turn.updating))

    def _note(self, epoch: int, committer: int, updating: Sequence[int], *, renewed: bool) -> None:
        for member in self._leaving:
            del self._renewed[member]
        changed = (*updating, *([committer] if renewed else ()))
        self._fresh = [member for member in (*self._fresh, *self._joining) if member not in changed]
        self._renewed |= dict.fromkeys((*changed, *self._joining), epoch)
        self._joining, self._leaving = [], []

    def _described(self, epoch: int, work: Work, joined: int, left: int, updates: int) -> Row:
        shape = TreeShape.of(self._group.tree)
        exposures = [epoch - at for at in self._renewed.values()]
        return Row(
            policy=self._name,
            epoch=epoch,
            members=len(exposures),
            joined=joined,
            left=left,
            updates=updates,
            commit_bytes=work.commit_bytes,
            welcome_bytes=work.welcome_bytes,
            proposal_bytes=work.proposal_bytes,
            encryptions=work.encryptions,
            create=work.create_seconds / work.unit_seconds,
            process=work.process_seconds / work.unit_seconds,
            join_seconds=work.join_seconds,
            unit_seconds=work.unit_seconds,
            blank_parents=shape.blank_parents,
            unmerged=shape.unmerged,
            path_encryptions=shape.path_encryptions,
            median_exposure=median(exposures),
            max_exposure=max(exposures),
        )


_NO_WORK: Final = Work(
    0, 0, 0, 0, has_path=False, create_seconds=0, process_seconds=0, join_seconds=None, unit_seconds=1
)


def summary_of(rows: Sequence[Row]) -> str:
    """Return a table with a line for each policy. Bytes are means over all epochs, costs medians over all commits.

    The state of the tree and the exposures are means over the second half, when the beginning is forgotten.
    """
    by_policy: dict[str, list[Row]] = {}
    for row in rows:
        by_policy.setdefault(row.policy, []).append(row)
    lines = [
        "               commits bytes to a  largest  Welcome  create process  blank unmerged   path  exposure: longest",
        "policy                     member   commit    bytes   units   units  parts  entries  seals    median",
    ]
    for name, its in by_policy.items():
        commits = [row for row in its if row.commit_bytes]
        late = its[len(its) // 2 :]
        lines.append(
            f"{name:<14} {len(commits):>7} {mean(row.bytes_to_members for row in its):>10.0f}"
            f" {max(row.commit_bytes for row in its):>8} {mean(row.welcome_bytes for row in its):>8.0f}"
            f" {_median_of([row.create for row in commits]):>7.0f} {_median_of([row.process for row in commits]):>7.0f}"
            f" {mean(row.blank_parents for row in late):>6.1%} {mean(row.unmerged for row in late):>8.0f}"
            f" {mean(row.path_encryptions for row in late):>6.1f} {mean(row.median_exposure for row in late):>9.1f}"
            f" {max(row.max_exposure for row in late):>9}"
        )
    return "\n".join(lines)


def _median_of(values: list[float]) -> float:
    return median(values) if values else 0.0
