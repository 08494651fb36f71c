"""RFC 9420 §14 and §15: the order of state changes, and application messages.

Stories of both stand in tests/scenario/test_commits.py and tests/scenario/test_delivery.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mls import Add, ApplicationMessage, Group, Remove, Settings, StagedCommit, Update
from mls.crypto import SignaturePrivateKey
from mls.errors import Code, InvalidCiphertext, MalformedMessage, UnavailableSecret, UsageError, WrongEpoch
from mls.messages import ApplicationData, ContentType
from mls.settings import no_padding, pad_to_power_of_two
from tests.adversarial.insider import PRIVATE, Envelope, Insider, assert_refused, private_message
from tests.support.live import reachable
from tests.support.world import World, copy_of, records
from treekem.index import LeafIndex, direct_path, node_of
from treekem.secrets import Secret

TAG = 16


def said(group: Group, message: bytes) -> bytes:
    event = group.receive(message)
    assert isinstance(event, ApplicationMessage)
    return event.data


def is_signature_key(secret: Secret) -> bool:
    """Whether it is a client's own signature key, which outlives every epoch."""
    return isinstance(secret, SignaturePrivateKey)


# §14


@pytest.mark.rfc("R-14-01", "R-12.4.1-01")
@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
def test_a_commit_is_a_separate_object_until_it_is_merged(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    before, stored = alice.fingerprint(), records(world.stores["member-0"])
    pending = alice.commit([Add(world.client("carol").key_package())])
    changed = {name for name, record in records(world.stores["member-0"]).items() if stored.get(name) != record}
    assert {name.split("/")[2] for name in changed} == ({"candidate", "ratchet"} if private else {"candidate"})
    assert (alice.epoch, pending.effect.epoch) == (1, 2)
    # The epoch goes on: its messages are still sent and read.
    assert said(bob, alice.encrypt(b"meanwhile")) == b"meanwhile"
    assert said(alice, bob.encrypt(b"meanwhile")) == b"meanwhile"
    assert alice.fingerprint() != before
    alice.merge(pending)
    assert alice.epoch == 2


@pytest.mark.rfc("R-14-01", "R-14-02")
def test_what_a_commit_covers_is_pending_until_it_is_merged() -> None:
    world = World()
    alice, bob = world.group(2)
    world.deliver(bob.propose(Update()).message, alice)
    waiting = alice.proposals
    alice.discard(alice.commit())
    assert (alice.proposals, alice.pending) == (waiting, ())
    alice = world.restart(alice)
    assert (alice.proposals, alice.pending) == (waiting, ())
    pending = alice.commit()
    assert (alice.proposals, alice.pending) == (waiting, (pending,))
    alice = world.restart(alice)
    assert (alice.proposals, alice.pending) == (waiting, (pending,))
    alice.merge(pending)
    world.deliver(pending.message, bob)
    assert (alice.proposals, alice.pending) == ((), ())
    world.agree(alice, bob)


@pytest.mark.rfc("R-14-04", "R-14-05", "R-16.6-01")
def test_what_a_decided_epoch_leaves_behind_is_wiped() -> None:
    world = World(max_past_epochs=0)
    alice, bob = world.group(2)
    lost = alice.commit()
    states = [alice._standing.state, *(each.transition.state for each in alice._standing.candidates.values())]
    secrets = [
        secret for state in states if state is not None for secret in reachable(state) if isinstance(secret, Secret)
    ]
    world.deliver(bob.commit().message, alice)
    kept = {id(thing) for thing in reachable(alice) if isinstance(thing, Secret)}
    assert all(secret.is_wiped for secret in secrets if id(secret) not in kept)
    # The signature key and the keys of nodes that the commit left alone go on; what made the epochs does not.
    for state in states:
        assert state is not None
        assert state.secrets.init_secret.is_wiped
        assert state.secrets.exporter.is_wiped
    with pytest.raises(UsageError):
        alice.merge(lost)


@pytest.mark.rfc("R-14-04", "R-16.6-01")
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_what_a_discarded_commit_led_to_is_wiped(restarts: bool) -> None:
    world = World()
    alice, bob = world.group(2)
    kept, lost = alice.commit(), alice.commit()
    if restarts:
        alice = world.restart(alice)
        kept, lost = alice.pending
    state = alice._standing.candidates[lost.candidate].transition.state
    secrets = [thing for thing in reachable(state) if isinstance(thing, Secret)]
    alice.discard(lost)
    held = {id(thing) for thing in reachable(alice) if isinstance(thing, Secret)}
    assert all(secret.is_wiped for secret in secrets if id(secret) not in held and not is_signature_key(secret))
    assert state is not None
    assert state.secrets.init_secret.is_wiped
    # What it shares with the present epoch, and with the other commit, is whole.
    assert said(alice, bob.encrypt(b"hello")) == b"hello"
    world.deliver(kept.message, bob)
    alice.merge(kept)
    world.commit(bob, (), alice)
    world.agree(alice, bob)


@pytest.mark.rfc("R-16.2-01", "R-16.6-01")
def test_a_member_holds_the_keys_of_the_nodes_above_it_and_no_others() -> None:
    world = World()
    groups = world.group(8)
    world.commit(groups[5], (), *groups[:5], *groups[6:])
    world.commit(groups[0], (), *groups[1:])
    for committer, removed in ((1, 2), (4, 7), (3, 6)):
        others = [group for group in groups if group is not groups[committer] and not group.is_retired]
        world.commit(groups[committer], [Remove(removed)], *others)
    for group in (group for group in groups if not group.is_retired):
        state = group._standing.state
        above = {node_of(state.own.index), *direct_path(node_of(state.own.index), state.group.tree.n_leaves)}
        held = {x: state.suite.hpke_public_key(key) for x, key in state.own.private_keys.items()}
        assert held == {x: state.group.tree.encryption_key(x) for x in held}
        assert held.keys() <= above


@pytest.mark.rfc("R-12.4.2-19", "R-16.6-01")
def test_a_pending_update_of_who_is_removed_is_wiped() -> None:
    world = World()
    alice, bob = world.group(2)
    bob.propose(Update())
    keys = [each.update_key for each in bob._standing.proposals.values()]
    world.deliver(alice.commit([Remove(bob.me)]).message, bob)
    assert bob.is_retired
    assert all(key is not None and key.is_wiped for key in keys)


@pytest.mark.rfc("R-14-06", "R-6.3.1-08")
def test_the_generation_of_a_discarded_commit_stays_spent() -> None:
    world = World()
    alice, bob = world.group(2)
    for spent in range(1, 4):
        alice.discard(alice.commit())
        tree = alice._standing.secret_tree
        assert tree.next_generation(LeafIndex(0), ContentType.COMMIT) == spent
        alice = world.restart(alice)
    world.commit(alice, (), bob)
    world.agree(alice, bob)


# §15


@pytest.mark.rfc("R-15-01")
def test_epoch_sender_and_kind_choose_the_ratchet() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(ApplicationData(b"hello")), PRIVATE)
    # Encrypted by the ratchet of another leaf, nothing opens; by one's own it does.
    for ratchet_of in (1, 2):
        message = insider.private(signed, Envelope(ratchet_of=ratchet_of, generation=0))
        assert_refused(bob, message, InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)
    first = [alice.encrypt(b"one"), alice.encrypt(b"two")]
    world.deliver(first[0], bob, carol)
    world.commit(bob, (), alice, carol)
    assert said(carol, alice.encrypt(b"three")) == b"three"
    assert said(carol, first[1]) == b"two"
    # Both epochs began with generation 0, and handshakes count apart from what is said.
    alice.commit()
    tree = alice._standing.secret_tree
    assert tree.next_generation(LeafIndex(0), ContentType.APPLICATION) == 1
    assert tree.next_generation(LeafIndex(0), ContentType.COMMIT) == 1


