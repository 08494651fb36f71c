"""What a policy's refusal says, and what becomes of the proposal that it refuses. RFC 9420 §5.3.1."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mls import AcceptAnyone, Extension, Settings, intents
from mls.errors import Code, InvalidCommit, InvalidMessage, InvalidProposal, MalformedMessage, Refused
from mls.events import StagedCommit
from mls.identity import Place, Subject
from mls.messages import (
    Add,
    BasicCredential,
    Credential,
    ExtensionType,
    ExternalSender,
    ExternalSenders,
    GroupContextExtensions,
    Update,
)
from tests.adversarial.insider import assert_refused, refusal
from tests.support.asking import Watched, assert_policy_refuses, watched_group
from tests.support.crafting import UPDATE, Forger, crafted_package, package_of
from tests.support.scenes import psk
from tests.support.world import World, records
from treekem.wire import encode

SERVICE = ExternalSenders((ExternalSender(b"\x07" * 32, BasicCredential(b"service")),))


@pytest.fixture
def watched() -> Watched:
    return watched_group()


# Who is refused, and why.


def _message(watched: Watched, place: Place) -> bytes:
    """Return a message that puts a new credential to the policy at `place`."""
    alice, carol = (Forger(watched.world, watched.groups[leaf]) for leaf in (0, 2))
    renamed = BasicCredential(b"caroline")
    match place:
        case Place.ADD:
            return alice.send(Add(package_of(watched.world.client("dave").key_package()))).message
        case Place.UPDATE:
            return carol.send(Update(carol.leaf_node(UPDATE, credential=renamed))).message
        case Place.COMMIT:
            return carol.honest(leaf=carol.content(credential=renamed))
        case _:
            listed = (Extension(ExtensionType.EXTERNAL_SENDERS, encode(SERVICE)),)
            return alice.send(GroupContextExtensions(listed)).message


@pytest.mark.rfc("R-5.3.1-01")
@pytest.mark.parametrize(
    ("place", "name", "leaf"),
    [
        (Place.ADD, "b'dave'", 0),
        (Place.UPDATE, "b'caroline' at leaf 2", 2),
        (Place.COMMIT, "b'caroline' at leaf 2", 2),
        (Place.EXTERNAL_SENDER, "b'service'", 0),
    ],
)
def test_a_refusal_names_who_and_why(watched: Watched, place: Place, name: str, leaf: int) -> None:
    message = _message(watched, place)
    watched.spy.refused, watched.spy.only_at = {b"dave", b"caroline", b"service"}, place
    refused = refusal(watched.bob, message)
    assert isinstance(refused, Refused)
    assert (refused.message, refused.rule, refused.code) == (f"{name}: not here", "S-policy", Code.CREDENTIAL_REFUSED)
    # A proposal from which no leaf comes is its sender's doing.
    assert refused.leaf == leaf
    watched.spy.refused = set()
    watched.bob.receive(message)


@pytest.mark.rfc("R-5.3.1-03", "R-12.4.3.2-12")
def test_a_refusal_names_members_to_who_joins_and_who_joins_to_members(watched: Watched) -> None:
    alice = watched.groups[0]
    joining = watched.world.client("erin").join_external(alice.group_info())
    watched.spy.refused = {b"carol", b"erin"}
    assert refusal(watched.bob, joining.message).message == "b'erin': not here"
    dave = watched.world.client("dave", policy=watched.spy)
    welcome = alice.commit([intents.Add(dave.key_package())]).welcome
    assert welcome is not None
    with pytest.raises(Refused) as caught:
        dave.receive(welcome)
    assert (caught.value.message, caught.value.leaf) == ("b'carol' at leaf 2: not here", 2)
    watched.spy.refused = set()
    dave.receive(welcome)
    watched.bob.receive(joining.message)


@dataclass(frozen=True)
class Stubborn(AcceptAnyone):
    """A policy that has one error, which it raises again and again; there are names that it cannot read."""

    error: Refused | InvalidMessage | MalformedMessage

    def identity(self, credential: Credential) -> bytes:
        if credential == BasicCredential(b"\xff"):
            raise self.error
        return super().identity(credential)

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        del subject, place, now
        raise self.error


class NotToday(Refused):
    """An application's own word for no."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotToday("never", rule="S-mine", code=Code.CREDENTIAL_REFUSED), Refused),
        (InvalidProposal("never", rule="S-mine", code=Code.BAD_LEAF), InvalidMessage),
        (MalformedMessage("never", rule="S-mine", code=Code.TRUNCATED), MalformedMessage),
    ],
)
def test_a_policy_keeps_the_error_that_it_raises(
    error: Refused | InvalidMessage | MalformedMessage, kind: type[Exception]
) -> None:
    world, policy = World(), Stubborn(error)
    alice = world.client("alice").create_group()
    (bob,) = world.add(alice, world.client("bob"))
    bob = world.open("bob", bob._store, policy=policy).group(bob.group_id)
    forger = Forger(world, alice)
    for name, told in ((b"carol", "b'carol'"), (b"x" * 99, repr(b"x" * 32)), (b"\xff", "a credential")):
        package = crafted_package(world.client(told), leaf={"credential": BasicCredential(name)})
        refused = refusal(bob, forger.send(Add(package)).message)
        assert type(refused) is kind
        assert (refused.message, refused.rule, refused.code) == (f"{told}: never", "S-mine", error.code)
        assert refused.__cause__ is error
        listed = refusal(bob, forger.commit(psk(), Add(package), path=forger.path()))
        assert (type(listed), listed.message, listed.index) == (kind, refused.message, 1)
        assert (error.message, error.leaf, error.authenticated) == ("never", None, False)


