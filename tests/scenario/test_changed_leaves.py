"""Members change what their leaves say: signature keys, credentials, extensions, capabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cbor2
import pytest

from mls import AcceptAnyone, Extension, Group, NewLeaf, Remove, StagedCommit, TrustOnFirstUse, Update
from mls.crypto import SignaturePrivateKey, cipher_suite
from mls.errors import Code, InvalidKey, InvalidLeafNode, InvalidSignature, Refused, UnavailableSecret, UsageError
from mls.extensions import application_id
from mls.intents import Add
from mls.messages import ApplicationData, BasicCredential, Commit, LeafNode, ProposalContent
from mls.messages import Remove as WireRemove
from tests.adversarial.insider import PRIVATE, PUBLIC, Insider, assert_refused, refusal
from tests.support.live import reachable_bytes
from tests.support.world import World, join, records
from treekem.index import LeafIndex

FRAMES = pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
RESTARTS = pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
SUITES = pytest.mark.parametrize("suite", [1, 2])
ROTATED = NewLeaf(rotate_signature_key=True)
FORGED = ("R-6.1-13", Code.BAD_SIGNATURE)


def signature_key(group: Group) -> SignaturePrivateKey:
    return group._standing.state.own.signature_key


def leaf_of(group: Group, member: Group) -> LeafNode:
    leaf = group._standing.state.group.leaf_node(member.me.leaf)
    assert leaf is not None
    return leaf


def assert_all_speak(world: World, *groups: Group) -> None:
    """Assert that everybody reads, follows and believes everybody."""
    world.agree(*groups)
    for speaker in groups:
        others = [group for group in groups if group is not speaker]
        said = world.deliver(speaker.encrypt(b"hello"), *others)
        assert [getattr(event, "sender", None) for event in said] == [speaker.me] * len(others)
        world.deliver(speaker.propose(Update()).message, *others)
        world.commit(others[0], (), *(group for group in groups if group is not others[0]))
        world.commit(speaker, (), *others)
        world.agree(*groups)


def said_with(key: SignaturePrivateKey, world: World, group: Group) -> bytes:
    """Return application data that a member says in its present epoch, signed with a key of any epoch."""
    insider = Insider(world, group)
    framed = insider.framed(ApplicationData(b"as before"))
    return insider.private(insider.signed(framed, PRIVATE, key=key))


def proposed_with(key: SignaturePrivateKey, world: World, group: Group) -> bytes:
    """Return a public proposal of a member, signed with a key of any epoch."""
    insider = Insider(world, group)
    content = ProposalContent(WireRemove(LeafIndex(0)))
    return insider.public(insider.signed(insider.framed(content), PUBLIC, key=key))


# Signature keys.


@pytest.mark.rfc("R-7.5-04", "R-6.1-08", "R-6.1-16", "R-12.4.1-13")
@SUITES
@FRAMES
@RESTARTS
def test_a_commit_rotates_the_signature_key_and_adds_somebody(suite: int, private: bool, restarts: bool) -> None:
    world = World(suite, private_handshakes=private)
    alice, bob, carol = world.group(3)
    before, old, kept = bob.me.signature_key, signature_key(bob), signature_key(bob).copy()
    dave = world.client("dave")
    pending = bob.commit([Add(dave.key_package())], leaf=ROTATED)
    assert bob.me.signature_key == before
    if restarts:
        bob = world.restart(bob)
        old = signature_key(bob)
    world.deliver(pending.message, alice, bob, carol)
    daves = join(dave, pending)
    ((was, now),) = pending.effect.updated
    assert (was.signature_key, now) == (before, bob.me)
    assert bob.me.signature_key != before
    assert old.is_wiped
    assert kept.expose() not in reachable_bytes(bob._standing)
    for speak in (said_with, proposed_with):
        assert_refused([alice, carol, daves], speak(kept, world, bob), InvalidSignature, *FORGED)
    genuine = said_with(signature_key(bob), world, bob)
    assert [getattr(event, "data", None) for event in world.deliver(genuine, alice, carol, daves)] == [b"as before"] * 3
    bob.encrypt(b"the generation that was used")
    assert_all_speak(world, alice, world.restart(bob), carol, daves)


@pytest.mark.rfc("R-6.1-08")
@SUITES
def test_a_commit_that_changes_the_signature_key_is_signed_with_the_old_one(suite: int) -> None:
    world = World(suite, private_handshakes=False)
    alice, bob, carol = world.group(3)
    pending = bob.commit(leaf=ROTATED)
    (state,) = (each.transition.state for each in bob._standing.candidates.values())
    assert state is not None
    insider, genuine = Insider(world, bob), Insider(world, alice).read(pending.message)
    assert isinstance(genuine.content.content, Commit)
    tag = genuine.auth.confirmation_tag or b""
    forged = insider.public(insider.signed(genuine.content, tag=tag, key=state.own.signature_key))
    assert_refused([alice, carol], forged, InvalidSignature, *FORGED)
    world.deliver(pending.message, alice, bob, carol)
    assert_all_speak(world, alice, bob, carol)


@pytest.mark.rfc("R-12.1.2-05", "R-12.4.2-22")
@SUITES
@FRAMES
@RESTARTS
def test_an_update_rotates_the_signature_key_once_it_is_covered(suite: int, private: bool, restarts: bool) -> None:
    world = World(suite, private_handshakes=private)
    alice, bob, carol = world.group(3)
    before, kept = bob.me.signature_key, signature_key(bob).copy()
    updates = [bob.propose(Update(ROTATED)), bob.propose(Update(ROTATED)), bob.propose(Update())]
    for update in updates:
        world.deliver(update.message, alice, carol)
    if restarts:
        bob = world.restart(bob)
    old, waiting = signature_key(bob), [each.signature_key for each in bob._standing.proposals.values()]
    # Until then the old key signs.
    world.deliver(bob.propose(Remove(carol.me)).message, alice, carol)
    assert bob.me.signature_key == before
    pending = world.commit(alice, (), bob, carol, include=[updates[1].ref])
    ((_, now),) = [pair for pair in pending.effect.updated if pair[1].leaf == bob.me.leaf]
    assert now.signature_key == bob.me.signature_key != before
    assert old.is_wiped
    assert signature_key(bob) is waiting[1]
    assert [key is None or key.is_wiped for key in waiting] == [True, False, True]
    assert kept.expose() not in reachable_bytes(bob._standing)
    for speak in (said_with, proposed_with):
        assert_refused([alice, carol], speak(kept, world, bob), InvalidSignature, *FORGED)
    assert_all_speak(world, alice, world.restart(bob), carol)


@pytest.mark.rfc("R-12.1.2-06", "R-12.1.2-05", "R-16.6-04")
@FRAMES
@RESTARTS
@pytest.mark.parametrize("mine", [False, True], ids=["another's commit", "own commit"])
def test_an_update_that_is_not_covered_leaves_the_old_key(private: bool, restarts: bool, mine: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    before = bob.me.signature_key
    world.deliver(bob.propose(Update(ROTATED)).message, alice, carol)
    if restarts:
        bob = world.restart(bob)
    old, (waiting,) = signature_key(bob), (each.signature_key for each in bob._standing.proposals.values())
    assert waiting is not None
    new = waiting.expose()
    if mine:
        world.commit(bob, (), alice, carol)
    else:
        world.commit(alice, (), bob, carol, include=[])
    assert (bob.me.signature_key, signature_key(bob).expose()) == (before, old.expose())
    assert waiting.is_wiped
    assert new not in reachable_bytes(bob._standing)
    assert not any(new in record for record in records(world.stores["member-1"]).values())
    insider = SignaturePrivateKey(new)
    assert_refused([alice, carol], said_with(insider, world, bob), InvalidSignature, *FORGED)
    assert_all_speak(world, alice, world.restart(bob), carol)


@pytest.mark.rfc("R-12.1.2-06", "R-14-04")
@RESTARTS
def test_keys_of_commits_that_lose_or_are_discarded_are_wiped(restarts: bool) -> None:
    world = World()
    alice, bob = world.group(2)
    before = bob.me.signature_key
    bob.commit(leaf=ROTATED)
    discarded = bob.commit(leaf=ROTATED)
    if restarts:
        bob = world.restart(bob)
    states = [each.transition.state for each in bob._standing.candidates.values()]
    lost, refused = (state.own.signature_key for state in states if state is not None)
    bob.discard(discarded)
    assert (lost.is_wiped, refused.is_wiped, signature_key(bob).is_wiped) == (False, True, False)
    world.commit(alice, (), bob)
    assert (lost.is_wiped, signature_key(bob).is_wiped, bob.me.signature_key) == (True, False, before)
    assert_all_speak(world, alice, bob)


@pytest.mark.rfc("R-12.1.2-06", "R-12.4.2-19")
@pytest.mark.parametrize("forgets", [False, True], ids=["removed", "forgotten"])
def test_no_signature_key_outlives_the_group(forgets: bool) -> None:
    world = World()
    alice, bob = world.group(2)
    world.deliver(bob.propose(Update(ROTATED)).message, alice)
    keys = [signature_key(bob), *(each.signature_key for each in bob._standing.proposals.values())]
    assert [key is not None and key.is_wiped for key in keys] == [False, False]
    if forgets:
        bob.forget()
    else:
        world.commit(alice, [Remove(bob.me)], bob)
    assert bob.is_retired
    assert [key is not None and key.is_wiped for key in keys] == [True, True]


@pytest.mark.rfc("R-12.4.2-22")
def test_an_update_whose_signature_key_is_gone_is_not_followed() -> None:
    world = World()
    alice, bob = world.group(2)
    sent = bob.propose(Update(ROTATED))
    world.deliver(sent.message, alice)
    pending = alice.commit()
    whole = bob._standing.proposals[sent.ref]
    bob._standing.proposals[sent.ref] = replace(whole, signature_key=None)
    assert_refused(bob, pending.message, UnavailableSecret, "R-12.4.2-22", refusal(bob, pending.message).code)
    bob._standing.proposals[sent.ref] = whole
    world.deliver(pending.message, alice, bob)
    assert_all_speak(world, alice, bob)


@pytest.mark.rfc("R-7.5-04")
@SUITES
def test_a_key_that_is_given_and_that_of_the_client_stay_as_they_are(suite: int) -> None:
    world = World(suite)
    alice, bob = world.group(2)
    client = world.clients["member-1"]
    given = cipher_suite(suite).generate_signature_key_pair(world.entropy("given"))
    world.commit(bob, (), alice, leaf=NewLeaf(signature_key=given.private))
    assert bob.me.signature_key == given.public
    world.commit(bob, (), alice, leaf=ROTATED)
    assert bob.me.signature_key not in {given.public, client.signature_key}
    assert not given.private.is_wiped
    assert_all_speak(world, alice, bob)
    # The client goes on with its own key elsewhere.
    other = client.create_group()
    world.add(other, world.client("carol"))
    assert other.me.signature_key == client.signature_key
    bob.forget()
    world.commit(other)


def test_a_proposal_that_was_stored_before_signature_keys_could_change_is_read() -> None:
    world = World()
    alice, bob = world.group(2)
    world.deliver(bob.propose(Update()).message, alice)
    store = world.stores["member-1"]
    ((name, record),) = [each for each in records(store).items() if "/proposal/" in each[0]]
    *fields, last = cbor2.loads(record)
    assert last is None
    store.apply({name: cbor2.dumps(fields, canonical=True)})
    bob = world.restart(bob)
    world.commit(alice, (), bob)
    assert_all_speak(world, alice, bob)


# Credentials.


@pytest.mark.rfc("R-7.5-04", "R-5.3.1-06", "R-5.3.1-08", "R-16.10-01")
@FRAMES
def test_a_credential_changes_where_policies_agree(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    married = NewLeaf(credential=BasicCredential(b"bob the elder"), rotate_signature_key=True)
    pending = world.commit(bob, (), alice, carol, leaf=married)
    ((was, now),) = pending.effect.updated
    assert (was.identity, now.identity, bob.me) == (b"member-1", b"bob the elder", now)
    assert_all_speak(world, alice, bob, carol)
    world.deliver(bob.propose(Update(NewLeaf(credential=BasicCredential(b"bob")))).message, alice, carol)
    pending = carol.commit()
    for group in (carol, alice, bob):
        (event,) = world.deliver(pending.message, group)
        assert isinstance(event, StagedCommit)
        ((was, shown),) = event.effect.updated
        assert (was, shown) == (now, group.members[1])
    assert (bob.me.identity, bob.me.signature_key) == (b"bob", now.signature_key)
    assert_all_speak(world, alice, world.restart(bob), carol)


@pytest.mark.rfc("R-5.3.1-06", "R-5.3.1-08")
@FRAMES
def test_a_credential_does_not_change_where_a_policy_refuses(private: bool) -> None:
    world = World(private_handshakes=private)
    strict = TrustOnFirstUse()
    alice, bob = world.client("alice", policy=strict).create_group(), world.client("bob", policy=AcceptAnyone())
    (bobs,) = world.add(alice, bob)
    renamed = NewLeaf(credential=BasicCredential(b"alice"))
    refused = (Refused, "R-5.3.1-08", Code.CREDENTIAL_CHANGED)
    assert_refused(alice, bobs.propose(Update(renamed)).message, *refused)
    assert_refused(alice, bobs.commit(include=[], leaf=renamed).message, *refused)
    before = alice.fingerprint()
    other = NewLeaf(credential=BasicCredential(b"eve"))
    for attempt in (lambda: alice.commit(leaf=other), lambda: alice.propose(Update(other))):
        with pytest.raises(Refused) as caught:
            attempt()
        assert (caught.value.rule, caught.value.code) == refused[1:]
    assert (alice.fingerprint(), alice.pending, alice.proposals) == (before, (), ())
    # A new key of the same identity is another matter.
    world.commit(bobs, (), alice, include=[], leaf=ROTATED)
    world.agree(alice, bobs)


# Extensions and capabilities.


@pytest.mark.rfc("R-7.5-04", "R-7.3-10", "R-7.2-07")
@FRAMES
def test_extensions_and_capabilities_change_together(private: bool) -> None:
    world = World(private_handshakes=private, grease=False)
    alice, bob, carol = world.group(3)
    named = NewLeaf(extensions=(application_id(b"bob's laptop"),))
    world.commit(bob, (), alice, carol, leaf=named)
    assert leaf_of(alice, bob).extensions == named.extensions
    custom = (*leaf_of(bob, bob).extensions, Extension(0xF001, b"body"))
    with pytest.raises(InvalidLeafNode) as caught:
        bob.commit(leaf=NewLeaf(extensions=custom))
    assert (caught.value.rule, caught.value.code) == ("R-7.3-10", Code.UNSUPPORTED_CAPABILITY)
    capabilities = replace(leaf_of(bob, bob).capabilities, extensions=(0xF001,))
    described = bob.propose(Update(NewLeaf(capabilities=capabilities)))
    world.deliver(described.message, alice, carol)
    world.commit(alice, (), bob, carol)
    assert leaf_of(carol, bob).capabilities == capabilities
    world.commit(bob, (), alice, carol, leaf=NewLeaf(extensions=custom))
    # What was said stays said.
    world.commit(bob, (), alice, carol)
    assert (leaf_of(carol, bob).extensions, leaf_of(carol, bob).capabilities) == (custom, capabilities)
    assert bob.me.signature_key == world.clients["member-1"].signature_key
    world.commit(bob, (), alice, carol, leaf=NewLeaf(extensions=()))
    assert leaf_of(alice, bob).extensions == ()
    assert_all_speak(world, alice, bob, carol)


# Mistakes.


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("text", "a changed leaf is a NewLeaf, not str"),
        (NewLeaf(credential=b"bob"), "a NewLeaf's credential"),  # type: ignore[arg-type]  # the mistake that is tested
        (NewLeaf(signature_key=b"key"), "a NewLeaf's signature_key"),  # type: ignore[arg-type]  # likewise
        (NewLeaf(extensions=[]), "a NewLeaf's extensions"),  # type: ignore[arg-type]  # likewise
        (NewLeaf(capabilities=()), "a NewLeaf's capabilities"),  # type: ignore[arg-type]  # likewise
        (NewLeaf(signature_key=SignaturePrivateKey(bytes(32)), rotate_signature_key=True), "not both"),
    ],
)
def test_a_mistaken_leaf_is_refused_by_name(mistake: Any, message: str) -> None:  # noqa: ANN401  (any mistake)
    alice, _ = World().group(2)
    before = alice.fingerprint()
    for attempt in (lambda: alice.commit(leaf=mistake), lambda: alice.propose(Update(mistake))):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert message in caught.value.message
    assert alice.fingerprint() == before


def test_a_changed_leaf_needs_a_path_and_a_key_of_the_suite() -> None:
    alice, _ = World().group(2)
    before = alice.fingerprint()
    with pytest.raises(UsageError) as caught:
        alice.commit(leaf=ROTATED, path=False)
    assert caught.value.code is Code.PATH_REQUIRED
    with pytest.raises(InvalidKey):
        alice.commit(leaf=NewLeaf(signature_key=SignaturePrivateKey(b"short")))
    assert alice.fingerprint() == before
