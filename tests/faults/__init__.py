"""The faults that the suite must notice, by chapter of the RFC; a long chapter has modules for its parts.

A requirement that refuses nothing is shown by them: its fault breaks what it asks for, and a
test that bears its ID fails.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from tests.support.planting import Fault


@cache
def faults() -> tuple[Fault, ...]:
    """Return every fault, in the order of the RFC."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(fault for name in names for fault in importlib.import_module(f"{__name__}.{name}").FAULTS)
