"""Writes CONFORMANCE.md: `python -m tests.conformance [--report FILE.json] [--knockouts FILE.json]`.

Results that are not given anew are those that the document records already.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.conformance_document import read, write
from tests.support.modules import ROOT

DOCUMENT = ROOT / "CONFORMANCE.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the document; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--report", type=Path, metavar="FILE", help="what `pytest --rfc-report` wrote")
    parser.add_argument("--knockouts", type=Path, metavar="FILE", help="what `tests.knockout --json` wrote")
    options = parser.parse_args(arguments)

    record = read(DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "")
    if options.report is not None:
        entries = json.loads(options.report.read_text(encoding="utf-8"))["requirements"]
        record.tests = {rule: entry["tests"] if entry["shown"] else None for rule, entry in entries.items()}
    if options.knockouts is not None:
        results = json.loads(options.knockouts.read_text(encoding="utf-8"))["knockouts"]
        record.noticed = sum(result["killer"] is not None for result in results)
        record.knocked_out = len(results)
    DOCUMENT.write_text(write(record), encoding="utf-8")
    print(f"{DOCUMENT.name}: {sum(tests is not None for tests in record.tests.values())} requirements are shown")
    return 0


if __name__ == "__main__":
    sys.exit(main())
