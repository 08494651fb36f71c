"""RFC 9420 §5.1 and §5.1.1: what a cipher suite is made of, and which keys it accepts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mls.crypto import SUITES, CipherSuite, HPKEPrivateKey, SignaturePrivateKey, cipher_suite, signatures
from mls.crypto.curves import CURVE448, CURVE25519, EDWARDS448, EDWARDS25519, P256, P384, P521, WeierstrassCurve
from mls.crypto.kem import DHKEM, DHKEM_X448, DHKEM_X25519
from mls.crypto.primitives import ED25519
from mls.errors import Code, InvalidCiphertext, InvalidKey, InvalidSignature, UsageError
from tests.support.entropy import DeterministicEntropy
from treekem.secrets import Secret
from treekem.suite import PathSecret, TreeSuite

P25519, P448 = 2**255 - 19, 2**448 - 2**224 - 1

each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: f"suite{suite.id}")
each_ecdsa_suite = pytest.mark.parametrize("suite", [SUITES[2], SUITES[5], SUITES[7]], ids=lambda suite: suite.name)
each_montgomery_kem = pytest.mark.parametrize("kem", [DHKEM_X25519, DHKEM_X448], ids=lambda kem: kem.curve.name)


# §5.1: cipher suites.


@each_suite
@pytest.mark.rfc("R-5.1-01", "R-5.1-02")
def test_a_suite_serves_the_tree(suite: CipherSuite) -> None:
    tree_suite: TreeSuite = suite
    path_secret = PathSecret(bytes(suite.hash_length))
    node = tree_suite.derive_node_key_pair(path_secret)
    assert node.public == tree_suite.derive_node_key_pair(path_secret).public
    suite.verify_hpke_key(node.public)
    above = tree_suite.derive_path_secret(path_secret)
    assert above.expose() == tree_suite.derive_commit_secret(path_secret).expose()
    assert tree_suite.derive_node_key_pair(above).public != node.public


@pytest.mark.rfc("R-5.1-01")
def test_a_suite_fixes_all_of_its_algorithms() -> None:
    """Nh, Nk and Nn, Npk, and the signature scheme, as the names of the suites say them. RFC 9420 §17.1."""
    chosen = {
        suite.id: (
            suite.hash_length,
            suite.aead_key_length,
            suite.aead_nonce_length,
            suite.hpke.kem.public_length,
            suite.signature_scheme,
        )
        for suite in SUITES.values()
    }
    assert chosen == {
        1: (32, 16, 12, 32, "ed25519"),
        2: (32, 16, 12, 65, "ecdsa_secp256r1_sha256"),
        3: (32, 32, 12, 32, "ed25519"),
        4: (64, 32, 12, 56, "ed448"),
        5: (64, 32, 12, 133, "ecdsa_secp521r1_sha512"),
        6: (64, 32, 12, 56, "ed448"),
        7: (48, 32, 12, 97, "ecdsa_secp384r1_sha384"),
    }


@each_suite
@pytest.mark.rfc("R-5.1-01")
def test_a_key_of_another_kem_is_refused(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    public = suite.generate_key_pair(entropy).public
    for other in SUITES.values():
        if other.hpke.kem is suite.hpke.kem:
            other.verify_hpke_key(public)
            continue
        with pytest.raises(InvalidKey):
            other.verify_hpke_key(public)


@each_suite
@pytest.mark.rfc("R-5.1.2-01")
def test_a_signature_key_of_another_scheme_is_refused(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    public = suite.generate_signature_key_pair(entropy).public
    for other in SUITES.values():
        if other.signatures is suite.signatures:
            other.verify_signature_key(public)
            continue
        with pytest.raises(InvalidKey):
            other.verify_signature_key(public)


@pytest.mark.rfc("R-5.1-02")
@pytest.mark.parametrize("curve", [P256, P384, P521], ids=lambda curve: curve.name)
def test_private_keys_are_drawn_until_one_fits(curve: WeierstrassCurve) -> None:
    length = curve.field_length
    zero, one = bytes(length), (1).to_bytes(length, "big")
    order, last = curve.order.to_bytes(length, "big"), (curve.order - 1).to_bytes(length, "big")

    assert curve.private_key([zero, order, b"\xff" * length, last, one]) == last
    assert curve.private_key([one, last]) == one
    with pytest.raises(UsageError):
        curve.private_key([zero, order] * 128)


@pytest.mark.rfc("R-5.1-02")
def test_surplus_bits_of_a_candidate_are_cleared() -> None:
    one = (1).to_bytes(66, "big")
    assert P521.private_key([b"\xfe" + one[1:]]) == one
    assert P521.private_key([b"\x01" + bytes(65)]) == b"\x01" + bytes(65)


@each_suite
@pytest.mark.rfc("N-K12", "B43")
def test_the_random_source_is_watched(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    public = suite.generate_key_pair(entropy).public
    context = suite.seal_context(b"label", b"")

    def short(length: int) -> bytes:
        return bytes(length - 1)

    def broken(_: int) -> bytes:
        raise OSError

    for source, error in ((short, UsageError), (broken, OSError)):
        with pytest.raises(error):
            suite.generate_key_pair(source)
        with pytest.raises(error):
            suite.generate_signature_key_pair(source)
        with pytest.raises(error):
            suite.seal(public, context, b"plaintext", source)


@each_ecdsa_suite
@pytest.mark.rfc("N-K12")
def test_a_random_source_stuck_at_zero_makes_no_ecdsa_key(suite: CipherSuite) -> None:
    with pytest.raises(UsageError):
        suite.generate_signature_key_pair(bytes)


@each_suite
@pytest.mark.rfc("R-5.1-03")
def test_an_aead_output_is_one_string(suite: CipherSuite) -> None:
    key, nonce = Secret(bytes(suite.aead_key_length)), bytes(suite.aead_nonce_length)
    ciphertext = suite.aead_seal(key, nonce, b"aad", b"plaintext")

    assert len(ciphertext) == len(b"plaintext") + 16
    assert suite.aead_open(key, nonce, b"aad", ciphertext) == b"plaintext"
    for damaged in (ciphertext[:-1], ciphertext[:-1] + bytes((ciphertext[-1] ^ 1,)), ciphertext[:15], b""):
        with pytest.raises(InvalidCiphertext) as refusal:
            suite.aead_open(key, nonce, b"aad", damaged)
        assert refusal.value.code is Code.AEAD_FAILED
    with pytest.raises(InvalidCiphertext):
        suite.aead_open(key, nonce, b"other", ciphertext)


@each_suite
def test_an_aead_takes_its_own_lengths_only(suite: CipherSuite) -> None:
    key, nonce = Secret(bytes(suite.aead_key_length)), bytes(suite.aead_nonce_length)
    for wrong_key, wrong_nonce in (
        (Secret(b""), nonce),
        (Secret(bytes(24)), nonce),
        (key, bytes(11)),
        (key, bytes(16)),
    ):
        with pytest.raises(UsageError):
            suite.aead_seal(wrong_key, wrong_nonce, b"", b"")
        with pytest.raises(UsageError):
            suite.aead_open(wrong_key, wrong_nonce, b"", bytes(16))


@each_suite
@pytest.mark.rfc("N-K08", "B01")
def test_a_tag_is_compared_at_full_length(suite: CipherSuite) -> None:
    key = Secret(b"key")
    tag = suite.mac(key, b"data")
    assert len(tag) == suite.hash_length
    assert suite.verify_mac(key, b"data", tag)
    for wrong in (b"", tag[:1], tag[:-1], tag + b"\0", tag * 4, bytes(len(tag))):
        assert not suite.verify_mac(key, b"data", wrong)
    assert not suite.verify_mac(key, b"other", tag)


# §5.1.1: public keys.


def malformed_points(curve: WeierstrassCurve, public: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield points that are refused, with the rule: the form is R-5.1.1-03, length and curve are R-5.1.1-04."""
    x, y = public[1 : 1 + curve.field_length], public[1 + curve.field_length :]
    prefix = 2 + (y[-1] & 1)
    yield "R-5.1.1-04", bytes((prefix,)) + x  # compressed
    yield "R-5.1.1-03", bytes((prefix,)) + x + y
    yield "R-5.1.1-03", bytes((prefix + 4,)) + x + y  # hybrid
    yield "R-5.1.1-04", b"\0"  # infinity
    yield "R-5.1.1-03", bytes(len(public))
    yield "R-5.1.1-04", public[:-1] + bytes((public[-1] ^ 1,))  # off the curve
    yield "R-5.1.1-04", b"\x04" + y + x
    yield "R-5.1.1-04", b"\x04" + bytes(len(public) - 1)
    yield "R-5.1.1-04", b"\x04" + b"\xff" * (len(public) - 1)  # not reduced
    yield "R-5.1.1-04", public[:-1]
    yield "R-5.1.1-04", public + b"\0"
    yield "R-5.1.1-04", public[1:]
    yield "R-5.1.1-04", b""


