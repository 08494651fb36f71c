"""RFC 9420 §2, §3: what a group, a client and an epoch are."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from mls import Add, Client, CredentialPolicy, Identity, MemoryStore, Remove, StagedCommit
from mls.crypto import HPKEPrivateKey
from mls.epoch.state import EpochState
from mls.errors import InvalidCiphertext, Refused, UsageError
from mls.identity.policy import Place, Subject
from mls.messages import (
    Commit,
    Credential,
    GroupContext,
    InlineProposal,
    MLSMessage,
    PreSharedKey,
    PublicMessage,
    ResumptionPSK,
    ResumptionPSKUsage,
)
from mls.messages import Remove as RemoveProposal
from tests.support.world import ANYONE, World, join, records
from treekem.index import LeafIndex
from treekem.nodes import HPKECiphertext, UpdatePath
from treekem.wire import decode, encode


class RefusesMallory(CredentialPolicy):
    """Accepts everybody else."""

    def identity(self, credential: Credential) -> bytes:
        return ANYONE.identity(credential)

    def same_client(self, one: Subject, other: Subject) -> bool:
        return ANYONE.same_client(one, other)

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        del place, now
        if self.identity(subject.credential) == b"mallory":
            raise Refused("not mallory")


def path_of(message: bytes) -> UpdatePath:
    body = decode(MLSMessage, message).body
    assert isinstance(body, PublicMessage)
    assert isinstance(body.content.content, Commit)
    assert body.content.content.path is not None
    return body.content.content.path


def opened(state: EpochState, private: HPKEPrivateKey, context: GroupContext, sealed: HPKECiphertext) -> bytes:
    return state.suite.decrypt_with_label(
        private, b"UpdatePathNode", encode(context), sealed.kem_output, sealed.ciphertext
    )


def is_opened(state: EpochState, private: HPKEPrivateKey, context: GroupContext, sealed: HPKECiphertext) -> bool:
    try:
        return bool(opened(state, private, context, sealed))
    except InvalidCiphertext:
        return False


@pytest.mark.rfc("R-2-03")
def test_clients_do_not_share_their_private_state() -> None:
    world = World()
    alice = world.client("alice")
    before = records(world.stores["alice"])
    with pytest.raises(UsageError, match="holds a client already"):
        Client.create(world.stores["alice"], Identity.basic(b"alice", 1), policy=ANYONE)
    assert records(world.stores["alice"]) == before
    assert Client.create(MemoryStore(), Identity.basic(b"alice", 1), policy=ANYONE).identity == alice.identity


@pytest.mark.rfc("R-3-01")
def test_the_authentication_service_is_whatever_the_application_brings() -> None:
    world = World()
    alice = world.client("alice", policy=RefusesMallory()).create_group()
    bob, mallory = world.client("bob"), world.client("mallory")
    with pytest.raises(Refused, match="not mallory"):
        alice.commit([Add(mallory.key_package())])
    (room,) = world.add(alice, bob)
    world.agree(alice, room)


@pytest.mark.rfc("R-3.1-01", "R-3.1-02")
def test_a_commit_replaces_tree_keys_and_ratchets_together() -> None:
    world = World()
    alice, bob = world.group(2)
    late = alice.encrypt(b"before")
    before = (alice.tree_hash, alice.epoch_authenticator)
    world.commit(alice, (), bob)
    assert alice.tree_hash != before[0]
    assert alice.epoch_authenticator != before[1]
    # Each ratchet starts anew: the first message of the epoch has generation 0.
    heard = bob.receive(alice.encrypt(b"after"))
    assert getattr(heard, "generation", None) == 0
    assert getattr(bob.receive(late), "data", None) == b"before"


@pytest.mark.rfc("R-3.1-02")
def test_nothing_of_a_path_is_sealed_to_whoever_it_removes() -> None:
    world = World(private_handshakes=False)
    alice, bob, carol, dave = world.group(4)
    old_dave = dave._standing.state
    dave_keys = [private.copy() for private in old_dave.own.private_keys.values()]
    pending = world.commit(alice, [Remove(carol.me)], bob, dave)
    world.agree(alice, bob, dave)
    state = carol._standing.state
    context = replace(state.group.context, epoch=pending.epoch + 1, tree_hash=alice.tree_hash)
    sealed = [each for node in path_of(pending.message).nodes for each in node.encrypted_path_secret]
    for private, each in product(state.own.private_keys.values(), sealed):
        with pytest.raises(InvalidCiphertext):
            opened(state, private, context, each)
    context = replace(context, extensions=dave._standing.state.group.context.extensions)
    assert any(is_opened(old_dave, private, context, each) for private, each in product(dave_keys, sealed))


@pytest.mark.rfc("R-3.2-01")
def test_a_proposal_alone_changes_nothing_that_members_agree_on() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    before = (alice.epoch, alice.tree_hash, alice.epoch_authenticator, alice.members)
    proposal = alice.propose(Remove(carol.me))
    world.deliver(proposal.message, bob, carol)
    for group in (alice, bob, carol):
        assert (group.epoch, group.tree_hash, group.epoch_authenticator, group.members) == before
        (waiting,) = group.proposals
        assert waiting.proposal == RemoveProposal(LeafIndex(2))
    world.commit(bob, (), alice)
    assert alice.members == bob.members == before[3][:2]


@pytest.mark.rfc("R-3.4-02")
def test_a_branch_is_tied_to_its_group_and_leaves_it_as_it_is() -> None:
    world = World()
    alice, bob = world.group(2)
    fingerprints = [alice.fingerprint(), bob.fingerprint()]
    clients = [world.clients[world.name_of(group)] for group in (alice, bob)]
    branch, pending = clients[0].branch(alice, [clients[1].key_package()])
    first = decode(MLSMessage, pending.message).body
    assert isinstance(first, PublicMessage)
    assert isinstance(first.content.content, Commit)
    links = [
        each.proposal.psk.psk
        for each in first.content.content.proposals
        if isinstance(each, InlineProposal) and isinstance(each.proposal, PreSharedKey)
    ]
    assert links == [ResumptionPSK(ResumptionPSKUsage.BRANCH, alice.group_id, alice.epoch)]
    branch.merge(pending)
    assert branch.epoch == 1
    world.agree(branch, join(clients[1], pending))
    assert [alice.fingerprint(), bob.fingerprint()] == fingerprints
    world.agree(alice, bob)


@pytest.mark.rfc("R-3.2-02")
def test_a_committer_moves_on_only_when_its_commit_was_taken() -> None:
    world = World()
    alice, bob = world.group(2)
    mine, theirs = alice.commit(), bob.commit()
    assert (alice.epoch, bob.epoch) == (1, 1)
    echo = alice.receive(mine.message)
    assert isinstance(echo, StagedCommit)
    assert alice.epoch == 1
    alice.merge(echo)
    world.deliver(mine.message, bob)
    world.agree(alice, bob)
    assert theirs.epoch == 1
