"""`python -m bench rekey`: what the operations of a group cost, beside the primitives that the RFC makes them call.

Groups are synthetic and full; `bench.operations` says what each operation is, `bench.floors` what its floor counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer

from bench.disk_store import DiskStore
from bench.machine import machine, versions
from bench.measuring import Row, measured
from bench.memory import memory_of_one_group
from bench.operations import BULK, Operation, bulk_add, operations
from bench.primitives import Primitive, primitives_of
from bench.scenes import Founding, Scene
from bench.synthetic import Plan
from mls.crypto import cipher_suite

SMALLEST: Final = 16
LARGEST_BARE: Final = 1 << 17
"""A commit on a bare tree seals to every member: beyond this, for minutes."""

LARGEST_BULK: Final = 1 << 17
"""Beyond this, adding everybody at once takes many minutes, and making their key packages does too."""

HOLD: Final = "hold the group"


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements of a run share."""

    suite: int
    cache: Path | None
    executor: Executor
    primitives: Mapping[str, Primitive]
    wall_time: bool = False

    def scene(self, members: int, kind: str) -> Scene:
        """Return a synthetic group."""
        return Scene(Plan(members, self.suite, kind == "warm"), self.executor, self.cache, say)

    def founding(self, members: int) -> Founding:
        """Return a group of one, and whom it adds."""
        return Founding(members, self.suite, self.executor, self.cache, say)

    def row(self, operation: Operation) -> Row:
        """Measure an operation."""
        say(f"{operation.name}, {operation.members} members, {operation.tree}")
        return measured(operation, self.primitives, wall_time=self.wall_time)


@contextmanager
def bench(suite: int, cache: Path | None, *, wall_time: bool = False) -> Iterator[Bench]:
    """Have threads, as many as there are cores, and the primitives of a suite."""
    n_threads = int(machine()["cores"])
    with ThreadPoolExecutor(n_threads) as executor:
        primitives = primitives_of(cipher_suite(suite), executor, n_threads)
        yield Bench(suite, cache, executor, primitives, wall_time)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An operation that was left out, and why."""

    operation: str
    members: int
    tree: str
    why: str


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of members, powers of two from 16 on.")] = "16,1024,65536,1048576",
    suite: Annotated[int, typer.Option(help="Cipher suite.")] = 1,
    tree: Annotated[str, typer.Option(help="warm: every parent filled; bare: all blank; or both.")] = "warm",
    only: Annotated[str, typer.Option(help="Operations whose name contains this.")] = "",
    wall_time: Annotated[bool, typer.Option("--wall-time", help="Not the processor time of a single thread.")] = False,
    cache: Annotated[Path | None, typer.Option(help="The folder that trees are kept in.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result to a file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the result: an .svg or .png file.")] = None,
) -> None:
    """Measure creating and processing commits, adding, removing, joining and talking, beside their floors."""
    numbers, kinds = sizes_of(sizes), kinds_of(tree)
    print(f"{machine()}\n{versions()}")
    print(f"{'operation':26} {'members':>8} {'tree':5} {'seconds':>12} {'floor':>12} {'ratio':>6} {'bytes':>11}")
    rows: list[dict[str, object]] = []
    skipped: list[dict[str, object]] = []
    result = {"machine": machine(), "versions": versions(), "rows": rows, "skipped": skipped}
    with bench(suite, cache, wall_time=wall_time) as shared:
        for each in chain.from_iterable(_of_size(members, kinds, only, shared) for members in numbers):
            (rows if isinstance(each, Row) else skipped).append(asdict(each))
            _tell(each)
            # Written after every row: who stops a long run keeps what it found.
            if json_file is not None:
                json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        from bench.plots import draw  # noqa: PLC0415  (matplotlib is loaded for those who want a picture)

        draw(result, plot)


def sizes_of(sizes: str) -> list[int]:
    """Return the numbers of members. Raises typer.BadParameter."""
    numbers = [int(each) for each in sizes.split(",") if each.strip().isdecimal()]
    if len(numbers) != len(sizes.split(",")) or any(each < SMALLEST or each & (each - 1) for each in numbers):
        raise typer.BadParameter(f"sizes are powers of two from {SMALLEST} on, not {sizes!r}")
    return numbers


def kinds_of(tree: str) -> list[str]:
    """Return the kinds of trees. Raises typer.BadParameter."""
    known = {"warm": ["warm"], "bare": ["bare"], "both": ["warm", "bare"]}
    if tree not in known:
        raise typer.BadParameter(f"a tree is warm or bare, or both are asked for, and not {tree!r}")
    return known[tree]


def _of_size(members: int, kinds: list[str], only: str, shared: Bench) -> Iterator[Row | Skipped]:
    for kind in kinds:
        if kind == "bare" and members > LARGEST_BARE:
            yield Skipped("all", members, kind, f"a commit on a bare tree of more than {LARGEST_BARE} takes minutes")
            continue
        scene = shared.scene(members, kind)
        if only in HOLD:
            yield held(scene)
        yield from (shared.row(operation) for operation in operations(scene) if only in operation.name)
    if only not in BULK:
        return
    if members > LARGEST_BULK:
        yield Skipped(BULK, members, "bare", f"adding more than {LARGEST_BULK} at once takes many minutes")
    else:
        yield shared.row(bulk_add(shared.founding(members), shared.suite))


def held(scene: Scene) -> Row:
    """Return what one group takes of memory that lasts, its encoded tree, all hashes and all tables included."""
    plan, group = scene.plan, scene.synthetic
    say(f"memory of one group of {plan.n_members}")
    with TemporaryDirectory() as folder:
        store = DiskStore(Path(folder) / "group.db")
        group.write_records(plan.kept[0], store)
        store.close()
        memory = memory_of_one_group(plan, Path(folder) / "group.db")
    kind = "warm" if plan.warm else "bare"
    size, held_bytes = len(group.data), memory.allocated
    return Row(HOLD, plan.n_members, kind, plan.suite_id, None, None, None, size, held_bytes, 1, "none", None)


def say(what: str) -> None:
    """Show on a terminal what is going on."""
    print(f"… {what}", file=sys.stderr, flush=True)


def _tell(each: Row | Skipped) -> None:
    if isinstance(each, Skipped):
        print(f"{each.operation:26} {each.members:8} {each.tree:5} skipped: {each.why}", flush=True)
        return
    print(line(each), flush=True)
    if each.floor is not None:
        print(f"{'':26} {'':8} {'':5} floor: {each.floor}", flush=True)


def line(row: Row) -> str:
    """Return a row as a line of a table."""
    times = [_time(row.seconds), _time(row.floor_seconds), "-" if row.ratio is None else f"{row.ratio:.2f}"]
    size = "-" if row.bytes is None else str(row.bytes)
    text = f"{row.operation:26} {row.members:8} {row.tree:5} {times[0]:>12} {times[1]:>12} {times[2]:>6} {size:>11}"
    if row.operation == HOLD and row.memory_bytes is not None:
        text += f"  {row.memory_bytes / row.members:.0f} bytes of memory a member"
    elif row.memory_bytes is not None:
        text += f"  {row.memory_bytes / 1024:.0f} KiB more memory at its peak"
    return text + (f"  ({row.pairs} pairs)" if row.pairs < 9 and row.seconds is not None else "")  # noqa: PLR2004  (what a median is asked for)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.3f} ms" if seconds < 1 else f"{seconds:.2f} s"
