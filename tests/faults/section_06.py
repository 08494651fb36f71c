"""Faults in message framing. RFC 9420 §6."""

from __future__ import annotations

from typing import Annotated

from mls import Identity, drafting, receiving
from mls.crypto import CipherSuite
from mls.epoch import create_commit, framing, receive_commit, transition
from mls.group import Group
from mls.messages import (
    ExternalSenderIndex,
    FramedContent,
    FramedContentAuthData,
    MemberSender,
    MLSMessage,
    PrivateMessage,
    PublicMessage,
    SenderData,
)
from mls.messages.framing import AuthenticatedContent
from mls.schedule import key_schedule
from mls.schedule.secret_tree import SecretTree
from mls.settings import Settings
from tests.support.planting import Default, Edit, Fault, Layout
from treekem.wire import Fixed, UInt8, UInt16, UInt64

_CONTENT = "AuthenticatedContent(WireFormat.PRIVATE_MESSAGE, framed, auth)"
_REBUILT = "FramedContent(message.group_id, message.epoch, member, message.authenticated_data, inner)"

FAULTS = [
    # §6: the envelope.
    Fault("R-6-02", "handshakes are public by default", Default(Settings, "private_handshakes", value=False)),
    Fault(
        "R-6-03",
        "handshakes are private whatever the setting",
        Edit(Group.propose, "private = env.settings.private_handshakes", "private = True"),
    ),
    Fault(
        "R-6-03",
        "public handshakes are accepted whatever the setting",
        Edit(receiving._receive_public, "verify_public_allowed(sender, env)", "pass"),
    ),
    Fault("R-6-04", "the version takes one byte", Layout(MLSMessage, types=(("version", UInt8),))),
    Fault("R-6-04", "the version stands after the body", Layout(MLSMessage, order=("body", "version"))),
    Fault("R-6-08", "a sender's leaf takes two bytes", Layout(MemberSender, types=(("leaf_index", UInt16),))),
    Fault(
        "R-6-08",
        "the index of an external sender takes eight bytes",
        Layout(ExternalSenderIndex, types=(("sender_index", UInt64),)),
    ),
    Fault(
        "R-6-12",
        "the application is not told the authenticated data",
        Edit(receiving._receive_private, "message.authenticated_data, message.epoch", 'b"", message.epoch'),
    ),
    Fault(
        "R-6-12",
        "authenticated data is told that nobody said",
        Edit(Group.encrypt, "WireFormat.PRIVATE_MESSAGE, authenticated_data", 'WireFormat.PRIVATE_MESSAGE, b"none"'),
    ),
    Fault(
        "R-6-13",
        "the sender stands before the epoch",
        Layout(FramedContent, order=("group_id", "sender", "epoch", "authenticated_data", "content")),
    ),
    Fault(
        "R-6-13",
        "authenticated data stands after the content",
        Layout(FramedContent, order=("group_id", "epoch", "sender", "content", "authenticated_data")),
    ),
    Fault(
        "R-6-14",
        "the wire format stands after the content",
        Layout(AuthenticatedContent, order=("content", "wire_format", "auth")),
    ),
    Fault(
        "R-6-15",
        "authenticated data is lost in public",
        Edit(
            framing.protect_public,
            "PublicMessage(content.content,",
            "PublicMessage(FramedContent(content.content.group_id, content.content.epoch, content.content.sender, b'', "
            "content.content.content),",
        ),
    ),
    Fault(
        "R-6-15",
        "authenticated data is lost in private",
        Edit(
            framing.protect_private,
            "PrivateMessage(framed.group_id, framed.epoch, kind, framed.authenticated_data,",
            "PrivateMessage(framed.group_id, framed.epoch, kind, b'',",
        ),
    ),
    # §6.1: who signs, and over what.
    Fault(
        "R-6.1-01",
        "external joiners do not sign the group context",
        Edit(framing.framed_content_tbs, "MemberSender() | NewMemberCommitSender()", "MemberSender()"),
    ),
    Fault(
        "R-6.1-01",
        "the version is not signed",
        Edit(framing.framed_content_tbs, "encode_as(UInt16, ProtocolVersion.MLS10) + ", ""),
    ),
    Fault(
        "R-6.1-02",
        "external senders sign the group context",
        Edit(framing.framed_content_tbs, "MemberSender() |", "MemberSender() | ExternalSenderIndex() |"),
    ),
    Fault(
        "R-6.1-02",
        "new members sign the group context with their proposal",
        Edit(framing.framed_content_tbs, "MemberSender() |", "MemberSender() | NewMemberProposalSender() |"),
    ),
    Fault(
        "R-6.1-03",
        "late messages are verified in the present group context",
        Edit(receiving._sight, "_Sight(past.context, past.keys, leaf)", "_Sight(state.group.context, past.keys, leaf)"),
    ),
    Fault(
        "R-6.1-03",
        "members sign the context of the next epoch",
        Edit(
            create_commit.signed_content,
            "framed, wire_format, context)",
            "framed, wire_format, replace(context, epoch=context.epoch + 1))",
        ),
    ),
    Fault(
        "R-6.1-04",
        "the wire format is signed as that of a PublicMessage, always",
        Edit(framing.framed_content_tbs, "encode_as(UInt16, wire_format)", "encode_as(UInt16, 1)"),
    ),
    Fault(
        "R-6.1-05",
        "the confirmation tag stands before the signature",
        Layout(FramedContentAuthData, order=("confirmation_tag", "signature")),
    ),
    Fault(
        "R-6.1-08",
        "a commit is verified by the key that it brings",
        Edit(
            framing.signature_key_of,
            "return node.signature_key",
            "return content.content.path.leaf_node.signature_key if isinstance(content.content, Commit) "
            "and content.content.path is not None else node.signature_key",
        ),
    ),
    Fault(
        "R-6.1-14",
        "the confirmation tag is made under the membership key",
        Edit(transition.derive_next_epoch, "secrets.confirmation_key", "secrets.membership_key"),
        Edit(receive_commit.stage_commit, "following.secrets.confirmation_key", "following.secrets.membership_key"),
    ),
    Fault(
        "R-6.1-14",
        "the confirmation tag covers the transcript before the commit",
        Edit(transition.derive_next_epoch, "secrets.confirmation_key, confirmed", "secrets.confirmation_key, b''"),
        Edit(
            receive_commit.stage_commit,
            "following.secrets.confirmation_key, after.context.confirmed_transcript_hash",
            "following.secrets.confirmation_key, b''",
        ),
    ),
    Fault(
        "R-6.1-16",
        "a member signs with its old key after it announced a new one",
        Edit(
            create_commit.create_commit,
            "signature_key = leaf.signature_keys.private if wants_path else own.signature_key",
            "signature_key = own.signature_key",
        ),
    ),
    Fault(
        "R-6.1-16",
        "an identity brings another key than its certificate names",
        Edit(
            Identity.x509, "verify_own_key(credential, cipher_suite(suite).signature_public_key(signature_key))", "pass"
        ),
    ),
    Fault(
        "R-6.1-16",
        "a leaf changes to another key than its certificate names",
        Edit(drafting._verify_certified, "verify_own_key(content.credential, content.signature_keys.public)", "pass"),
    ),
    # §6.2: public messages.
    Fault(
        "R-6.2-01",
        "the membership tag stands before signature and confirmation tag",
        Layout(PublicMessage, order=("content", "membership_tag", "auth")),
    ),
    Fault(
        "R-6.2-02",
        "the membership tag does not cover signature and confirmation tag",
        Edit(framing._tbm, "encode(context) + encoded[end:]", "encode(context)"),
    ),
    Fault(
        "R-6.2-02",
        "the membership tag does not cover the group context",
        Edit(framing._tbm, " + encode(context)", ""),
    ),
    Fault(
        "R-6.2-06",
        "a tag is compared as far as it goes",
        Edit(CipherSuite.verify_mac, "self.mac(key, data), tag", "self.mac(key, data)[: len(tag)], tag"),
    ),
    Fault(
        "R-6.2-06",
        "tags are cut to sixteen bytes",
        Edit(CipherSuite.mac, "self.hpke.kdf.mac(key.expose(), data)", "self.hpke.kdf.mac(key.expose(), data)[:16]"),
    ),
    # §6.3: private messages.
    Fault(
        "R-6.3-01",
        "the content type stands before the epoch",
        Layout(
            PrivateMessage,
            order=(
                "group_id",
                "content_type",
                "epoch",
                "authenticated_data",
                "encrypted_sender_data",
                "ciphertext",
            ),
        ),
    ),
    Fault(
        "R-6.3-02",
        "commits are encrypted with the keys of application data",
        Edit(
            SecretTree._name_of, "content_type == ContentType.APPLICATION", "content_type is not ContentType.PROPOSAL"
        ),
    ),
    Fault(
        "R-6.3-03",
        "the content is rebuilt without its authenticated data",
        Edit(framing.open_private, _REBUILT, _REBUILT.replace("message.authenticated_data", 'b""')),
    ),
    Fault(
        "R-6.3-04",
        "the content is rebuilt as that of a PublicMessage",
        Edit(framing.open_private, _CONTENT, _CONTENT.replace("PRIVATE", "PUBLIC")),
    ),
    # §6.3.1: content encryption.
    Fault(
        "R-6.3.1-01",
        "the authentication stands before the content",
        Edit(
            framing._private_plaintext,
            'encode(content.content.content) + b"".join(encode_as(bytes, each) for each in auth if each is not None)',
            'b"".join(encode_as(bytes, each) for each in auth if each is not None) + encode(content.content.content)',
        ),
    ),
    Fault(
        "R-6.3.1-01",
        "the content type stands in the plaintext once more",
        Edit(
            framing._private_plaintext,
            "return encode(content.content.content)",
            'return b"\\x01" + encode(content.content.content)',
        ),
    ),
    Fault(
        "R-6.3.1-02",
        "the padding is not zero",
        Edit(framing.protect_private, "plaintext += bytes(wanted if", 'plaintext += b"\\x01" * (wanted if'),
    ),
    Fault(
        "R-6.3.1-04",
        "the reuse guard is always the same",
        Edit(framing.protect_private, "entropy(_GUARD_LENGTH)", "bytes(_GUARD_LENGTH)"),
    ),
    Fault(
        "R-6.3.1-04",
        "the reuse guard changes the last bytes of the nonce",
        Edit(
            framing._guarded,
            'head = int.from_bytes(nonce[:_GUARD_LENGTH], "big") ^ int.from_bytes(guard, "big")\n    '
            'return head.to_bytes(_GUARD_LENGTH, "big") + nonce[_GUARD_LENGTH:]',
            "tail = bytes(a ^ b for a, b in zip(nonce[-_GUARD_LENGTH:], guard, strict=True))\n    "
            "return nonce[:-_GUARD_LENGTH] + tail",
        ),
    ),
    Fault(
        "R-6.3.1-05",
        "another guard is told than was used",
        Edit(framing.protect_private, "staged.generation, guard)", "staged.generation, entropy(_GUARD_LENGTH))"),
    ),
    Fault(
        "R-6.3.1-05",
        "the receiver does not apply the guard",
        Edit(framing.open_private, "_guarded(staged.nonce, sender.reuse_guard)", "staged.nonce"),
    ),
    Fault(
        "R-6.3.1-06",
        "the content's encryption does not cover authenticated data",
        Edit(framing.protect_private, "kind, framed.authenticated_data))", "kind, b''))"),
        Edit(framing.open_private, "message.content_type, message.authenticated_data))", "message.content_type, b''))"),
    ),
    Fault(
        "R-6.3.1-07",
        "the generation that a message spends is not written",
        Edit(Group._spend, "{**batch, **standing.key_batch(standing.state.epoch, key)}", "batch"),
    ),
    Fault(
        "R-6.3.1-08",
        "a generation is passed over with every message",
        Edit(
            SecretTree.stage_next,
            "self.next_generation(leaf, content_type))",
            "self.next_generation(leaf, content_type) + 1)",
        ),
    ),
    Fault(
        "R-6.3.1-08",
        "the key of a message that was sent is not consumed",
        Edit(Group._spend, "standing.secret_tree.apply(key)", "pass"),
    ),
    Fault(
        "R-6.3.1-10",
        "an epoch has one message too many",
        Edit(Group._spend, "key.generation < limit", "key.generation <= limit"),
    ),
    Fault(
        "R-6.3.1-11",
        "the padding that the application chose is not added",
        Edit(framing.protect_private, "wanted = padding(len(plaintext))", "wanted = 0"),
    ),
    Fault(
        "R-6.3.1-11",
        "authenticated data of application messages is left out",
        Edit(Group.encrypt, "WireFormat.PRIVATE_MESSAGE, authenticated_data", "WireFormat.PRIVATE_MESSAGE, b''"),
    ),
    # §6.3.2: sender data encryption.
    Fault(
        "R-6.3.2-01",
        "the generation stands before the leaf",
        Layout(SenderData, order=("generation", "leaf_index", "reuse_guard")),
    ),
    Fault(
        "R-6.3.2-01",
        "the reuse guard has a length header",
        Layout(SenderData, types=(("reuse_guard", bytes),)),
    ),
    Fault(
        "R-6.3.2-01",
        "the reuse guard has eight bytes",
        Layout(SenderData, types=(("reuse_guard", Annotated[bytes, Fixed(8)]),)),
    ),
    Fault(
        "R-6.3.2-03",
        "the nonce of the sender data has the label of the key",
        Edit(key_schedule.sender_data_key_and_nonce, 'b"nonce", sample', 'b"key", sample'),
    ),
    Fault(
        "R-6.3.2-03",
        "the key of the sender data does not depend on the ciphertext",
        Edit(
            key_schedule.sender_data_key_and_nonce,
            'b"key", sample, suite.aead_key_length',
            'b"key", b"", suite.aead_key_length',
        ),
    ),
    Fault(
        "R-6.3.2-04",
        "the sample is one byte too long",
        Edit(key_schedule.sender_data_key_and_nonce, "[: suite.hash_length]", "[: suite.hash_length + 1]"),
    ),
    Fault(
        "R-6.3.2-04",
        "a short ciphertext is filled up to make a sample",
        Edit(
            key_schedule.sender_data_key_and_nonce,
            "ciphertext[: suite.hash_length]",
            'ciphertext[: suite.hash_length].ljust(suite.hash_length, b"\\0")',
        ),
    ),
    Fault(
        "R-6.3.2-07",
        "looking up a key that is too far ahead makes all before it too old",
        Edit(
            SecretTree._available,
            "known = self._ratchets.get(name)",
            "known = self._ratchets.get(name)\n    if known is not None:\n"
            "        known = Ratchet(known.secret, known.generation, generation, known.skipped)\n"
            "        self._ratchets[name] = known",
        ),
    ),
]
