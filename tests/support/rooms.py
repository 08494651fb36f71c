"""Groups whose members hear of what happens late, twice, out of order or not at all; and what holds nevertheless.

A `Room` is a group, its delivery service, which puts handshakes into one order and takes one commit an epoch, and its
members on their `Seat`s, each as far behind as it likes. `tests/support/happenings.py` lists what may happen there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from mls import Add, Client, Group, Identity, MLSError, PendingCommit, Remove, StagedCommit
from mls.epoch.state import EpochState
from mls.errors import Refused
from mls.identity.roles import Action, AllowEverything, Party, Target
from tests.adversarial.insider import refusal
from tests.support.extending import REGISTRY
from tests.support.world import World, join, records
from treekem.index import NodeIndex, direct_path, node_of
from treekem.reference import nodes_of, tree_hash, verify_parent_hashes

KEPT = 2
SMALLEST, LARGEST = 2, 6
PSKS = tuple(b"psk %d" % number for number in range(3))
_REMEMBERED = 4


class GuestsRemoveNobody(AllowEverything):
    """Lets everybody do everything, but for guests, who may not ask for anybody's removal."""

    def authorize(self, actor: Party, action: Action, target: Target) -> None:
        """Refuse a guest that removes."""
        del target
        if action is Action.REMOVE and actor.identity.startswith(b"guest"):
            raise Refused("a guest removes nobody")


@dataclass(frozen=True)
class Handshake:
    """A proposal or commit as the delivery service took it, for an epoch."""

    message: bytes
    epoch: int


@dataclass(frozen=True)
class Flight:
    """An application message on its way to one member, and what it is to come to."""

    message: bytes
    data: bytes
    sender: bytes
    epoch: int


@dataclass
class Seat:
    """A member: `read` is how much of the room's log it has heard; one that is `doomed` has yet to hear it is out."""

    name: str
    group: Group
    read: int
    since: int
    doomed: bool = False
    flights: list[Flight] = field(default_factory=list)
    delivered: set[bytes] = field(default_factory=set)
    verified: EpochState | None = None


class Simulation:
    """A world with one room or two."""

    def __init__(self, *, private: bool) -> None:
        self.world = World(
            private_handshakes=private,
            max_past_epochs=KEPT,
            external_commits=True,
            resync=True,
            resync_without_psk=True,
            new_member_proposals=True,
            registry=REGISTRY,
        )
        self.counter = 0
        clients = [self.newcomer() for _ in range(3)]
        founder = clients[0].create_group()
        joined = self.world.add(founder, *clients[1:])
        self.rooms = [Room(self, [founder, *joined])]

    def newcomer(self, suite: int = 1) -> Client:
        """Return a new client that knows every pre-shared key; one in three is a guest."""
        self.counter += 1
        name = f"{'client' if self.counter % 3 else 'guest'}-{self.counter}"
        client = self.world.client(name, roles=GuestsRemoveNobody())
        for psk in PSKS:
            client.add_psk(psk, b"the key of " + psk)
        if suite != 1:
            client.add_identity(Identity.basic(name.encode(), suite))
        return client

    def restart(self, name: str) -> None:
        """End a client and start it again on its store: it holds in every room what it held before."""
        world = self.world
        before = world.clients[name]
        world.clients[name] = world.open(name, world.stores[name])
        seats = [seat for room in self.rooms for seat in room.seats if seat.name == name]
        for seat in seats:
            fingerprint = seat.group.fingerprint()
            seat.group = world.clients[name].group(seat.group.group_id)
            assert seat.group.fingerprint() == fingerprint
        assert world.clients[name].groups == before.groups

    def verify(self) -> None:
        """Assert what must hold after every step."""
        for room in self.rooms:
            for seat in room.seats:
                room.verify(seat)


