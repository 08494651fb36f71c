"""Processing a commit. RFC 9420 §12.4.2."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import intents
from mls.epoch.public_commit import stage_public_commit
from mls.epoch.receive_commit import Known, stage_commit
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidCommit,
    InvalidFraming,
    InvalidKey,
    InvalidPath,
    InvalidSignature,
    InvalidTag,
    MLSError,
    UnavailableSecret,
    UsageError,
    WrongEpoch,
)
from mls.events import StagedCommit
from mls.intents import Intent
from mls.messages import (
    Commit,
    CommitSource,
    ExternalSenderIndex,
    FramedContent,
    FramedContentAuthData,
    MemberSender,
    ProposalContent,
    Remove,
)
from tests.adversarial.insider import PRIVATE, PUBLIC, assert_refused, public_message, refusal, wrapped
from tests.support.crafting import Forger
from tests.support.live import reachable_bytes
from tests.support.scenes import Scene, staged
from tests.support.world import World, join, records
from treekem.index import LeafIndex, NodeIndex
from treekem.nodes import HPKECiphertext, UpdatePath
from treekem.path import apply_path
from treekem.wire import encode


@pytest.fixture
def scene() -> Scene:
    world = World()
    groups = world.group(4)
    return Scene(world, groups, Forger(world, groups[1]))


@pytest.mark.rfc("R-12.4.2-01", "R-6-11", "N-X09")
@pytest.mark.parametrize("epoch", [0, 2, 2**64 - 1])
def test_a_commit_is_for_the_present_epoch(scene: Scene, epoch: int) -> None:
    commit = Commit((), scene.forger.path())
    for wire_format in (PUBLIC, PRIVATE):
        message = scene.forger.say(commit, wire_format=wire_format, epoch=epoch)
        refused = assert_refused(scene.receivers, message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
        assert (getattr(refused, "current", None), getattr(refused, "received", None)) == (1, epoch)


@pytest.mark.rfc("R-12.4.2-01", "R-6-07", "R-6.1-10")
def test_what_was_opened_is_judged_once_more_where_it_is_processed(scene: Scene) -> None:
    receiver = scene.receivers[0]
    state, env = receiver._standing.state, receiver._environment()
    genuine = scene.forger.read(scene.forger.honest())
    framed = genuine.content
    wrong: list[tuple[FramedContent, type[MLSError], str]] = [
        *((replace(framed, epoch=epoch), WrongEpoch, "R-12.4.2-01") for epoch in (0, 2, 2**64 - 1)),
        (replace(framed, content=ProposalContent(Remove(LeafIndex(3)))), InvalidCommit, "R-6-07"),
        (replace(framed, sender=ExternalSenderIndex(0)), InvalidCommit, "R-6.1-10"),
    ]
    before = receiver.fingerprint()
    for stage in (
        lambda content: stage_commit(state, content, Known({}, {}, {}), env),
        lambda content: stage_public_commit(state.group, content, {}, env),
    ):
        for changed, error, rule in wrong:
            with pytest.raises(error) as caught:
                stage(replace(genuine, content=changed))
            assert caught.value.rule == rule
        assert stage(genuine) is not None
    assert receiver.fingerprint() == before


@pytest.mark.rfc("R-12.4.2-02", "R-12.4.2-03", "R-6.2-03", "N-X08", "P01")
def test_a_commit_is_tagged_and_signed_by_a_member(scene: Scene) -> None:
    message = public_message(scene.forger.honest())
    assert message.membership_tag is not None
    flipped = bytes([message.membership_tag[0] ^ 1]) + message.membership_tag[1:]
    for tag in (flipped, message.membership_tag[:-1], b""):
        forged = wrapped(replace(message, membership_tag=tag))
        assert_refused(scene.receivers, forged, InvalidTag, "R-6.2-03", Code.BAD_MEMBERSHIP_TAG)
    signature = bytes([message.auth.signature[0] ^ 1]) + message.auth.signature[1:]
    content = scene.forger.read(wrapped(message))
    tagged = scene.forger.public(replace(content, auth=replace(content.auth, signature=signature)))
    assert_refused(scene.receivers, tagged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    for group in scene.receivers:
        staged(group, wrapped(message))


@pytest.mark.rfc("R-12.4.2-16", "R-6.1-15", "N-X07")
@pytest.mark.parametrize("private", [False, True])
def test_a_commit_is_confirmed(scene: Scene, private: bool) -> None:
    content = scene.forger.read(scene.forger.honest())
    true = content.auth.confirmation_tag or b""
    refused = (InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    for tag in (bytes(32), b"", true[:-1], true + b"\0"):
        if private:
            forged = scene.forger.signed(content.content, PRIVATE, tag=tag)
            assert_refused(scene.receivers, scene.forger.private(forged), *refused)
            continue
        changed = replace(content, auth=FramedContentAuthData(content.auth.signature, tag))
        assert_refused(scene.receivers, scene.forger.public(changed), *refused)
    for group in scene.receivers:
        staged(group, scene.forger.public(content))


@pytest.mark.rfc("R-6.1-07", "N-X10")
def test_a_commit_comes_from_somebody_who_is_there(scene: Scene) -> None:
    for leaf in (4, 99):
        message = scene.forger.commit(path=scene.forger.path(), sender=MemberSender(LeafIndex(leaf)))
        assert_refused(scene.receivers, message, InvalidFraming, "R-6.1-07", Code.UNVERIFIED)
    other = scene.forger.commit(path=scene.forger.path(), sender=MemberSender(LeafIndex(2)))
    witnesses = [scene.groups[0], scene.groups[3]]
    assert_refused(witnesses, other, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)


def changed_path(path: UpdatePath, position: int, **fields: object) -> UpdatePath:
    node = replace(path.nodes[position], **fields)  # type: ignore[arg-type]  # fields of a node
    return replace(path, nodes=(*path.nodes[:position], node, *path.nodes[position + 1 :]))


@pytest.mark.rfc("R-7.6-02", "R-7.6-03", "N-X03", "N-X04")
def test_a_path_has_a_node_and_a_ciphertext_for_everyone(scene: Scene) -> None:
    path = scene.forger.path()
    assert [len(node.encrypted_path_secret) for node in path.nodes] == [1, 2]
    for nodes in ((), path.nodes[:1], (*path.nodes, path.nodes[0])):
        message = scene.forger.commit(path=replace(path, nodes=nodes))
        assert_refused(scene.receivers, message, InvalidPath, "R-7.6-02", Code.BAD_PATH)
    sealed = path.nodes[1].encrypted_path_secret
    for ciphertexts in ((), sealed[:1], (*sealed, sealed[0])):
        message = scene.forger.commit(path=changed_path(path, 1, encrypted_path_secret=ciphertexts))
        assert_refused(scene.receivers, message, InvalidPath, "R-7.6-03", Code.BAD_PATH)


@pytest.mark.rfc("R-7.5-06", "R-7.6-03", "N-X04")
def test_nothing_is_sealed_to_who_is_added(scene: Scene) -> None:
    add = scene.add()
    path = scene.forger.path(add)
    assert [len(node.encrypted_path_secret) for node in path.nodes] == [1, 2, 0]
    message = scene.forger.commit(
        add, path=changed_path(path, 2, encrypted_path_secret=path.nodes[0].encrypted_path_secret)
    )
    assert_refused(scene.receivers, message, InvalidPath, "R-7.6-03", Code.BAD_PATH)
    for group in scene.receivers:
        staged(group, scene.forger.honest(add))


@pytest.mark.rfc("R-12.4.2-11", "R-12.4.2-12", "N-X05")
def test_the_keys_of_a_path_are_new(scene: Scene) -> None:
    tree = scene.forger.state.group.tree
    own_parent = next(node.encryption_key for _, node in tree.parents())
    other_leaf = scene.by(0).own_leaf().encryption_key
    path = scene.forger.path()
    refused = (InvalidPath, "R-12.4.2-11", Code.DUPLICATE_KEY)
    own_leaf = scene.forger.own_leaf().encryption_key
    for key in (own_parent, other_leaf, other_leaf[:-1] + bytes([other_leaf[-1] | 0x80]), own_leaf):
        message = scene.forger.commit(path=changed_path(path, 0, encryption_key=key))
        assert_refused(scene.receivers, message, *refused)
    message = scene.forger.commit(path=scene.forger.path(encryption_key=own_parent))
    assert_refused(scene.receivers, message, *refused)
    for key in (path.nodes[1].encryption_key, path.leaf_node.encryption_key):
        message = scene.forger.commit(path=changed_path(path, 0, encryption_key=key))
        assert_refused(scene.receivers, message, InvalidPath, "R-12.4.2-12", Code.DUPLICATE_KEY)
    for bad in (b"", bytes(32)):
        refusals = [
            refusal(group, scene.forger.commit(path=changed_path(path, 0, encryption_key=bad)))
            for group in scene.receivers
        ]
        assert all(isinstance(each, InvalidKey) for each in refusals)


@pytest.mark.rfc("R-7.5-08", "R-12.4.2-09", "N-X06")
@pytest.mark.parametrize("parent_hash", [b"", bytes(32), b"short"])
def test_the_leaf_of_a_path_carries_its_parent_hash(scene: Scene, parent_hash: bytes) -> None:
    path = scene.forger.path(source=CommitSource(parent_hash))
    refused = (InvalidPath, "R-7.5-08", Code.PARENT_HASH_MISMATCH)
    assert_refused(scene.receivers, scene.forger.commit(path=path), *refused)


@pytest.mark.rfc("R-7.5-14", "R-7.6-06", "R-12.4.2-13", "N-X12", "N-X14")
def test_the_secrets_of_a_path_lead_to_its_keys(scene: Scene) -> None:
    forger, carol = scene.forger, scene.groups[2]
    path = forger.path()
    sealed, for_dave = path.nodes[1].encrypted_path_secret
    for garbage in (replace(sealed, ciphertext=bytes(48)), replace(sealed, ciphertext=sealed.ciphertext[:-1])):
        message = forger.commit(path=changed_path(path, 1, encrypted_path_secret=(garbage, for_dave)))
        refused = refusal(carol, message)
        assert (type(refused), refused.code) == (InvalidCiphertext, Code.AEAD_FAILED)
        assert (refused.leaf, refused.authenticated) == (1, True)
    # A secret that is sealed well, but is too short, or is that of another path.
    other = forger.path()
    for secret, rule in ((b"short", "R-7.6-06"), (bytes(32), "R-7.5-14")):
        message = forger.commit(path=resealed(forger, path, secret))
        refused = refusal(carol, message)
        assert (type(refused), refused.rule, refused.code) == (InvalidPath, rule, Code.PATH_SECRET_MISMATCH)
        assert (refused.leaf, refused.authenticated) == (1, True)
    # Good secrets under keys of another path: the parent hash gives it away, and the context that seals depends on it.
    mixed = replace(path, nodes=(replace(path.nodes[0], encryption_key=other.nodes[0].encryption_key), path.nodes[1]))
    message = forger.commit(path=mixed)
    assert_refused(scene.receivers, message, InvalidPath, "R-7.5-08", Code.PARENT_HASH_MISMATCH)


def resealed(forger: Forger, path: UpdatePath, secret: bytes) -> UpdatePath:
    """Return a path that tells the third member another secret, sealed under the right context."""
    tree = apply_path(forger.state.group.tree, forger.leaf, path, forger.suite)
    tree_hash = tree.tree_hash(forger.suite)
    context = replace(forger.context, epoch=forger.context.epoch + 1, tree_hash=tree_hash)
    key = tree.encryption_key(NodeIndex(4))
    assert key is not None
    sealed = forger.suite.encrypt_with_label(key, b"UpdatePathNode", encode(context), secret, forger.env.entropy)
    return changed_path(
        path, 1, encrypted_path_secret=(HPKECiphertext(*sealed), path.nodes[1].encrypted_path_secret[1])
    )


@pytest.mark.rfc("R-12.4.2-05", "R-12.4.2-19")
def test_a_commit_that_removes_us_is_no_failure_even_with_a_psk_that_we_lack(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    for client in list(scene.world.clients.values())[:3]:
        client.add_psk(b"psk", b"secret")
    wanted: list[Intent] = [intents.Remove(3), intents.PreSharedKey(b"psk")]
    pending = scene.world.commit(bob, wanted, alice, carol)
    event = staged(dave, pending.message)
    assert event.effect.removed_me
    assert [member.leaf for member in event.effect.removed] == [3]
    assert event.effect.committer is None


@pytest.mark.rfc("R-12.4.2-19", "R-12.4.2-20", "N-X11")
def test_who_is_removed_stops_and_forgets(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    secrets = {
        dave._standing.state.secrets.init_secret.expose(),
        *(key.expose() for key in dave._standing.state.own.private_keys.values()),
    }
    scene.world.commit(bob, [intents.Remove(3)], alice, carol, dave)
    assert dave.is_retired
    prefix = f"group/{dave.group_id.hex()}/"
    assert not [name for name in records(dave._store) if name.startswith(prefix) and "/resumption/" not in name]
    assert not secrets & reachable_bytes(dave._standing)
    for attempt in (lambda: dave.encrypt(b"x"), dave.commit, lambda: dave.receive(bob.encrypt(b"x"))):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == Code.GROUP_RETIRED


@pytest.mark.rfc("R-12.4.2-21", "R-14-05")
@pytest.mark.parametrize("private", [False, True])
def test_an_own_commit_that_comes_back_is_recognised(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    pending = alice.commit()
    before = alice.fingerprint()
    event = alice.receive(pending.message)
    assert isinstance(event, StagedCommit)
    assert event.own
    assert alice.fingerprint() == before
    alice.merge(event)
    world.deliver(pending.message, bob)
    world.agree(alice, bob)


@pytest.mark.rfc("R-12.4.2-14", "R-12.4.1-05")
def test_a_commit_without_a_path_moves_on_with_the_tree(scene: Scene) -> None:
    alice = scene.groups[0]
    before = alice.tree_hash
    client = scene.world.client("outsider")
    pending = scene.world.commit(alice, [intents.Add(client.key_package())], *scene.groups[1:], path=False)
    assert alice.tree_hash != before
    scene.world.agree(*scene.groups, join(client, pending))


@pytest.mark.rfc("R-12.4.2-22")
def test_an_update_whose_key_is_gone_cannot_be_followed(scene: Scene) -> None:
    update = scene.update(2)
    message = scene.by(1).honest(update)
    carol = scene.groups[2]
    pending = carol._standing.proposals[update.reference]
    carol._standing.proposals[update.reference] = replace(pending, update_key=None)
    refused = refusal(carol, message)
    assert (type(refused), refused.rule) == (UnavailableSecret, "R-12.4.2-22")
    carol._standing.proposals[update.reference] = pending
    carol.merge(staged(carol, message))
    scene.groups[0].merge(staged(scene.groups[0], message))
    scene.world.agree(carol, scene.groups[0])


@pytest.mark.rfc("R-12.2-08", "R-12.3-04", "R-12.2-22")
def test_a_leaf_changes_hands_within_one_commit(scene: Scene) -> None:
    alice, bob, carol, dave = scene.groups
    client = scene.world.clients["member-2"]
    wanted: list[Intent] = [intents.Add(client.key_package()), intents.Remove(2)]
    pending = scene.world.commit(alice, wanted, bob, dave)
    assert staged(carol, pending.message).effect.removed_me
    carol.merge(staged(carol, pending.message))
    again = join(client, pending)
    assert again.me.leaf == 2
    scene.world.agree(alice, bob, dave, again)
    scene.world.commit(again, (), alice, bob, dave)
    scene.world.agree(alice, bob, dave, again)
