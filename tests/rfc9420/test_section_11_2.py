"""The successor of a group that was reinitialized. RFC 9420 §11.2."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mls import Add, Client, Extension, Group, ReInit
from mls.errors import Code, InvalidWelcome, MLSError, UnavailableSecret, Unsupported, UsageError
from mls.messages import PreSharedKeyID, ResumptionPSK
from tests.support.successions import (
    ASKS_NOTHING,
    BRANCH,
    NEXT,
    REINIT,
    Founder,
    OneOfMany,
    assert_refused_by,
    client_of,
    enter_all,
    packages,
    with_further,
    with_nonce,
)
from tests.support.world import World, join, records

BAD_WELCOME = Code.BAD_WELCOME


@dataclass(frozen=True)
class Scene:
    """A frozen group of four, and its members' clients; the third invites to the successor."""

    world: World
    groups: list[Group]

    @property
    def founder(self) -> Founder:
        return Founder(self.world, self.groups[2])

    @property
    def joiners(self) -> list[Client]:
        return [client_of(self.world, group) for group in self.groups if group is not self.groups[2]]

    def assert_refused(self, message: bytes, error: type[MLSError], rule: str, code: str = BAD_WELCOME) -> None:
        assert_refused_by(self.joiners, message, error, rule, code)

    def assert_taken(self, message: bytes) -> None:
        for joiner in self.joiners:
            assert len(joiner.join(message).members) == 4


def frozen(suite: int = 1, version: int = 1, extensions: tuple[Extension, ...] = ()) -> Scene:
    world = World()
    groups = world.group(4)
    intent = ReInit(NEXT, suite, extensions, version)
    world.commit(groups[0], [intent], *groups[1:])
    return Scene(world, groups)


@pytest.fixture
def scene() -> Scene:
    return frozen()


@pytest.mark.rfc("R-11.2-01", "R-11.2-05", "R-12.4.1-19", "R-12.4.3.1-26")
@pytest.mark.parametrize("creator", range(3))
def test_any_member_creates_the_successor(creator: int) -> None:
    world = World()
    groups = world.group(3)
    sent = groups[1].propose(ReInit(NEXT, 1, (ASKS_NOTHING,)))
    world.deliver(sent.message, groups[0], groups[2])
    world.commit(groups[0], (), *groups[1:])
    old = groups[creator]
    others = [group for group in groups if group is not old]
    new, pending = client_of(world, old).reinitialize(old, packages(world, others))
    assert (new.group_id, new.epoch, pending.effect.epoch, pending.effect.psks) == (NEXT, 0, 1, 1)
    whole = enter_all(world, new, others)
    assert new._standing.state.group.extensions == (ASKS_NOTHING,)
    assert {member.identity for member in new.members} == {member.identity for member in old.members}
    world.commit(whole[1], (), whole[0], whole[2])
    world.agree(*whole)
    assert all(group.is_frozen for group in groups)


@pytest.mark.rfc("R-11.2-02", "R-12.4.3.1-26", "R-12.1.5-03")
def test_the_successor_is_what_the_reinit_announced() -> None:
    for announced, said in (
        (frozen(), {"group_id": b"another one"}),
        (frozen(), {"extensions": (ASKS_NOTHING,)}),
        (frozen(extensions=(ASKS_NOTHING,)), {}),
        (frozen(suite=2), {}),
        (frozen(version=2), {}),
    ):
        message = announced.founder.welcome(announced.joiners, REINIT, **said)
        announced.assert_refused(message, InvalidWelcome, "R-11.2-02")
    scene = frozen(extensions=(ASKS_NOTHING,))
    scene.assert_taken(scene.founder.welcome(scene.joiners, REINIT, extensions=(ASKS_NOTHING,)))


@pytest.mark.rfc("R-11.2-03", "R-12.4.3.1-26", "N-W09")
def test_a_successor_begins_with_epoch_1(scene: Scene) -> None:
    scene.assert_refused(scene.founder.welcome(scene.joiners, REINIT, late=True), InvalidWelcome, "R-11.2-03")
    scene.assert_taken(scene.founder.welcome(scene.joiners, REINIT))


