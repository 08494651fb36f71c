"""What the engine asks of a store, and the one that keeps everything in memory.

Every change of a group's state ends in exactly one `apply` before any byte leaves the engine, so a client that is
opened again on the same store stands where it stood.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

Batch = Mapping[str, bytes | None]
"""New values by key; None deletes."""


class Store(Protocol):
    """Durable records: keys are ASCII text with `/` between their parts, values opaque bytes that hold secrets."""

    def read(self, key: str) -> bytes | None:
        """Return a record, or None."""

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Iterate over the records whose keys begin with `prefix`, in the order of their keys."""

    def apply(self, batch: Batch) -> None:
        """Perform all changes or none; return once they will survive a crash."""


class MemoryStore:
    """A store that lives as long as its process: for tests, demonstrations, and clients that keep nothing.

    >>> store = MemoryStore()
    >>> store.apply({"a/1": b"one", "b/1": b"two"})
    >>> store.apply({"a/1": None, "a/2": b"three"})
    >>> list(store.scan("a/"))
    [('a/2', b'three')]
    """

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        """Return a record, or None."""
        return self._records.get(key)

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Iterate over the records whose keys begin with `prefix`, in the order of their keys."""
        keys = sorted(key for key in self._records if key.startswith(prefix))
        return iter([(key, self._records[key]) for key in keys])

    def apply(self, batch: Batch) -> None:
        """Perform all changes."""
        for key, value in batch.items():
            if value is None:
                self._records.pop(key, None)
            else:
                self._records[key] = value
