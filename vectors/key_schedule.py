"""Kinds key-schedule, psk_secret and transcript-hashes: what an epoch derives, and what enters it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mls.crypto import CipherSuite
from mls.epoch.framing import sign_content
from mls.messages import (
    AuthenticatedContent,
    Commit,
    ExternalPSK,
    FramedContent,
    FramedContentAuthData,
    GroupContext,
    MemberSender,
    PreSharedKeyID,
    ProtocolVersion,
    WireFormat,
    is_commit,
)
from mls.schedule.key_schedule import (
    ConfirmationKey,
    EpochSecrets,
    InitSecret,
    JoinerSecret,
    PSKSecret,
    WelcomeSecret,
    derive_epoch_secrets,
    derive_joiner_secret,
    derive_welcome_secret,
    export_secret,
    external_key_pair,
)
from mls.schedule.psk import PSK, psk_secret
from mls.schedule.transcript import (
    confirmation_tag,
    confirmed_transcript_hash,
    interim_transcript_hash,
    verify_confirmation_tag,
)
from treekem.index import LeafIndex
from treekem.suite import CommitSecret, Entropy
from treekem.wire import decode, encode
from vectors.case import Case, Kind, Mismatch, Recipe, expect_octets, number, octets, part, parts, suite_of, text

# Key schedule.


@dataclass(frozen=True, slots=True)
class _Epoch:
    """One epoch of the key schedule, computed from what a case chooses."""

    group_context: bytes
    joiner_secret: JoinerSecret
    welcome_secret: WelcomeSecret
    secrets: EpochSecrets
    external_pub: bytes

    def outputs(self) -> dict[str, bytes]:
        """Return what a case states of the epoch, by the names it uses."""
        secrets = self.secrets
        return {
            "group_context": self.group_context,
            "joiner_secret": self.joiner_secret.expose(),
            "welcome_secret": self.welcome_secret.expose(),
            "init_secret": secrets.init_secret.expose(),
            "sender_data_secret": secrets.sender_data.expose(),
            "encryption_secret": secrets.encryption.expose(),
            "exporter_secret": secrets.exporter.expose(),
            "epoch_authenticator": secrets.epoch_authenticator,
            "external_secret": secrets.external.expose(),
            "confirmation_key": secrets.confirmation_key.expose(),
            "membership_key": secrets.membership_key.expose(),
            "resumption_psk": secrets.resumption_psk.expose(),
            "external_pub": self.external_pub,
        }


def verify_key_schedule(case: Case, entropy: Entropy) -> None:
    """Compare every secret of every epoch, each derived from the epoch before."""
    del entropy
    suite, group_id = suite_of(case), octets(case, "group_id")
    init_secret = InitSecret(octets(case, "initial_init_secret"))
    epochs = parts(case, "epochs")
    if not epochs:
        raise Mismatch("epochs is empty")
    for index, stated in enumerate(epochs):
        epoch = _epoch(suite, group_id, index, init_secret, stated)
        for name, computed in epoch.outputs().items():
            expect_octets(computed, stated, name, f"epoch {index}: ")
        exporter = part(stated, "exporter")
        exported = _exported(suite, epoch.secrets, exporter)
        expect_octets(exported, exporter, "secret", f"epoch {index}: exporter.")
        init_secret = epoch.secrets.init_secret


def _epoch(suite: CipherSuite, group_id: bytes, index: int, init_secret: InitSecret, chosen: Case) -> _Epoch:
    confirmed = octets(chosen, "confirmed_transcript_hash")
    version = ProtocolVersion.MLS10
    context = encode(GroupContext(version, suite.id, group_id, index, octets(chosen, "tree_hash"), confirmed, ()))
    no_psk = chosen.get("psk_secret") is None
    injected = PSKSecret(bytes(suite.hash_length) if no_psk else octets(chosen, "psk_secret"))
    joiner_secret = derive_joiner_secret(suite, init_secret, CommitSecret(octets(chosen, "commit_secret")), context)
    secrets = derive_epoch_secrets(suite, joiner_secret, injected, context)
    welcome_secret = derive_welcome_secret(suite, joiner_secret, injected)
    return _Epoch(context, joiner_secret, welcome_secret, secrets, external_key_pair(suite, secrets.external).public)


def _exported(suite: CipherSuite, secrets: EpochSecrets, asked: Case) -> bytes:
    label, context, length = text(asked, "label"), octets(asked, "context"), number(asked, "length")
    return export_secret(suite, secrets.exporter, label, context, length).expose()


def generate_key_schedule(recipe: Recipe) -> Iterator[Case]:
    """Yield one case of five epochs, or two, the second one without a pre-shared key."""
    suite, entropy = recipe.suite, recipe.entropy
    group_id, initial = entropy(16), entropy(suite.hash_length)
    init_secret, epochs = InitSecret(initial), []
    for index in range(2 if recipe.small else 5):
        psk = bytes(suite.hash_length) if index == 1 else entropy(suite.hash_length)
        stated: Case = {
            "tree_hash": entropy(suite.hash_length).hex(),
            "commit_secret": entropy(suite.hash_length).hex(),
            "psk_secret": psk.hex(),
            "confirmed_transcript_hash": entropy(suite.hash_length).hex(),
        }
        epoch = _epoch(suite, group_id, index, init_secret, stated)
        stated |= {name: value.hex() for name, value in epoch.outputs().items()}
        exporter: Case = {"label": entropy(16).hex(), "context": entropy(32).hex(), "length": 32 + 16 * index}
        exporter["secret"] = _exported(suite, epoch.secrets, exporter).hex()
        epochs.append({**stated, "exporter": exporter})
        init_secret = epoch.secrets.init_secret
    yield {
        "cipher_suite": suite.id,
        "group_id": group_id.hex(),
        "initial_init_secret": initial.hex(),
        "epochs": epochs,
    }


# Pre-shared keys.


def verify_psk_secret(case: Case, entropy: Entropy) -> None:
    """Combine the keys, all of them external."""
    del entropy
    expect_octets(_combined(suite_of(case), parts(case, "psks")), case, "psk_secret")


def _combined(suite: CipherSuite, psks: list[Case]) -> bytes:
    named = [
        (PreSharedKeyID(ExternalPSK(octets(each, "psk_id")), octets(each, "psk_nonce")), PSK(octets(each, "psk")))
        for each in psks
    ]
    return psk_secret(suite, named).expose()


def generate_psk_secret(recipe: Recipe) -> Iterator[Case]:
    """Yield combinations of no key up to ten, or up to three."""
    suite, entropy = recipe.suite, recipe.entropy
    for count in range(4 if recipe.small else 11):
        psks: list[Case] = [
            {name: entropy(suite.hash_length).hex() for name in ("psk_id", "psk", "psk_nonce")} for _ in range(count)
        ]
        yield {"cipher_suite": suite.id, "psks": psks, "psk_secret": _combined(suite, psks).hex()}


# Transcript hashes.


def verify_transcript_hashes(case: Case, entropy: Entropy) -> None:
    """Compare both hashes after a commit, and check its confirmation tag."""
    del entropy
    suite, encoded = suite_of(case), octets(case, "authenticated_content")
    content = decode(AuthenticatedContent, encoded)
    tag = content.auth.confirmation_tag
    if not is_commit(content.content) or tag is None:
        raise Mismatch("authenticated_content is no commit")
    confirmed = confirmed_transcript_hash(suite, octets(case, "interim_transcript_hash_before"), content)
    expect_octets(confirmed, case, "confirmed_transcript_hash_after")
    verify_confirmation_tag(suite, ConfirmationKey(octets(case, "confirmation_key")), confirmed, tag)
    expect_octets(interim_transcript_hash(suite, confirmed, tag), case, "interim_transcript_hash_after")


def generate_transcript_hashes(recipe: Recipe) -> Iterator[Case]:
    """Yield one commit, without proposals and without a path."""
    suite, entropy = recipe.suite, recipe.entropy
    key, before = entropy(suite.hash_length), entropy(suite.hash_length)
    epoch = int.from_bytes(entropy(8), "big")
    framed = FramedContent(entropy(16), epoch, MemberSender(LeafIndex(7)), entropy(8), Commit((), None))
    tree_hash, earlier = entropy(suite.hash_length), entropy(suite.hash_length)
    context = GroupContext(ProtocolVersion.MLS10, suite.id, framed.group_id, epoch, tree_hash, earlier, ())
    signer, wire_format = suite.generate_signature_key_pair(entropy), WireFormat.PRIVATE_MESSAGE
    signature = sign_content(suite, signer.private, framed, wire_format, context)
    signed = AuthenticatedContent(wire_format, framed, FramedContentAuthData(signature, b""))
    confirmed = confirmed_transcript_hash(suite, before, signed)
    tag = confirmation_tag(suite, ConfirmationKey(key), confirmed)
    content = AuthenticatedContent(wire_format, framed, FramedContentAuthData(signature, tag))
    yield {
        "cipher_suite": suite.id,
        "confirmation_key": key.hex(),
        "authenticated_content": encode(content).hex(),
        "interim_transcript_hash_before": before.hex(),
        "confirmed_transcript_hash_after": confirmed.hex(),
        "interim_transcript_hash_after": interim_transcript_hash(suite, confirmed, tag).hex(),
    }


_TRANSCRIPT_FIELDS = (
    "cipher_suite",
    "confirmation_key",
    "authenticated_content",
    "interim_transcript_hash_before",
    "confirmed_transcript_hash_after",
    "interim_transcript_hash_after",
)
KINDS = (
    Kind(
        "key-schedule",
        frozenset({"cipher_suite", "group_id", "initial_init_secret", "epochs"}),
        verify_key_schedule,
        generate_key_schedule,
    ),
    Kind("psk_secret", frozenset({"cipher_suite", "psks", "psk_secret"}), verify_psk_secret, generate_psk_secret),
    Kind("transcript-hashes", frozenset(_TRANSCRIPT_FIELDS), verify_transcript_hashes, generate_transcript_hashes),
)
