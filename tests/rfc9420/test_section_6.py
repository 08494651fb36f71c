"""RFC 9420 §6: the envelope, and what is refused before a message's content has any effect."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from mls import Add, ApplicationMessage, ProposalReceived, Remove, StagedCommit
from mls.epoch.create_commit import protect
from mls.epoch.framing import (
    membership_tag,
    protect_public,
)
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidFraming,
    InvalidKeyPackage,
    InvalidWelcome,
    MalformedMessage,
    MLSError,
    Refused,
    UsageError,
    WrongEpoch,
    WrongGroup,
)
from mls.messages import (
    ApplicationData,
    Commit,
    ExternalSenderIndex,
    MemberSender,
    NewMemberCommitSender,
    NewMemberProposalSender,
    ProposalContent,
)
from mls.messages import Remove as RemoveProposal
from tests.adversarial.insider import (
    PRIVATE,
    PUBLIC,
    Insider,
    assert_refused,
    private_message,
    wrapped,
)
from tests.support.framing import FRAMES, public_world, varied
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.wire import encode

# §6: the envelope.


@pytest.mark.rfc("R-6-04", "R-6-05", "R-17.10-01", "B24")
@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_another_version_is_refused(version: int) -> None:
    _, alice, bob, _ = public_world()
    message = alice.encrypt(b"hello")
    assert message[:2] == b"\x00\x01"
    assert_refused(bob, varied(message, 0, version.to_bytes(2, "big")), MalformedMessage, "R-6-05", Code.UNKNOWN_ENUM)
    assert isinstance(bob.receive(message), ApplicationMessage)


@pytest.mark.rfc("R-6-06")
@pytest.mark.parametrize("number", [0, 6, 0x0A0A])
def test_an_unknown_wire_format_is_refused(number: int) -> None:
    _, alice, bob, _ = public_world()
    message = alice.encrypt(b"hello")
    assert message[2:4] == b"\x00\x02"
    assert_refused(bob, varied(message, 2, number.to_bytes(2, "big")), MalformedMessage, "R-6-06", Code.UNKNOWN_ENUM)
    assert isinstance(bob.receive(message), ApplicationMessage)


@pytest.mark.rfc("R-6-06", "R-6-10", "B17")
def test_what_is_not_framed_for_a_group_is_refused_where_it_does_not_belong() -> None:
    world = World()
    alice, bob = world.group(2)
    client, carol = world.clients["member-1"], world.client("carol")
    package, info = carol.key_package(), alice.group_info()
    pending = alice.commit([Add(package)])
    hello = alice.encrypt(b"hello")
    assert pending.welcome is not None
    for message in (package, info, pending.welcome):
        assert_refused(bob, message, InvalidFraming, "R-6-06", Code.WRONG_WIRE_FORMAT)
    before = records(world.stores["member-1"])
    refusals: list[tuple[Callable[[bytes], object], Sequence[bytes], type[MLSError]]] = [
        (client.receive, [package, info], InvalidFraming),
        (client.join, [package, info, hello], InvalidWelcome),
        (lambda data: bob.propose(Add(data)), [info, hello, pending.welcome], InvalidKeyPackage),
    ]
    for use, messages, error in refusals:
        for message in messages:
            with pytest.raises(error) as caught:
                use(message)
            assert (caught.value.code, caught.value.rule) == (Code.WRONG_WIRE_FORMAT, "R-6-06")
    assert records(world.stores["member-1"]) == before
    assert isinstance(client.receive(hello), ApplicationMessage)


@pytest.mark.rfc("R-6-01", "N-M06")
def test_application_data_travels_in_private_messages_only() -> None:
    world, alice, bob, carol = public_world()
    insider = Insider(world, alice)
    said = insider.signed(insider.framed(ApplicationData(b"for all to read")))
    with pytest.raises(UsageError) as caught:
        protect_public(insider.suite, said, insider.context, insider.state.secrets.membership_key)
    assert caught.value.rule == "R-6-01"

    error = assert_refused([bob, carol], insider.public(said), InvalidFraming, "R-6-01", Code.WRONG_WIRE_FORMAT)
    assert not error.authenticated
    assert world.deliver(alice.encrypt(b"for members"), bob, carol)


@pytest.mark.rfc("R-6-02", "R-6-03")
def test_handshakes_are_private_unless_settings_say_otherwise() -> None:
    world = World()
    alice, bob = world.group(2, accept_public_handshakes=False)
    assert alice.commit().message[2:4] == b"\x00\x02"
    insider = Insider(world, alice)
    in_the_clear = insider.propose(RemoveProposal(LeafIndex(1)))
    assert_refused(bob, in_the_clear, Refused, "S-accept_public_handshakes", Code.NOT_PERMITTED)
    assert isinstance(bob.receive(insider.propose(RemoveProposal(LeafIndex(1)), wire_format=PRIVATE)), ProposalReceived)

    _, alice, bob, _ = public_world()
    sent = alice.propose(Remove(1))
    assert sent.message[2:4] == b"\x00\x01"
    assert isinstance(bob.receive(sent.message), ProposalReceived)


@pytest.mark.rfc("R-6-07", "R-6-08", "R-6-13", "R-6-14", "R-6.2-01")
def test_fields_stand_in_the_order_of_the_rfc() -> None:
    world, alice, _, _ = public_world()
    insider = Insider(world, alice)
    group_id, epoch = insider.context.group_id, struct.pack(">Q", 1)
    proposal = b"\x00\x03" + struct.pack(">I", 1)
    head = bytes([len(group_id)]) + group_id + epoch
    for sender, encoded in (
        (MemberSender(LeafIndex(0)), b"\x01" + bytes(4)),
        (ExternalSenderIndex(3), b"\x02\x00\x00\x00\x03"),
        (NewMemberProposalSender(), b"\x03"),
        (NewMemberCommitSender(), b"\x04"),
    ):
        framed = insider.framed(
            ProposalContent(RemoveProposal(LeafIndex(1))), sender=sender, authenticated_data=b"data"
        )
        content = head + encoded + b"\x04data" + b"\x02" + proposal
        assert encode(framed) == content
        signed = insider.signed(framed)
        auth = b"\x40\x40" + signed.auth.signature
        assert encode(signed) == b"\x00\x01" + content + auth
        sent = insider.public(signed)
        tag = membership_tag(insider.suite, insider.state.secrets.membership_key, signed, insider.context)
        tail = b"\x20" + tag if isinstance(sender, MemberSender) else b""
        assert sent == b"\x00\x01\x00\x01" + content + auth + tail
    assert encode(insider.framed(ApplicationData(b"")))[-2:] == b"\x01\x00"
    assert encode(insider.framed(Commit((), None)))[-3:] == b"\x03\x00\x00"


@pytest.mark.rfc("R-6-10", "R-16.4.1-01")
@FRAMES
def test_a_message_of_another_group_is_refused(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    foreign = world.clients["member-0"].create_group()
    message = foreign.commit().message
    assert_refused(bob, message, WrongGroup, "R-6-10", Code.UNKNOWN_GROUP)
    with pytest.raises(WrongGroup):
        world.clients["member-1"].receive(message)

    # The group's name alone does not make it a message of the group.
    insider = Insider(world, alice)
    if private:
        body = private_message(message)
        renamed = wrapped(replace(body, group_id=alice.group_id))
        assert_refused(bob, renamed, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
        renamed = wrapped(replace(body, group_id=alice.group_id, epoch=1))
        assert_refused(bob, renamed, InvalidCiphertext, "R-6.3.2-05", Code.SENDER_DATA_UNDECRYPTABLE)
    own = insider.propose(RemoveProposal(LeafIndex(1)), wire_format=PRIVATE if private else PUBLIC, group_id=b"other")
    assert_refused(bob, own, WrongGroup, "R-6-10", Code.UNKNOWN_GROUP)
    assert isinstance(bob.receive(alice.commit().message), StagedCommit)


@pytest.mark.rfc("R-6-11", "R-12.1.8-06", "R-12.4.2-01", "R-6.1-03", "R-16.4.1-01")
@FRAMES
@pytest.mark.parametrize("epoch", [0, 2, 2**64 - 1])
def test_a_handshake_of_another_epoch_is_refused(private: bool, epoch: int) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    insider = Insider(world, alice)
    wire_format = PRIVATE if private else PUBLIC
    genuine = alice.commit().message
    for content in (ProposalContent(RemoveProposal(LeafIndex(1))), Commit((), None)):
        message = insider.say(content, wire_format=wire_format, epoch=epoch)
        error = assert_refused(bob, message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
        assert isinstance(error, WrongEpoch)
        assert (error.current, error.received) == (1, epoch)
    at = 4 + 1 + len(bob.group_id)
    assert_refused(bob, varied(genuine, at, epoch.to_bytes(8, "big")), WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    assert isinstance(bob.receive(genuine), StagedCommit)


@pytest.mark.rfc("R-6-11", "R-15-02")
def test_application_data_of_a_kept_epoch_is_read_and_handshakes_are_not() -> None:
    world = World()
    alice, bob = world.group(2)
    insider = Insider(world, alice)
    late = insider.say(ApplicationData(b"late"), wire_format=PRIVATE)
    handshake = insider.propose(RemoveProposal(LeafIndex(1)), wire_format=PRIVATE)
    world.commit(alice, (), bob)
    assert_refused(bob, handshake, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    (event,) = world.deliver(late, bob)
    assert isinstance(event, ApplicationMessage)
    assert (event.data, event.epoch) == (b"late", 1)

    future = Insider(world, alice).say(ApplicationData(b"?"), wire_format=PRIVATE, epoch=3)
    assert_refused(bob, future, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)


@pytest.mark.rfc("R-6-12", "R-6.3-03")
def test_authenticated_data_is_told_only_as_it_was_said() -> None:
    _, alice, bob, _ = public_world()
    message = alice.encrypt(b"hello", authenticated_data=b"to bob")
    forged = message.replace(b"to bob", b"to eve")
    assert forged != message
    assert_refused(bob, forged, InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)
    event = bob.receive(message)
    assert isinstance(event, ApplicationMessage)
    assert (event.data, event.authenticated_data) == (b"hello", b"to bob")
    plain = bob.receive(alice.encrypt(b"hello"))
    assert isinstance(plain, ApplicationMessage)
    assert plain.authenticated_data == b""


@pytest.mark.rfc("R-6-15", "R-6.3-04")
@FRAMES
def test_framing_loses_nothing(private: bool) -> None:
    world, alice, bob, _ = public_world()
    insider, reader = Insider(world, alice), Insider(world, bob)
    wire_format = PRIVATE if private else PUBLIC
    commit = reader.read(alice.commit([Remove(2)]).message).content.content
    for content in (ProposalContent(RemoveProposal(LeafIndex(2))), commit):
        framed = insider.framed(content, authenticated_data=b"data")
        signed = insider.signed(framed, wire_format)
        message = insider.private(signed) if private else insider.public(signed)
        sent, _ = protect(insider.state, signed, insider.standing.keys, insider.group._environment(), private=private)
        for each in (message, encode(sent)):
            assert reader.read(each) == signed
            assert reader.read(each).wire_format == wire_format
