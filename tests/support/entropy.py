"""Randomness that a test can repeat."""

from __future__ import annotations

import hashlib


class DeterministicEntropy:
    """An `Entropy` whose bytes follow from a seed and from the calls before: SHAKE-256 of seed and counter.

    >>> DeterministicEntropy(b"seed")(4) == DeterministicEntropy(b"seed")(4)
    True
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._calls = 0

    def __call__(self, length: int) -> bytes:
        """Return the next `length` bytes; no two calls of one instance repeat each other."""
        self._calls += 1
        return hashlib.shake_256(self._calls.to_bytes(8, "big") + self._seed).digest(length)
