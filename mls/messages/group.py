"""What members agree on, and what a new member is told. RFC 9420 §8.1, §12.4.3."""

from __future__ import annotations

from dataclasses import field

from mls.messages.psk import PreSharedKeyID
from treekem.index import LeafIndex
from treekem.leaf_node import Extension
from treekem.nodes import HPKECiphertext
from treekem.wire import Kept, UInt16, UInt64, struct


@struct
class GroupContext(Kept):
    """The state of a group in one epoch that all members agree on. RFC 9420 §8.1."""

    version: UInt16
    cipher_suite: UInt16
    group_id: bytes
    epoch: UInt64
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: tuple[Extension, ...]


@struct(tag=4, tag_width=2)
class GroupInfo:
    """What a client needs to know of a group to join it, signed by a member. RFC 9420 §12.4.3."""

    group_context: GroupContext
    extensions: tuple[Extension, ...]
    confirmation_tag: bytes
    signer: LeafIndex
    signature: bytes


@struct
class WirePathSecret:
    """The struct PathSecret of RFC 9420 §12.4.3; `treekem.PathSecret` is the secret it carries."""

    path_secret: bytes = field(repr=False)


@struct
class GroupSecrets:
    """What one new member is told in secret. RFC 9420 §12.4.3."""

    joiner_secret: bytes = field(repr=False)
    path_secret: WirePathSecret | None
    psks: tuple[PreSharedKeyID, ...]


@struct
class EncryptedGroupSecrets:
    """GroupSecrets, sealed to one key package. RFC 9420 §12.4.3.1."""

    new_member: bytes
    encrypted_group_secrets: HPKECiphertext


@struct(tag=3, tag_width=2)
class Welcome:
    """An invitation for all members that one commit adds. RFC 9420 §12.4.3.1."""

    cipher_suite: UInt16
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes
