"""Credentials: their encoding, and everything that is put to the Authentication Service. RFC 9420 §5.3."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType

import pytest

from mls import AcceptAnyone, ApplicationMessage, Client, Extension, TrustOnFirstUse, intents
from mls.epoch.effect import Effect
from mls.epoch.join import join_by_external_commit
from mls.errors import Code, InvalidLeafNode, InvalidProposalList, MalformedMessage, Refused
from mls.events import StagedCommit
from mls.group import Group
from mls.identity import Place, Subject
from mls.messages import (
    Add,
    ApplicationID,
    BasicCredential,
    Certificate,
    Credential,
    CredentialType,
    ExtensionType,
    ExternalSender,
    ExternalSenders,
    GroupContextExtensions,
    GroupInfo,
    MLSMessage,
    Update,
    X509Credential,
)
from tests.adversarial.insider import assert_refused, refusal
from tests.support.asking import Spy, Watched, assert_policy_refuses, watched_group
from tests.support.crafting import UPDATE, Forger, crafted_package, message_of, package_of
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.wire import decode, encode, encode_as

BASIC, X509 = CredentialType.BASIC, CredentialType.X509


@pytest.fixture
def watched() -> Watched:
    return watched_group()


# Encoding.


@pytest.mark.rfc("R-5.3-01")
@pytest.mark.parametrize(
    ("credential", "encoded"),
    [
        (BasicCredential(b"me"), b"\x00\x01\x02me"),
        (X509Credential((Certificate(b"ee"), Certificate(b"ca"))), b"\x00\x02\x06\x02ee\x02ca"),
    ],
)
def test_a_credential_is_its_type_then_its_body(credential: Credential, encoded: bytes) -> None:
    assert encode_as(Credential, credential) == encoded
    assert decode(Credential, encoded) == credential


@pytest.mark.rfc("R-5.3-02")
def test_an_unknown_credential_type_spoils_what_contains_it(watched: Watched) -> None:
    message = watched.world.client("dave").key_package()
    name = encode_as(Credential, BasicCredential(b"dave"))
    assert message.count(name) == 1
    strange = message.replace(name, b"\x77\x77" + name[2:])
    with pytest.raises(MalformedMessage) as caught:
        watched.bob.commit([intents.Add(strange)])
    assert (caught.value.rule, caught.value.code) == ("R-2.1-13", Code.UNKNOWN_ENUM)
    assert "credential" in caught.value.where


@pytest.mark.rfc("R-5.3-03", "R-5.3-07")
def test_a_basic_identity_is_opaque_and_can_be_read(watched: Watched) -> None:
    odd = bytes(range(256))
    client = watched.world.client("dave")
    package = crafted_package(client, leaf={"credential": BasicCredential(odd)})
    watched.world.commit(watched.groups[0], [intents.Add(message_of(package))], *watched.groups[1:])
    assert [member.identity for member in watched.bob.members] == [b"alice", b"bob", b"carol", odd]


# What the Authentication Service is asked, §5.3.1.


@pytest.mark.rfc("R-5.3.1-01", "R-5.3.1-02", "N-L09")
def test_the_policy_is_asked_before_an_add_is_created(watched: Watched) -> None:
    package = watched.world.client("dave").key_package()
    watched.spy.refused = {b"dave"}
    before, stored = watched.bob.fingerprint(), records(watched.bob._store)
    for attempt in (watched.bob.propose, lambda intent: watched.bob.commit([intent])):
        with pytest.raises(Refused) as caught:
            attempt(intents.Add(package))
        assert caught.value.rule == "S-policy"
    assert (watched.bob.fingerprint(), records(watched.bob._store)) == (before, stored)

    watched.spy.refused = set()
    watched.bob.commit([intents.Add(package)])
    assert (Place.ADD, b"dave") in watched.spy.events()


@pytest.mark.rfc("R-5.3.1-03")
@pytest.mark.parametrize("by", ["welcome", "external commit"])
def test_a_joiner_asks_about_every_member(watched: Watched, by: str) -> None:
    alice = watched.groups[0]
    spy = Spy({b"carol"}, Place.JOIN)
    dave = watched.world.client("dave", policy=spy)
    offer = _offer(dave, alice, watched.world, by)
    before = records(dave._store)
    with pytest.raises(Refused) as caught:
        offer()
    assert caught.value.rule == "S-policy"
    assert records(dave._store) == before

    spy.refused = set()
    offer()
    assert {(Place.JOIN, name) for name in (b"alice", b"bob", b"carol")} <= spy.events()


def _offer(dave: Client, alice: Group, world: World, by: str) -> Callable[[], object]:
    if by == "welcome":
        pending = world.commit(alice, [intents.Add(dave.key_package())])
        return lambda: dave.receive(pending.welcome or b"")
    body = decode(MLSMessage, alice.group_info()).body
    assert isinstance(body, GroupInfo)
    leaf = Forger(world, alice).content(credential=BasicCredential(b"dave"), signature_keys=dave._signature_keys)
    return lambda: join_by_external_commit(body, None, leaf, dave._environment())


@pytest.mark.rfc("R-5.3.1-04")
@pytest.mark.parametrize("by_value", [True, False])
def test_a_receiver_asks_about_who_is_added(watched: Watched, by_value: bool) -> None:
    alice = Forger(watched.world, watched.groups[0])
    add = Add(package_of(watched.world.client("dave").key_package()))
    sent = alice.send(add)
    watched.spy.refused = {b"dave"}
    if by_value:
        message = alice.honest(add)
        assert_policy_refuses(watched.bob, message)
    else:
        assert_policy_refuses(watched.bob, sent.message)
        watched.spy.refused = set()
        watched.bob.receive(sent.message)
        watched.spy.refused = {b"dave"}
        message = alice.honest(sent)
        assert_policy_refuses(watched.bob, message)
    watched.spy.refused = set()
    assert isinstance(watched.bob.receive(message), StagedCommit)
    assert (Place.ADD, b"dave") in watched.spy.events()


@pytest.mark.rfc("R-5.3.1-05", "R-5.3.1-08")
def test_a_receiver_asks_about_a_credential_that_an_update_changes(watched: Watched) -> None:
    carol = Forger(watched.world, watched.groups[2])
    unchanged = carol.send(Update(carol.leaf_node(UPDATE)))
    watched.bob.receive(unchanged.message)
    assert watched.spy.asked == []

    changed = carol.send(Update(carol.leaf_node(UPDATE, credential=BasicCredential(b"caroline"))))
    watched.spy.refused = {b"caroline"}
    assert_policy_refuses(watched.bob, changed.message)
    watched.spy.refused = set()
    watched.bob.receive(changed.message)
    assert watched.spy.events() == {(Place.UPDATE, b"caroline")}
    assert watched.spy.asked[-1][1].replaces == BasicCredential(b"carol")
    watched.spy.refused = {b"caroline"}
    watched.groups[0].receive(changed.message)
    covering = Forger(watched.world, watched.groups[0]).honest(changed)
    assert_policy_refuses(watched.bob, covering)


@pytest.mark.rfc("R-5.3.1-06", "R-5.3.1-08", "R-7.5-04")
def test_a_receiver_asks_about_a_credential_that_a_path_changes(watched: Watched) -> None:
    carol = Forger(watched.world, watched.groups[2])
    message = carol.honest(leaf=carol.content(credential=BasicCredential(b"caroline")))
    watched.spy.refused = {b"caroline"}
    assert_policy_refuses(watched.bob, message)
    watched.spy.refused = set()
    staged = watched.bob.receive(message)
    assert watched.spy.events() == {(Place.COMMIT, b"caroline")}
    assert watched.spy.asked[-1][1].replaces == BasicCredential(b"carol")
    assert isinstance(staged, StagedCommit)
    ((old, new),) = staged.effect.updated
    assert (old.identity, new.identity) == (b"carol", b"caroline")

    watched.spy.asked.clear()
    watched.bob.receive(carol.honest())
    assert watched.spy.asked == []


@pytest.mark.rfc("R-5.3.1-06", "R-12.4-03")
def test_a_committer_puts_its_own_new_credential_to_its_policy(watched: Watched) -> None:
    bob = Forger(watched.world, watched.bob)
    bob.group = watched.world.open("bob", bob.group._store, policy=watched.spy).group(bob.group.group_id)
    watched.spy.refused = {b"robert"}
    with pytest.raises(Refused) as caught:
        bob.order(leaf=bob.content(credential=BasicCredential(b"robert")))
    assert caught.value.rule == "S-policy"
    watched.spy.refused = set()
    created = bob.order(leaf=bob.content(credential=BasicCredential(b"robert")))
    assert created.transition.effect.committer is not None
    assert created.transition.effect.committer.identity == b"robert"


@pytest.mark.rfc("R-5.3.1-07", "R-12.1.8.1-02")
def test_a_receiver_asks_about_external_senders_that_are_new(watched: Watched) -> None:
    alice, key = Forger(watched.world, watched.groups[0]), watched.bob.me.signature_key
    senders = [ExternalSender(key, BasicCredential(b"server"))]
    watched.spy.refused = {b"server"}
    message = alice.honest(GroupContextExtensions((_senders(*senders),)))
    assert_policy_refuses(watched.bob, message)
    watched.spy.refused = set()
    watched.bob.merge(_staged(watched.bob, message))
    assert watched.spy.events() == {(Place.EXTERNAL_SENDER, b"server")}


def _senders(*senders: ExternalSender) -> Extension:
    return Extension(ExtensionType.EXTERNAL_SENDERS, encode(ExternalSenders(senders)))


def _staged(group: Group, message: bytes) -> StagedCommit:
    staged = group.receive(message)
    assert isinstance(staged, StagedCommit)
    return staged


@pytest.mark.rfc("R-5.3.1-07")
def test_only_changed_external_senders_are_asked_about(watched: Watched) -> None:
    alice, bob = watched.groups[0], watched.bob
    first = ExternalSender(bob.me.signature_key, BasicCredential(b"server"))
    second = ExternalSender(alice.me.signature_key, BasicCredential(b"other"))
    watched.world.commit(alice, [intents.GroupContextExtensions((_senders(first),))], *watched.groups[1:])
    watched.spy.asked.clear()
    watched.world.commit(alice, [intents.GroupContextExtensions((_senders(first, second),))], *watched.groups[1:])
    assert watched.spy.events() == {(Place.EXTERNAL_SENDER, b"other")}


def test_external_senders_are_told_apart_in_proportion_to_their_number() -> None:
    """A list of a megabyte holds tens of thousands, and a member may replace it by another."""
    compared = Counter[int]()

    def count(frame: FrameType, event: str, _: object) -> None:
        compared[n] += event == "call" and frame.f_code is ExternalSender.__eq__.__code__

    for n in (10, 40):
        world = World()
        alice, bob = world.group(2)
        key = alice.me.signature_key
        before, after = ([ExternalSender(key, BasicCredential(b"%d/%d" % (i, j))) for j in range(n)] for i in range(2))
        world.commit(alice, [intents.GroupContextExtensions((_senders(*before),))], bob)
        pending = alice.commit([intents.GroupContextExtensions((_senders(*after, *before),))])
        sys.setprofile(count)
        try:
            bob.receive(pending.message)
        finally:
            sys.setprofile(None)
    assert n <= compared[n] <= 8 * compared[10]


@pytest.mark.rfc("R-5.3.1-03", "R-5.3.1-07")
def test_a_joiner_asks_about_external_senders(watched: Watched) -> None:
    alice = watched.groups[0]
    sender = ExternalSender(alice.me.signature_key, BasicCredential(b"server"))
    watched.world.commit(alice, [intents.GroupContextExtensions((_senders(sender),))])
    spy = Spy({b"server"})
    dave = watched.world.client("dave", policy=spy)
    pending = watched.world.commit(alice, [intents.Add(dave.key_package())])
    with pytest.raises(Refused) as caught:
        dave.receive(pending.welcome or b"")
    assert caught.value.rule == "S-policy"
    spy.refused = set()
    dave.receive(pending.welcome or b"")
    assert (Place.EXTERNAL_SENDER, b"server") in spy.events()


# Trust on first use.


def _trusting(new_devices: bool) -> tuple[World, list[Group]]:
    world = World()
    alice = world.client("alice", policy=TrustOnFirstUse(new_devices=new_devices)).create_group()
    return world, [alice, *world.add(alice, world.client("bob"), world.client("carol"))]


@pytest.mark.rfc("R-5.3.1-01", "S-new_devices")
def test_a_second_device_is_reported_or_refused() -> None:
    for new_devices in (True, False):
        world, (alice, bob, _) = _trusting(new_devices)
        second = crafted_package(world.client("second"), leaf={"credential": BasicCredential(b"carol")})
        adding = world.commit(bob, [intents.Add(message_of(second))])
        if new_devices:
            effect: Effect = _staged(alice, adding.message).effect
            assert [member.identity for member in effect.new_devices] == [b"carol"]
            assert effect.new_devices == effect.added
        else:
            assert_refused(alice, adding.message, Refused, "S-new_devices", Code.CREDENTIAL_REFUSED)


@pytest.mark.rfc("R-5.3.1-01")
def test_a_first_device_is_trusted_and_its_key_is_known_from_then_on() -> None:
    world, (alice, bob, carol) = _trusting(new_devices=False)
    dave = world.client("dave")
    adding = world.commit(bob, [intents.Add(dave.key_package())], alice, carol)
    assert adding.effect.new_devices == ()
    # Removed and added again by the same key.
    world.commit(bob, [intents.Remove(3)], alice, carol)
    world.commit(bob, [intents.Add(dave.key_package())], alice, carol)
    world.agree(alice, bob, carol)


@pytest.mark.rfc("R-5.3.1-08", "N-L09")
def test_a_leaf_does_not_pass_to_another_identity() -> None:
    world, (alice, _, carol) = _trusting(new_devices=True)
    forger = Forger(world, carol)
    renamed = BasicCredential(b"mallory")
    refused = (Refused, "R-5.3.1-08", Code.CREDENTIAL_CHANGED)
    assert_refused(alice, forger.honest(leaf=forger.content(credential=renamed)), *refused)
    assert_refused(alice, forger.send(Update(forger.leaf_node(UPDATE, credential=renamed))).message, *refused)
    assert isinstance(alice.receive(forger.honest()), StagedCommit)


@pytest.mark.rfc("R-5.3.1-08", "R-12.2-19", "N-E04", "R-12.4.3.2-12")
def test_a_policy_has_a_say_in_who_replaces_a_leaf_from_outside(watched: Watched) -> None:
    alice = watched.groups[0]
    body = decode(MLSMessage, alice.group_info()).body
    assert isinstance(body, GroupInfo)
    carol = Forger(watched.world, watched.groups[2])
    leaf = carol.content(signature_keys=carol.new_signature_keys())
    joined = join_by_external_commit(body, None, leaf, carol.env, replaces=LeafIndex(2))
    watched.spy.refused = {b"carol"}
    assert_policy_refuses(watched.bob, encode(joined.message))
    watched.spy.refused = set()
    staged = _staged(watched.bob, encode(joined.message))
    place, subject = watched.spy.asked[-1]
    assert (place, subject.replaces) == (Place.EXTERNAL_JOIN, BasicCredential(b"carol"))
    assert [member.leaf for member in staged.effect.removed] == [2]


# Expiry, §5.3.2.


@pytest.mark.rfc("R-5.3.2-02", "R-5.3.2-05")
def test_a_member_replaces_a_credential_that_the_policy_would_no_longer_accept(watched: Watched) -> None:
    watched.spy.refused = {b"carol"}  # expired
    carol = Forger(watched.world, watched.groups[2])
    message = carol.honest(leaf=carol.content(credential=BasicCredential(b"carol, renewed")))
    assert isinstance(watched.bob.receive(message), StagedCommit)
    update = carol.send(Update(carol.leaf_node(UPDATE, credential=BasicCredential(b"carol, renewed"))))
    watched.bob.receive(update.message)
    assert len(watched.bob.proposals) == 1


@pytest.mark.rfc("R-5.3.2-03", "R-5.3.2-04")
def test_what_was_said_before_a_credential_expired_is_still_read(watched: Watched) -> None:
    alice, bob, carol = watched.groups
    message = carol.encrypt(b"hello")
    watched.spy.refused = {b"carol"}
    watched.world.now += 10**9
    assert watched.world.deliver(message, bob)[0].data == b"hello"  # type: ignore[union-attr]  # an application message
    watched.world.commit(bob, [intents.Remove(2)], alice)
    assert [member.identity for member in alice.members] == [b"alice", b"bob"]


# Identifying clients, §5.3.3.


@pytest.mark.rfc("R-5.3.3-01")
def test_a_leaf_index_says_nothing_about_another_epoch(watched: Watched) -> None:
    alice, bob, carol = watched.groups
    before, late = bob.me, bob.encrypt(b"late")
    watched.world.commit(alice, [intents.Remove(1)], carol)
    (dave,) = watched.world.add(alice, watched.world.client("dave"), others=[carol])
    assert dave.me.leaf == before.leaf == 1
    assert dave.me != before
    watched.world.agree(alice, carol, dave)
    heard = alice.receive(late)
    assert isinstance(heard, ApplicationMessage)
    assert heard.sender == before


@pytest.mark.rfc("R-5.3.3-02", "R-5.3.3-04", "R-7.2-07")
def test_application_ids_may_repeat_and_stand_in_leaves_only(watched: Watched) -> None:
    body = encode(ApplicationID(b"phone"))
    assert body == b"\x05phone"
    shared = Extension(ExtensionType.APPLICATION_ID, body)
    packages = [
        crafted_package(watched.world.client(name), leaf={"extensions": (shared,)}) for name in ("dave", "erin")
    ]
    watched.world.commit(watched.groups[0], [intents.Add(message_of(each)) for each in packages], *watched.groups[1:])
    assert len(watched.bob.members) == 5

    twice = crafted_package(watched.world.client("frank"), leaf={"extensions": (shared, shared)})
    forger = Forger(watched.world, watched.groups[0])
    refused = refusal(watched.bob, forger.commit(Add(twice)))
    assert (type(refused), refused.rule, refused.code) == (InvalidLeafNode, "R-13.4-05", Code.DUPLICATE_EXTENSION)


@pytest.mark.rfc("R-12.2-07", "R-12.2-16")
def test_the_policy_says_what_one_client_is() -> None:
    class OnePerName(AcceptAnyone):
        def same_client(self, one: Subject, other: Subject) -> bool:
            del one, other
            return True

    world = World()
    alice = world.client("alice", policy=OnePerName()).create_group()
    first, second = (
        message_of(crafted_package(world.client(name), leaf={"credential": BasicCredential(b"bob")}))
        for name in ("phone", "desk")
    )
    with pytest.raises(InvalidProposalList) as caught:
        alice.commit([intents.Add(first), intents.Add(second)])
    assert caught.value.rule == "R-12.2-07"
    alice.merge(alice.commit([intents.Add(first)]))
    with pytest.raises(InvalidProposalList) as caught:
        alice.commit([intents.Add(second)])
    assert caught.value.rule == "R-12.2-08"
    alice.merge(alice.commit([intents.Remove(1), intents.Add(second)]))
    assert [member.identity for member in alice.members] == [b"alice", b"bob"]
