"""Message protection under attack: the rows of the catalogue that the sections' own tests leave open."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from mls import Add, ApplicationMessage, Client, Group, Remove, Settings, StagedCommit, Update, intents
from mls.errors import (
    Code,
    InvalidFraming,
    InvalidGroupInfo,
    InvalidMessage,
    InvalidProposal,
    InvalidWelcome,
    MalformedMessage,
    MLSError,
    UnavailableSecret,
    UsageError,
)
from mls.events import OwnMessage
from mls.messages import ApplicationData, Commit, FramedContentAuthData
from mls.messages import Remove as RemoveProposal
from mls.schedule.secret_tree import SecretTreeLimits
from tests.adversarial.insider import PRIVATE, PUBLIC, Envelope, Insider, assert_refused, plaintext_of
from tests.support.counting import cost_of
from tests.support.framing import FRAMES, public_world
from tests.support.secret_trees import APPLICATION, KEYS, LAST, A, consume, new_tree, refusal, with_head_at
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.wire import encode_as

# Generations.


@pytest.mark.rfc("B15", "N-M02", "R-15.3-01")
@pytest.mark.parametrize("n", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_messages_in_every_order(n: int) -> None:
    for order in itertools.permutations(range(n)):
        tree = new_tree()
        for generation in order:
            assert consume(tree, A, APPLICATION, generation) == KEYS[A, "application", generation]
        for generation in order:
            assert refusal(tree.stage, A, APPLICATION, generation) == ("R-9.2-08", Code.KEY_CONSUMED)
        assert consume(tree, A, APPLICATION, n) == KEYS[A, "application", n]


@pytest.mark.rfc("N-M03", "B32", "R-15.3-03")
@pytest.mark.parametrize("head", [0, 10, LAST - 1])
def test_a_generation_too_far_ahead_is_not_derived(head: int) -> None:
    ahead = SecretTreeLimits().max_forward
    tree = with_head_at(head) if head else new_tree()
    before = tree.fingerprint()
    too_far = [head + ahead + 1, LAST] if head + ahead < LAST else [LAST + 1]
    for generation in too_far:
        cost = cost_of(lambda generation=generation: tree.stage(A, APPLICATION, generation))  # type: ignore[misc]  # a loop variable
        assert cost.error is not None
        expected = ("R-9.1-05", Code.MUST_REKEY) if generation > LAST else ("R-15.3-03", Code.TOO_FAR_FUTURE)
        assert (cost.error.rule, cost.error.code) == expected
        # A leaf that is reached for the first time derives its path in the tree, and no step of the ratchet.
        assert cost.digests < 20
    assert tree.fingerprint() == before
    furthest = min(head + ahead, LAST)
    assert tree.stage(A, APPLICATION, furthest).generation == furthest


@pytest.mark.rfc("B47", "N-M03", "R-15.3-02")
def test_an_insider_that_jumps_ahead_costs_no_more_than_the_limit() -> None:
    world = World(max_forward_steps=20, max_skipped_keys=30, max_skipped_keys_per_group=30)
    alice, bob = world.group(2)
    sizes = []
    for _ in range(6):
        sent = [alice.encrypt(b"skipped") for _ in range(20)]
        assert isinstance(bob.receive(sent[-1]), ApplicationMessage)
        sizes.append(sum(len(record) for record in records(bob._store).values()))
    assert max(sizes[2:]) - min(sizes[2:]) < 200
    first = alice.encrypt(b"on")
    assert isinstance(bob.receive(first), ApplicationMessage)


@pytest.mark.rfc("B48", "S-max_skipped_keys", "S-max_skipped_keys_per_group", "S-max_forward_steps")
def test_late_messages_are_read_by_the_hundred() -> None:
    settings = Settings()
    assert (settings.max_forward_steps, settings.max_skipped_keys) == (1_000, 1_000)
    assert settings.max_skipped_keys_per_group == 10_000
    world = World()
    alice, bob = world.group(2)
    sent = [alice.encrypt(b"%d" % n) for n in range(120)]
    for n in (119, *range(119)):
        event = bob.receive(sent[n])
        assert isinstance(event, ApplicationMessage)
        assert event.data == b"%d" % n


@pytest.mark.rfc("N-M17", "R-6.3.1-04", "R-6.3.1-08", "B31")
def test_no_key_and_nonce_serve_twice_and_guards_are_drawn() -> None:
    world = World()
    alice, bob = world.group(2)
    drawn: list[bytes] = []
    source = world.entropy("guards")

    def watched(length: int) -> bytes:
        drawn.append(source(length))
        return drawn[-1]

    env = replace(alice._environment(), entropy=watched)
    alice._environment = lambda: env
    reader, seen = Insider(world, bob), set()
    for number in range(60):
        message = alice.encrypt(b"same")
        event = bob.receive(message)
        assert isinstance(event, ApplicationMessage)
        assert event.generation == number
        staged = reader.standing.secret_tree.stage(LeafIndex(0), APPLICATION, number)
        seen.add((staged.key.expose(), staged.nonce))
    assert len(seen) == 60
    # Each message draws its guard, of four bytes, from the source and from nowhere else.
    assert [len(each) for each in drawn] == [4] * 60
    assert len(set(drawn)) == 60


# Contents.


@pytest.mark.rfc("N-M05", "R-6.3.1-02", "R-6.3.1-03")
@pytest.mark.parametrize("suite", range(1, 8))
def test_a_plaintext_of_padding_or_without_authentication(suite: int) -> None:
    world = World(suite)
    alice, bob = world.group(2)
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(ApplicationData(b"hello")), PRIVATE)
    whole, content = plaintext_of(signed), encode_as(ApplicationData, signed.content.content)
    for plaintext, rule, code in (
        (b"", "R-2.1-07", Code.TRUNCATED),
        (content, "R-2.1-07", Code.TRUNCATED),
        (whole[:-1], "R-2.1.2-05", Code.TRUNCATED),
        (whole + b"\0\1", "R-6.3.1-03", Code.NON_ZERO_PADDING),
    ):
        message = insider.private(signed, Envelope(plaintext=plaintext))
        assert_refused(bob, message, MalformedMessage, rule, code)
    # Zeros alone read as empty content with an empty signature, which nobody made.
    error = assert_refused_by_any(bob, insider.private(signed, Envelope(plaintext=bytes(100))))
    assert (error.rule, error.code) == ("R-6.1-13", Code.BAD_SIGNATURE)
    assert isinstance(bob.receive(insider.private(signed)), ApplicationMessage)


def assert_refused_by_any(group: Group, message: bytes) -> MLSError:
    before, stored = group.fingerprint(), records(group._store)
    with pytest.raises(MLSError) as caught:
        group.receive(message)
    assert (group.fingerprint(), records(group._store)) == (before, stored)
    return caught.value


@pytest.mark.rfc("N-M05", "R-6.1-05", "R-6.1-06")
def test_a_private_commit_without_its_tag() -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(Commit((), None)), PRIVATE)
    untagged = replace(signed, auth=FramedContentAuthData(signed.auth.signature, None))
    content = plaintext_of(signed)[: -len(encode_as(bytes, signed.auth.confirmation_tag or b""))]
    message = insider.private(untagged, Envelope(plaintext=content))
    assert_refused(bob, message, MalformedMessage, "R-2.1-07", Code.TRUNCATED)


@pytest.mark.rfc("N-M06", "R-6-01")
def test_application_data_in_the_clear_is_refused_though_signed_and_tagged() -> None:
    world, alice, bob, carol = public_world()
    message = Insider(world, alice).say(ApplicationData(b"hello"), wire_format=PUBLIC)
    assert_refused([bob, carol], message, InvalidFraming, "R-6-01", Code.WRONG_WIRE_FORMAT)


@pytest.mark.rfc("N-M04", "N-M16", "B13")
@FRAMES
def test_own_messages_that_come_back_change_nothing(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    said = [alice.encrypt(b"one"), alice.encrypt(b"two")]
    for number, message in enumerate(said):
        before, stored = alice.fingerprint(), records(alice._store)
        assert alice.receive(message) == OwnMessage(number)
        assert (alice.fingerprint(), records(alice._store)) == (before, stored)
    # RFC 9420 has no rule for an echo whose generation was not sent yet, as from a clone: its generation is told.
    before = alice.fingerprint()
    clone = Insider(world, alice)
    ahead = clone.private(clone.signed(clone.framed(ApplicationData(b"clone")), PRIVATE), Envelope(generation=7))
    assert alice.receive(ahead) == OwnMessage(7)
    assert alice.fingerprint() == before
    world.deliver(said[0], bob)


@pytest.mark.rfc("N-M12", "R-11.2-08", "R-12.4.2-19")
def test_nobody_sends_after_a_reinit_or_a_removal() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    world.commit(alice, [Remove(carol.me)], bob, carol)
    world.commit(alice, [intents.ReInit(b"successor", cipher_suite=1)], bob)
    for group in (alice, bob, carol):
        before = records(group._store)
        for work in (partial(group.encrypt, b"late"), partial(group.propose, Update())):
            with pytest.raises(MLSError) as caught:
                work()
            assert caught.value.code is Code.GROUP_RETIRED
        assert records(group._store) == before


# Indices, types, and pending commits.


@pytest.mark.rfc("B22", "R-12.1.3-02", "N-P10")
@pytest.mark.parametrize("removed", [3, 4, 2**24, 2**31, 2**32 - 1])
@FRAMES
def test_leaf_indices_beyond_the_tree_are_refused_at_once(removed: int, private: bool) -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    message = insider.propose(RemoveProposal(LeafIndex(removed)), wire_format=PRIVATE if private else PUBLIC)
    cost = cost_of(lambda: bob.receive(message))
    assert isinstance(cost.error, InvalidProposal)
    assert cost.peak < 1 << 20
    error = assert_refused(bob, message, InvalidProposal, cost.error.rule, cost.error.code)
    assert error.rule == "R-12.1.3-02"


@pytest.mark.rfc("B17", "R-6-06", "R-6-10")
def test_every_kind_of_message_at_every_door() -> None:
    world = World(private_handshakes=False, external_commits=True)
    alice, bob = world.group(2)
    dora = world.client("dora")
    pending = alice.commit([Add(dora.key_package())])
    outsider = world.client("outsider")
    messages = {
        "private": bob.encrypt(b"hello"),
        "public": bob.propose(Update()).message,
        "welcome": pending.welcome or b"",
        "group info": alice.group_info(),
        "key package": outsider.key_package(),
    }
    doors: Sequence[tuple[str, set[str], type[InvalidMessage | UsageError]]] = [
        ("receive", {"public", "private"}, InvalidFraming),
        ("join", {"welcome"}, InvalidWelcome),
        ("join_external", {"group info"}, InvalidGroupInfo),
    ]
    for door, welcome_there, error in doors:
        for kind in messages.keys() - welcome_there:
            holder: Client | Group = alice if door == "receive" else outsider
            before, stored = alice.fingerprint(), records(outsider._store)
            with pytest.raises(error) as caught:
                getattr(holder, door)(messages[kind])
            assert caught.value.code is Code.WRONG_WIRE_FORMAT
            assert (alice.fingerprint(), records(outsider._store)) == (before, stored)
    for kind in messages.keys() - {"key package"}:
        with pytest.raises(MLSError):
            alice.commit([Add(messages[kind])])


PENDING = pytest.mark.parametrize("mine", ["nothing", "add", "remove", "update"])


@pytest.mark.rfc("B27", "R-14-02", "R-14-04")
@PENDING
@pytest.mark.parametrize("theirs", ["commit", "external", "removes me"])
@FRAMES
def test_a_foreign_commit_arrives_while_own_ones_are_pending(mine: str, theirs: str, private: bool) -> None:
    world = World(private_handshakes=private, external_commits=True)
    alice, bob, carol = world.group(3)
    own: dict[str, list[intents.Intent]] = {
        "add": [Add(world.client("dora").key_package())],
        "remove": [Remove(carol.me)],
        "update": [],
    }
    if mine != "nothing":
        alice.commit(own[mine])
    if theirs == "external":
        message = world.client("erin").join_external(bob.group_info()).message
        world.deliver(message, bob)
    else:
        said: list[intents.Intent] = [Remove(alice.me)] if theirs == "removes me" else []
        pending = bob.commit(said)
        message = pending.message
        bob.merge(pending)
    world.deliver(message, carol)
    staged = alice.receive(message)
    assert isinstance(staged, StagedCommit)
    alice.merge(staged)
    if theirs == "removes me":
        assert alice.is_retired
        assert not any(name.startswith(f"group/{bob.group_id.hex()}/epoch") for name in records(alice._store))
    else:
        assert alice.pending == ()
        world.agree(alice, bob, carol)
        world.deliver(alice.encrypt(b"on"), bob, carol)
    world.commit(bob, (), carol)
    world.agree(bob, carol)


@pytest.mark.rfc("B26", "B39", "R-9.2-08")
@pytest.mark.parametrize("suite", range(1, 8))
def test_a_duplicate_does_not_cost_what_follows(suite: int) -> None:
    world = World(suite)
    alice, bob = world.group(2)
    first, second = alice.encrypt(b"0"), alice.encrypt(b"1")
    assert isinstance(bob.receive(first), ApplicationMessage)
    assert_refused(bob, first, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)
    assert isinstance(bob.receive(second), ApplicationMessage)
    bob = world.restart(bob)
    for message in (first, second):
        assert_refused(bob, message, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)


@pytest.mark.rfc("N-M01a", "N-M01b", "B46", "R-9.2-05")
@pytest.mark.parametrize("suite", range(2, 8))
def test_a_forgery_costs_the_genuine_message_nothing_in_any_suite(suite: int) -> None:
    world = World(suite)
    alice, bob, carol = world.group(3)
    genuine = alice.encrypt(b"genuine")
    insider = Insider(world, carol)
    lie = insider.signed(insider.framed(ApplicationData(b"lie")), PRIVATE)
    for message, rule in (
        (genuine[:-1] + bytes([genuine[-1] ^ 1]), "R-5.1.3-03"),
        (insider.private(lie, Envelope(leaf=0, generation=0)), "R-6.1-13"),
    ):
        assert assert_refused_by_any(bob, message).rule == rule
    event = world.restart(bob).receive(genuine)
    assert isinstance(event, ApplicationMessage)
    assert event.data == b"genuine"
