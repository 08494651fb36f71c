"""Leaf nodes on the wire: credentials, capabilities and what stands around them.

They are declared on the ground floor because the ratchet_tree vector and update paths contain them, and each struct is
declared once; what a leaf *means* is judged above. RFC 9420 §5.3, §7.2, §13.4.
"""

from __future__ import annotations

from treekem.wire import UInt16, UInt64, struct


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
class LeafNode:
    """A member's keys, credential and capabilities, signed. RFC 9420 §7.2."""

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: KeyPackageSource | UpdateSource | CommitSource
    extensions: tuple[Extension, ...]
    signature: bytes
