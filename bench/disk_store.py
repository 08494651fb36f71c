"""A store on disk, as an application would have one, that counts what it is given."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mls.store.seam import Batch


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How many records a batch wrote, and their bytes, keys included."""

    records: int
    bytes: int


class DiskStore:
    """Records in a SQLite file; `batches` has the size of each batch."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
        self.batches: list[BatchSize] = []

    def read(self, key: str) -> bytes | None:
        """Return a record, or None."""
        row = self._database.execute("SELECT value FROM records WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Iterate over the records whose keys begin with `prefix`, in the order of their keys."""
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        rows = self._database.execute(
            "SELECT key, value FROM records WHERE key >= ? AND key < ? ORDER BY key", (prefix, beyond)
        )
        yield from rows

    def apply(self, batch: Batch) -> None:
        """Perform all changes or none; return once they will survive a crash."""
        written = {key: value for key, value in batch.items() if value is not None}
        self._database.execute("BEGIN")
        self._database.executemany("DELETE FROM records WHERE key = ?", ((key,) for key in batch.keys() - written))
        self._database.executemany("INSERT OR REPLACE INTO records VALUES (?, ?)", written.items())
        self._database.execute("COMMIT")
        self.batches.append(BatchSize(len(written), sum(len(key) + len(value) for key, value in written.items())))

    def close(self) -> None:
        """Release the file."""
        self._database.close()
