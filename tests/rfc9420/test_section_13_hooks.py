"""What an application registers may stumble over what others send: that is refused, and nothing has changed.

RFC 9420 §13.2, §13.4.
"""

from __future__ import annotations

from typing import Annotated

import pytest

from mls import Add as Invite
from mls import Extension, Group, StagedCommit
from mls import GroupContextExtensions as NewExtensions
from mls.errors import (
    Code,
    InvalidGroupInfo,
    InvalidLeafNode,
    InvalidProposal,
    MalformedMessage,
    MLSError,
    Refused,
    UsageError,
)
from mls.messages import Add, CustomProposal, GroupContextExtensions
from mls.registry import (
    GROUP_CONTEXT,
    LEAF_NODE,
    ExtensionDefinition,
    ProposalDefinition,
    Proposed,
    Registry,
)
from tests.adversarial.insider import assert_refused
from tests.support.crafting import Forger, crafted_package
from tests.support.world import World, join, records
from treekem.wire import UInt8, When, struct

ARE_PLURAL = {1: False, 2: True}


@struct
class Vote:
    """A vote for one or for many, as a table of kinds says that has no others."""

    kind: UInt8
    others: Annotated[bytes | None, When("kind", ARE_PLURAL.__getitem__)]


@struct
class Raw:
    """A vote for one, whatever its kind."""

    kind: UInt8


def in_words(proposed: Proposed[bytes]) -> None:
    """Judge a text, and take it for granted that it is one."""
    if proposed.value.decode("ascii") == "rude":
        raise Refused("rude", rule="S-mine")


