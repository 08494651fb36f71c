"""Leaf nodes on the wire: credentials, capabilities and what stands around them.

They are declared on the ground floor because the ratchet_tree vector and update paths contain them, and each struct is
declared once; what a leaf *means* is judged above. RFC 9420 §5.3, §7.2, §13.4.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from treekem.wire import Kept, UInt16, UInt64, decode_varint, struct


@struct
class Extension:
    """A typed, otherwise opaque extension. RFC 9420 §13.4."""

    extension_type: UInt16
    extension_data: bytes


@struct(tag=1, tag_width=2)
class BasicCredential:
    """An identity that the application understands. RFC 9420 §5.3."""

    identity: bytes


@struct
class Certificate:
    """One DER-encoded X.509 certificate. RFC 9420 §5.3."""

    cert_data: bytes


@struct(tag=2, tag_width=2)
class X509Credential:
    """A certificate chain, end entity first. RFC 9420 §5.3."""

    certificates: tuple[Certificate, ...]


Credential = BasicCredential | X509Credential
"""What binds a member to an identity. RFC 9420 §5.3."""


@struct
class Capabilities:
    """What a client supports beyond the defaults. RFC 9420 §7.2."""

    versions: tuple[UInt16, ...]
    cipher_suites: tuple[UInt16, ...]
    extensions: tuple[UInt16, ...]
    proposals: tuple[UInt16, ...]
    credentials: tuple[UInt16, ...]


@struct
class Lifetime:
    """The seconds since 1970 between which a key package may be used. RFC 9420 §7.2."""

    not_before: UInt64
    not_after: UInt64


@struct(tag=1, tag_width=1)
class KeyPackageSource:
    """The leaf was published in a key package. RFC 9420 §7.2."""

    lifetime: Lifetime


@struct(tag=2, tag_width=1)
class UpdateSource:
    """The leaf came by an Update proposal. RFC 9420 §7.2."""


@struct(tag=3, tag_width=1)
class CommitSource:
    """The leaf came with an update path. RFC 9420 §7.2."""

    parent_hash: bytes


@struct(tag=1, tag_width=1)
class LeafNode(Kept):
    """A member's keys, credential and capabilities, signed. RFC 9420 §7.2."""

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: KeyPackageSource | UpdateSource | CommitSource
    extensions: tuple[Extension, ...]
    signature: bytes


_PUBLISHED: Final = 1
_COMMITTED: Final = 3
_LIFETIME: Final = 16


class LeafParts(NamedTuple):
    """What stands in front in an encoded leaf node, still encoded but for the signature key."""

    signature_key: bytes
    credential_type: bytes
    credential: bytes
    capabilities: bytes


class LeafPart(IntEnum):
    """The places of `LeafParts`, for those who want one of them, of many leaves."""

    SIGNATURE_KEY = 0
    CREDENTIAL_TYPE = 1
    CREDENTIAL = 2
    CAPABILITIES = 3


def leaf_parts(encoded: bytes) -> LeafParts:
    """Cut an encoded leaf node up as far as its capabilities; it is known to be well-formed.

    Looking at all leaves of a large tree costs a fraction of decoding them. RFC 9420 §7.2.
    """
    key = _behind_vector(encoded, 0)
    credential = _behind_vector(encoded, key)
    capabilities = end = _behind_vector(encoded, credential + 2)
    for _ in range(5):
        end = _behind_vector(encoded, end)
    signature_key = encoded[decode_varint(encoded, key)[1] : credential]
    kind = encoded[credential : credential + 2]
    return LeafParts(signature_key, kind, encoded[credential:capabilities], encoded[capabilities:end])


class LeafSections(NamedTuple):
    """An encoded leaf node, cut by what is judged together.

    `statement` is what it says of itself that others may say in the same octets: the type of its credential, its
    capabilities, the type of its source, and its extensions. `lifetime` is empty unless the leaf is from a key package.
    `unsigned` is all that stands before the signature.
    """

    encryption_key: bytes
    signature_key: bytes
    credential: bytes
    statement: bytes
    lifetime: bytes
    unsigned: bytes
    signature: bytes


def leaf_sections(encoded: bytes) -> LeafSections:
    """Cut an encoded leaf node, which is known to be well-formed. RFC 9420 §7.2."""
    key = _behind_vector(encoded, 0)
    credential = _behind_vector(encoded, key)
    capabilities = source = _behind_vector(encoded, credential + 2)
    for _ in range(5):
        source = _behind_vector(encoded, source)
    kind, lifetime = encoded[source], b""
    extensions = source + 1
    if kind == _PUBLISHED:
        extensions += _LIFETIME
        lifetime = encoded[source + 1 : extensions]
    elif kind == _COMMITTED:
        extensions = _behind_vector(encoded, extensions)
    end = _behind_vector(encoded, extensions)
    return LeafSections(
        encoded[_content(encoded, 0) : key],
        encoded[_content(encoded, key) : credential],
        encoded[credential:capabilities],
        encoded[credential : credential + 2] + encoded[capabilities : source + 1] + encoded[extensions:end],
        lifetime,
        encoded[:end],
        encoded[_content(encoded, end) :],
    )


def _content(data: bytes, offset: int) -> int:
    """Return where the content of a vector begins: the topmost bits of its header tell how long that is."""
    return offset + (1 << (data[offset] >> 6))


def _behind_vector(data: bytes, offset: int) -> int:
    if data[offset] < 0x40:  # noqa: PLR2004  (a header of one octet)
        return offset + 1 + data[offset]
    length, start = decode_varint(data, offset)
    return start + length
