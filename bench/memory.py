"""What one group takes of memory, measured in processes that hold nothing else."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from bench.disk_store import DiskStore
from bench.synthetic import Plan
from mls import AcceptAnyone, Settings
from mls.crypto import CipherSuite
from mls.epoch.members import SIGNATURE_KEY, IdentityOf, traits_of
from mls.store.standing import Standing, load_standing
from treekem.index import LeafIndex
from treekem.tables import key_of_slot, traits_of_slot
from treekem.tree import RatchetTree


@dataclass(frozen=True, slots=True)
class Memory:
    """What one group takes, in bytes: objects and arrays alive, and the growth of a process that opens it."""

    allocated: int
    resident: int


def memory_of_one_group(plan: Plan, path: Path) -> Memory:
    """Measure the group that a member stored at `path`: its encoded tree, all tree hashes, and all look-up tables."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        allocated, resident = executor.submit(allocated_bytes, plan, path), executor.submit(growth_in_bytes, plan, path)
        return Memory(allocated.result(), resident.result())


def allocated_bytes(plan: Plan, path: Path) -> int:
    """Return what objects and arrays of an opened group take."""
    # What is loaded once for a process does not belong to the group, and is there when it is opened again.
    _opened(plan, path)
    gc.collect()
    tracemalloc.start()
    standing = _opened(plan, path)
    gc.collect()
    found = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert standing.state.group.tree.n_members == plan.n_members
    return found


def growth_in_bytes(plan: Plan, path: Path) -> int:
    """Return by how much this process grows when it opens a group."""
    before = _resident_bytes()
    standing = _opened(plan, path)
    gc.collect()
    _return_free_memory()
    assert standing.state.group.tree.n_members == plan.n_members
    return _resident_bytes() - before


def _opened(plan: Plan, path: Path) -> Standing:
    """Open a group and ask all questions that commits ask."""
    store = DiskStore(path)
    standing = load_standing(store, plan.group_id, Settings.large())
    store.close()
    ask_everything(standing.state.group.tree, plan.suite)
    return standing


def ask_everything(tree: RatchetTree, suite: CipherSuite) -> None:
    """Have a tree compute all hashes and make all tables that commits ask for."""
    slot = tree.leaf(LeafIndex(0))
    assert slot is not None
    tree.tree_hash(suite)
    assert tree.has_encryption_key(slot.encryption_key, suite)
    for key_of in (SIGNATURE_KEY, IdentityOf(AcceptAnyone())):
        assert tree.leaves_with(key_of_slot(slot, key_of), key_of)
    assert all(tree.census(traits_of).count(trait) for trait in traits_of_slot(slot, traits_of))


def _return_free_memory() -> None:
    """Have the C library give back what is free, where it can be told to: glibc keeps some for the next to ask."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
