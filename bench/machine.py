"""What a measurement is worth nothing without: the machine, the versions, and a way to compare two ways fairly."""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

Clock = Callable[[], float]


def machine() -> dict[str, str | int]:
    """Describe the machine that measures."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Tell the versions of what is measured and what it stands on."""
    return {"python": sys.version.split()[0]} | {
        name: version(name) for name in ("cryptography", "numba", "llvmlite", "numpy")
    }


def interleaved(one: Callable[[], object], other: Callable[[], object], rounds: int, clock: Clock) -> list[float]:
    """Return the median seconds of one and of the other, and the median of the ratios of neighbouring runs.

    Neighbours see the same load of a shared machine, so that their ratio says more than either time.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for kept, run in zip(seconds, (one, other), strict=True):
            kept.append(timed(run, clock))
    return [median(seconds[0]), median(seconds[1]), median(a / b for a, b in zip(*seconds, strict=True))]


def timed(run: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return the seconds that a call takes, without the collection of what was left over before it."""
    gc.collect()
    gc.disable()
    try:
        start = clock()
        run()
        return clock() - start
    finally:
        gc.enable()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
