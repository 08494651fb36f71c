"""Settings: their values are judged when they are made, and each bites on what is sent and what is received."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from mls import (
    AcceptAnyone,
    Add,
    ApplicationMessage,
    Client,
    Group,
    GroupContextExtensions,
    Identity,
    MemoryStore,
    MLSError,
    NewLeaf,
    Remove,
    ResumptionPSK,
    Settings,
    StagedCommit,
    Update,
)
from mls.errors import (
    Code,
    InvalidCommit,
    InvalidGroupInfo,
    InvalidLeafNode,
    InvalidProposal,
    InvalidTree,
    Refused,
    UnavailableSecret,
    UsageError,
    WrongEpoch,
)
from mls.extensions import application_id, external_senders, required_capabilities
from mls.messages import KeyPackageSource
from mls.observer import PublicGroup
from mls.outsider import Outsider
from mls.settings import DAY, HOUR, no_padding, pad_padme, pad_to_power_of_two
from tests.adversarial.insider import assert_refused
from tests.support.crafting import package_of
from tests.support.external_scenes import Scene as ExternalScene
from tests.support.world import World, records
from treekem.index import LeafIndex

PRESETS = (Settings.default, Settings.strict, Settings.large, Settings.vectors)


def assert_senseless(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^{name} is ") as caught:
        Settings(**{name: value})  # type: ignore[arg-type]  # it is of no right type
    assert caught.value.rule == "S-values"


def test_presets_are_settings() -> None:
    default, strict, large, vectors = (make() for make in PRESETS)
    assert default == Settings()
    assert (large.max_leaves, large.max_welcome_bytes, large.max_commit_proposals) == (2**20, 2**30, 2**20)
    assert (strict.max_past_epochs, strict.accept_public_handshakes, strict.require_listed_suite) == (0, False, True)
    assert (vectors.check_peer_lifetimes, vectors.padding) == (False, no_padding)
    for each in (default, strict, large):
        listened_to = (each.external_commits, each.resync, each.external_senders, each.new_member_proposals)
        assert not any(listened_to)
        assert each.private_handshakes


@pytest.mark.parametrize("make", PRESETS)
def test_groups_live_under_each_preset(make: Callable[[], Settings]) -> None:
    chosen = make()
    world = World(**{field.name: getattr(chosen, field.name) for field in fields(chosen)})
    alice, bob = world.group(2)
    (carol,) = world.add(bob, world.client("carol"), others=[alice])
    world.deliver(alice.propose(Update()).message, bob, carol)
    world.commit(carol, (), alice, bob)
    world.agree(alice, bob, world.restart(carol))
    (event,) = world.deliver(alice.encrypt(b"hello"), bob)
    assert isinstance(event, ApplicationMessage)
    world.commit(bob, [Remove(carol.me)], alice)
    world.agree(alice, bob)


@pytest.mark.rfc("S-values")
@pytest.mark.parametrize("name", [each.name for each in fields(Settings)])
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str) -> None:
    for make in PRESETS:
        assert replace(make()) == make()
    for mistaken in (None, "1", -1, 2**64, 1.5, frozenset({"one"}), frozenset(())):
        assert_senseless(name, mistaken)
    present = getattr(Settings(), name)
    if isinstance(present, int) and not isinstance(present, bool):
        assert_senseless(name, True)  # noqa: FBT003  (a value, not a switch)


# Padding, §15.1.


@pytest.mark.rfc("R-15.1-01")
@pytest.mark.parametrize(
    ("length", "padded"), [(0, 256), (256, 256), (257, 272), (1_000, 1_024), (1_025, 1_088), (5_000, 5_120)]
)
def test_padding_by_padme(length: int, padded: int) -> None:
    assert length + pad_padme(length) == padded


def test_padme_adds_little_and_leaves_few_sizes() -> None:
    sizes = {length + pad_padme(length) for length in range(256, 2**16)}
    assert len(sizes) < 150
    assert max(pad_padme(length) / length for length in range(256, 2**16)) <= 1 / 16
    assert all(pad_padme(size) == 0 for size in sizes)


@pytest.mark.rfc("S-max_message_bytes", "R-15.1-01")
@pytest.mark.parametrize("aad", [b"", bytes(300)])
@pytest.mark.parametrize("padding", [pad_to_power_of_two, pad_padme])
def test_padding_stops_at_the_largest_message(padding: Any, aad: bytes) -> None:  # noqa: ANN401  (a function)
    world = World(max_message_bytes=20_000, padding=padding)
    alice, bob = world.group(2)
    largest = 0
    for length in (0, 16_000, 17_000, 19_000, 19_500):
        message = alice.encrypt(bytes(length), authenticated_data=aad)
        world.deliver(message, bob)
        largest = max(largest, len(message))
    # All that is between the last bucket and the limit is of one size.
    assert largest == len(alice.encrypt(bytes(19_400), authenticated_data=aad)) <= 20_000
    assert largest > 19_990
    before = alice.fingerprint()
    with pytest.raises(UsageError) as caught:
        alice.encrypt(bytes(20_000), authenticated_data=aad)
    assert (caught.value.rule, caught.value.code) == ("S-max_message_bytes", Code.LIMIT_EXCEEDED)
    assert alice.fingerprint() == before


@pytest.mark.rfc("S-padding")
def test_padding_takes_nothing_away() -> None:
    world = World(padding=lambda length: 10 - length)
    alice = world.group(1)[0]
    before, stored = alice.fingerprint(), records(world.stores["member-0"])
    with pytest.raises(MLSError) as caught:
        alice.encrypt(b"longer than that")
    assert (type(caught.value), caught.value.rule) == (UsageError, "S-padding")
    assert (alice.fingerprint(), records(world.stores["member-0"])) == (before, stored)


# Limits, on what is sent and on what is received.


def limit(world: World, group: Group, **changes: Any) -> None:  # noqa: ANN401  (fields of Settings)
    """Change the settings of a member that is in the group already."""
    client = world.clients[world.name_of(group)]
    client._settings = replace(client._settings, **changes)


def assert_not_sent(group: Group, work: Callable[[], object], rule: str, code: str = Code.LIMIT_EXCEEDED) -> None:
    before, stored = group.fingerprint(), records(group._store)
    with pytest.raises(UsageError) as caught:
        work()
    assert (caught.value.rule, caught.value.code) == (rule, code)
    assert rule.removeprefix("S-") in caught.value.message
    assert (group.fingerprint(), records(group._store)) == (before, stored)


@pytest.mark.rfc("S-cipher_suites")
def test_cipher_suites_that_are_not_allowed_are_not_used() -> None:
    only_three = Settings(cipher_suites=frozenset((3,)))
    store = MemoryStore()
    with pytest.raises(UsageError) as caught:
        Client.create(store, Identity.basic(b"alice", 1), policy=AcceptAnyone(), settings=only_three)
    assert (caught.value.rule, records(store)) == ("S-cipher_suites", {})
    alice = Client.create(store, Identity.basic(b"alice", 3), policy=AcceptAnyone(), settings=only_three)
    with pytest.raises(UsageError) as caught:
        alice.add_identity(Identity.basic(b"alice", 1))
    assert caught.value.rule == "S-cipher_suites"
    assert alice.create_group().epoch == 0


@pytest.mark.rfc("R-13.4-02", "R-7.2-03")
@pytest.mark.parametrize("allowed", [(1,), (1, 3), tuple(range(1, 8))])
def test_leaves_list_no_cipher_suite_that_one_would_not_use(allowed: tuple[int, ...]) -> None:
    world = World(cipher_suites=frozenset((*allowed, 0xF0F0)), grease=False, external_commits=True)
    alice = world.group(1)[0]
    bob = world.client("bob")
    entered = bob.join_external(alice.group_info()).accept()
    founder, package = alice._standing.state.group.leaf_node(LeafIndex(0)), package_of(bob.key_package())
    joiner = entered._standing.state.group.leaf_node(LeafIndex(1))
    assert founder is not None
    assert joiner is not None
    for leaf in (founder, joiner, package.leaf_node):
        assert leaf.capabilities.cipher_suites == allowed


@pytest.mark.rfc("S-cipher_suites")
def test_groups_of_other_cipher_suites_are_not_entered() -> None:
    world = World()
    alice, bob = world.group(2)
    carol = world.client("carol")
    pending = alice.commit([Add(carol.key_package())])
    stored = records(carol._store)
    carol._settings = Settings(cipher_suites=frozenset((2, 3)))
    assert pending.welcome is not None
    for enter in (carol.join, lambda _: carol.join_external(alice.group_info()), _followed(alice, carol._settings)):
        with pytest.raises(Refused) as caught:
            enter(pending.welcome)
        assert (caught.value.rule, caught.value.code) == ("S-cipher_suites", Code.NOT_PERMITTED)
    with pytest.raises(UsageError):
        carol.key_package()
    assert records(carol._store) == stored
    # Who is in such a group already stays.
    limit(world, bob, cipher_suites=frozenset((3,)))
    world.deliver(alice.encrypt(b"hello"), bob)
    carol._settings = Settings(cipher_suites=frozenset((1,)))
    assert carol.join(pending.welcome).group_id == alice.group_id


def _followed(group: Group, settings: Settings) -> Callable[[bytes], object]:
    return lambda _: PublicGroup.follow(group.group_info(), policy=AcceptAnyone(), settings=settings)


def test_a_key_package_lasts_as_long_as_settings_say() -> None:
    world = World()
    for client, expected in (
        (world.client("alice"), 28 * DAY),
        (world.client("bob", default_lifetime=DAY), DAY),
        (world.client("carol", max_lifetime=HOUR), HOUR),
    ):
        source = package_of(client.key_package()).leaf_node.source
        assert isinstance(source, KeyPackageSource)
        assert source.lifetime.not_after - world.now == expected


@pytest.mark.rfc("R-7.3-09")
@pytest.mark.parametrize("skew", [0, HOUR])
def test_clocks_may_be_off_by_as_much_as_settings_say(skew: int) -> None:
    # Whoever makes a key package allows for it, and whoever judges one does.
    world = World(clock_skew=skew)
    alice, bob = world.group(2)
    message = bob.propose(Add(world.client("carol").key_package(lifetime=DAY))).message
    made = world.now
    for moment, is_fine in (
        (made - 2 * skew - 1, False),
        (made - 2 * skew, True),
        (made + DAY + skew, True),
        (made + DAY + skew + 1, False),
    ):
        world.now = moment
        if is_fine:
            world.twin(alice).receive(message)
        else:
            assert_refused(alice, message, InvalidLeafNode, "R-7.3-09", Code.LIFETIME_INVALID)


@pytest.mark.rfc("S-max_extensions")
def test_how_many_extensions_a_group_has_is_limited() -> None:
    world = World(external_senders=True)
    alice, bob = world.group(2)
    two = GroupContextExtensions((required_capabilities(), external_senders()))
    limit(world, bob, max_extensions=1)
    assert_not_sent(bob, lambda: bob.propose(two), "S-max_extensions")
    assert_not_sent(bob, lambda: bob.commit([two]), "S-max_extensions")
    with pytest.raises(UsageError) as caught:
        world.clients["member-1"].create_group(extensions=two.extensions)
    assert caught.value.rule == "S-max_extensions"
    for message in (alice.propose(two).message, alice.commit([two]).message):
        assert_refused(bob, message, InvalidProposal, "S-max_extensions", Code.LIMIT_EXCEEDED)
    world.commit(alice, [GroupContextExtensions((required_capabilities(),))], bob, include=())
    world.agree(alice, bob)


@pytest.mark.rfc("S-max_extensions")
def test_how_many_extensions_a_leaf_has_is_limited() -> None:
    world = World(grease=False)
    alice, bob = world.group(2)
    limit(world, bob, max_extensions=0)
    named = NewLeaf(extensions=(application_id(b"desk"),))
    assert_not_sent(bob, lambda: bob.commit(leaf=named), "S-max_extensions")
    assert_not_sent(bob, lambda: bob.propose(Update(named)), "S-max_extensions")
    for message in (alice.propose(Update(named)).message, alice.commit(leaf=named).message):
        assert_refused(bob, message, InvalidLeafNode, "S-max_extensions", Code.LIMIT_EXCEEDED)
    world.commit(alice, (), bob, include=())


@pytest.mark.rfc("S-max_extensions")
def test_how_many_extensions_a_group_info_has_is_limited() -> None:
    world = World(external_commits=True, grease=False)
    alice = world.group(1)[0]
    dora = world.client("dora", max_extensions=1)
    with pytest.raises(InvalidGroupInfo) as caught:
        dora.join_external(alice.group_info())
    assert (caught.value.rule, caught.value.code) == ("S-max_extensions", Code.LIMIT_EXCEEDED)
    bare = alice.group_info(ratchet_tree=False)
    world.deliver(dora.join_external(bare, alice.ratchet_tree).message, alice)
    # What one would refuse oneself is not sent either, alone or in a Welcome.
    limit(world, alice, max_extensions=1)
    assert_not_sent(alice, alice.group_info, "S-max_extensions")
    adding = [Add(world.client("erin").key_package())]
    assert alice.commit(adding).welcome is not None
    limit(world, alice, max_extensions=0)
    assert_not_sent(alice, lambda: alice.commit(adding), "S-max_extensions")
    assert alice.commit(adding, tree="beside").welcome is not None
    assert_not_sent(alice, lambda: alice.group_info(ratchet_tree=False), "S-max_extensions")


@pytest.mark.rfc("S-max_extensions")
def test_an_external_sender_keeps_to_its_limits_too() -> None:
    world = World(external_senders=True)
    server = world.client("server")
    identity = Identity.basic(b"server", 1, server._signature_keys.private)
    outsider = Outsider(identity, settings=Settings(max_extensions=1))
    alice = world.client("alice").create_group(extensions=(external_senders(outsider.entry),))
    with pytest.raises(UsageError) as caught:
        outsider.propose(
            outsider.address(alice.group_info()),
            GroupContextExtensions((required_capabilities(), external_senders(outsider.entry))),
        )
    assert caught.value.rule == "S-max_extensions"


@pytest.mark.rfc("S-max_commit_proposals")
def test_how_many_proposals_a_commit_covers_is_limited() -> None:
    world = World()
    alice, bob, *others = world.group(5)
    removes = [Remove(each.me) for each in others]
    limit(world, bob, max_commit_proposals=2)
    assert_not_sent(bob, lambda: bob.commit(removes), "S-max_commit_proposals")
    assert_refused(bob, alice.commit(removes).message, InvalidCommit, "S-max_commit_proposals", Code.LIMIT_EXCEEDED)
    for each in removes:
        world.deliver(alice.propose(each).message, bob)
    # What is pending and does not fit waits for the next commit.
    pending = bob.commit()
    assert (len(pending.effect.removed), len(pending.left_out)) == (2, 1)
    assert "max_commit_proposals" in pending.left_out[0][1]
    bob.merge(pending)
    world.deliver(pending.message, alice)
    world.agree(alice, bob)


@pytest.mark.rfc("S-max_leaves")
def test_how_wide_a_tree_may_grow_is_limited() -> None:
    world = World()
    alice, bob = world.group(2)
    limit(world, bob, max_leaves=2)
    adding = [Add(world.client("carol").key_package())]
    assert_not_sent(bob, lambda: bob.commit(adding), "S-max_leaves")
    assert_refused(bob, alice.commit(adding).message, InvalidTree, "S-max_leaves", Code.LIMIT_EXCEEDED)


# Past epochs, §15.3.


@pytest.mark.rfc("S-past_epoch_ttl", "R-15-02")
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_past_epochs_are_read_for_a_while(restarts: bool) -> None:
    world = World(past_epoch_ttl=HOUR)
    alice, bob = world.group(2)
    in_time, late, recent = (bob.encrypt(text) for text in (b"in time", b"late", b"recent"))
    world.commit(bob, (), alice)
    alice = world.restart(alice) if restarts else alice
    world.now += HOUR
    (event,) = world.deliver(in_time, alice)
    assert isinstance(event, ApplicationMessage)
    world.now += 1
    assert_refused(alice, late, WrongEpoch, "S-past_epoch_ttl", Code.TOO_OLD)
    # It is kept until the next commit, or until it is said to go.
    world.now -= 1
    world.deliver(late, alice)
    secrets = [each.keys.sender_data_secret for each in alice._standing.past]
    assert alice.forget_expired_epochs() == 0
    world.now += 1
    assert alice.forget_expired_epochs() == len(secrets) > 0
    assert all(secret.is_wiped for secret in secrets)
    assert_refused(alice, recent, WrongEpoch, "R-6-11", Code.TOO_OLD)
    assert not [name for name in records(alice._store) if "/past/" in name or f"/ratchet/{1:020}/" in name]
    assert alice.forget_expired_epochs() == 0
    world.agree(world.restart(alice), bob)


@pytest.mark.rfc("S-skipped_key_ttl", "R-15.3-02")
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_messages_that_were_passed_over_are_read_for_a_while(restarts: bool) -> None:
    world = World(skipped_key_ttl=HOUR)
    alice, bob = world.group(2)
    in_time, late, last = (bob.encrypt(text) for text in (b"in time", b"late", b"last"))
    world.deliver(last, alice)
    alice = world.restart(alice) if restarts else alice
    world.now += HOUR
    (event,) = world.deliver(in_time, alice)
    assert isinstance(event, ApplicationMessage)
    world.now += 1
    assert_refused(alice, late, UnavailableSecret, "S-skipped_key_ttl", Code.TOO_OLD)
    # The key is there until the next message, or until it is said to go.
    again = world.twin(alice)
    stored, kept = records(alice._store), alice.fingerprint()
    assert alice.forget_expired_epochs() == 0
    assert alice.fingerprint() != kept
    changed = {name for name, record in records(alice._store).items() if stored[name] != record}
    assert [name.rpartition("/ratchet/")[2] for name in changed] == ["1/application"]
    assert_refused(alice, late, UnavailableSecret, "R-15.3-04", Code.TOO_OLD)
    world.deliver(bob.encrypt(b"more"), alice, again)
    assert_refused(again, late, UnavailableSecret, "R-15.3-04", Code.TOO_OLD)
    world.agree(world.restart(alice), bob)


@pytest.mark.rfc("S-skipped_key_ttl")
def test_keys_of_past_epochs_grow_old_as_well() -> None:
    world = World(skipped_key_ttl=HOUR, past_epoch_ttl=DAY)
    alice, bob = world.group(2)
    late, last = (bob.encrypt(text) for text in (b"late", b"last"))
    world.deliver(last, alice)
    world.commit(bob, (), alice)
    world.now += HOUR + 1
    assert_refused(alice, late, UnavailableSecret, "S-skipped_key_ttl", Code.TOO_OLD)
    (past,) = (each for each in alice._standing.past if each.epoch == 1)
    assert past.keys.secret_tree.records_without_expired(world.now)
    assert alice.forget_expired_epochs() == 0
    assert not past.keys.secret_tree.records_without_expired(world.now)
    assert_refused(world.restart(alice), late, UnavailableSecret, "R-15.3-04", Code.TOO_OLD)


@pytest.mark.rfc("S-past_epoch_ttl")
def test_a_commit_ends_past_epochs_whose_time_is_over() -> None:
    world = World(past_epoch_ttl=HOUR, max_past_epochs=5)
    alice, bob = world.group(2)
    for _ in range(2):
        world.commit(bob, (), alice)
    assert [each.epoch for each in alice._standing.past] == [0, 1, 2]
    world.now += HOUR + 1
    world.commit(bob, (), alice)
    assert [each.epoch for each in alice._standing.past] == [3]
    assert [each.epoch for each in world.restart(alice)._standing.past] == [3]


@pytest.mark.rfc("S-past_epoch_ttl")
def test_a_clock_that_is_turned_back_leaves_no_gap_among_past_epochs() -> None:
    world = World(past_epoch_ttl=HOUR, max_past_epochs=5)
    alice, bob = world.group(2)
    world.now += DAY
    world.commit(bob, (), alice)
    world.now -= DAY
    world.commit(bob, (), alice)
    world.now += 2 * HOUR
    assert [each.epoch for each in alice._standing.past] == [1, 2]
    assert alice.forget_expired_epochs() == 2


# Returning from outside, §12.4.3.2.


@pytest.mark.rfc("N-E06", "S-resync", "R-12.4.3.2-11")
def test_who_returns_shows_that_it_was_there() -> None:
    world = World(external_commits=True, resync=True)
    alice, bob, carol = world.group(3)
    lost = ExternalScene(world, [alice, bob, carol]).returning(2)
    lax = replace(lost.client._settings, resync_without_psk=True)
    with pytest.raises(UsageError) as caught:
        lost.message(replaces=2)
    assert (caught.value.rule, caught.value.code) == ("N-E06", Code.RESYNC_DISABLED)
    lost.client._settings = lax
    assert_refused([alice, bob], lost.message(replaces=2), Refused, "N-E06", Code.RESYNC_DISABLED)
    # A client that still holds the group shows it by itself, even from an epoch that others have left.
    world.commit(alice, (), bob)
    commit = world.clients["member-2"].join_external(alice.group_info(), resync=True)
    world.deliver(commit.message, alice, bob)
    world.agree(alice, bob, commit.accept())


@pytest.mark.rfc("N-E06")
def test_a_resumption_psk_of_another_group_does_not_show_it() -> None:
    world = World(external_commits=True, resync=True, resync_without_psk=True)
    alice = world.group(2)[0]
    bobs = world.clients["member-1"]
    other = world.clients["member-0"].create_group()
    world.add(other, bobs)
    shown = [ResumptionPSK(1, other.group_id)]
    message = bobs.join_external(alice.group_info(), resync=True, psks=shown).message
    alices = world.clients["member-0"]
    assert isinstance(alice.receive(message), StagedCommit)
    limit(world, alice, resync_without_psk=False)
    assert_refused(alice, message, Refused, "N-E06", Code.RESYNC_DISABLED)
    own = bobs.join_external(alice.group_info(), resync=True, psks=[*shown, ResumptionPSK(1)])
    world.deliver(own.message, alice)
    assert alices.group(alice.group_id).epoch == own.epoch
