"""The catalogue of hostile Welcomes, rows N-W, under every suite where what is sealed or signed is the point.

Row 13, a Welcome of a commit that lost, has no answer in the RFC: whoever joins by one is in an epoch that nobody else
is in, and finds out when nothing of the group can be read. Whether to wait for a sign of life is for the application.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from mls import intents
from mls.crypto import SUITES
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidGroupInfo,
    InvalidPath,
    InvalidSignature,
    InvalidTag,
    InvalidTree,
    InvalidWelcome,
    UsageError,
    WrongEpoch,
)
from mls.messages import Add, Extension, ExtensionType, MLSMessage, ProtocolVersion, Welcome, WirePathSecret
from tests.support.crafting import Forger, package_of
from tests.support.welcome_scenes import MISMATCH, Scene, scene_of
from tests.support.welcomes import Inviter, assert_join_refused
from tests.support.world import World, join, records
from treekem.index import LeafIndex, NodeIndex
from treekem.nodes import HPKECiphertext
from treekem.suite import PathSecret
from treekem.wire import decode, encode

suites = pytest.mark.parametrize("suite", sorted(SUITES))
UNREADABLE = (InvalidCiphertext, "R-12.4.3.1-05", Code.AEAD_FAILED)


def wrapped(welcome: Welcome) -> bytes:
    return encode(MLSMessage(ProtocolVersion.MLS10, welcome))


def flipped(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


@suites
@pytest.mark.rfc("N-W01", "N-W02", "R-12.4.3.1-03", "R-12.4.3.1-05")
def test_the_secrets_of_somebody_else_are_of_no_use(suite: int) -> None:
    world = World(suite)
    groups = world.group(2)
    clients = [world.client("one"), world.client("other")]
    pending = groups[0].commit([intents.Add(client.key_package()) for client in clients])
    body = decode(MLSMessage, pending.welcome or b"").body
    assert isinstance(body, Welcome)
    first, second = body.secrets
    swapped = replace(
        body,
        secrets=(
            replace(first, encrypted_group_secrets=second.encrypted_group_secrets),
            replace(second, encrypted_group_secrets=first.encrypted_group_secrets),
        ),
    )
    nobody = (InvalidWelcome, "R-12.4.3.1-03", Code.NO_MATCHING_KEY_PACKAGE)
    for client in (*clients, world.client("third")):
        refused = nobody if client.identity == b"third" else UNREADABLE
        assert_join_refused(client, partial(client.join, wrapped(swapped)), refused)
    assert len(join(clients[0], pending).members) == len(join(clients[1], pending).members) == 4


@suites
@pytest.mark.rfc("N-W03", "R-12.4.3.1-05", "R-12.4.3.1-09")
def test_every_part_of_what_is_sealed_is_authenticated(suite: int) -> None:
    scene = scene_of(World(suite), n=2)
    inviter = scene.inviter
    welcome = inviter.welcome()
    entry = welcome.secrets[0]
    sealed = entry.encrypted_group_secrets
    for position in (0, len(sealed.ciphertext) // 2, -1):
        body = replace(sealed, ciphertext=flipped(sealed.ciphertext, position))
        forged = replace(welcome, secrets=(replace(entry, encrypted_group_secrets=body),))
        scene.assert_refused(wrapped(forged), *UNREADABLE)
    # The encrypted GroupInfo is the context under which the secrets are sealed, so that either protects the other.
    for position in (0, -1):
        forged = replace(welcome, encrypted_group_info=flipped(welcome.encrypted_group_info, position))
        scene.assert_refused(wrapped(forged), *UNREADABLE)
    short = replace(sealed, ciphertext=sealed.ciphertext[:15])
    scene.assert_refused(
        wrapped(replace(welcome, secrets=(replace(entry, encrypted_group_secrets=short),))), *UNREADABLE
    )
    # Sealed well around a GroupInfo that was changed on the way: the AEAD of the GroupInfo itself refuses.
    context = inviter.suite.seal_context(b"Welcome", flipped(welcome.encrypted_group_info, -1))
    told = encode(inviter.parts.secrets)
    init_key = inviter.bundle.key_package.init_key
    again = HPKECiphertext(*inviter.suite.seal(init_key, context, told, inviter.forger.env.entropy))
    forged = replace(
        welcome,
        secrets=(replace(entry, encrypted_group_secrets=again),),
        encrypted_group_info=flipped(welcome.encrypted_group_info, -1),
    )
    scene.assert_refused(wrapped(forged), InvalidCiphertext, "R-12.4.3.1-09", Code.AEAD_FAILED)


@suites
@pytest.mark.rfc("N-W04", "N-W11", "R-12.4.3.1-11", "R-12.4.3.1-24", "R-12.4.3-07")
def test_a_group_info_is_its_signers_and_confirmed(suite: int) -> None:
    scene = scene_of(World(suite), n=2)
    inviter = scene.inviter
    stranger = inviter.forger.new_signature_keys().private
    unsigned = (InvalidSignature, "R-12.4.3.1-11", Code.BAD_SIGNATURE)
    for info in (
        inviter.info(key=stranger),
        inviter.info(signer=LeafIndex(0)),
        replace(inviter.parts.info, signature=flipped(inviter.parts.info.signature, -1)),
        replace(inviter.parts.info, signature=b""),
    ):
        scene.assert_refused(inviter.message(info=info), *unsigned)
    for signer in (3, 2**24, 2**31, 2**32 - 1):
        info = inviter.info(signer=LeafIndex(signer))
        scene.assert_refused(inviter.message(info=info), InvalidGroupInfo, "R-12.4.3-07", Code.BAD_SIGNATURE)
    true = inviter.true_tag()
    for tag in (b"", true[:-1], true + b"\0", flipped(true, 0)):
        message = inviter.message(info=inviter.info(confirmation_tag=tag))
        scene.assert_refused(message, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)


@suites
@pytest.mark.rfc("B12", "N-W04", "R-12.4.1-13")
def test_a_group_info_is_signed_by_the_key_that_its_own_commit_brings(suite: int) -> None:
    world = World(suite)
    groups = world.group(2)
    client, forger = world.client("joiner"), Forger(world, groups[1])
    old, new = forger.content().signature_keys, forger.new_signature_keys()
    created = forger.order(Add(package_of(client.key_package())), leaf=forger.content(signature_keys=new))
    inviter = Inviter(forger, created, client)
    stale = inviter.message(info=inviter.info(key=old.private))
    unsigned = (InvalidSignature, "R-12.4.3.1-11", Code.BAD_SIGNATURE)
    assert_join_refused(client, lambda: client.join(stale), unsigned)
    joined = client.join(inviter.message(info=inviter.info(key=new.private))).accept()
    assert joined.members[1].signature_key == new.public


@pytest.mark.rfc("N-W06", "B04", "R-12.4.3-06")
def test_a_group_is_not_overwritten() -> None:
    world = World()
    alice, bob = world.group(2, names=["alice", "bob"])
    client, package = world.clients["bob"], world.clients["bob"].key_package()
    # Another group of the same id, founded by somebody else, and one's own attempt to found it.
    mallory = world.client("mallory").create_group(alice.group_id)
    pending = mallory.commit([intents.Add(package)])
    before, stored = bob.fingerprint(), records(client._store)
    exists = (InvalidWelcome, "R-12.4.3-06", Code.GROUP_EXISTS)
    assert_join_refused(client, lambda: client.join(pending.welcome or b""), exists)
    with pytest.raises(UsageError) as caught:
        client.create_group(alice.group_id)
    assert caught.value.code == Code.GROUP_EXISTS
    assert (bob.fingerprint(), records(client._store)) == (before, stored)
    world.commit(alice, (), bob)
    world.agree(alice, bob)


@suites
@pytest.mark.rfc("N-W07", "R-12.4.3.1-19", "R-16.7-01")
def test_a_joiner_is_in_the_tree_once_and_as_it_is(suite: int) -> None:
    scene = scene_of(World(suite), path=False, n=2)
    tree, node = scene.inviter.after.group.tree, NodeIndex(4)
    slot = tree.leaf(LeafIndex(2))
    assert slot is not None
    missing = tree.with_nodes({node: None}).truncated()
    absent = (InvalidWelcome, "R-12.4.3.1-19", Code.BAD_LEAF)
    scene.assert_refused(scene.with_tree(missing), *absent)
    # Twice, so that either place could be meant: no key stands in a tree twice.
    twice = tree.with_nodes({NodeIndex(6): slot})
    scene.assert_refused(scene.with_tree(twice), InvalidTree, "R-16.7-01", Code.DUPLICATE_KEY)


@suites
@pytest.mark.rfc("N-W08", "R-12.4.3.1-21", "R-12.4.3.1-22")
def test_a_path_secret_is_that_of_the_lowest_node_above_both(suite: int) -> None:
    world = World(suite)
    groups = world.group(5)
    world.commit(groups[0], (), *groups[1:])
    joiner, forger = world.client("joiner"), Forger(world, groups[4])
    created = forger.order(Add(package_of(joiner.key_package())), path=True)
    scene = Scene(world, groups, joiner, Inviter(forger, created, joiner))
    inviter, length = scene.inviter, scene.inviter.suite.hash_length
    told = inviter.parts.secrets.path_secret
    assert told is not None
    true = told.path_secret
    # The next one up is a good secret, of another node.
    above = inviter.suite.derive_path_secret(PathSecret(true)).expose()
    mismatch = (InvalidPath, "R-12.4.3.1-21", MISMATCH)
    for secret in (bytes(length), above, flipped(true, -1), true[:-1], b""):
        message = inviter.message(secrets=inviter.secrets(path_secret=WirePathSecret(secret)))
        scene.assert_refused(message, *mismatch)
    withheld = inviter.message(secrets=inviter.secrets(path_secret=None))
    scene.assert_refused(withheld, InvalidWelcome, "N-W08", MISMATCH)


@suites
@pytest.mark.rfc("N-W12", "R-12.4.3.1-13", "R-12.4.3.3-08")
def test_a_tree_that_comes_beside_is_the_one_agreed_on(suite: int) -> None:
    scene = scene_of(World(suite), n=2)
    inviter = scene.inviter
    message = inviter.message(info=inviter.info(extensions=()))
    tree = inviter.after.group.tree
    stale = scene.groups[0]._standing.state.group.tree
    for other in (stale, tree.remove_leaf(LeafIndex(0))):
        mismatch = (InvalidTree, "R-12.4.3.1-13", Code.TREE_HASH_MISMATCH)
        scene.assert_refused(message, *mismatch, tree=other.encode())
    extension = Extension(ExtensionType.RATCHET_TREE, stale.encode())
    inside = inviter.message(info=inviter.info(extensions=(extension,)))
    scene.assert_refused(inside, InvalidTree, "R-12.4.3.1-13", Code.TREE_HASH_MISMATCH)
    assert scene.joiner.join(message, tree.encode()).epoch == inviter.after.epoch


@pytest.mark.rfc("N-W13", "R-14-02", "R-6-11")
def test_a_welcome_of_a_commit_that_lost_leads_to_nobody() -> None:
    # The RFC knows no confirmation of a join. The joiner is alone: it reads nothing of the group and cannot be read.
    world = World()
    alice, bob = world.group(2)
    client = world.client("joiner")
    lost = bob.commit([intents.Add(client.key_package())])
    world.commit(alice, (), bob)
    stray = join(client, lost)
    assert stray.epoch == alice.epoch
    assert stray.epoch_authenticator != alice.epoch_authenticator
    for speaker, listener in ((alice, stray), (stray, alice)):
        before = listener.fingerprint()
        with pytest.raises(InvalidCiphertext) as caught:
            listener.receive(speaker.encrypt(b"anybody?"))
        assert caught.value.code == Code.SENDER_DATA_UNDECRYPTABLE
        assert listener.fingerprint() == before
    world.commit(alice, (), bob)
    before = stray.fingerprint()
    with pytest.raises(WrongEpoch):
        stray.receive(alice.encrypt(b"anybody?"))
    assert stray.fingerprint() == before
