"""Keys from outside the group: key packages that are used up, pre-shared keys that all must hold."""

from __future__ import annotations

import pytest

from mls import Add, Client, PreSharedKey, ResumptionPSK, Settings, StagedCommit, TrustOnFirstUse
from mls.errors import (
    Code,
    InvalidLeafNode,
    InvalidTag,
    InvalidWelcome,
    MLSError,
    Refused,
    UnavailableSecret,
    UsageError,
)
from mls.settings import DAY, HOUR
from tests.adversarial.insider import assert_refused
from tests.support.world import ANYONE, World, join, records


def key_packages(world: World, name: str) -> list[str]:
    return [key for key in records(world.stores[name]) if key.startswith("keypackage/")]


def refused_welcome(world: World, name: str, welcome: bytes | None) -> MLSError:
    """Return why a client does not accept a Welcome, once it is certain that nothing came of it."""
    before = records(world.stores[name])
    with pytest.raises(MLSError) as caught:
        world.clients[name].join(welcome or b"")
    assert records(world.stores[name]) == before
    return caught.value


# Key packages.


@pytest.mark.rfc("R-10-13", "R-10-15", "R-10-16", "R-12.4.3.1-03", "R-12.4.3.1-29")
def test_a_key_package_is_used_once() -> None:
    world = World()
    alice = world.group(1)[0]
    other = world.clients["member-0"].create_group()
    carol = world.client("carol")
    package = carol.key_package()
    kept = carol.key_package()
    first, second = alice.commit([Add(package)]), other.commit([Add(package)])
    alice.merge(first)
    other.merge(second)
    both = [carol.join(each.welcome or b"") for each in (first, second)]
    assert len(key_packages(world, "carol")) == 2
    world.agree(alice, both[0].accept())
    assert len(key_packages(world, "carol")) == 1

    before = records(world.stores["carol"])
    with pytest.raises(UsageError) as caught:
        both[1].accept()
    assert (caught.value.code, caught.value.rule) == (Code.KEY_PACKAGE_CONSUMED, "R-10-13")
    with pytest.raises(UsageError) as caught:
        both[0].accept()
    assert caught.value.code is Code.STALE_HANDLE
    assert records(world.stores["carol"]) == before
    error = refused_welcome(world, "carol", second.welcome)
    assert (error.rule, error.code) == ("N-L12", Code.KEY_PACKAGE_CONSUMED)
    assert carol.group(alice.group_id).epoch == 1
    third = world.clients["member-0"].create_group()
    world.agree(third, join(carol, world.commit(third, [Add(kept)])))
    assert key_packages(world, "carol") == []


@pytest.mark.rfc("R-10-13", "R-16.8-02")
def test_a_last_resort_is_used_again() -> None:
    world = World()
    world.group(1)
    founder, carol = world.clients["member-0"], world.client("carol")
    package = carol.key_package(last_resort=True)
    joined = []
    for _ in range(3):
        group = founder.create_group()
        pending = world.commit(group, [Add(package)])
        joined.append((group, join(carol, pending)))
        world.agree(*joined[-1])
    for group, hers in joined:
        world.commit(hers, (), group)
        world.agree(group, world.restart(hers))
    assert len(key_packages(world, "carol")) == 1


@pytest.mark.rfc("R-7.3-08", "R-7.3-09", "B33")
def test_key_packages_expire() -> None:
    world = World()
    alice, bob = world.group(2)
    carol = world.client("carol")
    short, long = carol.key_package(lifetime=DAY), carol.key_package(lifetime=30 * DAY)
    pending = alice.commit([Add(short)])
    proposed = alice.propose(Add(short)).message
    world.now += DAY + 2 * HOUR
    with pytest.raises(InvalidLeafNode) as caught:
        alice.commit([Add(short)], include=[])
    assert (caught.value.code, caught.value.rule) == (Code.LIFETIME_INVALID, "R-7.3-08")
    for message in (pending.message, proposed):
        assert_refused(bob, message, InvalidLeafNode, "R-7.3-09", Code.LIFETIME_INVALID)

    assert carol.forget_expired_key_packages() == 1
    assert carol.forget_expired_key_packages() == 0
    error = refused_welcome(world, "carol", pending.welcome)
    assert error.code is Code.NO_MATCHING_KEY_PACKAGE
    alice.discard(pending)
    added = world.commit(alice, [Add(long)], bob, include=[])
    world.agree(alice, bob, join(carol, added))


@pytest.mark.rfc("R-12.4.3-06", "R-12.4.3.1-03")
def test_a_welcome_is_for_those_it_names_and_for_groups_they_are_not_in() -> None:
    world = World()
    alice, bob = world.group(2)
    carol, dora = world.client("carol"), world.client("dora")
    pending = world.commit(alice, [Add(carol.key_package()), Add(dora.key_package())], bob)
    world.clients["member-1"].key_package()
    for name in ("member-1", "member-0"):
        error = refused_welcome(world, name, pending.welcome)
        assert isinstance(error, InvalidWelcome)
        assert error.code is Code.NO_MATCHING_KEY_PACKAGE
    first, last = carol.join(pending.welcome or b""), dora.join(pending.welcome or b"")
    assert first.inviter == alice.me
    assert first.members == alice.members
    groups = [first.accept(), last.accept()]
    world.agree(alice, bob, *groups)
    world.commit(groups[0], (), alice, bob, groups[1])
    world.agree(alice, bob, *groups)


