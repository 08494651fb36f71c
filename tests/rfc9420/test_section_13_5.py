"""Values that mean nothing: sent by default, never relied on. RFC 9420 §13.5; and registered extensions, §13.4."""

from __future__ import annotations

import pytest

from mls import Add, Extension, Group, GroupContextExtensions, NewLeaf, Settings, Update, messages
from mls.errors import (
    Code,
    InvalidKeyPackage,
    InvalidLeafNode,
    InvalidProposal,
    MalformedMessage,
    Refused,
    UsageError,
)
from mls.extensions import application_id
from mls.messages import GREASE, GroupInfo, KeyPackage, LeafNode, MLSMessage
from mls.registry import ProposalDefinition
from tests.adversarial.insider import assert_refused
from tests.support.crafting import UPDATE, Forger, capable_group, package_of
from tests.support.extending import BADGE, REGISTRY, TOPIC, Poll, Topic, plain_scene
from tests.support.world import World, records
from treekem.wire import decode, encode

LISTS = ("cipher_suites", "extensions", "proposals", "credentials")
SEEDS = range(40)


def grease_of(values: tuple[int, ...]) -> set[int]:
    return set(GREASE).intersection(values)


def types_of(extensions: tuple[Extension, ...]) -> tuple[int, ...]:
    return tuple(each.extension_type for each in extensions)


def package(seed: int, **settings: bool) -> KeyPackage:
    return package_of(World(seed=seed, **settings).client("alice").key_package())


def leaf_of(group: Group) -> LeafNode:
    leaf = group._standing.state.group.leaf_node(group.me.leaf)
    assert leaf is not None
    return leaf


def info_of(group: Group) -> GroupInfo:
    body = decode(MLSMessage, group.group_info()).body
    assert isinstance(body, GroupInfo)
    return body


def assert_greased(leaf: LeafNode) -> None:
    for name in LISTS:
        assert grease_of(getattr(leaf.capabilities, name)), name
    assert not grease_of(leaf.capabilities.versions)
    assert grease_of(types_of(leaf.extensions))
    assert grease_of(types_of(leaf.extensions)) <= grease_of(leaf.capabilities.extensions)


@pytest.mark.rfc("R-13.5-01", "R-7.2-10", "R-10-12", "R-13.5-03", "R-10-09")
def test_a_key_package_holds_values_that_mean_nothing() -> None:
    assert Settings().grease
    for seed in SEEDS:
        offered = package(seed)
        assert_greased(offered.leaf_node)
        assert grease_of(types_of(offered.extensions))
        assert grease_of(types_of(offered.extensions)) <= grease_of(offered.leaf_node.capabilities.extensions)
        assert package(seed) == offered
    drawn = {types_of(package(seed).extensions) for seed in SEEDS}
    lengths = {len(package(seed).extensions[0].extension_data) for seed in SEEDS}
    assert len(drawn) > len(GREASE) // 2
    assert len(lengths) > 1


@pytest.mark.rfc("R-7.2-10", "R-13.5-01")
@pytest.mark.parametrize("name", LISTS)
def test_values_in_capabilities_are_drawn_anew(name: str) -> None:
    drawn = [grease_of(getattr(package(seed).leaf_node.capabilities, name)) for seed in SEEDS]
    assert all(drawn)
    assert len(set[int]().union(*drawn)) > len(GREASE) // 2


@pytest.mark.rfc("R-13.5-01", "R-13.5-02", "R-12.4.3-04")
def test_a_group_info_holds_an_extension_that_means_nothing() -> None:
    world = World()
    (alice,) = world.group(1)
    first, second = info_of(alice).extensions, info_of(alice).extensions
    assert grease_of(types_of(first))
    assert first != second
    drawn = [each for _ in range(20) for each in info_of(alice).extensions if each.extension_type in GREASE]
    assert len({len(each.extension_data) for each in drawn}) > 5
    assert len({each.extension_data for each in drawn}) == len(drawn)
    settings = world.clients["member-0"]._settings
    assert settings.grease
    pending = alice.commit([])
    alice.merge(pending)
    assert grease_of(types_of(info_of(alice).extensions))


