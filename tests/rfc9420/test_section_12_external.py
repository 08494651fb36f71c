"""External commits: everything that they are refused for. RFC 9420 §12.2, §12.4.3.2."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import AcceptAnyone, Extension
from mls.epoch.public_commit import stage_public_commit
from mls.errors import (
    Code,
    InvalidCommit,
    InvalidFraming,
    InvalidLeafNode,
    InvalidProposal,
    InvalidProposalList,
    InvalidSignature,
    InvalidTag,
    Refused,
    WrongEpoch,
)
from mls.identity import Subject
from mls.key_packages import own_capabilities
from mls.messages import (
    Add,
    AuthenticatedContent,
    BasicCredential,
    Commit,
    CommitSource,
    ExtensionType,
    ExternalInit,
    InlineProposal,
    MemberSender,
    Proposal,
    ReInit,
    Remove,
    RequiredCapabilities,
    Update,
    WireFormat,
)
from tests.adversarial.insider import assert_refused, public_message, refusal, wrapped
from tests.support.crafting import (
    UNKNOWN_EXTENSION,
    UNKNOWN_PROPOSAL,
    UPDATE,
    Forger,
    capable_group,
    package_of,
)
from tests.support.external_scenes import BAD_LIST, Outsider, Scene, replaced_leaf
from tests.support.scenes import NO_EXTENSIONS, psk, staged
from tests.support.welcomes import assert_join_refused, group_info_of
from tests.support.world import World
from treekem.index import LeafIndex
from treekem.wire import encode


@pytest.fixture
def scene() -> Scene:
    world = World(external_commits=True, resync=True, resync_without_psk=True)
    groups = world.group(3)
    world.commit(groups[1], (), groups[0], groups[2])
    return Scene(world, groups)


# Who may, by the settings.


@pytest.mark.rfc("S-external_commits", "R-12.4.3.2-12", "N-E01")
def test_external_commits_are_off_unless_a_setting_says_otherwise() -> None:
    for allowed in (False, True):
        world = World(external_commits=allowed)
        scene = Scene(world, world.group(2))
        message = scene.outsider().message()
        if allowed:
            scene.assert_taken(message)
        else:
            scene.assert_refused(message, Refused, "S-external_commits", Code.EXTERNAL_COMMIT_DISABLED)


@pytest.mark.rfc("S-resync", "R-12.4.3.2-11", "N-E06", "P10")
def test_former_leaves_are_replaced_only_where_a_setting_says_so() -> None:
    world = World(external_commits=True, resync_without_psk=True)
    scene = Scene(world, world.group(3))
    message = scene.returning(2).message(replaces=2)
    scene.assert_refused(message, Refused, "S-resync", Code.RESYNC_DISABLED, scene.groups[:2])
    scene.assert_taken(scene.outsider().message())


# The list, §12.2.


@pytest.mark.rfc("R-12.2-01", "R-12.2-17", "N-E02", "R-12.4.2-04")
def test_an_external_commit_has_one_external_init(scene: Scene) -> None:
    outsider = scene.outsider()
    message = outsider.message()
    init = _proposals(message)[0]
    assert isinstance(init, ExternalInit)
    for entries in ((psk(),), (init, init)):
        forged = outsider.changed(message, *entries)
        scene.assert_refused(forged, InvalidProposalList, "R-12.2-17", BAD_LIST)
    none = outsider.changed(message, proposals=())
    scene.assert_refused(none, InvalidProposalList, "R-12.2-17", BAD_LIST)
    scene.assert_taken(message)


def _proposals(message: bytes) -> list[Proposal]:
    content = public_message(message).content.content
    assert isinstance(content, Commit)
    return [entry.proposal for entry in content.proposals if isinstance(entry, InlineProposal)]


@pytest.mark.rfc("R-12.2-01", "R-12.2-18", "N-E04")
def test_an_external_commit_removes_at_most_the_joiners_own_leaf(scene: Scene) -> None:
    returning = scene.returning(2)
    message = returning.message(replaces=2)
    init, remove = _proposals(message)
    two = returning.changed(message, init, remove, Remove(LeafIndex(1)))
    scene.assert_refused(two, InvalidProposalList, "R-12.2-18", BAD_LIST)

    stranger = scene.outsider("stranger")
    with pytest.raises(InvalidProposalList) as caught:
        stranger.join(replaces=1)
    assert (caught.value.rule, caught.value.code) == ("R-12.2-18", Code.CREDENTIAL_CHANGED)
    foreign = stranger.changed(stranger.message(), init, Remove(LeafIndex(1)))
    witnesses = [scene.groups[0], scene.groups[2]]
    refused = [refusal(group, foreign) for group in witnesses]
    # The leaf of such a commit was signed for another place; one for the right place is refused for its name.
    assert {each.rule for each in refused} == {"R-7.3-03"}
    placed = replaced_leaf(stranger, foreign, 1)
    scene.assert_refused(placed, InvalidProposalList, "R-12.2-18", Code.CREDENTIAL_CHANGED, witnesses)
    blank = returning.changed(message, init, Remove(LeafIndex(7)))
    scene.assert_refused(blank, InvalidProposal, "R-12.1.3-02", Code.BAD_PROPOSAL)


@pytest.mark.rfc("R-12.2-19", "R-7.5-03", "N-E04")
def test_a_returning_member_has_a_fresh_encryption_key(scene: Scene) -> None:
    returning = scene.returning(2)
    message = returning.message(replaces=2)
    old = Forger(scene.world, scene.groups[2]).own_leaf().encryption_key
    for key in (old, old[:-1] + bytes([old[-1] | 0x80])):
        forged = replaced_leaf(returning, message, 2, encryption_key=key)
        scene.assert_refused(forged, InvalidLeafNode, "R-12.2-19", Code.BAD_LEAF, scene.groups[:2])
    for group in scene.groups[:2]:
        staged(group, message)


@pytest.mark.rfc("R-12.2-01", "R-12.2-20")
def test_an_external_commit_covers_nothing_else(scene: Scene) -> None:
    outsider = scene.outsider()
    message = outsider.message()
    init = _proposals(message)[0]
    leaf = Forger(scene.world, scene.groups[0]).leaf_node(UPDATE)
    add = package_of(scene.world.client("friend").key_package())
    others: list[Proposal] = [Add(add), Update(leaf), NO_EXTENSIONS, ReInit(b"next", 1, 1, ())]
    for other in others:
        forged = outsider.changed(message, init, other)
        scene.assert_refused(forged, InvalidProposalList, "R-12.2-20", BAD_LIST)


@pytest.mark.rfc("R-12.4.3.2-04", "N-E03")
def test_an_external_commit_refers_to_no_proposal(scene: Scene) -> None:
    forger = Forger(scene.world, scene.groups[1])
    sent = forger.send(psk())
    witnesses = [scene.groups[0], scene.groups[2]]
    scene.world.deliver(sent.message, *witnesses)
    outsider = scene.outsider()
    message = outsider.message()
    forged = outsider.changed(message, _proposals(message)[0], sent.reference)
    scene.assert_refused(forged, InvalidProposalList, "R-12.4.3.2-04", BAD_LIST, witnesses)


@pytest.mark.rfc("R-12.2-09", "R-12.1.4-01", "R-12.1.4-03", "N-P05")
def test_the_psks_of_an_external_commit_are_like_any(scene: Scene) -> None:
    outsider = scene.outsider()
    for client in scene.world.clients.values():
        client.add_psk(b"psk", b"secret")
    message = outsider.message()
    init = _proposals(message)[0]
    twice = outsider.changed(message, init, psk(), psk())
    scene.assert_refused(twice, InvalidProposalList, "R-12.2-09", Code.PSK_INVALID)
    short = outsider.changed(message, init, psk(nonce=bytes(31)))
    scene.assert_refused(short, InvalidProposal, "R-12.1.4-03", Code.PSK_INVALID)
    scene.assert_taken(outsider.message(psks=(psk().psk, psk(nonce=b"1" * 32).psk)))


# The path, the leaf and the signature.


@pytest.mark.rfc("R-12.4.3.2-03", "R-6.1-11", "N-E05")
def test_an_external_commit_has_a_path(scene: Scene) -> None:
    outsider = scene.outsider()
    forged = outsider.changed(outsider.message(), path=None)
    scene.assert_refused(forged, InvalidFraming, "R-6.1-11", Code.PATH_REQUIRED)
    # Where it is processed, it is asked for once more, before anything is made of it.
    receiver = scene.groups[0]
    env, before = receiver._environment(), receiver.fingerprint()
    commits = [
        AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, body.content, body.auth)
        for body in map(public_message, (forged, outsider.message()))
    ]
    with pytest.raises(InvalidCommit) as caught:
        stage_public_commit(receiver._standing.state.group, commits[0], {}, env)
    assert (caught.value.rule, caught.value.code) == ("R-12.4.3.2-03", Code.PATH_REQUIRED)
    assert stage_public_commit(receiver._standing.state.group, commits[1], {}, env).path is not None
    assert receiver.fingerprint() == before


@pytest.mark.rfc("R-12.4.3.2-05", "R-6.2-02", "N-E05")
def test_an_external_commit_is_the_joiners_and_in_the_clear(scene: Scene) -> None:
    outsider = scene.outsider()
    message = outsider.message()
    strangers = Forger(scene.world, scene.groups[0]).new_signature_keys()
    forged = outsider.changed(message, keys=strangers)
    scene.assert_refused(forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    body = public_message(message)
    member = replace(body, content=replace(body.content, sender=MemberSender(LeafIndex(0))), membership_tag=bytes(32))
    scene.assert_refused(wrapped(member), InvalidTag, "R-6.2-03", Code.BAD_MEMBERSHIP_TAG, scene.groups[1:])
    # An insider that dresses its own commit in an external joiner's proposals.
    forger = Forger(scene.world, scene.groups[1])
    init = _proposals(message)[0]
    for private in (False, True):
        insider = forger.commit(init, path=forger.path(), private=private)
        scene.assert_refused(insider, InvalidProposalList, "R-12.2-13", BAD_LIST, [scene.groups[0], scene.groups[2]])


@pytest.mark.rfc("R-12.4.2-09", "R-12.4.3.2-08", "R-7.3-03", "R-7.5-08")
def test_the_leaf_of_a_joiner_is_that_of_its_path(scene: Scene) -> None:
    outsider = scene.outsider()
    message = outsider.message()
    for index in (0, 2, 4):
        forged = replaced_leaf(outsider, message, index)
        scene.assert_refused(forged, InvalidSignature, "R-7.3-03", Code.BAD_SIGNATURE)
    wrong = replaced_leaf(outsider, message, 3, source=UPDATE)
    scene.assert_refused(wrong, InvalidLeafNode, "R-12.4.2-09", Code.BAD_LEAF)
    wrong = replaced_leaf(outsider, message, 3, source=CommitSource(bytes(32)))
    refused = refusal(scene.groups[0], wrong)
    assert (refused.rule, refused.code) == ("R-7.5-08", Code.PARENT_HASH_MISMATCH)


@pytest.mark.rfc("R-12.4.3.2-09", "R-7.3-04", "R-7.3-16")
def test_a_joiner_supports_what_the_group_asks_for() -> None:
    for in_use, rule in (
        (Extension(UNKNOWN_EXTENSION, b""), "R-7.3-16"),
        (
            Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(RequiredCapabilities((), (UNKNOWN_PROPOSAL,), ()))),
            "R-7.3-04",
        ),
    ):
        world = World(external_commits=True)
        groups = capable_group(world, 2, (in_use,), extensions=(UNKNOWN_EXTENSION,), proposals=(UNKNOWN_PROPOSAL,))
        outsider = Scene(world, groups).outsider()
        with pytest.raises(InvalidLeafNode) as caught:
            outsider.join()
        assert (caught.value.rule, caught.value.code) == (rule, Code.UNSUPPORTED_CAPABILITY)
        able = replace(own_capabilities(), extensions=(UNKNOWN_EXTENSION,), proposals=(UNKNOWN_PROPOSAL,))
        message = outsider.message(leaf=outsider.leaf(capabilities=able))
        unable = replaced_leaf(outsider, message, 2, capabilities=own_capabilities())
        assert_refused(groups, unable, InvalidLeafNode, rule, Code.UNSUPPORTED_CAPABILITY)
        for group in groups:
            staged(group, message)


@pytest.mark.rfc("R-12.4.3.2-10", "R-7.3-13", "R-12.2-08")
def test_a_member_does_not_join_beside_itself(scene: Scene) -> None:
    returning = scene.returning(2)
    refused = (InvalidProposalList, "R-12.4.3.2-10", BAD_LIST)
    assert_join_refused(returning.client, returning.join, refused)
    # It is as little use to go by another name: the signature key is the other's.
    renamed = returning.leaf(credential=BasicCredential(b"somebody new"))
    with pytest.raises(InvalidLeafNode) as caught:
        returning.join(leaf=renamed)
    assert (caught.value.rule, caught.value.code) == ("R-7.3-13", Code.DUPLICATE_KEY)
    stranger = scene.outsider()
    thief = replace(stranger, keys=returning.keys)
    forged = replaced_leaf(thief, stranger.message(), 3, signature_key=returning.keys.public)
    scene.assert_refused(forged, InvalidLeafNode, "R-7.3-13", Code.DUPLICATE_KEY)

    class OnePerName(AcceptAnyone):
        def same_client(self, one: Subject, other: Subject) -> bool:
            del one, other
            return True

    world = World(external_commits=True)
    alice = world.client("alice", policy=OnePerName()).create_group()
    other = Scene(world, [alice]).outsider("someone")
    named = other.leaf(credential=BasicCredential(b"alice"))
    assert_refused(alice, other.message(leaf=named), *refused)
    staged(alice, other.message())


# The external init secret.


@pytest.mark.rfc("R-8.3-04", "R-12.4.3.2-06", "N-E09")
def test_the_kem_output_is_a_good_one(scene: Scene) -> None:
    outsider = scene.outsider()
    message = outsider.message()
    for kem_output in (b"", bytes(31), bytes(33), bytes(32)):
        forged = outsider.changed(message, ExternalInit(kem_output))
        for group in scene.groups:
            refused = refusal(group, forged)
            assert (type(refused), refused.rule) == (InvalidProposal, "R-8.3-04")
    other = outsider.client._suite.generate_key_pair(outsider.client._environment().entropy).public
    forged = outsider.changed(message, ExternalInit(other))
    scene.assert_refused(forged, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)


@pytest.mark.rfc("R-12.4.2-01", "R-12.4.3.2-07", "N-E10")
def test_of_two_that_join_at_once_the_first_gets_in(scene: Scene) -> None:
    one, other = scene.outsider("one"), scene.outsider("other")
    joined, late = one.join(), other.message()
    scene.world.deliver(encode(joined.message), *scene.groups)
    scene.assert_refused(late, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    scene.world.agree(*scene.groups, one.enter(joined))
    again = Outsider(other.client, other.name, other.keys, group_info_of(scene.groups[0])).message()
    scene.assert_taken(again)
