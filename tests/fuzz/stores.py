"""A store with one record changed: whoever opens it gets a StorageError, or a client whose calls end as they should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from mls import Add, Client, Group, Identity, Invitation, MLSError, PreSharedKey, ResumptionPSK, StagedCommit, Update
from mls.errors import StorageError
from mls.store.seam import MemoryStore
from tests.fuzz.target import Target
from tests.support.world import World, copy_of, records


def store_target() -> Target:
    """Any bytes in place of any record: the first byte chooses the record, in the order of their keys."""
    scene = _Scene()
    keys = sorted(records(scene.store))

    def run(data: bytes) -> None:
        store = copy_of(scene.store)
        store.apply({keys[data[0] % len(keys)]: data[1:]} if data else {})
        scene.open(store)

    def seeds() -> Iterator[bytes]:
        for position, key in enumerate(keys):
            record = scene.store.read(key)
            yield bytes([position]) + (record or b"")

    if len(keys) > 1 << 8:
        raise AssertionError("one byte does not choose among so many records")
    return Target("store", run, seeds)


class _Scene:
    """A member that keeps a record of every kind, and what it is sent afterwards."""

    def __init__(self) -> None:
        self.world = World(seed=9420)
        alice, bob, carol = self.world.group(3, names=("alice", "bob", "carol"))
        client = self.world.clients["bob"]
        for each in ("alice", "bob", "carol"):
            self.world.clients[each].add_psk(b"password", b"\x5e" * 32)
        client.add_identity(Identity.basic(b"bob", 2))
        late = carol.encrypt(b"of a former epoch")
        self.world.commit(alice, (), bob, carol)
        self.world.commit(carol, (), alice, bob)
        skipped = [alice.encrypt(b"skipped") for _ in range(3)]
        bob.receive(skipped[2])
        self.world.deliver(bob.propose(Update()).message, alice, carol)
        self.world.deliver(alice.propose(PreSharedKey(b"password")).message, bob, carol)
        bob.commit([ResumptionPSK(1)], include=())
        commit = alice.commit()
        self._group_id = bob.group_id
        self._messages = [late, *skipped[:2], alice.propose(ResumptionPSK(2)).message, commit.message]
        founder = self.world.client("founder").create_group()
        welcome = founder.commit([Add(client.key_package())]).welcome
        self._messages.append(welcome or b"")
        self.store: MemoryStore = copy_of(self.world.stores["bob"])

    def open(self, store: MemoryStore) -> None:
        """Open a client and use all that it holds; opening ends in nothing but a StorageError, using in an MLSError."""
        try:
            client = self.world.open("bob", store)
            groups = [client.group(group_id) for group_id in client.groups]
        except StorageError:
            return
        for act in (*self._acts(client), *(act for group in groups for act in self._group_acts(group))):
            try:
                self._settle(client, act())
            except MLSError:
                continue

    def _acts(self, client: Client) -> Iterator[Callable[[], object]]:
        yield lambda: client.key_package(suite=2)
        yield client.forget_expired_key_packages
        for message in self._messages:
            yield partial(client.receive, message)

    def _group_acts(self, group: Group) -> Iterator[Callable[[], object]]:
        yield lambda: (group.members, group.me, group.proposals, group.pending, group.fingerprint())
        yield lambda: group.export_secret("label", b"", 32)
        yield group.group_info
        yield lambda: group.merge(group.commit([PreSharedKey(b"password")], include=()))
        yield lambda: group.encrypt(b"hello")

    def _settle(self, client: Client, outcome: object) -> None:
        match outcome:
            case StagedCommit():
                client.group(self._group_id).merge(outcome)
            case Invitation():
                outcome.accept()
