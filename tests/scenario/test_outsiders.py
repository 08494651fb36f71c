"""Proposals from outside: of external senders, and of clients for themselves. RFC 9420 §12.1.8."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from mls import (
    Add,
    Extension,
    Group,
    GroupContextExtensions,
    Identity,
    PreSharedKey,
    ProposalReceived,
    ReInit,
    Remove,
    ResumptionPSK,
    Update,
)
from mls.crypto import cipher_suite
from mls.epoch.extensions import verify_extensions
from mls.errors import Code, InvalidGroupInfo, InvalidProposal, MLSError, UsageError
from mls.extensions import application_id, external_senders, required_capabilities
from mls.intents import Intent
from mls.messages import ExternalInit, ExternalSender
from mls.outsider import Address, Outsider
from tests.support.entropy import DeterministicEntropy
from tests.support.world import World, join, records


@dataclass(frozen=True)
class Scene:
    """Three members of a group that names two external senders; the second is the one who speaks."""

    world: World
    groups: list[Group]
    outsider: Outsider

    @property
    def address(self) -> Address:
        return self.outsider.address(self.groups[0].group_info())

    def hear(self, message: bytes) -> list[ProposalReceived]:
        heard = self.world.deliver(message, *self.groups)
        assert all(isinstance(each, ProposalReceived) for each in heard)
        return [each for each in heard if isinstance(each, ProposalReceived)]


def outsider_of(suite: int, name: str) -> Outsider:
    entropy = DeterministicEntropy(name.encode())
    key = cipher_suite(suite).generate_signature_key_pair(entropy).private
    return Outsider(Identity.basic(name.encode(), suite, key), entropy=entropy)


def scene_of(suite: int = 1, **settings: Any) -> Scene:  # noqa: ANN401  (fields of Settings)
    world = World(suite, **{"external_senders": True, "new_member_proposals": True, **settings})
    first, second = outsider_of(suite, "other"), outsider_of(suite, "directory")
    groups = world.group(3, extensions=(external_senders(first.entry, second.entry),))
    return Scene(world, groups, second)


@pytest.fixture
def scene() -> Scene:
    return scene_of()


# External senders.


@pytest.mark.rfc("R-12.1.8-01", "R-12.1.8-07", "R-6.1-09")
@pytest.mark.parametrize("suite", [1, 2, 4])
@pytest.mark.parametrize("private", [True, False])
def test_an_external_sender_adds_and_removes(suite: int, private: bool) -> None:
    scene = scene_of(suite, private_handshakes=private)
    assert scene.address == Address(scene.groups[0].group_id, 1, 1)
    dora = scene.world.client("dora")
    scene.hear(scene.outsider.propose(scene.address, Add(dora.key_package()), authenticated_data=b"welcome her"))
    scene.hear(scene.outsider.propose(scene.address, Remove(2)))
    restarted = scene.world.restart(scene.groups[0])
    pending = scene.world.commit(restarted, (), *scene.groups[1:])
    assert [member.identity for member in pending.effect.added] == [b"dora"]
    assert [member.leaf for member in pending.effect.removed] == [2]
    assert scene.groups[2].is_retired
    scene.world.agree(restarted, scene.groups[1], join(dora, pending))


@pytest.mark.rfc("R-12.1.8-04", "R-12.1.8-07")
def test_whatever_else_an_external_sender_may_propose(scene: Scene) -> None:
    for client in scene.world.clients.values():
        client.add_psk(b"shared", bytes(32))
    extensions = (external_senders(scene.outsider.entry),)
    asked = (PreSharedKey(b"shared"), ResumptionPSK(1), GroupContextExtensions(extensions))
    for intent in asked:
        scene.hear(scene.outsider.propose(scene.address, intent))
    pending = scene.world.commit(scene.groups[0], (), *scene.groups[1:])
    assert (pending.effect.psks, pending.effect.extensions_changed) == (2, True)
    assert scene.address == Address(scene.groups[0].group_id, 2, 0)
    scene.hear(scene.outsider.propose(scene.address, ReInit(b"next", 1)))
    scene.world.commit(scene.groups[1], (), scene.groups[0], scene.groups[2])
    assert all(group.is_frozen for group in scene.groups)


@pytest.mark.rfc("R-12.1.8-04", "R-6.1-10")
@pytest.mark.parametrize("intent", [Update(), ExternalInit(b"kem output"), b"text"])
def test_an_external_sender_proposes_nothing_else(scene: Scene, intent: object) -> None:
    with pytest.raises(UsageError) as caught:
        scene.outsider.propose(scene.address, intent)  # type: ignore[arg-type]  # what it may not
    assert caught.value.rule == "R-12.1.8-04"


@pytest.mark.rfc("R-13.4-05")
@pytest.mark.parametrize("intent", [GroupContextExtensions, lambda twice: ReInit(b"next", 1, twice)])
def test_extensions_are_looked_at_before_they_are_proposed(scene: Scene, intent: type[GroupContextExtensions]) -> None:
    with pytest.raises(InvalidProposal) as caught:
        scene.outsider.propose(scene.address, intent((Extension(0xFF00, b""), Extension(0xFF00, b""))))
    assert caught.value.rule == "R-13.4-05"
    scene.outsider.propose(scene.address, intent((Extension(0xFF00, b""),)))


@pytest.mark.rfc("R-12.1.8-01", "R-12.1.8-06", "R-6.1-09")
def test_an_external_sender_speaks_in_its_place_only(scene: Scene) -> None:
    here, alice = scene.address, scene.groups[0]

    def refused(address: Address, code: str, rule: str) -> None:
        message = scene.outsider.propose(address, Remove(2))
        with pytest.raises(MLSError) as caught:
            alice.receive(message)
        assert (caught.value.code, caught.value.rule) == (code, rule)

    refused(replace(here, sender_index=0), Code.BAD_SIGNATURE, "R-6.1-13")
    refused(replace(here, sender_index=2), Code.WRONG_WIRE_FORMAT, "R-6.1-09")
    refused(replace(here, epoch=0), Code.WRONG_EPOCH, "R-6-11")
    refused(replace(here, group_id=b"another"), Code.UNKNOWN_GROUP, "R-6-10")
    scene.hear(scene.outsider.propose(here, Remove(2)))


@pytest.mark.rfc("R-12.1.8-01", "S-external_senders")
def test_a_group_that_does_not_name_the_sender(scene: Scene) -> None:
    stranger = outsider_of(1, "stranger")
    other = World(1).group(1)[0]
    for group in (scene.groups[0], other):
        with pytest.raises(UsageError) as caught:
            stranger.address(group.group_info())
        assert caught.value.rule == "R-12.1.8-01"
    with pytest.raises(InvalidGroupInfo) as refused:
        outsider_of(2, "directory").address(scene.groups[0].group_info())
    assert refused.value.rule == "R-12.4.3.1-12"
    with pytest.raises(UsageError):
        Outsider(Identity.basic(b"without a key"))
    deaf = scene_of(external_senders=False)
    with pytest.raises(MLSError) as unheard:
        deaf.groups[0].receive(deaf.outsider.propose(deaf.address, Remove(2)))
    assert unheard.value.code == Code.EXTERNAL_SENDERS_DISABLED


@pytest.mark.rfc("S-max_message_bytes")
def test_a_proposal_that_nobody_would_take_is_not_made(scene: Scene) -> None:
    with pytest.raises(UsageError) as caught:
        scene.outsider.propose(scene.address, Remove(2), authenticated_data=bytes(2**20))
    assert caught.value.rule == "S-max_message_bytes"


def test_an_outsider_shows_no_key(scene: Scene) -> None:
    assert repr(scene.outsider) == "<Outsider, MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519>"


# Clients for themselves.


@pytest.mark.rfc("R-12.1.8-02", "R-12.1.8-07", "R-6.1-12")
@pytest.mark.parametrize("suite", [1, 2, 6])
def test_a_client_asks_to_be_added(suite: int) -> None:
    scene = scene_of(suite)
    dora = scene.world.client("dora")
    message = dora.propose_external_add(scene.groups[0].group_id, scene.groups[0].epoch, authenticated_data=b"please")
    scene.hear(message)
    dora = scene.world.open("dora", scene.world.stores["dora"])
    pending = scene.world.commit(scene.groups[2], (), *scene.groups[:2])
    assert [member.identity for member in pending.effect.added] == [b"dora"]
    entered = join(dora, pending)
    scene.world.agree(*scene.groups, entered)
    scene.world.deliver(entered.encrypt(b"hello"), *scene.groups)


@pytest.mark.rfc("R-12.1.8-02", "R-12.1.8-06")
def test_a_client_that_asks_may_be_refused(scene: Scene) -> None:
    dora, alice = scene.world.client("dora"), scene.groups[0]
    for group_id, epoch, rule in ((alice.group_id, 0, "R-6-11"), (b"another", 1, "R-6-10")):
        with pytest.raises(MLSError) as caught:
            alice.receive(dora.propose_external_add(group_id, epoch))
        assert caught.value.rule == rule
    deaf = scene_of(new_member_proposals=False)
    with pytest.raises(MLSError) as unheard:
        deaf.groups[0].receive(deaf.world.client("dora").propose_external_add(deaf.groups[0].group_id, 1))
    assert unheard.value.rule == "R-12.1.8-02"


def test_a_proposal_that_is_too_large_keeps_nothing(scene: Scene) -> None:
    dora = scene.world.client("dora")
    before = records(dora._store)
    with pytest.raises(UsageError):
        dora.propose_external_add(b"group", 1, authenticated_data=bytes(2**20))
    assert records(dora._store) == before


# Extensions.


@pytest.mark.rfc("R-5.3.3-01", "R-11.1-01", "R-12.1.8.1-01")
def test_extensions_are_what_they_are_called() -> None:
    entry: ExternalSender = outsider_of(1, "directory").entry
    context = (required_capabilities(extension_types=(0xFF00,), credential_types=(1,)), external_senders(entry))
    verify_extensions(context, "group context", InvalidProposal)
    verify_extensions((application_id(b"phone"),), "leaf node", InvalidProposal)
    assert [each.extension_type for each in (*context, application_id(b"phone"))] == [3, 5, 1]
    with pytest.raises(InvalidProposal):
        verify_extensions(context, "leaf node", InvalidProposal)


@pytest.mark.rfc("R-11.1-01")
def test_what_a_group_requires_is_required() -> None:
    world = World()
    met = world.client("alice").create_group(extensions=(required_capabilities(credential_types=(1, 2)),))
    intents: list[Intent] = [Add(world.client("bob").key_package())]
    met.merge(met.commit(intents))
    with pytest.raises(MLSError) as caught:
        world.client("carol").create_group(extensions=(required_capabilities(proposal_types=(0xFF01,)),))
    assert caught.value.code == Code.UNSUPPORTED_CAPABILITY
