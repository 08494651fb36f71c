"""`python -m bench hashing`: what it costs to hash a whole tree, by each way of doing it.

Every parent is filled, leaves have 190 bytes, keys and parent hashes 32. Each way is compared with the next in
interleaved runs, and the median ratio counts.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Final, ParamSpec, TypeVar

import typer

from bench.machine import Clock, interleaved, machine, timed, versions
from treekem import reference
from treekem.kernels import sha2_instructions
from treekem.leaf_node import BasicCredential, Capabilities, KeyPackageSource, LeafNode, Lifetime
from treekem.nodes import ParentNode
from treekem.scanned import ScannedTree
from treekem.wire import decode_varint, encode, encode_varint

LEAF_BYTES: Final = 190
_P = ParamSpec("_P")
_T = TypeVar("_T")
_RAW_BYTES: Final = 1 << 26
_DEFAULT_SIZES: Final = "1024,4096,16384,65536,131072,262144,1048576"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to hash one tree; `ratio` is how many times longer the way that it is compared with takes."""

    operation: str
    members: int
    way: str
    seconds: float
    nanoseconds_per_node: float
    compared_with: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree by its encoded `optional<LeafNode>` and `optional<ParentNode>`, as hash inputs, and as it is sent."""

    nodes: list[bytes]
    inputs: list[bytes]
    scanned: ScannedTree


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of leaves, powers of two.")] = _DEFAULT_SIZES,
    hash_name: Annotated[str, typer.Option(help="sha256, sha384 or sha512.")] = "sha256",
    rounds: Annotated[int, typer.Option(help="Interleaved pairs for each comparison.")] = 9,
    cpu_time: Annotated[bool, typer.Option("--cpu-time", help="On a busy machine: time of one thread.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result to a file.")] = None,
) -> None:
    """Hash whole trees: a loop over hashlib, bare hashlib calls, kernels on one core and on all."""
    instructions = hash_name == "sha256" and sha2_instructions.HAS_SHA_INSTRUCTIONS
    print(f"{machine()}\n{versions()}\nSHA instructions: {'used' if instructions else 'not used'}")
    raw = timed(lambda: getattr(hashlib, hash_name)(bytes(_RAW_BYTES)))
    print(f"raw rate of hashlib: {_RAW_BYTES / raw / 1e6:.0f} MB/s")
    rows = []
    for size in map(int, sizes.split(",")):
        measured = list(measured_ways(size, hash_name, rounds, time.thread_time if cpu_time else time.perf_counter))
        for row in measured:
            print(
                f"{row.members:>8} leaves  {row.way:<24} {row.seconds * 1e3:>10.2f} ms"
                f" {row.nanoseconds_per_node:>7.0f} ns a node  {row.ratio:>5.2f} times as fast as {row.compared_with}"
            )
        rows += measured
    if json_file is not None:
        result = {
            "machine": machine(),
            "versions": versions(),
            "hash": hash_name,
            "instructions": instructions,
            "raw_bytes_per_second": _RAW_BYTES / raw,
            "clock": "thread" if cpu_time else "wall",
            "rows": [{name: getattr(row, name) for name in Row.__slots__} for row in rows],
        }
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measured_ways(size: int, hash_name: str, rounds: int, clock: Clock) -> list[Row]:
    """Return what each way to hash a tree of so many leaves takes."""
    tree = synthetic_tree(size, hash_name)
    hash_function = getattr(hashlib, hash_name)

    def loop() -> object:
        return reference.tree_hashes(tree.nodes, hash_name)

    def bare() -> object:
        return [hash_function(message).digest() for message in tree.inputs]

    one_core = partial(tree.scanned.tree_hashes, hash_name)
    hashes = one_core()
    assert [row.tobytes() for row in hashes[:: len(hashes) - 1]] == [
        hash_function(message).digest() for message in tree.inputs[:: len(tree.inputs) - 1]
    ]

    def row(way: str, seconds: float, compared_with: str, ratio: float) -> Row:
        return Row("whole-tree hash", size, way, seconds, seconds / (2 * size - 1) * 1e9, compared_with, ratio)

    loop_seconds, bare_seconds, ratio = interleaved(loop, bare, rounds, clock)
    found = [
        row("hashlib loop", loop_seconds, "hashlib loop", 1.0),
        row("bare hashlib calls", bare_seconds, "hashlib loop", ratio),
    ]
    _, kernel_seconds, ratio = interleaved(loop, one_core, rounds, clock)
    found.append(row("kernel, one core", kernel_seconds, "hashlib loop", ratio))
    return [*found, *_on_all_cores(one_core, partial(tree.scanned.tree_hashes, hash_name), rounds, row)]


def _on_all_cores(
    one_core: Callable[[], object],
    spread: Callable[[Executor], object],
    rounds: int,
    row: Callable[[str, float, str, float], Row],
) -> list[Row]:
    """Measure threads on all cores by the wall clock, and by the processor time that each of them takes.

    Where other programs take turns with ours, threads wait for a core, and the wall clock tells of those programs. The
    work of a thread is its own: were all cores free, the whole would end when the busiest has done its share, and the
    caller what is left to it. A thread that waits leaves its pieces to others, so that an even split is told too.
    """
    n_cores = int(machine()["cores"])
    caller, busiest, together = [], [], []
    with BusyThreads(n_cores) as executor:
        spread(executor)  # Threads start, and load what they need.

        def on_all_cores() -> None:
            executor.busy.clear()
            start = time.thread_time()
            spread(executor)
            caller.append(time.thread_time() - start)
            busiest.append(max(executor.busy.values()))
            together.append(sum(executor.busy.values()))

        _, seconds, ratio = interleaved(one_core, on_all_cores, rounds, time.perf_counter)
    serial = median(timed(one_core, time.thread_time) for _ in range(rounds))
    free = median(caller) + median(busiest)
    even = median(caller) + median(together) / n_cores
    return [
        row(f"kernel, {n_cores} cores", seconds, "kernel, one core", ratio),
        row(f"{n_cores} cores, were they free", free, "kernel, one core", serial / free),
        row(f"{n_cores} cores, evenly busy", even, "kernel, one core", serial / even),
    ]


class BusyThreads(ThreadPoolExecutor):
    """Threads, with the processor seconds that each has worked, in `busy`, by its number."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self.busy: dict[int, float] = {}

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run a function in one of the threads, and note the processor time that it takes."""

        def metered() -> _T:
            start = time.thread_time()
            try:
                return fn(*args, **kwargs)
            finally:
                me = threading.get_ident()
                self.busy[me] = self.busy.get(me, 0.0) + time.thread_time() - start

        return super().submit(metered)


def synthetic_tree(size: int, hash_name: str) -> Tree:
    """Return a full tree whose leaves and parents differ in their keys alone; the parent hashes are made up."""
    leaf, parent = encode(_leaf_of(LEAF_BYTES)), encode(ParentNode(bytes(32), bytes(32), ()))
    nodes = [b""] * (2 * size - 1)
    nodes[::2] = [b"\1\x20" + x.to_bytes(32, "big") + leaf[33:] for x in range(size)]
    nodes[1::2] = [b"\1\x20" + x.to_bytes(32, "big") + parent[33:] for x in range(size - 1)]
    body = b"".join(b"\1" + b"\1\2"[x & 1 :][:1] + node[1:] for x, node in enumerate(nodes))
    data = encode_varint(len(body)) + body
    scanned = ScannedTree.of(data, decode_varint(data)[1])
    assert scanned is not None
    return Tree(nodes, list(_inputs(nodes, reference.tree_hashes(nodes, hash_name))), scanned)


def _inputs(nodes: list[bytes], hashes: list[bytes]) -> list[bytes]:
    inputs = [b""] * len(nodes)
    inputs[::2] = [b"\1" + i.to_bytes(4, "big") + node for i, node in enumerate(nodes[::2])]
    join = encode_varint(len(hashes[0])).join
    half = 1
    while 2 * half <= len(nodes):
        places = range(2 * half - 1, len(nodes), 4 * half)
        inputs[2 * half - 1 :: 4 * half] = [
            b"\2" + join((nodes[x], hashes[x - half], hashes[x + half])) for x in places
        ]
        half *= 2
    return inputs


def _leaf_of(length: int) -> LeafNode:
    """Return a leaf node with that long an encoding."""
    capabilities = Capabilities((1,), (1,), (), (), (1,))
    source = KeyPackageSource(Lifetime(0, 2**32))
    bare = LeafNode(bytes(32), bytes(32), BasicCredential(b""), capabilities, source, (), bytes(64))
    identity = bytes(length - len(encode(bare)))
    return LeafNode(bytes(32), bytes(32), BasicCredential(identity), capabilities, source, (), bytes(64))
