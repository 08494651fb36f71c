"""RFC 9420 §6.3: private messages."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from mls import Add, ApplicationMessage, OwnMessage, Remove, StagedCommit
from mls.epoch.framing import (
    open_sender_data,
    protect_private,
    verify_sender,
)
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidFraming,
    InvalidSignature,
    MalformedMessage,
    MLSError,
    UnavailableSecret,
    UsageError,
    WrongEpoch,
    WrongGroup,
)
from mls.messages import Add as AddProposal
from mls.messages import (
    ApplicationData,
    ContentType,
    ExternalSenderIndex,
    KeyPackage,
    MemberSender,
    MLSMessage,
    NewMemberCommitSender,
    NewMemberProposalSender,
    ProposalContent,
    Sender,
)
from mls.messages import Remove as RemoveProposal
from mls.schedule.key_schedule import EncryptionSecret, sender_data_key_and_nonce
from mls.schedule.secret_tree import SecretTree
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
from tests.support.framing import flipped, public_world
from tests.support.world import World
from treekem.index import LeafIndex
from treekem.wire import decode, encode

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


@pytest.mark.rfc("R-6.3-03", "R-6.3.1-06", "R-6.3.2-05", "R-16.4.1-01", "N-M07")
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


@pytest.mark.rfc("R-6.3.1-02", "R-6.3.1-03", "R-6.3.1-11", "R-15.1-01", "N-M05")
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
    event = bob.receive(alice.encrypt(b"padded", authenticated_data=b"for this message"))
    assert isinstance(event, ApplicationMessage)
    assert (event.data, event.authenticated_data) == (b"padded", b"for this message")
    lengths = {len(private_message(alice.encrypt(bytes(length))).ciphertext) for length in range(30)}
    assert lengths == {100 + 16}
    lengths = {len(private_message(alice.encrypt(bytes(length))).ciphertext) for length in (200, 230)}
    assert lengths == {300 + 16}


@pytest.mark.rfc("R-6.3.1-04", "R-6.3.1-05", "R-6.3.1-08", "R-16.3-02", "B31")
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


@pytest.mark.rfc("R-6.3-02")
def test_handshakes_and_application_data_have_ratchets_of_their_own() -> None:
    world = World()
    alice, bob, _ = world.group(3)
    reader = Insider(world, bob)
    said = [alice.encrypt(b"one"), alice.encrypt(b"two"), alice.encrypt(b"three")]
    handshakes = [alice.propose(Remove(2)).message, alice.commit().message]
    told = [open_told(reader, message)[0] for message in (*said, *handshakes)]
    assert told == [0, 1, 2, 0, 1]
    tree = SecretTree(reader.suite, 4, EncryptionSecret(bytes(32)))
    staged = [tree.stage(LeafIndex(0), kind, 0).key.expose() for kind in ContentType]
    assert staged[1] == staged[2] != staged[0]
    world.deliver(handshakes[0], bob)
    assert isinstance(bob.receive(handshakes[1]), StagedCommit)


def open_told(reader: Insider, message: bytes) -> tuple[int, bytes]:
    told = open_sender_data(reader.suite, private_message(message), reader.state.secrets.sender_data)
    return told.generation, told.reuse_guard


@pytest.mark.rfc("R-6.3.1-05", "R-6.3.1-04")
def test_another_guard_than_the_one_used_does_not_open() -> None:
    world, alice, bob, _ = public_world()
    assert isinstance(bob.receive(alice.encrypt(b"with a guard of its own")), ApplicationMessage)
    insider = Insider(world, alice)
    signed = insider.signed(insider.framed(ApplicationData(b"hello")), PRIVATE)
    other = struct.pack(">II", 0, 1) + b"\x10\x20\x30\x41"
    message = insider.private(signed, Envelope(sender_data=other))
    assert_refused(bob, message, InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)
    assert isinstance(bob.receive(insider.private(signed)), ApplicationMessage)


@pytest.mark.rfc("R-6.3.1-09", "R-16.5-01", "B51")
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


@pytest.mark.rfc("R-6.3.1-12", "N-M14")
def test_an_insider_can_encrypt_anothers_words_again() -> None:
    world, alice, bob, carol = public_world()
    said = Insider(world, bob).read(message := alice.encrypt(b"once"))
    assert isinstance(carol.receive(message), ApplicationMessage)
    again = carol.receive(Insider(world, bob).private(said, Envelope(leaf=0, generation=1)))
    assert isinstance(again, ApplicationMessage)
    assert (again.data, again.sender.identity, again.generation) == (b"once", b"member-0", 1)


@pytest.mark.rfc("R-6.3.1-10", "R-15.2-01", "N-M13")
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

    # What a member sends, taken apart by hand.
    world, _, bob, carol = public_world()
    carol.encrypt(b"the first generation")
    body, reader = private_message(carol.encrypt(b"hello")), Insider(world, bob)
    key, nonce = sender_data_key_and_nonce(reader.suite, reader.state.secrets.sender_data, body.ciphertext)
    aad = bytes([len(body.group_id)]) + body.group_id + struct.pack(">QB", 1, 1)
    plain = reader.suite.aead_open(key, nonce, aad, body.encrypted_sender_data)
    assert (len(plain), plain[:8]) == (12, struct.pack(">II", 2, 1))


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


@pytest.mark.rfc("R-6.3.2-06", "R-6.3.2-07", "N-M04", "B22", "B45")
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


@pytest.mark.rfc("R-6.3.2-07", "R-15.3-03", "R-15.3-04", "R-9.2-08", "N-M03")
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
    for generation in (90 + 1002, 2**32 - 1):
        message = insider.private(signed, Envelope(generation=generation))
        assert_refused(bob, message, UnavailableSecret, "R-15.3-03", Code.TOO_FAR_FUTURE)
    for generation in (5, 91):
        event = bob.receive(insider.private(signed, Envelope(generation=generation)))
        assert isinstance(event, ApplicationMessage)


@pytest.mark.rfc("R-6.3-01", "R-6.3.1-01")
def test_a_private_message_in_bytes() -> None:
    world, alice, bob, _ = public_world()
    insider, reader = Insider(world, alice), Insider(world, bob)
    assert isinstance(bob.receive(alice.encrypt(b"hi", authenticated_data=b"data")), ApplicationMessage)
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
        for receive in (bob.receive, client.receive):
            with pytest.raises(InvalidFraming) as caught:
                receive(message)
            assert caught.value.code is Code.WRONG_WIRE_FORMAT
    pending = alice.commit([Add(client.key_package())])
    with pytest.raises(MLSError):
        bob.receive(pending.welcome or b"")
