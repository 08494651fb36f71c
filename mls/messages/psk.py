"""Pre-shared keys. RFC 9420 §8.4."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from treekem.wire import UInt16, UInt64, Width, struct


class ResumptionPSKUsage(IntEnum):
    """What a resumption PSK is for; closed. RFC 9420 §8.4."""

    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


@struct(tag=1, tag_width=1)
class ExternalPSK:
    """A key that the application provides. RFC 9420 §8.4."""

    psk_id: bytes


@struct(tag=2, tag_width=1)
class ResumptionPSK:
    """A key that an epoch of a group left behind. RFC 9420 §8.4, §8.6."""

    usage: Annotated[ResumptionPSKUsage, Width(1)]
    psk_group_id: bytes
    psk_epoch: UInt64


@struct
class PreSharedKeyID:
    """Names a key and one injection of it. RFC 9420 §8.4."""

    psk: ExternalPSK | ResumptionPSK
    psk_nonce: bytes


@struct
class PSKLabel:
    """Binds a key to its place among all keys injected. RFC 9420 §8.4."""

    id: PreSharedKeyID
    index: UInt16
    count: UInt16
