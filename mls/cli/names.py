"""What numbers on the wire are called: code points, times, and the types that stand for a tag. RFC 9420 §17."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, get_args

from mls.crypto import SUITES
from mls.messages import (
    Content,
    ContentType,
    Credential,
    CredentialType,
    ExtensionType,
    MLSMessageBody,
    Proposal,
    ProposalType,
    ProtocolVersion,
    WireFormat,
)
from treekem.wire.declaration import declaration_of

_VERSIONS: Final = {int(each): each.name.lower() for each in ProtocolVersion}
_SUITES: Final = {number: suite.name for number, suite in SUITES.items()}
_EXTENSIONS: Final = {int(each): each.name.lower() for each in ExtensionType}
_PROPOSALS: Final = {int(each): each.name.lower() for each in ProposalType}
_CREDENTIALS: Final = {int(each): each.name.lower() for each in CredentialType}
_WIRE_FORMATS: Final = {int(each): f"mls_{each.name.lower()}" for each in WireFormat}
_CONTENTS: Final = {int(each): each.name.lower() for each in ContentType}

_FIELDS: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {
        "version": _VERSIONS,
        "versions": _VERSIONS,
        "cipher_suite": _SUITES,
        "extension_type": _EXTENSIONS,
        "extensions": _EXTENSIONS,
        "extension_types": _EXTENSIONS,
        "proposals": _PROPOSALS,
        "proposal_types": _PROPOSALS,
        "credentials": _CREDENTIALS,
        "credential_types": _CREDENTIALS,
        "wire_format": _WIRE_FORMATS,
        "content_type": _CONTENTS,
        "usage": {1: "application", 2: "reinit", 3: "branch"},
    }
)
_TIMES: Final = {"not_before", "not_after"}
_GREASE: Final = range(0x0A0A, 0xEAEA + 1, 0x1010)
_PRIVATE_USE: Final = range(0xF000, 0xFFFF + 1)
_NEVER: Final = 2**64 - 1


def number_text(field: str, value: int) -> str:
    """Return a number with its name, if it has one.

    >>> number_text("credential_types", 1), number_text("extension_type", 0x0A0A), number_text("epoch", 7)
    ('basic (1)', 'GREASE (0x0a0a)', '7')
    """
    if field in _TIMES:
        return f"{time_text(value)} ({value})"
    if field == "cipher_suites":
        return _code_point(dict.fromkeys(SUITES, ""), value)
    names = _FIELDS.get(field)
    return str(value) if names is None else _code_point(names, value)


def time_text(seconds: int) -> str:
    """Return seconds since 1970 as a date in UTC.

    >>> time_text(0), time_text(2**64 - 1)
    ('1970-01-01 00:00:00 UTC', 'never')
    """
    if seconds == _NEVER:
        return "never"
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return "beyond the calendar"


def tag_text(field: str, type_name: str) -> str:
    """Return the name and number of the tag that selected a type in a field, or nothing."""
    return _TAGS.get((field, type_name), "")


def _code_point(names: Mapping[int, str], value: int) -> str:
    if value in names:
        return f"{names[value]} ({value})" if names[value] else str(value)
    if value in _GREASE:
        return f"GREASE (0x{value:04x})"
    return f"{'private use' if value in _PRIVATE_USE else 'unknown'} (0x{value:04x})"


def _tags(field: str, union: object, names: Mapping[int, str]) -> dict[tuple[str, str], str]:
    found = {}
    for kind in get_args(union):
        declaration = declaration_of(kind)
        if declaration is not None and declaration.tag is not None:
            found[field, kind.__name__] = f"{names[declaration.tag]} ({declaration.tag})"
    return found


_TAGS: Final = {
    **_tags("body", MLSMessageBody, _WIRE_FORMATS),
    **_tags("proposal", Proposal, _PROPOSALS),
    **_tags("credential", Credential, _CREDENTIALS),
    **_tags("content", Content, _CONTENTS),
}