@pytest.mark.rfc("R-15-02", "N-M09")
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_message_is_read_within_the_window_of_epochs(kept: int) -> None:
    world = World(max_past_epochs=kept)
    alice, bob = world.group(2)
    late = [alice.encrypt(b"late"), alice.encrypt(b"too late")]
    for _ in range(kept):
        world.commit(bob, (), alice)
    assert said(bob, late[0]) == b"late"
    world.commit(bob, (), alice)
    assert_refused(bob, late[1], WrongEpoch, "R-6-11", Code.TOO_OLD)


# §15.1


@pytest.mark.rfc("R-15.1-01", "R-6.3.1-02", "R-6.3.1-11")
@pytest.mark.parametrize(
    ("padding", "sizes"),
    [(no_padding, set(range(67, 67 + 5))), (pad_to_power_of_two, {256}), (lambda length: 1000 - length, {1000})],
    ids=["none", "power of two", "custom"],
)
def test_padding_is_pluggable(padding: Callable[[int], int], sizes: set[int]) -> None:
    world = World(padding=padding)
    alice, bob = world.group(2)
    found = set()
    for length in range(5):
        message = alice.encrypt(bytes(length))
        found.add(len(private_message(message).ciphertext) - TAG)
        assert said(bob, message) == bytes(length)
    assert found == sizes


@pytest.mark.rfc("R-15.1-01")
@pytest.mark.parametrize(("length", "padded"), [(0, 256), (255, 256), (256, 256), (257, 512), (5000, 8192)])
def test_padding_to_a_power_of_two(length: int, padded: int) -> None:
    assert length + pad_to_power_of_two(length) == padded
    assert Settings().padding is pad_to_power_of_two