class Room:
    """One group; `log` is the order that its delivery service gave to handshakes, `epoch` the one it is in."""

    def __init__(self, simulation: Simulation, groups: list[Group], suite: int = 1) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.suite = suite
        self.log: list[Handshake] = []
        self.epoch = groups[0].epoch
        self.seats: list[Seat] = []
        self.gone: list[str] = []
        self.ghosts: list[Group] = []
        self.history: list[Flight] = []
        self.agreed: dict[int, tuple[object, ...]] = {}
        for group in groups:
            self.enter(self.world.name_of(group), group)

    # Who is there.

    @property
    def members(self) -> list[Seat]:
        """Those who are in the group as the delivery service knows it."""
        return [seat for seat in self.seats if not seat.doomed]

    def seat(self, number: int) -> Seat:
        """Return any seat, however far behind."""
        return self.seats[number % len(self.seats)]

    def present(self, number: int) -> Seat:
        """Return a member that has heard everything."""
        seat = self.members[number % len(self.members)]
        self.catch_up(seat)
        return seat

    def another(self, seat: Seat, number: int) -> Seat | None:
        """Return a member other than `seat` that has heard everything, if there is one."""
        others = [each for each in self.members if each is not seat]
        if not others:
            return None
        chosen = others[number % len(others)]
        self.catch_up(chosen)
        return chosen

    def client(self, seat: Seat) -> Client:
        return self.world.clients[seat.name]

    def has_space(self, seat: Seat) -> bool:
        """Whether one more may be added, whatever is proposed."""
        return len(self.members) + self._proposed(seat, Add) < LARGEST

    def has_spare(self, seat: Seat) -> bool:
        """Whether one more may be removed, whatever is proposed."""
        return len(self.members) - self._proposed(seat, Remove) > SMALLEST

    def newcomer(self) -> Add:
        """Return an Add of a new client, or of one that was removed here."""
        known = self.gone.pop(0) if len(self.gone) > 1 else None
        client = self.simulation.newcomer(self.suite) if known is None else self.world.clients[known]
        return Add(client.key_package(suite=self.suite))

    # What is heard.

    def enter(self, name: str, group: Group) -> Seat:
        """Seat somebody who came in just now, and who reads nothing of what was said before."""
        seat = Seat(name, group, read=len(self.log), since=group.epoch)
        self.seats.append(seat)
        for flight in self.history:
            if flight.epoch < seat.since:
                refusal(group, flight.message)
        return seat

    def post(self, handshake: bytes, author: Seat | None = None) -> None:
        """Have the delivery service take a proposal of this epoch."""
        self.log.append(Handshake(handshake, self.epoch))
        if author is not None:
            author.read = len(self.log)

    def post_commit(self, committer: Seat, pending: PendingCommit, late: int, *, echo: bool = False) -> None:
        """Have the delivery service take a commit, which some hear at once; those who are added join."""
        removed = {member.identity for member in pending.effect.removed}
        self.log.append(Handshake(pending.message, self.epoch))
        self.epoch += 1
        if not echo:
            committer.group.merge(pending)
            committer.read = len(self.log)
        for seat in self.seats:
            seat.doomed = seat.doomed or seat.name.encode() in removed
        for member in pending.effect.added:
            name = member.identity.decode()
            self.enter(name, join(self.world.clients[name], pending))
        self.spread(late)

    def spread(self, late: int) -> None:
        """Let everybody hear everything but those whose bit in `late` is set."""
        for number, seat in enumerate(list(self.seats)):
            if not late >> number & 1:
                self.catch_up(seat)

    def catch_up(self, seat: Seat) -> None:
        """Let a seat hear the rest of the log, in its order."""
        while seat.read < len(self.log) and not seat.group.is_retired:
            self.hear(seat)

    def hear(self, seat: Seat) -> None:
        """Let a seat hear the next handshake, and merge it if it is a commit."""
        event = seat.group.receive(self.log[seat.read].message)
        seat.read += 1
        if not isinstance(event, StagedCommit):
            return
        if event.transition.state is None:
            self._leave(seat)
        seat.group.merge(event)
        assert seat.group.is_retired == (event.transition.state is None)
        if not seat.group.is_retired:
            self.verify(seat)

    def say(self, seat: Seat, data: bytes) -> None:
        """Send a message to all who were in the group in the epoch of its sender."""
        message = seat.group.encrypt(data)
        flight = Flight(message, data, seat.name.encode(), seat.group.epoch)
        self.history = [*self.history, flight][-_REMEMBERED:]
        for other in self.seats:
            if other is not seat and other.since <= flight.epoch:
                other.flights.append(flight)
        for ghost in self.ghosts:
            if ghost.epoch < flight.epoch:
                refusal(ghost, message)

    # What must hold.

    def verify(self, seat: Seat) -> None:
        """Assert what holds for a seat, unless it has been looked at since its group moved."""
        group, state = seat.group, seat.group._standing.state
        if seat.verified is state:
            return
        exported = group.export_secret("label", b"context", 32).expose()
        agreed = (group.group_id, group.tree_hash, group.epoch_authenticator, exported, group.members)
        if group.epoch not in self.agreed:
            verify_parent_hashes(nodes_of(state.group.tree), state.suite)
            self._verify_absent(state)
        assert self.agreed.setdefault(group.epoch, agreed) == agreed
        verify_hashes(state)
        verify_keys(group)
        assert group.epoch <= self.epoch
        seat.verified = state

    def _leave(self, seat: Seat) -> None:
        """Note that a seat hears of its removal; a copy of it does not, and stays what it was."""
        assert seat.doomed
        self.ghosts = [*self.ghosts, self.world.twin(seat.group)][-_REMEMBERED:]
        self.seats = [each for each in self.seats if each is not seat]
        self.gone.append(seat.name)

    def _verify_absent(self, state: EpochState) -> None:
        """Assert that no node of a tree has a key that a member knows which was removed before."""
        keys = {key for _, key in state.group.tree.encryption_keys()}
        for ghost in self.ghosts:
            held = ghost._standing.state.own.private_keys.values()
            if ghost.epoch < state.epoch:
                assert keys.isdisjoint(map(state.suite.hpke_public_key, held))

    def _proposed(self, seat: Seat, kind: type[Add | Remove]) -> int:
        return sum(type(each.proposal).__name__ == kind.__name__ for each in seat.group.proposals)


