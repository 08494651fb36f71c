"""RFC 9420 §8 as groups live it: what enters an epoch's secrets, in which order, and what goes with the epoch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mls import Add, Extension, Group, GroupContextExtensions, PreSharedKey, ResumptionPSK
from mls import messages as wire
from mls.crypto import cipher_suite
from mls.epoch.state import EpochState
from mls.epoch.welcome import open_group_secrets
from mls.header import read_header
from mls.messages import (
    ExternalPSK,
    MLSMessage,
    PreSharedKeyID,
    ProtocolVersion,
    ResumptionPSKUsage,
)
from mls.registry import ProposalDefinition, Registry
from mls.schedule.key_schedule import (
    ExternalSecret,
    create_external_init,
    external_init_secret,
    external_key_pair,
)
from mls.settings import Settings
from tests.support.crafting import Forger, capable_group, package_of
from tests.support.entropy import DeterministicEntropy
from tests.support.extending import TOPIC, Topic, retitled
from tests.support.naive_schedule import HASHES, epoch_secret, expand_with_label, psk_secret
from tests.support.welcomes import bundle_of
from tests.support.world import World, join, records
from treekem.tree import RatchetTree
from treekem.wire import decode, encode

SUITE = cipher_suite(1)
LENGTH = 32
Injected = Sequence[tuple[PreSharedKeyID, bytes]]


def authenticator_of(after: EpochState, init_secret: bytes, psks: Injected = ()) -> bytes:
    """Return the authenticator of an epoch that a commit without a path began."""
    injected = psk_secret("sha256", [(encode(psk_id), psk) for psk_id, psk in psks])
    secret = epoch_secret("sha256", init_secret, bytes(LENGTH), injected, after.group.encoded_context())
    return expand_with_label("sha256", secret, b"authentication", b"", LENGTH)


def init_secret_of(group: Group) -> bytes:
    return group._standing.state.secrets.init_secret.expose()


def named(name: bytes, nonce: bytes = bytes(LENGTH)) -> PreSharedKeyID:
    return PreSharedKeyID(ExternalPSK(name), nonce)


# §8, §8.1, §8.2


@pytest.mark.rfc("R-8-07", "R-8.1-04", "R-8.7-01")
def test_an_epoch_derives_from_the_context_that_holds_in_it() -> None:
    world = World()
    alice, bob = world.group(2)
    for newcomer in ("carol", "dave"):
        init_secret, before = init_secret_of(alice), alice._standing.state.group.context
        world.commit(alice, [Add(world.client(newcomer).key_package())], bob, path=False)
        for group in (alice, bob):
            after = group._standing.state.group.context
            assert after.epoch == before.epoch + 1
            assert after.confirmed_transcript_hash != before.confirmed_transcript_hash
            assert after.tree_hash == RatchetTree.decode(group.ratchet_tree).tree_hash(SUITE) != before.tree_hash
            assert group.epoch_authenticator == authenticator_of(group._standing.state, init_secret)
    world.commit(alice, (), bob)
    for group in (alice, bob):
        assert group.tree_hash == RatchetTree.decode(group.ratchet_tree).tree_hash(SUITE)


@pytest.mark.rfc("R-8-07", "R-8.1-05")
def test_an_epoch_derives_from_the_extensions_that_its_commit_set() -> None:
    # A proposal of the application's own changes them without a path, whose secret would be unknown here.
    retitle = ProposalDefinition(0xF104, Topic, needs_path=False, external=False, apply=retitled)
    world = World(registry=Registry((TOPIC,), (retitle,)))
    alice, bob = world.group(2)
    init_secret, topic = init_secret_of(alice), Topic(b"plans")
    world.commit(alice, [retitle.proposal(topic)], bob, path=False)
    for group in (alice, bob):
        assert group.extensions == (TOPIC.extension(topic),)
        assert group.epoch_authenticator == authenticator_of(group._standing.state, init_secret)


@pytest.mark.rfc("R-8.1-02", "R-8.2-06")
@pytest.mark.parametrize("private", [True, False])
def test_a_commit_names_the_epoch_that_it_ends_and_its_group_keeps_its_id(*, private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    group_id = alice.group_id
    for epoch in range(1, 4):
        pending = world.commit(alice, (), bob)
        header = read_header(pending.message, Settings())
        assert (header.group_id, header.epoch) == (group_id, epoch)
        for group in (alice, bob):
            context = group._standing.state.group.context
            assert (context.group_id, context.epoch) == (group_id, epoch + 1)


@pytest.mark.rfc("R-8.1-05")
def test_extensions_are_those_of_the_last_commit_that_said_some() -> None:
    world = World()
    first = (Extension(0xF001, b"\x02first"), Extension(0xF000, b""))
    groups = capable_group(world, 3, first, extensions=(0xF000, 0xF001))
    for _ in range(2):
        assert {group.extensions for group in groups} == {first}
        world.commit(groups[0], (), *groups[1:])
    second = (Extension(0xF001, b""), Extension(0xF000, b"second"))
    world.commit(groups[1], [GroupContextExtensions(second)], groups[0], groups[2])
    for _ in range(2):
        assert {group.extensions for group in groups} == {second}
        world.commit(groups[0], (), *groups[1:])


@pytest.mark.rfc("R-8.2-04")
def test_who_joins_goes_on_with_the_transcript_of_the_others() -> None:
    world = World(external_commits=True)
    alice, bob = world.group(2)
    carol = join(world.client("carol"), world.commit(alice, [Add(world.clients["carol"].key_package())], bob))
    entry = world.client("dora").join_external(bob.group_info())
    world.deliver(entry.message, alice, bob, carol)
    everybody = [alice, bob, carol, entry.accept()]
    assert len({group._standing.state.group.interim_transcript_hash for group in everybody}) == 1
    world.commit(everybody[3], (), *everybody[:3])
    world.agree(*everybody)


# §8.3


@pytest.mark.rfc("R-8.3-01", "R-8.3-02")
@pytest.mark.parametrize("suite_id", sorted(HASHES))
def test_the_external_init_secret_is_an_export_under_its_own_label(
    suite_id: int, entropy: DeterministicEntropy
) -> None:
    suite = cipher_suite(suite_id)
    pair = external_key_pair(suite, ExternalSecret(b"e" * suite.hash_length))
    no_info = suite.hpke.context(b"")

    def exported(kem_output: bytes) -> bytes:
        label = b"MLS 1.0 external init secret"
        return suite.hpke.export_from(pair.private, no_info, label, kem_output, suite.hash_length).expose()

    kem_output, ours = create_external_init(suite, pair.public, entropy)
    assert ours.expose() == exported(kem_output)
    kem_output, _ = suite.hpke.export_to(pair.public, no_info, b"", suite.hash_length, entropy)
    assert external_init_secret(suite, pair.private, kem_output).expose() == exported(kem_output)


@pytest.mark.rfc("R-8.3-03")
def test_an_external_init_secret_serves_for_its_commit_alone() -> None:
    world = World(external_commits=True)
    alice, bob = world.group(2)
    entry = world.client("dora").join_external(alice.group_info())
    world.deliver(entry.message, alice, bob)
    dora = entry.accept()
    world.agree(alice, bob, dora)
    init_secret = init_secret_of(alice)
    world.commit(bob, [Add(world.client("erin").key_package())], alice, dora, path=False)
    for group in (alice, bob, dora):
        assert group.epoch_authenticator == authenticator_of(group._standing.state, init_secret)


@pytest.mark.rfc("R-8.3-05")
def test_the_external_secret_goes_with_its_epoch() -> None:
    world = World(max_past_epochs=2)
    groups = world.group(2)
    ended = [group._standing.state.secrets.external for group in groups]
    told = ended[0].expose()
    assert any(told in record for record in records(groups[0]._store).values())
    world.commit(groups[0], (), groups[1])
    assert all(secret.is_wiped for secret in ended)
    for group in groups:
        assert group._standing.state.secrets.external.expose() != told
        assert not any(told in record for record in records(group._store).values())


# §8.4


@pytest.mark.rfc("R-8.4-01")
def test_the_fields_of_a_pre_shared_key_id() -> None:
    resumption = wire.ResumptionPSK(ResumptionPSKUsage.BRANCH, b"group", 7)
    for psk_id, encoded in (
        (named(b"id", b"nonce"), b"\x01\x02id\x05nonce"),
        (PreSharedKeyID(resumption, b"nonce"), b"\x02\x03\x05group" + bytes(7) + b"\x07\x05nonce"),
    ):
        assert encode(psk_id) == encoded
        assert decode(PreSharedKeyID, encoded) == psk_id


@pytest.mark.rfc("R-8.4-02")
@pytest.mark.parametrize("suite_id", [1, 4, 7])
def test_every_injection_has_a_fresh_nonce_of_the_suites_length(suite_id: int) -> None:
    world = World(suite_id)
    alice = world.group(1)[0]
    world.clients["member-0"].add_psk(b"psk", b"k" * 32)
    for intent in (PreSharedKey(b"psk"), PreSharedKey(b"psk"), ResumptionPSK(0), ResumptionPSK(0)):
        alice.propose(intent)
    waiting = [each.proposal for each in alice.proposals]
    nonces = {each.psk.psk_nonce for each in waiting if isinstance(each, wire.PreSharedKey)}
    assert len(nonces) == 4
    assert {len(nonce) for nonce in nonces} == {cipher_suite(suite_id).hash_length}


@pytest.mark.rfc("R-8.4-03", "R-8.4-07")
def test_psks_are_in_the_order_of_the_commit_for_all() -> None:
    world = World()
    alice, bob = world.group(2)
    carol = world.client("carol")
    psks = [(named(name, name * LENGTH), name * 7) for name in (b"c", b"a", b"d", b"b")]
    for client in world.clients.values():
        for psk_id, psk in psks:
            assert isinstance(psk_id.psk, ExternalPSK)
            client.add_psk(psk_id.psk.psk_id, psk)
    forger = Forger(world, alice)
    one, other, third, last = (wire.PreSharedKey(psk_id) for psk_id, _ in psks)
    package = package_of(carol.key_package())
    sent = forger.send(other)
    bob.receive(sent.message)

    created = forger.order(one, sent, wire.Add(package), third, last, path=False)
    assert created.transition.state is not None
    assert created.welcome is not None
    expected = authenticator_of(created.transition.state, init_secret_of(alice), psks)
    assert created.transition.state.secrets.epoch_authenticator == expected
    world.deliver(encode(created.message), bob)
    assert bob.epoch_authenticator == expected

    bundle = bundle_of(carol)
    told = open_group_secrets(SUITE, created.welcome, bundle.reference(), bundle.init_key)
    assert told.psks == tuple(psk_id for psk_id, _ in psks)
    message = encode(MLSMessage(ProtocolVersion.MLS10, created.welcome))
    assert carol.join(message).accept().epoch_authenticator == expected


@pytest.mark.rfc("R-8.4-08", "R-8.6-01")
def test_a_resumption_psk_is_that_of_the_group_and_epoch_that_it_names() -> None:
    world = World()
    alice, bob = world.group(2)
    other = world.clients["member-0"].create_group()
    left: dict[tuple[bytes, int], bytes] = {}
    for group, others in ((alice, [bob]), (other, [])):
        for _ in range(3):
            left[group.group_id, group.epoch] = group._standing.state.secrets.resumption_psk.expose()
            world.commit(group, (), *others)
    assert len(set(left.values())) == 6
    held = world.clients["member-0"]._environment().psk
    for (group_id, epoch), secret in left.items():
        psk_id = wire.ResumptionPSK(ResumptionPSKUsage.APPLICATION, group_id, epoch)
        psk = held(PreSharedKeyID(psk_id, bytes(LENGTH)))
        assert psk is not None
        assert psk.expose() == secret
