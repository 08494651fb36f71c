"""What the way does to messages: late, out of order, twice, damaged, forged."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from mls import ApplicationMessage, Group, ProposalReceived, StagedCommit, Update
from mls.errors import Code, InvalidCiphertext, InvalidSignature, UnavailableSecret
from mls.messages import ApplicationData, ProposalContent
from mls.messages import Remove as RemoveProposal
from tests.adversarial.insider import PRIVATE, PUBLIC, Envelope, Insider, assert_refused, private_message, wrapped
from tests.support.live import reachable
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.secrets import Secret

RESTARTS = pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])


def heard(group: Group, message: bytes) -> bytes:
    event = group.receive(message)
    assert isinstance(event, ApplicationMessage)
    return event.data


@pytest.mark.rfc("R-15.3-01", "R-9.2-06", "R-9.2-08", "R-16.9-01", "R-15.3-04")
@RESTARTS
def test_messages_arrive_in_any_order_and_each_once(restarts: bool) -> None:
    world = World()
    alice, bob = world.group(2)
    said = [b"%d" % number for number in range(20)]
    sent = list(zip(said, [alice.encrypt(each) for each in said], strict=True))
    Random(4).shuffle(sent)
    for position, (data, message) in enumerate(sent):
        if restarts and position % 3 == 0:
            bob = world.restart(bob)
        event = bob.receive(message)
        assert isinstance(event, ApplicationMessage)
        assert (event.data, event.generation) == (data, int(data))
        assert_refused(bob, message, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)
    for _, message in sent:
        assert_refused(bob, message, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)


@pytest.mark.rfc("R-15.3-02", "R-15.3-03", "R-15.3-04", "N-M03", "B47")
def test_what_is_kept_for_late_messages_is_bounded() -> None:
    world = World(max_forward_steps=8, max_skipped_keys=3)
    alice, bob = world.group(2)
    sent = [alice.encrypt(b"%d" % number) for number in range(12)]
    assert_refused(bob, sent[9], UnavailableSecret, "R-15.3-03", Code.TOO_FAR_FUTURE)
    assert heard(bob, sent[8]) == b"8"
    for number in range(5):
        assert_refused(bob, sent[number], UnavailableSecret, "R-15.3-04", Code.TOO_OLD)
    for number in (6, 5, 7, 11, 9, 10):
        assert heard(bob, sent[number]) == b"%d" % number
    assert heard(world.restart(bob), alice.encrypt(b"on")) == b"on"


@pytest.mark.rfc("R-9.2-05", "R-6.3.1-09", "R-16.5-01", "N-M01a", "N-M01b")
@RESTARTS
def test_a_forgery_that_comes_first_does_not_cost_the_genuine_message(restarts: bool) -> None:
    world = World()
    alice, bob, carol = world.group(3)
    sent = [alice.encrypt(b"%d" % number) for number in range(6)]
    insider = Insider(world, carol)
    lie = insider.signed(insider.framed(ApplicationData(b"lie")), PRIVATE)
    for number in (0, 3, 5):
        # Carol knows alice's keys and not her signature key: sender data and content open, the signature fails.
        forged = insider.private(lie, Envelope(leaf=0, generation=number))
        assert_refused(bob, forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
        body = private_message(sent[number])
        garbled = body.ciphertext[:-1] + bytes([body.ciphertext[-1] ^ 1])
        message = wrapped(replace(body, ciphertext=garbled))
        assert_refused(bob, message, InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)
        if restarts:
            bob = world.restart(bob)
    for number in (3, 0, 5, 1, 4, 2):
        assert heard(bob, sent[number]) == b"%d" % number


@pytest.mark.rfc("R-9.2-05", "R-12.4.2-06", "N-M01b", "B46")
def test_a_forged_handshake_does_not_cost_the_genuine_one() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    insider = Insider(world, carol)
    forged = insider.signed(insider.framed(ProposalContent(RemoveProposal(LeafIndex(1)))), PRIVATE)
    proposal = alice.propose(Update())
    message = insider.private(forged, Envelope(leaf=0, generation=0))
    assert_refused(bob, message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    world.deliver(proposal.message, bob, carol)
    message = insider.private(forged, Envelope(leaf=0, generation=1))
    assert_refused(bob, message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    pending = world.commit(alice, (), bob, carol)
    world.agree(alice, bob, carol)
    assert pending.effect.epoch == 2


@pytest.mark.rfc("R-9.2-08")
def test_a_commit_that_came_encrypted_spends_its_key_when_it_is_merged() -> None:
    world = World()
    alice, bob = world.group(2)
    pending = alice.commit()
    staged = [bob.receive(pending.message) for _ in range(2)]
    assert all(isinstance(each, StagedCommit) for each in staged)
    before = bob.fingerprint()
    bob = world.restart(bob)
    assert bob.fingerprint() == before
    world.deliver(pending.message, bob)
    alice.merge(pending)
    world.agree(alice, bob)


@pytest.mark.rfc("R-15.3-02")
def test_a_staged_commit_is_merged_even_if_its_key_made_room_for_others() -> None:
    world = World(max_skipped_keys=2)
    alice, bob, carol = world.group(3)
    pending = alice.commit()
    staged = bob.receive(pending.message)
    assert isinstance(staged, StagedCommit)
    later = [alice.propose(Update()).message for _ in range(4)]
    assert isinstance(bob.receive(later[-1]), ProposalReceived)
    assert_refused(bob, pending.message, UnavailableSecret, "R-15.3-04", Code.TOO_OLD)
    bob.merge(staged)
    alice.merge(pending)
    world.deliver(pending.message, carol)
    world.agree(alice, world.restart(bob), carol)


@pytest.mark.rfc("R-12.4.2-02", "R-9.2-08")
def test_a_proposal_is_recorded_once() -> None:
    world = World()
    alice, bob = world.group(2)
    private = alice.propose(Update()).message
    assert isinstance(bob.receive(private), ProposalReceived)
    assert_refused(bob, private, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)
    insider = Insider(world, alice)
    public = insider.propose(RemoveProposal(LeafIndex(1)), wire_format=PUBLIC)
    first, before = bob.receive(public), bob.fingerprint()
    assert (bob.receive(public), bob.fingerprint()) == (first, before)
    assert len(bob.proposals) == 2


@pytest.mark.rfc("R-9.2-01", "R-9.2-02", "R-6.3.1-07", "N-M10", "B08")
def test_what_was_read_cannot_be_read_again_from_anything_that_is_held() -> None:
    world = World()
    alice, bob = world.group(2)
    message = alice.encrypt(b"once")
    tree = bob._standing.secret_tree
    staged = tree.stage(LeafIndex(0), private_message(message).content_type, 0)
    key = staged.key.expose()
    assert heard(bob, message) == b"once"
    assert staged.key.is_wiped
    held = [thing.expose() for thing in reachable(bob) if isinstance(thing, Secret) and not thing.is_wiped]
    assert held
    assert key not in held
    assert all(key not in value for value in records(world.stores["member-1"]).values())


@pytest.mark.rfc("R-6.3.1-07", "R-6.3.1-08")
def test_a_generation_is_stored_as_spent_before_its_message_is_handed_out() -> None:
    world = World()
    alice, bob = world.group(2)
    for number in range(5):
        data = b"%d" % number
        message = alice.encrypt(data)
        alice = world.restart(alice)
        event = bob.receive(message)
        assert isinstance(event, ApplicationMessage)
        assert (event.data, event.generation) == (data, number)
