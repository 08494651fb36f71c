"""RFC 9420 §7.4-7.6: what the commits of a group do to the keys of its members."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import Group, StagedCommit
from mls.crypto import SignatureKeyPair, SignaturePrivateKey
from mls.epoch.create_commit import CommitOrder, CreatedCommit, create_commit, own_leaf_content
from mls.errors import InvalidCiphertext, InvalidSignature
from mls.messages import Commit
from tests.adversarial.insider import Insider
from tests.support.world import World, records
from treekem.index import NodeIndex, direct_path, node_of
from treekem.nodes import UpdatePath
from treekem.suite import PathSecret
from treekem.wire import encode


def path_in(reader: Insider, message: bytes) -> UpdatePath:
    """Return the path of a commit that a member reads."""
    commit = reader.read(message).content.content
    assert isinstance(commit, Commit)
    assert commit.path is not None
    return commit.path


@pytest.mark.rfc("R-7.4-02", "R-7.4-03", "R-7.5-02")
def test_every_path_is_made_of_fresh_keys() -> None:
    world = World()
    alice, bob, _, _ = world.group(4)
    paths = [path_in(Insider(world, bob), alice.commit().message) for _ in range(3)]
    keys = [key for path in paths for key in (path.leaf_node.encryption_key, *(x.encryption_key for x in path.nodes))]
    assert [len(path.nodes) for path in paths] == [2, 2, 2]
    assert len(set(keys)) == 9


@pytest.mark.rfc("R-7.6-05", "R-7.4-02", "R-7.4-03", "R-7.4-05")
@pytest.mark.parametrize("suite", [1, 2])
def test_a_path_opened_by_hand(suite: int) -> None:
    world = World(suite)
    alice, bob, carol, dave = world.group(4)
    reader = Insider(world, bob)
    message = alice.commit().message
    path = path_in(reader, message)
    world.deliver(message, alice, bob, carol, dave)
    after, crypto = bob._standing.state.group.context, reader.suite
    provisional = replace(after, confirmed_transcript_hash=reader.context.confirmed_transcript_hash)
    (sealed,) = path.nodes[0].encrypted_path_secret
    key = reader.state.own.private_keys[NodeIndex(2)]

    def opened(context: bytes) -> PathSecret:
        args = (b"UpdatePathNode", context, sealed.kem_output, sealed.ciphertext)
        return PathSecret(crypto.decrypt_with_label(key, *args))

    for other in (reader.context, after):
        with pytest.raises(InvalidCiphertext):
            opened(encode(other))
    secret = opened(encode(provisional))
    assert len(secret.expose()) == crypto.hash_length
    above = crypto.derive_secret(secret, b"path", PathSecret)
    for each, node in zip((secret, above), path.nodes, strict=True):
        pair = crypto.derive_key_pair(crypto.derive_secret(each, b"node", PathSecret))
        assert pair.public == node.encryption_key
    # Who learns the path secrets learns nothing of the leaf.
    derived = {crypto.derive_key_pair(each).public for each in (secret, above)}
    assert path.leaf_node.encryption_key not in derived


@pytest.mark.rfc("R-7.3-03")
def test_a_committer_signs_its_leaf_with_the_key_that_the_leaf_names() -> None:
    world = World()
    alice, bob = world.group(2)
    insider = Insider(world, alice)
    present, other = own_leaf_content(insider.state), insider.suite.generate_signature_key_pair(world.entropy("other"))
    before = alice.fingerprint(), records(world.stores[world.name_of(alice)])

    def commit(private: SignaturePrivateKey) -> CreatedCommit:
        leaf = replace(present, signature_keys=SignatureKeyPair(private, present.signature_keys.public))
        order = CommitOrder(leaf=leaf, private=False)
        return create_commit(insider.state, order, insider.standing.keys, alice._environment())

    with pytest.raises(InvalidSignature) as refusal:
        commit(other.private)
    assert refusal.value.rule == "R-7.3-03"
    assert (alice.fingerprint(), records(world.stores[world.name_of(alice)])) == before
    assert isinstance(bob.receive(encode(commit(present.signature_keys.private).message)), StagedCommit)


def verify_keys(group: Group) -> None:
    """Assert that a member holds the private keys of its direct path, and no others."""
    state = group._standing.state
    tree, own = state.group.tree, node_of(state.own.index)
    path = [x for x in (own, *direct_path(own, tree.n_leaves)) if not tree.is_blank(x)]
    assert sorted(state.own.private_keys) == sorted(path)
    for x, private in state.own.private_keys.items():
        assert state.suite.hpke_public_key(private) == tree.encryption_key(x)


@pytest.mark.rfc("R-7.5-13", "R-7.5-15", "R-7.5-17", "R-4.2-01")
def test_members_hold_the_keys_of_their_direct_paths_and_wipe_the_former_ones() -> None:
    world = World()
    groups = world.group(4)
    for committer in groups:
        held = {group: dict(group._standing.state.own.private_keys) for group in groups}
        world.commit(committer, (), *(group for group in groups if group is not committer))
        for group in groups:
            verify_keys(group)
            kept = group._standing.state.own.private_keys
            replaced = [key for x, key in held[group].items() if kept.get(x) is not key]
            assert replaced
            assert all(key.is_wiped for key in replaced)
            assert not any(key.is_wiped for key in kept.values())
    for group in groups:
        assert len(group._standing.state.own.private_keys) == 3
