"""Key material as a type.

A `Secret` never shows its bytes by accident: not in `repr`, not in a comparison, not in a pickle, not as a dictionary
key. Every read is a visible `.expose()`. One subclass per stage of the key schedule makes passing the wrong one a type
error.

CPython cannot promise to erase memory: copies made by `.expose()` live until they are collected. What is promised is
that no object reachable from the engine, and no stored byte, derives a consumed key. RFC 9420 §9.2, §16.6.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Never, Self, TypeVar

from treekem.errors import UsageError

T = TypeVar("T")


class Secret:
    """Bytes that may not be printed, compared, hashed or pickled; any length.

    >>> Secret(b"in the open")
    <Secret of 11 bytes>
    """

    __slots__ = ("_buffer",)

    def __init__(self, material: bytes | bytearray) -> None:
        if not isinstance(material, (bytes, bytearray)):  # A bytearray of an integer would be so many zeros.
            raise UsageError(f"a {type(material).__name__} is no key material")
        self._buffer: bytearray | None = bytearray(material)

    def expose(self) -> bytes:
        """Return a copy of the bytes. Raises UsageError once wiped."""
        if self._buffer is None:
            raise UsageError(f"{type(self).__name__} was wiped")
        return bytes(self._buffer)

    def wipe(self) -> None:
        """Overwrite the bytes with zeros and forget them; calling twice is harmless."""
        if self._buffer is not None:
            self._buffer[:] = bytes(len(self._buffer))
            self._buffer = None

    @property
    def is_wiped(self) -> bool:
        """Whether the bytes are gone."""
        return self._buffer is None

    def copy(self) -> Self:
        """Return an independent copy, which survives a wipe of this one."""
        return type(self)(self.expose())

    def __len__(self) -> int:
        return 0 if self._buffer is None else len(self._buffer)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name}, wiped>" if self._buffer is None else f"<{name} of {len(self)} bytes>"

    def __eq__(self, other: object) -> bool:
        raise TypeError("secrets are compared with ct_eq")

    __hash__ = None  # type: ignore[assignment]  # unhashable on purpose: a secret is no dictionary key

    def __reduce__(self) -> Never:
        raise TypeError("secrets are not pickled")

    def __getstate__(self) -> Never:
        raise TypeError("secrets are not pickled")


class PrivateKey(Secret):
    """A private key, with what a library makes of it: that is made once, and goes when the bytes go."""

    __slots__ = ("_loaded",)

    def __init__(self, material: bytes | bytearray) -> None:
        super().__init__(material)
        self._loaded: tuple[Callable[[bytes], Any], Any] | None = None

    def loaded_by(self, load: Callable[[bytes], T]) -> T:
        """Return what `load` makes of the bytes. Raises UsageError once wiped, and what `load` raises."""
        loaded = self._loaded
        if loaded is None or loaded[0] != load:
            loaded = self._loaded = load, load(self.expose())
            if self.is_wiped:  # by somebody else who holds the key, while it was loaded
                self._loaded = None
        key: T = loaded[1]
        return key

    def wipe(self) -> None:
        """Overwrite the bytes with zeros, and forget them and what was made of them."""
        super().wipe()
        self._loaded = None


def ct_eq(left: Secret | bytes, right: Secret | bytes) -> bool:
    """Compare in constant time; values of different lengths are unequal."""
    first = left.expose() if isinstance(left, Secret) else left
    second = right.expose() if isinstance(right, Secret) else right
    return len(first) == len(second) and hmac.compare_digest(first, second)