@pytest.mark.rfc("R-13.5-01", "R-13.5-04")
def test_a_setting_leaves_them_out() -> None:
    plain = package(0, grease=False)
    assert plain.extensions == plain.leaf_node.extensions == ()
    for name in (*LISTS, "versions"):
        assert not grease_of(getattr(plain.leaf_node.capabilities, name))
    (alice,) = World(grease=False).group(1)
    assert not grease_of(types_of(info_of(alice).extensions))
    assert not grease_of(types_of(leaf_of(alice).extensions))


@pytest.mark.rfc("R-13.5-04", "R-12.1.7-05")
def test_they_stand_where_they_do_no_harm_alone() -> None:
    world = World(registry=REGISTRY)
    alice, bob = world.group(2)
    context = alice._standing.state.group.context
    assert not grease_of(types_of(context.extensions))
    assert context.cipher_suite not in GREASE
    assert not any(grease_of(leaf_of(group).capabilities.versions) for group in (alice, bob))
    with pytest.raises(UsageError):
        ProposalDefinition(GREASE[0], Poll, needs_path=False, external=False)
    world.agree(alice, bob)


@pytest.mark.rfc("R-13.5-06", "R-13.5-07", "R-13.4-07", "R-12.1.7-05")
def test_what_all_list_to_no_purpose_is_not_supported() -> None:
    world = World(private_handshakes=False)
    alice, bob = capable_group(world, 2, extensions=(0x0A0A, 0xF001))
    senseless = GroupContextExtensions((Extension(0x0A0A, b""),))
    with pytest.raises(InvalidLeafNode) as caught:
        alice.commit([senseless])
    assert (caught.value.rule, caught.value.code) == ("R-7.3-16", Code.UNSUPPORTED_CAPABILITY)
    forger = Forger(world, alice)
    message = forger.send(messages.GroupContextExtensions((Extension(0x0A0A, b""),)))
    bob.receive(message.message)
    forged = forger.commit(message, path=forger.path(message))
    assert_refused(bob, forged, InvalidLeafNode, "R-7.3-16", Code.UNSUPPORTED_CAPABILITY)
    with pytest.raises(InvalidLeafNode) as caught:
        capable_group(world, 1, (Extension(0x0A0A, b""),), extensions=(0x0A0A,))
    assert caught.value.rule == "R-7.3-16"
    alice.receive(bob.propose(GroupContextExtensions((Extension(0xF001, b"x"),))).message)
    capable_group(world, 1, (Extension(0xF001, b""),), extensions=(0xF001,))


@pytest.mark.rfc("R-13.5-05", "R-7.2-09", "R-13.4-03", "R-12.4.3-03")
@pytest.mark.parametrize("seed", range(4))
def test_groups_live_with_them(seed: int) -> None:
    world = World(seed=seed, external_commits=True)
    alice, bob, carol = world.group(3)
    for group in (alice, bob, carol):
        assert_greased(leaf_of(group))
    world.deliver(bob.propose(Update()).message, alice, carol)
    world.commit(alice, (), bob, carol)
    outside = world.client("dave").join_external(alice.group_info())
    world.deliver(outside.message, alice, bob, carol)
    dave = outside.accept()
    world.agree(alice, bob, carol, dave)
    assert_greased(leaf_of(dave))
    (erin,) = world.add(dave, world.client("erin"), others=(alice, bob, carol))
    world.agree(alice, bob, carol, dave, erin)


@pytest.mark.rfc("R-13.5-03", "R-13.5-01", "R-7.3-10")
def test_a_changed_leaf_gets_others_of_them() -> None:
    world = World()
    alice, bob = world.group(2)
    name = application_id(b"bob's laptop")
    world.commit(bob, (), alice, leaf=NewLeaf(extensions=(name,)))
    assert_greased(leaf_of(bob))
    assert name in leaf_of(bob).extensions
    plain = package(0, grease=False).leaf_node.capabilities
    world.commit(bob, (), alice, leaf=NewLeaf(capabilities=plain))
    assert_greased(leaf_of(bob))
    assert name in leaf_of(bob).extensions
    assert set(plain.cipher_suites) < set(leaf_of(bob).capabilities.cipher_suites)
    world.agree(alice, bob)


