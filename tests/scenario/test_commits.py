"""Commits that wait, win, lose and come back, the proposals that they cover, and what each leaves behind."""

from __future__ import annotations

import pytest

from mls import ALL, Add, Group, OwnMessage, PendingCommit, ProposalReceived, Remove, StagedCommit, Update
from mls.epoch.framing import open_sender_data
from mls.errors import Code, InvalidCommit, InvalidProposal, UnavailableSecret, UsageError, WrongEpoch
from mls.messages import Commit, ContentType, ProposalRef
from mls.messages import Remove as WireRemove
from tests.adversarial.insider import Insider, assert_refused, private_message
from tests.support.world import World, join, records
from treekem.index import LeafIndex

FRAMES = pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
OF_ALL, OF_A_SENDER = "S-max_pending_proposals", "S-max_pending_proposals_per_sender"
RESTARTS = pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])


def generation_of(reader: Insider, message: bytes) -> int:
    """Return the generation that a member tells in the sender data of its message."""
    return open_sender_data(reader.suite, private_message(message), reader.state.secrets.sender_data).generation


def agreed(group: Group) -> tuple[object, ...]:
    """Return what members agree on, and what waits; creating a commit leaves all of it alone."""
    return group.epoch, group.tree_hash, group.epoch_authenticator, group.members, group.proposals, group.ratchet_tree


def assert_stale(group: Group, commit: PendingCommit | StagedCommit) -> None:
    before = group.fingerprint()
    with pytest.raises(UsageError) as caught:
        group.merge(commit)
    assert (caught.value.code, caught.value.rule) == (Code.STALE_HANDLE, "R-14-05")
    assert group.fingerprint() == before


@pytest.mark.rfc("R-14-01", "R-14-06", "R-6.3.1-08", "R-12.4.1-01", "R-12.4.1-10")
@RESTARTS
def test_creating_a_commit_changes_nothing_but_a_generation_that_stays_spent(restarts: bool) -> None:
    world = World()
    alice, bob, carol = world.group(3)
    world.deliver(carol.propose(Update()).message, alice, bob)
    reader, before, tree = Insider(world, bob), agreed(alice), alice._standing.secret_tree
    generations = []
    for _ in range(3):
        ahead = tree.next_generation(alice.me.leaf, ContentType.COMMIT)
        pending = alice.commit()
        assert agreed(alice) == before
        generations.append(generation_of(reader, pending.message))
        assert generations[-1] == ahead
        alice.discard(alice.pending[0])
        assert alice.pending == ()
        if restarts:
            alice = world.restart(alice)
            tree = alice._standing.secret_tree
        assert agreed(alice) == before
    assert generations == [0, 1, 2]
    with pytest.raises(UsageError):
        alice.discard(pending)
    world.commit(alice, (), bob, carol)
    world.agree(alice, bob, carol)


