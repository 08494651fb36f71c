"""Progress on standard error: a line that is rewritten on a terminal, a line per file elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Final

_INTERVAL: Final = 0.1


class Progress:
    """Tells how far one file has come; `total` is None where it is not known beforehand."""

    def __init__(self, name: str, total: int | None = None) -> None:
        self._name = name
        self._total = total
        self._done = 0
        self._began = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        now = time.monotonic()
        if self._live and now - self._shown >= _INTERVAL:
            self._shown = now
            of_total = "" if self._total is None else f" of {self._total}"
            print(f"\r\x1b[K{self._name}: {self._done}{of_total}", end="", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Say how many it was, and how long they took."""
        start = "\r\x1b[K" if self._live else ""
        took = time.monotonic() - self._began
        print(f"{start}{self._name}: {self._done} cases, {took:.1f} s", file=sys.stderr, flush=True)