@pytest.mark.rfc("R-7.2-13")
def test_a_group_is_founded_however_short_lifetimes_are() -> None:
    world = World(max_lifetime=DAY)
    alice = world.group(1)[0]
    bob = world.client("bob")
    with pytest.raises(UsageError) as caught:
        bob.key_package(lifetime=DAY + 1)
    assert caught.value.rule == "R-7.2-13"
    pending = world.commit(alice, [Add(bob.key_package(lifetime=DAY))])
    world.agree(alice, join(bob, pending))


def test_a_pinned_identity_that_shows_another_key_is_refused() -> None:
    world = World()
    strict = TrustOnFirstUse(new_devices=False)
    alice = world.client("alice", policy=strict).create_group()
    bob = world.client("bob")
    world.add(alice, bob)
    impostor = World(seed=99).client("bob")
    with pytest.raises(Refused) as caught:
        alice.commit([Add(impostor.key_package())])
    assert caught.value.code is Code.CREDENTIAL_REFUSED
    lenient = world.client("carol", policy=TrustOnFirstUse()).create_group()
    world.add(lenient, bob)
    pending = lenient.commit([Add(impostor.key_package())])
    assert [member.identity for member in pending.effect.new_devices] == [b"bob"]


# Pre-shared keys.


@pytest.mark.rfc("R-12.3-05", "R-12.4.2-05", "R-12.4.3.1-07", "R-16.5-02")
@pytest.mark.parametrize("path", [True, False])
def test_an_external_key_is_held_by_all(path: bool) -> None:
    world = World()
    alice, bob = world.group(2)
    for name in ("member-0", "member-1"):
        world.clients[name].add_psk(b"shared", b"k" * 32)
    pending = world.commit(alice, [PreSharedKey(b"shared")], bob, path=path)
    assert pending.effect.psks == 1
    world.agree(alice, bob)

    carol = world.client("carol")
    pending = alice.commit([Add(carol.key_package()), PreSharedKey(b"shared")], path=path)
    error = refused_welcome(world, "carol", pending.welcome)
    assert isinstance(error, UnavailableSecret)
    assert (error.code, error.rule) == (Code.PSK_UNKNOWN, "R-12.3-05")
    carol.add_psk(b"shared", b"w" * 32)
    refused_welcome(world, "carol", pending.welcome)
    carol.add_psk(b"shared", b"k" * 32)
    world.clients["member-1"].forget_psk(b"shared")
    assert_refused(bob, pending.message, UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    world.clients["member-1"].add_psk(b"shared", b"x" * 32)
    error = assert_refused(bob, pending.message, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    assert error.authenticated
    world.clients["member-1"].add_psk(b"shared", b"k" * 32)
    world.deliver(pending.message, alice, bob)
    world.agree(alice, bob, join(carol, pending))


@pytest.mark.rfc("R-8.6-01", "R-8.6-02", "R-3.4-01")
def test_a_resumption_key_of_an_epoch_is_kept_a_while() -> None:
    world = World(resumption_psk_epochs=2)
    alice, bob = world.group(2)
    for _ in range(4):
        world.commit(alice, (), bob)
    groups = [alice, bob]
    for back in (0, 1, 2):
        epoch = alice.epoch - back
        world.commit(groups[0], [ResumptionPSK(epoch)], groups[1])
        groups = [world.restart(group) for group in groups]
        world.agree(*groups)
        alice = groups[0]
    with pytest.raises(UnavailableSecret) as caught:
        alice.commit([ResumptionPSK(alice.epoch - 3)])
    assert caught.value.code is Code.PSK_UNKNOWN
    kept = [key for key in records(world.stores["member-0"]) if "/resumption/" in key]
    assert [int(key.rpartition("/")[2]) for key in kept] == [alice.epoch - 2, alice.epoch - 1, alice.epoch]


@pytest.mark.rfc("R-8.6-02")
def test_resumption_keys_end_when_settings_keep_fewer() -> None:
    world = World()
    bob = world.client("bob", resumption_psk_epochs=5)
    alice = world.group(1)[0]
    group = world.add(alice, bob)[0]
    for _ in range(6):
        world.commit(alice, (), group)
    fewer = Client.open(world.stores["bob"], policy=ANYONE, settings=Settings(resumption_psk_epochs=1))
    group = fewer.group(alice.group_id)
    world.commit(alice, (), group)
    kept = [key for key in records(world.stores["bob"]) if "/resumption/" in key]
    assert [int(key.rpartition("/")[2]) for key in kept] == [group.epoch - 1, group.epoch]


@pytest.mark.rfc("R-8.6-01", "R-12.4.2-05")
def test_a_resumption_key_of_another_group_is_held_by_who_was_in_it() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    other = world.clients["member-0"].create_group()
    bobs_other = world.add(other, world.clients["member-1"])[0]
    world.commit(other, [ResumptionPSK(alice.epoch, alice.group_id)], bobs_other)
    world.agree(other, bobs_other)
    pending = alice.commit([ResumptionPSK(other.epoch, other.group_id)])
    assert isinstance(bob.receive(pending.message), StagedCommit)
    assert_refused(carol, pending.message, UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
