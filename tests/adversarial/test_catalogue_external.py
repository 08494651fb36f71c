"""The catalogue of hostile external commits, rows N-E, under every suite.

Row 08, a bound on the age of a GroupInfo, has nothing to hold to: a GroupInfo bears no time. What is seen is the epoch,
row 07, and a commit to an epoch that is over is refused by every member. Row 06 stands with the settings.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.crypto import SUITES
from mls.errors import (
    Code,
    InvalidCommit,
    InvalidFraming,
    InvalidGroupInfo,
    InvalidProposal,
    InvalidProposalList,
    InvalidSignature,
    InvalidTag,
    MLSError,
    Refused,
    WrongEpoch,
)
from mls.messages import (
    Add,
    Commit,
    ExternalInit,
    InlineProposal,
    MemberSender,
    NewMemberCommitSender,
    Proposal,
    PublicMessage,
    Remove,
    Update,
)
from tests.adversarial.insider import PRIVATE, Envelope, public_message, refusal, wrapped
from tests.support.crafting import UPDATE, Forger, package_of
from tests.support.external_scenes import BAD_LIST, Outsider, Scene, replaced_leaf
from tests.support.scenes import NO_EXTENSIONS, REINIT, psk
from tests.support.welcomes import group_info_of
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.wire import encode

suites = pytest.mark.parametrize("suite", sorted(SUITES))


def scene_of(suite: int = 1) -> Scene:
    world = World(suite, external_commits=True, resync=True, resync_without_psk=True)
    return Scene(world, world.group(3))


def proposals_of(message: bytes) -> list[Proposal]:
    content = public_message(message).content.content
    assert isinstance(content, Commit)
    return [entry.proposal for entry in content.proposals if isinstance(entry, InlineProposal)]


@suites
@pytest.mark.rfc("N-E01", "S-external_commits")
def test_external_commits_are_off_by_default(suite: int) -> None:
    world = World(suite)
    scene = Scene(world, world.group(2))
    message = scene.outsider().message()
    scene.assert_refused(message, Refused, "S-external_commits", Code.EXTERNAL_COMMIT_DISABLED)


@suites
@pytest.mark.rfc("N-E02", "N-E03", "R-12.2-17", "R-12.2-20", "R-12.4.3.2-04")
def test_the_list_of_an_external_commit_is_its_own(suite: int) -> None:
    scene = scene_of(suite)
    outsider, length = scene.outsider(), SUITES[suite].hash_length
    message = outsider.message()
    (init,) = proposals_of(message)
    insider = Forger(scene.world, scene.groups[1])
    sent = insider.send(psk(nonce=bytes(length)))
    witnesses = [scene.groups[0], scene.groups[2]]
    scene.world.deliver(sent.message, *witnesses)
    add = Add(package_of(scene.world.client("friend").key_package()))
    cases: list[tuple[tuple[Proposal | bytes, ...], str]] = [
        ((psk(nonce=bytes(length)),), "R-12.2-17"),
        ((init, init), "R-12.2-17"),
        ((init, sent.reference), "R-12.4.3.2-04"),
        *(((init, other), "R-12.2-20") for other in (add, Update(insider.leaf_node(UPDATE)), NO_EXTENSIONS, REINIT)),
    ]
    for entries, rule in cases:
        forged = outsider.changed(message, *entries)
        scene.assert_refused(forged, InvalidProposalList, rule, BAD_LIST, witnesses)
    unknown = outsider.changed(message, init, bytes(length))
    scene.assert_refused(unknown, InvalidCommit, "R-12.4-11", Code.UNKNOWN_PROPOSAL_REF, witnesses)
    empty = outsider.changed(message, proposals=())
    scene.assert_refused(empty, InvalidProposalList, "R-12.2-17", BAD_LIST, witnesses)
    scene.assert_taken(message)


@suites
@pytest.mark.rfc("N-E04", "R-12.2-18", "P10", "P11")
def test_an_external_commit_replaces_nobody_else(suite: int) -> None:
    scene = scene_of(suite)
    stranger, witnesses = scene.outsider("stranger"), [scene.groups[0], scene.groups[2]]
    message = stranger.message()
    (init,) = proposals_of(message)
    changed = (InvalidProposalList, "R-12.2-18", Code.CREDENTIAL_CHANGED)
    foreign = replaced_leaf(stranger, stranger.changed(message, init, Remove(LeafIndex(1))), 1)
    scene.assert_refused(foreign, *changed, witnesses)
    two = stranger.changed(message, init, Remove(LeafIndex(1)), Remove(LeafIndex(2)))
    scene.assert_refused(two, InvalidProposalList, "R-12.2-18", BAD_LIST, scene.groups[:1])
    for nobody in (3, 2**24, 2**31, 2**32 - 1):
        blank = stranger.changed(message, init, Remove(LeafIndex(nobody)))
        scene.assert_refused(blank, InvalidProposal, "R-12.1.3-02", Code.BAD_PROPOSAL)
    scene.assert_taken(message)


@suites
@pytest.mark.rfc("N-E05", "R-6.1-11", "R-6.1-13", "R-6.2-03")
def test_an_external_commit_has_a_path_and_the_joiners_signature(suite: int) -> None:
    scene = scene_of(suite)
    outsider = scene.outsider()
    message = outsider.message()
    pathless = outsider.changed(message, path=None)
    scene.assert_refused(pathless, InvalidFraming, "R-6.1-11", Code.PATH_REQUIRED)
    stranger = Forger(scene.world, scene.groups[0]).new_signature_keys()
    forged = outsider.changed(message, keys=stranger)
    scene.assert_refused(forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    body = public_message(message)
    member = replace(body.content, sender=MemberSender(LeafIndex(0)))
    tag = bytes(SUITES[suite].hash_length)
    dressed = wrapped(PublicMessage(member, body.auth, tag))
    scene.assert_refused(dressed, InvalidTag, "R-6.2-03", Code.BAD_MEMBERSHIP_TAG, scene.groups[1:])
    scene.assert_taken(message)


@pytest.mark.rfc("N-E05", "R-2.1-08", "R-6.2-02")
def test_a_membership_tag_on_an_external_commit_is_more_than_the_message() -> None:
    # The tag is there for members alone, so that one that follows is what remains after the message.
    scene = scene_of()
    message = scene.outsider().message()
    for group in scene.groups:
        refused = refusal(group, message + b"\x20" + bytes(32))
        assert (refused.rule, refused.code) == ("R-2.1-08", Code.TRAILING_DATA)
    scene.assert_taken(message)


@pytest.mark.rfc("N-E05", "R-6.1-13")
def test_an_external_commit_does_not_hide_in_a_private_message() -> None:
    # A PrivateMessage has a leaf for its sender: who signs as a joiner there has signed something else than is read.
    scene = scene_of()
    insider = Forger(scene.world, scene.groups[1])
    framed = insider.framed(Commit((), insider.path()), sender=NewMemberCommitSender())
    content = replace(insider.signed(framed), wire_format=PRIVATE)
    witnesses = [scene.groups[0], scene.groups[2]]
    message = insider.private(content, Envelope())
    scene.assert_refused(message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE, witnesses)


@suites
@pytest.mark.rfc("N-E09", "R-8.3-04", "R-12.4.3.2-06")
def test_a_kem_output_is_a_key_of_the_suite(suite: int) -> None:
    scene = scene_of(suite)
    outsider = scene.outsider()
    message = outsider.message()
    (init,) = proposals_of(message)
    assert isinstance(init, ExternalInit)
    true = init.kem_output
    for kem_output in (b"", true[:-1], true + b"\0", bytes(len(true))):
        forged = outsider.changed(message, ExternalInit(kem_output))
        refused = [refusal(group, forged) for group in scene.groups]
        assert {(type(each), each.rule) for each in refused} == {(InvalidProposal, "R-8.3-04")}
    other = SUITES[suite].generate_key_pair(outsider.client._environment().entropy).public
    forged = outsider.changed(message, ExternalInit(other))
    scene.assert_refused(forged, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    scene.assert_taken(message)


@suites
@pytest.mark.rfc("N-E10", "R-12.4.2-01", "R-14-02")
def test_of_two_who_race_the_first_is_in(suite: int) -> None:
    scene = scene_of(suite)
    joined, late = scene.outsider("one").join(), scene.outsider("other")
    second = late.message()
    scene.world.deliver(encode(joined.message), *scene.groups)
    scene.assert_refused(second, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    again = Outsider(late.client, late.name, late.keys, group_info_of(scene.groups[0]))
    scene.assert_taken(again.message())


@suites
@pytest.mark.rfc("N-E07", "N-E08", "P10")
def test_an_old_group_info_leads_nowhere(suite: int) -> None:
    scene = scene_of(suite)
    alice, bob, carol = scene.groups
    old = alice.group_info()
    scene.world.commit(alice, (), bob, carol)
    # One that has seen a later epoch is told; one that has not makes a commit that nobody takes.
    client = scene.world.clients["member-1"]
    before = records(client._store)
    with pytest.raises(MLSError) as caught:
        client.join_external(old, resync=True)
    assert (type(caught.value), caught.value.rule, caught.value.code) == (
        InvalidGroupInfo,
        "N-E07",
        Code.STALE_GROUP_INFO,
    )
    assert records(client._store) == before
    stale = scene.world.client("newcomer").join_external(old)
    scene.assert_refused(stale.message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)


@pytest.mark.rfc("N-E02", "N-P05", "R-12.2-09")
def test_a_psk_is_injected_once_from_outside_too() -> None:
    scene = scene_of()
    outsider = scene.outsider()
    for client in scene.world.clients.values():
        client.add_psk(b"psk", b"secret")
    message = outsider.message()
    (init,) = proposals_of(message)
    twice = outsider.changed(message, init, psk(), psk())
    scene.assert_refused(twice, InvalidProposalList, "R-12.2-09", Code.PSK_INVALID)
    scene.assert_taken(outsider.message(psks=(psk().psk,)))
