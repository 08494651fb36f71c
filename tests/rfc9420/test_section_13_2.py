"""Proposal types that an application adds. RFC 9420 §13.2, §12.1.8, §12.2, §12.4, §17.4."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mls import AcceptAnyone, Extension, GroupContextExtensions, Identity, ProposalReceived, Remove, StagedCommit
from mls.crypto import cipher_suite
from mls.epoch.proposals import QueuedProposal, is_path_required, verify_external_list
from mls.errors import (
    Code,
    InvalidCommit,
    InvalidProposal,
    InvalidProposalList,
    MalformedMessage,
    MLSError,
    Refused,
    UsageError,
)
from mls.extensions import external_senders
from mls.messages import (
    GREASE,
    Commit,
    CustomProposal,
    ExternalInit,
    InlineProposal,
    MLSMessage,
    NewMemberCommitSender,
    Proposal,
    ProposalContent,
)
from mls.observer import PublicGroup
from mls.outsider import Outsider
from mls.registry import ExtensionDefinition, Others, ProposalDefinition, Proposed, Registry
from tests.adversarial.insider import assert_refused
from tests.support.crafting import Forger
from tests.support.entropy import DeterministicEntropy
from tests.support.extending import LUNCH, POLL, REGISTRY, RETITLE, TOPIC, Poll, Topic, plain_scene
from tests.support.world import NOW, World, records
from treekem.wire import decode, decode_prefix, describe, encode, encode_as

FRAMES = pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
ASKED = POLL.proposal(LUNCH)
ABLE = Code.UNSUPPORTED_CAPABILITY


# On the wire.


@pytest.mark.rfc("R-12.1-01", "R-12.1-05", "R-2.1-13")
@given(st.binary(max_size=80), st.lists(st.binary(max_size=20), max_size=4), st.integers(0, 0xFFFF))
def test_a_registered_body_stands_behind_its_type(question: bytes, options: list[bytes], deadline: int) -> None:
    poll = Poll(question, tuple(options), deadline)
    proposal = POLL.proposal(poll)
    assert encode_as(Proposal, proposal) == b"\xf1\x00" + encode(poll)
    commit = Commit((InlineProposal(proposal), InlineProposal(RETITLE.proposal(Topic(question)))), None)
    encoded = encode(commit)
    assert decode(Commit, encoded, bodies=REGISTRY.bodies) == commit
    assert decode_prefix(Commit, encoded + b"more", bodies=REGISTRY.bodies) == (commit, len(encoded))
    assert POLL.value(proposal) == poll
    with pytest.raises(MalformedMessage) as caught:
        decode(Commit, encoded, bodies=Registry().bodies)
    assert (caught.value.rule, caught.value.code) == ("R-2.1-13", Code.UNKNOWN_ENUM)


def test_a_malformed_body_is_refused_where_it_breaks() -> None:
    content = encode(ProposalContent(ASKED))
    for cut in range(2, len(content)):
        with pytest.raises(MalformedMessage):
            decode(ProposalContent, content[:cut], bodies=REGISTRY.bodies)
    with pytest.raises(MalformedMessage) as caught:
        decode(ProposalContent, content[:-1], bodies=REGISTRY.bodies)
    assert caught.value.where == "ProposalContent.proposal.body.deadline"
    with pytest.raises(MalformedMessage) as caught:
        decode(ProposalContent, content + b"x", bodies=REGISTRY.bodies)
    assert caught.value.rule == "R-2.1-08"
    assert describe(ProposalContent, content).error is not None


@pytest.mark.rfc("R-2.1-04")
def test_a_custom_proposal_does_not_pass_for_another_one() -> None:
    assert encode_as(Proposal, CustomProposal(8, b"x")) == b"\x00\x08x"
    for number in (*range(1, 8), 0x10000, -1):
        with pytest.raises(UsageError):
            encode_as(Proposal, CustomProposal(number, b""))
    with pytest.raises(UsageError):
        POLL.value(RETITLE.proposal(Topic(b"")))
    with pytest.raises(UsageError):
        decode(Commit, b"\x00\x00", bodies=((3, Poll),))


# In a registry.


@pytest.mark.rfc("R-17.3-02")
@pytest.mark.parametrize("number", [0xF000, 0xFFFF, 0x0A0B, 8])
def test_a_registry_holds_types_that_are_free(number: int) -> None:
    proposal = ProposalDefinition(number, Poll, needs_path=False, external=False)
    extension = ExtensionDefinition(number, Topic)
    registry = Registry((extension,), (proposal,))
    assert (registry.extension(number), registry.proposal(number)) == (extension, proposal)


@pytest.mark.rfc("R-17.3-02", "R-12.1.8-05")
def test_a_registry_holds_no_other_types() -> None:
    for number in (*range(1, 6), *GREASE, 0, 0x10000, -1):
        for make in (_proposal_type, _extension_type):
            with pytest.raises(UsageError) as caught:
                make(number)
            assert caught.value.rule == "R-17.3-02"
    with pytest.raises(UsageError):
        Registry(proposals=(POLL, POLL))
    with pytest.raises(UsageError):
        Registry(extensions=(TOPIC, TOPIC))
    with pytest.raises(UsageError):
        ExtensionDefinition(0xF000, Topic, places=frozenset(("nowhere",)))
    with pytest.raises(UsageError):
        ProposalDefinition(0xF000, dict, needs_path=False, external=False)
    with pytest.raises(TypeError):
        ProposalDefinition(0xF000, Poll)  # type: ignore[call-arg]  # whether it needs a path has no default


def _proposal_type(number: int) -> object:
    return ProposalDefinition(number, Poll, needs_path=False, external=False)


def _extension_type(number: int) -> object:
    return ExtensionDefinition(number, Topic)


@pytest.mark.rfc("R-7.2-06", "R-13.2-02", "R-13.4-02")
def test_what_is_registered_is_listed() -> None:
    (alice,) = World(registry=REGISTRY, grease=False).group(1)
    leaf = alice._standing.state.group.leaf_node(alice.me.leaf)
    assert leaf is not None
    assert leaf.capabilities.extensions == (0xF101, 0xF103)
    assert leaf.capabilities.proposals == (0xF100, 0xF102)


# From proposal to commit.


@pytest.mark.rfc("R-13.2-02", "R-13.2-01", "R-12.2-14")
@FRAMES
@pytest.mark.parametrize("by_reference", [True, False])
def test_a_poll_reaches_everybody(private: bool, by_reference: bool) -> None:
    world = World(registry=REGISTRY, private_handshakes=private)
    alice, bob, carol = world.group(3)
    if by_reference:
        for event in world.deliver(bob.propose(ASKED).message, alice, carol):
            assert isinstance(event, ProposalReceived)
            assert event.proposal == ASKED
    pending = alice.commit(() if by_reference else (ASKED,), path=False)
    assert pending.effect.committer == alice.me
    staged = carol.receive(pending.message)
    assert isinstance(staged, StagedCommit)
    sender = bob.me.leaf if by_reference else alice.me.leaf
    for effect in (pending.effect, staged.effect):
        ((told),) = effect.custom
        assert (getattr(told.sender, "leaf_index", None), POLL.value(told.proposal)) == (sender, LUNCH)
        assert not effect.extensions_changed
    alice.merge(pending)
    carol.merge(staged)
    world.deliver(pending.message, bob)
    world.agree(alice, bob, carol)


@pytest.mark.rfc("R-13.2-02", "R-12.1.7-02")
@FRAMES
def test_a_proposal_changes_the_group_context(private: bool) -> None:
    world = World(registry=REGISTRY, private_handshakes=private)
    alice, bob = world.group(2, extensions=(TOPIC.extension(Topic(b"work")),))
    told = Extension(0xF101, b"\x05plans")
    changed = GroupContextExtensions(())
    pending = world.commit(alice, [RETITLE.proposal(Topic(b"plans")), changed], bob)
    assert pending.effect.extensions_changed
    for group in (alice, bob):
        assert group._standing.state.group.extensions == (told,)
        assert TOPIC.value(group._standing.state.group.extensions) == Topic(b"plans")
    world.agree(alice, bob)
    (carol,) = world.add(alice, world.client("carol"), others=(bob,))
    restarted = world.restart(carol)
    assert TOPIC.value(restarted._standing.state.group.extensions) == Topic(b"plans")


@pytest.mark.rfc("R-12.3-06")
def test_types_of_the_application_come_in_their_order_behind_new_extensions() -> None:
    world = World(registry=REGISTRY)
    alice, bob = world.group(2, extensions=(TOPIC.extension(Topic(b"work")),))
    first, last = RETITLE.proposal(Topic(b"plans")), RETITLE.proposal(Topic(b"lunch"))
    changed = GroupContextExtensions((TOPIC.extension(Topic(b"play")),))
    for proposals, topic in (((first, last), b"lunch"), ((last, changed, first), b"plans"), ((changed,), b"play")):
        world.commit(alice, proposals, bob)
        assert [TOPIC.value(group.extensions) for group in (alice, bob)] == [Topic(topic)] * 2
        world.agree(alice, bob)


@pytest.mark.rfc("R-13.2-02", "R-12.4-08")
def test_a_type_says_whether_it_needs_a_path() -> None:
    world = World(registry=REGISTRY)
    alice, bob = world.group(2)
    retitled = RETITLE.proposal(Topic(b"plans"))
    with pytest.raises(UsageError) as caught:
        alice.commit([retitled], path=False)
    assert (caught.value.rule, caught.value.code) == ("R-12.4-08", Code.PATH_REQUIRED)
    forged = Forger(world, alice).commit(retitled)
    assert_refused(bob, forged, InvalidCommit, "R-12.4-08", Code.PATH_REQUIRED)
    queued = (QueuedProposal(ASKED, NewMemberCommitSender()),)
    assert not is_path_required(queued, REGISTRY)
    assert is_path_required(queued)
    world.commit(alice, [retitled], bob)
    world.agree(alice, bob)


@pytest.mark.rfc("R-13.2-02", "R-12.2-21", "R-12.2-02")
def test_the_rule_of_a_type_judges_on_both_sides() -> None:
    world = World(registry=REGISTRY, private_handshakes=False)
    alice, bob = world.group(2)
    empty, rude = POLL.proposal(replace(LUNCH, question=b"")), RETITLE.proposal(Topic(b"rude"))
    forger = Forger(world, alice)
    before = records(world.stores["member-0"])
    for proposals in ((empty,), (ASKED, POLL.proposal(replace(LUNCH, deadline=1))), (rude,)):
        with pytest.raises(Refused):
            alice.commit(proposals)
        path = forger.path()
        fingerprint = bob.fingerprint()
        with pytest.raises(Refused) as caught:
            bob.receive(forger.commit(*proposals, path=path))
        assert caught.value.authenticated
        assert bob.fingerprint() == fingerprint
    for group, proposal in ((alice, empty), (bob, RETITLE.proposal(Topic(b"mine")))):
        with pytest.raises(Refused):
            group.propose(proposal)
    with pytest.raises(Refused):
        bob.receive(forger.send(empty).message)
    assert records(world.stores["member-0"]) == before
    assert not bob.proposals
    world.commit(alice, [ASKED], bob)


# Who supports it.


@pytest.mark.rfc("R-13.2-01", "R-12.2-14", "N-P09")
def test_all_who_process_a_commit_support_what_it_covers() -> None:
    scene = plain_scene(private_handshakes=False)
    alice, bob = scene.able
    for attempt in (lambda: alice.commit([ASKED]), lambda: alice.propose(ASKED)):
        with pytest.raises(InvalidProposalList) as caught:
            attempt()
        assert (caught.value.rule, caught.value.code, caught.value.leaf) == ("R-12.2-14", ABLE, 2)
    forger = Forger(scene.world, alice)
    refused = assert_refused(bob, forger.commit(ASKED), InvalidProposalList, "R-12.2-14", ABLE)
    assert refused.leaf == 2
    # Who is removed by the same commit does not process it, and who is added by it has not yet to.
    pending = alice.commit([ASKED, Remove(2)])
    alice.merge(pending)
    scene.world.deliver(pending.message, bob)
    scene.world.agree(alice, bob)


@pytest.mark.rfc("R-12.1-05", "R-2.1-13", "N-P09")
@FRAMES
def test_who_has_not_registered_a_type_cannot_read_it(private: bool) -> None:
    scene = plain_scene()
    forger = Forger(scene.world, scene.able[0])
    before = records(scene.world.stores["carol"])
    message = forger.commit(ASKED, private=private)
    assert_refused(scene.unable, message, MalformedMessage, "R-2.1-13", Code.UNKNOWN_ENUM)
    assert records(scene.world.stores["carol"]) == before


@pytest.mark.rfc("R-12.2-20", "R-12.2-21")
def test_no_external_commit_covers_a_type_of_the_application() -> None:
    init = QueuedProposal(ExternalInit(b"kem"), NewMemberCommitSender())
    verify_external_list((init,))
    with pytest.raises(InvalidProposalList) as caught:
        verify_external_list((init, QueuedProposal(ASKED, NewMemberCommitSender())))
    assert caught.value.rule == "R-12.2-20"


@pytest.mark.rfc("R-12.1.8-05", "R-17.4-01")
def test_a_type_says_whether_external_senders_may_propose_it() -> None:
    entropy = DeterministicEntropy(b"directory")
    key = cipher_suite(1).generate_signature_key_pair(entropy).private
    outsider = Outsider(Identity.basic(b"directory", 1, key), entropy=entropy)
    world = World(registry=REGISTRY, external_senders=True)
    alice, bob = world.group(2, extensions=(external_senders(outsider.entry),))
    address = outsider.address(alice.group_info())
    refused = outsider.propose(address, RETITLE.proposal(Topic(b"ours")))
    assert_refused([alice, bob], refused, InvalidProposal, "R-12.1.8-05", Code.BAD_PROPOSAL)
    world.deliver(outsider.propose(address, ASKED), alice, bob)
    pending = world.commit(alice, (), bob)
    assert [each.proposal for each in pending.effect.custom] == [ASKED]
    world.agree(alice, bob)


# After a restart, and from outside.


@pytest.mark.rfc("R-13.2-02", "R-12.1-05")
def test_what_waits_is_there_after_a_restart() -> None:
    world = World(registry=REGISTRY)
    alice, bob = world.group(2)
    (heard,) = world.deliver(bob.propose(ASKED).message, alice)
    assert isinstance(heard, ProposalReceived)
    pending = alice.commit()
    alice = world.restart(alice)
    assert [each.proposal for each in alice.proposals] == [ASKED]
    assert alice.pending == (pending,)
    # Without its definition a proposal stays where it is, but nobody can judge it.
    world._registries[world.name_of(alice)] = Registry()
    blind = world.twin(alice)
    assert [each.proposal for each in blind.proposals] == [ASKED]
    ((left, reason),) = blind.commit().left_out
    assert left.proposal == ASKED
    assert "R-12.1-05" in reason
    stored = records(blind._store)
    for attempt in (lambda: blind.propose(ASKED), lambda: blind.commit([ASKED], include=())):
        with pytest.raises(InvalidProposal) as caught:
            attempt()
        assert (caught.value.rule, caught.value.code) == ("R-12.1-05", ABLE)
    assert records(blind._store) == stored
    alice.merge(alice.pending[0])
    world.deliver(pending.message, bob)
    world.agree(alice, bob)


@pytest.mark.rfc("R-13.2-02")
def test_an_observer_follows_with_the_same_registry() -> None:
    world = World(registry=REGISTRY, private_handshakes=False)
    alice, bob = world.group(2)
    info = alice.group_info()
    knowing = PublicGroup.follow(info, policy=AcceptAnyone(), registry=REGISTRY, clock=lambda: NOW)
    plain = PublicGroup.follow(info, policy=AcceptAnyone(), clock=lambda: NOW)
    sent = bob.propose(ASKED)
    event = knowing.receive(sent.message)
    assert isinstance(event, ProposalReceived)
    assert event.proposal == ASKED
    world.deliver(sent.message, alice)
    pending = world.commit(alice, [RETITLE.proposal(Topic(b"plans"))], bob)
    for message in (sent.message, pending.message):
        with pytest.raises(MLSError) as caught:
            plain.receive(message)
        assert caught.value.rule in {"R-2.1-13", "R-12.4-11"}
    observed = knowing.receive(pending.message)
    assert not isinstance(observed, ProposalReceived)
    knowing.merge(observed)  # type: ignore[arg-type]  # it is a commit
    assert (knowing.epoch, knowing.group_context) == (alice.epoch, alice._standing.state.group.encoded_context())
    assert TOPIC.value(knowing.extensions) == Topic(b"plans")
    assert decode(MLSMessage, pending.message, bodies=REGISTRY.bodies).version == 1


def test_the_others_of_a_list_are_not_copied_beside_each_proposal() -> None:
    # A hostile member could fill a commit with small proposals of a type that all support.
    seen: list[Proposed[bytes]] = []
    kind = ProposalDefinition(0xF1AA, bytes, needs_path=False, external=False, verify=seen.append)
    group = World().client("alice", registry=Registry(proposals=(kind,))).create_group()
    proposals = [kind.proposal(bytes((number,))) for number in range(3)]
    group.commit(proposals)
    together = [each for each in seen if isinstance(each.others, Others)][-3:]
    assert [each.value for each in together] == [b"\x00", b"\x01", b"\x02"]
    for index, each in enumerate(together):
        assert [other for _, other in each.others] == [*proposals[:index], *proposals[index + 1 :]]
    assert len({id(each.others.entries) for each in together if isinstance(each.others, Others)}) == 1
