"""Branching a group into subgroups. RFC 9420 §11.3."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mls import Client, Group, Remove
from mls.errors import Code, InvalidWelcome, MLSError, UnavailableSecret, UsageError
from tests.support.successions import (
    ASKS_NOTHING,
    BRANCH,
    Founder,
    OneOfMany,
    assert_refused_by,
    client_of,
    enter_all,
    nonce_of,
    packages,
    with_nonce,
)
from tests.support.world import World, join, records

BAD_WELCOME = Code.BAD_WELCOME


@dataclass(frozen=True)
class Scene:
    """A group of four; the second invites the third and fourth to a branch."""

    world: World
    groups: list[Group]

    @property
    def founder(self) -> Founder:
        return Founder(self.world, self.groups[1])

    @property
    def joiners(self) -> list[Client]:
        return [client_of(self.world, group) for group in self.groups[2:]]

    def assert_refused(self, message: bytes, error: type[MLSError], rule: str, code: str = BAD_WELCOME) -> None:
        assert_refused_by(self.joiners, message, error, rule, code)

    def assert_taken(self, message: bytes) -> None:
        for joiner in self.joiners:
            assert len(joiner.join(message).members) == 3


@pytest.fixture
def scene() -> Scene:
    world = World()
    return Scene(world, world.group(4))


@pytest.mark.rfc("R-11.3-01", "R-12.4.3.1-27")
def test_members_branch_off_and_the_group_stays_as_it_is(scene: Scene) -> None:
    world, creator = scene.world, scene.groups[1]
    before = creator.fingerprint()
    new, pending = client_of(world, creator).branch(
        creator, packages(world, scene.groups[2:]), b"branch", (ASKS_NOTHING,)
    )
    assert (new.group_id, pending.effect.epoch, pending.effect.psks) == (b"branch", 1, 1)
    assert new._standing.state.group.extensions == (ASKS_NOTHING,)
    whole = enter_all(world, new, scene.groups[2:])
    assert creator.fingerprint() == before
    assert not creator.is_frozen
    world.commit(creator, (), scene.groups[0], *scene.groups[2:])
    world.agree(*scene.groups)
    world.commit(whole[2], (), *whole[:2])
    world.agree(*whole)
    another, _ = client_of(world, creator).branch(creator, packages(world, scene.groups[:1]))
    assert another.group_id not in {creator.group_id, new.group_id}
    enter_all(world, another, scene.groups[:1])


@pytest.mark.rfc("R-11.3-02", "R-12.1.4-02")
def test_the_nonce_is_random_and_whole(scene: Scene) -> None:
    message = scene.founder.welcome(scene.joiners, BRANCH)
    for joiner in scene.joiners:
        for nonce in (bytes(31), bytes(33), b""):
            forged = with_nonce(message, joiner, nonce)
            assert_refused_by([joiner], forged, InvalidWelcome, "R-12.4.3.1-07", Code.PSK_INVALID)
    scene.assert_taken(message)
    creator, nonces = scene.groups[1], set()
    for _ in range(3):
        _, pending = client_of(scene.world, creator).branch(creator, packages(scene.world, scene.groups[2:]))
        assert pending.welcome is not None
        nonces.add(nonce_of(pending.welcome, scene.joiners[0]))
    assert len(nonces) == 3
    assert {len(nonce) for nonce in nonces} == {32}


@pytest.mark.rfc("R-11.3-03", "R-12.4.3.1-27")
def test_a_branch_is_of_the_suite_of_its_group(scene: Scene) -> None:
    for client in scene.world.clients.values():
        client.add_identity(replace(client._identity, suite=2, signature_key=None))
    scene.assert_refused(scene.founder.welcome(scene.joiners, BRANCH, suite=2), InvalidWelcome, "R-11.3-03")
    scene.assert_taken(scene.founder.welcome(scene.joiners, BRANCH))


@pytest.mark.rfc("R-11.3-04", "R-12.4.3.1-27", "N-W09")
def test_a_branch_begins_with_epoch_1(scene: Scene) -> None:
    scene.assert_refused(scene.founder.welcome(scene.joiners, BRANCH, late=True), InvalidWelcome, "R-11.3-04")
    scene.assert_taken(scene.founder.welcome(scene.joiners, BRANCH))


@pytest.mark.rfc("R-11.3-05", "R-12.4.3.1-27", "N-W09")
def test_nobody_else_is_in_a_branch(scene: Scene) -> None:
    outsider = scene.world.client("outsider")
    message = scene.founder.welcome([*scene.joiners, outsider], BRANCH)
    scene.assert_refused(message, InvalidWelcome, "R-11.3-05")
    scene.assert_taken(scene.founder.welcome(scene.joiners, BRANCH))
    creator = scene.groups[1]
    before = records(client_of(scene.world, creator)._store)
    with pytest.raises(UsageError) as caught:
        client_of(scene.world, creator).branch(creator, [outsider.key_package()])
    assert caught.value.rule == "R-11.3-05"
    assert records(client_of(scene.world, creator)._store) == before


@pytest.mark.rfc("R-11.3-05")
def test_leaves_match_by_identity() -> None:
    world = World()
    groups = world.group(3, names=("alice/phone", "bob/phone", "carol/phone"), policy=OneOfMany())
    tablet, dave = (world.client(name, policy=OneOfMany()) for name in ("bob/tablet", "dave/tablet"))
    bob = world.clients["bob/phone"]
    founder = Founder(world, groups[0])
    assert len(bob.join(founder.welcome([bob, tablet], BRANCH)).members) == 3
    message = founder.welcome([bob, dave], BRANCH)
    assert_refused_by([bob], message, InvalidWelcome, "R-11.3-05", BAD_WELCOME)


@pytest.mark.rfc("R-11.3-05", "R-11.3-01")
def test_a_branch_has_members_of_the_epoch_that_it_names(scene: Scene) -> None:
    world, creator = scene.world, scene.groups[1]
    new, pending = client_of(world, creator).branch(creator, packages(world, scene.groups[2:]))
    new.merge(pending)
    bob_and_others = [scene.groups[0], *scene.groups[2:]]
    world.commit(creator, [Remove(3)], *bob_and_others)
    # Who is still in the group knows who was in it; who was removed lost the key that ties the two.
    joiner, removed = scene.joiners
    assert pending.welcome is not None
    assert_refused_by([removed], pending.welcome, UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    world.agree(new, join(joiner, pending))
    late = Founder(world, creator).welcome([joiner, removed], BRANCH)
    assert_refused_by([joiner], late, InvalidWelcome, "R-11.3-05", BAD_WELCOME)


@pytest.mark.rfc("R-11.3-07", "R-12.4.3.1-07")
def test_the_joiner_knows_the_group_and_the_epoch(scene: Scene) -> None:
    world, creator = scene.world, scene.groups[1]
    outsider = world.client("outsider")
    message = scene.founder.welcome([outsider], BRANCH)
    assert_refused_by([outsider], message, UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    welcomes = [scene.founder.welcome(scene.joiners, BRANCH)]
    for _ in range(4):
        world.commit(creator, (), scene.groups[0], *scene.groups[2:])
        welcomes.append(scene.founder.welcome(scene.joiners, BRANCH))
    # Keys are held for three epochs back, members are known for two.
    scene.assert_refused(welcomes[0], UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    scene.assert_refused(welcomes[1], UnavailableSecret, "R-11.3-07", Code.PSK_UNKNOWN)
    for welcome in welcomes[2:]:
        scene.assert_taken(welcome)
