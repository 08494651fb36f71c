"""Members of a group under two implementations, behind one interface, so that each story is told both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from mls import (
    Add,
    ApplicationMessage,
    Group,
    GroupContextExtensions,
    PreSharedKey,
    Remove,
    StagedCommit,
    Update,
)
from tests.interop.peer import Peer
from tests.support.world import World

LABEL, CONTEXT, LENGTH = "interop", b"\xc0", 32

Wish = Add | Remove | PreSharedKey | GroupContextExtensions
"""What either side can be asked to propose or commit. A Remove names a leaf."""


@dataclass(frozen=True)
class View:
    """What a member believes of its group."""

    epoch: int
    tree_hash: bytes
    authenticator: bytes
    exported: bytes
    members: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Made:
    """A commit to deliver; `tree` goes with a Welcome that does not carry it."""

    message: bytes
    welcome: bytes | None
    tree: bytes | None


class Member(Protocol):
    """A client and the one group that it is in."""

    name: str

    def key_package(self) -> bytes: ...
    def add_psk(self, psk_id: bytes, secret: bytes) -> None: ...
    def create(self, group_id: bytes) -> None: ...
    def join(self, welcome: bytes, tree: bytes | None) -> None: ...
    def propose(self, wish: Wish | Update) -> bytes: ...
    def commit(self, *wishes: Wish, inside: bool = True) -> Made:
        """Make a commit of all that waits and of these; it counts once it is merged."""

    def merge(self) -> None: ...
    def encrypt(self, data: bytes, authenticated_data: bytes = b"") -> bytes: ...
    def receive(self, message: bytes) -> bytes | None:
        """Take in a message: merge a commit, keep a proposal, return the data of an application message."""

    def group_info(self, *, inside: bool) -> tuple[bytes, bytes | None]: ...
    def enter(self, group_info: bytes, tree: bytes | None, *, resync: bool) -> bytes:
        """Make an external commit; it counts once it is merged."""

    def view(self) -> View: ...
    def is_out(self) -> bool:
        """Whether it knows that it was removed."""


class Ours:
    """A client of this engine."""

    def __init__(self, world: World, name: str, *, private: bool = True) -> None:
        self.name = name
        self.client = world.client(
            name, private_handshakes=private, external_commits=True, resync=True, resync_without_psk=True
        )
        self.group: Group

    def key_package(self) -> bytes:
        return self.client.key_package()

    def add_psk(self, psk_id: bytes, secret: bytes) -> None:
        self.client.add_psk(psk_id, secret)

    def create(self, group_id: bytes) -> None:
        self.group = self.client.create_group(group_id)

    def join(self, welcome: bytes, tree: bytes | None) -> None:
        self.group = self.client.join(welcome, tree).accept()

    def propose(self, wish: Wish | Update) -> bytes:
        return self.group.propose(wish).message

    def commit(self, *wishes: Wish, inside: bool = True, path: bool | None = None) -> Made:
        self._made = made = self.group.commit(wishes, tree="inside" if inside else "beside", path=path)
        return Made(made.message, made.welcome, made.ratchet_tree)

    def merge(self) -> None:
        if hasattr(self, "_entering"):
            self.group = self._entering.accept()
            del self._entering
        else:
            self.group.merge(self._made)

    def encrypt(self, data: bytes, authenticated_data: bytes = b"") -> bytes:
        return self.group.encrypt(data, authenticated_data=authenticated_data)

    def receive(self, message: bytes) -> bytes | None:
        event = self.group.receive(message)
        if isinstance(event, StagedCommit):
            self.group.merge(event)
        return event.data if isinstance(event, ApplicationMessage) else None

    def group_info(self, *, inside: bool) -> tuple[bytes, bytes | None]:
        return self.group.group_info(ratchet_tree=inside), None if inside else self.group.ratchet_tree

    def enter(self, group_info: bytes, tree: bytes | None, *, resync: bool) -> bytes:
        self._entering = self.client.join_external(group_info, tree, resync=resync)
        return self._entering.message

    def view(self) -> View:
        group = self.group
        exported = bytes(group.export_secret(LABEL, CONTEXT, LENGTH).expose())
        members = tuple((int(each.leaf), each.identity) for each in group.members)
        return View(group.epoch, group.tree_hash, group.epoch_authenticator, exported, members)

    def is_out(self) -> bool:
        return self.group.is_retired


class Theirs:
    """A client of the other implementation."""

    def __init__(self, peer: Peer, suite: int, name: str, *, private: bool = True, unmended: bool = False) -> None:
        self.name = name
        self._peer = peer
        self._open = not private
        self._ask("client", suite=suite, unmended=unmended)

    def key_package(self) -> bytes:
        return bytes.fromhex(self._ask("key_package"))

    def add_psk(self, psk_id: bytes, secret: bytes) -> None:
        self._ask("psk", id=psk_id, secret=secret)

    def create(self, group_id: bytes) -> None:
        self._ask("create", group_id=group_id)

    def join(self, welcome: bytes, tree: bytes | None) -> None:
        self._ask("join", welcome=welcome, tree=tree)

    def propose(self, wish: Wish | Update) -> bytes:
        assert not isinstance(wish, Update), "the library keeps no private key for an Update of its own"
        return bytes.fromhex(self._ask("propose", proposal=_order(wish), open=self._open))

    def commit(self, *wishes: Wish, inside: bool = True) -> Made:
        made = self._ask("commit", proposals=[_order(each) for each in wishes], inside=inside, open=self._open)
        return Made(bytes.fromhex(made["message"]), _bytes(made["welcome"]), _bytes(made["tree"]))

    def merge(self) -> None:
        self._ask("merge")

    def encrypt(self, data: bytes, authenticated_data: bytes = b"") -> bytes:
        return bytes.fromhex(self._ask("encrypt", data=data, authenticated_data=authenticated_data))

    def receive(self, message: bytes) -> bytes | None:
        return _bytes(self._ask("receive", message=message))

    def group_info(self, *, inside: bool) -> tuple[bytes, bytes | None]:
        made = self._ask("group_info", inside=inside)
        return bytes.fromhex(made["message"]), _bytes(made["tree"])

    def enter(self, group_info: bytes, tree: bytes | None, *, resync: bool) -> bytes:
        return bytes.fromhex(self._ask("enter", group_info=group_info, tree=tree, resync=resync))

    def view(self) -> View:
        seen = self._ask("view")
        tree_hash, authenticator, exported = (
            bytes.fromhex(seen[name]) for name in ("tree_hash", "authenticator", "exported")
        )
        members = tuple((leaf, bytes.fromhex(identity)) for leaf, identity in seen["members"])
        return View(seen["epoch"], tree_hash, authenticator, exported, members)

    def is_out(self) -> bool:
        return not self._ask("view")["is_active"]

    def _ask(self, op: str, **arguments: object) -> Any:  # noqa: ANN401  (as `Peer.ask`)
        return self._peer.ask(op, name=self.name, **arguments)


def _order(wish: Wish) -> dict[str, object]:
    """Return a wish as the other implementation's process reads it."""
    match wish:
        case Add(key_package=key_package):
            return {"kind": "add", "key_package": key_package}
        case Remove(member=leaf):
            assert isinstance(leaf, int)
            return {"kind": "remove", "leaf": leaf}
        case PreSharedKey(psk_id=psk_id):
            return {"kind": "psk", "id": psk_id}
        case GroupContextExtensions(extensions=extensions):
            listed = [[each.extension_type, each.extension_data] for each in extensions]
            return {"kind": "group_context_extensions", "extensions": listed}
        case _:
            assert_never(wish)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


