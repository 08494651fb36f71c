"""What an application asks a group to do; the group turns it into proposals of RFC 9420 §12.1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mls.crypto import SignaturePrivateKey
from mls.epoch.effect import Member
from mls.messages import Capabilities, Credential, CustomProposal, Extension


@dataclass(frozen=True, slots=True)
class Add:
    """Add the client that published a key package, given as the bytes it sent. RFC 9420 §12.1.1."""

    key_package: bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a member, given as it appears in `members`, or by its leaf index.

    Thus one evicts who has kept its keys for too long: an application tells by the epochs in which `Effect.updated` and
    `Effect.committer` named a member. RFC 9420 §12.1.3, §16.6.
    """

    member: Member | int


@dataclass(frozen=True, slots=True)
class NewLeaf:
    """What one's own leaf is to say in a group; what is None stays as it is.

    `signature_key` is one that the application brings, as a new certificate asks for; `rotate_signature_key` draws a
    fresh one instead. Either is for this group alone. RFC 9420 §7.2, §7.5.
    """

    credential: Credential | None = None
    signature_key: SignaturePrivateKey | None = field(default=None, repr=False)
    rotate_signature_key: bool = False
    extensions: tuple[Extension, ...] | None = None
    capabilities: Capabilities | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Replace one's own leaf by one with fresh keys; somebody else must commit it.

    `leaf`: what it is to say, where that changes. RFC 9420 §12.1.2.
    """

    leaf: NewLeaf | None = None


@dataclass(frozen=True, slots=True)
class PreSharedKey:
    """Inject an external key that every member was given as `psk_id`. RFC 9420 §8.4."""

    psk_id: bytes


@dataclass(frozen=True, slots=True)
class ResumptionPSK:
    """Inject the resumption key of an epoch of a group, this one unless `group_id` names another. RFC 9420 §8.6."""

    epoch: int
    group_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class GroupContextExtensions:
    """Replace the group context's extensions, all of them. RFC 9420 §12.1.7."""

    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True)
class ReInit:
    """Freeze the group, to go on in a new one with these parameters. RFC 9420 §12.1.5."""

    group_id: bytes
    cipher_suite: int
    extensions: tuple[Extension, ...] = ()
    version: int = 1


Intent = Add | Remove | Update | PreSharedKey | ResumptionPSK | GroupContextExtensions | ReInit | CustomProposal
"""What `Group.propose` and `Group.commit` take; a CustomProposal is made by its `ProposalDefinition`."""


class _All:
    """Stands for all pending proposals."""

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = _All()
"""As `include` of `Group.commit`: every pending proposal that can be covered."""
