"""The corpus: for each target a file of inputs, one in base64 a line, that together reach all lines that are known.

It is grown from the target's examples by seeded changes, of which those stay that reach a line for the first time. What
is alive in a target's examples, such as messages of a group, is made anew in each run and need not be kept.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

from tests.adversarial.mutation import damaged
from tests.fuzz.target import Target
from tests.support.modules import ENGINE, ROOT

FOLDER: Final = Path(__file__).resolve().parent / "corpus"
_WATCHED: Final = tuple(f"{ROOT / package}/" for package in ENGINE)
_LARGEST: Final = 4_096

Line = tuple[str, int]


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs that are kept for a target."""
    file = FOLDER / f"{name}.txt"
    if not file.is_file():
        return []
    return [base64.b64decode(line) for line in file.read_text(encoding="ascii").splitlines()]


def write_corpus(name: str, inputs: Iterable[bytes]) -> None:
    """Keep inputs for a target, in place of those before."""
    lines = [base64.b64encode(each).decode() for each in sorted(inputs, key=lambda each: (len(each), each))]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def changed(pool: list[bytes], random: Random) -> bytes:
    """Return an input that was made from others: damaged in a few places, or put together from two."""
    data = random.choice(pool)
    if data and random.randrange(8) == 0:
        other = random.choice(pool)
        data = data[: random.randrange(len(data))] + other[random.randrange(len(other) + 1) :]
    for _ in range(random.choice((1, 1, 2, 4))):
        data = damaged(data, random) if data else random.randbytes(random.choice((1, 2, 8, 32)))
    return data[:_LARGEST]


def grown(target: Target, runs: int, seed: int) -> list[bytes]:
    """Return few inputs that reach all that the examples, the kept inputs and `runs` changed ones reach.

    The same arguments give the same inputs, as long as the engine and the corpus are the same.
    """
    random, seen = Random(seed), set[Line]()
    kept: dict[bytes, set[Line]] = {}
    pool = [*target.seeds(), *read_corpus(target.name)] or [b""]
    for attempt in range(len(pool) + runs):
        data = pool[attempt] if attempt < len(pool) else changed(pool, random)
        lines = lines_reached(target, data)
        if lines - seen:
            kept[data] = lines
            pool.append(data)
            seen |= lines
    return _fewest(kept)


def lines_reached(target: Target, data: bytes) -> set[Line]:
    """Return the lines of the engine that an input reaches, those of generated code among them."""
    reached: set[Line] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:  # noqa: ANN401  (what sys.settrace takes)
        if not frame.f_code.co_filename.startswith((*_WATCHED, "<")):
            return None
        if event == "line":
            reached.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        target.run(data)
    finally:
        sys.settrace(before)
    return reached


def _fewest(kept: dict[bytes, set[Line]]) -> list[bytes]:
    """Choose inputs that reach all lines, those first that add the most; of equals, the shortest."""
    chosen: list[bytes] = []
    missing = set().union(*kept.values())
    while missing:
        best = min(kept, key=lambda data: (-len(kept[data] & missing), len(data), data))
        chosen.append(best)
        missing -= kept[best]
    return chosen
