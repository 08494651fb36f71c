"""The command that fuzzes: `python -m tests.fuzz NAME --seconds 60`, `--list`, and `--grow` for the corpus."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.target import Target

FOUND: Final = Path("fuzz-found")
"""Where an input is written that broke a target, below the present folder."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 if an input broke a target."""
    options = _parser().parse_args(arguments)
    atheris = options.engine != "plain" and importlib.util.find_spec("atheris") is not None
    if options.engine == "atheris" and not atheris:
        _say("atheris is not installed: pip install -e '.[fuzz]'")
        return 2
    with _instrumented(on=atheris and not (options.list or options.grow)):
        known = importlib.import_module("tests.fuzz.registry").targets()
    names = [options.name] if options.name else list(known)
    if options.list or options.name not in {None, *known}:
        _say("\n".join(known))
        return 0 if options.list else 2
    if options.grow:
        return _grow(known, names, options.runs)
    if not options.name:
        _say("name a target, or see --list")
        return 2
    return (_with_atheris if atheris else _by_itself)(known[options.name](), options.seconds, options.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", nargs="?", help="a target")
    parser.add_argument("--seconds", type=int, default=60, help="how long to go on (default: 60)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="for changes; the time by default")
    parser.add_argument("--engine", choices=("auto", "atheris", "plain"), default="auto")
    parser.add_argument("--list", action="store_true", help="print the targets")
    parser.add_argument("--grow", action="store_true", help="write the corpus anew, of one target or of all")
    parser.add_argument("--runs", type=int, default=400, help="how many changed inputs to grow from (default: 400)")
    return parser


@contextlib.contextmanager
def _instrumented(*, on: bool) -> Iterator[None]:
    """Let atheris see which branches are taken in what is imported meanwhile."""
    if not on:
        yield
        return
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["mls", "treekem"]):
        yield


def _with_atheris(target: Target, seconds: int, seed: int) -> int:
    atheris = importlib.import_module("atheris")
    corpus = importlib.import_module("tests.fuzz.corpus")
    _say(f"{target.name}: atheris, {seconds} s, seed {seed}")
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for data in (*target.seeds(), *corpus.read_corpus(target.name)):
            (Path(folder) / sha256(data).hexdigest()).write_bytes(data)
        limits = [f"-max_total_time={seconds}", f"-seed={seed % 2**32 or 1}", "-max_len=4096", "-timeout=20"]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={FOUND}/{target.name}-", folder], target.run)
        atheris.Fuzz()  # which ends the process
    return 0


def _by_itself(target: Target, seconds: int, seed: int) -> int:
    corpus = importlib.import_module("tests.fuzz.corpus")
    _say(f"{target.name}: plain changes without regard to coverage, {seconds} s, seed {seed}")
    random, pool = Random(seed), [*target.seeds(), *corpus.read_corpus(target.name)] or [b""]
    runs, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = corpus.changed(pool, random)
        runs += 1
        try:
            target.run(data)
        except Exception:
            FOUND.mkdir(exist_ok=True)
            file = FOUND / f"{target.name}-{sha256(data).hexdigest()[:16]}"
            file.write_bytes(data)
            _say(f"broken by the input in {file}, after {runs} runs")
            raise
    _say(f"{runs} runs, and nothing broke")
    return 0


def _grow(known: Mapping[str, Callable[[], Target]], names: Sequence[str], runs: int) -> int:
    corpus = importlib.import_module("tests.fuzz.corpus")
    for name in names:
        inputs = corpus.grown(known[name](), runs, zlib.crc32(name.encode()))
        corpus.write_corpus(name, inputs)
        _say(f"{name}: {len(inputs)} inputs of {sum(map(len, inputs))} bytes")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  (a command's output)


if __name__ == "__main__":
    sys.exit(main())
