"""Forward secrecy as somebody meets it who seizes a client: what is used up is nowhere, and nothing derives it.

Each story is told more than once. The secret is found before it is used up; afterwards it is nowhere, neither in live
objects nor in records nor in a client restarted on them; and it is found again where a fault keeps the engine from
deleting it.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from mls import Client, Group, Remove, StagedCommit, merging, receiving
from mls.messages import ContentType
from mls.schedule.hash_ratchet import Ratchet
from mls.schedule.secret_tree import SecretTree
from mls.store.standing import Standing
from tests.support.forensics import MessageKey, seized, stored
from tests.support.live import contents
from tests.support.planting import Edit, Fault
from tests.support.world import World

APPLICATION, COMMIT = ContentType.APPLICATION, ContentType.COMMIT


# Messages.


@dataclass
class Message:
    """A client that holds the key of a message until `spend`; `handles` are what its application holds besides."""

    world: World
    group: Group
    key: MessageKey
    spend: Callable[[], object]
    handles: list[object] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.world.name_of(self.group)

    @property
    def client(self) -> Client:
        return self.world.clients[self.name]

    def places(self) -> list[str]:
        """Return where the key is found, in live objects or records."""
        held = {
            "live": seized(self.world, self.client, self.group, self.handles),
            "stored": stored(self.world, self.name),
        }
        return [place for place, each in held.items() if self.key.is_in(each)]

    def is_restored(self) -> bool:
        """Whether the key is found in a client that is started on the same records."""
        client = self.world.open(self.name, self.world.stores[self.name])
        return self.key.is_in(seized(self.world, client, *map(client.group, client.groups)))


def sending(generation: int) -> Message:
    world = World()
    alice, _ = world.group(2)
    for _ in range(generation):
        alice.encrypt(b"before")
    key = MessageKey.of(world, alice, 0, APPLICATION, generation)
    return Message(world, alice, key, lambda: alice.encrypt(b"now"))


def heard(n_messages: int, before: tuple[int, ...], now: int) -> Message:
    """Let somebody hear one of several messages, after others."""
    world = World()
    alice, bob, _ = world.group(3)
    key = MessageKey.of(world, bob, 0, APPLICATION, now)
    messages = [alice.encrypt(b"%d" % number) for number in range(n_messages)]
    for number in before:
        bob.receive(messages[number])
    return Message(world, bob, key, lambda: bob.receive(messages[now]))


def merging_private_commit() -> Message:
    world = World(private_handshakes=True)
    alice, bob = world.group(2)
    key = MessageKey.of(world, bob, 0, COMMIT, 0)
    staged = bob.receive(alice.commit().message)
    assert isinstance(staged, StagedCommit)
    return Message(world, bob, key, lambda: bob.merge(staged), [staged])


def committing_privately() -> Message:
    world = World(private_handshakes=True)
    alice, _ = world.group(2)
    return Message(world, alice, MessageKey.of(world, alice, 0, COMMIT, 0), alice.commit)


def leaving_an_epoch_behind(n_kept: int) -> Message:
    """Let somebody miss a message, and its epoch become too old for it."""
    world = World(max_past_epochs=n_kept)
    alice, bob = world.group(2)
    key = MessageKey.of(world, bob, 0, APPLICATION, 1)
    for _ in range(n_kept):
        world.commit(alice, (), bob)
    return Message(world, bob, key, lambda: world.commit(alice, (), bob), [bob._standing])


def leaving_an_epoch_for_long() -> Message:
    world = World(past_epoch_ttl=60)
    alice, bob = world.group(2)
    key = MessageKey.of(world, bob, 0, APPLICATION, 0)
    world.commit(alice, (), bob)
    world.now += 61
    return Message(world, bob, key, bob.forget_expired_epochs, [*bob._standing.past])


def being_removed() -> Message:
    world = World()
    alice, bob = world.group(2)
    world.commit(alice, (), bob)
    key = MessageKey.of(world, bob, 0, APPLICATION, 0)
    removal = world.commit(alice, [Remove(bob.me)])
    return Message(world, bob, key, lambda: world.deliver(removal.message, bob))


def forgetting_a_group() -> Message:
    world = World()
    _, bob = world.group(2)
    return Message(world, bob, MessageKey.of(world, bob, 0, APPLICATION, 0), bob.forget)


NOT_APPLIED = "sight.keys.secret_tree.apply(key)"
NOT_WRITTEN = "store.apply(standing.key_batch(epoch, key))"
ALL_GONE = "store.apply(dict.fromkeys(name for name, _ in store.scan(standing.prefix)))"
ALL_FORGOTTEN = "self._store.apply(dict.fromkeys(name for name, _ in self._store.scan(self._standing.prefix)))"
MESSAGES: dict[str, tuple[Callable[[], Message], tuple[Edit, ...]]] = {
    "sent": (
        lambda: sending(0),
        (
            Edit(Group._spend, "standing.secret_tree.apply(key)", "pass"),
            Edit(Group._spend, "{**batch, **standing.key_batch(standing.state.epoch, key)}", "batch"),
            Edit(SecretTree._split, "children.pop(below)", "children[below].copy()"),
        ),
    ),
    "sent after others": (
        lambda: sending(2),
        (
            Edit(Group._spend, "standing.secret_tree.apply(key)", "pass"),
            Edit(Ratchet._move_ahead, "Ratchet(following,", "Ratchet(self.secret.copy(),"),
        ),
    ),
    "committed": (
        committing_privately,
        (Edit(Group._spend, "standing.secret_tree.apply(key)", "pass"),),
    ),
    "received": (
        lambda: heard(1, (), 0),
        (Edit(receiving._consume, NOT_APPLIED, "pass"), Edit(receiving._consume, NOT_WRITTEN, "pass")),
    ),
    "received early": (
        lambda: heard(3, (), 2),
        (
            Edit(
                Ratchet._move_ahead,
                "SkippedKey(key, nonce, stamp)",
                "SkippedKey(key, self.secret.expose(), stamp)",
            ),
        ),
    ),
    "received late": (
        lambda: heard(4, (2, 3), 0),
        (
            Edit(receiving._consume, NOT_APPLIED, "pass"),
            Edit(Ratchet.consume, "if number != generation", "if number >= 0"),
        ),
    ),
    "merged": (
        merging_private_commit,
        (
            Edit(merging.merge_transition, "standing.secret_tree.apply(key)", "pass"),
            Edit(Standing.merge_batch, "{} if staged is None else self.key_batch(self.state.epoch, staged)", "{}"),
        ),
    ),
    "of an epoch that is not kept": (
        lambda: leaving_an_epoch_behind(0),
        (
            Edit(merging._wipe_ended, "standing.secret_tree.wipe()", "pass"),
            Edit(Standing._expired, "self._without_ratchets(self.state.epoch, self.secret_tree)", "{}"),
        ),
    ),
    "of an epoch kept until now": (
        lambda: leaving_an_epoch_behind(2),
        (
            Edit(merging.merge_transition, "[-n_kept:]", "[-n_kept - 1:]"),
            Edit(Standing.without_epochs, "self._without_ratchets(old.epoch, old.keys.secret_tree)", "{}"),
        ),
    ),
    "of an epoch kept long enough": (
        leaving_an_epoch_for_long,
        (
            Edit(merging.drop_expired, "old.wipe()", "pass"),
            Edit(merging.drop_expired, "store.apply(batch)", "pass"),
        ),
    ),
    "of a group that one was removed from": (
        being_removed,
        (Edit(merging.merge_transition, ALL_GONE, "pass"), Edit(merging.merge_transition, "standing.wipe()", "pass")),
    ),
    "of a group that was forgotten": (
        forgetting_a_group,
        (Edit(Group.forget, ALL_FORGOTTEN, "pass"), Edit(Group.forget, "self._standing.wipe()", "pass")),
    ),
}
BROKEN = [(name, number) for name, (_, edits) in MESSAGES.items() for number in range(len(edits))]


@pytest.mark.rfc("R-9.2-01", "R-9.2-03", "R-9.2-04", "N-M10", "B44")
@pytest.mark.parametrize("name", MESSAGES)
def test_the_key_of_a_message_is_found_until_it_is_used_up(name: str) -> None:
    message = MESSAGES[name][0]()
    assert (message.places(), message.is_restored()) == (["live", "stored"], True)
    message.spend()
    assert (message.places(), message.is_restored()) == ([], False)


@pytest.mark.rfc("R-9.2-01", "R-9.2-03", "R-9.2-04", "N-M10", "B08")
@pytest.mark.parametrize(("name", "number"), BROKEN)
def test_the_key_of_a_message_is_found_where_it_is_not_deleted(name: str, number: int) -> None:
    tell, edits = MESSAGES[name]
    with Fault("R-9.2-01", name, edits[number]).planted():
        message = tell()
        message.spend()
        assert message.places() != []


# The search itself.


def suspended(value: bytes) -> Iterator[int]:
    yield 1
    yield len(value)


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def method(self) -> object:
        return self.value


def running(value: bytes) -> Iterator[int]:
    generator = suspended(value)
    next(generator)
    return generator


def remembering(value: bytes) -> object:
    cached = functools.lru_cache(len)
    cached(value)
    return cached


HIDEOUTS: dict[str, Callable[[bytes], object]] = {
    "slot": Slotted,
    "closure": lambda value: lambda: value,
    "default": lambda value: lambda found=value: found,
    "method": lambda value: Slotted(value).method,
    "partial": lambda value: functools.partial(len, value),
    "generator": running,
    "cache": remembering,
    "key of a dictionary": lambda value: {value: 1},
    "bytearray": lambda value: [bytearray(value)],
    "view": lambda value: (memoryview(value),),
    "array": lambda value: array("B", value),
    "numpy": lambda value: np.frombuffer(value, np.uint8).copy(),
    "objects in numpy": lambda value: np.array([Slotted(value), None], dtype=object),
    "X25519": x25519.X25519PrivateKey.from_private_bytes,
    "P-256": lambda value: ec.derive_private_key(int.from_bytes(value, "big"), ec.SECP256R1()),
}


@pytest.mark.parametrize("place", HIDEOUTS)
def test_the_search_finds_what_is_hidden(place: str) -> None:
    value = bytes(range(1, 33))
    assert value in contents(HIDEOUTS[place](value))
    assert value not in contents(HIDEOUTS[place](bytes(range(2, 34))))
