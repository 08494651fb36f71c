"""What a commit and a Welcome come to, computed beside the engine from HMAC upwards. RFC 9420 §12.4.1, §12.4.3.1.

Sender and receivers share their code, and would share its mistakes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest

from mls.messages import (
    AuthenticatedContent,
    Commit,
    ExternalPSK,
    GroupContext,
    GroupContextExtensions,
    PreSharedKeyID,
    Proposal,
    PSKLabel,
)
from mls.schedule.key_schedule import AEADKey
from tests.adversarial.insider import public_message
from tests.support.crafting import Forger
from tests.support.naive_schedule import expand_with_label, extract
from tests.support.scenes import Scene, psk, staged
from tests.support.successions import ASKS_NOTHING
from tests.support.welcome_scenes import scene_of
from tests.support.world import World
from treekem import reference
from treekem.index import NodeIndex, node_of, root
from treekem.tree import RatchetTree
from treekem.wire import UInt16, encode, encode_as, encode_varint

ZERO = bytes(32)
PSKS = {b"two": b"secret 2", b"one": b"secret 1"}


def derive(secret: bytes, label: bytes, context: bytes = b"") -> bytes:
    return expand_with_label("sha256", secret, label, context, 32)


def psk_secret(names: list[PreSharedKeyID]) -> bytes:
    """Chain the keys of `PSKS` in this order. RFC 9420 §8.4."""
    chained = ZERO
    for index, name in enumerate(names):
        assert isinstance(name.psk, ExternalPSK)
        extracted = extract("sha256", ZERO, PSKS[name.psk.psk_id])
        label = encode(PSKLabel(name, index, len(names)))
        chained = extract("sha256", derive(extracted, b"derived psk", label), chained)
    return chained


@dataclass(frozen=True)
class Sight:
    """A commit in the clear, and the epoch that it was made in as its third member sees it."""

    reader: Forger
    content: AuthenticatedContent
    tree_after: RatchetTree
    extensions_after: GroupContextExtensions

    def context(self) -> GroupContext:
        """Return the context of the next epoch, field by field. RFC 9420 §8.1, §8.2."""
        old = self.reader.state.group
        framed, signature = self.content.content, self.content.auth.signature
        added = encode_as(UInt16, self.content.wire_format) + encode(framed) + encode_varint(len(signature)) + signature
        nodes = reference.nodes_of(self.tree_after)
        return GroupContext(
            version=1,
            cipher_suite=1,
            group_id=self.reader.group.group_id,
            epoch=old.context.epoch + 1,
            tree_hash=reference.tree_hash(nodes, root(self.tree_after.n_leaves), self.reader.suite),
            confirmed_transcript_hash=sha256(old.interim_transcript_hash + added).digest(),
            extensions=self.extensions_after.extensions,
        )

    def commit_secret(self) -> bytes:
        """Open the path with the leaf's own key, and go on to the root and one step beyond. RFC 9420 §7.4, §12.4.2."""
        commit, old = self.content.content.content, self.reader.context
        assert isinstance(commit, Commit)
        if commit.path is None:
            return ZERO
        context = replace(self.context(), confirmed_transcript_hash=old.confirmed_transcript_hash)
        # The second member's path: a node above the first two leaves, and the root above the other two as well.
        sealed = commit.path.nodes[1].encrypted_path_secret[0]
        key = self.reader.state.own.private_keys[node_of(self.reader.leaf)]
        secret = self.reader.suite.decrypt_with_label(
            key, b"UpdatePathNode", encode(context), sealed.kem_output, sealed.ciphertext
        )
        assert self.tree_after.resolution(NodeIndex(5))[0] == node_of(self.reader.leaf)
        return derive(secret, b"path")

    def epoch_secret(self, psks: list[PreSharedKeyID]) -> bytes:
        """Run the key schedule from the old epoch's init secret. RFC 9420 §8."""
        encoded = encode(self.context())
        init_secret = self.reader.state.secrets.init_secret.expose()
        joiner_secret = derive(extract("sha256", init_secret, self.commit_secret()), b"joiner", encoded)
        return derive(extract("sha256", joiner_secret, psk_secret(psks)), b"epoch", encoded)


