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
    """Serves groups, by what RFC 9420 shows to everybody: wire format, group, epoch and content type.

    It keeps all it has taken, as a curious or hostile one would.
    """

    def __init__(self) -> None:
        self.log: Final[list[Posted]] = []
        self.messages = 0
        self.bytes = 0
        self._key_packages: Final[dict[str, bytes]] = {}
        self._subscribers: Final[defaultdict[bytes, list[str]]] = defaultdict(list)
        self._inboxes: Final[defaultdict[str, deque[bytes]]] = defaultdict(deque)
        self._epochs_taken: Final[set[tuple[bytes, int]]] = set()

    def publish(self, name: str, key_package: bytes) -> None:
        """Take a key package into the directory."""
        self._count(key_package)
        self._key_packages[name] = key_package

    def take_key_package(self, name: str) -> bytes:
        """Hand out a client's key package, once."""
        return self._key_packages.pop(name)

    def subscribe(self, name: str, group_id: bytes) -> None:
        """From now on, deliver what is posted in a group to `name` too."""
        self._subscribers[group_id].append(name)

    def unsubscribe(self, name: str, group_id: bytes) -> None:
        """Deliver nothing more of a group to `name`; what waits in the inbox stays."""
        self._subscribers[group_id].remove(name)

    def post(self, sender: str, message: bytes) -> bool:
        """Deliver a message to all, its sender included; False for a second commit of an epoch, which is dropped."""
        body = decode(MLSMessage, message).body
        if isinstance(body, PrivateMessage):
            place, is_commit = (body.group_id, body.epoch), body.content_type is ContentType.COMMIT
            is_application = body.content_type is ContentType.APPLICATION
        elif isinstance(body, PublicMessage):
            place, is_application = (body.content.group_id, body.content.epoch), False
            is_commit = isinstance(body.content.content, Commit)
        else:
            return False
        self._count(message)
        if is_commit and place in self._epochs_taken:
            return False
        if is_commit:
            self._epochs_taken.add(place)
        group_id, epoch = place
        self.log.append(Posted(sender, message, epoch, is_application))
        for name in self._subscribers[group_id]:
            self._inboxes[name].append(message)
        return True

    def invite(self, name: str, welcome: bytes) -> None:
        """Deliver a Welcome to one of those whom it invites."""
        self._inboxes[name].append(welcome)

    def upload(self, message: bytes) -> None:
        """Take a Welcome or a GroupInfo, which travels up once for all who are to have it."""
        self._count(message)

    def fetch(self, name: str) -> list[bytes]:
        """Hand out what waits for `name`, oldest first, and forget it."""
        inbox = self._inboxes[name]
        waiting = list(inbox)
        inbox.clear()
        return waiting

    def _count(self, message: bytes) -> None:
        self.messages += 1
        self.bytes += len(message)
