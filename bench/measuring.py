"""Timing an operation beside its floor, in pairs: the load of a shared machine falls on both alike.

What runs in one thread is timed by the processor time of that thread, unless one asks otherwise: on a machine that does
nothing else it is the time that passes, and elsewhere it is not what others take. What runs in several, in time.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.machine import timed
from bench.operations import Operation
from bench.primitives import Primitive

_MAX_TRACED_SECONDS: Final = 5.0
_PAIRS: Final = ((0.05, 25), (0.25, 15), (2.0, 9), (20.0, 3))


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one operation: medians of `pairs` runs, `ratio` that of the pairs. Bytes of what it makes.

    `memory_bytes` is the peak above what was held before; it is left out where an operation takes many seconds.
    """

    operation: str
    members: int
    tree: str
    suite: int
    seconds: float | None
    floor_seconds: float | None
    ratio: float | None
    bytes: int | None
    memory_bytes: int | None
    pairs: int
    clock: str
    floor: str | None


def measured(operation: Operation, primitives: Mapping[str, Primitive], *, wall_time: bool = False) -> Row:
    """Measure an operation and its floor."""
    first = timed(operation.prepare())
    clock = time.perf_counter if wall_time or operation.threads or pairs_for(first) == 1 else time.thread_time
    floor = None if operation.floor is None else operation.floor.times(operation.repeats)
    found, beside = [], []
    n_pairs = pairs_for(first)
    with settled():
        for _ in range(n_pairs):
            # What takes very long is not done twice, and has no first time that would differ from others.
            seconds = timed(operation.prepare(), clock) if n_pairs > 1 else first
            found.append(seconds / operation.repeats)
            if floor is not None:
                beside.append(timed(lambda: floor.run(primitives), clock) / operation.repeats)
    ratios = [one / other for one, other in zip(found, beside, strict=False)]
    return Row(
        operation=operation.name,
        members=operation.members,
        tree=operation.tree,
        suite=operation.suite,
        seconds=median(found),
        floor_seconds=median(beside) if beside else None,
        ratio=median(ratios) if ratios else None,
        bytes=operation.size(),
        memory_bytes=_peak(operation) if first < _MAX_TRACED_SECONDS else None,
        pairs=len(found),
        clock="wall" if clock is time.perf_counter else "thread",
        floor=None if operation.floor is None else operation.floor.formula,
    )


def pairs_for(seconds: float) -> int:
    """Return how many pairs are run of something that takes so long: nine at least below two seconds."""
    return next((pairs for limit, pairs in _PAIRS if seconds < limit), 1)


@contextmanager
def settled() -> Iterator[None]:
    """Keep the collector from looking again and again at what was there before."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _peak(operation: Operation) -> int:
    run = operation.prepare()
    gc.collect()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