@pytest.mark.rfc("R-12.4.1-05", "R-12.4.1-06", "R-12.4.1-07", "R-12.4.1-08", "R-12.4.1-09")
@pytest.mark.parametrize("path", [True, False])
def test_a_commit_leads_where_the_key_schedule_leads(path: bool) -> None:
    world = World()
    groups = world.group(4)
    scene = Scene(world, groups, Forger(world, groups[1]))
    for client in world.clients.values():
        for name, secret in PSKS.items():
            client.add_psk(name, secret)
    committer, reader = scene.by(1), scene.by(2)
    extensions = GroupContextExtensions((ASKS_NOTHING,) if path else reader.context.extensions)
    other: Proposal = extensions if path else scene.add()
    injected = [psk(name) for name in PSKS]
    created = committer.order(*injected, other, path=path)
    after = created.transition.state
    assert after is not None
    content = reader.read(encode(created.message))
    sight = Sight(reader, content, after.group.tree, extensions)

    # It is signed under the old context, and confirmed by the new epoch.
    signed = encode_as(UInt16, 1) + encode_as(UInt16, content.wire_format) + encode(content.content)
    signed += encode(committer.context)
    key = committer.own_leaf().signature_key
    committer.suite.verify_with_label(key, b"FramedContentTBS", signed, content.auth.signature)
    context = sight.context()
    assert after.group.context == context
    epoch_secret = sight.epoch_secret([each.psk for each in injected])
    tag = hmac.digest(derive(epoch_secret, b"confirm"), context.confirmed_transcript_hash, "sha256")
    assert content.auth.confirmation_tag == tag
    assert after.secrets.epoch_authenticator == derive(epoch_secret, b"authentication")
    for group in scene.receivers:
        transition = staged(group, encode(created.message)).transition
        assert transition.state is not None
        assert transition.state.secrets.epoch_authenticator == after.secrets.epoch_authenticator


@pytest.mark.rfc("R-12.4.1-10", "R-6.2-01", "R-6.2-02")
def test_a_commit_in_the_clear_is_tagged_with_the_key_of_the_old_epoch() -> None:
    world = World()
    groups = world.group(3)
    forger = Forger(world, groups[1])
    body = public_message(forger.honest())
    auth = body.auth
    assert auth.confirmation_tag is not None
    signed = encode_as(UInt16, 1) + encode_as(UInt16, 1) + encode(body.content) + encode(forger.context)
    tagged = signed + b"".join(encode_varint(len(each)) + each for each in (auth.signature, auth.confirmation_tag))
    key = groups[0]._standing.state.secrets.membership_key.expose()
    assert body.membership_tag == hmac.digest(key, tagged, "sha256")


@pytest.mark.rfc("R-12.4.1-14", "R-12.4.1-15", "R-12.4.3.1-09", "R-12.4.3.1-23")
def test_a_welcome_opens_with_what_the_joiner_secret_derives() -> None:
    scene = scene_of(World())
    joiner_secret, info = scene.inviter.parts.secrets.joiner_secret, scene.inviter.parts.info
    member_secret = extract("sha256", joiner_secret, psk_secret([]))
    welcome_secret = derive(member_secret, b"welcome")
    key = AEADKey(expand_with_label("sha256", welcome_secret, b"key", b"", 16))
    nonce = expand_with_label("sha256", welcome_secret, b"nonce", b"", 12)
    opened = scene.inviter.suite.aead_open(key, nonce, b"", scene.inviter.genuine.encrypted_group_info)
    assert opened == encode(info)
    epoch_secret = derive(member_secret, b"epoch", encode(info.group_context))
    joined = scene.joiner.join(scene.inviter.message()).accept()
    assert joined.epoch_authenticator == derive(epoch_secret, b"authentication")
