"""Joining by an external commit, with and without a former leaf. RFC 9420 §8.3, §12.4.3.2."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import AcceptAnyone, Extension, intents
from mls.crypto import SUITES
from mls.epoch.join import join_by_external_commit
from mls.errors import (
    Code,
    InvalidGroupInfo,
    InvalidLeafNode,
    InvalidSignature,
    InvalidTag,
    InvalidTree,
    InvalidWelcome,
    MLSError,
    UnavailableSecret,
    UsageError,
)
from mls.key_packages import own_capabilities
from mls.messages import (
    ExtensionType,
    ExternalPub,
    GroupInfo,
    MLSMessage,
    PreSharedKeyID,
    ProtocolVersion,
    ResumptionPSK,
    ResumptionPSKUsage,
    encode_unsigned,
)
from mls.observer import PublicGroup
from tests.support.crafting import Forger, capable_group
from tests.support.external_scenes import Scene
from tests.support.scenes import staged
from tests.support.welcomes import assert_join_refused
from tests.support.world import NOW, World
from treekem.index import LeafIndex
from treekem.wire import encode


@pytest.fixture
def scene() -> Scene:
    world = World(external_commits=True, resync=True, resync_without_psk=True)
    groups = world.group(3)
    world.commit(groups[1], (), groups[0], groups[2])
    return Scene(world, groups)


# Joining.


@pytest.mark.rfc("R-12.4.3.2-01", "R-12.4.3.2-06", "R-12.4.3.2-07", "R-12.4.1-20", "R-8.3-04")
@pytest.mark.parametrize("suite", sorted(SUITES))
def test_a_client_joins_from_outside_and_stays(suite: int) -> None:
    world = World(suite, external_commits=True)
    scene = Scene(world, world.group(3))
    outsider = scene.outsider()
    assert encode(ExternalPub(b"key")) == b"\x03key"
    joined = outsider.join()
    world.deliver(encode(joined.message), *scene.groups)
    newcomer = outsider.enter(joined)
    everybody = [*scene.groups, newcomer]
    world.agree(*everybody)
    assert newcomer.me.leaf == 3
    for committer in (scene.groups[0], newcomer):
        world.commit(committer, (), *(group for group in everybody if group is not committer))
        world.agree(*everybody)
    world.deliver(newcomer.encrypt(b"hello"), *scene.groups)


@pytest.mark.rfc("R-11-03", "R-11-09", "R-12.4.2-08")
def test_a_client_joins_a_group_that_never_committed_anything() -> None:
    world = World(external_commits=True)
    alice = world.client("alice").create_group()
    scene = Scene(world, [alice])
    outsider = scene.outsider()
    joined = outsider.join()
    event = staged(alice, encode(joined.message))
    assert (event.effect.external, [member.leaf for member in event.effect.added]) == (True, [1])
    assert event.effect.committer == event.effect.added[0]
    alice.merge(event)
    world.agree(alice, outsider.enter(joined))


@pytest.mark.rfc("R-12.4.1-04", "R-12.4.2-08", "R-12.4.3.2-08")
def test_the_leftmost_free_leaf_is_taken(scene: Scene) -> None:
    alice, bob, carol = scene.groups
    scene.world.commit(alice, [intents.Remove(1)], bob, carol)
    outsider = scene.outsider()
    joined = outsider.join()
    scene.world.deliver(encode(joined.message), alice, carol)
    newcomer = outsider.enter(joined)
    assert newcomer.me.leaf == 1
    scene.world.agree(alice, carol, newcomer)


@pytest.mark.rfc("R-12.4.3.2-08", "R-12.2-18", "R-12.2-22", "R-12.4.1-04")
@pytest.mark.parametrize("member", [0, 1, 2])
@pytest.mark.parametrize("same_key", [True, False])
def test_a_member_returns_in_place_of_its_former_leaf(scene: Scene, member: int, same_key: bool) -> None:
    returning = scene.returning(member, same_key=same_key)
    joined = returning.join(replaces=member)
    others = [group for group in scene.groups if group.me.leaf != member]
    for group in others:
        event = staged(group, encode(joined.message))
        assert [each.leaf for each in event.effect.removed] == [member]
        assert [each.leaf for each in event.effect.added] == [member]
        group.merge(event)
    lost = scene.groups[member]
    event = staged(lost, encode(joined.message))
    assert (event.effect.removed_me, event.effect.external) == (True, True)
    back = returning.enter(joined)
    scene.world.agree(back, *others)
    scene.world.commit(others[0], (), others[1], back)
    scene.world.agree(back, *others)


@pytest.mark.rfc("R-12.2-20", "R-12.4.3.2-11", "R-12.4.2-05")
def test_a_joiner_may_show_that_it_was_there_before(scene: Scene) -> None:
    carol = scene.groups[2]
    resumption = PreSharedKeyID(
        ResumptionPSK(ResumptionPSKUsage.APPLICATION, carol.group_id, carol.epoch - 1), bytes(32)
    )
    returning = scene.returning(2)
    returning.client._store.apply({name: record for name, record in carol._store.scan("") if "resumption" in name})
    message = returning.message(replaces=2, psks=(resumption,))
    for group in scene.groups[:2]:
        assert staged(group, message).effect.psks == 1
    unknown = replace(resumption, psk=ResumptionPSK(ResumptionPSKUsage.APPLICATION, carol.group_id, 99))
    with pytest.raises(UnavailableSecret) as caught:
        returning.join(replaces=2, psks=(unknown,))
    assert caught.value.rule == "R-12.3-05"


# The GroupInfo that a joiner is handed.


def signed_info(scene: Scene, info: GroupInfo, member: int = 0) -> GroupInfo:
    forger = Forger(scene.world, scene.groups[member])
    unsigned = replace(info, signature=b"")
    key = forger.state.own.signature_key
    return replace(info, signature=forger.suite.sign_with_label(key, b"GroupInfoTBS", encode_unsigned(unsigned)))


@pytest.mark.rfc("R-12.4.3.2-02", "R-12.4.3.2-01", "R-12.4.1-12", "R-6.1-15", "B01")
def test_a_joiner_judges_the_group_info(scene: Scene) -> None:
    outsider = scene.outsider()
    info = outsider.info
    by_type = {each.extension_type: each for each in info.extensions}
    tree_only = (by_type[ExtensionType.RATCHET_TREE],)
    key_only = (by_type[ExtensionType.EXTERNAL_PUB],)

    def refuse(forged: GroupInfo, error: type[MLSError], rule: str, code: str) -> None:
        joining = replace(outsider, info=forged)
        assert_join_refused(outsider.client, joining.join, (error, rule, code))

    without = signed_info(scene, replace(info, extensions=tree_only))
    refuse(without, InvalidGroupInfo, "R-12.4.3.2-02", Code.BAD_GROUP_INFO)
    treeless = signed_info(scene, replace(info, extensions=key_only))
    refuse(treeless, InvalidWelcome, "R-12.4.3.1-10", Code.BAD_WELCOME)
    refuse(replace(info, signature=bytes(64)), InvalidSignature, "R-12.4.3.1-11", Code.BAD_SIGNATURE)
    refuse(signed_info(scene, info, member=1), InvalidSignature, "R-12.4.3.1-11", Code.BAD_SIGNATURE)
    context = replace(info.group_context, tree_hash=bytes(32))
    mismatch = signed_info(scene, replace(info, group_context=context))
    refuse(mismatch, InvalidTree, "R-12.4.3.1-13", Code.TREE_HASH_MISMATCH)
    ahead = signed_info(scene, replace(info, signer=LeafIndex(3)))
    refuse(ahead, InvalidGroupInfo, "R-12.4.3-07", Code.BAD_SIGNATURE)
    # Who holds no secret of the epoch sees of its tag how long it is, and an observer sees as much.
    for length in (0, 31, 33):
        unconfirmed = signed_info(scene, replace(info, confirmation_tag=bytes(length)))
        refuse(unconfirmed, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
        with pytest.raises(InvalidTag) as caught:
            PublicGroup.follow(
                encode(MLSMessage(ProtocolVersion.MLS10, unconfirmed)), policy=AcceptAnyone(), clock=lambda: NOW
            )
        assert (caught.value.rule, caught.value.code) == ("R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    # The tree may come beside it.
    env = outsider.client._environment()
    beside = join_by_external_commit(treeless, scene.groups[0].ratchet_tree, outsider.leaf(), env)
    scene.assert_taken(encode(beside.message))


@pytest.mark.rfc("R-13.4-07", "R-13.5-07", "R-7.3-16", "R-12.4.3.2-09")
def test_a_joiner_supports_what_the_group_uses_and_does_not_list_it_by_chance() -> None:
    world = World(external_commits=True)
    scene = Scene(world, capable_group(world, 2, extensions=(0x0A0A, 0xF001)))
    outsider = scene.outsider()
    leaf = outsider.leaf(capabilities=own_capabilities((0x0A0A, 0xF001)))
    for kind in (0x0A0A, 0xF001):
        context = replace(outsider.info.group_context, extensions=(Extension(kind, b""),))
        joining = replace(outsider, info=signed_info(scene, replace(outsider.info, group_context=context)))
        refused = (InvalidLeafNode, "R-7.3-16", Code.UNSUPPORTED_CAPABILITY)
        assert_join_refused(outsider.client, joining.join, refused)
        if kind == 0x0A0A:
            assert_join_refused(outsider.client, lambda joining=joining: joining.join(leaf=leaf), refused)  # type: ignore[misc]  # a loop variable
        else:
            assert joining.join(leaf=leaf).state.group.extensions == context.extensions


@pytest.mark.rfc("R-12.4.3.2-02", "R-8.3-04")
def test_an_external_pub_of_no_group_leads_nowhere(scene: Scene) -> None:
    outsider = scene.outsider()
    other = outsider.client._suite.generate_key_pair(outsider.client._environment().entropy).public
    for public, taken in ((other, True), (bytes(32), False), (b"", False)):
        extensions = tuple(
            Extension(ExtensionType.EXTERNAL_PUB, encode(ExternalPub(public)))
            if each.extension_type == ExtensionType.EXTERNAL_PUB
            else each
            for each in outsider.info.extensions
        )
        joining = replace(outsider, info=signed_info(scene, replace(outsider.info, extensions=extensions)))
        if taken:
            scene.assert_refused(joining.message(), InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
            continue
        with pytest.raises(MLSError):
            joining.join()


@pytest.mark.rfc("S-max_leaves")
def test_a_joiner_does_not_widen_the_tree_beyond_the_limit() -> None:
    world = World(external_commits=True, max_leaves=2)
    scene = Scene(world, world.group(2))
    limit = (InvalidTree, "S-max_leaves", Code.LIMIT_EXCEEDED)
    outsider = scene.outsider()
    assert_join_refused(outsider.client, outsider.join, (UsageError, *limit[1:]))
    wide = replace(outsider, client=world.client("wide", max_leaves=8))
    scene.assert_refused(wide.message(), *limit)