@each_ecdsa_suite
@pytest.mark.rfc("R-5.1.1-03", "R-5.1.1-04", "N-K02")
def test_a_nist_point_is_uncompressed_and_on_its_curve(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    curve = suite.hpke.kem.curve
    assert isinstance(curve, WeierstrassCurve)
    pair = suite.generate_key_pair(entropy)
    suite.verify_hpke_key(pair.public)
    suite.verify_signature_key(pair.public)
    context = suite.seal_context(b"label", b"")

    for rule, public in malformed_points(curve, pair.public):
        for refused in (
            lambda public=public: suite.verify_hpke_key(public),
            lambda public=public: suite.verify_signature_key(public),
            lambda public=public: suite.seal(public, context, b"", entropy),
            lambda public=public: suite.open(pair.private, context, public, bytes(16)),
            lambda public=public: suite.verify(public, b"", b""),
        ):
            with pytest.raises(InvalidKey) as refusal:
                refused()
            assert (refusal.value.rule, refusal.value.code) == (rule, Code.NON_CANONICAL_KEY)


@each_suite
@pytest.mark.rfc("R-5.1.1-01", "R-5.1.1-02", "R-5.1.1-04")
def test_a_public_key_has_one_length(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    hpke, signature = suite.generate_key_pair(entropy).public, suite.generate_signature_key_pair(entropy).public
    suite.verify_hpke_key(hpke)
    suite.verify_signature_key(signature)
    for wrong in (b"", hpke[:-1], hpke + b"\0", hpke * 2):
        for refuse in (suite.verify_hpke_key, suite.canonical_public_key):
            with pytest.raises(InvalidKey) as refusal:
                refuse(wrong)
            assert refusal.value.rule == "R-5.1.1-04"
    for wrong in (b"", signature[:-1], signature + b"\0", signature * 2):
        with pytest.raises(InvalidKey) as refusal:
            suite.verify_signature_key(wrong)
        assert refusal.value.rule == "R-5.1.1-04"


@each_suite
@pytest.mark.rfc("R-5.1.1-01")
def test_a_private_key_has_its_length_and_range(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    hpke, signature = suite.generate_key_pair(entropy), suite.generate_signature_key_pair(entropy)
    assert suite.hpke_public_key(hpke.private) == hpke.public
    assert suite.signature_public_key(signature.private) == signature.public

    curve = suite.signatures.curve
    out_of_range = [0, curve.order] if isinstance(curve, WeierstrassCurve) else []
    wrong = [number.to_bytes(curve.private_length, "big") for number in out_of_range]
    for serialized in (*wrong, b"", hpke.private.expose()[:-1], signature.private.expose() + b"\0"):
        with pytest.raises(InvalidKey):
            suite.hpke_public_key(HPKEPrivateKey(serialized))
        with pytest.raises(InvalidKey):
            suite.open(HPKEPrivateKey(serialized), suite.seal_context(b"", b""), hpke.public, bytes(16))
        with pytest.raises(InvalidKey):
            suite.sign(SignaturePrivateKey(serialized), b"")


def encodings(u: int, prime: int, bits: int, length: int) -> Iterator[bytes]:
    """Yield every string that X25519 or X448 takes for `u`: unreduced ones, and those with unused bits set."""
    for value in (u, u + prime):
        for unused in range(1 << (8 * length - bits)):
            if value < 1 << bits:
                yield (value | unused << bits).to_bytes(length, "little")


def low_order_keys(kem: DHKEM) -> list[bytes]:
    curve = {DHKEM_X25519.id: CURVE25519, DHKEM_X448.id: CURVE448}[kem.id]
    return [key for u in sorted(curve.low_order) for key in encodings(u, curve.prime, curve.bits, curve.public_length)]


def order_divides(times_doubled: int, u: int, a: int, prime: int) -> bool:
    """Whether doubling the point with that u-coordinate so many times gives the neutral element, on curve or twist."""
    x, z = u, 1
    for _ in range(times_doubled):
        x, z = (x * x - z * z) ** 2 % prime, 4 * x * z * (x * x + a * x * z + z * z) % prime
    return z == 0


def test_the_low_order_values_are_those_that_doubling_annihilates() -> None:
    assert {u for u in range(1000) if order_divides(3, u, 486662, P25519)} == {0, 1}
    assert all(order_divides(3, u, 486662, P25519) for u in CURVE25519.low_order)
    assert {u for u in range(-1000, 1000) if order_divides(2, u, 156326, P448)} == {0, 1, -1}
    assert all(order_divides(2, u, 156326, P448) for u in CURVE448.low_order)
    # The map u = (1 + y) / (1 - y) takes the torsion of the Edwards form, found below, to that of the curve.
    on_curve = {(1 + y) * pow(1 - y, -1, P25519) % P25519 for y in EDWARDS25519.low_order - {1}}
    assert on_curve | {P25519 - 1} == CURVE25519.low_order


@each_montgomery_kem
@pytest.mark.rfc("N-K01", "R-5.1.1-04", "R-5.1.1-05", "B43")
def test_a_point_of_low_order_is_refused(kem: DHKEM, entropy: DeterministicEntropy) -> None:
    keys = low_order_keys(kem)
    assert len(set(keys)) == {DHKEM_X25519.id: 14, DHKEM_X448.id: 5}[kem.id]
    pair = kem.derive_key_pair(entropy(kem.private_length))
    kem.verify_public_key(pair.public)
    kem.decap(kem.encap(pair.public, entropy)[1], pair.private)

    for public in keys:
        with pytest.raises(InvalidKey) as refusal:
            kem.verify_public_key(public)
        assert (refusal.value.rule, refusal.value.code) == ("N-K01", Code.BAD_KEY)
        with pytest.raises(InvalidKey) as refusal:
            kem.decap(public, pair.private)
        assert refusal.value.rule == "R-5.1.1-05"
        with pytest.raises(InvalidKey) as refusal:
            kem.encap(public, entropy)
        assert refusal.value.rule == "R-5.1.1-05"


@pytest.mark.parametrize("suite_id", [1, 3, 4, 6])
@pytest.mark.rfc("R-5.1.1-05", "R-8.3-04")
def test_no_operation_of_a_suite_takes_a_point_of_low_order(suite_id: int, entropy: DeterministicEntropy) -> None:
    suite = cipher_suite(suite_id)
    private = suite.generate_key_pair(entropy).private
    context = suite.seal_context(b"label", b"")
    for public in low_order_keys(suite.hpke.kem):
        for refused in (
            lambda public=public: suite.seal(public, context, b"", entropy),
            lambda public=public: suite.open(private, context, public, bytes(16)),
            lambda public=public: suite.export_to(public, b"", 32, entropy),
            lambda public=public: suite.export_from(private, public, b"", 32),
        ):
            with pytest.raises(InvalidKey):
                refused()


@pytest.mark.rfc("N-K03", "R-5.1.1-04")
def test_an_x25519_key_with_its_top_bit_set_is_the_same_key(entropy: DeterministicEntropy) -> None:
    suite = cipher_suite(1)
    pair = suite.generate_key_pair(entropy)
    marked = pair.public[:-1] + bytes((pair.public[-1] | 0x80,))

    suite.verify_hpke_key(marked)
    assert marked != pair.public
    assert suite.canonical_public_key(marked) == suite.canonical_public_key(pair.public) == pair.public
    context = suite.seal_context(b"label", b"context")
    shared_secret, _ = suite.hpke.kem.encap(marked, lambda _: bytes(32))
    assert suite.hpke.kem.load(pair.private.expose()).exchange(marked) == suite.hpke.kem.load(
        pair.private.expose()
    ).exchange(pair.public)
    assert len(shared_secret) == 32
    # The recipient serializes its own key canonically, so what was sealed to the other encoding does not open.
    with pytest.raises(InvalidCiphertext):
        suite.open(pair.private, context, *suite.seal(marked, context, b"plaintext", entropy))


@pytest.mark.rfc("N-K03")
def test_unreduced_keys_have_a_canonical_form(entropy: DeterministicEntropy) -> None:
    x25519, x448 = cipher_suite(1), cipher_suite(4)
    two, nine = (2).to_bytes(32, "little"), (9).to_bytes(32, "little")
    assert x25519.canonical_public_key((P25519 + 2).to_bytes(32, "little")) == two
    assert x25519.canonical_public_key((P25519 + 9 | 1 << 255).to_bytes(32, "little")) == nine
    assert x25519.canonical_public_key(b"\xff" * 32) == (18).to_bytes(32, "little")
    assert x448.canonical_public_key((P448 + 5).to_bytes(56, "little")) == (5).to_bytes(56, "little")
    for suite in SUITES.values():
        public = suite.generate_key_pair(entropy).public
        assert suite.canonical_public_key(public) == public


# The twisted Edwards curve a x^2 + y^2 = 1 + d x^2 y^2, in affine coordinates.
Point = tuple[int, int]


def edwards_sum(p: Point, q: Point, a: int, d: int, prime: int) -> Point:
    (x1, y1), (x2, y2) = p, q
    product = d * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, prime)
    y = (y1 * y2 - a * x1 * x2) * pow(1 - product, -1, prime)
    return x % prime, y % prime


def edwards_multiple(n: int, point: Point, a: int, d: int, prime: int) -> Point:
    result = (0, 1)
    while n:
        if n & 1:
            result = edwards_sum(result, point, a, d, prime)
        point = edwards_sum(point, point, a, d, prime)
        n >>= 1
    return result


def torsion(generator: Point, cofactor: int, a: int, d: int, prime: int) -> set[Point]:
    """Return the multiples of a point whose order is the cofactor."""
    points = {edwards_multiple(n, generator, a, d, prime) for n in range(cofactor)}
    assert len(points) == cofactor
    return points


D25519 = -121665 * pow(121666, -1, P25519) % P25519
D448 = -39081 % P448
L25519 = 2**252 + 27742317777372353535851937790883648493


def torsion_of_25519() -> set[Point]:
    """Multiply a point by the large prime: what remains generates the torsion, if its order is 8."""
    sqrt_of_minus_1 = pow(2, (P25519 - 1) // 4, P25519)
    for y in range(2, 100):
        square = (y * y - 1) * pow(D25519 * y * y + 1, -1, P25519) % P25519
        x = pow(square, (P25519 + 3) // 8, P25519)
        x = x if x * x % P25519 == square else x * sqrt_of_minus_1 % P25519
        if x * x % P25519 != square:
            continue
        generator = edwards_multiple(L25519, (x, y), -1, D25519, P25519)
        if edwards_multiple(4, generator, -1, D25519, P25519) != (0, 1):
            return torsion(generator, 8, -1, D25519, P25519)
    raise AssertionError("no point of order 8")


def edwards_key(point: Point, length: int, sign: int | None = None) -> bytes:
    x, y = point
    return (y | (x & 1 if sign is None else sign) << (8 * length - 1)).to_bytes(length, "little")


SMALL_ORDER = {
    "ed25519": (signatures.ED25519, EDWARDS25519, torsion_of_25519(), P25519, 32),
    "ed448": (signatures.ED448, EDWARDS448, torsion((1, 0), 4, 1, D448, P448), P448, 57),
}


@pytest.mark.parametrize("name", SMALL_ORDER)
@pytest.mark.rfc("N-K04", "R-5.1.1-02", "R-5.1.1-04")
def test_an_eddsa_key_of_small_order_is_refused(name: str, entropy: DeterministicEntropy) -> None:
    scheme, curve, points, prime, length = SMALL_ORDER[name]
    assert {y for _, y in points} == curve.low_order
    scheme.parse(scheme.generate_key_pair(entropy).public)

    canonical = {edwards_key(point, length) for point in points}
    assert len(canonical) == len(points)
    signed_zero = {edwards_key((0, y), length, sign=1) for y in (1, prime - 1)}
    for public in canonical | signed_zero:
        with pytest.raises(InvalidKey) as refusal:
            scheme.parse(public)
        assert refusal.value.rule == "N-K04"

    unreduced = {y + prime for _, y in points if y + prime < 1 << (8 * length - 1)}
    assert len(unreduced) == {"ed25519": 2, "ed448": 3}[name]
    for y in unreduced:
        for sign in (0, 1):
            with pytest.raises(InvalidKey) as refusal:
                scheme.parse(edwards_key((0, y), length, sign))
            assert (refusal.value.rule, refusal.value.code) == ("R-5.1.1-02", Code.NON_CANONICAL_KEY)


@pytest.mark.rfc("N-K04")
def test_a_key_of_small_order_would_make_signatures_universal() -> None:
    neutral = edwards_key((0, 1), 32)
    forged = neutral + bytes(32)
    assert all(ED25519.verifier(neutral)(content, forged) for content in (b"one", b"two", b"three"))
    for content in (b"one", b"two", b"three"):
        with pytest.raises(InvalidKey):
            cipher_suite(1).verify(neutral, content, forged)


@pytest.mark.parametrize("name", SMALL_ORDER)
@pytest.mark.rfc("R-5.1.1-02")
def test_an_eddsa_key_is_reduced(name: str) -> None:
    scheme, _, _, prime, length = SMALL_ORDER[name]
    for y in (prime + 2, prime + 18, prime + 3):
        scheme.parse(edwards_key((0, y - prime), length))
        for sign in (0, 1):
            with pytest.raises(InvalidKey) as refusal:
                scheme.parse(edwards_key((0, y), length, sign))
            assert refusal.value.rule == "R-5.1.1-02"


@pytest.mark.parametrize("name", SMALL_ORDER)
@pytest.mark.rfc("R-5.1.1-02")
def test_a_key_that_is_no_point_verifies_nothing(name: str, entropy: DeterministicEntropy) -> None:
    """Half of all y are of no point; validation does not look for them, so they must fail where signatures do."""
    scheme, _, _, _, length = SMALL_ORDER[name]
    private = scheme.generate_key_pair(entropy).private
    for y in range(2, 40):
        key = scheme.parse(edwards_key((0, y), length))
        for signature in (scheme.sign(private, b"content"), bytes(2 * length)):
            with pytest.raises(InvalidSignature):
                key.verify(b"content", signature)
