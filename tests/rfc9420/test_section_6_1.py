"""RFC 9420 §6.1, §6.2: who signs and tags what."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace

import pytest

from mls import Extension, Group, ProposalReceived, Remove, StagedCommit
from mls.crypto import SignatureKeyPair
from mls.epoch.create_commit import CommitOrder, create_commit, own_leaf_content
from mls.epoch.framing import (
    framed_content_tbs,
    membership_tag,
)
from mls.errors import (
    Code,
    InvalidFraming,
    InvalidSignature,
    InvalidTag,
    MalformedMessage,
    Refused,
    WrongEpoch,
)
from mls.messages import Add as AddProposal
from mls.messages import (
    AuthenticatedContent,
    BasicCredential,
    Commit,
    Content,
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
    public_message,
    wrapped,
)
from tests.support.framing import EXTERNAL_SENDERS, FRAMES, flipped, public_world
from tests.support.world import World
from treekem.index import LeafIndex
from treekem.wire import decode, encode

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
    assert body.membership_tag is not None
    tags = b"\x20" + body.auth.confirmation_tag + b"\x20" + body.membership_tag
    assert commit.endswith(b"\x40\x40" + body.auth.signature + tags)
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


@pytest.mark.rfc("R-6.1-10", "R-12.1.8-04", "B35")
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


@pytest.mark.rfc("R-6.2-02", "R-6.2-03", "R-6.2-06", "R-12.4.2-02", "B01")
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
    world, alice, bob, _ = public_world()
    genuine = alice.commit().message
    body = public_message(genuine)
    signed = framed_content_tbs(body.content, PUBLIC, Insider(world, bob).context)
    auth = b"\x40\x40" + body.auth.signature + b"\x20" + (body.auth.confirmation_tag or b"")
    key = bob._standing.state.secrets.membership_key
    assert body.membership_tag == hmac.digest(key.expose(), signed + auth, "sha256")
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
