"""Groups from their founding on: who is in, who was, and how the tree grows and shrinks under them."""

from __future__ import annotations

import pytest

from mls import AcceptAnyone, Add, ApplicationMessage, Client, Group, ReInit, Remove, StagedCommit, Update
from mls.crypto import SignatureKeyPair
from mls.epoch.create_commit import LeafContent
from mls.epoch.join import ExternalJoin, join_by_external_commit
from mls.errors import (
    Code,
    InvalidFraming,
    InvalidMessage,
    InvalidProposalList,
    InvalidSignature,
    InvalidWelcome,
    UsageError,
    WrongEpoch,
    WrongGroup,
)
from mls.messages import ApplicationData, Credential, GroupInfo, LeafNode, MemberSender, MLSMessage
from tests.adversarial.insider import PRIVATE, Envelope, Insider, assert_refused
from tests.support.world import World, join, records
from treekem.index import LeafIndex
from treekem.wire import decode, encode


def without(groups: list[Group], *gone: Group) -> list[Group]:
    return [group for group in groups if all(group is not each for each in gone)]


def talk(world: World, groups: list[Group]) -> None:
    """Let everybody say something to all others."""
    for speaker in groups:
        said = b"from " + speaker.me.identity
        for event in world.deliver(speaker.encrypt(said), *without(groups, speaker)):
            assert isinstance(event, ApplicationMessage)
            assert (event.data, event.sender, event.epoch) == (said, speaker.me, speaker.epoch)


@pytest.mark.parametrize("suite", range(1, 8))
def test_create_add_talk_rekey_remove_agree(suite: int) -> None:
    world = World(suite)
    groups = world.group(4)
    world.agree(*groups)
    talk(world, groups)
    for committer in groups:
        world.commit(committer, (), *without(groups, committer))
        world.agree(*groups)
    secrets = {group.export_secret("label", b"context", 16).expose() for group in groups}
    assert len(secrets) == 1

    gone = groups.pop(1)
    world.commit(groups[2], [Remove(gone.me)], *groups[:2], gone)
    assert gone.is_retired
    world.agree(*groups)
    talk(world, groups)
    groups += world.add(groups[1], world.client("newcomer"), others=without(groups, groups[1]))
    assert [member.leaf for member in groups[0].members] == [0, 1, 2, 3]
    world.agree(*groups)
    talk(world, groups)
    assert groups[0].export_secret("label", b"context", 16).expose() not in secrets


@pytest.mark.rfc("R-12.4.2-19", "R-16.6-01", "N-M12")
def test_who_is_removed_retires_and_keeps_nothing() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    event = bob.receive((pending := alice.commit([Remove(bob.me)])).message)
    assert isinstance(event, StagedCommit)
    assert event.effect.removed_me
    assert [member.identity for member in event.effect.removed] == [b"member-1"]
    late = carol.encrypt(b"before the end")
    assert isinstance(bob.receive(late), ApplicationMessage)
    bob.merge(event)

    assert bob.is_retired
    assert all(not name.startswith("group/") for name in records(world.stores["member-1"]))
    for refused in (bob.commit, lambda: bob.encrypt(b""), lambda: bob.propose(Update()), lambda: bob.receive(late)):
        with pytest.raises(UsageError) as caught:
            refused()
        assert caught.value.code is Code.GROUP_RETIRED
    for gone in (lambda: bob.export_secret("label", b"", 16), bob.group_info):
        with pytest.raises(UsageError) as caught:
            gone()
        assert caught.value.code is Code.GROUP_RETIRED
    with pytest.raises(WrongGroup):
        world.clients["member-1"].group(bob.group_id)
    assert world.clients["member-1"].groups == ()

    world.deliver(pending.message, carol)
    alice.merge(pending)
    again = world.add(alice, world.clients["member-1"], others=[carol])[0]
    world.agree(alice, carol, again)
    talk(world, [alice, carol, again])


def test_the_left_half_goes() -> None:
    world = World()
    groups = world.group(8)
    for group in groups:
        world.commit(group, (), *without(groups, group))
    right = groups[4:]
    world.commit(right[1], [Remove(leaf) for leaf in range(4)], *without(right, right[1]))
    for _ in range(2):
        for group in right:
            world.commit(group, (), *without(right, group))
            world.agree(*right)
    talk(world, right)
    world.commit(right[3], [Remove(4), Remove(5), Remove(6)], *right[:3])
    last = right[3]
    world.commit(last)
    assert [member.leaf for member in last.members] == [7]
    newcomers = world.add(last, world.client("a"), world.client("b"))
    world.agree(last, *newcomers)
    world.commit(newcomers[1], (), last, newcomers[0])
    talk(world, [last, *newcomers])


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_tree_shrinks_and_grows_and_leaves_are_used_again(restarts: bool) -> None:
    world = World()
    groups = world.group(9)
    for round_ in range(3):
        leavers = groups[4:]
        groups = groups[:4]
        world.commit(groups[round_], [Remove(each.me) for each in leavers], *without(groups, groups[round_]))
        assert groups[0]._standing.state.group.tree.n_leaves == 4
        clients = [world.client(f"round-{round_}-{number}") for number in range(5)]
        adder = groups[(round_ + 1) % 4]
        groups = groups + world.add(adder, *clients, others=without(groups, adder))
        assert [member.leaf for member in groups[0].members] == list(range(9))
        if restarts:
            groups = [world.restart(group) for group in groups]
        world.agree(*groups)
        talk(world, groups)
        for committer in (groups[8], groups[3]):
            world.commit(committer, (), *without(groups, committer))
        world.agree(*groups)