class Table:
    """A group as all its members hold it. After every step all must agree on epoch, tree, secrets and members."""

    def __init__(self, founder: Member) -> None:
        founder.create(b"table")
        self.members: list[Member] = [founder]
        self.agree()

    def agree(self) -> View:
        """Assert that all members see the same, and return it."""
        views = {member.name: member.view() for member in self.members}
        first = views[self.members[0].name]
        assert views == dict.fromkeys(views, first)
        assert {identity.decode() for _, identity in first.members} == set(views)
        return first

    def leaf_of(self, member: Member) -> int:
        """Return a member's leaf index."""
        return next(leaf for leaf, identity in self.agree().members if identity == member.name.encode())

    def commit(self, committer: Member, *wishes: Wish, inside: bool = True) -> Made:
        """Let a member commit, and all others follow."""
        made = committer.commit(*wishes, inside=inside)
        committer.merge()
        self._tell(made.message, committer)
        return made

    def add(self, committer: Member, *newcomers: Member, inside: bool = True) -> None:
        """Let a member add clients by one commit; they join by its Welcome, with the tree inside it or beside it."""
        made = self.commit(committer, *(Add(each.key_package()) for each in newcomers), inside=inside)
        self.seat(made, *newcomers)

    def seat(self, made: Made, *newcomers: Member) -> None:
        """Let clients join by the Welcome of a commit."""
        assert made.welcome is not None
        for each in newcomers:
            each.join(made.welcome, made.tree)
        self.members += newcomers
        self.agree()

    def rekey(self, committer: Member) -> None:
        """Let a member commit nothing but a path."""
        before = self.agree()
        self.commit(committer)
        after = self.agree()
        assert after.epoch == before.epoch + 1
        assert after.authenticator != before.authenticator

    def remove(self, committer: Member, removed: Member) -> None:
        """Let a member remove another one, who learns of it."""
        made = committer.commit(Remove(self.leaf_of(removed)))
        committer.merge()
        self._tell(made.message, committer)
        self.members.remove(removed)
        assert removed.is_out()
        self.agree()

    def propose(self, proposer: Member, wish: Wish | Update) -> None:
        """Let a member propose, and all others keep it for a commit."""
        self._tell(proposer.propose(wish), proposer)

    def enter(self, host: Member, guest: Member, *, inside: bool = True) -> None:
        """Let a client enter, or return, by an external commit with the GroupInfo that a member exports."""
        info, tree = host.group_info(inside=inside)
        returning = guest in self.members
        message = guest.enter(info, tree, resync=returning)
        guest.merge()
        self._tell(message, guest)
        if not returning:
            self.members.append(guest)
        self.agree()

    def talk(self) -> None:
        """Let everybody say something that everybody else reads."""
        for speaker in self.members:
            words = f"{speaker.name} speaks".encode()
            message = speaker.encrypt(words, b"in the open")
            assert self._tell(message, speaker) == [words] * (len(self.members) - 1)

    def _tell(self, message: bytes, sender: Member) -> list[bytes | None]:
        return [each.receive(message) for each in self.members if each is not sender]
