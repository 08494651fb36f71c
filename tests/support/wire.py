"""Wire structs of every kind, and what their codecs say to bad ones."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import pytest

from treekem.errors import MalformedMessage, UsageError
from treekem.leaf_node import (
    BasicCredential,
    Capabilities,
    Extension,
    KeyPackageSource,
    LeafNode,
    Lifetime,
)
from treekem.wire import (
    Encoded,
    Given,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    When,
    Width,
    decode,
    encode_as,
    struct,
)


class Wide(IntEnum):
    FIRST = 1
    LAST = 300


@struct
class Numbers:
    small: UInt8
    medium: UInt16
    large: UInt32
    huge: UInt64


@struct
class Tail:
    body: bytes
    extra: Annotated[bytes | None, When()]


@struct
class Letter:
    kind: UInt8
    stamp: Annotated[UInt16 | None, When("kind", lambda kind: kind > 1)]
    tail: Annotated[Tail, Given("kind", lambda kind: kind > 2)]


@struct
class Envelope:
    sealed: Annotated[bytes, Encoded(Extension)]
    wide: Annotated[Wide, Width(2)]


CAPABILITIES = Capabilities((1,), (1, 2, 0x0A0A), (), (7,), (1, 2))
LEAF = LeafNode(
    encryption_key=b"e" * 32,
    signature_key=b"s" * 32,
    credential=BasicCredential(b"alice"),
    capabilities=CAPABILITIES,
    source=KeyPackageSource(Lifetime(0, 2**64 - 1)),
    extensions=(Extension(1, b"app"),),
    signature=b"z" * 64,
)


class HugeBytes(bytes):
    """Bytes that claim to be longer than any vector may be."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1 << 30


def refusal(kind: object, data: bytes) -> MalformedMessage:
    """Decode what must be refused, and return the refusal."""
    with pytest.raises(MalformedMessage) as caught:
        decode(kind, data)
    return caught.value


def misuse(kind: object, value: object) -> UsageError:
    """Encode what must be refused, and return the refusal."""
    with pytest.raises(UsageError) as caught:
        encode_as(kind, value)
    return caught.value