@contextmanager
def refused(room: Room, seat: Seat, *errors: type[MLSError]) -> Iterator[None]:
    """Assert that what is tried ends in an MLSError, and that it leaves a client as it was, in memory and in store."""
    store = room.world.stores[seat.name]
    before, stored = seat.group.fingerprint(), records(store)
    with pytest.raises(errors or MLSError):
        yield
    assert seat.group.fingerprint() == before
    assert records(store) == stored


def verify_hashes(state: EpochState) -> None:
    """Assert that every tree hash that is remembered is what one computes anew."""
    tree, suite = state.group.tree, state.suite
    nodes = nodes_of(tree)
    for x in map(NodeIndex, range(len(nodes))):
        assert tree.node_hash(suite, x) == tree_hash(nodes, x, suite)
    assert tree.tree_hash(suite) == state.group.context.tree_hash


def verify_keys(group: Group) -> None:
    """Assert that a member holds the private keys of its leaf and of the parents that count it in, and no others."""
    state = group._standing.state
    tree, suite, own = state.group.tree, state.suite, state.own
    leaf = node_of(own.index)
    above = [x for x in direct_path(leaf, tree.n_leaves) if not tree.is_blank(x)]
    expected = {leaf, *(x for x in above if (parent := tree.parent(x)) and own.index not in parent.unmerged_leaves)}
    assert set(own.private_keys) == expected
    for x, key in own.private_keys.items():
        assert suite.hpke_public_key(key) == tree.encryption_key(x)
    assert suite.signature_public_key(own.signature_key) == group.me.signature_key
