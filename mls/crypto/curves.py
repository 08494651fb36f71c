"""Which encodings of a key each curve accepts: integers and lengths only, no cryptography.

Three families. Montgomery curves carry X25519 and X448, Edwards curves Ed25519 and Ed448, Weierstrass curves the NIST groups.
The last kind of check, whether a NIST point lies on its curve, is the library's and stands in `primitives`.
RFC 9420 §5.1.1; RFC 7748 §5; RFC 8032 §5.1.3, §5.2.3; RFC 9180 §7.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from treekem.errors import Code, InvalidKey, UsageError
from treekem.rules import require

_P25519 = 2**255 - 19
_P448 = 2**448 - 2**224 - 1


@dataclass(frozen=True, slots=True)
class MontgomeryCurve:
    """A curve whose public keys are u-coordinates, little-endian, of which the `bits` lowest bits count."""

    name: str
    length: int
    bits: int
    prime: int
    low_order: frozenset[int]

    @property
    def public_length(self) -> int:
        """Npk, in bytes."""
        return self.length

    @property
    def private_length(self) -> int:
        """Nsk, in bytes."""
        return self.length

    def u_coordinate(self, public: bytes) -> int:
        """Return the u-coordinate that the function computes with: unused bits ignored, reduced modulo the prime.

        RFC 7748 §5: implementations must accept non-canonical values and process them as if reduced.
        """
        return (int.from_bytes(public, "little") & ((1 << self.bits) - 1)) % self.prime

    def canonical(self, public: bytes) -> bytes:
        """Return the one encoding that stands for all encodings of the same u-coordinate. Raises InvalidKey."""
        self.verify_form(public)
        return self.u_coordinate(public).to_bytes(self.length, "little")

    def verify_form(self, public: bytes) -> None:
        """Check the length, all that is to check of the form. Raises InvalidKey."""
        _verify_length(self.name, public, self.length)

    def verify_public_key(self, public: bytes) -> None:
        """Check length and order. Raises InvalidKey."""
        self.verify_form(public)
        is_low_order = self.u_coordinate(public) in self.low_order
        require(not is_low_order, InvalidKey, "N-K01", f"the {self.name} public key is a point of low order")

    def verify_private_key(self, private: bytes) -> None:
        """Check the length; every string of that length is a private key. Raises InvalidKey."""
        _verify_private(self.name, len(private) == self.length)

    def private_key(self, candidates: Iterable[bytes]) -> bytes:
        """Return the first candidate, since all are private keys."""
        return next(iter(candidates))


# X25519 multiplies by a multiple of 8 and works on Curve25519 (order 8 * l) and its twist (order 4 * l') alike, so exactly the
# points of order 1, 2, 4 and 8 vanish. With v^2 = u^3 + 486662 u^2 + u and u(2P) = (u^2 - 1)^2 / (4 (u^3 + 486662 u^2 + u)):
# the point of order 2 has v = 0, hence u = 0; doubling gives u = 0 for u = 1 (order 4 on the curve) and u = -1 (on the twist);
# doubling gives u = 1 for the two roots of (u^2 - 1)^2 = 4 (u^3 + 486662 u^2 + u) modulo 2^255 - 19, which are of order 8,
# and never gives u = -1, since the twist has no point of order 8. RFC 7748 §6.1 ignores the top bit, and non-canonical strings
# reach 2^255 - 1 = p + 18, so 0 and 1 have a second encoding, and all seven strings an eighth bit that is free: 14 strings.
CURVE25519 = MontgomeryCurve(
    "X25519",
    length=32,
    bits=255,
    prime=_P25519,
    low_order=frozenset(
        {
            0,
            1,
            _P25519 - 1,
            0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
            0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
        }
    ),
)

# X448 multiplies by a multiple of 4; curve448 (order 4 * l) and its twist (order 4 * l') have cyclic 4-torsion, so exactly the
# points of order 1, 2 and 4 vanish. As above, the point of order 2 has u = 0, and u(2P) = (u^2 - 1)^2 / (4 v^2) = 0 for u = 1
# and u = -1, one of them on the curve, the other on the twist. 448 bits leave no unused bit, and the strings from the prime to
# 2^448 - 1 are the second encodings of 0 to 2^224, so 0 and 1 have two: five strings.
CURVE448 = MontgomeryCurve("X448", length=56, bits=448, prime=_P448, low_order=frozenset({0, 1, _P448 - 1}))


@dataclass(frozen=True, slots=True)
class EdwardsCurve:
    """A curve whose public keys are a y-coordinate, little-endian, and the sign of x in the topmost bit."""

    name: str
    length: int
    prime: int
    low_order: frozenset[int]

    @property
    def private_length(self) -> int:
        """The length of a seed, in bytes."""
        return self.length

    def verify_public_key(self, public: bytes) -> None:
        """Check length, canonical form and order. Raises InvalidKey.

        A y that no point has is not looked for, since that costs a square root: every verification under it fails.
        """
        _verify_length(self.name, public, self.length)
        y = int.from_bytes(public, "little") & ((1 << (8 * self.length - 1)) - 1)
        require(
            y < self.prime,
            InvalidKey,
            "R-5.1.1-02",
            f"the {self.name} public key is not reduced modulo the prime",
            code=Code.NON_CANONICAL_KEY,
        )
        require(y not in self.low_order, InvalidKey, "N-K04", f"the {self.name} public key is a point of low order")

    def verify_private_key(self, private: bytes) -> None:
        """Check the length; every string of that length is a private key. Raises InvalidKey."""
        _verify_private(self.name, len(private) == self.length)

    def private_key(self, candidates: Iterable[bytes]) -> bytes:
        """Return the first candidate, since all are private keys."""
        return next(iter(candidates))


# With a key of low order, one signature verifies for many messages. The points of order 1, 2, 4 and 8 form a cyclic group:
# (0, 1) is the neutral element, (0, -1) has order 2. On -x^2 + y^2 = 1 + d x^2 y^2 doubling gives y = -1 for y = 0 (two points
# of order 4), and y = 0 for x^2 = -y^2, that is d y^4 + 2 y^2 - 1 = 0 (four points of order 8, two values of y). So five values
# of y make eight points: the sign bit of x = 0 is no second point but a non-canonical encoding of the first (RFC 8032 §5.1.3),
# refused here with it. y + p below 2^255 exists for y = 0 and y = 1
# only, and is refused as not reduced.
EDWARDS25519 = EdwardsCurve(
    "Ed25519",
    length=32,
    prime=_P25519,
    low_order=frozenset(
        {
            0,
            1,
            _P25519 - 1,
            0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
            0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        }
    ),
)

# The cofactor of edwards448 is 4, and its 4-torsion is (0, 1), (0, -1) and (±1, 0). The x = 0 with a sign bit, and y + p, which
# exists in 455 bits for every y, are non-canonical (RFC 8032 §5.2.3).
EDWARDS448 = EdwardsCurve("Ed448", length=57, prime=_P448, low_order=frozenset({0, 1, _P448 - 1}))


@dataclass(frozen=True, slots=True)
class WeierstrassCurve:
    """A NIST curve; `field_length` in bytes, public keys are 0x04, X, Y, private keys big-endian numbers below `order`."""

    name: str
    field_length: int
    order: int

    @property
    def public_length(self) -> int:
        """Npk, in bytes."""
        return 1 + 2 * self.field_length

    @property
    def private_length(self) -> int:
        """Nsk, in bytes."""
        return self.field_length

    def canonical(self, public: bytes) -> bytes:
        """Return `public`: the uncompressed form is unique, coordinates at or above the prime are off the curve."""
        self.verify_form(public)
        return public

    def verify_form(self, public: bytes) -> None:
        """Check for an uncompressed point of this field: no compressed, hybrid or infinite one. Raises InvalidKey."""
        _verify_length(self.name, public, self.public_length)
        require(
            public[0] == 0x04,  # noqa: PLR2004  (SEC 1 §2.3.3: uncompressed)
            InvalidKey,
            "R-5.1.1-03",
            f"the {self.name} public key is not an uncompressed point",
            code=Code.NON_CANONICAL_KEY,
        )

    def verify_public_key(self, public: bytes) -> None:
        """Check the form; the order of every point is prime. Raises InvalidKey."""
        self.verify_form(public)

    def verify_private_key(self, private: bytes) -> None:
        """Check length and range. Raises InvalidKey."""
        _verify_private(self.name, len(private) == self.field_length and self._is_scalar(private))

    def private_key(self, candidates: Iterable[bytes]) -> bytes:
        """Return the first candidate that is below the order and not zero, its surplus bits cleared. Raises UsageError.

        RFC 9180 §7.1.3 gives up after 256 candidates, which honest ones never need: of P-256's, one in 2^32 is rejected.
        """
        surplus = 8 * self.field_length - self.order.bit_length()
        for candidate in candidates:
            masked = bytes((candidate[0] & (0xFF >> surplus),)) + candidate[1:]
            if self._is_scalar(masked):
                return masked
        raise UsageError(f"no candidate is a private key of {self.name}")

    def _is_scalar(self, private: bytes) -> bool:
        return 0 < int.from_bytes(private, "big") < self.order


P256 = WeierstrassCurve("P-256", 32, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551)
P384 = WeierstrassCurve("P-384", 48, 2**384 - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D)
P521 = WeierstrassCurve("P-521", 66, 2**521 - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7)


def _verify_length(name: str, public: bytes, length: int) -> None:
    require(
        len(public) == length,
        InvalidKey,
        "R-5.1.1-04",
        f"a {name} public key has {length} bytes, not {len(public)}",
        code=Code.NON_CANONICAL_KEY,
    )


def _verify_private(name: str, is_private_key: bool) -> None:
    require(is_private_key, InvalidKey, "R-5.1.1-01", f"the bytes are not a {name} private key")
