"""What a plain import costs: neither compilers nor certificates nor a command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.modules import ROOT

HEAVY = ("numba", "llvmlite", "numpy", "cryptography.x509", "typer", "rich", "matplotlib")


@pytest.mark.parametrize("module", ["mls", "treekem"])
def test_import_stays_light(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", program]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603  (our own interpreter)
    loaded = json.loads(listing)

    assert module in loaded
    assert [name for name in loaded if name in HEAVY] == []
