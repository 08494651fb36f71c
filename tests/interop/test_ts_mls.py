"""Stories told with another implementation, ts-mls, each with either side in each role.

After every step all members of both sides agree on epoch, tree hash, epoch authenticator, an exported secret and the
members.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mls import Add, PreSharedKey, Remove, Update
from tests.interop.members import Member, Ours, Table, Theirs
from tests.interop.peer import Peer
from tests.support.world import World

SUITES = (1, 2, 3, *(pytest.param(suite, marks=pytest.mark.slow) for suite in (4, 5, 6, 7)))
Seating = Callable[..., list[Member]]


@pytest.fixture(params=["private", "public"])
def private(request: pytest.FixtureRequest) -> bool:
    """Whether handshakes are sent encrypted."""
    return bool(request.param == "private")


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> int:
    """Every suite that both have."""
    return int(request.param)


@pytest.fixture(params=["we-begin", "they-begin"])
def seating(request: pytest.FixtureRequest, peer: Peer) -> Seating:
    """Make clients of both sides in turn: ours first, or theirs."""
    offset = ["we-begin", "they-begin"].index(request.param)

    def seated(n: int, *, suite: int = 1, private: bool = True) -> list[Member]:
        world = World(suite)
        makers: list[Callable[[str], Member]] = [
            lambda name: Ours(world, name, private=private),
            lambda name: Theirs(peer, suite, name, private=private),
        ]
        return [makers[(i + offset) % 2](f"member-{i}") for i in range(n)]

    return seated


def test_life_of_a_group(seating: Seating, suite: int) -> None:
    alice, bob, carol, dora, erin = seating(5, suite=suite)
    table = Table(alice)
    table.add(alice, bob)
    table.talk()
    table.add(bob, carol, dora, inside=False)
    table.talk()
    for member in (alice, bob, carol, dora):
        table.rekey(member)
    table.remove(carol, bob)
    table.talk()
    table.add(dora, erin)
    table.talk()


@pytest.mark.parametrize("inside", [True, False], ids=["tree-inside", "tree-beside"])
def test_welcome(seating: Seating, *, inside: bool, private: bool) -> None:
    alice, bob, carol, dora = seating(4, private=private)
    table = Table(alice)
    table.add(alice, bob, inside=inside)
    table.add(bob, carol, dora, inside=inside)
    table.rekey(dora)
    table.talk()


def test_proposals_by_reference(seating: Seating, *, private: bool) -> None:
    alice, bob, carol, dora, erin = seating(5, private=private)
    table = Table(alice)
    table.add(alice, bob, carol, dora)

    table.propose(bob, Add(erin.key_package()))
    made = table.commit(alice)
    table.seat(made, erin)
    table.talk()

    leaf = table.leaf_of(bob)
    table.propose(dora, Remove(leaf))
    table.commit(carol)
    table.members.remove(bob)
    assert bob.is_out()
    table.agree()
    table.talk()


def test_update_by_reference(seating: Seating, *, private: bool) -> None:
    members = seating(4, private=private)
    table = Table(members[0])
    table.add(members[0], *members[1:])
    updating = next(each for each in members[1:] if isinstance(each, Ours))
    committer = next(each for each in members if isinstance(each, Theirs))
    table.propose(updating, Update())
    table.commit(committer)
    table.agree()
    table.talk()
    table.rekey(updating)
    table.talk()


def test_commits_without_a_path(seating: Seating) -> None:
    alice, bob, carol = seating(3)
    table = Table(alice)
    table.add(alice, bob)
    ours = next(each for each in (alice, bob) if isinstance(each, Ours))
    made = ours.commit(Add(carol.key_package()), path=False)
    ours.merge()
    for other in table.members:
        if other is not ours:
            other.receive(made.message)
    table.seat(made, carol)
    table.talk()
    table.rekey(carol)


def test_pre_shared_key(seating: Seating, *, private: bool) -> None:
    alice, bob, carol = members = seating(3, private=private)
    table = Table(alice)
    table.add(alice, bob)
    for each in members:
        each.add_psk(b"password", b"\x5e" * 32)
    for committer in (alice, bob):
        before = table.agree()
        table.commit(committer, PreSharedKey(b"password"))
        assert table.agree().authenticator != before.authenticator
    made = table.commit(bob, PreSharedKey(b"password"), Add(carol.key_package()))
    table.seat(made, carol)
    table.talk()


def test_two_pre_shared_keys_in_order(seating: Seating) -> None:
    alice, bob = members = seating(2)
    table = Table(alice)
    table.add(alice, bob)
    for each in members:
        each.add_psk(b"one", b"\x01" * 32)
        each.add_psk(b"two", b"\x02" * 32)
    for committer, order in ((alice, (b"one", b"two")), (bob, (b"two", b"one"))):
        table.commit(committer, *map(PreSharedKey, order))
        table.agree()
    table.talk()


@pytest.mark.parametrize("inside", [True, False], ids=["tree-inside", "tree-beside"])
def test_external_join(seating: Seating, suite: int, *, inside: bool) -> None:
    alice, bob, carol, dora = seating(4, suite=suite)
    table = Table(alice)
    table.add(alice, bob)
    table.enter(bob, carol, inside=inside)
    table.talk()
    table.enter(alice, dora, inside=inside)
    table.talk()
    table.rekey(dora)
    table.remove(carol, alice)
    table.talk()


def test_return_by_an_external_commit(seating: Seating) -> None:
    alice, bob, carol = seating(3)
    table = Table(alice)
    table.add(alice, bob, carol)
    table.rekey(bob)
    for returning, host in ((bob, carol), (carol, alice)):
        table.enter(host, returning)
        table.talk()
    table.rekey(alice)


def test_late_and_reordered_messages(seating: Seating) -> None:
    alice, bob, carol = seating(3)
    table = Table(alice)
    table.add(alice, bob, carol)
    words = [b"zero", b"one", b"two", b"three"]
    for speaker, hearer in ((alice, bob), (bob, alice), (bob, carol), (carol, bob)):
        messages = [speaker.encrypt(each) for each in words]
        heard = [hearer.receive(messages[i]) for i in (2, 0, 3)]
        assert heard == [words[2], words[0], words[3]]
    late = [(speaker, speaker.encrypt(b"late")) for speaker in (alice, bob)]
    table.rekey(carol)
    for speaker, message in late:
        assert [each.receive(message) for each in table.members if each is not speaker] == [b"late"] * 2
