"""An observer follows a group by what passes in the clear: it sees what members see, and refuses what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mls import AcceptAnyone, Client, Extension, Group, ProposalReceived, Settings, TrustOnFirstUse, intents
from mls.crypto import SignatureKeyPair
from mls.errors import Code, MLSError, UsageError, WrongEpoch, WrongGroup
from mls.messages import (
    Add,
    ApplicationData,
    BasicCredential,
    Commit,
    CommitSource,
    ContentType,
    ExtensionType,
    ExternalInit,
    ExternalSender,
    ExternalSenderIndex,
    ExternalSenders,
    MemberSender,
    MLSMessage,
    NewMemberProposalSender,
    Proposal,
    ProposalContent,
    ProtocolVersion,
    Remove,
    Sender,
    Update,
)
from mls.observer import ObservedCommit, Opaque, PublicGroup
from tests.adversarial.insider import PUBLIC, public_message, refusal, wrapped
from tests.support import external_scenes
from tests.support.crafting import UPDATE, Forger, crafted_package, package_of
from tests.support.live import reachable
from tests.support.scenes import NO_EXTENSIONS, REINIT, Scene, psk
from tests.support.welcomes import group_info_of
from tests.support.world import NOW, World
from treekem.index import LeafIndex
from treekem.secrets import Secret
from treekem.wire import encode

OPEN: dict[str, Any] = {
    "external_commits": True,
    "resync": True,
    "external_senders": True,
    "new_member_proposals": True,
}


def follow(group: Group, **settings: Any) -> PublicGroup:  # noqa: ANN401  (fields of Settings)
    """Follow a group from its present epoch on, under settings like its members'."""
    chosen = Settings(**{**OPEN, **settings})
    return PublicGroup.follow(group.group_info(), policy=AcceptAnyone(), settings=chosen, clock=lambda: NOW)


def watch(observer: PublicGroup, message: bytes) -> ObservedCommit:
    """Let an observer see a commit that the group took."""
    event = observer.receive(message)
    assert isinstance(event, ObservedCommit)
    observer.merge(event)
    return event


def agree(observer: PublicGroup, *groups: Group) -> None:
    """Assert that an observer knows what members know, as far as it is public, and holds no secret."""
    for group in groups:
        state = group._standing.state.group
        assert observer._view.group.context == state.context
        assert observer._view.group.interim_transcript_hash == state.interim_transcript_hash
        assert observer.group_context == state.encoded_context()
        assert observer.confirmed_transcript_hash == state.context.confirmed_transcript_hash
        assert observer.extensions == state.extensions
        assert (observer.group_id, observer.epoch) == (group.group_id, group.epoch)
        assert (observer.tree_hash, observer.ratchet_tree) == (group.tree_hash, group.ratchet_tree)
        assert observer.members == group.members
        assert [each.ref for each in observer.proposals] == [each.ref for each in group.proposals]
    assert secrets_in(observer) == []


def secrets_in(*roots: object) -> list[object]:
    return [thing for thing in reachable(*roots) if isinstance(thing, Secret)]


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


def said_outside(group: Group, world: World, proposal: Proposal, sender: Sender, keys: SignatureKeyPair) -> bytes:
    """Return a proposal of someone who is no member."""
    forger = Forger(world, group)
    framed = forger.framed(ProposalContent(proposal), sender=sender)
    return forger.public(forger.signed(framed, PUBLIC, key=keys.private))


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


@pytest.mark.rfc("R-12.1.8-01", "R-12.1.8-07", "R-12.1.7-01")
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


@pytest.mark.rfc("R-12.4.3.1-10")
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
    agree(observer, alice)
    world.commit(bob, (), alice)
    observer.refresh(bob.group_info(ratchet_tree=False), bob.ratchet_tree)
    agree(observer, alice)


# What is refused.


def assert_refused_alike(observer: PublicGroup, member: Group, message: bytes) -> MLSError:
    """Assert that observer and member refuse a message by the same rule, and that nothing came of it."""
    before = observer._view
    with pytest.raises(MLSError) as caught:
        observer.receive(message)
    assert observer._view is before
    seen = caught.value
    refused = refusal(member, message)
    assert type(seen) is type(refused)
    for name in ("rule", "code", "authenticated", "leaf", "index"):
        assert getattr(seen, name) == getattr(refused, name), (seen, refused)
    return seen


@pytest.fixture
def scene() -> Scene:
    world = World(private_handshakes=False, **OPEN)
    groups = world.group(4)
    return Scene(world, groups, Forger(world, groups[1]))