# Extensions that the application registered, §13.4.


@pytest.mark.rfc("R-13.4-08", "R-13.4-05", "R-12.1.7-05")
def test_a_registered_extension_has_its_places_and_its_form() -> None:
    world = World(registry=REGISTRY, private_handshakes=False)
    alice, bob = world.group(2)
    forger = Forger(world, alice)
    stored = records(world.stores["member-1"])
    long = Extension(TOPIC.extension_type, encode(Topic(b"x")) + b"x")
    cases = (
        (BADGE.extension(b"gold"), InvalidProposal, "R-13.4-08", Code.BAD_PROPOSAL),
        (long, MalformedMessage, "R-2.1-08", Code.TRAILING_DATA),
        (TOPIC.extension(Topic(b"rude")), Refused, "", Refused.default_code),
    )
    for extension, error, rule, code in cases:
        with pytest.raises(error):
            alice.commit([GroupContextExtensions((extension,))])
        with pytest.raises(error) as caught:
            bob.receive(forger.send(messages.GroupContextExtensions((extension,))).message)
        assert (type(caught.value), caught.value.rule, caught.value.code) == (error, rule, code)
        assert records(world.stores["member-1"]) == stored
    world.commit(alice, [GroupContextExtensions((TOPIC.extension(Topic(b"plans")),))], bob)
    assert TOPIC.value(bob._standing.state.group.extensions) == Topic(b"plans")


@pytest.mark.rfc("R-13.4-08", "R-13.4-03", "R-7.2-07")
def test_a_badge_travels_in_leaves_and_key_packages() -> None:
    world = World(registry=REGISTRY, private_handshakes=False)
    alice, bob = world.group(2)
    badge = BADGE.extension(b"gold")
    world.commit(alice, (), bob, leaf=NewLeaf(extensions=(badge,)))
    assert BADGE.value(leaf_of(alice).extensions) == b"gold"
    offered = package_of(world.client("carol").key_package(extensions=(badge,)))
    assert BADGE.value(offered.extensions) == b"gold"
    with pytest.raises(InvalidKeyPackage) as caught:
        world.clients["carol"].key_package(extensions=(TOPIC.extension(Topic(b"x")),))
    assert caught.value.rule == "R-13.4-08"
    forger = Forger(world, alice)
    topic = TOPIC.extension(Topic(b"x"))
    message = forger.commit(path=forger.path(extensions=(topic,)))
    assert_refused(bob, message, InvalidLeafNode, "R-13.4-08", Code.BAD_LEAF)
    assert forger.leaf_node(UPDATE).extensions == leaf_of(alice).extensions


@pytest.mark.rfc("R-13.4-06", "R-13-01", "R-7.3-16")
def test_who_does_not_know_an_extension_of_the_group_does_not_come_in() -> None:
    scene = plain_scene()
    alice, _ = scene.able
    used = GroupContextExtensions((TOPIC.extension(Topic(b"plans")),))
    with pytest.raises(InvalidLeafNode) as caught:
        alice.commit([used])
    assert (caught.value.rule, caught.value.leaf) == ("R-7.3-16", 2)
    fresh = World(registry=REGISTRY)
    carol, dave = fresh.group(2, extensions=used.extensions)
    pending = fresh.commit(carol, (), dave)
    assert pending.welcome is None
    (erin,) = fresh.add(carol, fresh.client("erin"), others=(dave,))
    fresh.agree(carol, dave, erin)
    with pytest.raises(InvalidLeafNode) as caught:
        carol.commit([Add(World(seed=1).client("plain").key_package())])
    assert (caught.value.rule, caught.value.code) == ("R-7.3-16", Code.UNSUPPORTED_CAPABILITY)
