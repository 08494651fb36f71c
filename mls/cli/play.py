"""The stage of `mls demo`: clients, what they hear, and what is compared among them after every step."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from mls.cli.delivery import DeliveryService
from mls.client import Client
from mls.crypto import SUITES, CipherSuite
from mls.errors import MLSError
from mls.events import ApplicationMessage, PendingCommit, StagedCommit
from mls.group import Group
from mls.identity import Identity, TrustOnFirstUse
from mls.invitation import Invitation
from mls.settings import Settings
from mls.store import MemoryStore
from treekem.suite import Entropy
from treekem.tree import RatchetTree

# fmt: off
_NAMES: Final = (
    "Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi",
    "Ivan", "Judy", "Kim", "Leo", "Mia", "Nora", "Oscar", "Peggy",
)
# fmt: on
_FIXED_TIME: Final = 1_767_225_600  # 1 January 2026; with a seed, the clock of all clients stands still
_GROUP_ID: Final = b"demo"
_SETTINGS: Final = Settings(external_commits=True, resync=True)


def name_of(number: int) -> str:
    """Return the name of the client that comes `number`-th, counted from 0.

    >>> name_of(0), name_of(20)
    ('Alice', 'User 21')
    """
    return _NAMES[number] if number < len(_NAMES) else f"User {number + 1}"


@dataclass(frozen=True, slots=True)
class Check:
    """A statement that was tried."""

    name: str
    passed: bool


class LostMessageError(Exception):
    """The delivery service did not deliver what the play cannot go on without."""


@dataclass(slots=True)
class Player:
    """A person with one client; `heard` collects what it has read."""

    name: str
    store: MemoryStore
    client: Client
    heard: list[ApplicationMessage] = field(default_factory=list)
    group_id: bytes = _GROUP_ID

    @property
    def group(self) -> Group:
        """The group that the play is about at present, as this client holds it."""
        return self.client.group(self.group_id)


class Play:
    """A group's life, begun under one cipher suite. With a seed, everything but the times repeats.

    `suite` and `members` are those of the group that the play is about at present.
    """

    group_id: Final = _GROUP_ID

    def __init__(self, suite: int, members: int, seed: int | None, delivery: DeliveryService | None = None) -> None:
        self.suite = SUITES[suite]
        self.delivery: Final = DeliveryService() if delivery is None else delivery
        self.checks: list[Check] = []
        self._seed = seed
        self._openings = 0
        founder, *waiting = [self.new_player(name_of(number)) for number in range(members)]
        self.members = [founder]
        self.waiting: Final = waiting

    # Groups.

    def move(self, group_id: bytes, suite: int) -> None:
        """Go on in another group of all the members."""
        self.suite = SUITES[suite]
        for player in self.members:
            player.group_id = group_id

    @contextmanager
    def aside(self, members: list[Player], group_id: bytes) -> Iterator[None]:
        """Play for a while in another group, of some of the members."""
        everyone, before = self.members, [player.group_id for player in members]
        self.members = members
        self.move(group_id, self.suite.id)
        try:
            yield
        finally:
            self.members = everyone
            for player, former in zip(members, before, strict=True):
                player.group_id = former

    # Clients.

    def new_player(self, name: str) -> Player:
        """Return a new client of that name, which is in no group."""
        store = MemoryStore()
        Client.create(
            store,
            Identity.basic(name.encode(), self.suite.id),
            policy=TrustOnFirstUse(),
            clock=self._clock(),
            entropy=self._entropy(),
        )
        return Player(name, store, self.opened(store))

    def opened(self, store: MemoryStore, settings: Settings = _SETTINGS) -> Client:
        """Return the client in `store`, as after a restart."""
        policy = TrustOnFirstUse()
        return Client.open(store, policy=policy, settings=settings, clock=self._clock(), entropy=self._entropy())

    def thief_of(self, player: Player, settings: Settings = _SETTINGS) -> Player:
        """Return somebody who holds a copy of all that a client holds now."""
        store = MemoryStore()
        store.apply(dict(player.store.scan("")))
        return Player(f"{player.name}'s copy", store, self.opened(store, settings), group_id=player.group_id)

    def member(self, place: int) -> Player:
        """Return the member at that place of the list, counted around."""
        return self.members[place % len(self.members)]

    def draw(self, length: int) -> bytes:
        """Return random bytes that are no client's."""
        return self._entropy()(length)

    # Messages.

    def deliver(self, players: Iterable[Player] | None = None) -> None:
        """Let clients, all members unless given, read what waits for them, and merge the commits among it."""
        for player in self.members if players is None else players:
            for message in self.delivery.fetch(player.name):
                self.read(player, message)

    def fetch(self, player: Player, number: int) -> list[bytes]:
        """Return that many messages, which wait for a client. Raises LostMessageError."""
        messages = self.delivery.fetch(player.name)
        if len(messages) != number:
            raise LostMessageError(f"{len(messages)} messages wait for {player.name}, not {number}")
        return messages

    def read(self, player: Player, message: bytes) -> None:
        """Let a client read one message, and do what an application would."""
        match player.client.receive(message):
            case Invitation() as invitation:
                invitation.accept()
            case StagedCommit() as commit:
                player.group.merge(commit)
            case ApplicationMessage() as said:
                player.heard.append(said)
            case _:
                pass

    def say(self, player: Player, text: str) -> bytes:
        """Send a text to the group, and return the message."""
        message = player.group.encrypt(text.encode())
        self.delivery.post(player.name, message)
        return message

    def commit(self, player: Player, commit: PendingCommit) -> bool:
        """Send a commit, which everybody then reads; False if another one was taken."""
        taken = self.delivery.post(player.name, commit.message)
        if taken:
            self.deliver()
        return taken

    # Checks.

    def check(self, name: str, condition: bool) -> None:
        """Note whether a statement holds."""
        self.checks.append(Check(name, bool(condition)))

    def check_refused(self, name: str, code: str, attempt: Callable[[], object]) -> None:
        """Note whether an attempt is refused, and for the reason expected."""
        try:
            attempt()
        except MLSError as error:
            self.check(name, error.code == code)
        else:
            self.check(name, condition=False)

    def check_agreement(self) -> None:
        """Compare what all members hold."""
        self.checks += agreement(self.suite, {player.name: player.group for player in self.members})

    # Inside.

    def _clock(self) -> Callable[[], float]:
        return time.time if self._seed is None else lambda: _FIXED_TIME

    def _entropy(self) -> Entropy:
        """Return a source of its own for every client that is opened, so that no two ever draw the same bytes."""
        if self._seed is None:
            return os.urandom
        self._openings += 1
        return _stream(f"{self._seed}/{self.suite.id}/{self._openings}".encode())


def agreement(suite: CipherSuite, groups: Mapping[str, Group]) -> list[Check]:
    """Compare what members hold of their group, by the names of those who should be in it.

    The tree's hash is compared with one that is computed from nothing but the tree's encoding.
    """
    views = list(groups.values())
    first = views[0]
    tree = RatchetTree.decode(first.ratchet_tree)
    expected = sorted(name.encode() for name in groups)
    return [
        Check("one epoch", _is_one(group.epoch for group in views)),
        Check("one epoch authenticator", _is_one(group.epoch_authenticator for group in views)),
        Check("one tree hash", _is_one(group.tree_hash for group in views)),
        Check("one ratchet tree", _is_one(group.ratchet_tree for group in views)),
        Check("one list of members", _is_one(group.members for group in views)),
        Check("the members are those expected", sorted(member.identity for member in first.members) == expected),
        Check("the tree hash, computed afresh", tree.tree_hash(suite) == first.tree_hash),
    ]


def _is_one(values: Iterable[object]) -> bool:
    return len(set(values)) == 1


def _stream(seed: bytes) -> Entropy:
    calls = iter(range(2**63))
    return lambda length: hashlib.shake_256(next(calls).to_bytes(8, "big") + seed).digest(length)
