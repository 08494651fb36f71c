"""What an application hands in by mistake is refused by name, and costs nothing; what it prints is short."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mls import (
    AcceptAnyone,
    Add,
    Client,
    Group,
    Identity,
    Invitation,
    MemoryStore,
    PreSharedKey,
    Remove,
    Settings,
    StagedCommit,
    TrustOnFirstUse,
    Update,
)
from mls.crypto import cipher_suite
from mls.errors import Code, UnavailableSecret, UsageError
from mls.identity.roles import Administrators
from mls.messages import BasicCredential
from mls.observer import PublicGroup
from mls.outsider import Outsider
from tests.support.world import NOW, World, records

SUITE = cipher_suite(1)

Mistake = Callable[[Client, Group, Any], object]

MISTAKES: dict[str, tuple[Mistake, str]] = {
    "psk id": (lambda client, _, text: client.add_psk(text, b"key"), "the id of a pre-shared key is bytes, not str"),
    "psk": (lambda client, _, text: client.add_psk(b"id", text), "a pre-shared key is bytes, not str"),
    "forgotten psk": (lambda client, _, text: client.forget_psk(text), "the id of a pre-shared key is bytes, not str"),
    "client": (
        lambda _, __, text: Client.create(MemoryStore(), text, policy=AcceptAnyone()),
        'a client takes an Identity, such as Identity.basic(b"alice"), not str',
    ),
    "further identity": (lambda client, _, text: client.add_identity(text), "a client takes an Identity"),
    "new group": (lambda client, _, text: client.create_group(text), "a group id is bytes, not str"),
    "group": (lambda client, _, text: client.group(text), "a group id is bytes, not str"),
    "receive": (lambda client, _, text: client.receive(text), "a message is bytes, not str"),
    "join": (lambda client, _, text: client.join(text), "a message is bytes, not str"),
    "tree": (
        lambda client, _, text: client.join(b"\0\1\0\3", text),
        "a ratchet tree is bytes, not str",
    ),
    "tree to join by": (
        lambda client, group, text: client.join_external(group.group_info(), text),
        "a ratchet tree is bytes, not str",
    ),
    "tree to follow": (
        lambda _, group, text: PublicGroup.follow(group.group_info(), text, policy=AcceptAnyone()),
        "a ratchet tree is bytes, not str",
    ),
    "group's receive": (lambda _, group, text: group.receive(text), "a message is bytes, not str"),
    "injected psk": (
        lambda _, group, text: group.commit([PreSharedKey(text)]),
        "the id of a pre-shared key is bytes, not str",
    ),
    "export": (lambda _, group, text: group.export_secret("label", text, 16), "the context of an export is bytes"),
    "removal": (lambda _, group, text: group.commit([Remove(text)]), "Remove takes a Member"),
    "proposed removal": (lambda _, group, text: group.propose(Remove(text)), "Remove takes a Member"),
    "key package": (lambda _, group, text: group.commit([Add(text)]), "a key package is bytes, not str"),
    "key package that was not made": (
        lambda client, group, _: group.propose(Add(client.key_package)),  # type: ignore[arg-type]  # the mistake
        "a key package is bytes, not method",
    ),
    "one intent": (lambda client, group, _: group.commit(bare(Add(client.key_package()))), "such as [Add(...)]"),
    "no intent": (lambda _, group, text: group.commit([text]), "a str is not something"),
    "own update": (
        lambda _, group, __: group.commit([Remove(7), Update()]),
        "a commit renews its committer's leaf by its path: leave Update out, or say commit(leaf=NewLeaf(...))",
    ),
    "outsider": (
        lambda _, __, text: Outsider(text),
        'an external sender takes an Identity, such as Identity.basic(b"alice"), not str',
    ),
    "outsider without a key": (
        lambda _, __, text: Outsider(Identity.basic(text.encode())),
        "an external sender brings its signature key: Identity.basic(name, signature_key=...)",
    ),
}


def bare(intent: Add) -> Any:  # noqa: ANN401  (what a program without types may pass)
    return intent


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistaken_type_is_refused_by_name(name: str) -> None:
    world = World()
    (group,) = world.group(1)
    client = world.clients["member-0"]
    mistake, message = MISTAKES[name]
    before = group.fingerprint()
    with pytest.raises(UsageError) as caught:
        mistake(client, group, "text")
    assert message in caught.value.message
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert group.fingerprint() == before


NO_POLICY = "policy is a credential policy such as TrustOnFirstUse(), not"
WRONG_PARTS: list[tuple[str, object, str]] = [
    ("store", MemoryStore, "store is a store such as MemoryStore(), not the class MemoryStore"),
    ("store", {}, "store is a store such as MemoryStore(), not dict"),
    ("store", "clients.db", "store is a store such as MemoryStore(), not str"),
    (
        "policy",
        TrustOnFirstUse,
        f"{NO_POLICY} the class TrustOnFirstUse",
    ),
    ("policy", None, f"{NO_POLICY} NoneType"),
    ("policy", Administrators(), f"{NO_POLICY} Administrators"),
    ("roles", Administrators, "roles is a role policy such as Administrators(), not the class Administrators"),
    ("roles", None, "roles is a role policy such as Administrators(), not NoneType"),
    ("settings", Settings, "settings is a Settings such as Settings.strict(), not the class Settings"),
    ("settings", {"max_leaves": 8}, "settings is a Settings such as Settings.strict(), not dict"),
    ("registry", (), "registry is a Registry, not tuple"),
    ("clock", 1.8e9, "clock is a function such as time.time, not float"),
    ("entropy", b"seed", "entropy is a function such as os.urandom, not bytes"),
]


def parts_but(*names: str) -> list[tuple[str, object, str]]:
    return [(name, part, message) for name, part, message in WRONG_PARTS if name not in names]


@pytest.mark.parametrize(("name", "part", "message"), WRONG_PARTS)
def test_a_client_is_made_of_what_can_do_its_part(name: str, part: Any, message: str) -> None:  # noqa: ANN401  (a mistake)
    store = MemoryStore()
    parts: dict[str, Any] = {"store": store, "policy": AcceptAnyone()}
    makers: tuple[Callable[..., Client], ...] = (partial(Client.create, identity=Identity.basic(b"alice")), Client.open)
    for make in makers:
        with pytest.raises(UsageError) as caught:
            make(**{**parts, name: part})
        assert (caught.value.message, caught.value.code) == (message, Code.INVALID_ARGUMENT)
        assert records(store) == {}
    for make in makers:
        assert make(**parts).identity == b"alice"


@pytest.mark.parametrize(("name", "part", "message"), parts_but("store", "entropy"))
def test_an_observer_is_made_of_what_can_do_its_part(name: str, part: Any, message: str) -> None:  # noqa: ANN401  (a mistake)
    world = World()
    (group,) = world.group(1)
    parts: dict[str, Any] = {"policy": AcceptAnyone(), "clock": lambda: NOW}
    with pytest.raises(UsageError) as caught:
        PublicGroup.follow(group.group_info(), **{**parts, name: part})
    assert caught.value.message == message
    assert PublicGroup.follow(group.group_info(), **parts).epoch == group.epoch


@pytest.mark.parametrize(("name", "part", "message"), parts_but("store", "policy", "roles", "registry", "clock"))
def test_an_outsider_is_made_of_what_can_do_its_part(name: str, part: Any, message: str) -> None:  # noqa: ANN401  (a mistake)
    key = SUITE.generate_signature_key_pair(os.urandom).private
    identity = Identity.basic(b"server", signature_key=key)
    with pytest.raises(UsageError) as caught:
        Outsider(identity, **{name: part})
    assert caught.value.message == message
    assert Outsider(identity).entry.credential == BasicCredential(b"server")


def test_the_welcome_of_a_commit_that_adds_nobody_is_no_message() -> None:
    world = World()
    (group,) = world.group(1)
    nothing: Any = group.commit().welcome
    before = records(world.stores["member-0"])
    for receive in (world.clients["member-0"].receive, world.clients["member-0"].join, group.receive):
        with pytest.raises(UsageError, match="a message is bytes, not NoneType"):
            receive(nothing)
    assert records(world.stores["member-0"]) == before


def test_messages_may_come_in_any_kind_of_octets() -> None:
    alice, bob = World().group(2)
    octets: Any = bytearray(alice.encrypt(b"hello"))
    assert bob.receive(octets) is not None


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
def test_trees_may_come_in_any_kind_of_octets_and_are_copied(kind: Any) -> None:  # noqa: ANN401  (of octets)
    world = World(external_commits=True)
    (alice,) = world.group(1)
    bob, tree = world.client("bob"), kind(alice.ratchet_tree)
    observer = PublicGroup.follow(alice.group_info(ratchet_tree=False), tree, policy=AcceptAnyone(), clock=lambda: NOW)
    entry = bob.join_external(alice.group_info(ratchet_tree=False), tree)
    pending = alice.commit([Add(bob.key_package())], tree="beside")
    beside = kind(pending.ratchet_tree)
    invitation = bob.join(pending.welcome or b"", beside)
    tree[:], beside[:] = bytes(len(tree)), bytes(len(beside))
    assert observer.ratchet_tree == alice.ratchet_tree
    alice.merge(pending)
    world.agree(alice, invitation.accept())
    assert [member.identity for member in entry.members] == [b"member-0", b"bob"]


def test_members_are_removed_as_members_or_by_index() -> None:
    alice, bob, carol = World().group(3)
    assert alice.commit([Remove(bob.me), Remove(carol.me.leaf)]).effect.removed == (bob.me, carol.me)


def test_a_retired_group_says_so_and_exports_nothing() -> None:
    alice, bob = World().group(2)
    assert bob.export_secret("label", b"", 16).expose() == alice.export_secret("label", b"", 16).expose()
    staged = bob.receive(alice.commit([Remove(bob.me)]).message)
    assert isinstance(staged, StagedCommit)
    bob.merge(staged)
    assert "retired" in repr(bob)
    assert "retired" not in repr(alice)
    for attempt in (lambda: bob.export_secret("label", b"", 16), bob.group_info):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code is Code.GROUP_RETIRED


def test_a_commit_of_others_is_not_discarded_but_left() -> None:
    alice, bob = World().group(2)
    pending = alice.commit()
    staged: Any = bob.receive(pending.message)
    with pytest.raises(UsageError, match="no own commit that is pending") as caught:
        bob.discard(staged)
    assert caught.value.code is Code.STALE_HANDLE
    bob.merge(staged)
    alice.discard(pending)
    assert alice.pending == ()


def test_an_absent_key_is_named() -> None:
    world = World()
    alice, bob = world.group(2)
    world.clients["member-0"].add_psk(b"office", b"k" * 32)
    for refused in (
        lambda: bob.commit([PreSharedKey(b"office")]),
        lambda: bob.receive(alice.commit([PreSharedKey(b"office")]).message),
    ):
        with pytest.raises(UnavailableSecret, match="b'office'"):
            refused()


def test_a_lifetime_out_of_bounds_names_the_bound() -> None:
    world = World(max_lifetime=100)
    client = world.client("alice")
    client.key_package(lifetime=100)
    with pytest.raises(UsageError, match="max_lifetime is 100 s"):
        client.key_package(lifetime=101)


def test_what_is_printed_is_short() -> None:
    world = World()
    (alice,) = world.group(1)
    bob = world.client("bob")
    commit = alice.commit([Add(bob.key_package())])
    assert "message=" not in repr(commit)
    assert "welcome=" not in repr(commit)
    assert repr(alice.me) == "Member(leaf=0, identity=b'member-0')"
    assert commit.welcome is not None
    assert isinstance(bob.receive(commit.welcome), Invitation)