def bad_lists(scene: Scene) -> list[Sequence[Proposal]]:
    forger = scene.forger
    twice = scene.world.client("twice")
    adds = [Add(package_of(twice.key_package())) for _ in range(2)]
    bad_signature = crafted_package(scene.world.client("damaged"), leaf_signature=bytes(64))
    return [
        (Update(forger.leaf_node(UPDATE)),),
        (Remove(LeafIndex(1)),),
        (Remove(LeafIndex(9)),),
        (Remove(LeafIndex(2)), Remove(LeafIndex(2))),
        (NO_EXTENSIONS, NO_EXTENSIONS),
        (REINIT, NO_EXTENSIONS),
        (ExternalInit(bytes(32)),),
        (psk(nonce=bytes(31)),),
        (psk(), psk()),
        adds,
        (Add(package_of(scene.world.clients["member-2"].key_package())),),
        (scene.add(), Add(bad_signature)),
    ]


@pytest.mark.rfc("R-12.2-01", "R-12.2-03", "R-12.2-05", "R-12.4.2-04", "R-12.4.2-05")
def test_bad_lists_are_refused_as_members_refuse_them(scene: Scene) -> None:
    observer, forger = follow(scene.groups[0]), scene.forger
    path, rules = forger.path(), set()
    for proposals in bad_lists(scene):
        refused = assert_refused_alike(observer, scene.groups[0], forger.commit(*proposals, path=path))
        assert (refused.authenticated, refused.rule) != (False, "")
        rules.add(refused.rule)
    assert len(rules) >= 10
    watch(observer, forger.honest(scene.add(), Remove(LeafIndex(2))))


@pytest.mark.rfc("R-12.4-08", "R-12.4-11", "R-12.4.2-09", "R-12.4.2-10", "R-7.6-02")
def test_bad_paths_are_refused_as_members_refuse_them(scene: Scene) -> None:
    observer, forger = follow(scene.groups[0]), scene.forger
    path = forger.path()
    nodes, own_key = path.nodes, forger.own_leaf().encryption_key
    repeated = replace(nodes[1], encryption_key=nodes[0].encryption_key)
    taken = replace(nodes[1], encryption_key=own_key)
    bad = [
        forger.commit(Remove(LeafIndex(2))),
        forger.commit(bytes(32), path=path),
        forger.commit(path=replace(path, nodes=nodes[:1])),
        forger.commit(path=replace(path, nodes=(*nodes, nodes[1]))),
        forger.commit(path=replace(path, nodes=(replace(nodes[0], encrypted_path_secret=()), nodes[1]))),
        forger.commit(path=replace(path, nodes=(nodes[0], repeated))),
        forger.commit(path=replace(path, nodes=(nodes[0], taken))),
        forger.commit(path=forger.path(source=UPDATE)),
        forger.commit(path=forger.path(source=CommitSource(bytes(32)))),
        forger.commit(path=forger.path(encryption_key=own_key)),
        forger.commit(path=forger.path(signed=False)),
    ]
    rules = {assert_refused_alike(observer, scene.groups[0], message).rule for message in bad}
    assert {"R-12.4-08", "R-12.4-11", "R-7.5-08", "R-12.4.2-09", "R-12.4.2-10"} <= rules
    watch(observer, forger.honest())


@pytest.mark.rfc("R-6.1-07", "R-6.1-13", "R-6-10", "R-6-11", "R-12.1-01")
def test_bad_messages_are_refused_as_members_refuse_them(scene: Scene) -> None:
    observer, forger, world = follow(scene.groups[0]), scene.forger, scene.world
    signed, remove = public_message(forger.honest()), ProposalContent(Remove(LeafIndex(2)))
    keys = forger.new_signature_keys()
    unsigned = replace(signed, auth=replace(signed.auth, signature=bytes(64)))
    # Of what is wrong about these a member sees the membership tag first, so it is made to fit.
    content = forger.read(wrapped(signed))
    bad = [
        forger.public(replace(content, auth=unsigned.auth)),
        forger.say(remove, group_id=b"another"),
        forger.say(remove, epoch=0),
        forger.say(remove, epoch=2),
        forger.say(remove, sender=MemberSender(LeafIndex(7))),
        forger.say(ApplicationData(b"hello")),
        forger.propose(Remove(LeafIndex(9))),
        forger.propose(ExternalInit(bytes(32))),
        said_outside(scene.groups[0], world, scene.add(), ExternalSenderIndex(0), keys),
        said_outside(scene.groups[0], world, remove.proposal, NewMemberProposalSender(), keys),
        wrapped(signed)[:-1],
        wrapped(signed) + b"\0",
        b"",
        scene.groups[0].group_info(),
        world.client("somebody").key_package(),
    ]
    rules = {assert_refused_alike(observer, scene.groups[0], message).rule for message in bad}
    assert {"R-6.1-13", "R-6-10", "R-6-11", "R-6.1-07", "R-6-01", "R-12.1.3-02"} <= rules
    agree(observer, scene.groups[0])