@pytest.mark.rfc("R-11.2-04", "R-12.4.3.1-26")
def test_the_psk_is_of_the_epoch_that_the_reinit_led_to(scene: Scene) -> None:
    epoch = scene.groups[0].epoch
    early = scene.founder.welcome(scene.joiners, REINIT, epoch=epoch - 1)
    scene.assert_refused(early, InvalidWelcome, "R-11.2-04")
    scene.assert_taken(scene.founder.welcome(scene.joiners, REINIT, epoch=epoch))


@pytest.mark.rfc("R-11.2-04", "R-12.4.3.1-26", "R-12.4.2-18")
def test_nothing_else_comes_under_the_name_of_the_successor(scene: Scene) -> None:
    world, waiting = scene.world, scene.joiners[0]
    outsider = world.client("outsider")
    strange = outsider.create_group(NEXT).commit([Add(waiting.key_package())]).welcome or b""
    assert_refused_by([waiting], strange, InvalidWelcome, "R-11.2-04", BAD_WELCOME)
    creator = scene.groups[2]
    _, first = client_of(world, creator).branch(creator, packages(world, scene.groups[:1]), NEXT)
    assert_refused_by([waiting], first.welcome or b"", InvalidWelcome, "R-11.2-04", BAD_WELCOME)
    # Whatever has another name may come meanwhile, and who gives the old group up waits no more.
    another = outsider.create_group(b"another").commit([Add(waiting.key_package())]).welcome or b""
    assert waiting.join(another).accept().group_id == b"another"
    scene.groups[0].forget()
    assert waiting.join(strange).accept().group_id == NEXT


@pytest.mark.rfc("R-11.2-04", "R-12.4.3.1-26")
def test_there_is_no_successor_without_a_reinit() -> None:
    world = World()
    live = Scene(world, world.group(4))
    message = live.founder.welcome(live.joiners, REINIT)
    live.assert_refused(message, InvalidWelcome, "R-11.2-04")
    creator = live.groups[2]
    with pytest.raises(UsageError) as caught:
        client_of(world, creator).reinitialize(creator, packages(world, live.groups[:2]))
    assert caught.value.rule == "R-11.2-01"


@pytest.mark.rfc("R-11.2-04", "R-12.4.3.1-07")
def test_who_has_not_merged_the_reinit_can_join_later() -> None:
    world = World()
    alice, bob = world.group(2)
    pending = alice.commit([ReInit(NEXT, 1)])
    alice.merge(pending)
    new, first = client_of(world, alice).reinitialize(alice, packages(world, [bob]))
    new.merge(first)
    assert first.welcome is not None
    joiner = client_of(world, bob)
    assert_refused_by([joiner], first.welcome, UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN)
    world.deliver(pending.message, bob)
    world.agree(new, join(joiner, first))


@pytest.mark.rfc("R-11.2-07", "R-12.4.3.1-26", "N-W09")
def test_the_members_of_the_successor_are_those_of_the_group(scene: Scene) -> None:
    outsider = scene.world.client("outsider")
    for joiners, refused in (
        (scene.joiners[:2], scene.joiners[:2]),
        ([*scene.joiners, outsider], scene.joiners),
        ([*scene.joiners[:2], outsider], scene.joiners[:2]),
    ):
        message = scene.founder.welcome(joiners, REINIT)
        assert_refused_by(refused, message, InvalidWelcome, "R-11.2-07", BAD_WELCOME)
    scene.assert_taken(scene.founder.welcome(scene.joiners, REINIT))


@pytest.mark.rfc("R-11.2-07")
def test_as_many_clients_of_an_identity_return() -> None:
    world = World()
    names = ("alice/phone", "alice/laptop", "bob/phone")
    groups = world.group(3, names=names, policy=OneOfMany())
    world.commit(groups[0], [ReInit(NEXT, 1)], *groups[1:])
    tablets = [world.client(name, policy=OneOfMany()) for name in ("alice/tablet", "bob/tablet")]
    laptop, bob = world.clients["alice/laptop"], world.clients["bob/phone"]
    founder = Founder(world, groups[0])
    for joiners in ([bob], [bob, tablets[1]], [laptop, tablets[0], bob]):
        message = founder.welcome(joiners, REINIT)
        assert_refused_by([bob], message, InvalidWelcome, "R-11.2-07", BAD_WELCOME)
    # A client may be another one by now, as long as it stands for the same identity.
    assert len(bob.join(founder.welcome([tablets[0], bob], REINIT)).members) == 3