@pytest.mark.rfc("R-15.1-02")
def test_a_message_larger_than_the_limit_is_neither_sent_nor_read() -> None:
    world = World(max_message_bytes=2_000, max_welcome_bytes=1_000)
    alice = world.group(1)[0]
    # With all of its padding this one would be as large as 2048 bytes and what stands around them.
    assert 1_950 < len(alice.encrypt(bytes(1_500))) <= 2_000
    before = alice.fingerprint()
    with pytest.raises(UsageError) as caught:
        alice.encrypt(bytes(1_950))
    assert (caught.value.code, caught.value.rule) == (Code.LIMIT_EXCEEDED, "S-max_message_bytes")
    assert alice.fingerprint() == before

    world = World()
    alice, reader = world.group(2)
    large = alice.encrypt(bytes(2_500))
    for settings, rule in (
        (Settings(max_message_bytes=2_000, max_welcome_bytes=2_000), "S-max_welcome_bytes"),
        (Settings(max_message_bytes=2_000), "S-max_message_bytes"),
    ):
        small = world.open("member-1", copy_of(world.stores["member-1"]))
        small._settings = settings
        group = small.group(reader.group_id)
        assert_refused(group, large, MalformedMessage, rule, Code.LIMIT_EXCEEDED)
        assert said(group, alice.encrypt(b"small")) == b"small"


@pytest.mark.rfc("R-2.1.2-07")
def test_a_group_info_or_tree_larger_than_the_limit_is_not_sent() -> None:
    world = World()
    alice = world.group(2)[0]
    package = world.client("carol").key_package()

    def beside() -> bytes:
        pending = alice.commit([Add(package)], tree="beside")
        alice.discard(pending)
        assert pending.ratchet_tree is not None
        return pending.ratchet_tree

    uses: tuple[Callable[[], bytes], ...] = (alice.group_info, beside)
    for use in uses:
        world.clients["member-0"]._settings = Settings(grease=False)
        size = len(use())
        world.clients["member-0"]._settings = Settings(max_welcome_bytes=size, grease=False)
        assert len(use()) == size
        world.clients["member-0"]._settings = Settings(max_welcome_bytes=size - 1, grease=False)
        stored = records(world.stores["member-0"])
        with pytest.raises(UsageError) as caught:
            use()
        assert (caught.value.code, caught.value.rule) == (Code.LIMIT_EXCEEDED, "S-max_welcome_bytes")
        assert records(world.stores["member-0"]) == stored


# §15.2


@pytest.mark.rfc("R-15.2-01", "R-6.3.1-10")
def test_messages_of_an_epoch_are_counted_by_their_ratchet() -> None:
    world = World(messages_per_epoch=2)
    alice, bob = world.group(2)
    for _ in range(2):
        alice.encrypt(b"hello")
        alice.discard(alice.commit())
    stored = records(world.stores["member-0"])
    for exhausted in (lambda: alice.encrypt(b"hello"), alice.commit, lambda: alice.propose(Update())):
        with pytest.raises(UsageError) as caught:
            exhausted()
        assert (caught.value.code, caught.value.rule) == (Code.MUST_REKEY, "R-15.2-01")
    assert records(world.stores["member-0"]) == stored
    world.commit(bob, (), alice)
    assert said(bob, alice.encrypt(b"again")) == b"again"


@pytest.mark.rfc("R-15.2-02", "R-12.4-02", "N-M11")
@pytest.mark.parametrize("author", [0, 1], ids=["own", "another's"])
def test_a_change_of_the_group_goes_before_what_is_said(author: int) -> None:
    world = World()
    groups = world.group(3)
    alice, bob, carol = groups
    sent = groups[author].propose(Remove(2))
    world.deliver(sent.message, *(group for group in groups if group is not groups[author]))
    with pytest.raises(UsageError) as caught:
        alice.encrypt(b"for carol too?")
    assert (caught.value.code, caught.value.rule) == (Code.MUST_COMMIT_FIRST, "R-12.4-02")
    world.commit(bob, (), alice, carol)
    message = alice.encrypt(b"not for carol")
    assert said(bob, message) == b"not for carol"
    assert carol.is_retired


# §15.3


@pytest.mark.rfc("R-15.3-01", "R-15.3-03", "R-16.9-01")
def test_a_message_from_ahead_moves_the_ratchet_on() -> None:
    world = World(max_forward_steps=10)
    alice, bob = world.group(2)
    sent = [alice.encrypt(b"%d" % number) for number in range(22)]
    assert_refused(bob, sent[11], UnavailableSecret, "R-15.3-03", Code.TOO_FAR_FUTURE)
    for number in (10, 21, 11, 0):
        event = bob.receive(sent[number])
        assert isinstance(event, ApplicationMessage)
        assert (event.data, event.generation) == (b"%d" % number, number)


@pytest.mark.rfc("R-15.3-02", "R-15.3-04", "B47")
def test_keys_of_skipped_messages_are_bounded_for_all_senders_together() -> None:
    world = World(max_skipped_keys_per_group=4)
    alice, bob, carol = world.group(3)
    from_bob = [bob.encrypt(b"%d" % number) for number in range(4)]
    from_carol = [carol.encrypt(b"%d" % number) for number in range(4)]
    assert said(alice, from_bob[3]) == b"3"
    assert said(alice, from_carol[3]) == b"3"
    for number in (0, 1):
        assert_refused(alice, from_bob[number], UnavailableSecret, "R-15.3-04", Code.TOO_OLD)
    alice = world.restart(alice)
    assert said(alice, from_bob[2]) == b"2"
    for number in range(3):
        assert said(alice, from_carol[number]) == b"%d" % number
    assert isinstance(alice.receive(bob.commit().message), StagedCommit)
