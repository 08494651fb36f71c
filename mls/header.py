"""Routing: what the first bytes of a message say, before anything else is decoded or any key is touched.

RFC 9420 §6.
"""

from __future__ import annotations

from dataclasses import dataclass

from mls.errors import Code, MalformedMessage
from mls.messages import ContentType, ProtocolVersion, WireFormat
from mls.rules import require
from mls.settings import Settings
from treekem.wire import UInt16, UInt64, decode_prefix

_FRAMED = (WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE)


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
    _verify_size(data, largest, "S-max_welcome_bytes")
    version, offset = decode_prefix(UInt16, data)
    known = version == ProtocolVersion.MLS10
    require(known, MalformedMessage, "R-6-05", f"protocol version {version}", code=Code.UNKNOWN_ENUM)
    number, offset = decode_prefix(UInt16, data, offset)
    known = number in set(WireFormat)
    require(known, MalformedMessage, "R-6-06", f"wire format {number}", code=Code.UNKNOWN_ENUM)
    wire_format = WireFormat(number)
    if wire_format not in _FRAMED:
        _verify_size(data, settings.max_welcome_bytes, "S-max_welcome_bytes")
        return Header(wire_format)
    _verify_size(data, settings.max_message_bytes, "S-max_message_bytes")
    group_id, offset = decode_prefix(bytes, data, offset)
    epoch, offset = decode_prefix(UInt64, data, offset)
    application = wire_format is WireFormat.PRIVATE_MESSAGE and data[offset : offset + 1] == _APPLICATION
    return Header(wire_format, group_id, epoch, application)


_APPLICATION = bytes([ContentType.APPLICATION])


def _verify_size(data: bytes, limit: int, rule: str) -> None:
    message = f"{len(data)} bytes, more than the {limit} accepted"
    require(len(data) <= limit, MalformedMessage, rule, message, code=Code.LIMIT_EXCEEDED)
