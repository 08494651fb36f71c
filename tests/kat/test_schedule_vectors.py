"""The official vectors of the key schedule, PSKs, transcript hashes and the secret tree: all suites, all cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls.crypto import CipherSuite, cipher_suite
from mls.messages import (
    AuthenticatedContent,
    ContentType,
    ExternalPSK,
    GroupContext,
    PreSharedKeyID,
    ProtocolVersion,
    is_commit,
)
from mls.schedule.key_schedule import (
    ConfirmationKey,
    EncryptionSecret,
    EpochSecrets,
    ExporterSecret,
    ExternalSecret,
    InitSecret,
    PSKSecret,
    SenderDataSecret,
    derive_epoch_secrets,
    derive_joiner_secret,
    derive_welcome_secret,
    export_secret,
    external_key_pair,
    sender_data_key_and_nonce,
)
from mls.schedule.psk import PSK, psk_secret
from mls.schedule.secret_tree import SecretTree
from mls.schedule.transcript import (
    confirmation_tag,
    confirmed_transcript_hash,
    interim_transcript_hash,
    verify_confirmation_tag,
)
from treekem.index import LeafIndex
from treekem.suite import CommitSecret
from treekem.wire import decode, encode

Vectors = Callable[[str], list[dict[str, Any]]]


@pytest.mark.rfc("R-8-01", "R-8-04", "R-8-05", "R-8-06", "R-8.1-01")
def test_key_schedule(official_vectors: Vectors) -> None:
    for case in official_vectors("key-schedule"):
        suite = cipher_suite(case["cipher_suite"])
        init_secret = InitSecret(bytes.fromhex(case["initial_init_secret"]))
        for number, epoch in enumerate(case["epochs"]):
            group_context = group_context_of(suite, bytes.fromhex(case["group_id"]), number, epoch)
            assert group_context.hex() == epoch["group_context"]
            init_secret = check_epoch(suite, init_secret, group_context, epoch)


def group_context_of(suite: CipherSuite, group_id: bytes, number: int, epoch: dict[str, Any]) -> bytes:
    tree_hash = bytes.fromhex(epoch["tree_hash"])
    confirmed = bytes.fromhex(epoch["confirmed_transcript_hash"])
    return encode(GroupContext(ProtocolVersion.MLS10, suite.id, group_id, number, tree_hash, confirmed, ()))


def check_epoch(suite: CipherSuite, init_secret: InitSecret, group_context: bytes, epoch: dict[str, Any]) -> InitSecret:
    commit_secret = CommitSecret(bytes.fromhex(epoch["commit_secret"]))
    psk = PSKSecret(bytes.fromhex(epoch["psk_secret"]))
    joiner_secret = derive_joiner_secret(suite, init_secret, commit_secret, group_context)
    assert joiner_secret.expose().hex() == epoch["joiner_secret"]
    assert derive_welcome_secret(suite, joiner_secret, psk).expose().hex() == epoch["welcome_secret"]

    secrets = derive_epoch_secrets(suite, joiner_secret, psk, group_context)
    check_secrets(secrets, epoch)
    return secrets.init_secret


def check_secrets(secrets: EpochSecrets, epoch: dict[str, Any]) -> None:
    assert secrets.sender_data.expose().hex() == epoch["sender_data_secret"]
    assert secrets.encryption.expose().hex() == epoch["encryption_secret"]
    assert secrets.exporter.expose().hex() == epoch["exporter_secret"]
    assert secrets.external.expose().hex() == epoch["external_secret"]
    assert secrets.confirmation_key.expose().hex() == epoch["confirmation_key"]
    assert secrets.membership_key.expose().hex() == epoch["membership_key"]
    assert secrets.resumption_psk.expose().hex() == epoch["resumption_psk"]
    assert secrets.epoch_authenticator.hex() == epoch["epoch_authenticator"]
    assert secrets.init_secret.expose().hex() == epoch["init_secret"]


@pytest.mark.rfc("R-8-08", "R-8-09", "R-8.5-01", "R-8.5-02")
def test_external_key_pairs_and_exporters(official_vectors: Vectors) -> None:
    for case in official_vectors("key-schedule"):
        suite = cipher_suite(case["cipher_suite"])
        for epoch in case["epochs"]:
            external_secret = ExternalSecret(bytes.fromhex(epoch["external_secret"]))
            assert external_key_pair(suite, external_secret).public.hex() == epoch["external_pub"]

            exporter, secret = epoch["exporter"], ExporterSecret(bytes.fromhex(epoch["exporter_secret"]))
            label, context = exporter["label"].encode(), bytes.fromhex(exporter["context"])
            exported = export_secret(suite, secret, label, context, exporter["length"])
            assert exported.expose().hex() == exporter["secret"]


@pytest.mark.rfc("R-8.4-04", "R-8.4-05", "R-8.4-06")
def test_psk_secret(official_vectors: Vectors) -> None:
    for case in official_vectors("psk_secret"):
        suite = cipher_suite(case["cipher_suite"])
        psks = []
        for entry in case["psks"]:
            psk_id = PreSharedKeyID(ExternalPSK(bytes.fromhex(entry["psk_id"])), bytes.fromhex(entry["psk_nonce"]))
            psks.append((psk_id, PSK(bytes.fromhex(entry["psk"]))))
        assert psk_secret(suite, psks).expose().hex() == case["psk_secret"]


@pytest.mark.rfc("R-8.2-01", "R-8.2-02", "R-8.2-06", "R-6.1-14")
def test_transcript_hashes(official_vectors: Vectors) -> None:
    for case in official_vectors("transcript-hashes"):
        suite = cipher_suite(case["cipher_suite"])
        content = decode(AuthenticatedContent, bytes.fromhex(case["authenticated_content"]))
        assert is_commit(content.content)
        tag = content.auth.confirmation_tag
        assert tag is not None

        confirmed = confirmed_transcript_hash(suite, bytes.fromhex(case["interim_transcript_hash_before"]), content)
        assert confirmed.hex() == case["confirmed_transcript_hash_after"]
        assert interim_transcript_hash(suite, confirmed, tag).hex() == case["interim_transcript_hash_after"]

        key = ConfirmationKey(bytes.fromhex(case["confirmation_key"]))
        assert confirmation_tag(suite, key, confirmed) == tag
        verify_confirmation_tag(suite, key, confirmed, tag)


@pytest.mark.rfc("R-9-01", "R-9-02", "R-9.1-03", "R-9.1-04", "R-9.1-06")
@pytest.mark.parametrize("backwards", [False, True], ids=["first leaf first", "last leaf first"])
def test_secret_tree(official_vectors: Vectors, *, backwards: bool) -> None:
    for case in official_vectors("secret-tree"):
        suite = cipher_suite(case["cipher_suite"])
        tree = SecretTree(suite, len(case["leaves"]), EncryptionSecret(bytes.fromhex(case["encryption_secret"])))
        leaves = list(enumerate(case["leaves"]))
        for leaf, generations in reversed(leaves) if backwards else leaves:
            for expected in generations:
                check_generation(tree, LeafIndex(leaf), expected)


def check_generation(tree: SecretTree, leaf: LeafIndex, expected: dict[str, Any]) -> None:
    kinds = ((ContentType.COMMIT, "handshake"), (ContentType.APPLICATION, "application"))
    for content_type, kind in kinds:
        staged = tree.stage(leaf, content_type, expected["generation"])
        assert staged.key.expose().hex() == expected[f"{kind}_key"]
        assert staged.nonce.hex() == expected[f"{kind}_nonce"]
        tree.apply(staged)


@pytest.mark.rfc("R-6.3.2-03", "R-6.3.2-04")
def test_sender_data_keys(official_vectors: Vectors) -> None:
    for case in official_vectors("secret-tree"):
        suite, expected = cipher_suite(case["cipher_suite"]), case["sender_data"]
        secret = SenderDataSecret(bytes.fromhex(expected["sender_data_secret"]))
        key, nonce = sender_data_key_and_nonce(suite, secret, bytes.fromhex(expected["ciphertext"]))
        assert (key.expose().hex(), nonce.hex()) == (expected["key"], expected["nonce"])
