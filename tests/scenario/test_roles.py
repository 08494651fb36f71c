"""Who may do what in a group: administrators, and policies of an application's own. RFC 9420 §12.2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from mls import (
    AcceptAnyone,
    Add,
    Extension,
    Group,
    GroupContextExtensions,
    Identity,
    NewLeaf,
    PreSharedKey,
    ReInit,
    Remove,
    StagedCommit,
    Update,
)
from mls.errors import Code, InvalidLeafNode, MalformedMessage, Refused
from mls.extensions import external_senders, required_capabilities
from mls.identity.roles import (
    ADMINISTRATORS,
    EVERYTHING_ALLOWED,
    Action,
    Administrators,
    AllowEverything,
    Party,
    Target,
    administrators,
    administrators_of,
)
from mls.intents import Intent
from mls.messages import BasicCredential
from mls.observer import PublicGroup
from mls.outsider import Outsider
from tests.adversarial.insider import assert_refused
from tests.support.world import NOW, World, join, records

ADMIN_ONLY = Administrators()
OPEN = {"external_commits": True, "resync": True, "external_senders": True, "new_member_proposals": True}
FRAMES = pytest.mark.parametrize("private", [True, False], ids=["private", "public"])


@dataclass
class Scene:
    """Alice founded the group and administers it; bob and carol are members."""

    world: World
    groups: list[Group]

    @property
    def alice(self) -> Group:
        return self.groups[0]

    @property
    def bob(self) -> Group:
        return self.groups[1]

    @property
    def honest(self) -> list[Group]:
        """Those who hear what bob says."""
        return [self.groups[0], self.groups[2]]

    def lawless(self) -> Group:
        """Return the group as bob holds it once he no longer cares for roles."""
        client = self.world.clients["bob"]
        client._roles = EVERYTHING_ALLOWED
        return self.bob


def scene_of(**settings: bool) -> Scene:
    world = World(**settings)
    clients = [world.client(name, roles=ADMIN_ONLY) for name in ("alice", "bob", "carol")]
    founder = clients[0].create_group()
    return Scene(world, [founder, *world.add(founder, *clients[1:])])


def assert_not_allowed(group: Group, work: Callable[[], object], rule: str, *said: str) -> None:
    before, stored = group.fingerprint(), records(group._store)
    with pytest.raises(Refused) as caught:
        work()
    assert (caught.value.rule, caught.value.code) == (rule, Code.NOT_PERMITTED)
    assert [each for each in said if each not in caught.value.message] == []
    assert (group.fingerprint(), records(group._store)) == (before, stored)


def forbidden(scene: Scene) -> dict[str, Intent]:
    """Return what is for administrators."""
    package = scene.world.client("dora", roles=ADMIN_ONLY).key_package()
    return {
        "add": Add(package),
        "remove": Remove(scene.groups[2].me),
        "change the extensions of": GroupContextExtensions((administrators(b"alice", b"bob"),)),
        "reinitialize": ReInit(b"next", 1, (administrators(b"bob"),)),
    }


@pytest.mark.rfc("N-R01", "R-12.2-16")
@FRAMES
@pytest.mark.parametrize("action", ["add", "remove", "change the extensions of", "reinitialize"])
def test_what_is_for_administrators_nobody_else_does(action: str, private: bool) -> None:
    scene = scene_of(private_handshakes=private)
    wanted, bob = forbidden(scene)[action], scene.bob
    for work in (lambda: bob.propose(wanted), lambda: bob.commit([wanted])):
        assert_not_allowed(bob, work, "N-R01", "member b'bob' at leaf 1", action)
    scene.lawless()
    committed, proposed = bob.commit([wanted], include=()), bob.propose(wanted)
    for message in (committed.message, proposed.message):
        assert_refused(scene.honest, message, Refused, "N-R01", Code.NOT_PERMITTED)
    # What an administrator says is taken, whoever commits it; the refused ones did not harm the group.
    bob.discard(committed)
    alice, carol = scene.honest
    sent = alice.propose(wanted)
    scene.world.deliver(sent.message, carol)
    pending = alice.commit()
    assert isinstance(carol.receive(pending.message), StagedCommit)
    alice.merge(pending)
    assert alice.epoch == 2


@pytest.mark.rfc("N-R01")
def test_any_member_commits_what_an_administrator_proposed() -> None:
    scene = scene_of()
    alice, bob, carol = scene.groups
    dora = scene.world.client("dora", roles=ADMIN_ONLY)
    scene.world.deliver(alice.propose(Add(dora.key_package())).message, bob, carol)
    pending = scene.world.commit(carol, (), alice, bob)
    doras = join(dora, pending)
    scene.world.agree(alice, bob, carol, doras)
    # Who joined holds to the same roles, after a restart too.
    for group in (doras, scene.world.restart(doras)):
        assert administrators_of(group.extensions) == {b"alice"}
        assert_not_allowed(group, lambda group=group: group.commit([Remove(0)]), "N-R01", "dora", "alice", "remove")  # type: ignore[misc]  # a lambda's default has no type
    assert_refused(doras, _removing(scene, alice), Refused, "N-R01", Code.NOT_PERMITTED)


def _removing(scene: Scene, member: Group) -> bytes:
    return scene.lawless().commit([Remove(member.me)]).message


def test_what_is_everybodys_stays_so() -> None:
    scene = scene_of()
    alice, bob, carol = scene.groups
    for client in scene.world.clients.values():
        client.add_psk(b"psk", bytes(32))
    scene.world.deliver(bob.propose(Update()).message, alice, carol)
    scene.world.commit(carol, [PreSharedKey(b"psk")], alice, bob)
    scene.world.agree(alice, bob, carol)
    # Who wants to leave says so, and anybody commits it.
    scene.world.deliver(bob.propose(Remove(bob.me)).message, alice, carol)
    scene.world.commit(carol, (), alice, bob)
    assert bob.is_retired
    scene.world.agree(alice, carol)


@pytest.mark.rfc("N-R01", "N-R02")
def test_administrators_pass_their_office_on() -> None:
    scene = scene_of()
    alice, bob, carol = scene.groups
    for extensions in ((), (required_capabilities(),), (administrators(),)):
        change, next_group = GroupContextExtensions(extensions), ReInit(b"next", 1, extensions)
        for wanted in (change, next_group):
            assert_not_allowed(alice, lambda wanted=wanted: alice.commit([wanted]), "N-R02", "alice")  # type: ignore[misc]  # likewise
    scene.world.commit(alice, [GroupContextExtensions((administrators(b"bob"),))], bob, carol)
    assert_not_allowed(alice, lambda: alice.commit([Remove(carol.me)]), "N-R01", "alice", "carol")
    scene.world.commit(bob, [Remove(alice.me)], alice, carol)
    assert alice.is_retired
    # Another takes the founder's leaf, and is no administrator for that.
    dora = scene.world.client("dora", roles=ADMIN_ONLY)
    (doras,) = scene.world.add(bob, dora, others=[carol])
    assert doras.me.leaf == 0
    assert_not_allowed(doras, lambda: doras.commit([Remove(carol.me)]), "N-R01")


@pytest.mark.rfc("N-R02")
def test_an_administrator_cannot_leave_a_group_without_any() -> None:
    scene = scene_of()
    scene.world.clients["alice"]._roles = EVERYTHING_ALLOWED
    for extensions in ((), (Extension(ADMINISTRATORS, b"\x00"),)):
        for wanted in (GroupContextExtensions(extensions), ReInit(b"next", 1, extensions)):
            message = scene.alice.commit([wanted]).message
            assert_refused(scene.groups[1:], message, Refused, "N-R02", Code.NOT_PERMITTED)
    garbled = scene.alice.commit([GroupContextExtensions((Extension(ADMINISTRATORS, b"\x05a"),))]).message
    with pytest.raises(MalformedMessage):
        scene.bob.receive(garbled)


@pytest.mark.rfc("N-R02")
def test_a_group_without_administrators_is_not_entered() -> None:
    world = World(external_commits=True)
    lawless = world.group(1)[0]
    bob = world.client("bob", roles=ADMIN_ONLY)
    stored = records(bob._store)
    pending = lawless.commit([Add(bob.key_package())])
    assert pending.welcome is not None
    package = records(bob._store)
    for enter in (
        lambda: bob.receive(pending.welcome or b""),
        lambda: bob.join_external(lawless.group_info()),
        lambda: PublicGroup.follow(lawless.group_info(), policy=AcceptAnyone(), roles=ADMIN_ONLY),
    ):
        with pytest.raises(Refused) as caught:
            enter()
        assert (caught.value.rule, caught.value.code) == ("N-R02", Code.NOT_PERMITTED)
        assert "member-0" in caught.value.message
    assert records(bob._store) == package != stored


@pytest.mark.rfc("R-13.4-03", "R-7.3-16")
def test_who_would_not_hold_to_roles_is_not_added() -> None:
    scene = scene_of()
    careless = scene.world.client("careless")
    with pytest.raises(InvalidLeafNode) as caught:
        scene.alice.commit([Add(careless.key_package())])
    assert caught.value.code == Code.UNSUPPORTED_CAPABILITY
    assert caught.value.leaf is None, "a key package has no place in the tree, and leaf 0 is somebody else's"
    assert "a key package's leaf: group context extension types" in caught.value.message


@pytest.mark.rfc("N-R03")
def test_nobody_becomes_an_administrator_by_a_new_name() -> None:
    scene = scene_of()
    alice, bob, carol = scene.groups
    renamed = NewLeaf(credential=BasicCredential(b"alice"))
    for work in (lambda: bob.propose(Update(renamed)), lambda: bob.commit(leaf=renamed)):
        assert_not_allowed(bob, work, "N-R03", "bob", "alice")
    scene.lawless()
    for message in (bob.propose(Update(renamed)).message, bob.commit(leaf=renamed, include=()).message):
        assert_refused([alice, carol], message, Refused, "N-R03", Code.NOT_PERMITTED)
    other = NewLeaf(credential=BasicCredential(b"robert"))
    assert isinstance(alice.receive(bob.commit(leaf=other, include=()).message), StagedCommit)


# From outside.


@pytest.mark.rfc("S-outsiders_may_join", "N-R03", "R-12.4.3.2-01", "R-12.4.3.2-12")
def test_who_joins_from_outside_is_let_in_by_administrators() -> None:
    scene = scene_of(**OPEN)
    dora, impostor = (scene.world.client(name, roles=Administrators(outsiders_may_join=True)) for name in ("dora", "x"))
    impostor._identity = Identity.basic(b"alice", 1, impostor._signature_keys.private)
    info = scene.alice.group_info()
    for message in (dora.join_external(info).message, dora.propose_external_add(scene.alice.group_id, 1)):
        assert_refused(scene.groups, message, Refused, "S-outsiders_may_join", Code.NOT_PERMITTED)
    dora._roles = ADMIN_ONLY
    with pytest.raises(Refused) as caught:
        dora.join_external(info)
    assert caught.value.rule == "S-outsiders_may_join"
    assert "outsider b'dora'" in caught.value.message
    for client in scene.world.clients.values():
        client._roles = Administrators(outsiders_may_join=True)
    with pytest.raises(Refused) as caught:
        impostor.join_external(info)
    assert caught.value.rule == "N-R03"
    impostor._roles = AllowEverything(extension_types=(ADMINISTRATORS,))
    forged = impostor.propose_external_add(scene.alice.group_id, 1)
    assert_refused(scene.groups, forged, Refused, "N-R03", Code.NOT_PERMITTED)
    pending = dora.join_external(info)
    scene.world.deliver(pending.message, *scene.groups)
    scene.world.agree(*scene.groups, pending.accept())


@pytest.mark.rfc("S-outsiders_may_join", "R-12.4.3.2-01")
def test_where_outsiders_may_join_administrators_still_decide_the_rest() -> None:
    scene = scene_of(**OPEN)
    for client in scene.world.clients.values():
        client._roles = Administrators(outsiders_may_join=True)
    dora = scene.world.client("dora", roles=Administrators(outsiders_may_join=True))
    pending = dora.join_external(scene.alice.group_info())
    scene.world.deliver(pending.message, *scene.groups)
    room = pending.accept()
    scene.world.agree(*scene.groups, room)
    assert_not_allowed(room, lambda: room.commit([Remove(scene.alice.me)]), "N-R01")


@pytest.mark.rfc("R-12.4.3.2-11", "N-E06")
def test_who_returns_is_who_it_was() -> None:
    scene = scene_of(**OPEN)
    alice, bob, carol = scene.groups
    commit = scene.world.clients["bob"].join_external(alice.group_info(), resync=True)
    scene.world.deliver(commit.message, alice, carol)
    back = commit.accept()
    assert bob.is_retired
    scene.world.agree(alice, carol, back)
    assert_not_allowed(back, lambda: back.commit([Remove(carol.me)]), "N-R01")


@pytest.mark.rfc("N-R01", "R-12.1.8-01")
def test_an_external_sender_acts_by_its_identity() -> None:
    scene = scene_of(**OPEN)
    server = scene.world.client("server")
    identity = Identity.basic(b"server", 1, server._signature_keys.private)
    outsider = Outsider(identity)
    for named, is_heard in (((b"alice",), False), ((b"alice", b"server"), True)):
        extensions = (administrators(*named), external_senders(outsider.entry))
        scene.world.commit(scene.alice, [GroupContextExtensions(extensions)], *scene.groups[1:])
        message = outsider.propose(outsider.address(scene.alice.group_info()), Remove(2))
        if is_heard:
            scene.world.deliver(message, *scene.groups)
            scene.world.commit(scene.bob, (), scene.alice)
            assert [each.identity for each in scene.alice.members] == [b"alice", b"bob"]
        else:
            refused = assert_refused(scene.groups, message, Refused, "N-R01", Code.NOT_PERMITTED)
            assert "external sender b'server'" in refused.message


@pytest.mark.rfc("N-R01")
def test_an_observer_holds_to_the_same_roles() -> None:
    scene = scene_of(private_handshakes=False)
    service = PublicGroup.follow(scene.alice.group_info(), policy=AcceptAnyone(), roles=ADMIN_ONLY, clock=lambda: NOW)
    bob = scene.lawless()
    for message in (bob.commit([Remove(2)]).message, bob.propose(Remove(2)).message):
        with pytest.raises(Refused) as caught:
            service.receive(message)
        assert caught.value.rule == "N-R01"
    assert service.proposals == ()
    service.receive(scene.alice.commit([Remove(2)]).message)


# Groups that continue others.


def test_a_successor_is_administered_by_those_whom_the_reinit_named() -> None:
    scene = scene_of()
    scene.world.commit(scene.alice, [ReInit(b"next", 1, (administrators(b"carol"),))], *scene.groups[1:])
    alice, bob, carol = (scene.world.clients[name] for name in ("alice", "bob", "carol"))
    # Any old member may create it, for what it will be is agreed.
    created, pending = bob.reinitialize(scene.bob, [client.key_package() for client in (alice, carol)])
    created.merge(pending)
    others = [join(client, pending) for client in (alice, carol)]
    scene.world.agree(created, *others)
    assert_not_allowed(created, lambda: created.commit([Remove(1)]), "N-R01")
    scene.world.commit(others[1], [Remove(others[0].me)], created)


def test_who_branches_off_administers_the_branch() -> None:
    scene = scene_of()
    bob, carol = (scene.world.clients[name] for name in ("bob", "carol"))
    created, pending = bob.branch(scene.bob, [carol.key_package()])
    created.merge(pending)
    carols = join(carol, pending)
    assert administrators_of(carols.extensions) == {b"bob"}
    assert_not_allowed(carols, lambda: carols.commit([Remove(0)]), "N-R01")
    scene.world.commit(created, [Remove(carols.me)], carols)


def test_a_founder_may_name_others() -> None:
    world = World()
    alice = world.client("alice", roles=ADMIN_ONLY)
    shared = alice.create_group(extensions=(administrators(b"alice", b"bob"),))
    assert administrators_of(shared.extensions) == {b"alice", b"bob"}
    assert administrators_of(alice.create_group(extensions=(required_capabilities(),)).extensions) == {b"alice"}
    assert world.client("bob").create_group().extensions == ()


# Policies of one's own.


@dataclass(frozen=True)
class Recorder(AllowEverything):
    """Writes down what it is asked, and refuses one action."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)
    refused: Sequence[Action] = ()

    def authorize(self, actor: Party, action: Action, target: Target) -> None:
        self.asked.append((actor.relation, action, str(target)))
        if action in self.refused:
            raise Refused("not today")