@pytest.mark.rfc("R-11.2-07", "R-12.4.1-19")
def test_a_creator_is_told_of_wrong_key_packages(scene: Scene) -> None:
    creator = client_of(scene.world, scene.groups[2])
    before = records(creator._store)
    outsider = scene.world.client("outsider").key_package()
    right = packages(scene.world, [scene.groups[0], scene.groups[1], scene.groups[3]])
    for wrong in (right[:2], [*right, outsider], [*right[:2], outsider]):
        with pytest.raises(UsageError) as caught:
            creator.reinitialize(scene.groups[2], wrong)
        assert caught.value.rule == "R-11.2-07"
        assert records(creator._store) == before
    creator.reinitialize(scene.groups[2], right)
    with pytest.raises(UsageError) as caught:
        creator.reinitialize(scene.groups[2], right)
    assert (caught.value.rule, caught.value.code) == ("R-11-10", Code.GROUP_EXISTS)


@pytest.mark.rfc("R-12.4.3.1-07", "R-12.1.4-01", "R-11.2-06")
def test_the_nonce_of_the_reinit_psk_is_whole(scene: Scene) -> None:
    message = scene.founder.welcome(scene.joiners, REINIT)
    for joiner in scene.joiners:
        for nonce in (bytes(31), bytes(33), b""):
            forged = with_nonce(message, joiner, nonce)
            assert_refused_by([joiner], forged, InvalidWelcome, "R-12.4.3.1-07", Code.PSK_INVALID)
    scene.assert_taken(message)


@pytest.mark.rfc("R-12.4.3.1-08", "N-W09")
def test_a_group_continues_one_other_group_at_most(scene: Scene) -> None:
    message = scene.founder.welcome(scene.joiners, REINIT)
    joiner = scene.joiners[0]
    old = scene.groups[0]
    for usage in (REINIT, BRANCH):
        further = PreSharedKeyID(ResumptionPSK(usage, old.group_id, old.epoch), bytes(32))
        for forged in (with_further(message, joiner, further), with_further(message, joiner, further, first=True)):
            assert_refused_by([joiner], forged, InvalidWelcome, "R-12.4.3.1-08", Code.PSK_INVALID)
    scene.assert_taken(message)


@pytest.mark.rfc("R-11.2-08", "R-11.2-02")
def test_a_successor_may_be_of_another_suite() -> None:
    scene = frozen(suite=2)
    world, old = scene.world, scene.groups[2]
    creator = client_of(world, old)
    with pytest.raises(UsageError, match="no identity for cipher suite 2"):
        creator.key_package(suite=2)
    for client in world.clients.values():
        client.add_identity(replace(client._identity, suite=2, signature_key=None))
    others = [group for group in scene.groups if group is not old]
    with pytest.raises(MLSError) as caught:
        creator.reinitialize(old, packages(world, others))
    assert caught.value.code == Code.BAD_KEY_PACKAGE
    new, _ = creator.reinitialize(old, packages(world, others, suite=2))
    whole = enter_all(world, new, others)
    assert {group._standing.state.suite.id for group in whole} == {2}
    world.commit(whole[3], (), *whole[:3])
    world.agree(*whole)


@pytest.mark.rfc("R-11.2-02", "R-6-05")
@pytest.mark.parametrize(("suite", "version"), [(1, 2), (0xF001, 1)])
def test_what_is_not_supported_cannot_be_created(suite: int, version: int) -> None:
    scene = frozen(suite=suite, version=version)
    creator = scene.groups[2]
    with pytest.raises(Unsupported):
        client_of(scene.world, creator).reinitialize(creator, [])
