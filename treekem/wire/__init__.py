"""The presentation language: structs declared once, compiled once, on first use. RFC 9420 §2.1."""

from __future__ import annotations

from treekem.wire.codec import decode, decode_prefix, encode, encode_as
from treekem.wire.declaration import Encoded, Fixed, Given, UInt8, UInt16, UInt32, UInt64, When, Width, struct
from treekem.wire.description import Description, Node, describe
from treekem.wire.varint import decode_varint, encode_varint

__all__ = [
    "Description",
    "Encoded",
    "Fixed",
    "Given",
    "Node",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "When",
    "Width",
    "decode",
    "decode_prefix",
    "decode_varint",
    "describe",
    "encode",
    "encode_as",
    "encode_varint",
    "struct",
]
