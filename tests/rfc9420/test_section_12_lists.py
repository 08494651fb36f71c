"""Lists of proposals: what is refused at both ends, and what a committer chooses. RFC 9420 §12.2, §12.4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from mls import AcceptAnyone, intents
from mls.epoch.proposals import QueuedProposal, verify_list
from mls.epoch.queue import select_proposals
from mls.errors import (
    Code,
    InvalidLeafNode,
    InvalidProposalList,
    MLSError,
    UsageError,
)
from mls.events import StagedCommit
from mls.identity import Place, Subject
from mls.identity.policy import identity_of
from mls.messages import (
    Add,
    Credential,
    MemberSender,
    Proposal,
    Remove,
    Update,
)
from tests.adversarial.insider import refusal
from tests.support.crafting import (
    UPDATE,
    Forger,
    Sent,
    crafted_package,
    message_of,
    package_of,
)
from tests.support.scenes import NO_EXTENSIONS, REINIT, Scene, psk, staged
from tests.support.world import World, records
from treekem.index import LeafIndex


@pytest.fixture
def scene() -> Scene:
    world = World(external_senders=True, new_member_proposals=True)
    groups = world.group(4)
    return Scene(world, groups, Forger(world, groups[1]))


# The list, §12.2. Each is refused at both ends, and at the receiving end by value and by reference.


@pytest.mark.rfc("R-12.2-01", "R-12.2-03", "R-12.4.2-04", "N-P01", "R-12.4-03")
def test_a_committer_does_not_cover_its_own_update(scene: Scene) -> None:
    update = Update(scene.forger.leaf_node(UPDATE))
    scene.assert_both_refuse((update,), InvalidProposalList, "R-12.2-03")
    scene.assert_both_refuse((scene.sent(1, update),), InvalidProposalList, "R-12.2-03")
    scene.assert_taken(scene.update(2))


@pytest.mark.rfc("R-12.2-01", "R-12.2-04", "N-P02", "N-X10", "R-12.4.1-01")
def test_a_committer_does_not_remove_itself(scene: Scene) -> None:
    remove = Remove(LeafIndex(1))
    scene.assert_both_refuse((remove,), InvalidProposalList, "R-12.2-04")
    scene.assert_both_refuse((scene.sent(3, remove),), InvalidProposalList, "R-12.2-04")
    scene.assert_taken(Remove(LeafIndex(2)))


@pytest.mark.rfc("R-12.2-01", "R-12.2-05", "R-12.2-02", "N-P03")
def test_a_leaf_is_updated_or_removed_once(scene: Scene) -> None:
    one, other = scene.update(2), scene.update(2)
    remove = Remove(LeafIndex(2))
    sent = scene.sent(3, remove)
    for proposals in ((one, other), (one, remove), (remove, one), (remove, remove), (sent, remove), (sent, sent)):
        scene.assert_both_refuse(proposals, InvalidProposalList, "R-12.2-05")
    scene.assert_taken(one, scene.update(3))
    scene.assert_taken(sent)


@dataclass(frozen=True)
class Counting(AcceptAnyone):
    """Counts how often it is asked who somebody is, and how often two are compared."""

    asked: Counter[str] = field(default_factory=Counter)

    def identity(self, credential: Credential) -> bytes:
        self.asked["identity"] += 1
        return super().identity(credential)

    def same_client(self, one: Subject, other: Subject) -> bool:
        self.asked["pair"] += 1
        return super().same_client(one, other)

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        self.asked[identity_of(subject.credential).decode()] += 1
        return super().accept(subject, place, now)


@pytest.mark.rfc("R-12.4-03", "R-12.2-22")
def test_one_proposal_that_does_not_go_with_the_others_is_found_in_few_trials() -> None:
    world, policy = World(max_pending_proposals_per_sender=64), Counting()
    alice = world.client("alice", policy=policy).create_group()
    bob, carol = world.add(alice, world.client("bob"), world.client("carol"))
    packages = [world.client(f"pending {i}").key_package() for i in range(32)]
    for package in packages:
        world.deliver(bob.propose(intents.Add(package)).message, alice, carol)
    world.deliver(carol.propose(intents.Add(packages[3])).message, alice, bob)
    policy.asked.clear()
    pending = alice.commit([intents.Add(world.client("wanted").key_package())])
    assert len(pending.left_out) == 1
    assert len(pending.effect.added) == len(packages) + 1
    assert policy.asked["wanted"] <= 16
    world.deliver(pending.message, bob, carol)
    alice.merge(pending)
    world.agree(alice, bob, carol)


@pytest.mark.rfc("R-12.2-07", "R-12.2-08")
def test_many_clients_of_one_identity_are_described_once_each_and_compared_in_pairs() -> None:
    counts = []
    for n in (10, 20):
        world, policy = World(), Counting()
        bob = world.client("bob", policy=policy)
        alice = world.group(1)[0]
        group = world.add(alice, bob)[0]
        pending = alice.commit([intents.Add(world.client("of many clients").key_package()) for _ in range(n)])
        policy.asked.clear()
        group.receive(pending.message)
        assert policy.asked["pair"] == n * (n - 1) // 2
        counts.append(policy.asked["identity"])
    assert counts[1] <= 2 * counts[0]


@pytest.mark.rfc("R-12.2-01", "R-12.2-07", "R-12.2-08", "N-P04")
def test_a_client_is_added_once(scene: Scene) -> None:
    client = scene.world.client("twice")
    first, second = Add(package_of(client.key_package())), Add(package_of(client.key_package()))
    scene.assert_both_refuse((first, second), InvalidProposalList, "R-12.2-07")
    scene.assert_both_refuse((scene.sent(2, first), second), InvalidProposalList, "R-12.2-07")
    again = Add(package_of(scene.world.clients["member-2"].key_package()))
    scene.assert_both_refuse((again,), InvalidProposalList, "R-12.2-08")
    for group in scene.receivers[:1]:
        event = staged(group, scene.by(1).honest(again, Remove(LeafIndex(2))))
        assert [member.leaf for member in event.effect.added] == [2]


@pytest.mark.rfc("R-12.2-01", "R-12.2-10", "N-P06")
def test_the_extensions_change_once(scene: Scene) -> None:
    scene.assert_both_refuse((NO_EXTENSIONS, NO_EXTENSIONS), InvalidProposalList, "R-12.2-10")
    sent = scene.sent(2, NO_EXTENSIONS)
    scene.assert_both_refuse((sent, NO_EXTENSIONS), InvalidProposalList, "R-12.2-10")
    scene.assert_taken(sent)


@pytest.mark.rfc("R-12.2-01", "R-12.2-11", "N-P07")
def test_a_reinit_is_alone(scene: Scene) -> None:
    for other in (psk(), scene.add(), Remove(LeafIndex(2)), REINIT, NO_EXTENSIONS, scene.update(3)):
        scene.assert_both_refuse((REINIT, other), InvalidProposalList, "R-12.2-11")
        scene.assert_both_refuse((other, REINIT), InvalidProposalList, "R-12.2-11")
    scene.assert_taken(REINIT)


@pytest.mark.rfc("R-12.2-02", "R-12.4-03")
def test_an_error_names_the_place_in_the_list(scene: Scene) -> None:
    forger = scene.forger
    message = forger.commit(scene.add(), scene.add(), Remove(LeafIndex(9)), path=forger.path())
    for group in scene.receivers:
        refused = refusal(group, message)
        assert (refused.rule, refused.index, refused.leaf) == ("R-12.1.3-02", 2, 1)
    with pytest.raises(InvalidProposalList) as caught:
        verify_list(forger.queued(scene.add(), Remove(LeafIndex(1))), forger.leaf)
    assert caught.value.index == 1


@pytest.mark.rfc("S-max_leaves")
def test_how_wide_a_tree_may_grow_is_a_setting() -> None:
    world = World(max_leaves=4)
    groups = world.group(4)
    scene = Scene(world, groups, Forger(world, groups[1]))
    add = scene.add()
    with pytest.raises(MLSError) as caught:
        scene.forger.order(add)
    assert (caught.value.rule, caught.value.code) == ("S-max_leaves", Code.LIMIT_EXCEEDED)
    refused = refusal(groups[0], scene.forger.commit(add, path=scene.forger.path()))
    assert (refused.rule, refused.code) == ("S-max_leaves", Code.LIMIT_EXCEEDED)
    assert isinstance(groups[0].receive(scene.forger.honest(Remove(LeafIndex(3)), add)), StagedCommit)


# The choice, §12.2, §12.4.


def selected(scene: Scene, *wanted: Proposal, pending: Sequence[Sent]) -> tuple[list[Proposal], dict[bytes, str]]:
    """Return what the first member would commit, and what it would leave out, by reference, with the reasons."""
    own = tuple(QueuedProposal(each, MemberSender(LeafIndex(0))) for each in wanted)
    env = scene.groups[0]._environment()
    state = scene.groups[0]._standing.state.group
    selection = select_proposals(state, LeafIndex(0), own, [each.queued for each in pending], env)
    taken = [each.proposal for each in selection.taken]
    return taken, {queued.reference: reason for queued, reason in selection.left_out}


@pytest.mark.rfc("R-12.2-06", "R-12.4-04")
def test_a_remove_wins_over_an_update_and_the_last_update_over_others(scene: Scene) -> None:
    first, last = scene.update(2), scene.update(2)
    other = scene.update(3)
    remove = scene.sent(1, Remove(LeafIndex(2)))
    for pending in ([first, last, other], [first, last, other, remove], [remove, first, last, other]):
        taken, left_out = selected(scene, pending=pending)
        winner = remove if remove in pending else last
        assert winner.queued.proposal in taken
        assert other.queued.proposal in taken
        expected = {first.reference, last.reference} if remove in pending else {first.reference}
        assert set(left_out) == expected
    assert left_out[last.reference] == "the member is removed"


@pytest.mark.rfc("R-12.2-12", "R-12.2-11")
def test_a_reinit_waits_for_other_proposals(scene: Scene) -> None:
    reinit, other = scene.sent(1, REINIT), scene.sent(2, NO_EXTENSIONS)
    taken, left_out = selected(scene, pending=[reinit, other])
    assert taken == [NO_EXTENSIONS]
    assert set(left_out) == {reinit.reference}
    assert selected(scene, pending=[reinit]) == ([REINIT], {})
    # What the application asks for itself goes first.
    assert selected(scene, REINIT, pending=[other])[0] == [REINIT]


@pytest.mark.rfc("R-12.2-03", "R-12.2-04", "R-12.4-04")
def test_a_committer_leaves_out_what_it_may_not_commit(scene: Scene) -> None:
    alice = scene.groups[0]
    own = alice.propose(intents.Update())
    remove = scene.by(1).send(Remove(LeafIndex(0)))
    unknown = scene.by(2).send(psk(b"never heard of"))
    useful = scene.by(2).send(NO_EXTENSIONS)
    for sent in (remove, unknown, useful):
        alice.receive(sent.message)
    pending = alice.commit()
    assert {proposal.ref for proposal, _ in pending.left_out} == {own.ref, remove.reference, unknown.reference}
    assert all(reason for _, reason in pending.left_out)
    assert pending.effect.extensions_changed


@pytest.mark.rfc("R-12.4-04", "R-12.4-05", "R-12.4-06")
def test_what_is_pending_goes_in_and_what_is_left_out_is_no_fault(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    adds = [scene.by(2).send(scene.add()) for _ in range(2)]
    for add in adds:
        scene.world.deliver(add.message, alice, bob, dave)
    assert len(alice.commit().effect.added) == 2
    assert alice.commit(include=[adds[1].reference]).effect.added[0].leaf == 4
    # The receivers know of both, and take a commit of neither.
    scene.world.commit(alice, (), bob, dave, include=())
    scene.world.agree(alice, bob, dave)
    assert carol.epoch == alice.epoch - 1
    scene.world.commit(alice, [intents.Add(message_of(adds[0].queued.proposal.key_package))], bob, dave)  # type: ignore[union-attr]  # an Add
    with pytest.raises(UsageError):
        alice.commit(include=[b"no reference"])


@pytest.mark.rfc("R-12.2-01", "R-12.2-15")
def test_what_is_wanted_is_refused_even_when_nothing_is_pending(scene: Scene) -> None:
    alice = scene.groups[0]
    before, stored = alice.fingerprint(), records(alice._store)
    mistaken = (intents.Remove(0), InvalidProposalList, "R-12.2-04"), (intents.Update(), UsageError, "R-12.2-03")
    for wanted, error, rule in mistaken:
        with pytest.raises(error) as caught:
            alice.commit([wanted])
        assert caught.value.rule == rule
    duplicate = crafted_package(
        scene.world.client("x"), leaf={"encryption_key": scene.forger.own_leaf().encryption_key}
    )
    with pytest.raises(InvalidLeafNode) as refused:
        alice.commit([intents.Add(message_of(duplicate))])
    assert refused.value.rule == "R-7.3-14"
    assert (alice.fingerprint(), records(alice._store)) == (before, stored)
