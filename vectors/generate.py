"""Generating files of vectors: the same bytes for the same seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from mls.crypto import SUITES, cipher_suite
from vectors.case import Case, Kind, Recipe
from vectors.kinds import KINDS
from vectors.progress import Progress
from vectors.stream import SeededStream


def generate_files(folder: Path, names: Iterable[str], seed: int, *, small: bool) -> None:
    """Write one file per kind into a folder, which is made if need be. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.json"
        progress = Progress(path.name)
        cases = []
        for case in generated_cases(KINDS[name], seed, small=small):
            cases.append(case)
            progress.step()
        path.write_text(as_file(cases), encoding="utf-8")
        progress.finish()


def generated_cases(kind: Kind, seed: int, *, small: bool) -> Iterator[Case]:
    """Yield the cases of a kind, suite by suite; each suite has a stream of randomness of its own."""
    for suite in SUITES if kind.suites else (1,):
        entropy = SeededStream(str(seed), kind.name, str(suite))
        yield from kind.generate(Recipe(cipher_suite(suite), entropy, small))


def as_file(cases: list[Case]) -> str:
    """Return the contents of a file of cases."""
    return json.dumps(cases, indent=1) + "\n"
