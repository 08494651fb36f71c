"""HPKE against RFC 9180's vectors and against the HPKE of the cryptographic library."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives import hpke as native
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from mls.crypto import HPKE, SUITES, CipherSuite, Entropy, HPKEPrivateKey
from mls.crypto.kdf import HKDF_SHA256, HKDF_SHA384, HKDF_SHA512
from mls.crypto.kem import DHKEM, DHKEM_P256, DHKEM_P384, DHKEM_P521, DHKEM_X448, DHKEM_X25519
from mls.crypto.primitives import AEAD, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305
from tests.support.entropy import DeterministicEntropy

EXPORT_ONLY = AEAD(0xFFFF, "export-only", 0, 0, AES_128_GCM.cipher)
KEMS = {kem.id: kem for kem in (DHKEM_P256, DHKEM_P384, DHKEM_P521, DHKEM_X25519, DHKEM_X448)}
KDFS = {kdf.id: kdf for kdf in (HKDF_SHA256, HKDF_SHA384, HKDF_SHA512)}
AEADS = {aead.id: aead for aead in (AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, EXPORT_ONLY)}
BASE, PSK = 0, 1

Case = dict[str, Any]


@cache
def cases_of(name: str) -> list[Case]:
    with cryptography_vectors.open_vector_file(f"HPKE/{name}.json", "r") as file:
        cases: list[Case] = json.load(file)
    return cases


def octets(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


def hpke_of(case: Case) -> HPKE:
    return HPKE(KEMS[case["kem_id"]], KDFS[case["kdf_id"]], AEADS[case["aead_id"]])


def name_of(case: Case) -> str:
    return f"kem{case['kem_id']}-kdf{case['kdf_id']}-aead{case['aead_id']}"


BASE_CASES = [case for case in cases_of("test-vectors") if case["mode"] == BASE]
SEALING_CASES = [case for case in BASE_CASES if case["aead_id"] != EXPORT_ONLY.id]

each_base_case = pytest.mark.parametrize("case", BASE_CASES, ids=name_of)
each_sealing_case = pytest.mark.parametrize("case", SEALING_CASES, ids=name_of)


def test_the_vectors_are_all_there() -> None:
    """RFC 9180 has 4 KEMs, 2 KDFs, 4 AEADs and 4 modes; DHKEM(P-384) is among the vectors of the newer KEMs alone."""
    assert len(cases_of("test-vectors")) == 128
    assert (len(BASE_CASES), len(SEALING_CASES)) == (32, 24)
    assert {case["kem_id"] for case in BASE_CASES} == {0x10, 0x12, 0x20, 0x21}
    newer = [case["kem_id"] for case in cases_of("hpke-pq-test-vectors")]
    assert sorted(kem for kem in newer if kem in KEMS) == [0x10, 0x11, 0x20, 0x21]


@pytest.mark.rfc("R-5.1-02", "R-5.1.1-01")
def test_key_pairs_are_derived() -> None:
    for case in cases_of("test-vectors"):
        kem = KEMS[case["kem_id"]]
        for ikm, private, public in (("ikmR", "skRm", "pkRm"), ("ikmE", "skEm", "pkEm")):
            pair = kem.derive_key_pair(octets(case, ikm))
            assert (pair.private.expose(), pair.public) == (octets(case, private), octets(case, public))


@pytest.mark.rfc("R-5.1-02", "R-5.1.1-01")
def test_key_pairs_of_the_newer_vectors_are_derived() -> None:
    for case in cases_of("hpke-pq-test-vectors"):
        kem = KEMS.get(case["kem_id"])
        if kem is None:  # a post-quantum KEM
            continue
        pair = kem.derive_key_pair(octets(case, "ikmR"))
        assert pair.public == octets(case, "pkRm")
        assert clamped(kem, pair.private.expose()) == clamped(kem, octets(case, "skRm"))
        assert kem.public_key(HPKEPrivateKey(octets(case, "skRm"))) == pair.public


def clamped(kem: DHKEM, private: bytes) -> bytes:
    """Return what X25519 and X448 multiply by; the newer vectors write X448's private keys so, all others do not."""
    bits = bytearray(private)
    if kem is DHKEM_X25519:
        bits[0] &= 0xF8
        bits[-1] = bits[-1] & 0x7F | 0x40
    if kem is DHKEM_X448:
        bits[0] &= 0xFC
        bits[-1] |= 0x80
    return bytes(bits)


def of_case(case: Case) -> Entropy:
    """Return the entropy that makes the ephemeral key pair of a case."""
    return lambda _: octets(case, "ikmE")


@pytest.mark.rfc("R-5.1-02")
@pytest.mark.parametrize("name", ["test-vectors", "hpke-pq-test-vectors"])
def test_shared_secrets_agree(name: str) -> None:
    shown = 0
    for case in cases_of(name):
        kem = KEMS.get(case["kem_id"])
        if kem is None or case["mode"] not in (BASE, PSK):  # the other modes authenticate the sender
            continue
        shared_secret, enc = kem.encap(octets(case, "pkRm"), of_case(case))
        assert (shared_secret.expose(), enc) == (octets(case, "shared_secret"), octets(case, "enc"))
        assert kem.decap(enc, HPKEPrivateKey(octets(case, "skRm"))).expose() == octets(case, "shared_secret")
        shown += 1
    assert shown == {"test-vectors": 64, "hpke-pq-test-vectors": 4}[name]


