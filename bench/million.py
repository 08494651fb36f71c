"""`python -m bench million`: a group of 2^20 members is made, committed to, followed and written to by two of them.

The group is a synthetic one. The first member and the first of the far half open it as clients, each from a store on
disk of its own; what one sends, the other receives. What one group takes of memory is measured in a process of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer

from bench.disk_store import BatchSize, DiskStore
from bench.machine import machine, versions
from bench.memory import memory_of_one_group, peak_bytes
from bench.synthetic import Plan, SyntheticGroup
from mls import ApplicationMessage, Group, Settings, StagedCommit

MAX_COMMIT_BATCH: Final = 256 * 1024
MAX_BYTES_A_MEMBER: Final = 700
_TEXT: Final = bytes(100)


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, how long it took, what the stores were given, and the largest memory of the process until then.

    `seconds` passed, and `cpu_seconds` were spent by this process; the former say little while others use the machine.
    """

    what: str
    seconds: float
    cpu_seconds: float
    batches: tuple[BatchSize, ...]
    peak_bytes: int


class Scenario:
    """Two members of one group, and what they do, step by step; each step is printed when it is done."""

    def __init__(self, plan: Plan, cache: Path | None, folder: Path) -> None:
        self._plan, self._cache, self._folder = plan, cache, folder
        self.steps: list[Step] = []
        self._stores: list[DiskStore] = []

    def run(self) -> None:
        """Do everything, and assert that both members agree all along."""
        near, far = self._open()
        for committer, other, name in ((near, far, "first"), (near, far, "second"), (far, near, "third")):
            self._commit(committer, other, name)
        for sender, other, name in ((near, far, "first member"), (far, near, "far member")):
            for message in ("first message", "second message"):
                self._talk(sender, other, f"{message} of the {name}")
        for store in self._stores:
            store.close()

    def _open(self) -> list[Group]:
        plan, clients = self._plan, []
        progress = typer.progressbar(length=plan.n_leaves, label=f"{plan.n_leaves} members")
        with self._step("build or load the tree"), progress as bar:
            synthetic = SyntheticGroup(plan, self._cache, progress=bar.update)
        with self._step("read and hash it"):
            _ = synthetic.state
        for leaf in (plan.kept[0], plan.kept[-1]):
            store = DiskStore(self._folder / f"{leaf}.db")
            self._stores.append(store)
            with self._step(f"write the records of member {leaf}"):
                synthetic.write_records(leaf, store)
        del synthetic
        for store, leaf in zip(self._stores, (plan.kept[0], plan.kept[-1]), strict=True):
            with self._step(f"open the group as member {leaf}"):
                clients.append(plan.open(store, Settings.large()))
        return clients

    def _commit(self, committer: Group, other: Group, name: str) -> None:
        with self._step(f"{name} commit: create"):
            commit = committer.commit()
        with self._step(f"{name} commit: merge"):
            committer.merge(commit)
        with self._step(f"{name} commit: process, far half"):
            staged = other.receive(commit.message)
        assert isinstance(staged, StagedCommit)
        with self._step(f"{name} commit: merge, far half"):
            other.merge(staged)
        assert committer.epoch == other.epoch
        assert committer.epoch_authenticator == other.epoch_authenticator
        assert committer.tree_hash == other.tree_hash

    def _talk(self, sender: Group, other: Group, name: str) -> None:
        with self._step(f"{name}: encrypt"):
            message = sender.encrypt(_TEXT)
        with self._step(f"{name}: decrypt"):
            received = other.receive(message)
        assert isinstance(received, ApplicationMessage)
        assert received.data == _TEXT

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        for store in self._stores:
            store.batches.clear()
        start, cpu_start = time.perf_counter(), time.process_time()
        yield
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        batches = tuple(size for store in self._stores for size in store.batches)
        step = Step(what, seconds, cpu_seconds, batches, peak_bytes())
        self.steps.append(step)
        print(line(step), flush=True)


def main(
    members: Annotated[int, typer.Option(help="Number of members, a power of two.")] = 1 << 20,
    suite: Annotated[int, typer.Option(help="Cipher suite.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="The folder that trees are kept in.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here as well.")] = None,
) -> None:
    """Have two members of a large group commit and talk, and measure what it takes."""
    plan = Plan(members, suite)
    print(f"{'step':46} {'seconds':>9} {'processor':>9} {'to the store':>22} {'peak memory':>12}")
    with TemporaryDirectory() as folder:
        scenario = Scenario(plan, cache, Path(folder))
        scenario.run()
        memory = memory_of_one_group(plan, Path(folder) / f"{plan.kept[0]}.db")
    largest = max(size.bytes for step in scenario.steps if "commit" in step.what for size in step.batches)
    held, grown = (round(number / members) for number in (memory.allocated, memory.resident))
    print(f"one group, with all tree hashes and look-ups: {held} bytes a member; at 2^20 at most {MAX_BYTES_A_MEMBER}")
    print(f"the same by the growth of a process, compiled code included: {grown} bytes a member")
    print(f"the largest batch of a commit: {largest} bytes; at most {MAX_COMMIT_BATCH}")
    if json_file is not None:
        rows = [asdict(step) for step in scenario.steps]
        found = {"machine": machine(), "versions": versions(), "members": members, "suite": suite}
        result = {**found, "steps": rows, "memory_of_one_group": asdict(memory), "largest_commit_batch": largest}
        json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def line(step: Step) -> str:
    """Return a step as a line of a table."""
    written = ", ".join(f"{size.bytes} B in {size.records}" for size in step.batches) or "-"
    return f"{step.what:46} {step.seconds:9.4f} {step.cpu_seconds:9.4f} {written:>22} {step.peak_bytes >> 20:8} MiB"
