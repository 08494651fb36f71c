"""Which encodings of a key each curve accepts: integers and lengths only, no cryptography.

Three families: Montgomery curves carry X25519 and X448, Edwards curves Ed25519 and Ed448, Weierstrass curves the NIST
groups. One check is left to `primitives`, because the library makes it: whether a NIST point lies on its curve.
RFC 9420 §5.1.1; RFC 7748 §5; RFC 8032 §5.1.3, §5.2.3; RFC 9180 §7.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from treekem.errors import Code, InvalidKey, UsageError
from treekem.rules import require
from treekem.secrets import ct_eq

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
        if len(public) == self.length and public[-1] < self.prime >> 8 * (self.length - 1):
            return public  # The topmost octet alone says that it is below the prime.
        self.verify_form(public)
        return self.u_coordinate(public).to_bytes(self.length, "little")

    def all_canonical(self, public_keys: Sequence[bytes]) -> list[bytes]:
        """Return what `canonical` does of each of many keys. Raises InvalidKey."""
        if not self._have_length(public_keys):
            return list(map(self.canonical, public_keys))
        topmost = self.prime >> 8 * (self.length - 1)
        return [public if public[-1] < topmost else self.canonical(public) for public in public_keys]

    def has_good_keys_only(self, public_keys: Collection[bytes]) -> bool:
        """Whether `verify_public_key` takes all of these keys."""
        return self._have_length(public_keys) and _low_order_encodings(self).isdisjoint(public_keys)

    def _have_length(self, public_keys: Collection[bytes]) -> bool:
        return {self.length}.issuperset(map(len, public_keys))

    def verify_form(self, public: bytes) -> None:
        """Check the length, all that is to check of the form. Raises InvalidKey."""
        _verify_length(self.name, public, self.length)

    def verify_public_key(self, public: bytes) -> None:
        """Check length and order. Raises InvalidKey."""
        self.verify_form(public)
        is_low_order = self.u_coordinate(public) in self.low_order
        require(not is_low_order, InvalidKey, "N-K01", f"the {self.name} public key is a point of low order")

    def verify_shared_secret(self, dh: bytes) -> None:
        """Check that the peer's point did not vanish. Raises InvalidKey.

        A point of low order vanishes whatever the private key, so the secret would be no secret.

        RFC 9180 §7.1.4.
        """
        is_zero = ct_eq(dh, bytes(len(dh)))
        message = f"the {self.name} shared secret is all zeros" if is_zero else ""
        require(not is_zero, InvalidKey, "R-5.1.1-05", message)

    def verify_private_key(self, private: bytes) -> None:
        """Check the length; every string of that length is a private key. Raises InvalidKey."""
        _verify_private(self.name, len(private) == self.length)


@lru_cache
def _low_order_encodings(curve: MontgomeryCurve) -> frozenset[bytes]:
    """Return every string of octets whose u-coordinate is of low order: reduced or not, unused bits set or not."""
    unused = range(1 << 8 * curve.length - curve.bits)
    values = (u + multiple for u in curve.low_order for multiple in (0, curve.prime))
    return frozenset(
        (bits << curve.bits | value).to_bytes(curve.length, "little")
        for value in values
        if value < 1 << curve.bits
        for bits in unused
    )


# X25519 multiplies by a multiple of 8, and computes alike on Curve25519, with 8 * l points, and its twist, with
# 4 * l': exactly the points of order 1, 2, 4 and 8 vanish. On v^2 = u^3 + 486662 u^2 + u doubling is
# u(2P) = (u^2 - 1)^2 / (4 v^2). Order 2 means v = 0, so u = 0, since 486662^2 - 4 is no square. Doubling leads there
# from u = 1, on the curve, and from u = -1, on the twist: order 4. It leads to u = 1 from the two roots of
# (u^2 - 1)^2 = 4 (u^3 + 486662 u^2 + u): order 8. The twist has no point of order 8, so nothing leads to u = -1.
#
# In bytes: the top bit is ignored (RFC 7748 §5), and the others reach 2^255 - 1 = p + 18, so that 0 and 1 have a
# second encoding. That makes 7 encodings of 5 values, 14 with the top bit. They are compared after reduction.
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

# X448 multiplies by a multiple of 4, and curve448 and its twist have 4 * l and 4 * l' points: orders 1, 2 and 4
# vanish. As above, order 2 means u = 0, since 156326^2 - 4 is no square, and doubling leads there from u = 1 and
# u = -1 alone.
#
# In bytes: 448 bits leave none unused, and the strings from p to 2^448 - 1 are second encodings of 0 to 2^224, so
# that 0 and 1 have two. That makes 5 encodings of 3 values.
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


# Under a key of low order one signature verifies for many messages. The 8-torsion of edwards25519 is cyclic: (0, 1)
# is neutral, (0, -1) has order 2. On -x^2 + y^2 = 1 + d x^2 y^2 doubling leads to y = -1 from y = 0, two points of
# order 4, and to y = 0 from x^2 = -y^2, hence d y^4 + 2 y^2 - 1 = 0: four points of order 8, which share two values
# of y.
#
# In bytes: five values of y, with a sign bit, make 10 strings for 8 points, since x = 0 has no sign (the two strings
# that give it one are not canonical, RFC 8032 §5.1.3). y + p fits 255 bits for y up to 18 alone; such strings are
# refused as not reduced.
_Y_OF_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
EDWARDS25519 = EdwardsCurve(
    "Ed25519",
    length=32,
    prime=_P25519,
    low_order=frozenset(
        {
            0,
            1,
            _P25519 - 1,
            _Y_OF_ORDER_8,
            _P25519 - _Y_OF_ORDER_8,
        }
    ),
)

# The 4-torsion of edwards448 is (0, 1), (0, -1), (1, 0) and (-1, 0). As above, x = 0 with a sign bit is refused with
# them, and y + p, which fits 455 bits for every y, as not reduced (RFC 8032 §5.2.3).
EDWARDS448 = EdwardsCurve("Ed448", length=57, prime=_P448, low_order=frozenset({0, 1, _P448 - 1}))


@dataclass(frozen=True, slots=True)
class WeierstrassCurve:
    """A NIST curve: public keys are 0x04, X, Y, private keys big-endian numbers below `order`; lengths are in bytes."""

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

    def all_canonical(self, public_keys: Sequence[bytes]) -> list[bytes]:
        """Return `public_keys`, once their form is checked. Raises InvalidKey."""
        return list(map(self.canonical, public_keys))

    def has_good_keys_only(self, public_keys: Collection[bytes]) -> bool:
        """Say no: every point is looked at by itself."""
        del public_keys
        return False

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

    def verify_shared_secret(self, dh: bytes) -> None:
        """Accept: no point of a group of prime order vanishes, and an X of zero is an X like any other."""

    def verify_private_key(self, private: bytes) -> None:
        """Check length and range. Raises InvalidKey."""
        _verify_private(self.name, len(private) == self.field_length and self._is_scalar(private))

    def private_key(self, candidates: Iterable[bytes]) -> bytes:
        """Return the first candidate that is below the order and not zero, its surplus bits cleared. Raises UsageError.

        RFC 9180 §7.1.3 gives up after 256 candidates, more than chance ever needs: P-256 rejects one in 2^32.
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
    fits = len(public) == length
    message = "" if fits else f"a {name} public key has {length} bytes, not {len(public)}"
    require(fits, InvalidKey, "R-5.1.1-04", message, code=Code.NON_CANONICAL_KEY)


def _verify_private(name: str, is_private_key: bool) -> None:
    require(is_private_key, InvalidKey, "R-5.1.1-01", f"the bytes are not a {name} private key")
