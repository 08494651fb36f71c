"""Extension lists: which types may stand where, and what the known ones say. RFC 9420 §13.4, §17.3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mls.errors import Code, MLSError
from mls.messages import (
    ApplicationID,
    Extension,
    ExtensionType,
    ExternalPub,
    ExternalSenders,
    RequiredCapabilities,
)
from mls.registry import GROUP_CONTEXT, GROUP_INFO, LEAF_NODE, NO_REGISTRY, Registry, asked
from mls.rules import require
from treekem.wire import decode

_HOMES: Final[Mapping[int, str]] = {
    ExtensionType.APPLICATION_ID: LEAF_NODE,
    ExtensionType.RATCHET_TREE: GROUP_INFO,
    ExtensionType.REQUIRED_CAPABILITIES: GROUP_CONTEXT,
    ExtensionType.EXTERNAL_PUB: GROUP_INFO,
    ExtensionType.EXTERNAL_SENDERS: GROUP_CONTEXT,
}
_BODIES: Final = {
    ExtensionType.APPLICATION_ID: ApplicationID,
    ExtensionType.REQUIRED_CAPABILITIES: RequiredCapabilities,
    ExtensionType.EXTERNAL_PUB: ExternalPub,
    ExtensionType.EXTERNAL_SENDERS: ExternalSenders,
}

NO_REQUIREMENTS: Final = RequiredCapabilities((), (), ())


def verify_extensions(
    extensions: Iterable[Extension], place: str, error: type[MLSError], registry: Registry = NO_REGISTRY
) -> None:
    """Check that a list holds each type once, known types only where they belong, and well-formed bodies of those.

    What the application registered is known as well. Raises `error`, MalformedMessage, or what a rule of the
    application raises. RFC 9420 §13.4.
    """
    seen: set[int] = set()
    for extension in extensions:
        kind = extension.extension_type
        duplicate = kind in seen
        require(not duplicate, error, "R-13.4-05", f"{place}: extension {kind} twice", code=Code.DUPLICATE_EXTENSION)
        seen.add(kind)
        require(_HOMES.get(kind, place) == place, error, "R-13.4-08", f"extension {kind} has no place in a {place}")
        body = _BODIES.get(ExtensionType(kind)) if kind in _HOMES else None
        if body is not None:
            decode(body, extension.extension_data)
        _verify_registered(extension, place, error, registry)


def _verify_registered(extension: Extension, place: str, error: type[MLSError], registry: Registry) -> None:
    kind = extension.extension_type
    definition = registry.extension(kind)
    if definition is not None:
        at_home = place in definition.places
        require(at_home, error, "R-13.4-08", f"extension {kind} has no place in a {place}")
        value = definition.read(extension.extension_data)
        asked(lambda: definition.verify(value, place), error, definition.name)


def extension_data(extensions: Iterable[Extension], kind: ExtensionType) -> bytes | None:
    """Return the body of the extension of type `kind`, or None."""
    return next((each.extension_data for each in extensions if each.extension_type == kind), None)


def required_capabilities(extensions: Iterable[Extension]) -> RequiredCapabilities:
    """Return what a group context requires of its members; nothing where it does not say. RFC 9420 §11.1."""
    data = extension_data(extensions, ExtensionType.REQUIRED_CAPABILITIES)
    return NO_REQUIREMENTS if data is None else decode(RequiredCapabilities, data)


def external_senders(extensions: Iterable[Extension]) -> ExternalSenders | None:
    """Return the group's external senders, or None where it has no such extension. RFC 9420 §12.1.8.1."""
    data = extension_data(extensions, ExtensionType.EXTERNAL_SENDERS)
    return None if data is None else decode(ExternalSenders, data)


def external_pub(extensions: Iterable[Extension]) -> bytes | None:
    """Return the key that external commits are sealed to, or None. RFC 9420 §12.4.3.2."""
    data = extension_data(extensions, ExtensionType.EXTERNAL_PUB)
    return None if data is None else decode(ExternalPub, data).external_pub
