"""The presentation language: structs declared once, compiled once, on first use. RFC 9420 §2.1.

>>> @struct
... class Extension:
...     extension_type: UInt16
...     extension_data: bytes
>>> encode(Extension(1, b"app")).hex()
'000103617070'
>>> decode(Extension, bytes.fromhex("000103617070"))
Extension(extension_type=1, extension_data=b'app')
>>> decode(Extension, bytes.fromhex("0001036170"))
Traceback (most recent call last):
treekem.errors.MalformedMessage: a length of 3 where 2 bytes are left at Extension.extension_data, byte 2 [R-2.1.2-05]
"""

from __future__ import annotations

from treekem.wire.codec import decode, decode_prefix, encode, encode_as
from treekem.wire.declaration import Encoded, Fixed, Given, Kept, UInt8, UInt16, UInt32, UInt64, When, Width, struct
from treekem.wire.description import Description, Node, describe
from treekem.wire.extended import Bodies
from treekem.wire.varint import decode_varint, encode_varint

__all__ = [
    "Bodies",
    "Description",
    "Encoded",
    "Fixed",
    "Given",
    "Kept",
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