@pytest.mark.rfc("R-15-02", "R-6.1-07", "R-6.1-03", "N-M08", "B06")
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_late_message_is_verified_with_the_leaf_of_its_time(restarts: bool) -> None:
    world = World(max_past_epochs=3)
    alice, bob, carol, dora = world.group(4)
    old_bob = Insider(world, bob)
    late = [bob.encrypt(b"before I went"), carol.encrypt(b"before I changed"), dora.encrypt(b"as ever")]
    world.deliver(carol.propose(Update()).message, alice, bob, dora)
    world.commit(alice, [Remove(bob.me)], carol, dora)
    erin = world.add(alice, world.client("erin"), others=[carol, dora])[0]
    assert erin.me.leaf == 1
    world.commit(dora, (), alice, carol, erin)
    if restarts:
        alice = world.restart(alice)

    for message, who in zip(late, (b"member-1", b"member-2", b"member-3"), strict=True):
        event = alice.receive(message)
        assert isinstance(event, ApplicationMessage)
        assert (event.sender.identity, event.epoch) == (who, 1)
    # Erin has bob's leaf now, and none of his past.
    framed = old_bob.framed(ApplicationData(b"before I went"))
    said = old_bob.signed(framed, PRIVATE, key=Insider(world, erin).state.own.signature_key)
    forged = old_bob.private(said)
    for receiver in (carol, dora):
        assert_refused(receiver, forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
        assert isinstance(receiver.receive(late[0]), ApplicationMessage)
    with pytest.raises(WrongEpoch):
        erin.receive(late[2])


@pytest.mark.rfc("R-15-02", "R-6.3.2-06", "B06")
def test_a_leaf_that_was_blank_then_and_taken_since_sent_nothing() -> None:
    world = World(max_past_epochs=3)
    alice, bob, carol = world.group(3)
    old_bob = Insider(world, bob)
    # The tree shrinks to two leaves, then grows past the leaf that was blank: the epoch between had no such leaf.
    world.commit(alice, [Remove(carol.me)], bob)
    dora, erin = world.add(alice, world.client("dora"), world.client("erin"), others=[bob])
    assert (dora.me.leaf, erin.me.leaf) == (2, 3)
    framed = old_bob.framed(ApplicationData(b"I was there"), sender=MemberSender(LeafIndex(3)))
    said = old_bob.signed(framed, PRIVATE, key=Insider(world, erin).state.own.signature_key)
    forged = old_bob.private(said, Envelope(leaf=3))
    for receiver in (bob, world.twin(bob)):
        assert_refused(receiver, forged, InvalidFraming, "R-6.3.2-06", Code.UNVERIFIED)


@pytest.mark.rfc("R-15-02", "R-6-11", "N-M09", "R-12.4.2-17")
@pytest.mark.parametrize("kept", [0, 1, 2, 4])
def test_past_epochs_are_kept_as_many_as_settings_say(kept: int) -> None:
    world = World(max_past_epochs=kept)
    alice, bob = world.group(2)
    messages = []
    for _ in range(6):
        messages.append(alice.encrypt(b"hello"))
        world.commit(alice, (), bob)
    bob = world.restart(bob)
    for epoch, message in enumerate(messages, start=1):
        if epoch < bob.epoch - kept:
            error = assert_refused(bob, message, WrongEpoch, "R-6-11", Code.TOO_OLD)
            assert isinstance(error, WrongEpoch)
            assert error.received == epoch
        else:
            event = bob.receive(message)
            assert isinstance(event, ApplicationMessage)
            assert event.epoch == epoch
    stored = {name.split("/")[3] for name in records(world.stores["member-1"]) if "/ratchet/" in name}
    assert {int(epoch) for epoch in stored} == set(range(bob.epoch - kept, bob.epoch + 1))


@pytest.mark.rfc("R-12.4.3.1-10")
def test_a_tree_may_come_beside_the_welcome() -> None:
    world = World()
    alice, bob = world.group(2)
    carol = world.client("carol")
    pending = world.commit(alice, [Add(carol.key_package())], bob, tree="beside")
    assert pending.welcome is not None
    assert pending.ratchet_tree == alice.ratchet_tree
    with pytest.raises(InvalidWelcome) as caught:
        carol.receive(pending.welcome)
    assert caught.value.rule == "R-12.4.3.1-10"
    world.agree(alice, bob, join(carol, pending))


@pytest.mark.rfc("R-12.4.2-18", "R-11.2-01", "N-M12")
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_reinit_freezes_the_group(restarts: bool) -> None:
    world = World()
    alice, bob, carol = world.group(3)
    world.commit(alice, [ReInit(b"the next one", 1)], bob, carol)
    groups = [world.restart(each) for each in (alice, bob, carol)] if restarts else [alice, bob, carol]
    for group in groups:
        assert group.is_frozen
        for refused in (
            group.commit,
            lambda group=group: group.encrypt(b""),
            lambda group=group: group.propose(Update()),
        ):
            with pytest.raises(UsageError) as caught:
                refused()
            assert (caught.value.code, caught.value.rule) == (Code.GROUP_RETIRED, "R-12.4.2-18")

    insider = Insider(world, groups[0])
    insider.standing.frozen = None
    for message in (insider.group.propose(Remove(1)).message, insider.group.commit().message):
        error = assert_refused(groups[1:], message, InvalidMessage, "R-12.4.2-18", Code.GROUP_RETIRED)
        assert error.authenticated
    assert all(group.is_frozen for group in groups)


@pytest.mark.rfc("R-12.4.3.2-01", "R-12.4.2-08", "R-8.3-01")
def test_a_client_joins_by_an_external_commit() -> None:
    world = World(external_commits=True)
    alice, bob, carol = world.group(3)
    world.commit(alice, [Remove(1)], carol)
    client = world.client("dora")
    bundle = client._create_bundle(1000, last_resort=False, extensions=())
    joined = external_join(client, alice, bundle.key_package.leaf_node, bundle.signature_keys)
    staged = [group.receive(encode(joined.message)) for group in (alice, carol)]
    for event in staged:
        assert isinstance(event, StagedCommit)
        assert event.effect.external
        assert event.effect.committer is not None
        assert (event.effect.committer.leaf, event.effect.committer.identity) == (1, b"dora")
    world.deliver(encode(joined.message), alice, carol)
    dora = world.clients["dora"]._founded(joined.state, {})
    world.agree(alice, carol, dora)
    talk(world, [alice, carol, dora])
    world.commit(dora, (), alice, carol)
    world.commit(carol, (), alice, dora)
    world.agree(alice, carol, dora)
    assert bob.epoch == 1


class AllAreOne(AcceptAnyone):
    """A policy that cannot tell people apart."""

    def identity(self, credential: Credential) -> bytes:
        del credential
        return b"anyone"


def external_join(
    client: Client, group: Group, leaf: LeafNode, keys: SignatureKeyPair, replaces: LeafIndex | None = None
) -> ExternalJoin:
    """Let a client write an external commit from the GroupInfo of a member."""
    info = decode(MLSMessage, group.group_info()).body
    assert isinstance(info, GroupInfo)
    content = LeafContent(leaf.credential, keys, leaf.capabilities)
    return join_by_external_commit(info, None, content, client._environment(), replaces=replaces)


@pytest.mark.rfc("R-12.2-18", "R-12.2-19", "R-16.12-02")
def test_a_member_that_lost_its_state_joins_again_in_its_own_place() -> None:
    world = World(external_commits=True, resync=True, resync_without_psk=True)
    alice, bob, carol = world.group(3)
    stranger = world.client("dora")._create_bundle(1000, last_resort=False, extensions=())
    package, keys = stranger.key_package, stranger.signature_keys
    with pytest.raises(InvalidProposalList) as caught:
        external_join(world.clients["dora"], alice, package.leaf_node, keys, replaces=LeafIndex(1))
    assert caught.value.rule == "R-12.2-18"
    blind = world.open("dora", world.stores["dora"], AllAreOne())
    message = encode(external_join(blind, alice, package.leaf_node, keys, replaces=LeafIndex(1)).message)
    assert_refused([alice, carol], message, InvalidProposalList, "R-12.2-18", Code.CREDENTIAL_CHANGED)

    client, own = world.clients["member-1"], bob._standing.state
    leaf = own.group.leaf_node(LeafIndex(1))
    assert leaf is not None
    keys = SignatureKeyPair(own.own.signature_key, leaf.signature_key)
    joined = external_join(client, alice, leaf, keys, replaces=LeafIndex(1))
    world.deliver(encode(joined.message), alice, carol)
    world.agree(alice, carol)
    assert alice.epoch_authenticator == joined.state.secrets.epoch_authenticator
    assert [member.identity for member in alice.members] == [b"member-0", b"member-1", b"member-2"]
