"""The code points of RFC 9420 §17.

Fields that hold them are plain integers on the wire, because unknown values must survive a round trip; these
enumerations give names to the known ones.
"""

from __future__ import annotations

from enum import IntEnum


class ProtocolVersion(IntEnum):
    """RFC 9420 §6."""

    MLS10 = 1


class WireFormat(IntEnum):
    """RFC 9420 §17.2."""

    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5


class ExtensionType(IntEnum):
    """RFC 9420 §17.3."""

    APPLICATION_ID = 1
    RATCHET_TREE = 2
    REQUIRED_CAPABILITIES = 3
    EXTERNAL_PUB = 4
    EXTERNAL_SENDERS = 5


class ProposalType(IntEnum):
    """RFC 9420 §17.4."""

    ADD = 1
    UPDATE = 2
    REMOVE = 3
    PSK = 4
    REINIT = 5
    EXTERNAL_INIT = 6
    GROUP_CONTEXT_EXTENSIONS = 7


class CredentialType(IntEnum):
    """RFC 9420 §17.5."""

    BASIC = 1
    X509 = 2


class ContentType(IntEnum):
    """RFC 9420 §6; closed."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


GREASE = tuple(0x0A0A + 0x1010 * number for number in range(15))
"""Values of several registries that mean nothing, and keep others used to values that they do not know.

RFC 9420 §13.5.
"""

DEFAULT_EXTENSIONS = frozenset(int(known) for known in ExtensionType)
"""Extension types that every client supports and none lists. RFC 9420 §7.2."""

DEFAULT_PROPOSALS = frozenset(int(known) for known in ProposalType)
"""Proposal types that every client supports and none lists. RFC 9420 §7.2."""
