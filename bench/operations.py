"""The operations that `rekey` measures, each beside its floor. Every run works on a copy of the group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.floors import (
    Floor,
    adding_floor,
    commit_floor,
    joining_floor,
    processing_floor,
    reading_floor,
    removing_floor,
    sending_floor,
)
from bench.scenes import TEXT, Founding, Scene, processed
from bench.snapshots import Snapshot
from mls import Add, Remove
from mls.events import PendingCommit
from treekem.index import LeafIndex

Run = Callable[[], object]
BULK: Final = "bulk add"
"""A founder adds everybody in one commit."""

_MANY: Final = 16
_NODES_OF_ADDED: Final = 2  # The leaf of `LEAVING` and the parent above it, which is not on the path of the sender.


@dataclass(frozen=True, slots=True)
class Operation:
    """What is timed: `prepare` returns a run of `repeats` operations, `size` the bytes of what one of them makes.

    Without a floor it is timed alone.
    """

    name: str
    members: int
    tree: str
    suite: int
    floor: Floor | None
    prepare: Callable[[], Run]
    size: Callable[[], int | None] = lambda: None
    repeats: int = 1

    @property
    def threads(self) -> bool:
        """Whether more threads than one are at work."""
        return self.floor is not None and any("all cores" in name for name in self.floor.counts)


def operations(scene: Scene) -> Iterator[Operation]:
    """Yield all operations on a synthetic group of 16 members or more, a power of two."""
    yield from commits(scene)
    yield from talk(scene)
    yield from membership(scene)
    yield from joins(scene)


def commits(scene: Scene) -> Iterator[Operation]:
    """Yield creating and processing a self-update, and merging it."""
    depth = depth_of(scene)
    floor = commit_floor(depth, depth if scene.plan.warm else scene.plan.n_members - 1)
    length: list[int] = []

    def create() -> Run:
        group = scene.near.open()
        return lambda: length.append(len(group.commit().message))

    yield _operation(scene, "create commit", floor, create, lambda: length[-1])
    for name, snapshot, shared in (("sibling", lambda: scene.sibling, depth), ("far", lambda: scene.far, 1)):
        floor = processing_floor(depth, shared)
        yield _operation(scene, f"process commit ({name})", floor, _processing(scene, snapshot))
        yield _operation(scene, f"merge commit ({name})", None, _merging(scene, snapshot))


def _processing(scene: Scene, snapshot: Callable[[], Snapshot]) -> Callable[[], Run]:
    def prepare() -> Run:
        group, message = snapshot().open(), scene.self_update()
        return lambda: group.receive(message)

    return prepare


def _merging(scene: Scene, snapshot: Callable[[], Snapshot]) -> Callable[[], Run]:
    def prepare() -> Run:
        group, staged = processed(snapshot(), scene.self_update())
        return lambda: group.merge(staged)

    return prepare


def membership(scene: Scene) -> Iterator[Operation]:
    """Yield removing one member, and adding one where another has left."""
    depth, others = depth_of(scene), scene.plan.n_members - 1
    last = LeafIndex(others)
    length: list[int] = []

    def remove() -> Run:
        group = scene.near.open()
        return lambda: length.append(len(group.commit([Remove(last)]).message))

    def add() -> Run:
        group, wanted = scene.with_room.open(), [Add(scene.newcomer[1])]
        return lambda: length.append(len(group.commit(wanted, tree="beside").message))

    # The parents of who leaves become blank: all below the root, where those of the sender end.
    seals = 2 * (depth - 1) if scene.plan.warm else others - 1
    yield _operation(scene, "remove one", removing_floor(depth, seals, depth), remove, lambda: length[-1])
    seals = depth if scene.plan.warm else others - 1
    yield _operation(scene, "add one", adding_floor(depth, seals, 1, _NODES_OF_ADDED), add, lambda: length[-1])


def joins(scene: Scene) -> Iterator[Operation]:
    """Yield joining by a Welcome, with the tree inside or beside it."""
    for where in ("inside", "beside"):
        yield _join(scene, where)


def _join(scene: Scene, where: str) -> Operation:
    commit: list[PendingCommit] = []

    def prepare() -> Run:
        if not commit:
            commit.append(scene.invitation(where))
        return scene.joining(commit[0])

    floor = joining_floor(scene.plan.n_members)
    return _operation(scene, f"join (tree {where})", floor, prepare, lambda: len(commit[0].welcome or b""))


def talk(scene: Scene) -> Iterator[Operation]:
    """Yield encrypting and decrypting 100 bytes: many messages after the first, and many first ones."""
    depth = depth_of(scene)

    def next_sent() -> Run:
        group = scene.near.open()
        group.encrypt(TEXT)
        return lambda: [group.encrypt(TEXT) for _ in range(_MANY)]

    def first_sent() -> Run:
        groups = [scene.near.open() for _ in range(_MANY)]
        return lambda: [group.encrypt(TEXT) for group in groups]

    def next_read() -> Run:
        group, messages = scene.far.open(), scene.messages
        group.receive(messages[0])
        return lambda: [group.receive(message) for message in messages[1 : 1 + _MANY]]

    def first_read() -> Run:
        groups, message = [scene.far.open() for _ in range(_MANY)], scene.messages[0]
        return lambda: [group.receive(message) for group in groups]

    for name, floor, prepare in (
        ("encrypt 100 bytes", sending_floor(depth, first=False), next_sent),
        ("encrypt first 100 bytes", sending_floor(depth, first=True), first_sent),
        ("decrypt 100 bytes", reading_floor(depth, first=False), next_read),
        ("decrypt first 100 bytes", reading_floor(depth, first=True), first_read),
    ):
        yield _operation(scene, name, floor, prepare, lambda: len(scene.messages[0]), _MANY)


def bulk_add(founding: Founding, suite: int) -> Operation:
    """Return adding everybody to a group of one; `members` are those afterwards."""
    members, length = founding.members, [0]
    depth = (members - 1).bit_length()

    def prepare() -> Run:
        group, adds = founding.alone.open(founding.executor), founding.adds

        def run() -> None:
            length[0] = len(group.commit(adds).welcome or b"")

        return run

    # Nobody is sealed a path: all others learn of it from the Welcome. What stands beside it is new, and hashed.
    floor = adding_floor(depth, 0, members - 1, 2 * members - 2 - depth)
    return Operation(BULK, members, "bare", suite, floor, prepare, lambda: length[0])


def depth_of(scene: Scene) -> int:
    """Return the number of parents above a leaf of the first half."""
    return scene.plan.n_leaves.bit_length() - 1


def _operation(
    scene: Scene,
    name: str,
    floor: Floor | None,
    prepare: Callable[[], Run],
    size: Callable[[], int | None] = lambda: None,
    repeats: int = 1,
) -> Operation:
    plan = scene.plan
    tree = "warm" if plan.warm else "bare"
    return Operation(name, plan.n_members, tree, plan.suite_id, floor, prepare, size, repeats)