@pytest.mark.rfc("R-12.2-17", "R-12.2-18", "R-12.2-20", "R-12.4.3.2-03")
def test_bad_external_commits_are_refused_as_members_refuse_them(scene: Scene) -> None:
    alice = scene.groups[0]
    observer, outside = follow(alice), external_scenes.Scene(scene.world, scene.groups)
    outsider = outside.outsider()
    message = outsider.message()
    commit = public_message(message).content.content
    assert isinstance(commit, Commit)
    bad = [
        outsider.changed(message, proposals=()),
        outsider.changed(message, path=None),
        outsider.changed(message, *(entry.proposal for entry in commit.proposals), scene.add()),  # type: ignore[union-attr]  # all stand in the commit
        outsider.changed(message, keys=scene.forger.new_signature_keys()),
        external_scenes.replaced_leaf(outsider, message, 0),
        external_scenes.replaced_leaf(outsider, message, 4, source=UPDATE),
        external_scenes.replaced_leaf(outsider, message, 4, signature_key=scene.forger.own_leaf().signature_key),
    ]
    for forged in bad:
        assert_refused_alike(observer, alice, forged)
    watch(observer, message)


@pytest.mark.rfc("S-external_commits", "S-resync", "S-external_senders", "S-accept_public_handshakes", "R-12.1.8-02")
@pytest.mark.parametrize("setting", [*OPEN, "accept_public_handshakes"])
def test_what_settings_shut_out_is_not_heard(setting: str) -> None:
    world = World(private_handshakes=False, **OPEN)
    alice, bob = world.group(2)
    outside = external_scenes.Scene(world, [alice, bob])
    outsider, returning = outside.outsider(), outside.returning(1)
    keys = Forger(world, alice).new_signature_keys()
    senders = ExternalSenders((ExternalSender(keys.public, BasicCredential(b"server")),))
    extension = Extension(ExtensionType.EXTERNAL_SENDERS, encode(senders))
    world.commit(alice, [intents.GroupContextExtensions((extension,))], bob)
    outsider, returning = (replace(each, info=group_info_of(alice)) for each in (outsider, returning))
    said: dict[str, Callable[[], bytes]] = {
        "external_commits": outsider.message,
        "resync": lambda: returning.message(replaces=1),
        "external_senders": lambda: said_outside(alice, world, Remove(LeafIndex(1)), ExternalSenderIndex(0), keys),
        "new_member_proposals": lambda: said_outside(
            alice,
            world,
            Add(package_of(outsider.client.key_package())),
            NewMemberProposalSender(),
            outsider.keys,
        ),
        "accept_public_handshakes": lambda: bob.propose(intents.Update()).message,
    }
    message = said[setting]()
    with pytest.raises(MLSError) as caught:
        follow(alice, **{setting: False}).receive(message)
    assert caught.value.rule in {f"S-{setting}", "R-12.1.8-02"}
    follow(alice).receive(message)


# What an observer cannot see.


@pytest.mark.rfc("R-6.2-03", "R-6.1-15", "R-12.4.2-16")
def test_tags_are_taken_on_faith(scene: Scene) -> None:
    observer, forger, alice = follow(scene.groups[0]), scene.forger, scene.groups[0]
    untagged = replace(public_message(forger.honest()), membership_tag=bytes(32))
    unconfirmed = forger.commit(path=forger.path())
    for message, rule in ((wrapped(untagged), "R-6.2-03"), (unconfirmed, "R-6.1-15")):
        assert isinstance(observer.receive(message), ObservedCommit)
        assert refusal(alice, message).rule == rule
    watch(observer, unconfirmed)
    alice.merge(alice.commit())
    with pytest.raises(MLSError) as caught:
        observer.receive(forger.commit(path=forger.path()))
    assert caught.value.rule == "R-6-11"


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
    with pytest.raises(UsageError):
        PublicGroup.follow(bob.encrypt(b"hello"), policy=AcceptAnyone(), clock=lambda: NOW)
    observer = PublicGroup.follow(bare, bob.ratchet_tree, policy=AcceptAnyone(), clock=lambda: NOW)
    agree(observer, alice)
    assert repr(observer) == f"<PublicGroup {alice.group_id.hex()}, epoch 1>"


def test_the_walk_over_memory_would_find_a_secret() -> None:
    world = World(private_handshakes=False)
    (alice,) = world.group(1)
    assert secrets_in(alice) != []
    observer = follow(alice)
    assert secrets_in(observer, observer.receive(alice.commit().message)) == []