@pytest.mark.rfc("S-roles")
def test_a_policy_is_asked_about_everything() -> None:
    world = World(**OPEN)
    policy = Recorder()
    alice = world.client("alice", roles=policy).create_group()
    (bob,) = world.add(alice, world.client("bob"))
    world.clients["bob"].add_psk(b"psk", bytes(32))
    world.clients["alice"].add_psk(b"psk", bytes(32))
    policy.asked.clear()
    for intent in (Update(), PreSharedKey(b"psk"), GroupContextExtensions(())):
        world.deliver(bob.propose(intent).message, alice)
    world.deliver(world.client("dora").propose_external_add(alice.group_id, alice.epoch), alice)
    assert policy.asked == [
        ("member", "update", "member b'bob' at leaf 1"),
        ("member", "inject a PSK into", "the group"),
        ("member", "change the extensions of", "the group"),
        ("outsider", "add", "outsider b'dora'"),
    ]
    policy.asked.clear()
    message = bob.commit([Remove(0)], include=()).message
    alice.receive(message)
    assert policy.asked == [
        ("member", "remove", "member b'alice' at leaf 0"),
        ("member", "commit to", "member b'bob' at leaf 1"),
    ]


@pytest.mark.rfc("S-roles")
@pytest.mark.parametrize("action", [Action.COMMIT, Action.UPDATE, Action.JOIN, Action.RETURN, Action.INJECT_PSK])
def test_a_refusal_names_who_and_what(action: Action) -> None:
    world = World(**OPEN)
    alice = world.client("alice").create_group()
    (bob,) = world.add(alice, world.client("bob"))
    info, back = alice.group_info(), world.clients["bob"]
    for client in (back, world.clients["alice"]):
        client.add_psk(b"psk", bytes(32))
    said: dict[Action, tuple[str, Callable[[], bytes]]] = {
        Action.COMMIT: ("member b'bob'", lambda: bob.commit().message),
        Action.UPDATE: ("member b'bob'", lambda: bob.propose(Update()).message),
        Action.INJECT_PSK: ("member b'bob'", lambda: bob.propose(PreSharedKey(b"psk")).message),
        Action.JOIN: ("outsider b'dora'", lambda: world.client("dora").join_external(info).message),
        Action.RETURN: ("member b'bob'", lambda: back.join_external(info, resync=True).message),
    }
    name, say = said[action]
    message = say()
    world.clients["alice"]._roles = Recorder(refused=[action])
    refused = assert_refused(alice, message, Refused, "S-roles", Code.NOT_PERMITTED)
    assert refused.message.startswith(f"{name}")
    assert f" may not {action} " in refused.message
    assert refused.message.endswith(": not today")
    world.clients["alice"]._roles = Recorder()
    world.deliver(message, alice)
