"""The command line of `python -m vectors`. Results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vectors.generate import generate_files
from vectors.kinds import KINDS, PASSIVE
from vectors.verify import Selection, verify_paths


def main(arguments: Sequence[str]) -> int:
    """Run a command, and return its exit code: 0 when all went well, 1 when not, 2 for a command that is none."""
    options = _parser().parse_args(arguments)
    try:
        return _verify(options) if options.command == "verify" else _generate(options)
    except OSError as error:
        print(f"vectors: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vectors", description="Test vectors of MLS, RFC 9420.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    verify = commands.add_parser(
        "verify",
        help="check files of test vectors",
        description="Check test vectors. The exit code is 0 if at least one case ran and all passed.",
    )
    verify.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder of *.json files")
    verify.add_argument("--kind", choices=[*KINDS, PASSIVE], metavar="KIND", help="check only this kind")
    verify.add_argument("--suite", type=int, metavar="N", help="check only the cases of this cipher suite")
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as well")

    generate = commands.add_parser(
        "generate",
        help="write files of test vectors",
        description="Write test vectors of every kind, the same for the same seed, byte for byte.",
    )
    generate.add_argument("folder", type=Path, metavar="DIR", help="where to; made if it does not exist")
    generate.add_argument("--seed", type=int, default=0, metavar="N", help="what the randomness follows from; 0")
    generate.add_argument("--kind", choices=list(KINDS), metavar="KIND", help="write only this kind")
    generate.add_argument("--small", action="store_true", help="few and small cases")
    return parser


def _verify(options: argparse.Namespace) -> int:
    report = verify_paths(options.paths, Selection(options.kind, options.suite))
    print("\n".join(report.lines()))
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    return 0 if report.is_good else 1


def _generate(options: argparse.Namespace) -> int:
    names = list(KINDS) if options.kind is None else [options.kind]
    generate_files(options.folder, names, options.seed, small=options.small)
    print(f"{len(names)} of {len(KINDS)} kinds written to {options.folder}")
    return 0
