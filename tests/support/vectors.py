"""Published vectors, read in place from the folders that the environment names.

`MLS_VECTORS` is a folder with the official MLS vector files, `MLS_WYCHEPROOF` one with Wycheproof's. A test is skipped,
with that reason, when the folder that it needs is not set or does not hold the file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def official(kind: str) -> list[dict[str, Any]]:
    """Return the cases of `<kind>.json`, such as `tree-math`."""
    cases: list[dict[str, Any]] = _load("MLS_VECTORS", kind)
    return cases


def wycheproof(name: str) -> dict[str, Any]:
    """Return Wycheproof's `<name>.json`, such as `x25519_test`."""
    contents: dict[str, Any] = _load("MLS_WYCHEPROOF", name)
    return contents


def _load(variable: str, name: str) -> Any:  # noqa: ANN401  (JSON is what it is; both callers say what they expect)
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set")

    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{variable} names a folder without {path.name}")
    return json.loads(path.read_text(encoding="utf-8"))
