"""RFC 9420 §17.2 to §17.7: code points and labels, as they stand on the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import Add, Group, Update
from mls.crypto import cipher_suite
from mls.epoch.leaves import credential_type
from mls.extensions import application_id, external_senders
from mls.messages import (
    BasicCredential,
    Commit,
    Credential,
    ExternalSender,
    GroupInfo,
    GroupSecrets,
    MLSMessage,
    Welcome,
    X509Credential,
    encode_unsigned,
)
from tests.adversarial.insider import public_message
from tests.support.crafting import message_of, package_of
from tests.support.world import World, join
from treekem.index import node_of
from treekem.wire import decode, encode, encode_as

SUITE = cipher_suite(1)


def info_of(group: Group) -> GroupInfo:
    body = decode(MLSMessage, group.group_info()).body
    assert isinstance(body, GroupInfo)
    return body


@pytest.mark.rfc("R-17.2-01")
def test_the_numbers_of_the_wire_formats() -> None:
    world = World()
    alice, bob = world.group(2)
    carol = world.client("carol", private_handshakes=False)
    package = carol.key_package()
    pending = world.commit(alice, [Add(package)], bob)
    public, private = join(carol, pending).propose(Update()).message, bob.encrypt(b"hello")
    messages = (public, private, pending.welcome or b"", alice.group_info(), package)
    for number, message in enumerate(messages, 1):
        assert message.startswith(bytes((0, 1, 0, number)))


@pytest.mark.rfc("R-17.3-01")
def test_the_numbers_of_the_extensions() -> None:
    (alice,) = World(grease=False).group(1)
    assert application_id(b"phone").extension_type == 1
    assert [each.extension_type for each in info_of(alice).extensions] == [2, 4]
    assert external_senders(ExternalSender(b"key", BasicCredential(b"server"))).extension_type == 5


@pytest.mark.rfc("R-17.5-01")
def test_the_numbers_of_the_credentials() -> None:
    for number, credential in ((1, BasicCredential(b"alice")), (2, X509Credential(()))):
        assert encode_as(Credential, credential).startswith(bytes((0, number)))
        assert credential_type(credential) == number


@pytest.mark.rfc("R-17.6-01")
def test_the_labels_of_signatures() -> None:
    world = World(private_handshakes=False)
    alice, bob = world.group(2)
    key, context = alice.me.signature_key, alice._standing.state.group.encoded_context()
    message = public_message(alice.propose(Update()).message)
    tbs = bytes((0, 1, 0, 1)) + encode(message.content) + context
    SUITE.verify_with_label(key, b"FramedContentTBS", tbs, message.auth.signature)
    package = package_of(world.client("carol").key_package())
    leaf = package.leaf_node
    SUITE.verify_with_label(leaf.signature_key, b"LeafNodeTBS", encode_unsigned(leaf), leaf.signature)
    SUITE.verify_with_label(leaf.signature_key, b"KeyPackageTBS", encode_unsigned(package), package.signature)
    info = info_of(bob)
    SUITE.verify_with_label(bob.me.signature_key, b"GroupInfoTBS", encode_unsigned(info), info.signature)


@pytest.mark.rfc("R-17.7-01")
def test_the_labels_of_public_key_encryption() -> None:
    world = World(private_handshakes=False)
    alice, bob = world.group(2)
    carol = world.client("carol")._create_bundle(1000, last_resort=False, extensions=())
    before, key = bob._standing.state.group.context, bob._standing.state.own.private_keys[node_of(bob.me.leaf)].copy()
    pending = world.commit(alice, [Add(message_of(carol.key_package))], bob)

    body = decode(MLSMessage, pending.welcome or b"").body
    assert isinstance(body, Welcome)
    sealed = body.secrets[0].encrypted_group_secrets
    told = SUITE.decrypt_with_label(
        carol.init_key, b"Welcome", body.encrypted_group_info, sealed.kem_output, sealed.ciphertext
    )
    assert decode(GroupSecrets, told).path_secret is not None

    commit = public_message(pending.message).content.content
    assert isinstance(commit, Commit)
    assert commit.path is not None
    (sealed,) = commit.path.nodes[0].encrypted_path_secret
    after = bob._standing.state.group.context
    provisional = encode(replace(after, confirmed_transcript_hash=before.confirmed_transcript_hash))
    secret = SUITE.decrypt_with_label(key, b"UpdatePathNode", provisional, sealed.kem_output, sealed.ciphertext)
    assert len(secret) == SUITE.hash_length
