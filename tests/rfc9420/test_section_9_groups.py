"""RFC 9420 §9 as groups live it: what is spent by whom, and what of an epoch's ancestors is left anywhere."""

from __future__ import annotations

import pytest

from mls import Add, ApplicationMessage, Group, PreSharedKey
from mls.errors import Code, UnavailableSecret
from mls.messages import ContentType
from tests.adversarial.insider import assert_refused
from tests.support.live import reachable, reachable_bytes
from tests.support.world import World, join, records
from treekem.index import LeafIndex
from treekem.secrets import Secret


def is_stored(group: Group, value: bytes) -> bool:
    return any(value in record for record in records(group._store).values())


@pytest.mark.rfc("R-9.1-01", "B49")
@pytest.mark.parametrize("restarts", [False, True])
def test_no_two_messages_of_a_member_share_a_generation(*, restarts: bool) -> None:
    world = World()
    alice, bob = world.group(2)
    generations = []
    for _ in range(4):
        message = alice.encrypt(b"hello")
        alice = world.restart(alice) if restarts else alice
        event = bob.receive(message)
        assert isinstance(event, ApplicationMessage)
        generations.append(event.generation)
    assert generations == [0, 1, 2, 3]


@pytest.mark.rfc("R-9.2-01", "R-9.2-08")
@pytest.mark.parametrize("restarts", [False, True])
def test_a_message_is_read_once(*, restarts: bool) -> None:
    world = World()
    alice, bob = world.group(2)
    messages = [alice.encrypt(b"hello") for _ in range(3)]
    for message in (messages[2], messages[0]):
        assert isinstance(bob.receive(message), ApplicationMessage)
        bob = world.restart(bob) if restarts else bob
        assert_refused(bob, message, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)
    assert isinstance(bob.receive(messages[1]), ApplicationMessage)


@pytest.mark.rfc("R-9.2-01")
@pytest.mark.parametrize("restarts", [False, True])
def test_the_key_of_a_handshake_is_gone_once_it_counts(*, restarts: bool) -> None:
    world = World(private_handshakes=True)
    alice, bob = world.group(2)
    tree = bob._standing.secret_tree
    proposal, commit = alice.propose(PreSharedKey(b"psk")).message, alice.commit(include=()).message
    keys = [tree.stage(LeafIndex(0), ContentType.COMMIT, generation).key.expose() for generation in (0, 1)]
    for message in (proposal, commit):
        world.deliver(message, bob)
        bob = world.restart(bob) if restarts else bob
    assert reachable_bytes(bob).isdisjoint(keys)
    assert not any(is_stored(bob, key) for key in keys)
    # A ratchet that stood where it was would derive them again.
    assert bob._standing.past[-1].keys.secret_tree.next_generation(LeafIndex(0), ContentType.COMMIT) == 2


@pytest.mark.rfc("R-9.2-02")
def test_an_encryption_secret_is_gone_once_it_has_grown_its_tree() -> None:
    world = World(external_commits=True)
    alice = world.client("alice").create_group()
    bob = join(world.client("bob"), world.commit(alice, [Add(world.clients["bob"].key_package())]))
    entry = world.client("carol").join_external(alice.group_info())
    world.deliver(entry.message, alice, bob)
    carol = entry.accept()
    everybody = [alice, bob, carol]
    assert all(group._standing.state.secrets.encryption.is_wiped for group in everybody)

    pending = alice.commit()
    ahead = alice._standing.candidates[pending.candidate].transition.state
    assert ahead is not None
    root = ahead.secrets.encryption.expose()
    assert is_stored(alice, root)
    alice.merge(pending)
    world.deliver(pending.message, bob, carol)
    # As the root of the secret tree it lives on until the first message needs a leaf.
    world.deliver(carol.encrypt(b"hello"), alice, bob)
    for group in everybody:
        assert group._standing.state.secrets.encryption.is_wiped
        assert root not in reachable_bytes(group)
        assert not is_stored(group, root)


@pytest.mark.rfc("R-9.2-02", "R-9.2-09")
def test_the_secrets_of_an_epoch_are_overwritten_when_it_ends() -> None:
    world = World(max_past_epochs=2)
    groups = world.group(2)
    before = [group._standing.state for group in groups]
    init_secret = before[0].secrets.init_secret.expose()
    assert all(is_stored(group, init_secret) for group in groups)
    world.commit(groups[0], (), groups[1])
    for state, group in zip(before, groups, strict=True):
        assert all(thing.is_wiped for thing in reachable(state.secrets) if isinstance(thing, Secret))
        assert init_secret not in reachable_bytes(group)
        assert not is_stored(group, init_secret)
