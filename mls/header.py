"""Routing: what the first bytes of a message say, before anything else is decoded or any key is touched.

RFC 9420 §6.
"""

from __future__ import annotations

from dataclasses import dataclass

from mls.errors import Code, MalformedMessage
from mls.messages import ContentType, ProtocolVersion, WireFormat
from mls.rules import require
from mls.settings import Settings
from treekem.wire import UInt16, UInt64, decode_prefix, struct

_FRAMED = (WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE)
_WIRE_FORMATS = frozenset(map(int, WireFormat))


@struct
class _Start:
    """What every MLSMessage begins with. RFC 9420 §6."""

    version: UInt16
    wire_format: UInt16


@struct
class _Place:
    """What every framed message goes on with. RFC 9420 §6."""

    group_id: bytes
    epoch: UInt64


@dataclass(frozen=True, slots=True)
class Header:
    """A message's wire format and, where it is framed for a group, the group and epoch it names.

    `application` says that a PrivateMessage carries application data; a PublicMessage is never said to.
    """

    wire_format: WireFormat
    group_id: bytes = b""
    epoch: int = 0
    application: bool = False

    @property
    def is_framed(self) -> bool:
        """Whether it is a PublicMessage or PrivateMessage, the two that are framed for a group."""
        return self.wire_format in _FRAMED


def read_header(data: bytes, settings: Settings) -> Header:
    """Read the first fields of an MLSMessage, whose size is checked first. Raises MalformedMessage. RFC 9420 §6."""
    largest = max(settings.max_message_bytes, settings.max_welcome_bytes)
    verify_size(data, largest, "S-max_welcome_bytes")
    start, offset = decode_prefix(_Start, data)
    known, message = start.version == ProtocolVersion.MLS10, f"protocol version {start.version}"
    require(known, MalformedMessage, "R-6-05", message, code=Code.UNKNOWN_ENUM)
    known, message = start.wire_format in _WIRE_FORMATS, f"wire format {start.wire_format}"
    require(known, MalformedMessage, "R-6-06", message, code=Code.UNKNOWN_ENUM)
    wire_format = WireFormat(start.wire_format)
    if wire_format not in _FRAMED:
        verify_size(data, settings.max_welcome_bytes, "S-max_welcome_bytes")
        return Header(wire_format)
    verify_size(data, settings.max_message_bytes, "S-max_message_bytes")
    place, offset = decode_prefix(_Place, data, offset)
    application = wire_format is WireFormat.PRIVATE_MESSAGE and data[offset : offset + 1] == _APPLICATION
    return Header(wire_format, place.group_id, place.epoch, application)


_APPLICATION = bytes([ContentType.APPLICATION])


def verify_size(data: bytes, limit: int, rule: str) -> None:
    """Check that octets are no more than a limit, before they are looked at. Raises MalformedMessage."""
    fits = len(data) <= limit
    message = "" if fits else f"{len(data)} bytes, more than the {limit} accepted"
    require(fits, MalformedMessage, rule, message, code=Code.LIMIT_EXCEEDED)
