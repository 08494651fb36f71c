"""What `import mls` costs beside importing what it uses: the primitives of `cryptography`, and dataclasses."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from mls.crypto import primitives

_ROOT: Final = Path(__file__).resolve().parents[1]


def import_ratio(pairs: int = 15) -> float:
    """Return how many times as long `import mls` takes, by processor time without the start of the interpreter.

    Compiled code of all modules is there, as it is after the first import on a machine.
    """
    with TemporaryDirectory() as compiled:
        for statements in ("import mls", needed_imports()):
            _seconds(statements, compiled)
        return median(_seconds("import mls", compiled) / _seconds(needed_imports(), compiled) for _ in range(pairs))


def needed_imports() -> str:
    """Return the imports of `cryptography` that the one module makes which computes with it, and dataclasses."""
    tree = ast.parse(Path(primitives.__file__).read_text(encoding="utf-8"))
    found = [each for each in tree.body if isinstance(each, ast.ImportFrom) and "cryptography" in (each.module or "")]
    return "; ".join(["import dataclasses", *map(ast.unparse, found)])


def _seconds(statements: str, compiled: str) -> float:
    program = f"import time; start = time.process_time(); {statements}; print(time.process_time() - start)"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=True)  # noqa: S603  (our own interpreter)
    return float(done.stdout)
