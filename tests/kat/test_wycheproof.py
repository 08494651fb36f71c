"""Wycheproof: every case of the 21 files that cover the suites' primitives is decided, none is skipped.

"Acceptable" means that implementations may differ; each flag of such cases has its decision and a reason in a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mls.crypto import HPKEPrivateKey, signatures
from mls.crypto.kdf import HKDF_SHA256, HKDF_SHA384, HKDF_SHA512, KDF
from mls.crypto.kem import DHKEM, DHKEM_P256, DHKEM_P384, DHKEM_P521, DHKEM_X448, DHKEM_X25519
from mls.crypto.primitives import AEAD, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305
from mls.crypto.signatures import SignatureScheme
from mls.errors import InvalidCiphertext, InvalidKey, InvalidSignature, UsageError
from tests.support.vectors import wycheproof
from treekem.secrets import ct_eq

Case = dict[str, Any]

# File: how many cases are valid, acceptable, invalid.
COUNTS = {
    "aes_gcm_test": (229, 0, 87),
    "chacha20_poly1305_test": (256, 0, 69),
    "ecdh_secp256r1_ecpoint_test": (330, 1, 24),
    "ecdh_secp256r1_test": (330, 230, 52),
    "ecdh_secp384r1_ecpoint_test": (771, 1, 18),
    "ecdh_secp384r1_test": (771, 230, 46),
    "ecdh_secp521r1_ecpoint_test": (632, 1, 28),
    "ecdh_secp521r1_test": (632, 228, 56),
    "ecdsa_secp256r1_sha256_test": (174, 0, 310),
    "ecdsa_secp384r1_sha384_test": (194, 0, 310),
    "ecdsa_secp521r1_sha512_test": (232, 0, 310),
    "ed25519_test": (88, 0, 63),
    "ed448_test": (17, 0, 70),
    "hkdf_sha256_test": (83, 0, 3),
    "hkdf_sha384_test": (80, 0, 3),
    "hkdf_sha512_test": (80, 0, 3),
    "hmac_sha256_test": (66, 0, 108),
    "hmac_sha384_test": (66, 0, 108),
    "hmac_sha512_test": (66, 0, 108),
    "x25519_test": (264, 254, 0),
    "x448_test": (253, 245, 12),
}

# What is to be refused of the "acceptable" cases; one such flag is enough.
REFUSED = {
    "ZeroSharedSecret": "RFC 9180 §7.1.4 refuses an all-zero shared secret",
    "CompressedPoint": "RFC 9420 §5.1.1 has uncompressed points alone",
    "CompressedPublic": "likewise",
    "InvalidAsn": "RFC 9420 §5.1.1 has bare points; a wrapping that is not exactly the DER header stays in place",
    "UnnamedCurve": "likewise: the header names the curve, parameters are not read",
    "UnusedParam": "likewise",
    "WrongOrder": "likewise",
    "ModifiedGenerator": "likewise",
    "ModifiedCofactor": "likewise",
    "NoCofactor": "likewise",
    "ModifiedCurveParameter": "likewise",
}

# What alone is no reason to refuse.
ACCEPTED = {
    "Twist": "RFC 7748 §5 computes on the twist as on the curve; both have a prime order but for the cofactor",
    "NonCanonicalPublic": "RFC 7748 §5: non-canonical values are processed as if reduced",
    "SpecialPublicKey": "a u-coordinate at a limit of the arithmetic",
    "SmallPublicKey": "likewise",
    "EdgeCaseMultiplication": "intermediate values at a limit of the arithmetic",
    "EdgeCaseShared": "a result at a limit of the arithmetic",
    "Ktv": "a known value of RFC 7748",
    "LowOrderPublic": "refused where it matters, which ZeroSharedSecret says: X448 has none with the top bit set",
}


def cases_of(name: str) -> Iterator[tuple[Case, Case]]:
    """Yield each case with its group."""
    contents = wycheproof(name)
    for group in contents["testGroups"]:
        for case in group["tests"]:
            yield group, case


def decide(name: str, judge: Callable[[Case, Case], bool]) -> None:
    """Ask `judge` whether the engine accepts each case, and compare with what is to be."""
    seen: Counter[str] = Counter()
    for group, case in cases_of(name):
        seen[case["result"]] += 1
        expected = is_to_be_accepted(case)
        assert judge(group, case) is expected, (name, case["tcId"], case["comment"], case["flags"])
    assert (seen["valid"], seen["acceptable"], seen["invalid"]) == COUNTS[name]


def is_to_be_accepted(case: Case) -> bool:
    if case["result"] != "acceptable":
        return bool(case["result"] == "valid")
    flags = set(case["flags"])
    assert flags <= REFUSED.keys() | ACCEPTED.keys(), f"undecided: {flags}"
    return not flags & REFUSED.keys()


def octets(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


@pytest.mark.rfc("N-K13")
def test_all_files_are_counted() -> None:
    assert len(COUNTS) == 21
    assert sum(map(sum, COUNTS.values())) == 8592
    assert REFUSED.keys() & ACCEPTED.keys() == set()


@pytest.mark.rfc("N-K13", "R-5.1-03")
@pytest.mark.parametrize(
    ("name", "aeads"),
    [("aes_gcm_test", (AES_128_GCM, AES_256_GCM)), ("chacha20_poly1305_test", (CHACHA20_POLY1305,))],
)
def test_aeads(name: str, aeads: tuple[AEAD, ...]) -> None:
    by_key_length = {aead.key_length: aead for aead in aeads}
    foreign = 0

    def judge(group: Case, case: Case) -> bool:
        nonlocal foreign
        aead = by_key_length.get(group["keySize"] // 8)
        key, nonce, aad = (octets(case, part) for part in ("key", "iv", "aad"))
        plaintext, ciphertext = octets(case, "msg"), octets(case, "ct") + octets(case, "tag")

        if aead is None or group["ivSize"] != 96:  # AES-192, or a nonce of another length: no suite has them
            foreign += 1
            with pytest.raises(UsageError):
                aeads[0].seal(key, nonce, aad, plaintext)
            with pytest.raises(UsageError):
                aeads[0].open(key, nonce, aad, ciphertext)
            return is_to_be_accepted(case)

        try:
            return aead.open(key, nonce, aad, ciphertext) == plaintext == open_again(aead, case)
        except InvalidCiphertext:
            return False

    decide(name, judge)
    assert foreign == {"aes_gcm_test": 183, "chacha20_poly1305_test": 9}[name]


def open_again(aead: AEAD, case: Case) -> bytes:
    """Return the plaintext after a round trip that must give the very ciphertext of the case."""
    key, nonce, aad, plaintext = (octets(case, part) for part in ("key", "iv", "aad", "msg"))
    assert aead.seal(key, nonce, aad, plaintext) == octets(case, "ct") + octets(case, "tag")
    return plaintext


@pytest.mark.rfc("N-K13", "R-8-03", "R-17.1-05")
@pytest.mark.parametrize(
    ("name", "kdf"),
    [("hkdf_sha256_test", HKDF_SHA256), ("hkdf_sha384_test", HKDF_SHA384), ("hkdf_sha512_test", HKDF_SHA512)],
)
def test_hkdf(name: str, kdf: KDF) -> None:
    def judge(_: Case, case: Case) -> bool:
        prk = kdf.extract(octets(case, "salt"), octets(case, "ikm"))
        try:
            return kdf.expand(prk, octets(case, "info"), case["size"]) == octets(case, "okm")
        except UsageError:
            return False

    decide(name, judge)


@pytest.mark.rfc("N-K13", "N-K08", "R-17.1-05")
@pytest.mark.parametrize(
    ("name", "kdf"),
    [("hmac_sha256_test", HKDF_SHA256), ("hmac_sha384_test", HKDF_SHA384), ("hmac_sha512_test", HKDF_SHA512)],
)
def test_hmac(name: str, kdf: KDF) -> None:
    truncated = 0

    def judge(group: Case, case: Case) -> bool:
        nonlocal truncated
        mac, tag = kdf.mac(octets(case, "key"), octets(case, "msg")), octets(case, "tag")
        if group["tagSize"] == 8 * kdf.hash_length:
            return ct_eq(mac, tag)

        truncated += 1  # MLS has no truncated tags: no such tag passes, even where its bytes are right
        assert not ct_eq(mac, tag)
        return mac[: group["tagSize"] // 8] == tag

    decide(name, judge)
    assert truncated == 87


@pytest.mark.rfc("N-K13", "R-5.1.2-02", "N-K05", "N-K07")
@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("ecdsa_secp256r1_sha256_test", signatures.ECDSA_P256),
        ("ecdsa_secp384r1_sha384_test", signatures.ECDSA_P384),
        ("ecdsa_secp521r1_sha512_test", signatures.ECDSA_P521),
        ("ed25519_test", signatures.ED25519),
        ("ed448_test", signatures.ED448),
    ],
)
def test_signatures(name: str, scheme: SignatureScheme) -> None:
    def judge(group: Case, case: Case) -> bool:
        public = group["publicKey"].get("uncompressed") or group["publicKey"]["pk"]
        key = scheme.parse(bytes.fromhex(public))
        try:
            key.verify(octets(case, "msg"), octets(case, "sig"))
        except InvalidSignature:
            return False
        return True

    decide(name, judge)


@pytest.mark.rfc("N-K13", "N-K01", "R-5.1.1-04", "R-5.1.1-05")
@pytest.mark.parametrize(("name", "kem"), [("x25519_test", DHKEM_X25519), ("x448_test", DHKEM_X448)])
def test_x25519_and_x448(name: str, kem: DHKEM) -> None:
    def judge(_: Case, case: Case) -> bool:
        return has_agreed(kem, octets(case, "private"), octets(case, "public"), octets(case, "shared"))

    decide(name, judge)


# RFC 5480: the DER of a SubjectPublicKeyInfo with a named curve, up to the point.
HEADERS = {
    DHKEM_P256.id: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
    DHKEM_P384.id: bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200"),
    DHKEM_P521.id: bytes.fromhex("30819b301006072a8648ce3d020106052b8104002303818600"),
}


@pytest.mark.rfc("N-K13", "N-K02", "R-5.1.1-01", "R-5.1.1-04")
@pytest.mark.parametrize("encoding", ["", "_ecpoint"])
@pytest.mark.parametrize(
    ("curve", "kem"), [("secp256r1", DHKEM_P256), ("secp384r1", DHKEM_P384), ("secp521r1", DHKEM_P521)]
)
def test_ecdh(curve: str, kem: DHKEM, encoding: str) -> None:
    def judge(_: Case, case: Case) -> bool:
        private = int(case["private"], 16).to_bytes(kem.private_length, "big")
        public = octets(case, "public")
        if not encoding:
            public = public.removeprefix(HEADERS[kem.id])
        return has_agreed(kem, private, public, octets(case, "shared"))

    decide(f"ecdh_{curve}{encoding}_test", judge)


def has_agreed(kem: DHKEM, private: bytes, public: bytes, shared: bytes) -> bool:
    """Whether the KEM accepts a public key, when validated and when used, and computes `shared` with it."""
    try:
        kem.verify_public_key(public)
    except InvalidKey:
        with pytest.raises(InvalidKey):
            kem.decap(public, HPKEPrivateKey(private))
        return False
    kem.decap(public, HPKEPrivateKey(private))
    return kem.load(private).exchange(public) == shared
