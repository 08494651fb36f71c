"""Groups that come from groups: moving to a successor and branching, with restarts in between, and letting go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import ApplicationMessage, Group, GroupContextExtensions, Identity, ReInit
from mls.errors import Code, InvalidWelcome, UnavailableSecret, Unsupported, UsageError, WrongGroup
from tests.support.crafting import package_of
from tests.support.leaf_scenes import requirement
from tests.support.successions import ASKS_NOTHING, BRANCH, NEXT, Founder, assert_refused_by, client_of, packages
from tests.support.world import World, join, records

restarts = pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])


def again(world: World, groups: list[Group], *, restarts: bool) -> list[Group]:
    """Return the groups as they are held after a restart of all clients, where there is to be one."""
    return [world.restart(group) for group in groups] if restarts else groups


@restarts
@pytest.mark.rfc("R-11.2-01", "R-11.2-05", "R-11.2-08", "R-12.4.1-19", "R-12.4.2-18")
@pytest.mark.parametrize("suite", [1, 2])
def test_a_group_moves_to_its_successor(restarts: bool, suite: int) -> None:
    world = World()
    groups = world.group(4)
    world.commit(groups[0], [ReInit(NEXT, suite)], *groups[1:])
    if suite != 1:
        for client in world.clients.values():
            client.add_identity(replace(client._identity, suite=suite, signature_key=None))
    groups = again(world, groups, restarts=restarts)
    creator, others = groups[2], [groups[0], groups[1], groups[3]]
    fresh = packages(world, others, suite)
    others = again(world, others, restarts=restarts)

    new, pending = client_of(world, creator).reinitialize(creator, fresh)
    (new,) = again(world, [new], restarts=restarts)
    # What was made is not lost: its Welcome can be delivered after a restart.
    assert [each.welcome for each in new.pending] == [pending.welcome]
    new.merge(new.pending[0])
    joined = [join(client_of(world, group), pending) for group in others]
    world.agree(new, *joined)

    new, *joined = again(world, [new, *joined], restarts=restarts)
    world.commit(joined[2], (), new, *joined[:2])
    world.agree(new, *joined)
    for event in world.deliver(new.encrypt(b"moved"), *joined):
        assert isinstance(event, ApplicationMessage)
        assert event.data == b"moved"
    for old in again(world, others, restarts=restarts):
        assert old.is_frozen
        with pytest.raises(UsageError):
            old.encrypt(b"still here")
        old.forget()
    assert {client_of(world, group).groups for group in joined} == {(NEXT,)}


@restarts
@pytest.mark.rfc("R-11.2-01", "R-11.2-02", "R-11.2-07", "R-11.3-07", "R-12.3-05")
@pytest.mark.parametrize(("suite", "next_suite"), [(1, 5), (2, 1), (7, 3)])
def test_a_member_that_was_offline_moves_too(restarts: bool, suite: int, next_suite: int) -> None:
    world = World(suite)
    groups = world.group(5)
    offline, online = groups[3], [*groups[:3], groups[4]]
    # Proposed by one, committed by another, created by a third; the successor has extensions that the group had not.
    proposal = online[1].propose(ReInit(NEXT, next_suite, (ASKS_NOTHING,)))
    world.deliver(proposal.message, online[0], *online[2:])
    commit = world.commit(online[0], (), *online[1:])
    for client in world.clients.values():
        client.add_identity(replace(client._identity, suite=next_suite, signature_key=None))
    offline, *online = again(world, [offline, *online], restarts=restarts)
    creator, others = online[2], [*online[:2], online[3]]
    fresh = packages(world, [*others, offline], next_suite)
    new, first = client_of(world, creator).reinitialize(creator, fresh)
    (new,) = again(world, [new], restarts=restarts)
    new.merge(new.pending[0])
    joined = [join(client_of(world, group), first) for group in again(world, others, restarts=restarts)]
    later = world.commit(joined[0], (), new, *joined[1:])

    # The Welcome reaches the offline member before what led to it does: it costs nothing, and is good later.
    (offline,) = again(world, [offline], restarts=restarts)
    assert first.welcome is not None
    unknown = (UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    assert_refused_by([client_of(world, offline)], first.welcome, *unknown)
    world.deliver(proposal.message, offline)
    (offline,) = again(world, [offline], restarts=restarts)
    world.deliver(commit.message, offline)
    (offline,) = again(world, [offline], restarts=restarts)
    assert offline.is_frozen
    late = join(client_of(world, offline), first)
    (late,) = again(world, [late], restarts=restarts)
    world.deliver(later.message, late)
    everyone = again(world, [new, *joined, late], restarts=restarts)
    world.agree(*everyone)
    assert sorted(each.identity for each in late.members) == sorted(each.identity for each in groups[0].members)
    context = late._standing.state.group.context
    assert (context.group_id, context.cipher_suite, context.extensions) == (NEXT, next_suite, (ASKS_NOTHING,))
    world.commit(everyone[-1], (), *everyone[:-1])
    world.agree(*everyone)


@restarts
@pytest.mark.rfc("R-11.2-01", "R-11.2-02", "R-12.1.5-03")
@pytest.mark.parametrize("suite", [1, 5])
def test_a_successor_may_ask_for_what_the_old_group_did_not(restarts: bool, suite: int) -> None:
    world = World()
    groups = world.group(3)
    required = requirement((), (), (1,))
    world.commit(groups[0], [GroupContextExtensions((ASKS_NOTHING,))], *groups[1:])
    world.commit(groups[2], [ReInit(NEXT, suite, (required,))], *groups[:2])
    if suite != 1:
        for client in world.clients.values():
            client.add_identity(replace(client._identity, suite=suite, signature_key=None))
    groups = again(world, groups, restarts=restarts)
    new, pending = client_of(world, groups[1]).reinitialize(groups[1], packages(world, [groups[0], groups[2]], suite))
    new.merge(pending)
    joined = [join(client_of(world, group), pending) for group in (groups[0], groups[2])]
    world.agree(*again(world, [new, *joined], restarts=restarts))
    extensions = {group._standing.state.group.extensions for group in (new, *joined)}
    assert extensions == {(required,)}


@restarts
@pytest.mark.rfc("R-11.3-01", "R-11.3-07", "R-11.3-03")
@pytest.mark.parametrize("suite", [1, 4])
def test_a_member_that_was_offline_branches_off_too(restarts: bool, suite: int) -> None:
    world = World(suite)
    groups = world.group(4)
    creator, offline, *rest = groups
    missed = world.commit(rest[0], (), creator, rest[1])
    fresh = packages(world, [offline, rest[1]], suite)
    branch, first = client_of(world, creator).branch(creator, fresh)
    branch.merge(first)
    (other,) = again(world, [join(client_of(world, rest[1]), first)], restarts=restarts)
    later = world.commit(other, (), branch)
    (offline,) = again(world, [offline], restarts=restarts)
    assert first.welcome is not None
    unknown = (UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    assert_refused_by([client_of(world, offline)], first.welcome, *unknown)
    world.deliver(missed.message, offline)
    (offline,) = again(world, [offline], restarts=restarts)
    # The old group has moved on meanwhile; the epoch that the branch is of is still known.
    world.commit(rest[0], (), client_of(world, creator).group(creator.group_id), offline)
    late = join(client_of(world, offline), first)
    world.deliver(later.message, late)
    world.agree(*again(world, [branch, other, late], restarts=restarts))
    assert late._standing.state.suite.id == suite


@restarts
@pytest.mark.rfc("R-11.3-01", "R-11.3-07")
@pytest.mark.parametrize("suite", [1, 2])
def test_some_members_branch_off(restarts: bool, suite: int) -> None:
    world = World(suite)
    groups = world.group(5)
    groups = again(world, groups, restarts=restarts)
    creator, chosen, rest = groups[0], groups[2:4], [groups[1], groups[4]]
    fresh = packages(world, chosen, suite)
    branch, pending = client_of(world, creator).branch(creator, fresh)
    world.commit(rest[0], (), creator, *chosen, rest[1])
    branch, *chosen = again(world, [branch, *chosen], restarts=restarts)
    branch.merge(branch.pending[0])
    joined = [join(client_of(world, group), pending) for group in chosen]
    world.agree(branch, *joined)
    branch, *joined = again(world, [branch, *joined], restarts=restarts)
    members = [client_of(world, group).group(creator.group_id) for group in (branch, *joined)]
    world.agree(*members, *rest)
    # A branch is a group like any other: it grows by whom it likes, and branches again.
    outsider = world.client("outsider")
    assert len(world.add(branch, outsider, others=joined)[0].members) == 4
    twig, first = client_of(world, joined[0]).branch(joined[0], [outsider.key_package()])
    twig.merge(first)
    world.agree(twig, join(outsider, first))


@pytest.mark.rfc("R-11.3-07", "R-11.2-04")
def test_what_is_forgotten_cannot_be_continued() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    client = client_of(world, bob)
    message = Founder(world, alice).welcome([client], BRANCH)
    assert len(client.join(message).members) == 2
    bob.forget()
    assert bob.is_retired
    assert not [name for name in records(client._store) if name.startswith(f"group/{alice.group_id.hex()}/")]
    assert client.groups == ()
    assert_refused_by([client], message, UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    for refused in (bob.forget, lambda: bob.encrypt(b""), lambda: bob.receive(alice.encrypt(b""))):
        with pytest.raises(UsageError) as caught:
            refused()
        assert caught.value.code == Code.GROUP_RETIRED
    with pytest.raises(WrongGroup):
        client.reinitialize(bob, [])
    with pytest.raises(WrongGroup):
        client.branch(bob, [])
    world.commit(alice, (), carol)
    world.agree(alice, carol)


@pytest.mark.rfc("R-11.2-03", "R-12.4.3-06")
def test_an_undecided_successor_can_be_given_up() -> None:
    world = World()
    alice, bob = world.group(2)
    world.commit(alice, [ReInit(NEXT, 1)], bob)
    for_bob, lost = client_of(world, alice).reinitialize(alice, packages(world, [bob]))
    new, pending = client_of(world, bob).reinitialize(bob, packages(world, [alice]))
    assert lost.welcome is not None
    assert pending.welcome is not None
    # Two at once: who made one of the same id cannot join the other, until one of the two gives in.
    joiner = client_of(world, alice)
    assert_refused_by([joiner], pending.welcome, InvalidWelcome, "R-12.4.3-06", Code.GROUP_EXISTS)
    for_bob.forget()
    new.merge(pending)
    world.agree(new, join(joiner, pending))


@pytest.mark.rfc("R-11.2-08")
def test_further_identities_are_kept() -> None:
    world = World()
    client = world.client("alice")
    client.add_identity(Identity.basic(b"alice", 3))
    for suite in (1, 3):
        with pytest.raises(UsageError, match="already"):
            client.add_identity(Identity.basic(b"alice", suite))
    with pytest.raises(Unsupported):
        client.add_identity(Identity.basic(b"alice", 0xF001))
    again = world.open("alice", world.stores["alice"])
    package = package_of(again.key_package(suite=3))
    assert package.cipher_suite == 3
    assert package.leaf_node.signature_key == package_of(client.key_package(suite=3)).leaf_node.signature_key
    assert package_of(again.key_package()).leaf_node.signature_key == again.signature_key
    assert package.leaf_node.signature_key != again.signature_key
