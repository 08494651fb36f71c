"""Applying a list, and creating a commit. RFC 9420 §12.3, §12.4, §12.4.1."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from mls import intents
from mls.epoch.proposals import apply_proposals, is_path_required
from mls.epoch.transition import provisional_context
from mls.errors import (
    Code,
    InvalidCommit,
    InvalidProposalList,
    UsageError,
)
from mls.events import StagedCommit
from mls.intents import Intent
from mls.messages import (
    Add,
    Commit,
    CommitSource,
    CustomProposal,
    ExternalInit,
    InlineProposal,
    MLSMessage,
    Proposal,
    ProposalRef,
    ProtocolVersion,
    Remove,
    Update,
)
from mls.schedule.transcript import confirmed_transcript_hash
from tests.adversarial.insider import assert_refused, public_message
from tests.support.crafting import UPDATE, Forger, package_of
from tests.support.extending import POLL, REGISTRY, RETITLE
from tests.support.live import reachable_bytes
from tests.support.scenes import NO_EXTENSIONS, REINIT, Scene, psk, staged
from tests.support.world import World, join, records
from treekem.index import LeafIndex, NodeIndex
from treekem.wire import decode, encode


@pytest.fixture
def scene() -> Scene:
    world = World()
    groups = world.group(4)
    return Scene(world, groups, Forger(world, groups[1]))


# Applying, §12.3.


@pytest.mark.rfc("R-12.3-01", "R-12.3-03", "R-12.3-04")
def test_the_order_of_a_list_matters_for_adds_and_psks_alone(scene: Scene) -> None:
    update = scene.update(3)
    first, second = scene.add(), scene.add()
    proposals = scene.forger.queued(update, Remove(LeafIndex(2)), first, second, NO_EXTENSIONS)
    group, env = scene.forger.state.group, scene.forger.env
    trees: dict[bool, set[bytes]] = {}
    keys = [psk(b"one"), psk(b"other"), psk(b"one", b"\1" * 32)]
    for injected in itertools.permutations(keys):
        applied = apply_proposals(group, scene.forger.queued(update, *injected, second), env)
        assert applied.psks == tuple(each.psk for each in injected)
    for order in itertools.permutations(proposals):
        applied = apply_proposals(group, order, env)
        adds_in_order = order.index(proposals[2]) < order.index(proposals[3])
        trees.setdefault(adds_in_order, set()).add(applied.tree.encode())
        assert sorted(index for index, _ in applied.added) == [2, 4]
    assert {adds_in_order: len(found) for adds_in_order, found in trees.items()} == {True: 1, False: 1}
    assert trees[True] != trees[False]


@pytest.mark.rfc("R-12.1.2-04", "R-12.1.3-03")
def test_an_update_and_a_remove_blank_every_node_above_their_leaf() -> None:
    world = World()
    groups = world.group(8)
    for committer in (0, 2, 4, 6):
        world.commit(groups[committer], (), *(group for group in groups if group is not groups[committer]))
    scene = Scene(world, groups, Forger(world, groups[7]))
    group, env = scene.forger.state.group, scene.forger.env
    assert [x for x, _ in group.tree.parents()] == [1, 3, 5, 7, 9, 11, 13]
    update = scene.update(2)
    for proposal, is_blank in ((update, False), (Remove(LeafIndex(2)), True)):
        tree = apply_proposals(group, scene.forger.queued(proposal), env).tree
        assert [x for x, _ in tree.parents()] == [1, 9, 11, 13]
        assert (tree.leaf(LeafIndex(2)) is None) is is_blank
        assert tree.leaf(LeafIndex(2)) != group.tree.leaf(LeafIndex(2))


@pytest.mark.rfc("R-12.3-03")
def test_updates_and_removes_may_stand_in_any_order() -> None:
    world = World()
    groups = world.group(6)
    scene = Scene(world, groups, Forger(world, groups[1]))
    first, second = scene.update(3), scene.update(5)
    proposals = scene.forger.queued(first, second, Remove(LeafIndex(2)), Remove(LeafIndex(4)))
    group, env = scene.forger.state.group, scene.forger.env
    trees = {apply_proposals(group, order, env).tree.encode() for order in itertools.permutations(proposals)}
    assert len(trees) == 1
    pending = world.commit(groups[0], [intents.Remove(4), intents.Remove(2)], groups[1], groups[3], groups[5])
    assert {member.leaf for member, _ in pending.effect.updated} >= {3, 5}
    world.agree(groups[0], groups[1], groups[3], groups[5])


# What a commit is, §12.4.


@pytest.mark.rfc("R-12.4-01")
def test_the_fields_of_a_commit() -> None:
    commit = Commit((InlineProposal(Remove(LeafIndex(2))), ProposalRef(b"hash")), None)
    expected = "0d 01 0003 00000002 02 04 68617368 00"
    assert encode(commit) == bytes.fromhex(expected)
    assert decode(Commit, encode(commit)) == commit


@pytest.mark.rfc("R-12.4-02")
def test_proposals_are_committed_before_anything_is_said(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    sent = bob.propose(intents.Update())
    scene.world.deliver(sent.message, alice, carol, dave)
    for group in scene.groups:
        before = group.fingerprint()
        with pytest.raises(UsageError) as caught:
            group.encrypt(b"hello")
        assert (caught.value.rule, caught.value.code) == ("R-12.4-02", Code.MUST_COMMIT_FIRST)
        assert group.fingerprint() == before
    scene.world.commit(carol, (), alice, bob, dave)
    scene.world.deliver(carol.encrypt(b"hello"), alice, bob, dave)


PATHLESS = ["add", "psk", "reinit"]


def of_kind(scene: Scene, kind: str) -> Proposal:
    match kind:
        case "add":
            return scene.add()
        case "psk":
            return psk()
        case "reinit":
            return REINIT
        case "remove":
            return Remove(LeafIndex(2))
        case _:
            return NO_EXTENSIONS


OWN: dict[str, Intent] = {"remove": intents.Remove(2), "extensions": intents.GroupContextExtensions(())}


@pytest.mark.rfc("R-12.4-07", "R-12.4-08", "R-12.4-13", "R-12.4.2-07", "N-X01")
@pytest.mark.parametrize("kind", ["nothing", "remove", "extensions", "update"])
@pytest.mark.parametrize("by_reference", [False, True])
def test_a_path_is_due(scene: Scene, kind: str, by_reference: bool) -> None:
    entries: tuple[Proposal | bytes, ...] = ()
    if kind == "update":
        entries = (scene.update(2).reference,)
    elif kind != "nothing":
        proposal = of_kind(scene, kind)
        entries = (scene.sent(3, proposal).reference if by_reference else proposal,)
    pathless = scene.by(1).commit(*entries)
    refused = (InvalidCommit, "R-12.4-08", Code.PATH_REQUIRED)
    assert_refused(scene.receivers, pathless, *refused)
    if entries:  # A harmless companion changes nothing.
        assert_refused(scene.receivers, scene.by(1).commit(*entries, psk()), *refused)
    before = scene.groups[1].fingerprint()
    own: list[Intent] = [] if by_reference or kind in {"nothing", "update"} else [OWN[kind]]
    with pytest.raises(UsageError) as caught:
        scene.groups[1].commit(own, path=False)
    assert caught.value.code == Code.PATH_REQUIRED
    assert scene.groups[1].fingerprint() == before


@pytest.mark.rfc("R-12.4-08", "R-12.4-09", "R-12.4.1-02", "N-X02")
@pytest.mark.parametrize("path", [None, True, False])
@pytest.mark.parametrize("kind", PATHLESS)
def test_a_path_may_be_left_out(scene: Scene, kind: str, path: bool | None) -> None:
    for client in scene.world.clients.values():
        client.add_psk(b"psk", b"secret")
    proposal = of_kind(scene, kind)
    created = scene.by(1).order(proposal, path=path)
    body = public_message(encode(created.message)).content.content
    assert isinstance(body, Commit)
    assert (body.path is None) is (path is False)
    for group in scene.receivers:
        event = staged(group, encode(created.message))
        group.merge(event)
    scene.world.agree(*scene.receivers)


@pytest.mark.rfc("R-12.4-08", "R-12.4-10", "R-17.4-01")
def test_what_requires_a_path(scene: Scene) -> None:
    queued = scene.forger.queued
    for proposal in (scene.add(), psk(), REINIT):
        assert not is_path_required(queued(proposal))
    leaf = scene.forger.leaf_node(UPDATE)
    for other in (Update(leaf), Remove(LeafIndex(2)), ExternalInit(b""), NO_EXTENSIONS):
        assert is_path_required(queued(other))
        assert is_path_required(queued(psk(), other))
    assert is_path_required(())
    # An application's types say what they need; of others nothing is known.
    poll, retitle, unknown = (CustomProposal(kind, b"") for kind in (POLL.proposal_type, RETITLE.proposal_type, 0xF1FF))
    assert not is_path_required(queued(poll), REGISTRY)
    for custom in (retitle, unknown):
        assert is_path_required(queued(custom), REGISTRY)
        assert is_path_required(queued(poll, custom), REGISTRY)


@pytest.mark.rfc("R-12.4-11", "R-12.4-12", "N-P11")
def test_a_reference_keeps_its_sender(scene: Scene) -> None:
    update = scene.update(2)
    staged_by = {group.me.leaf: staged(group, scene.by(1).honest(update)) for group in scene.receivers}
    for event in staged_by.values():
        assert [old.leaf for old, _ in event.effect.updated] == [2]
    bob = scene.by(1)
    message = bob.commit(update, b"no reference", path=bob.path())
    refused = assert_refused(scene.receivers, message, InvalidCommit, "R-12.4-11", Code.UNKNOWN_PROPOSAL_REF)
    assert refused.index == 1
    # What stands in the commit is the committer's own, and it may not cover its own Update.
    own = Update(bob.leaf_node(UPDATE))
    bad_list = (InvalidProposalList, "R-12.2-03", Code.BAD_PROPOSAL_LIST)
    assert_refused(scene.receivers, bob.commit(own, path=bob.path()), *bad_list)


# Creating a commit, §12.4.1.


@pytest.mark.rfc("R-12.4.1-01", "R-12.4.2-06", "R-12.4.2-17", "R-14-02")
def test_a_commit_changes_nothing_until_it_is_merged(scene: Scene) -> None:
    alice, bob, carol, _ = scene.groups
    context, tree = alice._standing.state.group.context, alice.ratchet_tree
    pending = alice.commit([intents.Remove(3), intents.Add(scene.world.client("x").key_package())])
    assert (alice._standing.state.group.context, alice.ratchet_tree, alice.epoch) == (context, tree, 1)
    before, stored = bob.fingerprint(), records(bob._store)
    event = bob.receive(pending.message)
    assert (bob.fingerprint(), records(bob._store)) == (before, stored)
    scene.world.deliver(carol.encrypt(b"still here"), alice, bob)
    assert isinstance(event, StagedCommit)
    bob.merge(event)
    alice.merge(pending)
    scene.world.agree(alice, bob)
    assert alice.ratchet_tree != tree


@pytest.mark.rfc("R-12.4.1-03", "R-12.4.1-06", "R-12.4.1-08", "R-12.4.1-09", "R-12.4.2-15")
def test_the_three_contexts_of_a_commit(scene: Scene) -> None:
    forger = scene.forger
    old = forger.state.group
    created = forger.order(Remove(LeafIndex(2)))
    after = created.transition.state
    assert after is not None
    new = after.group.context
    content = forger.read(encode(created.message))
    confirmed = confirmed_transcript_hash(forger.suite, old.interim_transcript_hash, content)
    assert (new.epoch, new.confirmed_transcript_hash) == (2, confirmed)
    assert new.tree_hash == after.group.tree.tree_hash(forger.suite) != old.context.tree_hash
    applied = apply_proposals(old, forger.queued(Remove(LeafIndex(2))), forger.env)
    sealed_under = provisional_context(old, after.group.tree, applied)
    assert sealed_under == replace(new, confirmed_transcript_hash=old.context.confirmed_transcript_hash)
    assert content.auth.confirmation_tag == forger.suite.mac(after.secrets.confirmation_key, confirmed)


@pytest.mark.rfc("R-12.4.1-05", "R-7.5-10", "R-12.4-07")
@pytest.mark.parametrize("leaf", [0, 1, 2])
def test_a_sole_member_commits_at_any_leaf(leaf: int) -> None:
    world = World()
    groups = world.group(leaf + 1)
    last = groups[leaf]
    pending = last.commit([intents.Remove(other) for other in range(leaf)])
    last.merge(pending)
    assert [member.leaf for member in last.members] == [leaf]
    for _ in range(3):
        authenticator = last.epoch_authenticator
        last.merge(last.commit())
        assert last.epoch_authenticator != authenticator
    node = last._standing.state.group.leaf_node(LeafIndex(leaf))
    assert node is not None
    assert node.source == CommitSource(b"")
    # Somebody joins, at the leftmost free leaf, by a path of one node without a ciphertext and by none at all.
    joined = [world.add(last, world.client(f"joiner {leaf}"))[0]]
    pathless = last.commit([intents.Add(world.client(f"later {leaf}").key_package())], path=False)
    last.merge(pathless)
    world.deliver(pathless.message, *joined)
    joined.append(join(world.clients[f"later {leaf}"], pathless))
    world.agree(last, *joined)
    for group in (*joined, last):
        world.commit(group, (), *(other for other in (last, *joined) if other is not group))
        world.agree(last, *joined)


@pytest.mark.rfc("R-12.4.1-03", "R-7.5-12", "R-12.4.2-23", "B20")
def test_a_blank_left_half_is_no_obstacle() -> None:
    world = World()
    groups = world.group(4)
    carol, dave = groups[2:]
    world.commit(dave, [intents.Remove(0), intents.Remove(1)], carol)
    assert carol._standing.state.group.tree.n_leaves == 4
    for committer, other in ((carol, dave), (dave, carol)):
        world.commit(committer, (), other)
        world.agree(carol, dave)
        # The root reaches nobody new; the topmost node of the path has no parent hash.
        tree = committer._standing.state.group.tree
        assert tree.is_blank(NodeIndex(3))
        node = tree.parent(NodeIndex(5))
        assert node is not None
        assert node.parent_hash == b""
    (erin,) = world.add(carol, world.client("erin"), others=[dave])
    assert erin.me.leaf == 0
    world.commit(erin, (), carol, dave)
    world.agree(carol, dave, erin)


@pytest.mark.rfc("R-12.4.1-13", "R-7.5-04", "R-6.1-07", "B12")
def test_a_committer_changes_its_signature_key_and_adds_somebody(scene: Scene) -> None:
    keys = scene.forger.new_signature_keys()
    client = scene.world.client("outsider")
    add = Add(package_of(client.key_package()))
    created = scene.forger.order(add, leaf=scene.forger.content(signature_keys=keys))
    message = encode(created.message)
    for group in scene.receivers:
        group.merge(staged(group, message))
    assert created.welcome is not None
    joined = client.join(encode(MLSMessage(ProtocolVersion.MLS10, created.welcome))).accept()
    scene.world.agree(*scene.receivers, joined)
    assert joined.members[1].signature_key == keys.public


@pytest.mark.rfc("R-12.4.1-11", "R-12.4.1-12", "R-12.4.1-18")
@pytest.mark.parametrize("tree", ["inside", "beside"])
@pytest.mark.parametrize("path", [None, False])
def test_one_welcome_serves_all_who_join(scene: Scene, tree: str, path: bool | None) -> None:
    clients = [scene.world.client(f"new {i}") for i in range(5)]
    adds = [intents.Add(client.key_package()) for client in clients]
    pending = scene.world.commit(scene.groups[0], adds, *scene.groups[1:], tree=tree, path=path)
    joined = [join(client, pending) for client in clients]
    everybody = [*scene.groups, *joined]
    scene.world.agree(*everybody)
    for committer in (joined[4], scene.groups[3]):
        scene.world.commit(committer, (), *(group for group in everybody if group is not committer))
        scene.world.agree(*everybody)


@pytest.mark.rfc("R-12.4.1-07", "R-12.4.1-17")
def test_joiners_learn_the_psks_of_the_commit_in_order(scene: Scene) -> None:
    client = scene.world.client("outsider")
    for each in scene.world.clients.values():
        each.add_psk(b"one", b"secret 1")
        each.add_psk(b"two", b"secret 2")
    alice = scene.groups[0]
    package = client.key_package()
    wanted: list[Intent] = [intents.PreSharedKey(b"two"), intents.Add(package), intents.PreSharedKey(b"one")]
    pending = scene.world.commit(alice, wanted, *scene.groups[1:])
    assert pending.effect.psks == 2
    scene.world.agree(*scene.groups, join(client, pending))


@pytest.mark.rfc("R-7.5-16", "R-7.5-17", "R-12.4.2-23")
def test_keys_that_were_replaced_are_gone(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    old = {key.expose() for key in bob._standing.state.own.private_keys.values()}
    scene.world.commit(bob, (), alice, carol, dave)
    scene.world.commit(carol, (), alice, bob, dave)
    held = {key.expose() for key in bob._standing.state.own.private_keys.values()}
    assert not old & held
    assert not old & reachable_bytes(bob._standing)
    # And what the present path was made of was wiped when it had been sealed or opened.
    update = dave.propose(intents.Update())
    scene.world.deliver(update.message, alice, bob, carol)
    key = dave._standing.proposals[update.ref].update_key
    assert key is not None
    scene.world.commit(alice, (), bob, carol, dave, include=())
    assert key.is_wiped


@pytest.mark.rfc("R-8.1-03", "N-X09")
def test_the_last_epoch_has_no_successor(scene: Scene) -> None:
    forger = scene.forger
    group = replace(forger.state.group, context=replace(forger.context, epoch=2**64 - 1))
    forger.state = replace(forger.state, group=group)
    with pytest.raises(UsageError) as caught:
        forger.order()
    assert (caught.value.rule, caught.value.code) == ("R-8.1-03", Code.EPOCH_EXHAUSTED)
