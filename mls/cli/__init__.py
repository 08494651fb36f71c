"""The `mls` command: look into MLS objects, and watch a group live. Needs the extra `cli`."""

from __future__ import annotations

import io
import sys
from typing import Final

_EXTRA: Final = {"typer", "rich", "click"}


def main() -> None:
    """Run the `mls` command, or say in one sentence what is missing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # A narrow encoding may cost a glyph, not the answer.
    try:
        from mls.cli.app import app  # noqa: PLC0415  (loads what the extra brings, which may be absent)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit("The mls command needs typer and rich, which come with the extra: python -m pip install -e '.[cli]'")
    app(prog_name="mls")
