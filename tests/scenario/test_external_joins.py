"""Clients that enter a group from outside, and return to it, through the public interface. RFC 9420 §12.4.3.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mls import Add, Client, Group, MemoryStore, MLSError, PreSharedKey, ResumptionPSK
from mls.errors import Code, InvalidGroupInfo, InvalidMessage, InvalidWelcome, UnavailableSecret, UsageError
from tests.support.scenes import staged
from tests.support.world import World, copy_of, join, records

SUITES_TRIED = (1, 2, 5)


@dataclass(frozen=True)
class Scene:
    """Three members that listen to external commits, and a client outside."""

    world: World
    groups: list[Group]
    dora: Client

    @property
    def info(self) -> bytes:
        return self.groups[0].group_info()

    def restarted(self, name: str) -> Client:
        self.world.clients[name] = self.world.open(name, self.world.stores[name])
        return self.world.clients[name]


def scene_of(suite: int = 1, **settings: Any) -> Scene:  # noqa: ANN401  (fields of Settings)
    world = World(suite, **{"external_commits": True, "resync": True, "resync_without_psk": True, **settings})
    return Scene(world, world.group(3, names=["alice", "bob", "carol"]), world.client("dora"))


@pytest.fixture
def scene() -> Scene:
    return scene_of()


def assert_refused(client: Client, work: Callable[[], object], error: type[MLSError], code: str, rule: str) -> None:
    before = records(client._store)
    with pytest.raises(error) as caught:
        work()
    assert (caught.value.code, caught.value.rule) == (code, rule)
    assert records(client._store) == before


def assert_lively(world: World, *groups: Group) -> None:
    """Let everybody talk and the last one commit; all must follow."""
    world.agree(*groups)
    for author in groups:
        hello = author.encrypt(b"hello")
        world.deliver(hello, *(group for group in groups if group is not author))
    world.commit(groups[-1], (), *groups[:-1])
    world.agree(*groups)


@pytest.mark.rfc("R-3.3-01", "R-8.3-01", "R-12.4.3.2-01", "R-12.4.3.2-06", "R-12.4.3.2-07")
@pytest.mark.parametrize("suite", SUITES_TRIED)
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_client_enters_and_stays(suite: int, private: bool, inside: bool) -> None:
    scene = scene_of(suite, private_handshakes=private)
    info = scene.groups[0].group_info(ratchet_tree=inside)
    before = records(scene.dora._store)
    commit = scene.dora.join_external(info, None if inside else scene.groups[0].ratchet_tree)
    assert records(scene.dora._store) == before
    assert [member.identity for member in commit.members] == [b"alice", b"bob", b"carol", b"dora"]
    assert (commit.group_id, commit.epoch) == (scene.groups[0].group_id, 2)
    for group in scene.groups:
        event = staged(group, commit.message)
        assert (event.effect.external, [each.identity for each in event.effect.added]) == (True, [b"dora"])
        group.merge(event)
    entered = commit.accept()
    assert entered.members == commit.members
    assert_lively(scene.world, *scene.groups, entered)
    again = scene.world.restart(entered)
    assert_lively(scene.world, *scene.groups, again)


def test_an_external_commit_is_accepted_once(scene: Scene) -> None:
    commit = scene.dora.join_external(scene.info)
    assert "4 members" in repr(commit)
    commit.accept()
    assert_refused(scene.dora, commit.accept, UsageError, Code.STALE_HANDLE, "")


@pytest.mark.rfc("R-12.4.3.2-02", "R-12.4.3.1-10")
def test_what_is_no_group_info_of_ours_is_refused(scene: Scene) -> None:
    dora, alice = scene.dora, scene.groups[0]
    bare = alice.group_info(ratchet_tree=False)
    assert_refused(dora, lambda: dora.join_external(bare), InvalidWelcome, Code.BAD_WELCOME, "R-12.4.3.1-10")
    package = scene.world.client("erin").key_package()
    wrong = Code.WRONG_WIRE_FORMAT
    assert_refused(dora, lambda: dora.join_external(package), InvalidGroupInfo, wrong, "R-6-06")
    size = dora._settings.max_welcome_bytes + 1
    limit = Code.LIMIT_EXCEEDED
    assert_refused(dora, lambda: dora.join_external(bare, bytes(size)), InvalidGroupInfo, limit, "S-max_welcome_bytes")
    other = World(2).client("other suite")
    assert_refused(other, lambda: other.join_external(scene.info), UsageError, Code.INVALID_ARGUMENT, "")
    scene.dora.join_external(scene.info).accept()


@pytest.mark.rfc("S-max_message_bytes")
def test_a_commit_that_nobody_would_take_is_not_made(scene: Scene) -> None:
    small = scene.world.client("small", max_message_bytes=400)
    limit = Code.LIMIT_EXCEEDED
    assert_refused(small, lambda: small.join_external(scene.info), UsageError, limit, "S-max_message_bytes")


@pytest.mark.rfc("R-3.3-02", "R-14-05")
def test_of_two_that_enter_at_once_one_does(scene: Scene) -> None:
    erin = scene.world.client("erin")
    first, second = scene.dora.join_external(scene.info), erin.join_external(scene.info)
    scene.world.deliver(first.message, *scene.groups)
    for group in scene.groups:
        with pytest.raises(MLSError) as caught:
            group.receive(second.message)
        assert (caught.value.code, caught.value.rule) == (Code.WRONG_EPOCH, "R-6-11")
    late = erin.join_external(scene.info)
    entered = first.accept()
    scene.world.deliver(late.message, *scene.groups, entered)
    assert_lively(scene.world, *scene.groups, entered, late.accept())


@pytest.mark.rfc("R-12.4.3.2-10", "R-12.4.3-06")
def test_a_member_enters_again_only_in_its_own_place(scene: Scene) -> None:
    """A client that is killed before it accepts finds its leaf taken by itself."""
    lost = scene.dora.join_external(scene.info)
    scene.world.deliver(lost.message, *scene.groups)
    dora = scene.restarted("dora")
    with pytest.raises(InvalidMessage) as caught:
        dora.join_external(scene.info)
    assert caught.value.rule == "R-12.4.3.2-10"
    commit = dora.join_external(scene.info, resync=True)
    scene.world.deliver(commit.message, *scene.groups)
    assert [member.leaf for member in commit.members] == [0, 1, 2, 3]
    entered = commit.accept()
    assert_lively(scene.world, *scene.groups, entered)
    exists = Code.GROUP_EXISTS
    assert_refused(dora, lambda: dora.join_external(scene.info), UsageError, exists, "R-12.4.3.2-10")


def test_who_was_never_there_has_nothing_to_replace(scene: Scene) -> None:
    invalid = Code.INVALID_ARGUMENT
    assert_refused(scene.dora, lambda: scene.dora.join_external(scene.info, resync=True), UsageError, invalid, "")


@pytest.mark.rfc("R-12.4.3.2-08", "R-12.4.3.2-11", "R-12.2-18", "R-16.12-02")
@pytest.mark.parametrize("member", [1, 2])
def test_a_member_that_fell_behind_returns(scene: Scene, member: int) -> None:
    """It still holds an old epoch, which goes out in the batch by which the new one comes in."""
    alice, lost = scene.groups[0], scene.groups[member]
    others = [group for group in scene.groups if group is not lost]
    for _ in range(2):
        scene.world.commit(alice, (), *others[1:])
    client = scene.world.clients[scene.world.name_of(lost)]
    before = records(client._store)
    commit = client.join_external(scene.info, resync=True)
    assert records(client._store) == before
    scene.world.deliver(commit.message, *others)
    entered = commit.accept()
    assert (lost.is_retired, entered.me.leaf, client.group(entered.group_id)) == (True, member, entered)
    assert_lively(scene.world, *others, entered)
    assert_lively(scene.world, *others, scene.world.restart(entered))
    with pytest.raises(UsageError) as caught:
        lost.encrypt(b"from the past")
    assert caught.value.code == Code.GROUP_RETIRED


@pytest.mark.rfc("S-resync")
def test_a_group_may_refuse_those_who_return() -> None:
    scene = scene_of(resync=False)
    bob = scene.world.clients["bob"]
    commit = bob.join_external(scene.info, resync=True)
    with pytest.raises(MLSError) as caught:
        scene.groups[0].receive(commit.message)
    assert (caught.value.code, caught.value.rule) == (Code.RESYNC_DISABLED, "S-resync")


@pytest.mark.rfc("N-E07", "P10")
def test_an_old_group_info_does_not_lead_back(scene: Scene) -> None:
    old = scene.info
    bob = scene.world.clients["bob"]
    bob.join_external(old, resync=True)
    scene.world.commit(scene.groups[0], (), *scene.groups[1:])
    stale = Code.STALE_GROUP_INFO
    assert_refused(bob, lambda: bob.join_external(old, resync=True), InvalidGroupInfo, stale, "N-E07")


@pytest.mark.rfc("R-14-05")
def test_a_commit_that_was_overtaken_is_not_accepted(scene: Scene) -> None:
    bob, bobs = scene.world.clients["bob"], scene.groups[1]
    commit = bob.join_external(scene.info, resync=True)
    scene.world.commit(scene.groups[0], (), *scene.groups[1:])
    assert_refused(bob, commit.accept, UsageError, Code.STALE_HANDLE, "R-14-05")
    scene.world.agree(*scene.groups)
    assert not bobs.is_retired


def test_whoever_came_in_otherwise_does_not_come_in_twice(scene: Scene) -> None:
    commit = scene.dora.join_external(scene.info)
    scene.world.add(scene.groups[0], scene.dora)
    assert_refused(scene.dora, commit.accept, UsageError, Code.GROUP_EXISTS, "R-12.4.3.2-10")


def test_the_echo_of_a_return_may_come_before_it_is_accepted(scene: Scene) -> None:
    bob, bobs = scene.world.clients["bob"], scene.groups[1]
    commit = bob.join_external(scene.info, resync=True)
    for group in scene.groups:
        scene.world.deliver(commit.message, group)
    assert bobs.is_retired
    assert_lively(scene.world, scene.groups[0], scene.groups[2], commit.accept())


@pytest.mark.rfc("R-12.4.3.2-11", "R-12.2-20", "R-12.3-05")
def test_a_joiner_shows_keys_that_it_knows(scene: Scene) -> None:
    bob = scene.world.clients["bob"]
    for client in scene.world.clients.values():
        client.add_psk(b"shared", bytes(range(32)))
    shown = (PreSharedKey(b"shared"), ResumptionPSK(scene.groups[1].epoch))
    commit = bob.join_external(scene.info, resync=True, psks=shown, authenticated_data=b"it is me")
    others = [scene.groups[0], scene.groups[2]]
    for group in others:
        event = staged(group, commit.message)
        assert event.effect.psks == 2
        group.merge(event)
    assert_lively(scene.world, *others, commit.accept())

    unknown = Code.PSK_UNKNOWN
    for psk in (PreSharedKey(b"unknown"), ResumptionPSK(77)):
        with pytest.raises(UnavailableSecret) as caught:
            scene.dora.join_external(scene.info, psks=(psk,))
        assert (caught.value.code, caught.value.rule) == (unknown, "R-12.3-05")


def test_what_is_no_key_is_not_injected(scene: Scene) -> None:
    with pytest.raises(UsageError):
        scene.dora.join_external(scene.info, psks=(b"shared",))  # type: ignore[arg-type]  # text for a key is the point


def test_a_store_that_fails_leaves_everything_as_it_was(scene: Scene) -> None:
    class Failing(MemoryStore):
        fails = False

        def apply(self, batch: object) -> None:
            if self.fails:
                raise OSError("no space left")
            super().apply(batch)  # type: ignore[arg-type]  # handed on as it is

    store = Failing()
    erin = scene.world.client("erin", store=store)
    commit = erin.join_external(scene.info)
    scene.world.deliver(commit.message, *scene.groups)
    store.fails = True
    with pytest.raises(OSError, match="no space"):
        commit.accept()
    store.fails = False
    assert_lively(scene.world, *scene.groups, commit.accept())


@pytest.mark.rfc("R-10-13", "N-L12", "P12")
def test_a_key_package_that_was_used_leaves_a_trace(scene: Scene) -> None:
    alice, package = scene.groups[0], scene.dora.key_package()
    other = scene.world.client("founder").create_group()
    pending = scene.world.commit(alice, [Add(package)], *scene.groups[1:])
    second = scene.world.commit(other, [Add(package)])
    assert second.welcome is not None
    join(scene.dora, pending)
    dora = scene.restarted("dora")
    consumed = Code.KEY_PACKAGE_CONSUMED
    assert_refused(dora, lambda: dora.join(second.welcome or b""), InvalidWelcome, consumed, "N-L12")
    stranger = scene.world.client("stranger")
    missing = Code.NO_MATCHING_KEY_PACKAGE
    assert_refused(stranger, lambda: stranger.join(second.welcome or b""), InvalidWelcome, missing, "R-12.4.3.1-03")

    reusable = dora.key_package(last_resort=True)
    for founder in ("one", "two"):
        group = scene.world.client(founder).create_group()
        join(dora, scene.world.commit(group, [Add(reusable)]))

    assert [name for name in records(dora._store) if name.startswith("consumed/")] != []
    scene.world.now += 10**8
    assert dora.forget_expired_key_packages() == 1
    assert [name for name in records(dora._store) if name.startswith(("consumed/", "keypackage/"))] == []


def test_a_copy_of_the_store_can_return_as_well(scene: Scene) -> None:
    """A backup, say: its client is the same client, and the leaf goes to whoever returns."""
    backup = scene.world.open("bob", copy_of(scene.world.stores["bob"]))
    scene.world.commit(scene.groups[0], (), *scene.groups[1:])
    commit = backup.join_external(scene.info, resync=True)
    scene.world.deliver(commit.message, *scene.groups)
    assert scene.groups[1].is_retired
    assert_lively(scene.world, scene.groups[0], scene.groups[2], commit.accept())
