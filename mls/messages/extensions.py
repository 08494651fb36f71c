"""The bodies of the extensions that RFC 9420 defines. RFC 9420 §5.3.3, §11.1, §12.1.8.1, §12.4.3.2, §12.4.3.3."""

from __future__ import annotations

from treekem.leaf_node import Credential
from treekem.nodes import Node
from treekem.wire import UInt16, struct


@struct
class ApplicationID:
    """A name that the application gives a client; nobody has authenticated it. RFC 9420 §5.3.3."""

    application_id: bytes


@struct
class RatchetTreeExtension:
    """All nodes of a tree in the order of their index, up to the last one that is not blank. RFC 9420 §12.4.3.3."""

    ratchet_tree: tuple[Node | None, ...]


@struct
class RequiredCapabilities:
    """What every member of a group must support. RFC 9420 §11.1."""

    extension_types: tuple[UInt16, ...]
    proposal_types: tuple[UInt16, ...]
    credential_types: tuple[UInt16, ...]


@struct
class ExternalPub:
    """The key that an external commit is sealed to. RFC 9420 §12.4.3.2."""

    external_pub: bytes


@struct
class ExternalSender:
    """Someone outside the group who may send it proposals. RFC 9420 §12.1.8.1."""

    signature_key: bytes
    credential: Credential


@struct
class ExternalSenders:
    """The external senders of a group. RFC 9420 §12.1.8.1."""

    external_senders: tuple[ExternalSender, ...]
