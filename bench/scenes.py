"""What is prepared before anything is timed: groups, messages of them, a member who leaves, clients who join."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cached_property
from pathlib import Path
from typing import Final

from bench.key_packages import bundle, key_packages
from bench.memory import ask_everything
from bench.snapshots import Snapshot
from bench.synthetic import NOW, Plan, SyntheticGroup, credential
from mls import AcceptAnyone, Add, Client, Group, Identity, MemoryStore, Remove, Settings, StagedCommit
from mls.epoch.environment import Environment
from mls.epoch.join import create_epoch_zero
from mls.events import PendingCommit
from treekem.index import LeafIndex

TEXT: Final = bytes(100)
LEAVING: Final = LeafIndex(3)
"""Who leaves so that there is room: the one parent that stays blank then is below none of the other members at work."""

Say = Callable[[str], object]
"""Is told what is being prepared."""

_NEWCOMER: Final = LeafIndex(2**32 - 1)
_FEW: Final = 4_096


class Scene:
    """A synthetic group, and what operations on it need; everything is made when it is first asked for."""

    def __init__(self, plan: Plan, executor: Executor, cache: Path | None = None, say: Say = str) -> None:
        self.plan, self.executor, self._say, self._cache = plan, executor, say, cache

    @cached_property
    def synthetic(self) -> SyntheticGroup:
        """The group, with its hashes and tables, which every epoch has from the one before."""
        self._say(f"building or loading a tree of {self.plan.n_members} members")
        group = SyntheticGroup(self.plan, self._cache)
        self._say(f"hashing it and making its tables: {len(group.data)} bytes")
        ask_everything(group.tree, self.plan.suite)
        return group

    @cached_property
    def near(self) -> Snapshot:
        """The group as its first member sees it."""
        return self._member(self.plan.kept[0])

    @cached_property
    def sibling(self) -> Snapshot:
        """The group as the first member's sibling sees it."""
        return self._member(self.plan.kept[1])

    @cached_property
    def far(self) -> Snapshot:
        """The group as the first member of the far half sees it."""
        return self._member(self.plan.kept[-1])

    def _member(self, leaf: LeafIndex) -> Snapshot:
        return Snapshot(self.synthetic.epoch_state(leaf), self.synthetic.settings)

    def self_update(self) -> bytes:
        """Return a commit of the first member: another each time, as commits are, where it does not take seconds."""
        is_quick = self.plan.warm or self.plan.n_members <= _FEW
        return self.near.open().commit().message if is_quick else self.kept_self_update

    @cached_property
    def kept_self_update(self) -> bytes:
        """A commit of the first member."""
        self._say("making a commit to be processed")
        return self.near.open().commit().message

    @cached_property
    def messages(self) -> list[bytes]:
        """Application messages of the first member, from its first one on."""
        sender = self.near.open()
        return [sender.encrypt(TEXT) for _ in range(32)]

    @cached_property
    def with_room(self) -> Snapshot:
        """The group without one member, as the first member sees it."""
        self._say("removing a member, to have room")
        group = self.near.open()
        return self.near.after(group, group.commit([Remove(LEAVING)]))

    @cached_property
    def newcomer(self) -> tuple[MemoryStore, bytes]:
        """The store of a client that is to join, and its key package."""
        store, identity = MemoryStore(), Identity(credential(_NEWCOMER, 0), self.plan.suite_id)
        settings = self.synthetic.settings
        client = Client.create(store, identity, policy=AcceptAnyone(), settings=settings, clock=lambda: NOW)
        return store, client.key_package()

    def invitation(self, tree: str) -> PendingCommit:
        """Return a commit that adds the newcomer."""
        self._say(f"inviting a client, the tree {tree} the Welcome")
        return self.with_room.open().commit([Add(self.newcomer[1])], tree=tree)

    def joining(self, commit: PendingCommit) -> Callable[[], object]:
        """Return what lets the newcomer join, as a client that was opened just now and remembers nothing."""
        store, welcome, tree = MemoryStore(), commit.welcome, commit.ratchet_tree
        store.apply(dict(self.newcomer[0].scan("")))
        settings = self.synthetic.settings
        client = Client.open(store, policy=AcceptAnyone(), settings=settings, clock=lambda: NOW)
        client.executor = self.executor
        assert welcome is not None
        return lambda: client.join(welcome, tree)


class Founding:
    """A group of one, and all those that its founder adds in one commit."""

    def __init__(
        self, members: int, suite_id: int, executor: Executor, cache: Path | None = None, say: Say = str
    ) -> None:
        self.members, self.executor = members, executor
        self._suite_id, self._cache, self._say = suite_id, cache, say

    @cached_property
    def alone(self) -> Snapshot:
        """The group before."""
        settings = Settings.large()
        env = Environment(settings, AcceptAnyone(), NOW, os.urandom)
        return Snapshot(create_epoch_zero(b"founded", bundle(self._suite_id, 0), (), env), settings)

    @cached_property
    def adds(self) -> list[Add]:
        """Everybody else."""
        packages = key_packages(self._suite_id, self.members, self._cache, self._say)
        return [Add(each) for each in packages[1:]]

    def commit(self) -> PendingCommit:
        """Add everybody, the tree inside the Welcome."""
        return self.alone.open(self.executor).commit(self.adds)


def processed(snapshot: Snapshot, message: bytes) -> tuple[Group, StagedCommit]:
    """Return a copy of a group that has checked a commit, and what it is to merge."""
    group = snapshot.open()
    staged = group.receive(message)
    assert isinstance(staged, StagedCommit)
    return group, staged
