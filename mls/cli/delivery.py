"""A delivery service in memory: it carries bytes, and takes one commit per epoch. RFC 9420 §14."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

from mls.messages import Commit, ContentType, MLSMessage, PrivateMessage, PublicMessage
from treekem.wire import decode


@dataclass(frozen=True, slots=True)
class Posted:
    """A message that the service took, as anyone on the way sees it."""

    sender: str
    message: bytes
    epoch: int
    is_application: bool


class DeliveryService:
    """Serves one group, by what RFC 9420 shows to everybody: wire format, epoch and content type.

    It keeps all it has taken, as a curious or hostile one would.
    """

    def __init__(self) -> None:
        self.log: Final[list[Posted]] = []
        self.messages = 0
        self.bytes = 0
        self._key_packages: Final[dict[str, bytes]] = {}
        self._subscribers: Final[list[str]] = []
        self._inboxes: Final[defaultdict[str, deque[bytes]]] = defaultdict(deque)
        self._epochs_taken: Final[set[int]] = set()

    def publish(self, name: str, key_package: bytes) -> None:
        """Take a key package into the directory."""
        self._count(key_package)
        self._key_packages[name] = key_package

    def take_key_package(self, name: str) -> bytes:
        """Hand out a client's key package, once."""
        return self._key_packages.pop(name)

    def subscribe(self, name: str) -> None:
        """From now on, deliver what is posted to `name` too."""
        self._subscribers.append(name)

    def unsubscribe(self, name: str) -> None:
        """Deliver nothing more to `name`; what waits in the inbox stays."""
        self._subscribers.remove(name)

    def post(self, sender: str, message: bytes) -> bool:
        """Deliver a message to all, its sender included; False for a second commit of an epoch, which is dropped."""
        body = decode(MLSMessage, message).body
        if isinstance(body, PrivateMessage):
            epoch, is_commit = body.epoch, body.content_type is ContentType.COMMIT
            is_application = body.content_type is ContentType.APPLICATION
        elif isinstance(body, PublicMessage):
            epoch, is_commit, is_application = body.content.epoch, isinstance(body.content.content, Commit), False
        else:
            return False
        self._count(message)
        if is_commit and epoch in self._epochs_taken:
            return False
        if is_commit:
            self._epochs_taken.add(epoch)
        self.log.append(Posted(sender, message, epoch, is_application))
        for name in self._subscribers:
            self._inboxes[name].append(message)
        return True

    def invite(self, name: str, welcome: bytes) -> None:
        """Deliver a Welcome to one of those whom it invites."""
        self._inboxes[name].append(welcome)

    def upload_welcome(self, welcome: bytes) -> None:
        """Take a Welcome, which travels up once for all whom it invites."""
        self._count(welcome)

    def fetch(self, name: str) -> list[bytes]:
        """Hand out what waits for `name`, oldest first, and forget it."""
        inbox = self._inboxes[name]
        waiting = list(inbox)
        inbox.clear()
        return waiting

    def _count(self, message: bytes) -> None:
        self.messages += 1
        self.bytes += len(message)