@pytest.mark.rfc("R-14-02", "R-14-04", "R-14-05")
@FRAMES
@RESTARTS
def test_of_two_commits_one_wins_and_the_other_is_stale(private: bool, restarts: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    mine, second, theirs = alice.commit(), alice.commit(), bob.commit()
    assert [each.message for each in alice.pending] == [mine.message, second.message]
    staged = carol.receive(second.message)
    assert isinstance(staged, StagedCommit)
    if restarts:
        alice, bob = world.restart(alice), world.restart(bob)
        assert [each.message for each in alice.pending] == [mine.message, second.message]
    bob.merge(theirs)
    world.deliver(theirs.message, alice, carol)
    world.agree(alice, bob, carol)
    assert alice.pending == ()
    assert not any("/candidate/" in name for name in records(world.stores["member-0"]))
    assert_stale(alice, mine)
    assert_stale(alice, second)
    assert_stale(carol, staged)
    assert_refused([bob, carol], mine.message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    world.commit(alice, (), bob, carol)
    world.agree(alice, bob, carol)


@pytest.mark.rfc("R-12.4.2-21", "R-14-02", "B13")
@FRAMES
@RESTARTS
def test_an_own_commit_that_comes_back_is_merged_from_what_was_kept(private: bool, restarts: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    first = alice.commit()
    second = alice.commit([Add(world.client("carol").key_package())])
    if restarts:
        alice = world.restart(alice)
    echo = alice.receive(second.message)
    assert isinstance(echo, StagedCommit)
    assert echo.own
    assert echo.effect == second.effect
    assert [member.identity for member in echo.effect.added] == [b"carol"]
    alice.merge(echo)
    world.deliver(second.message, bob)
    world.agree(alice, bob, join(world.clients["carol"], second))
    assert_stale(alice, first)
    assert_stale(alice, echo)
    assert_refused(alice, second.message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)


@pytest.mark.rfc("B13", "R-12.4.2-21")
@FRAMES
def test_an_own_commit_that_was_discarded_is_not_taken_back(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    pending = alice.commit()
    alice.discard(pending)
    assert_refused(alice, pending.message, UnavailableSecret, "R-12.4.2-21", Code.STALE_HANDLE)
    assert_stale(alice, pending)
    world.commit(bob, (), alice)
    world.agree(alice, bob)


@RESTARTS
def test_candidates_keep_their_order_when_one_is_discarded(restarts: bool) -> None:
    world = World()
    alice, _ = world.group(2)
    commits = [alice.commit() for _ in range(4)]
    alice.discard(commits.pop(1))
    commits += [alice.commit() for _ in range(6)]
    alice.discard(commits.pop(0))
    commits.append(alice.commit())
    if restarts:
        alice = world.restart(alice)
    assert [each.message for each in alice.pending] == [each.message for each in commits]


@pytest.mark.rfc("R-14-05", "R-2-02")
@FRAMES
def test_a_staged_commit_is_merged_where_it_was_staged(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    other = world.add(alice_two := world.clients["member-0"].create_group(), world.client("dora"))[0]
    pending = alice.commit()
    for_bob, for_carol = bob.receive(pending.message), carol.receive(pending.message)
    foreign = other.receive(alice_two.commit().message)
    for staged in (for_bob, for_carol, foreign):
        assert isinstance(staged, StagedCommit)
    assert isinstance(for_bob, StagedCommit)
    assert isinstance(for_carol, StagedCommit)
    assert isinstance(foreign, StagedCommit)
    for wrong in (for_carol, foreign):
        assert_stale(bob, wrong)
    restarted = world.restart(bob)
    assert_stale(restarted, for_bob)
    carol.merge(for_carol)
    world.deliver(pending.message, restarted)
    alice.merge(pending)
    world.agree(alice, restarted, carol)


@pytest.mark.rfc("R-12.4-02", "R-15.2-02", "R-12.4-04", "R-12.4-12")
@FRAMES
@RESTARTS
def test_proposals_wait_for_a_commit_and_nobody_talks_meanwhile(private: bool, restarts: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol, dora = world.group(4)
    groups = [alice, bob, carol, dora]
    sent = [bob.propose(Update()), carol.propose(Remove(3)), dora.propose(Update())]
    sent.append(alice.propose(Add(world.client("erin").key_package())))
    for author, proposal in zip((bob, carol, dora, alice), sent, strict=True):
        events = world.deliver(proposal.message, *(group for group in groups if group is not author))
        assert all(isinstance(event, ProposalReceived) and event.ref == proposal.ref for event in events)
    if restarts:
        groups = [world.restart(group) for group in groups]
    alice, bob, carol, dora = groups
    for group in groups:
        assert {each.ref for each in group.proposals} == {each.ref for each in sent}
        before = group.fingerprint()
        with pytest.raises(UsageError) as caught:
            group.encrypt(b"meanwhile")
        assert (caught.value.code, caught.value.rule) == (Code.MUST_COMMIT_FIRST, "R-12.4-02")
        assert group.fingerprint() == before

    pending = world.commit(alice, (), bob, carol, dora)
    assert dora.is_retired
    assert [proposal.ref for proposal, _ in pending.left_out] == [sent[2].ref]
    erin = join(world.clients["erin"], pending)
    world.agree(alice, bob, carol, erin)
    assert erin.me.leaf == 3
    for group in (alice, bob, carol, erin):
        assert group.proposals == ()
        group.encrypt(b"again")
    for committer in (bob, erin):
        world.commit(committer, (), *(each for each in (alice, bob, carol, erin) if each is not committer))
        world.agree(alice, bob, carol, erin)


@pytest.mark.rfc("R-12.4.2-22", "R-12.1.2-01")
@FRAMES
@RESTARTS
def test_one_of_several_updates_is_covered(private: bool, restarts: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    updates = [bob.propose(Update()) for _ in range(3)]
    for update in updates:
        world.deliver(update.message, alice, carol)
    if restarts:
        bob = world.restart(bob)
    world.commit(alice, (), bob, carol, include=[updates[1].ref])
    world.agree(alice, bob, carol)
    world.commit(carol, (), alice, bob)
    world.commit(bob, (), alice, carol)
    world.agree(alice, bob, carol)


@pytest.mark.rfc("R-12.4-05", "R-12.4-11", "R-12.4-06")
def test_a_commit_may_leave_proposals_out_and_then_they_are_gone() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    left = bob.propose(Remove(2))
    world.deliver(left.message, alice, carol)
    world.commit(alice, (), bob, carol, include=[])
    world.agree(alice, bob, carol)
    assert (alice.proposals, bob.proposals) == ((), ())
    with pytest.raises(UsageError):
        alice.commit(include=[left.ref])
    assert_refused(carol, left.message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    for reference in (left.ref, b"unseen"):
        insider = Insider(world, alice)
        message = insider.say(Commit((ProposalRef(reference),), None))
        error = assert_refused([bob, carol], message, InvalidCommit, "R-12.4-11", Code.UNKNOWN_PROPOSAL_REF)
        assert (error.authenticated, error.index, error.leaf) == (True, 0, 0)
    world.deliver(bob.propose(Remove(2)).message, alice, carol)
    world.commit(alice, (), bob, carol, include=ALL)
    assert carol.is_retired


@pytest.mark.rfc("B13")
@FRAMES
def test_own_proposals_that_come_back_are_recognised(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    sent = alice.propose(Update())
    before = alice.fingerprint()
    event = alice.receive(sent.message)
    assert event == OwnMessage(0 if private else None)
    assert alice.fingerprint() == before
    if not private:
        first, again = bob.receive(sent.message), bob.receive(sent.message)
        assert first == again
    assert len(alice.proposals) == 1


@FRAMES
def test_a_proposal_made_twice_is_one(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    first, again = alice.propose(Remove(2)), alice.propose(Remove(2))
    assert first.ref == again.ref
    events = [bob.receive(each.message) for each in (first, again)]
    assert events[0] == events[1]
    if private:
        assert_refused(bob, again.message, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)
    assert (len(alice.proposals), len(bob.proposals)) == (1, 1)
    world.commit(bob, (), alice)
    for name in ("member-0", "member-1"):
        assert not any("/proposal/" in key for key in records(world.stores[name]))
    alice, bob = world.restart(alice), world.restart(bob)
    assert alice.proposals == bob.proposals == ()
    alice.encrypt(b"nothing is pending")
    assert carol.epoch == 1


@pytest.mark.rfc("S-max_pending_proposals", "S-max_pending_proposals_per_sender", "N-P14")
def test_how_many_proposals_wait_is_limited() -> None:
    world = World()
    bob, carol, dora = world.group(3)
    limited = world.client("alice", max_pending_proposals=3, max_pending_proposals_per_sender=2)
    alice = world.add(bob, limited, others=[carol, dora])[0]
    for author, allowed, rule in ((bob, 2, OF_A_SENDER), (carol, 1, OF_ALL), (dora, 0, OF_ALL)):
        sent = [author.propose(Update()).message for _ in range(3)]
        for message in sent[:allowed]:
            world.deliver(message, alice)
        for message in sent[allowed:]:
            assert_refused(alice, message, InvalidProposal, rule, Code.LIMIT_EXCEEDED)
    assert len(alice.proposals) == 3


@pytest.mark.rfc("S-max_pending_proposals", "S-max_pending_proposals_per_sender")
def test_nobody_proposes_more_than_others_keep() -> None:
    world = World(max_pending_proposals=3, max_pending_proposals_per_sender=2)
    alice, bob, carol = world.group(3)
    for author, allowed, rule in ((alice, 2, OF_A_SENDER), (bob, 1, OF_ALL), (carol, 0, OF_ALL)):
        for _ in range(allowed):
            world.deliver(author.propose(Update()).message, *({alice, bob, carol} - {author}))
        before, stored = author.fingerprint(), records(world.stores[world.name_of(author)])
        with pytest.raises(UsageError) as caught:
            author.propose(Update())
        assert (caught.value.rule, caught.value.code) == (rule, Code.LIMIT_EXCEEDED)
        assert (author.fingerprint(), records(world.stores[world.name_of(author)])) == (before, stored)
    world.commit(carol, (), alice, bob)
    world.agree(alice, bob, carol)


def test_a_proposal_made_twice_needs_room_once() -> None:
    world = World(max_pending_proposals_per_sender=1)
    alice, bob = world.group(2)
    for _ in range(2):
        world.deliver(alice.propose(Remove(bob.me)).message, bob)
    assert len(alice.proposals) == len(bob.proposals) == 1


@pytest.mark.rfc("R-12.4-09", "R-12.4-07", "R-12.4-08")
def test_a_path_is_left_out_where_that_is_allowed() -> None:
    world = World()
    alice, bob = world.group(2)
    pending = world.commit(alice, [Add(world.client("carol").key_package())], bob, path=False)
    carol = join(world.clients["carol"], pending)
    world.agree(alice, bob, carol)
    for intents in ((), (Remove(1),)):
        with pytest.raises(UsageError) as caught:
            alice.commit(intents, path=False)
        assert (caught.value.code, caught.value.rule) == (Code.PATH_REQUIRED, "R-12.4-08")
    world.commit(carol, (), alice, bob)
    world.agree(alice, bob, carol)


def test_what_is_no_intent_is_refused_by_name() -> None:
    alice, _ = World(seed=61).group(2)
    before = alice.fingerprint()

    with pytest.raises(UsageError, match="Remove is not something"):
        alice.commit([WireRemove(LeafIndex(1))])  # type: ignore[list-item]  # the misuse that is to be refused

    assert alice.fingerprint() == before
