"""Roles, where an application's own proposals change what a group says of itself. RFC 9420 §12.2, §13.2."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mls import AcceptAnyone, Extension, Group, GroupContextExtensions, StagedCommit
from mls.errors import Code, Refused
from mls.identity.roles import (
    ADMINISTRATORS,
    EVERYTHING_ALLOWED,
    Action,
    Administrators,
    Party,
    Target,
    administrators,
    administrators_of,
)
from mls.messages import CustomProposal
from mls.messages import GroupContextExtensions as ChangedExtensions
from mls.observer import PublicGroup
from mls.registry import ProposalDefinition, Registry
from tests.adversarial.insider import assert_refused
from tests.support.extending import LUNCH, POLL, TOPIC, Topic, retitled
from tests.support.world import NOW, World, records

LIST = ADMINISTRATORS.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Talkative(Administrators):
    """Administrators decide as ever, but what an application's own types are for is for everybody."""

    def authorize(self, actor: Party, action: Action, target: Target) -> None:
        if action is not Action.PROPOSE_OTHERWISE:
            Administrators.authorize(self, actor, action, target)


def _forget(value: bytes, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Drop the extension of a type."""
    return tuple(each for each in extensions if each.extension_type != int.from_bytes(value, "big"))


def _promote(value: bytes, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Add somebody to the administrators."""
    named = (*sorted(administrators_of(extensions)), value)
    return (administrators(*named), *_forget(LIST, extensions))


RENAME = ProposalDefinition(0xF110, Topic, needs_path=False, external=False, apply=retitled)
FORGET = ProposalDefinition(0xF111, bytes, needs_path=False, external=False, apply=_forget)
PROMOTE = ProposalDefinition(0xF112, bytes, needs_path=False, external=False, apply=_promote)
REGISTRY = Registry((TOPIC,), (POLL, RENAME, FORGET, PROMOTE))


@dataclass(frozen=True)
class Scene:
    """Alice founded the group and administers it; bob and carol are members, who may propose what is not the RFC's."""

    world: World
    groups: list[Group]

    def lawless(self, name: str) -> Group:
        """Return the group as a member holds it once it no longer cares for roles."""
        self.world.clients[name]._roles = EVERYTHING_ALLOWED
        return next(group for group in self.groups if group.me.identity == name.encode())

    def assert_not_allowed(self, name: str, proposal: CustomProposal, rule: str) -> None:
        """Assert that a member may not commit a proposal, nor a second one what the first one proposed, nor send it."""
        group = next(group for group in self.groups if group.me.identity == name.encode())
        others = [other for other in self.groups if other is not group]
        before, stored = group.fingerprint(), records(group._store)
        with pytest.raises(Refused) as caught:
            group.commit([proposal])
        assert (caught.value.rule, caught.value.code, caught.value.index) == (rule, Code.NOT_PERMITTED, 0)
        assert f"member b'{name}' at leaf" in caught.value.message
        assert "may not change the extensions of" in caught.value.message
        assert (group.fingerprint(), records(group._store)) == (before, stored)

        sent = group.propose(proposal)
        for other in others:
            other.receive(sent.message)
        assert [reason for _, reason in others[0].commit().left_out] == [str(caught.value)]
        committed = self.lawless(name).commit().message
        assert_refused(others, committed, Refused, rule, Code.NOT_PERMITTED)


def scene_of(**settings: bool) -> Scene:
    world = World(registry=REGISTRY, **settings)
    clients = [world.client(name, roles=Talkative()) for name in ("alice", "bob", "carol")]
    founder = clients[0].create_group(extensions=(administrators(b"alice"), TOPIC.extension(Topic(b"tea"))))
    return Scene(world, [founder, *world.add(founder, *clients[1:])])


@pytest.mark.rfc("N-R01", "S-roles", "R-13.2-02")
@pytest.mark.parametrize("proposal", [PROMOTE.proposal(b"bob"), RENAME.proposal(Topic(b"bob")), FORGET.proposal(LIST)])
def test_a_type_of_its_own_is_no_way_around_administrators(proposal: CustomProposal) -> None:
    scene = scene_of()
    rule = "N-R02" if proposal.proposal_type == FORGET.proposal_type else "N-R01"
    scene.assert_not_allowed("bob", proposal, rule)


@pytest.mark.rfc("N-R01")
def test_what_changes_nothing_is_everybodys_and_what_does_the_administrators() -> None:
    scene = scene_of()
    alice, bob, carol = scene.groups
    # To forget what is not there leaves the extensions as they are.
    harmless = [POLL.proposal(LUNCH), FORGET.proposal(b"\xf1\x99")]
    scene.world.commit(bob, harmless, alice, carol)
    scene.world.deliver(alice.propose(PROMOTE.proposal(b"bob")).message, bob, carol)
    scene.world.commit(carol, (), alice, bob)
    assert administrators_of(carol.extensions) == {b"alice", b"bob"}
    # Now bob is one of them.
    scene.world.commit(bob, [RENAME.proposal(Topic(b"coffee"))], alice, carol)
    assert TOPIC.value(alice.extensions) == Topic(b"coffee")
    scene.world.agree(alice, bob, carol)


@pytest.mark.rfc("N-R02")
def test_an_administrator_keeps_the_list_whatever_it_proposes() -> None:
    scene = scene_of()
    scene.assert_not_allowed("alice", FORGET.proposal(LIST), "N-R02")


@dataclass(frozen=True, slots=True)
class Asked(Talkative):
    """Remembers who wanted to change the extensions, from what to what."""

    changes: list[tuple[bytes, tuple[Extension, ...], tuple[Extension, ...]]] = field(default_factory=list)

    def authorize(self, actor: Party, action: Action, target: Target) -> None:
        if action is Action.CHANGE_EXTENSIONS:
            assert isinstance(target.proposal, ChangedExtensions)
            self.changes.append((actor.identity, target.group.extensions, target.proposal.extensions))


@pytest.mark.rfc("S-roles")
def test_a_policy_sees_the_group_as_it_was_and_what_each_proposal_makes_of_it() -> None:
    world, policy = World(registry=REGISTRY, private_handshakes=False), Asked()
    alice = world.client("alice", roles=policy).create_group(extensions=(administrators(b"alice"),))
    (bob,) = world.add(alice, world.client("bob", roles=policy))
    world.deliver(bob.propose(RENAME.proposal(Topic(b"tea"))).message, alice)
    world.deliver(bob.propose(POLL.proposal(LUNCH)).message, alice)
    told = (administrators(b"alice", b"carol"),)
    commit = alice.commit([GroupContextExtensions(told), PROMOTE.proposal(b"dora")])
    policy.changes.clear()
    staged = bob.receive(commit.message)
    assert isinstance(staged, StagedCommit)
    before = (administrators(b"alice"),)
    titled = TOPIC.extension(Topic(b"tea"))
    assert policy.changes == [
        (b"bob", before, (*told, titled)),
        (b"alice", before, (administrators(b"alice", b"carol", b"dora"), titled)),
        (b"alice", before, told),
    ]


@pytest.mark.rfc("N-R01")
def test_an_observer_refuses_what_members_do() -> None:
    scene = scene_of(private_handshakes=False)
    alice, bob, _ = scene.groups
    service = PublicGroup.follow(
        alice.group_info(), policy=AcceptAnyone(), roles=Talkative(), registry=REGISTRY, clock=lambda: NOW
    )
    scene.lawless("bob")
    with pytest.raises(Refused) as caught:
        service.receive(bob.commit([PROMOTE.proposal(b"bob")]).message)
    assert (caught.value.rule, caught.value.index) == ("N-R01", 0)
    service.receive(alice.commit([PROMOTE.proposal(b"bob")]).message)
