"""Proposals from outside the group. RFC 9420 §12.1.8."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mls import Extension, intents
from mls.crypto import SignatureKeyPair
from mls.epoch.framing import sign_content, verify_sender
from mls.errors import (
    Code,
    InvalidFraming,
    InvalidSignature,
    Refused,
    WrongEpoch,
    WrongGroup,
)
from mls.messages import (
    Add,
    BasicCredential,
    Commit,
    ExtensionType,
    ExternalInit,
    ExternalSender,
    ExternalSenderIndex,
    ExternalSenders,
    FramedContent,
    FramedContentAuthData,
    MLSMessage,
    NewMemberProposalSender,
    Proposal,
    ProposalContent,
    ProtocolVersion,
    PublicMessage,
    Remove,
    Sender,
    Update,
    WireFormat,
)
from tests.adversarial.insider import PRIVATE, Insider, assert_refused
from tests.support.crafting import (
    UPDATE,
    Forger,
    package_of,
)
from tests.support.scenes import NO_EXTENSIONS, REINIT, Scene, psk
from tests.support.world import World
from treekem.index import LeafIndex
from treekem.wire import encode


@pytest.fixture
def scene() -> Scene:
    world = World(external_senders=True, new_member_proposals=True)
    groups = world.group(4)
    return Scene(world, groups, Forger(world, groups[1]))


# Proposals from outside, §12.1.8.


@dataclass(frozen=True)
class Outside:
    """Someone who holds a signature key and knows of a group what it is told."""

    insider: Insider
    keys: SignatureKeyPair

    def message(
        self,
        proposal: Proposal | Commit,
        sender: Sender,
        *,
        epoch: int | None = None,
        group_id: bytes | None = None,
        tag: bytes | None = None,
    ) -> bytes:
        content = proposal if isinstance(proposal, Commit) else ProposalContent(proposal)
        framed = self.insider.framed(content, sender=sender, epoch=epoch, group_id=group_id)
        return self.sealed(framed, tag)

    def sealed(self, framed: FramedContent, tag: bytes | None = None) -> bytes:
        public = WireFormat.PUBLIC_MESSAGE
        signature = sign_content(self.insider.suite, self.keys.private, framed, public, self.insider.context)
        confirmation = bytes(32) if isinstance(framed.content, Commit) else None
        body = PublicMessage(framed, FramedContentAuthData(signature, confirmation), tag)
        return encode(MLSMessage(ProtocolVersion.MLS10, body))


@pytest.fixture
def server(scene: Scene) -> Outside:
    """The second of two external senders of the group."""
    keys = [scene.forger.new_signature_keys() for _ in range(2)]
    senders = tuple(ExternalSender(each.public, BasicCredential(b"server")) for each in keys)
    extension = Extension(ExtensionType.EXTERNAL_SENDERS, encode(ExternalSenders(senders)))
    scene.world.commit(scene.groups[0], [intents.GroupContextExtensions((extension,))], *scene.groups[1:])
    return Outside(Insider(scene.world, scene.groups[0]), keys[1])


SECOND = ExternalSenderIndex(1)


@pytest.mark.rfc("R-12.1.8-01", "R-12.1.8-04", "R-12.1.8-07", "R-12.4-12", "R-17.4-01")
def test_an_external_sender_proposes_what_it_may(scene: Scene, server: Outside) -> None:
    scene.world.clients["member-0"].add_psk(b"psk", b"secret")
    alice = scene.groups[0]
    for proposal in (scene.add(), Remove(LeafIndex(3)), psk(), REINIT, NO_EXTENSIONS):
        alice.receive(server.message(proposal, SECOND))
    assert [each.sender for each in alice.proposals] == [SECOND] * 5
    pending = alice.commit()
    assert [member.leaf for member in pending.effect.removed] == [3]
    assert len(pending.effect.added) == pending.effect.psks == len(pending.left_out) == 1


@pytest.mark.rfc("R-12.1.8-04", "R-17.4-01", "N-P12")
def test_an_external_sender_proposes_nothing_else(scene: Scene, server: Outside) -> None:
    for proposal in (Update(scene.forger.leaf_node(UPDATE)), ExternalInit(bytes(32))):
        message = server.message(proposal, SECOND)
        assert_refused(scene.groups, message, InvalidFraming, "R-12.1.8-04", Code.WRONG_WIRE_FORMAT)
    commit = server.message(Commit((), None), SECOND)
    assert_refused(scene.groups, commit, InvalidFraming, "R-6.1-10", Code.WRONG_WIRE_FORMAT)


@pytest.mark.rfc("R-12.1.8-01", "R-12.1.8.1-03", "N-P12")
def test_an_external_sender_is_one_of_those_listed(scene: Scene, server: Outside) -> None:
    remove = Remove(LeafIndex(3))
    for index in (2, 2**32 - 1):
        message = server.message(remove, ExternalSenderIndex(index))
        assert_refused(scene.groups, message, InvalidFraming, "R-6.1-09", Code.WRONG_WIRE_FORMAT)
    other = server.message(remove, ExternalSenderIndex(0))
    assert_refused(scene.groups, other, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    scene.world.commit(scene.groups[0], [intents.GroupContextExtensions(())], *scene.groups[1:])
    gone = Outside(Insider(scene.world, scene.groups[0]), server.keys).message(remove, SECOND)
    assert_refused(scene.groups, gone, InvalidFraming, "R-6.1-09", Code.WRONG_WIRE_FORMAT)


@pytest.mark.rfc("R-12.1.8-06")
def test_a_proposal_from_outside_is_for_this_group_and_epoch(scene: Scene, server: Outside) -> None:
    remove = Remove(LeafIndex(3))
    for epoch in (1, 3):
        message = server.message(remove, SECOND, epoch=epoch)
        assert_refused(scene.groups, message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    elsewhere = server.message(remove, SECOND, group_id=b"another group")
    assert_refused(scene.groups, elsewhere, WrongGroup, "R-6-10", Code.UNKNOWN_GROUP)


@pytest.mark.rfc("R-12.1.8-03", "N-P12")
def test_a_proposal_from_outside_is_public(scene: Scene, server: Outside) -> None:
    tagged = server.message(Remove(LeafIndex(3)), SECOND)
    alice = scene.groups[0]
    alice.receive(tagged)
    # A PrivateMessage names a leaf as its sender; whoever signs as someone outside has no leaf to name.
    framed = server.insider.framed(ProposalContent(Remove(LeafIndex(3))), sender=SECOND)
    with pytest.raises(InvalidFraming) as caught:
        verify_sender(framed, PRIVATE)
    assert caught.value.rule == "R-12.1.8-03"


@pytest.mark.rfc("S-external_senders", "R-12.1.8-02")
def test_whether_one_listens_to_outsiders_is_a_setting() -> None:
    world = World()
    alice = world.group(1)[0]
    keys = Forger(world, alice).new_signature_keys()
    sender = ExternalSender(keys.public, BasicCredential(b"server"))
    extension = Extension(ExtensionType.EXTERNAL_SENDERS, encode(ExternalSenders((sender,))))
    world.commit(alice, [intents.GroupContextExtensions((extension,))])
    outside = Outside(Insider(world, alice), keys)
    client = world.client("joiner")
    add = Add(package_of(client.key_package()))
    message = outside.message(add, ExternalSenderIndex(0))
    assert_refused(alice, message, Refused, "S-external_senders", Code.EXTERNAL_SENDERS_DISABLED)
    joiner = Outside(outside.insider, client._signature_keys)
    message = joiner.message(add, NewMemberProposalSender())
    assert_refused(alice, message, Refused, "R-12.1.8-02", Code.EXTERNAL_SENDERS_DISABLED)


@pytest.mark.rfc("R-12.1.8-02", "R-12.1.8-07", "R-6.1-12", "N-P13")
def test_a_client_proposes_its_own_addition_and_nothing_else(scene: Scene) -> None:
    client = scene.world.client("joiner")
    add = Add(package_of(client.key_package()))
    joiner = Outside(Insider(scene.world, scene.groups[0]), client._signature_keys)
    new_member = NewMemberProposalSender()
    for proposal in (Remove(LeafIndex(3)), psk(), NO_EXTENSIONS):
        message = joiner.message(proposal, new_member)
        assert_refused(scene.groups, message, InvalidFraming, "R-6.1-12", Code.WRONG_WIRE_FORMAT)
    somebody = Outside(joiner.insider, scene.forger.new_signature_keys())
    forged = somebody.message(add, new_member)
    assert_refused(scene.groups, forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)

    scene.world.deliver(joiner.message(add, new_member), *scene.groups)
    pending = scene.world.commit(scene.groups[0], (), *scene.groups[1:])
    joined = client.join(pending.welcome or b"").accept()
    scene.world.agree(*scene.groups, joined)
