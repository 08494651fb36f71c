"""Leaf nodes: their lifetimes, and the keys that no two of them share. RFC 9420 §7.2, §7.3, §16.7."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import Extension, Settings, intents
from mls.epoch.leaves import Demands, verify_leaf_node
from mls.errors import (
    Code,
    InvalidLeafNode,
    InvalidProposalList,
)
from mls.events import StagedCommit
from mls.messages import (
    Add,
    BasicCredential,
    GroupContextExtensions,
    KeyPackageSource,
    LeafPosition,
    Lifetime,
    Remove,
    Update,
)
from mls.settings import DAY, HOUR
from tests.adversarial.insider import assert_refused
from tests.support.crafting import (
    UNKNOWN_EXTENSION,
    UNKNOWN_PROPOSAL,
    UPDATE,
    Forger,
    assert_both_refuse,
    capable_group,
    crafted_package,
    package_of,
)
from tests.support.leaf_scenes import UNSUPPORTED, LeafScene, scene_of
from tests.support.world import NOW, World
from treekem.index import LeafIndex


@pytest.fixture
def scene() -> LeafScene:
    world = World()
    return scene_of(world.group(3), world)


@pytest.fixture
def capable() -> LeafScene:
    """A group whose members support one extension and one proposal type more than the engine does."""
    world = World()
    return scene_of(capable_group(world, 3, extensions=(UNKNOWN_EXTENSION,), proposals=(UNKNOWN_PROPOSAL,)), world)


# Lifetimes.


@pytest.mark.rfc("R-7.2-13", "R-7.2-14", "R-7.3-09", "N-L05")
@pytest.mark.parametrize(
    ("not_before", "not_after", "rule"),
    [
        (NOW + 5, NOW + 4, "R-7.2-14"),
        (NOW, NOW + 90 * DAY + HOUR + 1, "R-7.2-13"),
        (0, 2**64 - 1, "R-7.2-13"),
        (NOW - DAY, NOW - HOUR - 1, "R-7.3-09"),
        (NOW + HOUR + 1, NOW + DAY, "R-7.3-09"),
    ],
)
def test_lifetimes_that_are_refused(scene: LeafScene, not_before: int, not_after: int, rule: str) -> None:
    source = KeyPackageSource(Lifetime(not_before, not_after))
    package = crafted_package(scene.outsider, leaf={"source": source})
    message = scene.forger.commit(Add(package), path=scene.forger.path())
    assert_refused(scene.receivers, message, InvalidLeafNode, rule, Code.LIFETIME_INVALID)


@pytest.mark.rfc("R-7.2-13", "R-7.3-09", "R-7.2-15")
@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [(NOW, NOW), (NOW - HOUR, NOW - HOUR), (NOW + HOUR, NOW + HOUR), (NOW - HOUR, NOW + 90 * DAY)],
)
def test_lifetimes_at_the_edge_are_accepted(scene: LeafScene, not_before: int, not_after: int) -> None:
    source = KeyPackageSource(Lifetime(not_before, not_after))
    package = crafted_package(scene.outsider, leaf={"source": source})
    verify_leaf_node(
        package.leaf_node,
        LeafPosition(b"", LeafIndex(0)),
        Demands.of(scene.forger.context, scene.forger.suite),
        scene.forger.env,
    )


@pytest.mark.rfc("R-7.3-09", "S-check_peer_lifetimes")
def test_whether_the_clock_matters_for_others_is_a_setting() -> None:
    for checked in (True, False):
        world = World()
        alice, bob = world.group(2)
        bob_group = world.client("witness", check_peer_lifetimes=checked)
        (witness,) = world.add(alice, bob_group, others=[bob])
        package = package_of(world.client("carol").key_package())
        message = Forger(world, alice).honest(Add(package))
        world.now += 29 * DAY
        if checked:
            assert_refused(witness, message, InvalidLeafNode, "R-7.3-09", Code.LIFETIME_INVALID)
        else:
            assert isinstance(witness.receive(message), StagedCommit)


@pytest.mark.rfc("R-7.3-08")
def test_an_expired_leaf_is_not_sent_by_us_whatever_the_setting() -> None:
    world = World(check_peer_lifetimes=False)
    alice, _ = world.group(2)
    package = world.client("carol").key_package()
    alice.commit([intents.Add(package)])
    world.now += 28 * DAY
    alice.commit([intents.Add(package)])
    world.now += 1
    for attempt in (alice.propose, lambda intent: alice.commit([intent])):
        with pytest.raises(InvalidLeafNode) as caught:
            attempt(intents.Add(package))
        assert (caught.value.rule, caught.value.code) == ("R-7.3-08", Code.LIFETIME_INVALID)


@pytest.mark.rfc("R-7.2-13", "R-7.3-09")
def test_members_whose_lifetime_is_over_stay_members() -> None:
    world = World()
    alice, bob = world.group(2)
    world.now += 365 * DAY
    carol = world.client("carol")
    joined = world.add(alice, carol, others=[bob])
    world.agree(alice, bob, *joined)
    # Unless one asks for more.
    strict = world.client("dave", check_joined_lifetimes=True)
    pending = alice.commit([intents.Add(strict.key_package())])
    with pytest.raises(InvalidLeafNode) as caught:
        strict.receive(pending.welcome or b"")
    assert (caught.value.rule, caught.value.code) == ("R-7.3-09", Code.LIFETIME_INVALID)
    assert Settings().check_joined_lifetimes is False


# Keys that must differ.


@pytest.mark.rfc("R-7.3-13", "R-12.2-15", "N-L08")
def test_a_signature_key_belongs_to_one_member(scene: LeafScene) -> None:
    alice = scene.groups[0]
    stolen = Forger(scene.world, alice).content().signature_keys
    refused = (InvalidLeafNode, "R-7.3-13", Code.DUPLICATE_KEY)
    theirs = crafted_package(scene.outsider, signature_keys=stolen, leaf={"credential": BasicCredential(b"outsider")})
    assert_both_refuse(scene.forger, scene.receivers, (Add(theirs),), refused)
    # A member that knows another's key, and signs its own next leaf with it.
    order = scene.forger.content(signature_keys=stolen)
    with pytest.raises(InvalidLeafNode) as caught:
        scene.forger.order(leaf=order)
    assert (caught.value.rule, caught.value.code) == ("R-7.3-13", Code.DUPLICATE_KEY)
    assert_refused(scene.groups[2], _path_by(scene, stolen.public), *refused)


def _path_by(scene: LeafScene, signature_key: bytes) -> bytes:
    """Return a commit whose path brings a leaf that is signed by the first member."""
    first, forger = Forger(scene.world, scene.groups[0]), scene.forger
    path = forger.path()
    position = LeafPosition(forger.group.group_id, forger.leaf)
    own = path.leaf_node
    leaf = first.leaf_node(
        own.source,
        position=position,
        encryption_key=own.encryption_key,
        signature_key=signature_key,
        credential=own.credential,
    )
    return forger.commit(path=replace(path, leaf_node=leaf))


@pytest.mark.rfc("R-7.3-14", "R-12.2-15", "N-L08")
def test_an_encryption_key_belongs_to_one_leaf(scene: LeafScene) -> None:
    taken = Forger(scene.world, scene.groups[0]).own_leaf().encryption_key
    twin = taken[:-1] + bytes([taken[-1] | 0x80])
    refused = (InvalidLeafNode, "R-7.3-14", Code.DUPLICATE_KEY)
    for key in (taken, twin):
        add = Add(crafted_package(scene.outsider, leaf={"encryption_key": key}))
        assert_both_refuse(scene.forger, scene.receivers, (add,), refused)
    first = package_of(scene.outsider.key_package())
    second = crafted_package(scene.world.client("another"), leaf={"encryption_key": first.leaf_node.encryption_key})
    assert_both_refuse(scene.forger, scene.receivers, (Add(first), Add(second)), refused)

    update = scene.forger.send(Update(scene.forger.leaf_node(UPDATE, encryption_key=taken)))
    scene.world.deliver(update.message, *scene.receivers)
    committer = Forger(scene.world, scene.groups[2])
    assert_both_refuse(committer, scene.groups[0], (update,), refused)


@pytest.mark.rfc("R-16.7-01", "N-L08")
def test_the_key_of_a_parent_is_no_leafs(scene: LeafScene) -> None:
    alice, _, carol = scene.groups
    parent_key = next(node.encryption_key for _, node in alice._standing.state.group.tree.parents())
    refused = (InvalidLeafNode, "R-16.7-01", Code.DUPLICATE_KEY)
    add = Add(crafted_package(scene.outsider, leaf={"encryption_key": parent_key}))
    committer = Forger(scene.world, alice)
    assert_both_refuse(committer, carol, (add,), refused)
    fresh = crafted_package(scene.outsider)
    assert isinstance(carol.receive(committer.honest(Add(fresh))), StagedCommit)


@pytest.mark.rfc("R-16.7-01", "N-L08")
def test_no_key_both_signs_and_encrypts(scene: LeafScene) -> None:
    signing = Forger(scene.world, scene.groups[0]).own_leaf().signature_key
    refused = (InvalidLeafNode, "R-16.7-01", Code.DUPLICATE_KEY)
    add = Add(crafted_package(scene.outsider, leaf={"encryption_key": signing}))
    assert_both_refuse(scene.forger, scene.receivers, (add,), refused)


@pytest.mark.rfc("R-12.2-22", "R-12.2-08", "R-12.3-04", "N-P04")
def test_the_keys_of_a_removed_member_may_return_with_its_removal(scene: LeafScene) -> None:
    alice, bob, carol = scene.groups
    keys = Forger(scene.world, carol).own_leaf()
    returning = crafted_package(scene.world.clients["member-2"], leaf={"encryption_key": keys.encryption_key})
    forger = Forger(scene.world, alice)
    message = forger.honest(Remove(LeafIndex(2)), Add(returning))
    staged = bob.receive(message)
    assert isinstance(staged, StagedCommit)
    assert [member.leaf for member in (*staged.effect.removed, *staged.effect.added)] == [2, 2]
    refused = (InvalidProposalList, "R-12.2-08", Code.BAD_PROPOSAL_LIST)
    assert_both_refuse(forger, bob, (Add(returning),), refused)


@pytest.mark.rfc("R-7.3-02", "R-7.3-15")
def test_requirements_bind_only_while_they_hold(capable: LeafScene) -> None:
    alice, bob, carol = capable.groups
    in_use = GroupContextExtensions((Extension(UNKNOWN_EXTENSION, b""),))
    forger = Forger(capable.world, alice)
    weak = Add(package_of(capable.outsider.key_package()))
    assert_both_refuse(forger, [bob, carol], (in_use, weak), (InvalidLeafNode, "R-7.3-16", UNSUPPORTED))
    assert isinstance(bob.receive(forger.honest(weak)), StagedCommit)
