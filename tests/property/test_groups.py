"""Groups of two to six clients under random operations: what must hold after every single one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mls import Add, ApplicationMessage, Group, MLSError, NewLeaf, PendingCommit, Remove, Update
from mls.errors import Code, WrongEpoch
from mls.intents import Intent
from tests.adversarial.insider import refusal
from tests.support.world import World, join
from treekem.index import direct_path, node_of, root
from treekem.reference import nodes_of, tree_hash

KEPT = 2
SMALLEST, LARGEST = 2, 6


@dataclass
class Flight:
    """A message on its way to one member, and what it is to come to."""

    message: bytes
    data: bytes
    sender: bytes
    epoch: int


@dataclass
class Seat:
    """A member, what is on its way to it, and what it was delivered."""

    group: Group
    since: int
    flights: list[Flight] = field(default_factory=list)
    delivered: list[bytes] = field(default_factory=list)


class Simulation:
    """A group, and everything that may happen to it; two numbers choose who and what."""

    def __init__(self, private: bool) -> None:
        self.world = World(private_handshakes=private, max_past_epochs=KEPT)
        groups = self.world.group(3)
        self.seats = [Seat(group, group.epoch) for group in groups]
        self.ghosts: list[Group] = []
        self.counter = 0

    @property
    def groups(self) -> list[Group]:
        return [seat.group for seat in self.seats]

    def seat(self, number: int) -> Seat:
        return self.seats[number % len(self.seats)]

    def others(self, *but: Seat) -> list[Group]:
        return [seat.group for seat in self.seats if all(seat is not each for each in but)]

    # Who is in.

    def add(self, a: int, b: int) -> None:
        del b
        if len(self.seats) < LARGEST:
            self._commit(self.seat(a), [self._newcomer()])

    def remove(self, a: int, b: int) -> None:
        committer, leaver = self.seat(a), self.seat(b)
        if committer is not leaver and len(self.seats) > SMALLEST:
            self._commit(committer, [Remove(leaver.group.me)])

    def swap(self, a: int, b: int) -> None:
        committer, leaver = self.seat(a), self.seat(b)
        if committer is not leaver:
            self._commit(committer, [self._newcomer(), Remove(leaver.group.me)])

    def rekey(self, a: int, b: int) -> None:
        del b
        self._commit(self.seat(a), [])

    def propose(self, a: int, b: int) -> None:
        author = self.seat(a)
        rotation = Update(NewLeaf(rotate_signature_key=True))
        intents: tuple[Intent, ...] = (Update(), rotation, Remove(self.seat(b).group.me))
        sent = author.group.propose(intents[b % len(intents)])
        for event in self.world.deliver(sent.message, *self.others(author)):
            assert getattr(event, "ref", None) == sent.ref

    def lose(self, a: int, b: int) -> None:
        """Let somebody prepare two commits: one is discarded, the other loses against someone else's."""
        loser, winner = self.seat(a), self.seat(b)
        before = loser.group.epoch, loser.group.epoch_authenticator
        refused, lost = loser.group.commit(), loser.group.commit()
        loser.group.discard(refused)
        assert (loser.group.epoch, loser.group.epoch_authenticator) == before
        if winner is not loser:
            self._commit(winner, [])
            error = refusal(winner.group, lost.message) if not winner.group.is_retired else None
            assert error is None or isinstance(error, WrongEpoch)

    def echo(self, a: int, b: int) -> None:
        """Let a commit come back to its sender, who was restarted or not."""
        seat = self.seat(a)
        pending = seat.group.commit()
        if b % 2:
            seat.group = self.world.restart(seat.group)
        self.world.deliver(pending.message, seat.group)
        self._follow(seat, pending)

    # What is said.

    def talk(self, a: int, b: int) -> None:
        seat = self.seat(a)
        if seat.group.proposals:
            with pytest.raises(MLSError) as caught:
                seat.group.encrypt(b"too early")
            assert caught.value.code is Code.MUST_COMMIT_FIRST
            return
        for _ in range(1 + b % 3):
            self.counter += 1
            data = b"%d" % self.counter
            message = seat.group.encrypt(data)
            for other in self.seats:
                if other is not seat:
                    other.flights.append(Flight(message, data, seat.group.me.identity, seat.group.epoch))

    def deliver(self, a: int, b: int) -> None:
        seat = self.seat(a)
        if not seat.flights:
            return
        flight = seat.flights.pop(b % len(seat.flights))
        if flight.epoch < seat.group.epoch - KEPT:
            assert refusal(seat.group, flight.message).code is Code.TOO_OLD
            return
        event = seat.group.receive(flight.message)
        assert isinstance(event, ApplicationMessage)
        assert (event.data, event.sender.identity, event.epoch) == (flight.data, flight.sender, flight.epoch)
        assert flight.data not in seat.delivered
        seat.delivered.append(flight.data)
        assert refusal(seat.group, flight.message).code is Code.KEY_CONSUMED

    def damage(self, a: int, b: int) -> None:
        seat = self.seat(a)
        if seat.flights:
            message = bytearray(seat.flights[0].message)
            message[b % len(message)] ^= 1 << b % 8
            refusal(seat.group, bytes(message))

    def restart(self, a: int, b: int) -> None:
        del b
        seat = self.seat(a)
        before = seat.group.fingerprint()
        seat.group = self.world.restart(seat.group)
        assert seat.group.fingerprint() == before

    # Inside.

    def _newcomer(self) -> Add:
        self.counter += 1
        return Add(self.world.client(f"client-{self.counter}").key_package())

    def _commit(self, committer: Seat, intents: list[Intent]) -> None:
        pending = committer.group.commit(intents)
        committer.group.merge(pending)
        self._follow(committer, pending)

    def _follow(self, committer: Seat, pending: PendingCommit) -> None:
        """Let the others take a commit: some leave, some join."""
        leaving = [member.leaf for member in pending.effect.removed]
        leavers = [seat for seat in self.seats if seat is not committer and seat.group.me.leaf in leaving]
        self.ghosts += [self.world.twin(seat.group) for seat in leavers]
        self.world.deliver(pending.message, *self.others(committer))
        assert all(seat.group.is_retired for seat in leavers)
        self.seats = [seat for seat in self.seats if all(seat is not each for each in leavers)]
        for member in pending.effect.added:
            group = join(self.world.clients[member.identity.decode()], pending)
            self.seats.append(Seat(group, group.epoch))
        self._haunt()

    def _haunt(self) -> None:
        """Those who were removed, and did not look, read nothing of what is said now."""
        speaker = self.seats[0].group
        message = speaker.encrypt(b"among us")
        for ghost in self.ghosts:
            assert isinstance(refusal(ghost, message), MLSError)

    # What holds after every step.

    def verify(self) -> None:
        self.world.agree(*self.groups)
        for seat in self.seats:
            verify_keys(seat.group)
        state = self.seats[0].group._standing.state
        tree = state.group.tree
        assert tree_hash(nodes_of(tree), root(tree.n_leaves), state.suite) == state.group.context.tree_hash


