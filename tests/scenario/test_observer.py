"""An observer follows a group by what passes in the clear: it sees what members see, and refuses what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import AcceptAnyone, Client, Extension, Group, ProposalReceived, Settings, TrustOnFirstUse, intents
from mls.errors import Code, InvalidGroupInfo, MLSError, UsageError, WrongEpoch, WrongGroup
from mls.messages import (
    Add,
    BasicCredential,
    ContentType,
    ExtensionType,
    ExternalSender,
    ExternalSenderIndex,
    ExternalSenders,
    MLSMessage,
    NewMemberProposalSender,
    ProtocolVersion,
    Remove,
)
from mls.observer import ObservedCommit, Opaque, PublicGroup
from tests.support import external_scenes
from tests.support.crafting import Forger, crafted_package, package_of
from tests.support.observing import OPEN, agree, assert_refused_alike, follow, said_outside, secrets_in, watch
from tests.support.welcomes import group_info_of
from tests.support.world import NOW, World
from treekem.index import LeafIndex
from treekem.wire import encode


class Story:
    """Members of a group, and an observer that sees every message of theirs."""

    def __init__(self, suite: int = 1) -> None:
        self.world = World(suite, private_handshakes=False, **OPEN)
        self.groups = self.world.group(3)
        self.observer = follow(self.groups[0])

    def propose(self, member: int, intent: intents.Intent) -> None:
        self.hear(self.groups[member].propose(intent).message, self.groups[member])

    def hear(self, proposal: bytes, sender: Group | None = None) -> None:
        self.world.deliver(proposal, *(group for group in self.groups if group is not sender))
        self.observer.receive(proposal)
        agree(self.observer, *self.groups)

    def commit(self, member: int, *wanted: intents.Intent, joins: Client | None = None, **options: bool) -> None:
        committer = self.groups[member]
        others = [group for group in self.groups if group is not committer]
        pending = self.world.commit(committer, wanted, *others, **options)
        seen = watch(self.observer, pending.message)
        assert replace(seen.effect, new_devices=()) == replace(pending.effect, new_devices=())
        assert secrets_in(seen) == []
        self.groups = [group for group in self.groups if not group.is_retired]
        if joins is not None:
            assert pending.welcome is not None
            self.groups.append(joins.join(pending.welcome).accept())
        agree(self.observer, *self.groups)

    def enter(self, outsider: external_scenes.Outsider, replaces: int | None = None) -> None:
        joined = outsider.join(replaces=replaces)
        message = encode(joined.message)
        self.groups = [group for group in self.groups if group.me.leaf != replaces]
        self.world.deliver(message, *self.groups)
        seen = watch(self.observer, message)
        assert seen.effect.external
        assert [member.identity for member in seen.effect.added] == [outsider.name]
        self.groups.append(outsider.enter(joined))
        agree(self.observer, *self.groups)


# Following.


@pytest.mark.rfc("R-12.4.2-04", "R-12.4.2-05", "R-8.2-01", "R-12.3-01")
@pytest.mark.parametrize("suite", [1, 2, 5])
def test_an_observer_sees_every_epoch_as_its_members_do(suite: int) -> None:
    story = Story(suite)
    agree(story.observer, *story.groups)
    dave = story.world.client("dave")
    story.commit(0, intents.Add(dave.key_package()), joins=dave)
    story.propose(1, intents.Update())
    story.propose(2, intents.Remove(3))
    story.commit(0)
    erin, frank = story.world.client("erin"), story.world.client("frank")
    story.propose(0, intents.Add(erin.key_package()))
    story.commit(2, joins=erin, path=False)
    story.commit(1, intents.Remove(3), intents.Add(frank.key_package()), joins=frank)
    for client in story.world.clients.values():
        client.add_psk(b"psk", b"secret")
    story.commit(3, intents.PreSharedKey(b"psk"), path=False)
    story.commit(2)


@pytest.mark.rfc("R-12.1.8-01", "R-12.1.8-07", "R-12.1.7-01", "R-16.11-01")
def test_an_observer_hears_those_outside() -> None:
    story = Story()
    world, alice = story.world, story.groups[0]
    keys = Forger(world, alice).new_signature_keys()
    senders = ExternalSenders((ExternalSender(keys.public, BasicCredential(b"server")),))
    extension = Extension(ExtensionType.EXTERNAL_SENDERS, encode(senders))
    story.commit(0, intents.GroupContextExtensions((extension,)))
    assert story.observer.extensions == (extension,)
    story.hear(said_outside(alice, world, Remove(LeafIndex(2)), ExternalSenderIndex(0), keys))
    newcomer = world.client("newcomer")
    add = Add(package_of(newcomer.key_package()))
    story.hear(said_outside(alice, world, add, NewMemberProposalSender(), newcomer._signature_keys))
    assert len(story.observer.proposals) == 2
    story.commit(1, joins=newcomer)
    assert [member.identity for member in story.observer.members] == [b"member-0", b"member-1", b"newcomer"]


@pytest.mark.rfc("R-12.4.3.2-01", "R-12.4.3.2-06")
def test_an_observer_sees_who_joins_from_outside_and_who_returns() -> None:
    story = Story()
    story.enter(external_scenes.Scene(story.world, story.groups).outsider())
    story.enter(external_scenes.Scene(story.world, story.groups).returning(2), replaces=2)
    story.commit(0)


@pytest.mark.rfc("R-14-05", "R-12.4.2-18")
def test_a_commit_is_merged_in_its_own_epoch_and_none_after_a_reinit() -> None:
    story = Story()
    alice, bob = story.groups[:2]
    one, other = alice.commit(), bob.commit([intents.ReInit(b"next", 1)])
    seen, loser = story.observer.receive(other.message), story.observer.receive(one.message)
    assert isinstance(seen, ObservedCommit)
    assert isinstance(loser, ObservedCommit)
    assert story.observer.epoch == 1
    story.observer.merge(seen)
    with pytest.raises(UsageError) as caught:
        story.observer.merge(loser)
    assert (caught.value.rule, caught.value.code) == ("R-14-05", Code.STALE_HANDLE)
    story.world.deliver(other.message, alice)
    bob.merge(other)
    agree(story.observer, alice, bob)
    assert story.observer.is_frozen
    assert_refused_alike(story.observer, bob, Forger(story.world, alice).commit())


def test_keys_that_were_shown_are_known_to_the_policy() -> None:
    world, pinned = World(private_handshakes=False), TrustOnFirstUse(new_devices=False)
    alice = world.client("alice", policy=pinned).create_group()
    (bob,) = world.add(alice, world.client("bob", policy=pinned))
    observer = PublicGroup.follow(alice.group_info(), policy=pinned, clock=lambda: NOW)
    impostor = crafted_package(world.client("mallory"), leaf={"credential": BasicCredential(b"bob")})
    forger = Forger(world, alice)
    refused = assert_refused_alike(observer, bob, forger.send(Add(impostor)).message)
    assert refused.rule == "S-new_devices"
    fresh = forger.send(Add(package_of(world.client("carol").key_package())))
    assert isinstance(observer.receive(fresh.message), ProposalReceived)


# What passes in private.


@pytest.mark.rfc("R-6-11", "R-6.3-01")
def test_of_private_messages_the_header_is_seen() -> None:
    world = World(private_handshakes=True)
    alice, bob = world.group(2)
    observer = follow(alice)
    before = observer._view
    hello, proposal = alice.encrypt(b"hello"), bob.propose(intents.Update())
    assert observer.receive(hello) == Opaque(ContentType.APPLICATION, 1)
    assert observer.receive(proposal.message) == Opaque(ContentType.PROPOSAL, 1)
    world.deliver(proposal.message, alice)
    pending = world.commit(alice, (), bob)
    assert observer.receive(pending.message) == Opaque(ContentType.COMMIT, 1)
    assert observer._view is before
    for later in (alice.encrypt(b"later"), alice.propose(intents.Update()).message):
        with pytest.raises(WrongEpoch) as caught:
            observer.receive(later)
        assert (caught.value.rule, caught.value.current, caught.value.received) == ("R-6-11", 1, 2)
    observer.refresh(alice.group_info())
    agree(observer, bob)
    assert observer.receive(hello) == Opaque(ContentType.APPLICATION, 1)
    with pytest.raises(WrongEpoch):
        observer.receive(proposal.message)


@pytest.mark.rfc("R-12.4-11")
def test_a_commit_of_what_was_proposed_in_private_is_not_followed() -> None:
    world = World(private_handshakes=False)
    alice, bob = world.group(2, private_handshakes=False)
    carol = world.client("carol", private_handshakes=True)
    carols = world.add(alice, carol, others=[bob])[0]
    observer = follow(alice)
    proposal = carols.propose(intents.Update())
    assert observer.receive(proposal.message) == Opaque(ContentType.PROPOSAL, 2)
    world.deliver(proposal.message, alice, bob)
    pending = alice.commit()
    with pytest.raises(MLSError) as caught:
        observer.receive(pending.message)
    assert (caught.value.rule, caught.value.code) == ("R-12.4-11", Code.UNKNOWN_PROPOSAL_REF)
    alice.merge(pending)
    observer.refresh(alice.group_info())
    agree(observer, alice)


@pytest.mark.rfc("R-12.4.3.1-10", "R-12.4.3.1-12")
def test_a_refresh_is_of_the_same_group_and_of_a_later_epoch() -> None:
    world = World(private_handshakes=False)
    alice, bob = world.group(2)
    stranger, early = world.group(1)[0], alice.group_info()
    world.commit(alice, (), bob)
    observer = follow(alice)
    for info in (early, alice.group_info()):
        with pytest.raises(WrongEpoch):
            observer.refresh(info)
    with pytest.raises(WrongGroup):
        observer.refresh(stranger.group_info())
    elsewhere = World(2, seed=1)
    other = elsewhere.client("alice").create_group(alice.group_id)
    for _ in range(3):
        elsewhere.commit(other)
    with pytest.raises(InvalidGroupInfo) as caught:
        observer.refresh(other.group_info())
    assert caught.value.rule == "R-12.4.3.1-12"
    agree(observer, alice)
    world.commit(bob, (), alice)
    observer.refresh(bob.group_info(ratchet_tree=False), bob.ratchet_tree)
    agree(observer, alice)


# The GroupInfo.


@pytest.mark.rfc("R-12.4.3-07", "R-12.4.3.1-10", "R-12.4.3.1-11", "R-12.4.3.1-13")
def test_a_group_is_followed_from_a_good_group_info_only() -> None:
    world = World()
    alice, bob = world.group(2)
    info = group_info_of(alice)
    bare = alice.group_info(ratchet_tree=False)
    other_tree = world.group(1)[0].ratchet_tree

    def rule_of(message: bytes, tree: bytes | None = None) -> str | None:
        with pytest.raises(MLSError) as caught:
            PublicGroup.follow(message, tree, policy=AcceptAnyone(), clock=lambda: NOW)
        return caught.value.rule

    def told(**fields: object) -> bytes:
        return encode(MLSMessage(ProtocolVersion.MLS10, replace(info, **fields)))  # type: ignore[arg-type]  # fields of a GroupInfo

    assert rule_of(told(signature=bytes(64))) == "R-12.4.3.1-11"
    assert rule_of(told(confirmation_tag=bytes(32))) == "R-12.4.3.1-11"
    assert rule_of(told(signer=LeafIndex(1))) == "R-12.4.3.1-11"
    assert rule_of(told(signer=LeafIndex(5))) == "R-12.4.3-07"
    assert rule_of(bare) == "R-12.4.3.1-10"
    assert rule_of(bare, other_tree) == "R-12.4.3.1-13"
    assert rule_of(bare, bytes(Settings().max_welcome_bytes + 1)) == "S-max_welcome_bytes"
    assert rule_of(bare, bob.ratchet_tree[:-1]) is not None
    with pytest.raises(InvalidGroupInfo) as caught:
        PublicGroup.follow(bob.encrypt(b"hello"), policy=AcceptAnyone(), clock=lambda: NOW)
    assert caught.value.code == Code.WRONG_WIRE_FORMAT
    observer = PublicGroup.follow(bare, bob.ratchet_tree, policy=AcceptAnyone(), clock=lambda: NOW)
    agree(observer, alice)
    with pytest.raises(UsageError):
        observer.receive("text")  # type: ignore[arg-type]  # the wrong type is what is tested
    assert repr(observer) == f"<PublicGroup {alice.group_id.hex()}, epoch 1>"


def test_the_walk_over_memory_would_find_a_secret() -> None:
    world = World(private_handshakes=False)
    (alice,) = world.group(1)
    assert secrets_in(alice) != []
    observer = follow(alice)
    assert secrets_in(observer, observer.receive(alice.commit().message)) == []
