"""Extensions that an application puts into groups and leaves, ready to be handed to `create_group` and its like.

RFC 9420 §5.3.3, §11.1, §12.1.8.1.
"""

from __future__ import annotations

from mls.messages import ApplicationID, Extension, ExtensionType, ExternalSender, ExternalSenders, RequiredCapabilities
from treekem.wire import encode


def application_id(name: bytes) -> Extension:
    """Return what a leaf says to be its name in the application; nobody authenticates it. RFC 9420 §5.3.3."""
    return Extension(ExtensionType.APPLICATION_ID, encode(ApplicationID(name)))


def required_capabilities(
    *,
    extension_types: tuple[int, ...] = (),
    proposal_types: tuple[int, ...] = (),
    credential_types: tuple[int, ...] = (),
) -> Extension:
    """Return what a group requires of its members beyond the defaults. RFC 9420 §11.1."""
    body = RequiredCapabilities(extension_types, proposal_types, credential_types)
    return Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(body))


def external_senders(*senders: ExternalSender) -> Extension:
    """Return the parties outside a group that may send it proposals; `Outsider.entry` is one of them.

    RFC 9420 §12.1.8.1.
    """
    return Extension(ExtensionType.EXTERNAL_SENDERS, encode(ExternalSenders(senders)))