def verify_keys(group: Group) -> None:
    """Assert that a member holds the private keys of its leaf and of the parents that count it in, and no others."""
    state = group._standing.state
    tree, suite, own = state.group.tree, state.suite, state.own
    leaf = node_of(own.index)
    above = [x for x in direct_path(leaf, tree.n_leaves) if not tree.is_blank(x)]
    expected = {leaf, *(x for x in above if own.index not in unmerged(group, x))}
    assert set(own.private_keys) == expected
    for x, key in own.private_keys.items():
        assert suite.hpke_public_key(key) == tree.encryption_key(x)


def unmerged(group: Group, x: object) -> tuple[object, ...]:
    parent = group._standing.state.group.tree.parent(x)  # type: ignore[arg-type]  # a node of its direct path
    return () if parent is None else tuple(parent.unmerged_leaves)


Operation = Callable[[Simulation, int, int], None]
OPERATIONS: tuple[Operation, ...] = (
    Simulation.add,
    Simulation.remove,
    Simulation.swap,
    Simulation.rekey,
    Simulation.propose,
    Simulation.propose,
    Simulation.lose,
    Simulation.echo,
    Simulation.talk,
    Simulation.talk,
    Simulation.talk,
    Simulation.deliver,
    Simulation.deliver,
    Simulation.deliver,
    Simulation.damage,
    Simulation.restart,
)
STEPS = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 2**16), st.integers(0, 2**16))


def play(private: bool, steps: list[tuple[Operation, int, int]]) -> None:
    simulation = Simulation(private)
    for operation, a, b in steps:
        operation(simulation, a, b)
        simulation.verify()


@pytest.mark.rfc("R-16.2-01", "R-12.4.2-23", "R-8.7-01", "R-16.7-01", "R-14-04")
@settings(max_examples=100)
@given(st.booleans(), st.lists(STEPS, min_size=10, max_size=25))
def test_members_agree_whatever_happens(private: bool, steps: list[tuple[Operation, int, int]]) -> None:
    play(private, steps)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.booleans(), st.lists(STEPS, min_size=20, max_size=60))
def test_members_agree_whatever_happens_for_long(private: bool, steps: list[tuple[Operation, int, int]]) -> None:
    play(private, steps)