# What becomes of it.


@pytest.mark.rfc("R-5.3.1-04", "R-12.4-11")
def test_what_the_policy_refuses_does_not_wait_until_it_comes_again(watched: Watched) -> None:
    alice = watched.groups[0]
    sent = alice.propose(intents.Add(watched.world.client("dave").key_package()))
    covering = alice.commit().message
    watched.spy.refused = {b"dave"}
    assert_policy_refuses(watched.bob, sent.message)
    assert watched.bob.proposals == ()
    watched.spy.refused = set()
    assert_refused(watched.bob, covering, InvalidCommit, "R-12.4-11", Code.UNKNOWN_PROPOSAL_REF)
    watched.bob.receive(sent.message)
    staged = watched.bob.receive(covering)
    assert isinstance(staged, StagedCommit)
    watched.bob.merge(staged)
    assert watched.bob.members[-1].identity == b"dave"


@dataclass(frozen=True)
class Unreachable(AcceptAnyone):
    """A policy that asks a directory, which does not answer."""

    is_down: list[bool]

    def accept(self, subject: Subject, place: Place, now: int) -> None:
        del subject, now
        if self.is_down and place is Place.ADD:
            raise ConnectionError("the directory does not answer")


@pytest.mark.rfc("R-5.3.1-04")
@pytest.mark.parametrize("private", [True, False])
def test_what_a_policy_cannot_tell_changes_nothing_until_it_can(private: bool) -> None:
    world, down = World(private_handshakes=private), [True]
    alice = world.client("alice").create_group()
    (bob,) = world.add(alice, world.client("bob", policy=Unreachable(down)))
    sent = alice.propose(intents.Add(world.client("carol").key_package()))
    pending = alice.commit(include=())
    added = alice.commit([intents.Add(world.client("dave").key_package())], include=())
    for message in (sent.message, added.message):
        before, stored = bob.fingerprint(), records(bob._store)
        with pytest.raises(ConnectionError):
            bob.receive(message)
        assert (bob.fingerprint(), records(bob._store)) == (before, stored)
    down.clear()
    bob.receive(sent.message)
    assert isinstance(bob.receive(pending.message), StagedCommit)
    staged = bob.receive(added.message)
    assert isinstance(staged, StagedCommit)
    bob.merge(staged)
    alice.merge(added)
    world.agree(alice, bob)


@pytest.mark.rfc("S-max_pending_proposals", "R-12.4-11")
def test_what_finds_no_room_does_not_wait_until_it_comes_again() -> None:
    world = World(max_pending_proposals=2)
    alice = world.client("alice").create_group()
    (bob,) = world.add(alice, world.client("bob", max_pending_proposals=1))
    first, second = (alice.propose(intents.Add(world.client(name).key_package())) for name in ("carol", "dave"))
    covering = alice.commit().message
    bob.receive(first.message)
    limit = Code.LIMIT_EXCEEDED
    assert_refused(bob, second.message, InvalidProposal, "S-max_pending_proposals", limit)
    assert_refused(bob, covering, InvalidCommit, "R-12.4-11", Code.UNKNOWN_PROPOSAL_REF)
    # It starts again, with more room.
    world._own_settings["bob"] = Settings(max_pending_proposals=2)
    bob = world.restart(bob)
    bob.receive(second.message)
    staged = bob.receive(covering)
    assert isinstance(staged, StagedCommit)
    bob.merge(staged)
    assert [member.identity for member in bob.members] == [b"alice", b"bob", b"carol", b"dave"]
