"""RFC 9420 §5.1.2 and §5.1.3: signing, sealing, exporting; and the limits of §8's expansions."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mls.crypto import SUITES, CipherSuite, SignaturePrivateKey, cipher_suite
from mls.crypto.curves import WeierstrassCurve
from mls.errors import Code, InvalidCiphertext, InvalidKey, InvalidMessage, InvalidSignature, UsageError
from tests.support.entropy import DeterministicEntropy
from treekem.secrets import Secret

LABELS = (b"FramedContentTBS", b"LeafNodeTBS", b"KeyPackageTBS", b"GroupInfoTBS", b"")

each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: f"suite{suite.id}")
each_ecdsa_suite = pytest.mark.parametrize("suite", [SUITES[2], SUITES[5], SUITES[7]], ids=lambda suite: suite.name)


# §5.1.2: signing.


@each_suite
@pytest.mark.rfc("R-5.1.2-03", "R-5.1.2-04", "R-5.1.2-05", "N-K11")
def test_a_signature_holds_under_its_own_label_only(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_signature_key_pair(entropy)
    for label in LABELS:
        signature = suite.sign_with_label(pair.private, label, b"content")
        for other in LABELS:
            if other == label:
                suite.verify_with_label(pair.public, other, b"content", signature)
                continue
            with pytest.raises(InvalidSignature) as refusal:
                suite.verify_with_label(pair.public, other, b"content", signature)
            assert (refusal.value.rule, refusal.value.code) == ("R-5.1.2-04", Code.BAD_SIGNATURE)


@each_suite
def test_a_key_is_loaded_once_and_gone_when_it_is_wiped(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_signature_key_pair(entropy)
    private, loads = SignaturePrivateKey(pair.private.expose()), []

    def load(serialized: bytes) -> bytes:
        loads.append(serialized)
        return serialized

    assert private.loaded_by(load) is private.loaded_by(load)
    assert loads == [private.expose()]
    # What another suite has loaded is not taken for what this one loads.
    suite.verify(pair.public, b"content", suite.sign(private, b"content"))
    assert len(loads) == 1
    private.wipe()
    with pytest.raises(UsageError):
        private.loaded_by(load)
    with pytest.raises(UsageError):
        suite.sign(private, b"content")


@each_suite
@pytest.mark.rfc("R-5.1.2-03")
def test_the_signed_bytes_are_sign_content(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_signature_key_pair(entropy)
    content = bytes(100)
    sign_content = b"\x13MLS 1.0 LeafNodeTBS" + b"\x40\x64" + content
    suite.verify(pair.public, sign_content, suite.sign_with_label(pair.private, b"LeafNodeTBS", content))
    suite.verify_with_label(pair.public, b"LeafNodeTBS", content, suite.sign(pair.private, sign_content))


@each_suite
@pytest.mark.rfc("R-5.1.2-02", "R-5.1.2-04")
def test_a_changed_signature_content_or_key_is_refused(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    pair, other = suite.generate_signature_key_pair(entropy), suite.generate_signature_key_pair(entropy)
    signature = suite.sign(pair.private, b"content")
    suite.verify(pair.public, b"content", signature)
    flipped = [signature[:i] + bytes((signature[i] ^ 1,)) + signature[i + 1 :] for i in range(len(signature))]
    for wrong in (b"", b"\0", signature[:-1], signature + b"\0", bytes(len(signature)), *flipped):
        with pytest.raises(InvalidSignature):
            suite.verify(pair.public, b"content", wrong)
    with pytest.raises(InvalidSignature):
        suite.verify(pair.public, b"contents", signature)
    with pytest.raises(InvalidSignature):
        suite.verify(other.public, b"content", signature)


@each_suite
@pytest.mark.rfc("R-5.1.2-04")
def test_a_prepared_key_verifies_many(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_signature_key_pair(entropy)
    key = suite.verification_key(pair.public)
    for content in (b"", b"one", bytes(70_000)):
        key.verify(content, suite.sign(pair.private, content))
        with pytest.raises(InvalidSignature):
            key.verify(content + b"!", suite.sign(pair.private, content))


@each_suite
@pytest.mark.rfc("N-K06")
def test_signing_is_deterministic(suite: CipherSuite) -> None:
    first = suite.generate_signature_key_pair(DeterministicEntropy(b"seed"))
    second = suite.generate_signature_key_pair(DeterministicEntropy(b"seed"))
    assert first.public == second.public
    assert suite.sign(first.private, b"content") == suite.sign(second.private, b"content")
    assert suite.sign(first.private, b"content") != suite.sign(first.private, b"contents")


@each_ecdsa_suite
@pytest.mark.rfc("R-5.1.2-02", "N-K06")
def test_ecdsa_signatures_are_der_with_the_low_s(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    curve = suite.signatures.curve
    assert isinstance(curve, WeierstrassCurve)
    pair = suite.generate_signature_key_pair(entropy)
    for content in (bytes((i,)) for i in range(16)):
        signature = suite.sign(pair.private, content)
        r, s = decode_dss_signature(signature)
        assert 2 * s < curve.order
        assert encode_dss_signature(r, s) == signature
        # Peers may send the other form, which RFC 8446 does not exclude.
        suite.verify(pair.public, content, encode_dss_signature(r, curve.order - s))


@each_ecdsa_suite
@pytest.mark.rfc("R-5.1.2-02", "N-K07")
def test_an_ecdsa_signature_is_nothing_but_der(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    curve = suite.signatures.curve
    assert isinstance(curve, WeierstrassCurve)
    pair = suite.generate_signature_key_pair(entropy)
    signature = suite.sign(pair.private, b"content")
    r, s = decode_dss_signature(signature)
    raw = b"".join(number.to_bytes(curve.field_length, "big") for number in (r, s))
    header = 3 if signature[1] == 0x81 else 2
    body = signature[header:]
    long_form = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    indefinite = b"\x30\x80" + body + b"\0\0"
    padded_r = b"\x02" + bytes((body[1] + 1,)) + b"\0" + body[2:]
    padded = b"\x30" + signature[1 : header - 1] + bytes((len(padded_r),)) + padded_r
    zero_s = encode_dss_signature(r, 0)
    too_large = encode_dss_signature(r, s + curve.order)

    suite.verify(pair.public, b"content", signature)
    for wrong in (raw, long_form, indefinite, padded, zero_s, too_large, signature + b"\0\0"):
        with pytest.raises(InvalidSignature):
            suite.verify(pair.public, b"content", wrong)


@pytest.mark.rfc("N-K06")
def test_ecdsa_nonces_are_those_of_rfc_6979() -> None:
    """RFC 6979 §A.2.5, SHA-256 over "sample": its s is the high one, ours the other."""
    suite = cipher_suite(2)
    private = SignaturePrivateKey(bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"))
    r, s = decode_dss_signature(suite.sign(private, b"sample"))
    assert f"{r:064x}" == "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    curve = suite.signatures.curve
    assert isinstance(curve, WeierstrassCurve)
    assert f"{curve.order - s:064x}" == "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"


# §5.1.3: public key encryption.


@each_suite
@pytest.mark.rfc("R-5.1.3-02", "R-5.1.3-03", "R-5.1.3-04")
def test_a_ciphertext_opens_under_its_own_label_and_context_only(
    suite: CipherSuite, entropy: DeterministicEntropy
) -> None:
    pair, other = suite.generate_key_pair(entropy), suite.generate_key_pair(entropy)
    enc, ciphertext = suite.encrypt_with_label(pair.public, b"UpdatePathNode", b"context", b"plaintext", entropy)
    assert suite.decrypt_with_label(pair.private, b"UpdatePathNode", b"context", enc, ciphertext) == b"plaintext"

    for private, label, context in (
        (pair.private, b"Welcome", b"context"),
        (pair.private, b"UpdatePathNode", b""),
        (pair.private, b"UpdatePathNodec", b"ontext"),
        (other.private, b"UpdatePathNode", b"context"),
    ):
        with pytest.raises(InvalidCiphertext) as refusal:
            suite.decrypt_with_label(private, label, context, enc, ciphertext)
        assert refusal.value.rule == "R-5.1.3-03"


@each_suite
@pytest.mark.rfc("R-5.1.3-02")
def test_the_info_is_encrypt_context(suite: CipherSuite) -> None:
    assert suite.seal_context(b"Welcome", b"ab") == suite.hpke.context(b"\x0fMLS 1.0 Welcome\x02ab")


@each_suite
@pytest.mark.rfc("R-5.1.3-03", "B16")
def test_whatever_is_wrong_with_a_ciphertext_is_refused(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_key_pair(entropy)
    context = suite.seal_context(b"label", b"context")
    enc, ciphertext = suite.seal(pair.public, context, b"plaintext", entropy)
    assert suite.open(pair.private, context, enc, ciphertext) == b"plaintext"

    for damaged in (b"", *(ciphertext[:n] for n in range(16)), ciphertext[:-1], ciphertext + b"\0", bytes(30)):
        with pytest.raises(InvalidCiphertext):
            suite.open(pair.private, context, enc, damaged)
    for garbled in (b"", enc[:-1], enc + b"\0", bytes(len(enc)), b"\xff" * len(enc), enc[::-1], pair.public):
        with pytest.raises((InvalidKey, InvalidCiphertext)):
            suite.open(pair.private, context, garbled, ciphertext)


@each_suite
@pytest.mark.rfc("R-5.1.3-01", "N-K10", "B43")
def test_one_context_serves_many_recipients(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    context = suite.seal_context(b"label", b"context")
    pairs = [suite.generate_key_pair(entropy) for _ in range(3)]
    sealed = [suite.seal(pair.public, context, b"plaintext", entropy) for pair in pairs]
    again = suite.seal(pairs[0].public, context, b"plaintext", entropy)

    assert [suite.open(pair.private, context, *parts) for pair, parts in zip(pairs, sealed, strict=True)] == [
        b"plaintext"
    ] * 3
    assert len({enc for enc, _ in (*sealed, again)}) == 4  # each message has its own key; none is used twice


@pytest.mark.rfc("N-K10")
def test_a_context_of_another_suite_is_refused(entropy: DeterministicEntropy) -> None:
    for suite in SUITES.values():
        pair = suite.generate_key_pair(entropy)
        own = suite.seal_context(b"label", b"")
        sealed = suite.seal(pair.public, own, b"plaintext", entropy)
        for foreign in (object(), *(other.seal_context(b"label", b"") for other in SUITES.values() if other != suite)):
            with pytest.raises(UsageError):
                suite.seal(pair.public, foreign, b"plaintext", entropy)
            with pytest.raises(UsageError):
                suite.open(pair.private, foreign, *sealed)


@each_suite
@pytest.mark.rfc("R-5.1.3-01")
def test_the_same_entropy_seals_the_same(suite: CipherSuite) -> None:
    public = suite.generate_key_pair(DeterministicEntropy(b"recipient")).public
    context = suite.seal_context(b"label", b"context")
    first = suite.seal(public, context, b"plaintext", DeterministicEntropy(b"one"))
    assert first == suite.seal(public, context, b"plaintext", DeterministicEntropy(b"one"))
    assert first[0] != suite.seal(public, context, b"plaintext", DeterministicEntropy(b"two"))[0]


@each_suite
@pytest.mark.rfc("R-8.3-01", "R-8.3-02", "R-8.3-04")
def test_an_exported_secret_is_shared(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    pair = suite.generate_key_pair(entropy)
    label, length = b"MLS 1.0 external init secret", suite.hash_length
    enc, sent = suite.export_to(pair.public, label, length, entropy)
    received = suite.export_from(pair.private, enc, label, length)
    assert (len(sent), received.expose()) == (length, sent.expose())
    assert suite.export_from(pair.private, enc, b"MLS 1.0 other", length).expose() != sent.expose()
    for malformed in (b"", enc[:-1], enc + b"\0", bytes(len(enc))):
        with pytest.raises(InvalidMessage):
            suite.export_from(pair.private, malformed, label, length)


# §8, §9.1: the limits of an expansion.


@each_suite
@pytest.mark.rfc("R-9.1-05")
def test_a_generation_is_a_uint32(suite: CipherSuite) -> None:
    secret = Secret(bytes(suite.hash_length))
    for generation in (0, 0xFFFFFFFF):
        context = generation.to_bytes(4, "big")
        derived = suite.derive_tree_secret(secret, b"key", generation, 16, Secret)
        assert derived.expose() == suite.expand_with_label(secret, b"key", context, 16, Secret).expose()
    for generation in (-1, 1 << 32):
        with pytest.raises(UsageError) as refusal:
            suite.derive_tree_secret(secret, b"key", generation, 16, Secret)
        assert (refusal.value.rule, refusal.value.code) == ("R-9.1-05", Code.MUST_REKEY)


@each_suite
@pytest.mark.rfc("R-8-03", "N-K09", "B43")
def test_an_expansion_has_a_length_that_it_can_reach(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    secret, pair = Secret(bytes(suite.hash_length)), suite.generate_key_pair(entropy)
    enc, _ = suite.export_to(pair.public, b"", 1, entropy)
    longest = 255 * suite.hash_length

    whole = suite.expand_with_label(secret, b"label", b"", longest, Secret).expose()
    assert len(whole) == longest
    assert len(suite.export_from(pair.private, enc, b"", longest)) == longest
    for length in (-1, 0, longest + 1, 65_535, 65_536, 70_000):
        for refused in (
            lambda length=length: suite.expand_with_label(secret, b"label", b"", length, Secret),
            lambda length=length: suite.export_to(pair.public, b"", length, entropy),
            lambda length=length: suite.export_from(pair.private, enc, b"", length),
        ):
            with pytest.raises(UsageError) as refusal:
                refused()
            assert (refusal.value.rule, refusal.value.code) == ("R-8-03", Code.INVALID_ARGUMENT)
