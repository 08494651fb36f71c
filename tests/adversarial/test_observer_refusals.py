"""What an observer of a group refuses: what members refuse, by the same rules, as far as it can be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from mls import Extension, intents
from mls.errors import Code, InvalidProposal, InvalidTag, MLSError
from mls.messages import (
    Add,
    ApplicationData,
    BasicCredential,
    Commit,
    CommitSource,
    ExtensionType,
    ExternalInit,
    ExternalSender,
    ExternalSenderIndex,
    ExternalSenders,
    MemberSender,
    NewMemberProposalSender,
    Proposal,
    ProposalContent,
    Remove,
    Update,
)
from mls.observer import ObservedCommit
from tests.adversarial.insider import public_message, refusal, wrapped
from tests.support import external_scenes
from tests.support.crafting import UPDATE, Forger, crafted_package, package_of
from tests.support.observing import OPEN, agree, assert_refused_alike, follow, said_outside, watch
from tests.support.scenes import NO_EXTENSIONS, REINIT, Scene, psk
from tests.support.welcomes import group_info_of
from tests.support.world import World
from treekem.index import LeafIndex
from treekem.wire import encode

# What is refused.


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
@pytest.mark.parametrize("setting", [*sorted(OPEN.keys() - {"resync_without_psk"}), "accept_public_handshakes"])
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


@pytest.mark.rfc("R-6.2-03", "R-6.1-15", "B01")
@pytest.mark.parametrize("length", [0, 1, 31, 33, 255])
def test_a_tag_of_another_length_can_be_seen(scene: Scene, length: int) -> None:
    alice, forger = scene.groups[0], scene.forger
    observer, genuine = follow(alice), public_message(forger.honest())
    tag = bytes(length)
    for message, rule, code in (
        (wrapped(replace(genuine, membership_tag=tag)), "R-6.2-03", Code.BAD_MEMBERSHIP_TAG),
        (forger.commit(path=forger.path(), tag=tag), "R-6.1-15", Code.BAD_CONFIRMATION_TAG),
    ):
        refused = assert_refused_alike(observer, alice, message)
        assert (type(refused), refused.rule, refused.code) == (InvalidTag, rule, code)
    watch(observer, wrapped(genuine))


@pytest.mark.rfc("R-8.3-04", "N-E09")
def test_a_kem_output_that_is_no_key_can_be_seen(scene: Scene) -> None:
    alice = scene.groups[0]
    observer, outsider = follow(alice), external_scenes.Scene(scene.world, scene.groups).outsider()
    message = outsider.message()
    for length, code in ((0, Code.NON_CANONICAL_KEY), (33, Code.NON_CANONICAL_KEY), (32, Code.BAD_KEY)):
        refused = assert_refused_alike(observer, alice, outsider.changed(message, ExternalInit(bytes(length))))
        assert (type(refused), refused.rule, refused.code) == (InvalidProposal, "R-8.3-04", code)
    watch(observer, message)


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