def shelved(value: bytes, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Put something where the group keeps it, in one of several mistaken ways."""
    match value:
        case b"fails":
            raise ZeroDivisionError
        case b"forgets to return":
            return None  # type: ignore[return-value]  # a mistake
        case b"returns no extensions":
            return (*extensions, value)  # type: ignore[arg-type]  # another one
        case _:
            return (SHELF.extension(value),)


def not_upside_down(value: bytes, place: str) -> None:
    """Judge what is on a shelf, and take it for granted that there is something."""
    if value[0] == 0:
        raise Refused(f"upside down in a {place}", rule="S-mine")


VOTE = ProposalDefinition(0xF120, Vote, needs_path=False, external=False)
WORDS = ProposalDefinition(0xF121, bytes, needs_path=False, external=False, verify=in_words)
PUT = ProposalDefinition(0xF122, bytes, needs_path=False, external=False, apply=shelved)
SHELF = ExtensionDefinition(0xF123, bytes, frozenset((GROUP_CONTEXT, LEAF_NODE)), not_upside_down)
BALLOT = ExtensionDefinition(0xF124, Vote)
REGISTRY = Registry((SHELF, BALLOT), (VOTE, WORDS, PUT))

MALFORMED = (MalformedMessage, Code.MALFORMED)
BAD_PROPOSAL = (InvalidProposal, Code.BAD_PROPOSAL)


def scene_of() -> tuple[World, list[Group], Forger]:
    world = World(registry=REGISTRY)
    groups = world.group(3)
    return world, groups, Forger(world, groups[0])


def cause_of(error: BaseException) -> type[BaseException]:
    """Return the class of what an error was raised over."""
    assert error.__context__ is not None
    return type(error.__context__)


@pytest.mark.rfc("S-registry", "R-13.2-02")
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize(
    ("bad", "good", "refused", "cause"),
    [
        (CustomProposal(0xF120, b"\x03"), VOTE.proposal(Vote(1, None)), MALFORMED, KeyError),
        (WORDS.proposal(b"\xff"), WORDS.proposal(b"words"), BAD_PROPOSAL, UnicodeDecodeError),
    ],
)
def test_a_proposal_that_its_type_stumbles_over_is_refused(
    bad: CustomProposal,
    good: CustomProposal,
    refused: tuple[type[MLSError], Code],
    cause: type[Exception],
    private: bool,
) -> None:
    _, (_, bob, carol), forger = scene_of()
    kind, code = refused
    for message in (forger.send(bad).message, forger.commit(bad, private=private)):
        for group in (bob, carol):
            error = assert_refused(group, message, kind, "S-registry", code)
            assert cause_of(error) is cause
            assert f"{bad.proposal_type:#06x}" in error.message
            assert cause.__name__ in error.message
    bob.receive(forger.send(good).message)
    assert isinstance(bob.receive(forger.honest(good)), StagedCommit)


@pytest.mark.rfc("S-registry")
def test_where_a_body_breaks_is_told() -> None:
    _, (_, bob, _), forger = scene_of()
    message = forger.send(CustomProposal(0xF120, b"\x03")).message
    error = assert_refused(bob, message, MalformedMessage, "S-registry", Code.MALFORMED)
    assert isinstance(error, MalformedMessage)
    assert error.where.endswith(".proposal.body.others")
    assert message[error.offset - 1 : error.offset] == b"\x03"


@pytest.mark.rfc("S-registry", "R-13.2-02")
@pytest.mark.parametrize(
    ("value", "cause"),
    [(b"fails", ZeroDivisionError), (b"forgets to return", TypeError), (b"returns no extensions", TypeError)],
)
def test_a_proposal_that_cannot_be_applied_is_refused_in_a_commit(value: bytes, cause: type[Exception]) -> None:
    world, (alice, bob, carol), forger = scene_of()
    bad, harmless = PUT.proposal(value), WORDS.proposal(b"words")
    before, stored = alice.fingerprint(), records(alice._store)
    with pytest.raises(InvalidProposal) as caught:
        alice.commit([harmless, bad])
    assert (caught.value.rule, caught.value.index, cause_of(caught.value)) == ("S-registry", 1, cause)
    assert (alice.fingerprint(), records(alice._store)) == (before, stored)
    for group in (bob, carol):
        error = assert_refused(group, forger.commit(harmless, bad), InvalidProposal, "S-registry", Code.BAD_PROPOSAL)
        assert (error.index, error.leaf, error.authenticated) == (1, 0, True)
        assert "proposal type 0xf122" in error.message
    # Alone it may wait; whoever commits leaves it out.
    sent = bob.propose(bad)
    world.deliver(sent.message, alice, carol)
    pending = alice.commit([PUT.proposal(b"book")])
    assert [each.proposal for each, _ in pending.left_out] == [bad]
    world.deliver(pending.message, bob, carol)
    alice.merge(pending)
    assert SHELF.value(carol.extensions) == b"book"


@pytest.mark.rfc("S-registry", "R-13.4-08")
@pytest.mark.parametrize(
    ("bad", "good", "refused", "cause"),
    [
        (Extension(0xF123, b"\x00"), SHELF.extension(b"book"), BAD_PROPOSAL, IndexError),
        (Extension(0xF124, b"\x03"), BALLOT.extension(Vote(2, b"both")), MALFORMED, KeyError),
    ],
)
def test_an_extension_that_its_type_stumbles_over_is_refused(
    bad: Extension, good: Extension, refused: tuple[type[MLSError], Code], cause: type[Exception]
) -> None:
    _, (alice, bob, carol), forger = scene_of()
    change, (kind, code) = GroupContextExtensions((bad,)), refused
    for message in (forger.send(change).message, forger.commit(change, path=forger.path())):
        for group in (bob, carol):
            error = assert_refused(group, message, kind, "S-registry", code)
            assert cause_of(error) is cause
            assert f"extension type {bad.extension_type:#06x}" in error.message
    before = alice.fingerprint()
    for attempt in (alice.propose, lambda intent: alice.commit([intent])):
        with pytest.raises(kind):
            attempt(NewExtensions((bad,)))
    assert alice.fingerprint() == before
    assert isinstance(bob.receive(forger.honest(GroupContextExtensions((good,)))), StagedCommit)


@pytest.mark.rfc("S-registry", "R-13.4-08")
def test_a_leaf_and_a_group_that_a_type_stumbles_over_are_not_let_in_and_not_entered() -> None:
    world, (_, bob, _), forger = scene_of()
    empty = Extension(0xF123, b"\x00")
    package = crafted_package(world.client("dave"), leaf={"extensions": (empty,)})
    for message in (forger.send(Add(package)).message, forger.commit(Add(package))):
        error = assert_refused(bob, message, InvalidLeafNode, "S-registry", Code.BAD_LEAF)
        assert cause_of(error) is IndexError

    # A founder that does not judge what its group keeps.
    careless = Registry((ExtensionDefinition(0xF123, bytes), ExtensionDefinition(0xF124, Raw)))
    alice, erin = world.client("alice", registry=careless), world.client("erin")
    for extension, kind in ((empty, InvalidGroupInfo), (Extension(0xF124, b"\x03"), MalformedMessage)):
        group = alice.create_group(extensions=(extension,))
        welcome = group.commit([Invite(erin.key_package())]).welcome
        stored = records(erin._store)
        assert welcome is not None
        with pytest.raises(kind) as caught:
            erin.receive(welcome)
        assert caught.value.rule == "S-registry"
        assert records(erin._store) == stored
    group = alice.create_group(extensions=(SHELF.extension(b"book"),))
    join(erin, world.commit(group, [Invite(erin.key_package())]))


def test_a_value_that_a_type_stumbles_over_is_malformed_to_the_application_as_well() -> None:
    with pytest.raises(MalformedMessage) as proposed:
        VOTE.value(CustomProposal(0xF120, b"\x03"))
    with pytest.raises(MalformedMessage) as extended:
        BALLOT.value((Extension(0xF124, b"\x03"),))
    assert {cause_of(proposed.value), cause_of(extended.value)} == {KeyError}
    assert VOTE.value(CustomProposal(0xF120, b"\x01")) == Vote(1, None)
    with pytest.raises(UsageError):
        VOTE.value(CustomProposal(0xF121, b"\x01"))
