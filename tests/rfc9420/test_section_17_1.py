"""RFC 9420 §17.1: the cipher suites."""

from __future__ import annotations

import dataclasses
import hmac

import pytest

from mls.crypto import SUITES, cipher_suite
from mls.errors import Code, Unsupported
from treekem.secrets import Secret

# ID: KEM, KDF and AEAD in RFC 9180's registries, hash, signature scheme in RFC 8446, Nk.
TABLE = {
    1: ("MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", 0x20, 1, 1, "sha256", "ed25519", 16),
    2: ("MLS_128_DHKEMP256_AES128GCM_SHA256_P256", 0x10, 1, 1, "sha256", "ecdsa_secp256r1_sha256", 16),
    3: ("MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519", 0x20, 1, 3, "sha256", "ed25519", 32),
    4: ("MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448", 0x21, 3, 2, "sha512", "ed448", 32),
    5: ("MLS_256_DHKEMP521_AES256GCM_SHA512_P521", 0x12, 3, 2, "sha512", "ecdsa_secp521r1_sha512", 32),
    6: ("MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448", 0x21, 3, 3, "sha512", "ed448", 32),
    7: ("MLS_256_DHKEMP384_AES256GCM_SHA384_P384", 0x11, 2, 2, "sha384", "ecdsa_secp384r1_sha384", 32),
}


@pytest.mark.parametrize("suite_id", TABLE)
@pytest.mark.rfc("R-17.1-01", "R-17.1-02", "R-17.1-03", "R-17.1-04", "R-17.1-05")
def test_the_suites_are_those_of_the_registry(suite_id: int) -> None:
    suite = cipher_suite(suite_id)
    hpke = suite.hpke
    assert TABLE[suite_id] == (
        suite.name,
        hpke.kem.id,
        hpke.kdf.id,
        hpke.aead.id,
        suite.hash_name,
        suite.signature_scheme,
        suite.aead_key_length,
    )
    assert suite.id == suite_id
    assert suite.hash_length == len(suite.hash(b"")) == {"sha256": 32, "sha384": 48, "sha512": 64}[suite.hash_name]
    assert suite.aead_nonce_length == 12
    assert suite.mac(Secret(b"key"), b"data") == hmac.digest(b"key", b"data", suite.hash_name)


@pytest.mark.rfc("R-17.1-01")
def test_there_are_no_others_and_none_changes() -> None:
    assert list(SUITES) == list(TABLE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        SUITES[1].id = 2  # type: ignore[misc]  # frozen, which is what is shown
    with pytest.raises(TypeError):
        SUITES[8] = SUITES[1]  # type: ignore[index]  # read-only, which is what is shown


@pytest.mark.parametrize("suite_id", [0, 8, 0x0A0A, 0xF123, 0xFFFF])
@pytest.mark.rfc("R-17.1-06")
def test_another_suite_is_unsupported(suite_id: int) -> None:
    assert cipher_suite(1).id == 1
    with pytest.raises(Unsupported, match=f"0x{suite_id:04x}") as refusal:
        cipher_suite(suite_id)
    assert (refusal.value.rule, refusal.value.code) == ("R-17.1-06", Code.UNSUPPORTED)
