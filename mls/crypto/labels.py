"""The four structs that are hashed, expanded or signed and never sent, as bytes.

They are built by hand, not declared: a hash ratchet builds one for every secret that it derives.
RFC 9420 §5.1.2, §5.1.3, §5.2, §8.
"""

from __future__ import annotations

from functools import lru_cache

from treekem.wire import encode_varint

_PREFIX = b"MLS 1.0 "
_SHORT = tuple(bytes((length,)) for length in range(64))


def labelled(label: bytes, content: bytes) -> bytes:
    """Return SignContent(label, content), and the EncryptContext of the same shape, with "MLS 1.0 " before the label.

    RFC 9420 §5.1.2, §5.1.3.
    """
    return vector(_PREFIX + label) + vector(content)


def ref_hash_input(label: bytes, value: bytes) -> bytes:
    """Return RefHashInput(label, value); the label is taken whole, because callers name it with its "MLS 1.0 ".

    RFC 9420 §5.2.
    """
    return vector(label) + vector(value)


def kdf_label(length: int, label: bytes, context: bytes) -> bytes:
    """Return KDFLabel(length, "MLS 1.0 " + label, context); `length` fits a uint16.

    RFC 9420 §8.
    """
    return _kdf_label_head(length, label) + vector(context)


@lru_cache(maxsize=256)
def _kdf_label_head(length: int, label: bytes) -> bytes:
    """Return what stands before the context; there are few labels, and all of them are public."""
    return length.to_bytes(2, "big") + vector(_PREFIX + label)


def vector(data: bytes) -> bytes:
    """Return `opaque data<V>`.

    RFC 9420 §2.1.2.
    """
    return (_SHORT[len(data)] if len(data) < len(_SHORT) else encode_varint(len(data))) + data
