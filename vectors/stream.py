"""Randomness that follows from a seed, so that vectors come out the same, byte for byte."""

from __future__ import annotations

import hashlib


class SeededStream:
    """An `Entropy` whose bytes follow from a name and from the calls before: SHAKE-256 of a counter and the name.

    >>> SeededStream("0", "treekem")(4) == SeededStream("0", "treekem")(4)
    True
    >>> SeededStream("0", "treekem")(4) == SeededStream("0", "welcome")(4)
    False
    """

    def __init__(self, *name: str) -> None:
        self._name = "\0".join(name).encode()
        self._calls = 0

    def __call__(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        self._calls += 1
        return hashlib.shake_256(self._calls.to_bytes(8, "big") + self._name).digest(length)

    def below(self, limit: int) -> int:
        """Return the next number from 0 to `limit` - 1, all but evenly distributed."""
        return int.from_bytes(self(16), "big") % limit
