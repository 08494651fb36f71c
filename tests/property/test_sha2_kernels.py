"""The kernels for SHA-2 equal hashlib."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pytest

from treekem.kernels import compiled
from treekem.kernels.compiled import SOURCES, kernel
from treekem.kernels.sha2 import hash_messages, lanes_for
from treekem.kernels.sha2_instructions import HAS_SHA_INSTRUCTIONS

WAYS = [("sha256", True), ("sha256", False), ("sha384", False), ("sha512", False)]


def digests(hash_name: str, messages: list[bytes], *, instructions: bool) -> list[bytes]:
    lengths = np.array([len(message) for message in messages], np.int32)
    starts = (np.cumsum(lengths) - lengths).astype(np.int32)
    lanes = lanes_for(hash_name, max(map(len, messages), default=0), instructions=instructions and HAS_SHA_INSTRUCTIONS)
    out = np.zeros((len(messages), lanes.digest_length), np.uint8)
    hash_messages(lanes, np.frombuffer(b"".join(messages), np.uint8), starts, lengths, out)
    return [row.tobytes() for row in out]


def expected(hash_name: str, messages: list[bytes]) -> list[bytes]:
    return [hashlib.new(hash_name, message).digest() for message in messages]


@pytest.mark.parametrize(("hash_name", "instructions"), WAYS)
def test_every_length_up_to_300(hash_name: str, instructions: bool) -> None:
    messages = [Random(length).randbytes(length) for length in range(301)]
    assert digests(hash_name, messages, instructions=instructions) == expected(hash_name, messages)


@pytest.mark.parametrize(("hash_name", "instructions"), WAYS)
def test_lengths_that_differ_widely_between_neighbours(hash_name: str, instructions: bool) -> None:
    random = Random(hash_name)
    for count in (0, 1, 2, 3, 7, 8, 9, 50):
        messages = [random.randbytes(random.choice((0, 10, 100, 1000, 20_000))) for _ in range(count)]
        assert digests(hash_name, messages, instructions=instructions) == expected(hash_name, messages)


def test_four_threads_hash_at_once_and_the_process_forks_afterwards() -> None:
    loads = [[Random(seed).randbytes(seed % 250) for seed in range(start, start + 3000)] for start in range(4)]
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda messages: digests("sha256", messages, instructions=True), loads))
    assert found == [expected("sha256", messages) for messages in loads]

    child = os.fork()
    if child == 0:
        right = digests("sha256", loads[1], instructions=True) == found[1]
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_code_on_disk_lapses_when_any_module_of_the_kernels_changes(tmp_path: Path) -> None:
    def doubled(n: int) -> int:
        return 2 * n

    assert kernel(doubled)(21) == 42
    assert {name for name, _, _ in SOURCES} == {path.name for path in Path(compiled.__file__).parent.glob("*.py")}

    program = "from treekem.kernels.places import level_of as f; f(7); print(len(f.stats.cache_hits), end=' ')"
    copy = shutil.copytree(Path(compiled.__file__).parents[1], tmp_path / "treekem")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    hits = []
    for changed in (None, None, "sha2.py", None):
        if changed is not None:
            with (copy / "kernels" / changed).open("a", encoding="utf-8") as module:
                module.write("\n")
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)  # noqa: S603  (our own interpreter)
        hits.append(int(run.stdout))
    assert hits == [0, 1, 0, 1]
