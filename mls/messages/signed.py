"""What is signed of a struct that ends with its signature: leaf nodes, key packages and GroupInfos."""

from __future__ import annotations

from typing import Protocol

from treekem.wire import encode, encode_varint


class Signed(Protocol):
    """A wire struct whose last field is `signature`."""

    @property
    def signature(self) -> bytes:
        """The signature over all fields before it."""


def encode_unsigned(value: Signed) -> bytes:
    """Return the encoding of all fields before the signature.

    The fields of LeafNodeTBS, KeyPackageTBS and GroupInfoTBS are those of the struct itself, so they are not declared
    twice.
    """
    encoded = encode(value)
    length = len(value.signature)
    return encoded[: len(encoded) - length - len(encode_varint(length))]
