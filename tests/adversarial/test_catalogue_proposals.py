"""The catalogue of hostile proposals, rows N-P: each as it is sent by itself and as it stands in a commit, either way.

A committer is held to the same rules as a receiver: what is refused of others is refused to oneself before any bytes
leave. Where a proposal by itself breaks no rule of the RFC, as two Updates of one member do, only the commit is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import pytest

from mls import intents
from mls.crypto import SUITES
from mls.errors import (
    Code,
    InvalidCommit,
    InvalidFraming,
    InvalidLeafNode,
    InvalidProposal,
    InvalidProposalList,
    InvalidSignature,
    MalformedMessage,
    MLSError,
    UnavailableSecret,
    WrongEpoch,
)
from mls.messages import (
    Add,
    Extension,
    ExternalInit,
    ExternalSenderIndex,
    GroupContextExtensions,
    NewMemberProposalSender,
    Proposal,
    ProposalContent,
    Remove,
    ResumptionPSKUsage,
    Update,
)
from tests.adversarial.insider import PRIVATE, PUBLIC, Envelope, assert_refused, plaintext_of, refusal
from tests.support.crafting import UNKNOWN_EXTENSION, UPDATE, Forger, Sent, crafted_package, package_of
from tests.support.leaf_scenes import requirement
from tests.support.scenes import NO_EXTENSIONS, REINIT, Scene, psk, resumption, staged
from tests.support.world import World
from treekem.index import LeafIndex

formats = pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
suites = pytest.mark.parametrize("suite", sorted(SUITES))
Refusal = tuple[type[MLSError], str, str]
Listed = Callable[[Scene], Sequence[Proposal | Sent]]


def scene_of(suite: int = 1, **settings: int) -> Scene:
    world = World(suite, **settings)
    groups = world.group(4)
    return Scene(world, groups, Forger(world, groups[1]))


def bad_list(rule: str, code: str = Code.BAD_PROPOSAL_LIST) -> Refusal:
    return (InvalidProposalList, rule, code)


def bad(rule: str, code: str = Code.BAD_PROPOSAL) -> Refusal:
    return (InvalidProposal, rule, code)


def twice_added(scene: Scene) -> Sequence[Proposal]:
    client = scene.world.client("twice")
    return [Add(package_of(client.key_package())) for _ in range(2)]


def present(scene: Scene) -> Sequence[Proposal]:
    return [Add(package_of(scene.world.clients["member-2"].key_package()))]


def own_update(scene: Scene) -> Sequence[Proposal]:
    return [Update(scene.forger.leaf_node(UPDATE))]


def two_updates(scene: Scene) -> Sequence[Sent]:
    return [scene.update(2), scene.update(2)]


def lower_version(_: Scene) -> Sequence[Proposal]:
    return [replace(REINIT, version=0)]


ONE, THREE = Remove(LeafIndex(1)), Remove(LeafIndex(3))
DEMANDING = GroupContextExtensions((requirement((UNKNOWN_EXTENSION,)),))
STRANGE = GroupContextExtensions((Extension(UNKNOWN_EXTENSION, b""),))
INCAPABLE = Code.UNSUPPORTED_CAPABILITY
PSK_INVALID = Code.PSK_INVALID

LISTS: list[tuple[str, str, Listed, Refusal]] = [
    ("N-P01", "own update", own_update, bad_list("R-12.2-03")),
    ("N-P02", "itself", lambda _: [ONE], bad_list("R-12.2-04")),
    ("N-P03", "removed twice", lambda _: [THREE, THREE], bad_list("R-12.2-05")),
    ("N-P03", "updated twice", two_updates, bad_list("R-12.2-05")),
    ("N-P03", "updated and removed", lambda scene: [scene.update(3), THREE], bad_list("R-12.2-05")),
    ("N-P04", "twice", twice_added, bad_list("R-12.2-07")),
    ("N-P04", "a member", present, bad_list("R-12.2-08")),
    ("N-P05", "one name twice", lambda _: [psk(), psk()], bad_list("R-12.2-09", PSK_INVALID)),
    ("N-P06", "two lists", lambda _: [NO_EXTENSIONS, NO_EXTENSIONS], bad_list("R-12.2-10")),
    ("N-P06", "demanding", lambda _: [DEMANDING], (InvalidLeafNode, "R-7.3-04", INCAPABLE)),
    ("N-P06", "strange", lambda _: [STRANGE], (InvalidLeafNode, "R-7.3-16", INCAPABLE)),
    ("N-P07", "not alone", lambda _: [REINIT, psk()], bad_list("R-12.2-11")),
    ("N-P07", "twice", lambda _: [REINIT, REINIT], bad_list("R-12.2-11")),
    ("N-P07", "lower version", lower_version, bad("R-12.1.5-02")),
    ("N-P08", "an init", lambda _: [ExternalInit(bytes(32))], bad_list("R-12.2-13")),
    ("N-P10", "beyond", lambda _: [Remove(LeafIndex(4))], bad("R-12.1.3-02")),
    ("N-P10", "far beyond", lambda _: [Remove(LeafIndex(2**24))], bad("R-12.1.3-02")),
    ("N-P10", "half way", lambda _: [Remove(LeafIndex(2**31))], bad("R-12.1.3-02")),
    ("N-P10", "the last index", lambda _: [Remove(LeafIndex(2**32 - 1))], bad("R-12.1.3-02")),
]


@formats
@pytest.mark.parametrize(
    ("listed", "refused"),
    [
        pytest.param(listed, refused, id=f"{row} {name}", marks=pytest.mark.rfc(row))
        for row, name, listed, refused in LISTS
    ],
)
def test_a_hostile_list_is_refused_at_both_ends(listed: Listed, refused: Refusal, private: bool) -> None:
    scene = scene_of()
    proposals = listed(scene)
    forger = scene.forger
    before = forger.group.fingerprint()
    with pytest.raises(MLSError) as caught:
        forger.order(*proposals)
    assert (type(caught.value), caught.value.rule, caught.value.code) == refused, caught.value
    assert forger.group.fingerprint() == before
    message = forger.commit(*proposals, path=forger.path(), private=private)
    assert assert_refused(scene.receivers, message, *refused).authenticated
    sound = forger.honest()
    for group in scene.receivers:
        group.merge(staged(group, sound))
    scene.world.agree(*scene.receivers)


ALONE: list[tuple[str, str, Callable[[Scene], Proposal], Refusal]] = [
    ("N-P05", "reinit", lambda _: resumption(ResumptionPSKUsage.REINIT), bad("R-12.1.4-01", PSK_INVALID)),
    ("N-P05", "branch", lambda _: resumption(ResumptionPSKUsage.BRANCH), bad("R-12.1.4-02", PSK_INVALID)),
    ("N-P05", "short nonce", lambda _: psk(nonce=bytes(31)), bad("R-12.1.4-03", PSK_INVALID)),
    ("N-P05", "long nonce", lambda _: psk(nonce=bytes(33)), bad("R-12.1.4-03", PSK_INVALID)),
    ("N-P05", "no nonce", lambda _: psk(nonce=b""), bad("R-12.1.4-03", PSK_INVALID)),
    ("N-P07", "lower version", lambda _: replace(REINIT, version=0), bad("R-12.1.5-02")),
    ("N-P08", "an init", lambda _: ExternalInit(bytes(32)), bad("R-12.1.6-02")),
    ("N-P10", "beyond", lambda _: Remove(LeafIndex(4)), bad("R-12.1.3-02")),
    ("N-P10", "the last index", lambda _: Remove(LeafIndex(2**32 - 1)), bad("R-12.1.3-02")),
]


@formats
@pytest.mark.parametrize(
    ("proposal", "refused"),
    [
        pytest.param(build, refused, id=f"{row} {name}", marks=pytest.mark.rfc(row))
        for row, name, build, refused in ALONE
    ],
)
def test_a_hostile_proposal_is_not_recorded(
    proposal: Callable[[Scene], Proposal], refused: Refusal, private: bool
) -> None:
    scene = scene_of()
    wire_format = PRIVATE if private else PUBLIC
    message = scene.forger.propose(proposal(scene), wire_format=wire_format)
    assert assert_refused(scene.receivers, message, *refused).authenticated
    scene.world.deliver(scene.forger.propose(psk(), wire_format=wire_format), *scene.receivers)
    assert [len(group.proposals) for group in scene.receivers] == [1, 1, 1]


@pytest.mark.rfc("B05", "N-P05", "R-12.2-09")
def test_a_psk_is_covered_once_however_it_comes() -> None:
    scene = scene_of()
    for client in scene.world.clients.values():
        client.add_psk(b"psk", b"secret")
    # By value twice, by reference twice (the very same and another sender's), and one of each.
    sent, again = scene.sent(2, psk()), scene.sent(3, psk())
    ways: tuple[Proposal | Sent, ...] = (psk(), sent, again)
    for pair in product(ways, repeat=2):
        scene.assert_both_refuse(pair, InvalidProposalList, "R-12.2-09", PSK_INVALID)
    for single in ways:
        assert scene.assert_taken(single).effect.psks == 1
    other = psk(nonce=b"\1" * 32)
    assert scene.assert_taken(sent, other).effect.psks == 2


@suites
@pytest.mark.rfc("N-P05", "R-12.1.4-03", "R-12.3-05")
def test_the_nonce_of_a_psk_has_the_length_of_the_suites_hash(suite: int) -> None:
    scene = scene_of(suite)
    length = scene.forger.suite.hash_length
    for wrong in {32, 48, 64} - {length}:
        scene.assert_both_refuse([psk(nonce=bytes(wrong))], InvalidProposal, "R-12.1.4-03", PSK_INVALID)
    unknown = psk(nonce=bytes(length))
    scene.assert_both_refuse([unknown], UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    for client in scene.world.clients.values():
        client.add_psk(b"psk", b"secret")
    scene.assert_taken(unknown)


@pytest.mark.rfc("N-P04", "R-12.2-08", "B14")
def test_a_member_is_added_again_with_its_removal() -> None:
    scene = scene_of()
    add, remove = present(scene)[0], Remove(LeafIndex(2))
    scene.assert_both_refuse([add], InvalidProposalList, "R-12.2-08")
    for proposals in ((add, remove), (remove, add)):
        assert [member.leaf for member in scene.assert_taken(*proposals).effect.added] == [2]


@pytest.mark.rfc("N-P09", "R-13.2-01", "R-2.1-13")
@pytest.mark.parametrize("kind", [0, 8, 0x0A0A, 0xF000, 0xFFFF])
def test_a_proposal_of_an_unknown_type_is_refused(kind: int) -> None:
    # The catalogue has BadProposalList here. A receiver that knows no such type cannot say where such a proposal ends:
    # the select of RFC 9420 §12.1 has no default, so that the message does not decode.
    scene = scene_of()
    forger = scene.forger
    signed = forger.signed(forger.framed(ProposalContent(NO_EXTENSIONS)), PRIVATE)
    plaintext = kind.to_bytes(2, "big") + plaintext_of(signed)[2:]
    message = forger.private(signed, Envelope(plaintext=plaintext))
    for group in scene.receivers:
        refused = refusal(group, message)
        assert (type(refused), refused.rule, refused.code) == (MalformedMessage, "R-2.1-13", Code.UNKNOWN_ENUM)


@formats
@pytest.mark.rfc("N-P11", "R-12.4-11", "R-12.1-03")
def test_a_reference_to_nothing_is_refused(private: bool) -> None:
    scene = scene_of()
    old = scene.sent(2, psk())
    scene.world.commit(scene.groups[0], (), *scene.groups[1:], include=())
    forger = scene.by(1)
    refused = (InvalidCommit, "R-12.4-11", Code.UNKNOWN_PROPOSAL_REF)
    for reference in (old.reference, bytes(32), b"", bytes(255)):
        message = forger.commit(reference, path=forger.path(), private=private)
        assert_refused(scene.receivers, message, *refused)
    for epoch in (1, 3, 2**64 - 1):
        stale = forger.propose(psk(), wire_format=PRIVATE if private else PUBLIC, epoch=epoch)
        assert_refused(scene.receivers, stale, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)


@formats
@pytest.mark.rfc("N-P11", "R-12.2-02")
def test_a_reference_to_what_fails_is_refused(private: bool) -> None:
    # Recorded while it was sound: the member that it removes has gone meanwhile by another proposal of the same list.
    scene = scene_of()
    sent = scene.sent(2, THREE)
    scene.assert_taken(sent)
    message = scene.forger.commit(sent, THREE, path=scene.forger.path(), private=private)
    assert_refused(scene.receivers, message, *bad_list("R-12.2-05"))
    # And one that its sender may propose and its committer may not cover.
    self_removal = scene.sent(2, ONE)
    message = scene.forger.commit(self_removal, path=scene.forger.path(), private=private)
    assert_refused(scene.receivers, message, *bad_list("R-12.2-04"))


@pytest.mark.rfc("N-P12", "N-P13", "R-12.1.8-03", "R-6.3.2-06")
def test_who_is_no_member_cannot_send_in_private() -> None:
    # The sender of a PrivateMessage is a leaf, by its format: nobody outside can be named there. An insider that signs
    # as somebody outside is read as itself, and its signature does not fit.
    scene = scene_of(external_senders=True, new_member_proposals=True)
    forger = scene.forger
    for sender in (ExternalSenderIndex(0), NewMemberProposalSender()):
        framed = forger.framed(ProposalContent(THREE), sender=sender)
        content = replace(forger.signed(framed, PUBLIC), wire_format=PRIVATE)
        message = forger.private(content)
        assert_refused(scene.receivers, message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)


@pytest.mark.rfc("N-P12", "R-12.1.8-01")
def test_an_external_sender_that_nobody_listed_is_refused() -> None:
    scene = scene_of(external_senders=True)
    forger = scene.forger
    for index in (0, 1, 2**32 - 1):
        framed = forger.framed(ProposalContent(THREE), sender=ExternalSenderIndex(index))
        message = forger.public(forger.signed(framed))
        assert_refused(scene.receivers, message, InvalidFraming, "R-6.1-09", Code.WRONG_WIRE_FORMAT)


@suites
@pytest.mark.rfc("N-P13", "R-12.1.8-02", "R-6.1-12")
def test_a_client_adds_nobody_but_itself(suite: int) -> None:
    scene = scene_of(suite, new_member_proposals=True)
    forger = scene.forger
    newcomer = NewMemberProposalSender()
    add = Add(package_of(scene.world.client("newcomer").key_package()))
    keys = scene.world.clients["newcomer"]._signature_keys.private
    for proposal in (THREE, psk(nonce=bytes(forger.suite.hash_length)), NO_EXTENSIONS, REINIT):
        message = forger.public(forger.signed(forger.framed(ProposalContent(proposal), sender=newcomer), key=keys))
        assert_refused(scene.receivers, message, InvalidFraming, "R-6.1-12", Code.WRONG_WIRE_FORMAT)
    framed = forger.framed(ProposalContent(add), sender=newcomer)
    # A member that speaks for the newcomer, by its own key.
    message = forger.public(forger.signed(framed))
    assert_refused(scene.receivers, message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    scene.world.deliver(forger.public(forger.signed(framed, key=keys)), *scene.receivers)


@formats
@pytest.mark.rfc("N-P14", "S-max_pending_proposals", "S-max_pending_proposals_per_sender")
def test_the_number_of_proposals_that_wait_is_bounded(private: bool) -> None:
    scene = scene_of(max_pending_proposals=4, max_pending_proposals_per_sender=3)
    alice = scene.groups[0]
    limit = "S-max_pending_proposals"
    wire_format = PRIVATE if private else PUBLIC

    def sent(group: int, count: int) -> list[bytes]:
        insider = scene.by(group)
        framed = [insider.framed(ProposalContent(psk(bytes([group, i])))) for i in range(count)]
        signed = [insider.signed(each, wire_format) for each in framed]
        if not private:
            return [insider.public(each) for each in signed]
        return [insider.private(each, Envelope(generation=i)) for i, each in enumerate(signed)]

    *fine, over = sent(1, 4)
    for message in fine:
        alice.receive(message)
    assert_refused(alice, over, InvalidProposal, f"{limit}_per_sender", Code.LIMIT_EXCEEDED)
    others = sent(2, 2)
    alice.receive(others[0])
    assert_refused(alice, others[1], InvalidProposal, limit, Code.LIMIT_EXCEEDED)
    assert len(alice.proposals) == 4


@formats
@pytest.mark.rfc("N-P15", "R-12.1-04")
def test_a_proposal_that_is_replayed_stays_one(private: bool) -> None:
    # Encrypted, the replay meets a key that is gone; in the clear, the reference under which it is recorded already.
    scene = scene_of(private_handshakes=private)
    alice, bob = scene.groups[:2]
    message = bob.propose(intents.Update()).message
    alice.receive(message)
    before = alice.fingerprint()
    if private:
        assert_refused(alice, message, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)
    else:
        assert alice.receive(message) == alice.proposals[0]
    assert alice.fingerprint() == before
    assert len(alice.proposals) == 1


@pytest.mark.rfc("B37", "R-12.4-05")
def test_members_are_those_of_the_epoch_and_not_those_proposed() -> None:
    scene = scene_of()
    alice, bob = scene.groups[:2]
    before = alice.members
    scene.sent(2, THREE)
    assert [each.proposal for each in alice.proposals] == [THREE]
    assert alice.members == before
    event = staged(alice, bob.commit().message)
    assert [member.leaf for member in event.effect.removed] == [3]
    assert alice.members == before
    alice.merge(event)
    assert [member.leaf for member in alice.members] == [0, 1, 2]


@pytest.mark.rfc("N-P04", "N-L08", "R-12.2-07")
def test_two_who_are_one_client_are_added_once() -> None:
    # Two key packages of one signature key are one client, whatever else differs.
    scene = scene_of()
    client = scene.world.client("one")
    first = package_of(client.key_package())
    second = crafted_package(client, signature_keys=client._signature_keys)
    scene.assert_both_refuse([Add(first), Add(second)], InvalidProposalList, "R-12.2-07")
    scene.assert_taken(Add(second))
