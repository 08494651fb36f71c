"""Threads in which many signatures are checked: those that an application lends, or our own while a check lasts.

The cryptographic library verifies without the interpreter's lock, from its version 50 on, so that every core takes its
share. No process is ever started.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor


def threads_of(lent: Executor | None) -> Callable[[], AbstractContextManager[Executor | None]]:
    """Return what gives threads for as long as a check takes: those of `lent`, or as many new ones as there are cores.

    New ones end with the check; where there is one core alone, there are none.
    """
    return _own_threads if lent is None else partial(nullcontext, lent)


def _own_threads() -> AbstractContextManager[Executor | None]:
    n_cores = os.cpu_count() or 1
    if n_cores == 1:
        return nullcontext(None)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (only those who check many want it)

    return ThreadPoolExecutor(n_cores, thread_name_prefix="mls-check")
