"""The kinds by name, and what kind a file is of: by its name, else by the form of its cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from vectors import (
    crypto_basics,
    key_schedule,
    messages,
    passive,
    protection,
    scenarios,
    secret_tree,
    tree_math,
    trees,
    update_paths,
    welcome,
)
from vectors.case import Kind

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for module in (
            tree_math,
            crypto_basics,
            secret_tree,
            protection,
            key_schedule,
            welcome,
            trees,
            update_paths,
            messages,
            scenarios,
        )
        for kind in module.KINDS
    }
)
"""The sixteen kinds."""

PASSIVE: Final = "passive-client"
"""What a file is called that has the form of the three passive kinds and the name of none."""


def kind_of(path: Path, cases: list[object]) -> str | None:
    """Return the name of the kind that a file is of, or None where neither its name nor its first case tells."""
    if path.stem in KINDS:
        return path.stem
    first = cases[0] if cases else None
    if not isinstance(first, dict):
        return None
    if first.keys() >= passive.PASSIVE_FIELDS:
        return PASSIVE
    return next((kind.name for kind in KINDS.values() if kind.fields <= first.keys()), None)
