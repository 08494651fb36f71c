"""A credential policy that remembers what it is asked, and a group with a member that holds to it. RFC 9420 §5.3.1."""

from __future__ import annotations

from dataclasses import dataclass, field

from mls import AcceptAnyone
from mls.errors import Code, Refused
from mls.group import Group
from mls.identity import Place, Subject
from mls.messages import Credential
from tests.adversarial.insider import assert_refused
from tests.support.world import World


@dataclass(eq=False)
class Spy:
    """A policy that remembers what it was asked and refuses what a test names, by identity, at any place or at some."""

    refused: set[bytes] = field(default_factory=set)
    only_at: Place | None = None
    asked: list[tuple[Place, Subject]] = field(default_factory=list)

    def identity(self, credential: Credential) -> bytes:
        return AcceptAnyone().identity(credential)

    def same_client(self, one: Subject, other: Subject) -> bool:
        return one.signature_key == other.signature_key

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        assert now > 0
        self.asked.append((place, subject))
        if self.identity(subject.credential) in self.refused and self.only_at in {None, place}:
            raise Refused("not here", rule="S-policy", code=Code.CREDENTIAL_REFUSED)

    def events(self) -> set[tuple[Place, bytes]]:
        return {(place, self.identity(subject.credential)) for place, subject in self.asked}


@dataclass(frozen=True)
class Watched:
    """A group of three whose second member, bob, has a spy for a policy."""

    world: World
    spy: Spy
    groups: list[Group]

    @property
    def bob(self) -> Group:
        return self.groups[1]


def watched_group() -> Watched:
    """Return such a group, into which clients may come from outside; the spy has forgotten how it came about."""
    world, spy = World(external_commits=True, resync=True, resync_without_psk=True), Spy()
    alice = world.client("alice").create_group()
    groups = [alice, *world.add(alice, world.client("bob", policy=spy), world.client("carol"))]
    spy.asked.clear()
    return Watched(world, spy, groups)


def assert_policy_refuses(group: Group, message: bytes) -> None:
    """Assert that a group refuses a message by the word of its spy."""
    assert_refused(group, message, Refused, "S-policy", Code.CREDENTIAL_REFUSED)
