"""RFC 9420 §5.2: hash references."""

from __future__ import annotations

import hashlib

import pytest

from mls import Add, Update
from mls.crypto import SUITES, CipherSuite
from mls.events import ProposalReceived
from mls.messages import Commit, KeyPackage, MLSMessage, ProposalRef, PublicMessage, Welcome
from tests.adversarial.insider import Insider
from tests.support.world import World
from treekem.wire import decode, encode


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: f"suite{suite.id}")
@pytest.mark.rfc("R-5.2-01")
def test_a_reference_is_the_hash_of_label_and_value(suite: CipherSuite) -> None:
    """The label stands as it is given: it has its "MLS 1.0 " from the caller, and gets no second one."""
    label, value = b"MLS 1.0 KeyPackage Reference", bytes(20_000)
    ref_hash_input = b"\x1c" + label + b"\x80\x00\x4e\x20" + value
    assert suite.ref_hash(label, value) == hashlib.new(suite.hash_name, ref_hash_input).digest()
    assert suite.ref_hash(label, value) != suite.ref_hash(b"MLS 1.0 Proposal Reference", value)


def ref_hash(label: bytes, value: bytes) -> bytes:
    """Return RefHash of the first suite for values between 64 and 16383 bytes long."""
    return hashlib.sha256(bytes([len(label)]) + label + (len(value) | 0x4000).to_bytes(2, "big") + value).digest()


def public_message(message: bytes) -> PublicMessage:
    body = decode(MLSMessage, message).body
    assert isinstance(body, PublicMessage)
    return body


@pytest.mark.rfc("R-5.2-02", "R-5.2-05")
def test_a_welcome_refers_to_the_bare_key_package() -> None:
    world = World()
    alice, bob = world.client("alice").create_group(), world.client("bob")
    message = bob.key_package()
    package = decode(MLSMessage, message).body
    assert isinstance(package, KeyPackage)
    pending = world.commit(alice, [Add(message)])
    assert pending.welcome is not None
    welcome = decode(MLSMessage, pending.welcome).body
    assert isinstance(welcome, Welcome)
    reference = ref_hash(b"MLS 1.0 KeyPackage Reference", encode(package))
    assert [each.new_member for each in welcome.secrets] == [reference]
    assert b"\x20" + reference in pending.welcome


@pytest.mark.rfc("R-5.2-03", "R-5.2-04", "R-5.2-05")
def test_a_proposal_is_referred_to_as_it_was_authenticated() -> None:
    world = World(private_handshakes=False)
    alice, bob = world.group(2)
    sent = alice.propose(Update())
    message = public_message(sent.message)
    assert message.membership_tag is not None
    # AuthenticatedContent: the wire format, the content and its authentication, and no membership tag.
    authenticated = b"\0\1" + encode(message.content) + b"\x40\x40" + message.auth.signature
    reference = ref_hash(b"MLS 1.0 Proposal Reference", authenticated)
    assert sent.ref == reference
    received = bob.receive(sent.message)
    assert isinstance(received, ProposalReceived)
    assert received.ref == reference
    pending = bob.commit()
    commit = public_message(pending.message).content.content
    assert isinstance(commit, Commit)
    assert commit.proposals == (ProposalRef(reference),)
    assert b"\x20" + reference in pending.message


@pytest.mark.rfc("R-5.2-04")
def test_a_proposal_sent_encrypted_is_referred_to_as_such() -> None:
    world = World()
    alice, bob, carol = world.group(3)
    sent = alice.propose(Update())
    received = bob.receive(sent.message)
    assert isinstance(received, ProposalReceived)
    assert received.ref == sent.ref
    content = Insider(world, carol).read(sent.message)
    assert encode(content)[:2] == b"\0\2"
    assert sent.ref == ref_hash(b"MLS 1.0 Proposal Reference", encode(content))
