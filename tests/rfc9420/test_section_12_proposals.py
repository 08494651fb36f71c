"""Proposals, each by itself. RFC 9420 §12.1."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from mls import Extension, intents
from mls.epoch.leaves import Demands
from mls.epoch.proposals import QueuedProposal, verify_proposal
from mls.errors import (
    Code,
    InvalidKey,
    InvalidLeafNode,
    InvalidProposal,
    InvalidProposalList,
    InvalidSignature,
    InvalidTag,
    MalformedMessage,
    UnavailableSecret,
    UsageError,
    WrongEpoch,
)
from mls.events import StagedCommit
from mls.messages import (
    BasicCredential,
    ContentType,
    ExtensionType,
    ExternalInit,
    ExternalSender,
    ExternalSenderIndex,
    ExternalSenders,
    GroupContextExtensions,
    MemberSender,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProposalContent,
    ReInit,
    Remove,
    ResumptionPSK,
    ResumptionPSKUsage,
    Update,
)
from tests.adversarial.insider import assert_refused, refusal
from tests.support.crafting import (
    UNKNOWN_EXTENSION,
    UPDATE,
    Forger,
    assert_both_refuse,
    capable_group,
)
from tests.support.scenes import NO_EXTENSIONS, REINIT, Scene, psk, resumption, staged
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.wire import decode, encode, encode_as


@pytest.fixture
def scene() -> Scene:
    world = World(external_senders=True, new_member_proposals=True)
    groups = world.group(4)
    return Scene(world, groups, Forger(world, groups[1]))


# Epochs, and who proposes what is committed, §12.


@pytest.mark.rfc("R-12-01")
def test_an_epoch_has_eight_bytes_and_the_first_is_zero() -> None:
    world = World()
    alice = world.client("alice").create_group(b"us")
    for epoch in range(3):
        head = bytes.fromhex("0001 0001 02 7573") + epoch.to_bytes(8, "big") + b"\x20"
        assert alice._standing.state.group.encoded_context().startswith(head)
        world.commit(alice, ())
    message = Forger(world, alice).propose(NO_EXTENSIONS)
    assert message.startswith(bytes.fromhex("0001 0001 02 7573") + bytes(7) + b"\x03")


@pytest.mark.rfc("R-12-02")
def test_a_committer_proposes_in_its_commit(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    assert alice.proposals == ()
    pending = scene.world.commit(alice, [intents.Remove(3)], bob, carol, dave)
    assert [member.leaf for member in pending.effect.removed] == [3]
    assert (bob.proposals, dave.is_retired) == ((), True)
    scene.world.agree(alice, bob, carol)


# The encoding, §12.1.


@pytest.mark.rfc("R-12.1-01", "R-12.1.3-01", "R-12.1.5-01", "R-12.1.6-01", "R-12.1.7-01")
@pytest.mark.parametrize(
    ("proposal", "encoded"),
    [
        (Remove(LeafIndex(7)), "0003 00000007"),
        (psk(b"id", b"nonce"), "0004 01 02 6964 05 6e6f6e6365"),
        (
            PreSharedKey(PreSharedKeyID(ResumptionPSK(ResumptionPSKUsage.BRANCH, b"g", 5), b"")),
            "0004 02 03 01 67 0000000000000005 00",
        ),
        (ReInit(b"id", 1, 3, (Extension(9, b"x"),)), "0005 02 6964 0001 0003 04 0009 01 78"),
        (ExternalInit(b"kem"), "0006 03 6b656d"),
        (GroupContextExtensions((Extension(9, b"x"),)), "0007 04 0009 01 78"),
    ],
)
def test_a_proposal_is_its_type_then_its_body(proposal: Proposal, encoded: str) -> None:
    assert encode_as(Proposal, proposal) == bytes.fromhex(encoded)


@pytest.mark.rfc("R-12.1-01", "R-12.1.1-01", "R-12.1.2-01")
def test_an_add_is_a_key_package_and_an_update_a_leaf(scene: Scene) -> None:
    add = scene.add()
    assert encode_as(Proposal, add) == b"\x00\x01" + encode(add.key_package)
    leaf = scene.forger.leaf_node(UPDATE)
    assert encode_as(Proposal, Update(leaf)) == b"\x00\x02" + encode(leaf)


@pytest.mark.rfc("R-12.1-05", "R-13.2-01", "R-12.2-14", "N-P09")
@pytest.mark.parametrize("kind", [0, 8, 0x0A0A, 0xF000, 0xFFFF])
def test_a_proposal_of_an_unknown_type_is_not_decoded(scene: Scene, kind: int) -> None:
    message = scene.forger.send(NO_EXTENSIONS).message
    body = encode_as(Proposal, NO_EXTENSIONS)
    place = message.rindex(b"\x02" + body)  # after the content type
    strange = message[: place + 1] + kind.to_bytes(2, "big") + message[place + 3 :]
    for group in scene.receivers:
        refused = refusal(group, strange)
        assert (type(refused), refused.rule, refused.code) == (MalformedMessage, "R-2.1-13", Code.UNKNOWN_ENUM)


@pytest.mark.rfc("R-12.1.4-05", "N-C07")
@pytest.mark.parametrize(("offset", "value"), [(0, 0), (0, 3), (1, 0), (1, 4), (1, 9)])
def test_the_type_and_usage_of_a_psk_are_assigned_ones(offset: int, value: int) -> None:
    encoded = bytearray(encode(resumption(ResumptionPSKUsage.APPLICATION)))
    encoded[offset] = value
    with pytest.raises(MalformedMessage) as caught:
        decode(PreSharedKey, bytes(encoded))
    assert (caught.value.rule, caught.value.code) == ("R-2.1-10", Code.UNKNOWN_ENUM)


# Receiving a proposal, §12.1.


@pytest.mark.rfc("R-12.1-02", "N-P11")
def test_only_a_proposal_that_is_signed_and_of_this_epoch_is_recorded(scene: Scene) -> None:
    forger, receivers = scene.forger, scene.receivers
    framed = forger.framed(ProposalContent(NO_EXTENSIONS))
    forged = forger.signed(framed, key=forger.new_signature_keys().private)
    assert_refused(receivers, forger.public(forged), InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    for epoch in (0, 2):
        message = forger.propose(NO_EXTENSIONS, epoch=epoch)
        assert_refused(receivers, message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    for group in receivers:
        group.receive(forger.send(NO_EXTENSIONS).message)
        assert [each.proposal for each in group.proposals] == [NO_EXTENSIONS]


@pytest.mark.rfc("R-12.1-03", "R-12.4-11", "N-P11")
def test_a_reference_lives_as_long_as_its_epoch(scene: Scene) -> None:
    remembered = scene.sent(1, NO_EXTENSIONS)
    assert scene.groups[0].proposals[0].ref == remembered.reference
    assert scene.groups[0].proposals[0].sender == MemberSender(LeafIndex(1))
    scene.world.commit(scene.groups[0], (), *scene.groups[1:], include=())
    assert all(group.proposals == () for group in scene.groups)
    forger = scene.by(1)
    for reference in (remembered.reference, bytes(32), b""):
        message = forger.commit(reference, path=forger.path())
        refused = refusal(scene.groups[0], message)
        assert (refused.rule, refused.code, refused.index) == ("R-12.4-11", Code.UNKNOWN_PROPOSAL_REF, 0)


@pytest.mark.rfc("R-12.1-04", "N-P15")
def test_a_proposal_that_comes_twice_is_recorded_once(scene: Scene) -> None:
    sent = scene.sent(1, NO_EXTENSIONS)
    before, stored = scene.groups[0].fingerprint(), records(scene.groups[0]._store)
    event = scene.groups[0].receive(sent.message)
    assert event == scene.groups[0].proposals[0]
    assert (scene.groups[0].fingerprint(), records(scene.groups[0]._store)) == (before, stored)


@pytest.mark.rfc("S-max_pending_proposals", "S-max_pending_proposals_per_sender", "N-P14")
def test_how_many_proposals_may_wait_is_limited() -> None:
    world = World(max_pending_proposals=5, max_pending_proposals_per_sender=3)
    groups = world.group(4)
    scene = Scene(world, groups, Forger(world, groups[1]))
    full = (InvalidProposal, "S-max_pending_proposals", Code.LIMIT_EXCEEDED)
    alice = groups[0]
    for member, n in ((1, 3), (2, 2)):
        for i in range(n):
            alice.receive(scene.by(member).send(psk(bytes([member, i]))).message)
    assert_refused(alice, scene.by(1).send(psk(b"one more")).message, *full)
    assert_refused(alice, scene.by(3).send(psk(b"one more")).message, *full)
    assert len(alice.proposals) == 5
    scene.world.commit(groups[3], (), alice)
    alice.receive(Forger(world, groups[3]).send(psk(b"one more")).message)


# Update, Remove, §12.1.2, §12.1.3.


@pytest.mark.rfc("R-12.1.2-03", "R-12.1.8-04", "N-P12")
def test_an_update_is_a_members(scene: Scene) -> None:
    state = scene.forger.state.group
    queued = QueuedProposal(Update(scene.forger.leaf_node(UPDATE)), ExternalSenderIndex(0))
    with pytest.raises(InvalidProposal) as caught:
        verify_proposal(state, queued, scene.forger.env, Demands.of(state.context, state.suite))
    assert caught.value.rule == "R-12.1.2-03"
    own = replace(queued, sender=MemberSender(scene.forger.leaf))
    verify_proposal(state, own, scene.forger.env, Demands.of(state.context, state.suite))


@pytest.mark.rfc("R-12.1.2-05", "R-12.1.2-06", "R-12.4.2-22", "R-12.1.2-04", "R-12.1-03")
def test_of_several_updates_the_one_that_was_committed_counts(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    first, second = bob.propose(intents.Update()), bob.propose(intents.Update())
    for sent in (first, second):
        scene.world.deliver(sent.message, alice, carol, dave)
    before = bob.me
    pending = scene.world.commit(alice, (), bob, carol, dave, include=[first.ref])
    scene.world.agree(*scene.groups)
    assert (before, before) in pending.effect.updated
    assert bob.me == before
    tree = bob._standing.state.group.tree
    assert tree.leaf(LeafIndex(1)) is not None
    # The next path is sealed to the new key.
    scene.world.commit(carol, (), alice, bob, dave)
    scene.world.agree(*scene.groups)
    assert bob._standing.proposals == {}


@pytest.mark.rfc("R-12.1.3-02", "R-12.2-02", "N-P10")
def test_a_remove_names_a_member(scene: Scene) -> None:
    scene.world.commit(scene.groups[0], [intents.Remove(2)], *scene.receivers[2:], scene.groups[1])
    groups = [scene.groups[0], scene.groups[3]]
    forger = scene.by(1)
    for leaf in (2, 4, 2**32 - 1):
        refused = (InvalidProposal, "R-12.1.3-02", Code.BAD_PROPOSAL)
        remove = Remove(LeafIndex(leaf))
        assert_both_refuse(forger, groups, (remove,), refused)
        assert_both_refuse(forger, groups, (scene.add(), remove), refused)
        assert_refused(groups, forger.send(remove).message, *refused)
    assert isinstance(groups[0].receive(forger.honest(Remove(LeafIndex(3)))), StagedCommit)


@pytest.mark.rfc("R-12.1.1-03", "R-12.1.1-05", "R-12.3-04", "R-12.1.3-03", "R-12.3-01")
def test_who_is_added_takes_the_leftmost_free_leaf(scene: Scene) -> None:
    alice = scene.groups[0]
    dave = scene.groups[3]
    first, second, third = scene.add(), scene.add(), scene.add()
    message = scene.by(1).honest(first, Remove(LeafIndex(2)), second, third)
    event = dave.receive(message)
    assert isinstance(event, StagedCommit)
    assert [member.leaf for member in event.effect.added] == [2, 4, 5]
    dave.merge(event)
    alice.merge(staged(alice, message))
    for leaf, add in zip((2, 4, 5), (first, second, third), strict=True):
        assert alice._standing.state.group.leaf_node(LeafIndex(leaf)) == add.key_package.leaf_node
    assert alice._standing.state.group.tree.n_leaves == 8
    scene.world.agree(alice, dave)


@pytest.mark.rfc("R-12.1.3-03", "R-12.1.3-04")
def test_a_removal_at_the_right_end_shrinks_the_tree(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    scene.world.commit(alice, [intents.Remove(3), intents.Remove(2)], bob, carol, dave)
    assert alice._standing.state.group.tree.n_leaves == 2
    for leaf in (2, 3):
        with pytest.raises(UsageError) as caught:
            alice._standing.secret_tree.stage(LeafIndex(leaf), ContentType.APPLICATION, 0)
        assert caught.value.rule == "R-9-03"
    assert (carol.is_retired, dave.is_retired) == (True, True)
    scene.world.agree(alice, bob)
    scene.world.commit(bob, (), alice)
    scene.world.agree(alice, bob)


# PreSharedKey, §12.1.4.


@pytest.mark.rfc("R-12.1.4-01", "R-12.1.4-02", "R-11.2-06", "R-11.3-06", "N-P05")
@pytest.mark.parametrize(
    ("usage", "rule"), [(ResumptionPSKUsage.REINIT, "R-12.1.4-01"), (ResumptionPSKUsage.BRANCH, "R-12.1.4-02")]
)
def test_psks_that_begin_a_group_are_not_proposed(scene: Scene, usage: ResumptionPSKUsage, rule: str) -> None:
    proposal = resumption(usage, scene.forger.group.group_id)
    scene.assert_both_refuse((proposal,), InvalidProposal, rule, Code.PSK_INVALID)
    message = scene.forger.send(proposal).message
    assert_refused(scene.receivers, message, InvalidProposal, rule, Code.PSK_INVALID)
    fine = resumption(ResumptionPSKUsage.APPLICATION, scene.forger.group.group_id)
    scene.assert_taken(fine)


@pytest.mark.rfc("R-12.1.4-03", "N-P05")
@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_psk_nonce_is_as_long_as_a_hash(scene: Scene, length: int) -> None:
    proposal = psk(nonce=bytes(length))
    scene.assert_both_refuse((proposal,), InvalidProposal, "R-12.1.4-03", Code.PSK_INVALID)
    message = scene.forger.send(proposal).message
    assert_refused(scene.receivers, message, InvalidProposal, "R-12.1.4-03", Code.PSK_INVALID)


@pytest.mark.rfc("R-12.1.4-04", "R-12.2-09", "N-P05")
def test_one_psk_may_be_injected_twice_but_not_by_one_name(scene: Scene) -> None:
    for name in scene.world.clients:
        scene.world.clients[name].add_psk(b"psk", b"secret")
    one, other = psk(nonce=b"\1" * 32), psk(nonce=b"\2" * 32)
    scene.assert_both_refuse((one, one), InvalidProposalList, "R-12.2-09", Code.PSK_INVALID)
    sent = scene.sent(2, one)
    scene.assert_both_refuse((sent, one), InvalidProposalList, "R-12.2-09", Code.PSK_INVALID)
    assert scene.assert_taken(one, other).effect.psks == 2
    alice = scene.groups[0]
    drawn = [alice.propose(intents.PreSharedKey(b"psk")) for _ in range(4)]
    nonces = {each.proposal.psk.psk_nonce for each in alice.proposals if isinstance(each.proposal, PreSharedKey)}
    assert len(drawn) == 4
    assert len(nonces) == 5
    assert {len(nonce) for nonce in nonces} == {32}


@pytest.mark.rfc("R-12.3-05", "R-12.4.2-05", "N-P05")
def test_a_psk_that_is_not_held_stops_a_commit(scene: Scene) -> None:
    unknown = (UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    for proposal in (psk(), resumption(ResumptionPSKUsage.APPLICATION, b"no such group")):
        scene.assert_both_refuse((proposal,), *unknown)
    clients = list(scene.world.clients.values())
    for client in clients[:3]:
        client.add_psk(b"psk", b"secret")
    message = scene.by(1).honest(psk())
    assert isinstance(scene.groups[0].receive(message), StagedCommit)
    assert_refused(scene.groups[3], message, *unknown)
    clients[3].add_psk(b"psk", b"another secret")
    assert_refused(scene.groups[3], message, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    clients[3].add_psk(b"psk", b"secret")
    assert isinstance(scene.groups[3].receive(message), StagedCommit)


# ReInit and ExternalInit, §12.1.5, §12.1.6.


@pytest.mark.rfc("R-12.1.5-02", "N-P07")
def test_a_reinit_does_not_lower_the_version(scene: Scene) -> None:
    lower = replace(REINIT, version=0)
    scene.assert_both_refuse((lower,), InvalidProposal, "R-12.1.5-02", Code.BAD_PROPOSAL)
    message = scene.forger.send(lower).message
    assert_refused(scene.receivers, message, InvalidProposal, "R-12.1.5-02", Code.BAD_PROPOSAL)
    assert scene.assert_taken(replace(REINIT, version=2)).effect.reinit == replace(REINIT, version=2)


@pytest.mark.rfc("R-13.4-05", "R-13.4-08")
def test_the_extensions_of_a_reinit_are_those_of_a_group(scene: Scene) -> None:
    twice = replace(REINIT, extensions=(Extension(UNKNOWN_EXTENSION, b""),) * 2)
    scene.assert_both_refuse((twice,), InvalidProposal, "R-13.4-05", Code.DUPLICATE_EXTENSION)
    misplaced = replace(REINIT, extensions=(Extension(ExtensionType.RATCHET_TREE, b"\x00"),))
    scene.assert_both_refuse((misplaced,), InvalidProposal, "R-13.4-08", Code.BAD_PROPOSAL)
    scene.assert_taken(replace(REINIT, extensions=(Extension(UNKNOWN_EXTENSION, b""),)))


@pytest.mark.rfc("R-12.1.5-03", "R-12.4.2-18")
def test_a_committed_reinit_freezes_the_group(scene: Scene) -> None:
    alice, bob, *_ = scene.groups
    scene.world.commit(bob, [intents.ReInit(b"next", 1)], alice)
    for group in (alice, bob):
        assert group.is_frozen
        before = group.fingerprint()
        attempts = (partial(group.encrypt, b"x"), group.commit, partial(group.propose, intents.Update()))
        for attempt in attempts:
            with pytest.raises(UsageError) as caught:
                attempt()
            assert (caught.value.rule, caught.value.code) == ("R-12.4.2-18", Code.GROUP_RETIRED)
        assert group.fingerprint() == before


@pytest.mark.rfc("R-12.1.6-02", "R-12.2-13", "N-P08")
def test_an_external_init_stands_in_external_commits_only(scene: Scene) -> None:
    init = ExternalInit(bytes(32))
    scene.assert_both_refuse((init,), InvalidProposalList, "R-12.2-13")
    message = scene.forger.send(init).message
    assert_refused(scene.receivers, message, InvalidProposal, "R-12.1.6-02", Code.BAD_PROPOSAL)


# GroupContextExtensions, §12.1.7.


@pytest.mark.rfc("R-12.1.7-01", "R-12.1.7-05", "R-13.4-05", "R-13.4-08")
@pytest.mark.parametrize(
    ("extensions", "rule", "code"),
    [
        ((Extension(UNKNOWN_EXTENSION, b""), Extension(UNKNOWN_EXTENSION, b"")), "R-13.4-05", Code.DUPLICATE_EXTENSION),
        ((Extension(ExtensionType.APPLICATION_ID, b"\x00"),), "R-13.4-08", Code.BAD_PROPOSAL),
        ((Extension(ExtensionType.RATCHET_TREE, b"\x00"),), "R-13.4-08", Code.BAD_PROPOSAL),
        ((Extension(ExtensionType.EXTERNAL_PUB, b"\x00"),), "R-13.4-08", Code.BAD_PROPOSAL),
    ],
)
def test_extensions_have_their_place_in_a_group_context(
    scene: Scene, extensions: tuple[Extension, ...], rule: str, code: str
) -> None:
    proposal = GroupContextExtensions(extensions)
    scene.assert_both_refuse((proposal,), InvalidProposal, rule, code)
    assert_refused(scene.receivers, scene.forger.send(proposal).message, InvalidProposal, rule, code)


@pytest.mark.rfc("R-12.1.7-04", "R-12.1.7-05", "R-13.5-04", "R-13.5-05", "N-P06")
@pytest.mark.parametrize("kind", [UNKNOWN_EXTENSION, 0x0A0A])
def test_a_group_uses_no_extension_that_a_member_does_not_support(scene: Scene, kind: int) -> None:
    proposal = GroupContextExtensions((Extension(kind, b""),))
    scene.assert_both_refuse((proposal,), InvalidLeafNode, "R-7.3-16", Code.UNSUPPORTED_CAPABILITY)


@pytest.mark.rfc("R-12.1.7-02", "R-12.1.7-04")
def test_new_extensions_replace_all_that_were_there() -> None:
    world = World()
    groups = capable_group(world, 2, extensions=(UNKNOWN_EXTENSION, UNKNOWN_EXTENSION + 1))
    first, second = Extension(UNKNOWN_EXTENSION, b"1"), Extension(UNKNOWN_EXTENSION + 1, b"2")
    for extensions in ((first,), (second,), (second, first), ()):
        pending = world.commit(groups[0], [intents.GroupContextExtensions(extensions)], groups[1])
        assert pending.effect.extensions_changed
        assert groups[1]._standing.state.group.extensions == extensions
        world.agree(*groups)


@pytest.mark.rfc("R-12.1.8.1-01")
def test_external_senders_are_a_list_of_keys_with_their_credentials() -> None:
    senders = tuple(ExternalSender(key, BasicCredential(b"server")) for key in (b"one", b"other"))
    encoded = bytes.fromhex("1c 03 6f6e65 0001 06 736572766572 05 6f74686572 0001 06 736572766572")
    assert encode(ExternalSenders(senders)) == encoded
    assert decode(ExternalSenders, encoded).external_senders == senders


@pytest.mark.rfc("R-12.1.8.1-02", "R-13.4-08", "N-K04")
def test_the_key_of_an_external_sender_is_a_key_of_the_suite(scene: Scene) -> None:
    for key in (b"", bytes(31), bytes(32)):
        body = encode(ExternalSenders((ExternalSender(key, BasicCredential(b"server")),)))
        proposal = GroupContextExtensions((Extension(ExtensionType.EXTERNAL_SENDERS, body),))
        with pytest.raises(InvalidKey):
            scene.forger.order(proposal)
        refused = refusal(scene.groups[0], scene.forger.commit(proposal, path=scene.forger.path()))
        assert isinstance(refused, InvalidKey)
