"""When a store fails, or two threads meet: nothing is half done, and the call can be made again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import cast

import pytest

from mls import Add, ApplicationMessage, Group, Invitation, MemoryStore, Remove, Settings, StagedCommit, Update
from mls.errors import Code, StorageError, UsageError, WrongGroup
from mls.store.seam import Batch
from tests.support.world import World, records


class BrokenStore(MemoryStore):
    """A store that fails at the n-th write from when it is told so, once, and writes nothing then."""

    __slots__ = ("fail_in",)

    def __init__(self) -> None:
        super().__init__()
        self.fail_in = 0

    def apply(self, batch: Batch) -> None:
        self.fail_in -= 1
        if self.fail_in == 0:
            raise OSError("the disk is full")
        super().apply(batch)


def observed(group: Group, store: BrokenStore) -> tuple[object, ...]:
    """Return what a member holds, in memory and in its store."""
    standing = group._standing
    return (
        group.fingerprint(),
        group.epoch,
        group.members,
        group.proposals,
        [each.message for each in group.pending],
        group.is_retired,
        id(standing),
        standing.state.secrets.init_secret.is_wiped,
        records(store),
    )


Step = Callable[[World, Group, list[Group]], object]


def talk(world: World, group: Group, others: list[Group]) -> object:
    return world.deliver(group.encrypt(b"hello"), *others)


def listen(world: World, group: Group, others: list[Group]) -> object:
    return world.deliver(others[0].encrypt(b"hello"), group)


def propose(world: World, group: Group, others: list[Group]) -> object:
    return world.deliver(group.propose(Update()).message, *others)


def hear_proposal(world: World, group: Group, others: list[Group]) -> object:
    return world.deliver(others[0].propose(Update()).message, *others[1:], group)


def commit(world: World, group: Group, others: list[Group]) -> object:
    return world.commit(group, (), *others)


def hear_commit(world: World, group: Group, others: list[Group]) -> object:
    return world.commit(others[0], (), *others[1:], group)


def discard(world: World, group: Group, others: list[Group]) -> object:
    del world, others
    pending = group.commit()
    group.discard(pending)
    return pending


STEPS: tuple[Step, ...] = (
    talk,
    listen,
    propose,
    hear_proposal,
    commit,
    talk,
    hear_commit,
    discard,
    listen,
    hear_commit,
)


@pytest.mark.rfc("R-12.4.2-06", "R-12.4.2-17", "R-14-01", "B50")
def test_each_write_may_fail_once() -> None:
    """Play one story over and over, and let another write fail each time."""
    n_writes = 0
    for failing in count(1):
        world = World(seed=3)
        store = BrokenStore()
        bob = world.client("bob", store=store)
        alice, carol = world.group(2, names=["alice", "carol"])
        group = world.add(alice, bob, others=[carol])[0]
        store.fail_in = failing
        patient = cast("Group", Patient(group, store))
        for step in STEPS:
            step(world, patient, [alice, carol])
        n_writes = failing - 1 if store.fail_in > 0 else n_writes
        world.agree(alice, group, carol)
        world.agree(group, world.restart(group))
        if store.fail_in > 0:
            break
    assert n_writes > len(STEPS)


class Patient:
    """A group whose calls are made again when the store fails in them, once it is certain that nothing is half done."""

    def __init__(self, group: Group, store: BrokenStore) -> None:
        self._patient = group
        self._broken = store

    def __getattr__(self, name: str) -> object:
        value = getattr(self._patient, name)
        return self._again(value) if callable(value) else value

    def _again(self, call: Callable[..., object]) -> Callable[..., object]:
        def twice(*arguments: object, **options: object) -> object:
            before = observed(self._patient, self._broken)
            try:
                return call(*arguments, **options)
            except OSError:
                assert observed(self._patient, self._broken) == before
                return call(*arguments, **options)

        return twice


# Joining, founding, publishing.


@pytest.mark.rfc("R-12.4.3.1-29", "R-10-15")
def test_an_invitation_can_be_accepted_again_when_the_store_failed() -> None:
    world = World()
    alice, _ = world.group(2)
    store = BrokenStore()
    carol = world.client("carol", store=store)
    pending = alice.commit([Add(carol.key_package())])
    alice.merge(pending)
    invitation = carol.receive(pending.welcome or b"")
    assert isinstance(invitation, Invitation)
    # However many writes it takes: when one of them fails, nothing has come of those before it.
    before, joined, n_failed = records(store), None, 0
    while joined is None:
        store.fail_in = n_failed + 1
        try:
            joined = invitation.accept()
        except OSError:
            n_failed += 1
            assert records(store) == before
            assert carol.groups == ()
    assert n_failed
    store.fail_in = 0
    world.agree(alice, joined)
    assert world.deliver(alice.encrypt(b"welcome"), world.restart(joined))


def test_a_group_and_a_key_package_that_were_not_stored_do_not_exist() -> None:
    world = World()
    store = BrokenStore()
    client = world.client("alice", store=store)
    before = records(store)
    for call in (lambda: client.create_group(b"group"), client.key_package, lambda: client.add_psk(b"id", b"secret")):
        store.fail_in = 1
        with pytest.raises(OSError, match="full"):
            call()
        assert records(store) == before
    assert client.groups == ()
    assert client.create_group(b"group").epoch == 0


def test_a_removal_can_be_merged_again_when_the_store_failed() -> None:
    world = World()
    store = BrokenStore()
    bob = world.client("bob", store=store)
    alice, carol = world.group(2, names=["alice", "carol"])
    group = world.add(alice, bob, others=[carol])[0]
    event = group.receive(alice.commit([Remove(group.me)]).message)
    assert isinstance(event, StagedCommit)
    before, store.fail_in = observed(group, store), 1
    with pytest.raises(OSError, match="full"):
        group.merge(event)
    assert observed(group, store) == before
    assert isinstance(group.receive(carol.encrypt(b"still here?")), ApplicationMessage)
    group.merge(event)
    assert group.is_retired


# Threads.


def test_a_second_thread_is_refused() -> None:
    world = World()
    entered, leave = threading.Event(), threading.Event()

    class SlowStore(MemoryStore):
        slow = False

        def apply(self, batch: Batch) -> None:
            if self.slow:
                entered.set()
                assert leave.wait(10)
            super().apply(batch)

    store = SlowStore()
    group = world.client("alice", store=store).create_group()
    results: list[bytes] = []
    store.slow = True
    first = threading.Thread(target=lambda: results.append(group.encrypt(b"hello")))
    first.start()
    assert entered.wait(10)
    store.slow = False
    for call in (lambda: group.encrypt(b"me too"), group.commit, group.group_info, lambda: group.receive(b"")):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code is Code.WRONG_THREAD
    leave.set()
    first.join(10)
    assert len(results) == 1
    assert group.encrypt(b"now") != results[0]


def test_a_call_within_a_call_is_refused() -> None:
    world = World()
    store = MemoryStore()
    group = world.client("alice", store=store).create_group()
    calls: list[Code] = []

    def padding(length: int) -> int:
        with pytest.raises(UsageError) as caught:
            group.encrypt(b"within")
        calls.append(caught.value.code)
        return length

    environment = group._environment()
    nested = Group(group._standing, store, lambda: replace(environment, settings=Settings(padding=padding)))
    group = nested
    nested.encrypt(b"hello")
    assert calls == [Code.WRONG_THREAD]


# Records that are not what was written.


@pytest.mark.parametrize("damage", ["gone", "cut", "longer", "nested", "garbage", "newer", "unversioned"])
def test_damaged_records_are_named(damage: str) -> None:
    world = World()
    alice, bob = world.group(2)
    world.commit(alice, (), bob)
    world.deliver(bob.propose(Update()).message, alice)
    alice.commit()
    whole = records(world.stores["member-0"])
    refused: dict[str, Code] = {}
    for name, record in whole.items():
        store = MemoryStore()
        changed = {
            "gone": None,
            "cut": record[:-1],
            "longer": record + b"\0",
            "nested": b"\x81" * 100_000,
            "garbage": b"\xff" + record[1:],
            "newer": record[:1] + b"\x18\x63" + record[2:],
            "unversioned": record[:1] + b"\xf5" + record[2:],
        }[damage]
        store.apply({**whole, name: changed})
        try:
            world.open("member-0", store).group(alice.group_id)
        except (StorageError, WrongGroup) as error:
            refused[name] = error.code
    own = [name for name in whole if not name.startswith(("keypackage/", "pin/"))]
    packed = [name for name in own if not {"tree", "ratchet", "resumption"}.intersection(name.split("/"))]
    if damage == "newer":
        assert {refused[name] for name in packed} == {Code.SCHEMA_TOO_NEW}
    elif damage == "gone":
        assert refused[f"group/{alice.group_id.hex()}/epoch"] is Code.UNKNOWN_GROUP
    else:
        assert {refused[name] for name in packed} == {Code.CORRUPT}


@pytest.mark.parametrize("kind", ["tree", "past"])
@pytest.mark.parametrize("number", ["", "one", "-1", "²"])
def test_a_record_whose_key_bears_no_number_is_named(kind: str, number: str) -> None:
    world = World(seed=77)
    (alice,) = world.group(1)
    name = alice.me.identity.decode()
    prefix = f"group/{alice.group_id.hex()}/"
    world.stores[name].apply({f"{prefix}{kind}/{number}": b"\x80"})

    with pytest.raises(StorageError, match=f"{kind}/{number} has no number") as caught:
        world.open(name, world.stores[name]).group(alice.group_id)

    assert caught.value.code is Code.CORRUPT
