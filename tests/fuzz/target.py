"""What is fuzzed: a function of bytes that returns if all is well, and examples to begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`run` takes any bytes and raises if the engine did what it must not. `seeds` are examples of what it is made for.

    An MLSError is no failure, but an answer; `run` raises on any other error, and where a refusal changed something.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
