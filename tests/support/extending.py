"""An application that adds types of its own to the protocol: polls, topics of groups, and badges of members."""

from __future__ import annotations

from dataclasses import dataclass

from mls import Extension, Group
from mls.errors import Refused
from mls.messages import CustomProposal, MemberSender
from mls.registry import (
    GROUP_CONTEXT,
    GROUP_INFO,
    KEY_PACKAGE,
    LEAF_NODE,
    ExtensionDefinition,
    ProposalDefinition,
    Proposed,
    Registry,
)
from tests.support.world import World
from treekem.wire import UInt16, struct


@struct
class Poll:
    """A question, and what may be answered."""

    question: bytes
    options: tuple[bytes, ...]
    deadline: UInt16


@struct
class Topic:
    """What a group talks about."""

    text: bytes


def one_question(proposed: Proposed[Poll]) -> None:
    """Refuse an empty question, and a second poll in one commit."""
    if not proposed.value.question:
        raise Refused("a poll asks nothing")
    kinds = [each.proposal_type for _, each in proposed.others if isinstance(each, CustomProposal)]
    if POLL.proposal_type in kinds:
        raise Refused("one poll at a time")


def polite(value: Topic, place: str) -> None:
    """Refuse a topic that no group should have."""
    assert place == GROUP_CONTEXT
    if value.text == b"rude":
        raise Refused("a rude topic")


def founder_only(proposed: Proposed[Topic]) -> None:
    """Refuse a topic that somebody else than the first member sets."""
    first = min(index for index, _ in proposed.tree.leaves())
    if proposed.sender != MemberSender(first):
        raise Refused("the first member sets the topic")


def retitled(value: Topic, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Put a topic in the place of the one that was."""
    others = tuple(each for each in extensions if each.extension_type != TOPIC.extension_type)
    return (*others, TOPIC.extension(value))


TOPIC = ExtensionDefinition(0xF101, Topic, verify=polite)
BADGE = ExtensionDefinition(0xF103, bytes, places=frozenset((LEAF_NODE, KEY_PACKAGE, GROUP_INFO)))
POLL = ProposalDefinition(0xF100, Poll, needs_path=False, external=True, verify=one_question)
RETITLE = ProposalDefinition(0xF102, Topic, needs_path=True, external=False, verify=founder_only, apply=retitled)
REGISTRY = Registry((BADGE, TOPIC), (RETITLE, POLL))

LUNCH = Poll(b"lunch?", (b"pizza", b"soup"), 12)


@dataclass(frozen=True)
class Plain:
    """A group in which the third member does not know the types that the first two know."""

    world: World
    able: list[Group]
    unable: Group


def plain_scene(**settings: bool) -> Plain:
    world = World(registry=REGISTRY, **settings)
    alice, bob = world.group(2)
    (carol,) = world.add(alice, world.client("carol", registry=Registry()), others=(bob,))
    return Plain(world, [alice, bob], carol)