@pytest.mark.rfc("R-5.1.3-01")
@each_base_case
def test_key_schedule(case: Case) -> None:
    hpke, private = hpke_of(case), HPKEPrivateKey(octets(case, "skRm"))
    context = hpke.context(octets(case, "info"))

    assert context.exporter_info.endswith(b"exp" + octets(case, "key_schedule_context"))
    shared_secret = hpke.kem.decap(octets(case, "enc"), private)
    assert hpke._secret(shared_secret.copy()) == octets(case, "secret")
    if hpke.aead is not EXPORT_ONLY:
        assert hpke._key_and_nonce(shared_secret, context) == (octets(case, "key"), octets(case, "base_nonce"))


@pytest.mark.rfc("R-5.1.3-01", "R-5.1-03")
@each_sealing_case
def test_messages(case: Case) -> None:
    hpke, private = hpke_of(case), HPKEPrivateKey(octets(case, "skRm"))
    context = hpke.context(octets(case, "info"))
    first = case["encryptions"][0]
    aad, plaintext, ciphertext = (octets(first, name) for name in ("aad", "pt", "ct"))

    sealed = hpke.seal(octets(case, "pkRm"), context, aad, plaintext, of_case(case))
    assert sealed == (octets(case, "enc"), ciphertext)
    assert hpke.open(private, context, aad, octets(case, "enc"), ciphertext) == plaintext

    for later in case["encryptions"][1:]:  # MLS seals one message each, so these only show the AEAD
        aad, plaintext, ciphertext, nonce = (octets(later, name) for name in ("aad", "pt", "ct", "nonce"))
        assert hpke.aead.seal(octets(case, "key"), nonce, aad, plaintext) == ciphertext


@pytest.mark.rfc("R-8.3-01", "R-8.3-02")
@each_base_case
def test_exports(case: Case) -> None:
    hpke, private = hpke_of(case), HPKEPrivateKey(octets(case, "skRm"))
    context = hpke.context(octets(case, "info"))
    assert case["exports"]
    for export in case["exports"]:
        exporter_context, length, value = (
            octets(export, "exporter_context"),
            export["L"],
            octets(export, "exported_value"),
        )

        enc, sent = hpke.export_to(
            octets(case, "pkRm"), context, exporter_context, length, lambda _: octets(case, "ikmE")
        )
        assert (enc, sent.expose()) == (octets(case, "enc"), value)
        assert hpke.export_from(private, context, exporter_context, enc, length).expose() == value


NATIVE_KEMS = {
    DHKEM_X25519.id: native.KEM.X25519,
    DHKEM_P256.id: native.KEM.P256,
    DHKEM_P384.id: native.KEM.P384,
    DHKEM_P521.id: native.KEM.P521,
}
NATIVE_KDFS = {1: native.KDF.HKDF_SHA256, 2: native.KDF.HKDF_SHA384, 3: native.KDF.HKDF_SHA512}
NATIVE_AEADS = {1: native.AEAD.AES_128_GCM, 2: native.AEAD.AES_256_GCM, 3: native.AEAD.CHACHA20_POLY1305}
NIST_CURVES: dict[int, ec.EllipticCurve] = {
    DHKEM_P256.id: ec.SECP256R1(),
    DHKEM_P384.id: ec.SECP384R1(),
    DHKEM_P521.id: ec.SECP521R1(),
}

each_native_suite = pytest.mark.parametrize(
    "suite", [suite for suite in SUITES.values() if suite.hpke.kem.id in NATIVE_KEMS], ids=lambda suite: suite.name
)


def native_suite(suite: CipherSuite) -> native.Suite:
    hpke = suite.hpke
    return native.Suite(NATIVE_KEMS[hpke.kem.id], NATIVE_KDFS[hpke.kdf.id], NATIVE_AEADS[hpke.aead.id])


def native_private_key(kem: DHKEM, private: HPKEPrivateKey) -> x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey:
    if kem is DHKEM_X25519:
        return x25519.X25519PrivateKey.from_private_bytes(private.expose())
    return ec.derive_private_key(int.from_bytes(private.expose(), "big"), NIST_CURVES[kem.id])


def test_the_library_knows_all_but_x448() -> None:
    assert {suite.id for suite in SUITES.values() if suite.hpke.kem.id not in NATIVE_KEMS} == {4, 6}


@pytest.mark.rfc("R-5.1.3-01")
@each_native_suite
@pytest.mark.parametrize("plaintext", [b"", b"p", bytes(1000)], ids=["empty", "short", "long"])
def test_the_library_opens_what_we_seal(suite: CipherSuite, plaintext: bytes, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_key_pair(entropy)
    key = native_private_key(suite.hpke.kem, pair.private)
    for info in (b"", b"info", bytes(500)):
        sealed = suite.hpke.seal(pair.public, suite.hpke.context(info), b"", plaintext, entropy)
        assert native_suite(suite).decrypt(b"".join(sealed), key, info) == plaintext


@pytest.mark.rfc("R-5.1.3-01")
@each_native_suite
@pytest.mark.parametrize("plaintext", [b"", b"p", bytes(1000)], ids=["empty", "short", "long"])
def test_we_open_what_the_library_seals(suite: CipherSuite, plaintext: bytes, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_key_pair(entropy)
    key = native_private_key(suite.hpke.kem, pair.private)
    for info in (b"", b"info", bytes(500)):
        sealed = native_suite(suite).encrypt(plaintext, key.public_key(), info)
        enc, ciphertext = sealed[: suite.hpke.kem.public_length], sealed[suite.hpke.kem.public_length :]
        assert suite.hpke.open(pair.private, suite.hpke.context(info), b"", enc, ciphertext) == plaintext
