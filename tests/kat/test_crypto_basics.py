"""The official crypto-basics vectors, for all seven suites."""

from __future__ import annotations

from typing import Any

import pytest

from mls.crypto import CipherSuite, HPKEPrivateKey, SignaturePrivateKey, cipher_suite
from tests.support.entropy import DeterministicEntropy
from tests.support.vectors import official
from treekem.secrets import Secret


def case_of(suite_id: int) -> tuple[CipherSuite, dict[str, Any]]:
    cases = official("crypto-basics")
    assert [case["cipher_suite"] for case in cases] == [1, 2, 3, 4, 5, 6, 7]
    return cipher_suite(suite_id), cases[suite_id - 1]


def octets(part: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(part[name])


each_suite = pytest.mark.parametrize("suite_id", range(1, 8))


@each_suite
@pytest.mark.rfc("R-5.2-01")
def test_ref_hash(suite_id: int) -> None:
    suite, case = case_of(suite_id)
    part = case["ref_hash"]
    assert suite.ref_hash(part["label"].encode(), octets(part, "value")) == octets(part, "out")


@each_suite
@pytest.mark.rfc("R-8-01", "R-8-02", "R-17.1-05")
def test_derivations(suite_id: int) -> None:
    suite, case = case_of(suite_id)

    part = case["expand_with_label"]
    secret, label = Secret(octets(part, "secret")), part["label"].encode()
    expanded = suite.expand_with_label(secret, label, octets(part, "context"), part["length"], Secret)
    assert expanded.expose() == octets(part, "out")

    part = case["derive_secret"]
    derived = suite.derive_secret(Secret(octets(part, "secret")), part["label"].encode(), Secret)
    assert derived.expose() == octets(part, "out")

    part = case["derive_tree_secret"]
    secret, label = Secret(octets(part, "secret")), part["label"].encode()
    of_tree = suite.derive_tree_secret(secret, label, part["generation"], part["length"], Secret)
    assert of_tree.expose() == octets(part, "out")


@each_suite
@pytest.mark.rfc("R-5.1.1-02", "R-5.1.1-03", "R-5.1.2-02", "R-5.1.2-03")
def test_sign_with_label(suite_id: int) -> None:
    suite, case = case_of(suite_id)
    part = case["sign_with_label"]
    private, public = SignaturePrivateKey(octets(part, "priv")), octets(part, "pub")
    label, content = part["label"].encode(), octets(part, "content")

    assert suite.signature_public_key(private) == public
    suite.verify_signature_key(public)
    suite.verify_with_label(public, label, content, octets(part, "signature"))
    suite.verify_with_label(public, label, content, suite.sign_with_label(private, label, content))


@each_suite
@pytest.mark.rfc("R-5.1.1-01", "R-5.1.3-01", "R-5.1.3-02", "R-5.1-03")
def test_encrypt_with_label(suite_id: int, entropy: DeterministicEntropy) -> None:
    suite, case = case_of(suite_id)
    part = case["encrypt_with_label"]
    private, public = HPKEPrivateKey(octets(part, "priv")), octets(part, "pub")
    label, context, plaintext = part["label"].encode(), octets(part, "context"), octets(part, "plaintext")

    assert suite.hpke_public_key(private) == public
    suite.verify_hpke_key(public)
    theirs = (octets(part, "kem_output"), octets(part, "ciphertext"))
    assert suite.decrypt_with_label(private, label, context, *theirs) == plaintext
    ours = suite.encrypt_with_label(public, label, context, plaintext, entropy)
    assert suite.decrypt_with_label(private, label, context, *ours) == plaintext
