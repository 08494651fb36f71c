"""RFC 9420 §6: framing, and what is refused before a message's content has any effect."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from mls import Add, ApplicationMessage, Extension, Group, OwnMessage, ProposalReceived, Remove, StagedCommit
from mls.crypto import SignatureKeyPair
from mls.epoch.create_commit import CommitOrder, create_commit, own_leaf_content
from mls.epoch.framing import (
    framed_content_tbs,
    membership_tag,
    open_sender_data,
    protect_private,
    protect_public,
    verify_sender,
)
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidFraming,
    InvalidSignature,
    InvalidTag,
    MalformedMessage,
    MLSError,
    Refused,
    UnavailableSecret,
    UsageError,
    WrongEpoch,
    WrongGroup,
)
from mls.messages import Add as AddProposal
from mls.messages import (
    ApplicationData,
    AuthenticatedContent,
    BasicCredential,
    Commit,
    Content,
    ContentType,
    ExternalInit,
    ExternalSender,
    ExternalSenderIndex,
    ExternalSenders,
    GroupContextExtensions,
    KeyPackage,
    MemberSender,
    MLSMessage,
    NewMemberCommitSender,
    NewMemberProposalSender,
    ProposalContent,
    Sender,
    WireFormat,
)
from mls.messages import Remove as RemoveProposal
from mls.messages import Update as UpdateProposal
from tests.adversarial.insider import (
    PRIVATE,
    PUBLIC,
    Envelope,
    Insider,
    assert_refused,
    plaintext_of,
    private_message,
    public_message,
    wrapped,
)
from tests.support.world import World
from treekem.index import LeafIndex
from treekem.wire import decode, encode

EXTERNAL_SENDERS = 5
FRAMES = pytest.mark.parametrize("private", [False, True], ids=["public", "private"])


def public_world() -> tuple[World, Group, Group, Group]:
    world = World(private_handshakes=False)
    alice, bob, carol = world.group(3)
    return world, alice, bob, carol


def flipped(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def varied(message: bytes, at: int, new: bytes) -> bytes:
    return message[:at] + new + message[at + len(new) :]


# §6: the envelope.


@pytest.mark.rfc("R-6-04", "R-6-05", "R-17.10-01")
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


@pytest.mark.rfc("R-6-01")
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
        assert reader.read(message) == signed
        assert reader.read(message).wire_format == wire_format


# §6.1: who signs, and over what.


@pytest.mark.rfc("R-6.1-01", "R-6.1-02", "R-6.1-03")
def test_members_and_external_joiners_sign_the_group_context() -> None:
    world, alice, _, _ = public_world()
    insider = Insider(world, alice)
    context = encode(insider.context)
    for sender, is_bound in (
        (MemberSender(LeafIndex(0)), True),
        (NewMemberCommitSender(), True),
        (ExternalSenderIndex(0), False),
        (NewMemberProposalSender(), False),
    ):
        framed = insider.framed(Commit((), None), sender=sender)
        expected = b"\x00\x01\x00\x01" + encode(framed) + (context if is_bound else b"")
        assert framed_content_tbs(framed, PUBLIC, insider.context) == expected


@pytest.mark.rfc("R-6.1-04")
def test_a_signature_does_not_move_to_the_other_wire_format() -> None:
    world, alice, bob, carol = public_world()
    insider = Insider(world, alice)
    framed = insider.framed(ProposalContent(RemoveProposal(LeafIndex(2))))
    for signed_for, sent_as in ((PRIVATE, PUBLIC), (PUBLIC, PRIVATE)):
        signed = insider.signed(framed, signed_for)
        moved = AuthenticatedContent(sent_as, signed.content, signed.auth)
        message = insider.public(moved) if sent_as is PUBLIC else insider.private(moved)
        assert_refused([bob, carol], message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
        stayed = insider.public(signed) if signed_for is PUBLIC else insider.private(signed)
        assert isinstance(world.twin(bob).receive(stayed), ProposalReceived)


@pytest.mark.rfc("R-6.1-05", "R-6.1-06")
def test_a_confirmation_tag_stands_in_commits_and_nowhere_else() -> None:
    world, alice, bob, carol = public_world()
    insider = Insider(world, alice)
    tag = b"\x20" + bytes(32)

    proposal = insider.signed(insider.framed(ProposalContent(RemoveProposal(LeafIndex(2)))))
    message = insider.public(proposal)
    with_tag = message[:-33] + tag + message[-33:]
    assert_refused([bob, carol], with_tag, MalformedMessage, "R-2.1-08", Code.TRAILING_DATA)
    hidden = insider.private(insider.signed(proposal.content, PRIVATE), Envelope(padding=tag))
    assert_refused([bob, carol], hidden, MalformedMessage, "R-6.3.1-03", Code.NON_ZERO_PADDING)

    commit = alice.commit().message
    body = public_message(commit)
    assert body.auth.confirmation_tag is not None
    without_tag = commit[:-66] + commit[-33:]
    assert_refused([bob, carol], without_tag, MalformedMessage, "R-2.1-07", Code.TRUNCATED)
    plaintext = plaintext_of(insider.resigned(AuthenticatedContent(PRIVATE, body.content, body.auth)))[:-33]
    short = insider.private(insider.signed(body.content, PRIVATE), Envelope(plaintext=plaintext))
    assert_refused([bob, carol], short, MalformedMessage, "R-2.1-07", Code.TRUNCATED)
    assert isinstance(bob.receive(commit), StagedCommit)


@pytest.mark.rfc("R-6.1-07")
def test_a_member_that_sends_has_a_leaf() -> None:
    world, alice, _, carol = public_world()
    world.commit(alice, [Remove(1)], carol)
    insider = Insider(world, alice)
    proposal = ProposalContent(RemoveProposal(LeafIndex(2)))
    for nobody in (1, 3, 4, 1000, 2**32 - 1):
        message = insider.say(proposal, sender=MemberSender(LeafIndex(nobody)))
        assert_refused(carol, message, InvalidFraming, "R-6.1-07", Code.UNVERIFIED)
    another = insider.say(proposal, sender=MemberSender(LeafIndex(2)))
    observer = world.add(alice, world.client("dora"), others=[carol])[0]
    assert_refused(observer, another, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    another = Insider(world, alice).say(proposal, sender=MemberSender(LeafIndex(2)))
    assert_refused(observer, another, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    assert isinstance(observer.receive(Insider(world, alice).say(proposal)), ProposalReceived)


@pytest.mark.rfc("R-6.1-08")
@FRAMES
def test_a_commit_that_rotates_the_signature_key_is_signed_by_the_old_one(private: bool) -> None:
    world, alice, bob, carol = public_world()
    insider = Insider(world, alice)
    pair = insider.suite.generate_signature_key_pair(world.entropy("new key"))
    leaf = replace(own_leaf_content(insider.state), signature_keys=pair)
    order = CommitOrder(leaf=leaf, private=private)
    created = create_commit(insider.state, order, insider.standing.keys, insider.group._environment())

    content = Insider(world, bob).read(encode(created.message))
    assert isinstance(content.content.content, Commit)
    assert content.content.content.path is not None
    assert content.content.content.path.leaf_node.signature_key == pair.public
    by_the_new_key = insider.signed(
        content.content, WireFormat(content.wire_format), key=pair.private, tag=content.auth.confirmation_tag or b""
    )
    forged = insider.private(by_the_new_key) if private else insider.public(by_the_new_key)
    assert_refused([bob, carol], forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)

    world.deliver(encode(created.message), bob, carol)
    world.agree(bob, carol)
    assert bob.members[0].signature_key == pair.public


def external(world: World) -> tuple[SignatureKeyPair, Extension]:
    suite = Insider(world, world.group(1)[0]).suite
    pair = suite.generate_signature_key_pair(world.entropy("external"))
    listed = ExternalSenders((ExternalSender(pair.public, BasicCredential(b"moderator")),))
    return pair, Extension(EXTERNAL_SENDERS, encode(listed))


@pytest.mark.rfc("R-6.1-09", "R-12.1.8-01", "R-6.1-02")
def test_an_external_sender_is_listed_in_the_group_context() -> None:
    world = World(external_senders=True)
    pair, extension = external(world)
    proposal = ProposalContent(RemoveProposal(LeafIndex(1)))

    def message(group: Group, index: int) -> bytes:
        insider = Insider(world, group)
        framed = insider.framed(proposal, sender=ExternalSenderIndex(index))
        return insider.public(insider.signed(framed, key=pair.private))

    alice, bob = world.group(2)
    for index in (0, 1):
        assert_refused([alice, bob], message(alice, index), InvalidFraming, "R-6.1-09", Code.WRONG_WIRE_FORMAT)

    alice, bob = world.group(2, extensions=(extension,))
    for index in (1, 2**32 - 1):
        assert_refused([alice, bob], message(alice, index), InvalidFraming, "R-6.1-09", Code.WRONG_WIRE_FORMAT)
    events = world.deliver(message(alice, 0), alice, bob)
    assert all(isinstance(event, ProposalReceived) for event in events)
    world.commit(alice, (), bob)
    assert bob.is_retired


@pytest.mark.rfc("R-6.1-10", "R-12.1.8-04")
def test_an_external_sender_proposes_what_it_may() -> None:
    world = World(external_senders=True)
    pair, extension = external(world)
    alice, bob = world.group(2, extensions=(extension,))
    insider = Insider(world, alice)
    leaf = insider.state.group.leaf_node(LeafIndex(1))
    assert leaf is not None

    def message(content: Commit | ProposalContent) -> bytes:
        framed = insider.framed(content, sender=ExternalSenderIndex(0))
        return insider.public(insider.signed(framed, key=pair.private))

    assert_refused([alice, bob], message(Commit((), None)), InvalidFraming, "R-6.1-10", Code.WRONG_WIRE_FORMAT)
    for proposal in (UpdateProposal(leaf), ExternalInit(bytes(32))):
        forbidden = message(ProposalContent(proposal))
        assert_refused([alice, bob], forbidden, InvalidFraming, "R-12.1.8-04", Code.WRONG_WIRE_FORMAT)
    for allowed in (RemoveProposal(LeafIndex(1)), GroupContextExtensions((extension,))):
        assert isinstance(bob.receive(message(ProposalContent(allowed))), ProposalReceived)


@pytest.mark.rfc("R-6.1-11")
def test_an_external_joiner_commits_with_a_path_and_by_the_paths_key() -> None:
    world = World(external_commits=True, private_handshakes=False)
    alice, bob = world.group(2)
    insider, stranger = Insider(world, alice), Insider(world, world.group(1)[0])
    without = insider.framed(Commit((), None), sender=NewMemberCommitSender())
    message = insider.public(insider.signed(without))
    assert_refused([alice, bob], message, InvalidFraming, "R-6.1-11", Code.PATH_REQUIRED)

    path = public_message(alice.commit().message).content.content
    framed = insider.framed(path, sender=NewMemberCommitSender())
    message = insider.public(insider.signed(framed, key=stranger.state.own.signature_key))
    assert_refused([alice, bob], message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    proposal = insider.framed(ProposalContent(RemoveProposal(LeafIndex(1))), sender=NewMemberCommitSender())
    message = insider.public(insider.signed(proposal))
    assert_refused([alice, bob], message, InvalidFraming, "R-6.1-11", Code.PATH_REQUIRED)


@pytest.mark.rfc("R-6.1-12", "R-12.1.8-02")
def test_a_new_member_proposes_its_own_addition() -> None:
    world = World(new_member_proposals=True)
    alice, bob = world.group(2)
    carol = world.client("carol")
    package = decode(MLSMessage, carol.key_package()).body
    assert isinstance(package, KeyPackage)
    insider = Insider(world, alice)
    key = carol._signature_keys.private

    def message(content: Content) -> bytes:
        framed = insider.framed(content, sender=NewMemberProposalSender())
        return insider.public(insider.signed(framed, key=key))

    commit = Insider(world, bob).read(alice.commit().message).content.content
    for other in (ProposalContent(RemoveProposal(LeafIndex(1))), Commit((), None), commit):
        assert_refused([alice, bob], message(other), InvalidFraming, "R-6.1-12", Code.WRONG_WIRE_FORMAT)
    by_another = insider.framed(ProposalContent(AddProposal(package)), sender=NewMemberProposalSender())
    forged = insider.public(insider.signed(by_another))
    assert_refused([alice, bob], forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    assert isinstance(bob.receive(message(ProposalContent(AddProposal(package)))), ProposalReceived)


@pytest.mark.rfc("R-12.1.8-02", "R-12.1.8-01")
def test_outsiders_are_heard_only_where_settings_say_so() -> None:
    world = World()
    pair, extension = external(world)
    alice, bob = world.group(2, extensions=(extension,))
    insider = Insider(world, alice)
    framed = insider.framed(ProposalContent(RemoveProposal(LeafIndex(1))), sender=ExternalSenderIndex(0))
    message = insider.public(insider.signed(framed, key=pair.private))
    assert_refused(bob, message, Refused, "S-external_senders", Code.EXTERNAL_SENDERS_DISABLED)

    carol = world.client("carol")
    package = decode(MLSMessage, carol.key_package()).body
    assert isinstance(package, KeyPackage)
    framed = insider.framed(ProposalContent(AddProposal(package)), sender=NewMemberProposalSender())
    message = insider.public(insider.signed(framed, key=carol._signature_keys.private))
    error = assert_refused(bob, message, Refused, "R-12.1.8-02", Code.EXTERNAL_SENDERS_DISABLED)
    assert not error.authenticated, "a stranger's key vouches for nobody"


FIELDS: dict[str, Callable[[AuthenticatedContent], AuthenticatedContent]] = {
    "authenticated_data": lambda it: replace(it, content=replace(it.content, authenticated_data=b"?")),
    "content": lambda it: replace(it, content=replace(it.content, content=Commit((), None))),
    "signature": lambda it: replace(it, auth=replace(it.auth, signature=flipped(it.auth.signature))),
    "no signature": lambda it: replace(it, auth=replace(it.auth, signature=b"")),
    "short signature": lambda it: replace(it, auth=replace(it.auth, signature=it.auth.signature[:-1])),
    "long signature": lambda it: replace(it, auth=replace(it.auth, signature=it.auth.signature + b"\0")),
}


@pytest.mark.rfc("R-6.1-13", "R-6.2-04", "R-6.3.1-09", "R-12.4.2-03", "R-6.1-15")
@FRAMES
@pytest.mark.parametrize("change", FIELDS.values(), ids=FIELDS)
def test_every_signed_field_is_covered_by_the_signature(
    change: Callable[[AuthenticatedContent], AuthenticatedContent], private: bool
) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    insider, reader = Insider(world, alice), Insider(world, bob)
    genuine = alice.commit([Remove(2)]).message
    changed = change(reader.read(genuine))
    # The membership tag, or the encryption, is made anew: only the signature tells.
    forged = insider.private(changed) if private else insider.public(changed)
    assert_refused([bob, carol], forged, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    world.deliver(genuine, bob, carol)
    assert carol.is_retired


@pytest.mark.rfc("R-6.1-14", "R-6.1-15", "R-12.4.2-16")
@FRAMES
def test_a_wrong_confirmation_tag_is_refused_though_the_signature_is_good(private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob = world.group(2)
    insider, reader = Insider(world, alice), Insider(world, bob)
    genuine = alice.commit().message
    content = reader.read(genuine)
    tag = content.auth.confirmation_tag or b""
    for wrong in (flipped(tag), b"", tag[:-1], tag + b"\0"):
        changed = replace(content, auth=replace(content.auth, confirmation_tag=wrong))
        forged = insider.private(changed) if private else insider.public(changed)
        error = assert_refused(bob, forged, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
        assert (error.authenticated, error.leaf) == (True, 0)
    assert isinstance(bob.receive(genuine), StagedCommit)


# §6.2: public messages.


@pytest.mark.rfc("R-6.2-02", "R-6.2-03", "R-6.2-06", "R-12.4.2-02")
def test_a_membership_tag_is_compared_in_full() -> None:
    world, alice, bob, carol = public_world()
    genuine = alice.commit().message
    body = public_message(genuine)
    tag = body.membership_tag or b""
    for wrong in (flipped(tag), flipped(tag, 0), tag[:-1], tag[:16], b"", tag + b"\0", bytes(32)):
        forged = wrapped(replace(body, membership_tag=wrong))
        assert_refused([bob, carol], forged, InvalidTag, "R-6.2-03", Code.BAD_MEMBERSHIP_TAG)
    tagless = encode(MLSMessage(1, body))[:-33]
    assert_refused([bob, carol], tagless, MalformedMessage, "R-2.1-07", Code.TRUNCATED)
    world.deliver(genuine, bob, carol)
    world.agree(bob, carol)


@pytest.mark.rfc("R-6.2-02", "R-6.2-03")
def test_a_membership_tag_covers_content_and_authentication() -> None:
    _, alice, bob, _ = public_world()
    genuine = alice.commit().message
    body = public_message(genuine)
    for changed in (
        replace(body, content=replace(body.content, authenticated_data=b"?")),
        replace(body, auth=replace(body.auth, signature=flipped(body.auth.signature))),
        replace(body, auth=replace(body.auth, confirmation_tag=flipped(body.auth.confirmation_tag or b""))),
    ):
        assert_refused(bob, wrapped(changed), InvalidTag, "R-6.2-03", Code.BAD_MEMBERSHIP_TAG)
    assert isinstance(bob.receive(genuine), StagedCommit)


@pytest.mark.rfc("R-6.2-05")
def test_a_sender_outside_bears_no_membership_tag() -> None:
    world = World(external_senders=True)
    pair, extension = external(world)
    alice, bob = world.group(2, extensions=(extension,))
    insider = Insider(world, alice)
    framed = insider.framed(ProposalContent(RemoveProposal(LeafIndex(1))), sender=ExternalSenderIndex(0))
    signed = insider.signed(framed, key=pair.private)
    message = insider.public(signed)
    tag = membership_tag(insider.suite, insider.state.secrets.membership_key, signed, insider.context)
    assert_refused(bob, message + b"\x20" + tag, MalformedMessage, "R-2.1-08", Code.TRAILING_DATA)
    assert isinstance(bob.receive(message), ProposalReceived)


# §6.3: private messages.


@pytest.mark.rfc("R-6-09", "R-6.3.2-02", "R-12.1.8-03")
@pytest.mark.parametrize("sender", [ExternalSenderIndex(0), NewMemberProposalSender(), NewMemberCommitSender()])
def test_only_a_member_sends_a_private_message(sender: Sender) -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    env = insider.group._environment()
    framed = insider.framed(ProposalContent(RemoveProposal(LeafIndex(1))), sender=sender)
    signed = insider.signed(framed, PRIVATE)
    with pytest.raises(UsageError) as caught:
        protect_private(insider.suite, signed, insider.standing.keys, padding=env.settings.padding, entropy=env.entropy)
    assert caught.value.rule == "R-6.3.2-02"
    # Encrypted nevertheless, it is taken for a member's, and no member has signed that.
    assert_refused(bob, insider.private(signed), InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)


@pytest.mark.rfc("R-12.1.8-03", "R-6-09")
def test_what_a_sender_outside_may_say_is_public() -> None:
    world, alice, _, _ = public_world()
    insider = Insider(world, alice)
    package = decode(MLSMessage, world.client("dora").key_package()).body
    assert isinstance(package, KeyPackage)
    for sender, content in (
        (ExternalSenderIndex(0), ProposalContent(RemoveProposal(LeafIndex(1)))),
        (NewMemberProposalSender(), ProposalContent(AddProposal(package))),
        (NewMemberCommitSender(), public_message(alice.commit().message).content.content),
    ):
        framed = insider.framed(content, sender=sender)
        verify_sender(framed, PUBLIC)
        with pytest.raises(InvalidFraming) as caught:
            verify_sender(framed, PRIVATE)
        assert caught.value.rule == "R-12.1.8-03"
        with pytest.raises(InvalidFraming) as caught:
            verify_sender(insider.framed(ApplicationData(b"hello"), sender=sender), PRIVATE)
        assert caught.value.rule == "R-6-09"
    verify_sender(insider.framed(ApplicationData(b"hello")), PRIVATE)


@pytest.mark.rfc("R-6.3-03", "R-6.3.1-06", "R-6.3.2-05", "R-16.4.1-01")
def test_the_header_of_a_private_message_is_authenticated() -> None:
    world, alice, bob, _ = public_world()
    genuine = alice.encrypt(b"hello", authenticated_data=b"data")
    body = private_message(genuine)
    world.commit(alice, (), bob)
    undecryptable = Code.SENDER_DATA_UNDECRYPTABLE
    for changed in (replace(body, epoch=2), replace(body, encrypted_sender_data=flipped(body.encrypted_sender_data))):
        assert_refused(bob, wrapped(changed), InvalidCiphertext, "R-6.3.2-05", undecryptable)
    as_handshake = replace(body, content_type=ContentType.PROPOSAL)
    assert_refused(bob, wrapped(as_handshake), WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    as_handshake = replace(as_handshake, epoch=2)
    assert_refused(bob, wrapped(as_handshake), InvalidCiphertext, "R-6.3.2-05", undecryptable)
    elsewhere = replace(body, group_id=b"elsewhere")
    assert_refused(bob, wrapped(elsewhere), WrongGroup, "R-6-10", Code.UNKNOWN_GROUP)
    for changed in (replace(body, authenticated_data=b"Data"), replace(body, authenticated_data=b"")):
        assert_refused(bob, wrapped(changed), InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)
    # The sample of the ciphertext opens the sender data; what follows it is protected by the content's own tag.
    at_the_head = replace(body, ciphertext=flipped(body.ciphertext, 0))
    assert_refused(bob, wrapped(at_the_head), InvalidCiphertext, "R-6.3.2-05", undecryptable)
    at_the_end = replace(body, ciphertext=flipped(body.ciphertext))
    assert_refused(bob, wrapped(at_the_end), InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)
    assert isinstance(bob.receive(genuine), ApplicationMessage)


@pytest.mark.rfc("R-6.3.1-02", "R-6.3.1-03", "R-6.3.1-11", "R-15.1-01")
def test_padding_is_zero_and_of_the_senders_choice() -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(ApplicationData(b"hello")), PRIVATE)
    for padding in (b"\x01", b"\0\x80", b"\x01" + bytes(40), bytes(40) + b"\x01"):
        message = insider.private(signed, Envelope(padding=padding))
        error = assert_refused(bob, message, MalformedMessage, "R-6.3.1-03", Code.NON_ZERO_PADDING)
        assert not error.authenticated
    for generation, length in enumerate((0, 1, 1000)):
        envelope = Envelope(padding=bytes(length), generation=generation)
        event = bob.receive(insider.private(signed, envelope))
        assert isinstance(event, ApplicationMessage)
        assert event.data == b"hello"

    def hundred(length: int) -> int:
        return -length % 100

    world = World(padding=hundred)
    alice, bob = world.group(2)
    lengths = {len(private_message(alice.encrypt(bytes(length))).ciphertext) for length in range(30)}
    assert lengths == {100 + 16}
    lengths = {len(private_message(alice.encrypt(bytes(length))).ciphertext) for length in (200, 230)}
    assert lengths == {300 + 16}


@pytest.mark.rfc("R-6.3.1-04", "R-6.3.1-05", "R-6.3.1-08", "R-16.3-02")
def test_generations_rise_and_guards_are_fresh() -> None:
    world, alice, bob, _ = public_world()
    reader = Insider(world, bob)
    told = []
    for _ in range(5):
        body = private_message(alice.encrypt(b"same"))
        plain = open_told(reader, encode(MLSMessage(1, body)))
        told.append(plain)
    assert [generation for generation, _ in told] == [0, 1, 2, 3, 4]
    assert len({guard for _, guard in told}) == 5


def open_told(reader: Insider, message: bytes) -> tuple[int, bytes]:
    told = open_sender_data(reader.suite, private_message(message), reader.state.secrets.sender_data)
    return told.generation, told.reuse_guard


@pytest.mark.rfc("R-6.3.1-05", "R-6.3.1-04")
def test_another_guard_than_the_one_used_does_not_open() -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(ApplicationData(b"hello")), PRIVATE)
    other = struct.pack(">II", 0, 0) + b"\x10\x20\x30\x41"
    message = insider.private(signed, Envelope(sender_data=other))
    assert_refused(bob, message, InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)
    assert isinstance(bob.receive(insider.private(signed)), ApplicationMessage)


@pytest.mark.rfc("R-6.3.1-09", "R-16.5-01")
def test_an_insider_cannot_speak_for_another() -> None:
    world, alice, bob, carol = public_world()
    insider = Insider(world, alice)
    for wire_format in (PRIVATE, PUBLIC):
        framed = insider.framed(ProposalContent(RemoveProposal(LeafIndex(2))), sender=MemberSender(LeafIndex(1)))
        signed = insider.signed(framed, wire_format)
        message = insider.private(signed, Envelope(leaf=1)) if wire_format is PRIVATE else insider.public(signed)
        assert_refused(carol, message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    framed = insider.framed(ApplicationData(b"I am bob"), sender=MemberSender(LeafIndex(1)))
    message = insider.private(insider.signed(framed, PRIVATE), Envelope(leaf=1))
    assert_refused(carol, message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    # The key that the forgery used is not spent: bob's own message has it.
    event = carol.receive(bob.encrypt(b"I am bob"))
    assert isinstance(event, ApplicationMessage)
    assert (event.sender.identity, event.generation) == (b"member-1", 0)


@pytest.mark.rfc("R-6.3.1-12")
def test_an_insider_can_encrypt_anothers_words_again() -> None:
    world, alice, bob, carol = public_world()
    said = Insider(world, bob).read(message := alice.encrypt(b"once"))
    assert isinstance(carol.receive(message), ApplicationMessage)
    again = carol.receive(Insider(world, bob).private(said, Envelope(leaf=0, generation=1)))
    assert isinstance(again, ApplicationMessage)
    assert (again.data, again.sender.identity, again.generation) == (b"once", b"member-0", 1)


@pytest.mark.rfc("R-6.3.1-10", "R-15.2-01")
def test_an_epochs_messages_are_counted() -> None:
    world = World(messages_per_epoch=3)
    alice, bob = world.group(2)
    for _ in range(3):
        world.deliver(alice.encrypt(b"hello"), bob)
    before = alice.fingerprint()
    with pytest.raises(UsageError) as caught:
        alice.encrypt(b"one too many")
    assert (caught.value.code, caught.value.rule) == (Code.MUST_REKEY, "R-15.2-01")
    assert alice.fingerprint() == before
    world.commit(alice, (), bob)
    world.deliver(alice.encrypt(b"hello"), bob)


@pytest.mark.rfc("R-6.3.2-01")
def test_sender_data_is_twelve_bytes() -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(ApplicationData(b"hello")), PRIVATE)
    told = struct.pack(">II", 0, 0) + b"\x10\x20\x30\x40"
    trailing = insider.private(signed, Envelope(sender_data=told + b"\0"))
    assert_refused(bob, trailing, MalformedMessage, "R-2.1-08", Code.TRAILING_DATA)
    for length in (0, 11):
        short = insider.private(signed, Envelope(sender_data=told[:length]))
        assert_refused(bob, short, MalformedMessage, "R-2.1-07", Code.TRUNCATED)
    assert isinstance(bob.receive(insider.private(signed, Envelope(sender_data=told))), ApplicationMessage)


@pytest.mark.rfc("R-6.3.2-04")
@pytest.mark.parametrize("length", [0, 1, 15, 16, 31, 32, 33])
def test_a_short_ciphertext_is_its_own_sample(length: int) -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    framed = insider.framed(ApplicationData(b""))
    told = struct.pack(">II", 0, 0) + b"\x10\x20\x30\x40"
    message = insider.sealed(framed, ContentType.APPLICATION, told, bytes(length))
    # The sender data opens; only the content does not.
    assert_refused(bob, message, InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)


@pytest.mark.rfc("R-6.3.2-06", "R-6.3.2-07")
@pytest.mark.parametrize("kind", [ApplicationData(b"hello"), ProposalContent(RemoveProposal(LeafIndex(3)))])
def test_sender_data_names_a_leaf_that_is_not_blank(kind: ApplicationData | ProposalContent) -> None:
    world = World()
    alice, bob, _, dora, erin = world.group(5)
    world.commit(alice, [Remove(2)], bob, dora, erin)
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(kind), PRIVATE)
    for nobody in (2, 5, 7, 8, 2**31, 2**32 - 1):
        message = insider.private(signed, Envelope(leaf=nobody, ratchet_of=0))
        error = assert_refused([bob, dora], message, InvalidFraming, "R-6.3.2-06", Code.UNVERIFIED)
        assert not error.authenticated
    assert not isinstance(bob.receive(insider.private(signed)), OwnMessage)


@pytest.mark.rfc("R-6.3.2-07", "R-15.3-03", "R-15.3-04", "R-9.2-08")
def test_an_absurd_generation_changes_nothing() -> None:
    world, alice, bob, _ = public_world()
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(ApplicationData(b"hello")), PRIVATE)
    for generation in (1001, 2**31, 2**32 - 1):
        message = insider.private(signed, Envelope(generation=generation))
        assert_refused(bob, message, UnavailableSecret, "R-15.3-03", Code.TOO_FAR_FUTURE)
    genuine = insider.private(signed)
    assert isinstance(bob.receive(genuine), ApplicationMessage)
    assert_refused(bob, genuine, UnavailableSecret, "R-9.2-08", Code.KEY_CONSUMED)
    assert isinstance(bob.receive(insider.private(signed, Envelope(generation=90))), ApplicationMessage)


@pytest.mark.rfc("R-6.3-01", "R-6.3.1-01")
def test_a_private_message_in_bytes() -> None:
    world, alice, bob, _ = public_world()
    insider, reader = Insider(world, alice), Insider(world, bob)
    signed = insider.signed(insider.framed(ApplicationData(b"hi"), authenticated_data=b"data"), PRIVATE)
    assert plaintext_of(signed) == b"\x02hi" + b"\x40\x40" + signed.auth.signature
    message = insider.private(signed)
    body = private_message(message)
    head = bytes([len(bob.group_id)]) + bob.group_id + struct.pack(">Q", 1) + b"\x01" + b"\x04data"
    length = len(body.ciphertext)
    sealed = bytes([28]) + body.encrypted_sender_data
    assert message == b"\x00\x01\x00\x02" + head + sealed + struct.pack(">H", 0x4000 | length) + body.ciphertext
    assert length == len(plaintext_of(signed)) + 16
    assert reader.read(message) == signed


def test_messages_that_go_to_no_group_are_refused_by_one() -> None:
    world = World()
    alice, bob = world.group(2)
    client = world.client("carol")
    for message in (client.key_package(), alice.group_info()):
        with pytest.raises(MLSError):
            bob.receive(message)
        with pytest.raises(UsageError):
            client.receive(message)
    pending = alice.commit([Add(client.key_package())])
    with pytest.raises(MLSError):
        bob.receive(pending.welcome or b"")
