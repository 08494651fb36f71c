"""What an epoch has for itself ends with it: its secrets, keys that are replaced, commits that came to nothing.

What is gone is found nowhere in a client that was seized, and again where a fault keeps the engine from deleting it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mls import Add, Client, Group, PendingCommit, PreSharedKey, Remove, StagedCommit, Update, merging
from mls.crypto import SUITES
from mls.epoch import receive_commit
from mls.epoch.state import EpochState
from mls.store import client_records, standing
from mls.store.client_records import unpack_bundle
from mls.store.standing import Standing
from tests.support.forensics import found, seized, stored
from tests.support.planting import Edit, Fault
from tests.support.world import World, records
from treekem.index import NodeIndex, node_of

ALL_GONE = "store.apply(dict.fromkeys(name for name, _ in store.scan(standing.prefix)))"
ALL_FORGOTTEN = "self._store.apply(dict.fromkeys(name for name, _ in self._store.scan(self._standing.prefix)))"


@dataclass
class Values:
    """A client that holds values until `spend`, which returns what its application holds of them besides."""

    world: World
    name: str
    values: dict[str, bytes]
    spend: Callable[[], object]

    def places(self, *handles: object) -> dict[str, set[str]]:
        """Return which values are found where, in live objects or records."""
        client = self.world.clients[self.name]
        held = {
            "live": seized(self.world, client, [client.group(each) for each in client.groups], handles),
            "stored": stored(self.world, self.name),
        }
        return {place: found(self.values, each, SUITES[1]) for place, each in held.items()}


def secrets_of(state: EpochState) -> dict[str, bytes]:
    """Return the secrets that end with an epoch: all but what past epochs and resumption need."""
    names = ("init_secret", "exporter", "external", "confirmation_key", "membership_key")
    return {name: getattr(state.secrets, name).expose() for name in names}


def keys_of(state: EpochState, *nodes: NodeIndex) -> dict[str, bytes]:
    return {f"key {node}": state.own.private_keys[node].expose() for node in nodes}


def committer_merges() -> Values:
    world = World()
    alice, bob, _ = world.group(3)
    world.commit(alice, (), bob)
    state = alice._standing.state
    pending = alice.commit()

    def spend() -> object:
        alice.merge(pending)
        return [state, pending]

    return Values(world, "member-0", {**secrets_of(state), **keys_of(state, *state.own.private_keys)}, spend)


def receiver_merges() -> Values:
    """Let a member hear of a removal, by which the node above it and the one removed is blanked."""
    world = World()
    alice, bob, carol, dora = world.group(4)
    world.commit(carol, (), alice, bob, dora)
    pending = world.commit(alice, [Remove(dora.me)], bob)
    state = carol._standing.state
    path = [node for node in state.own.private_keys if node != node_of(state.own.index)]
    assert len(path) == 2

    def spend() -> object:
        staged = carol.receive(pending.message)
        assert isinstance(staged, StagedCommit)
        carol.merge(staged)
        return [state, staged]

    return Values(world, "member-2", {**secrets_of(state), **keys_of(state, *path)}, spend)


def own_update_is_committed() -> Values:
    world = World()
    alice, bob = world.group(2)
    world.deliver(alice.propose(Update()).message, bob)
    state = alice._standing.state
    pending = world.commit(bob)
    values = keys_of(state, node_of(state.own.index))

    def spend() -> object:
        return [state, *world.deliver(pending.message, alice)]

    return Values(world, "member-0", values, spend)


def own_commit(ends: Callable[[World, Group, Group, PendingCommit], object]) -> Values:
    world = World()
    alice, bob = world.group(2)
    pending = alice.commit()
    ahead = alice._standing.candidates[pending.candidate].transition.state
    assert ahead is not None
    values = {
        **secrets_of(ahead),
        "encryption": ahead.secrets.encryption.expose(),
        **keys_of(ahead, *ahead.own.private_keys),
    }

    def spend() -> object:
        ends(world, alice, bob, pending)
        return [ahead, pending]

    return Values(world, "member-0", values, spend)


def commit_loses(world: World, alice: Group, bob: Group, _: PendingCommit) -> None:
    world.commit(bob, (), alice)


def commit_is_discarded(_: World, alice: Group, __: Group, pending: PendingCommit) -> None:
    alice.discard(pending)


def key_package_is_used() -> Values:
    world = World()
    (alice,) = world.group(1)
    client = world.client("bob")
    pending = world.commit(alice, [Add(client.key_package())])
    (record,) = (record for name, record in records(world.stores["bob"]).items() if name.startswith("keypackage/"))
    init_key = unpack_bundle("keypackage/", record).init_key.expose()

    def spend() -> object:
        assert pending.welcome is not None
        invitation = client.join(pending.welcome)
        return [invitation, invitation.accept()]

    return Values(world, "bob", {"init key": init_key}, spend)


def removed() -> Values:
    world = World()
    alice, bob = world.group(2)
    state = bob._standing.state
    pending = world.commit(alice, [Remove(bob.me)])
    values = {**secrets_of(state), **keys_of(state, *state.own.private_keys)}

    def spend() -> object:
        world.deliver(pending.message, bob)
        return [state, bob]

    return Values(world, "member-1", values, spend)


def group_is_forgotten() -> Values:
    world = World()
    _, bob = world.group(2)
    state = bob._standing.state

    def spend() -> object:
        bob.forget()
        return [state, bob]

    return Values(world, "member-1", {**secrets_of(state), **keys_of(state, *state.own.private_keys)}, spend)


def psk_is_forgotten() -> Values:
    world = World()
    alice, bob = world.group(2)
    for client in world.clients.values():
        client.add_psk(b"psk", b"a key that both were given......")
    world.commit(alice, [PreSharedKey(b"psk")], bob)
    client = world.clients["member-1"]
    return Values(world, "member-1", {"psk": b"a key that both were given......"}, lambda: client.forget_psk(b"psk"))


def resumption_psk_is_too_old() -> Values:
    world = World(resumption_psk_epochs=1)
    alice, bob = world.group(2)
    value = bob._standing.state.secrets.resumption_psk.expose()
    world.commit(alice, (), bob)
    return Values(world, "member-1", {"resumption": value}, lambda: world.commit(alice, (), bob))


KEPT_VALUES: dict[str, tuple[Callable[[], Values], tuple[Edit, ...]]] = {
    "the committer merges": (
        committer_merges,
        (
            Edit(merging._wipe_ended, "wipe_states(ended, kept=after.state)", "pass"),
            Edit(standing.wipe_states, "state.secrets.wipe()", "pass"),
            Edit(standing.wipe_states, "key.wipe()", "pass"),
        ),
    ),
    "a receiver merges": (
        receiver_merges,
        (
            Edit(merging._wipe_ended, "wipe_states(ended, kept=after.state)", "pass"),
            Edit(
                receive_commit._open_path,
                "kept = surviving_keys(applied.tree, seen.tree, keys)",
                "kept = dict(state.own.private_keys)",
            ),
        ),
    ),
    "an own Update is committed": (
        own_update_is_committed,
        (Edit(merging._wipe_ended, "wipe_states(ended, kept=after.state)", "pass"),),
    ),
    "an own commit loses": (
        lambda: own_commit(commit_loses),
        (
            Edit(Standing._volatile, "for name in self.candidates:", "for name in ():"),
            Edit(merging._wipe_ended, "wipe_states(ended, kept=after.state)", "pass"),
        ),
    ),
    "an own commit is discarded": (
        lambda: own_commit(commit_is_discarded),
        (
            Edit(Group.discard, "wipe_states([candidate.transition.state], kept=self._standing.state)", "pass"),
            Edit(Group.discard, 'candidate/{commit.candidate}": None', 'candidate/": None'),
        ),
    ),
    "a key package is used": (
        key_package_is_used,
        (Edit(client_records.consumption, "key_package_key(reference): None,", ""),),
    ),
    "one is removed": (
        removed,
        (Edit(merging.merge_transition, ALL_GONE, "pass"), Edit(merging.merge_transition, "standing.wipe()", "pass")),
    ),
    "a group is forgotten": (
        group_is_forgotten,
        (Edit(Group.forget, ALL_FORGOTTEN, "pass"), Edit(Group.forget, "self._standing.wipe()", "pass")),
    ),
    "a pre-shared key is forgotten": (
        psk_is_forgotten,
        (Edit(Client.forget_psk, "self._store.apply({psk_key(psk_id): None})", "pass"),),
    ),
    "a resumption PSK is too old": (
        resumption_psk_is_too_old,
        (Edit(Standing.forgotten_psks, "yield key", "yield from ()"),),
    ),
}
BROKEN_VALUES = [(name, number) for name, (_, edits) in KEPT_VALUES.items() for number in range(len(edits))]
NOWHERE: dict[str, set[str]] = {"live": set(), "stored": set()}


@pytest.mark.rfc("R-9.2-02", "R-9.2-09", "N-M10", "B40")
@pytest.mark.parametrize("name", KEPT_VALUES)
def test_what_an_epoch_has_for_itself_ends_with_it(name: str) -> None:
    story = KEPT_VALUES[name][0]()
    assert set.union(*story.places().values()) == set(story.values)
    handles = story.spend()
    assert story.places(handles) == NOWHERE
    world = story.world
    world.clients[story.name] = world.open(story.name, world.stores[story.name])
    assert story.places(handles) == NOWHERE


@pytest.mark.rfc("R-9.2-02", "R-9.2-09", "N-M10", "B08", "B40")
@pytest.mark.parametrize(("name", "number"), BROKEN_VALUES)
def test_what_is_not_deleted_at_an_end_is_found(name: str, number: int) -> None:
    tell, edits = KEPT_VALUES[name]
    with Fault("R-9.2-02", name, edits[number]).planted():
        story = tell()
        handles = story.spend()
        assert story.places(handles) != NOWHERE
