"""RFC 9420 §8: the key schedule, transcript hashes, external initialization, pre-shared keys, exporters."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from mls.crypto import cipher_suite
from mls.errors import Code, InvalidKey, InvalidMessage, InvalidTag, UsageError
from mls.messages import (
    ApplicationData,
    AuthenticatedContent,
    Commit,
    Content,
    ExternalPSK,
    FramedContent,
    FramedContentAuthData,
    MemberSender,
    PreSharedKeyID,
    WireFormat,
)
from mls.schedule.key_schedule import (
    AEADKey,
    ConfirmationKey,
    EpochSecret,
    ExporterSecret,
    ExternalSecret,
    InitSecret,
    JoinerSecret,
    PSKSecret,
    WelcomeSecret,
    create_external_init,
    derive_epoch_secrets,
    derive_joiner_secret,
    derive_welcome_secret,
    epoch_secrets_of,
    export_secret,
    external_init_secret,
    external_key_pair,
    sender_data_key_and_nonce,
    welcome_key_and_nonce,
    zero_commit_secret,
)
from mls.schedule.psk import PSK, psk_secret
from mls.schedule.transcript import (
    EMPTY_TRANSCRIPT_HASH,
    confirmation_tag,
    confirmed_transcript_hash,
    interim_transcript_hash,
    verify_confirmation_tag,
)
from tests.support.entropy import DeterministicEntropy
from tests.support.live import secrets_made_in, stray_secrets
from tests.support.naive_schedule import HASHES, expand_with_label, extract
from treekem.index import LeafIndex
from treekem.secrets import Secret
from treekem.suite import CommitSecret
from treekem.wire import encode

SUITE = cipher_suite(1)
LENGTH = 32
every_suite = pytest.mark.parametrize("suite_id", sorted(HASHES))


# §8


@every_suite
@pytest.mark.rfc("R-8-04", "R-8-05", "R-8-06")
def test_each_stage_extracts_with_the_former_as_salt(suite_id: int) -> None:
    suite, name = cipher_suite(suite_id), HASHES[suite_id]
    length = suite.hash_length
    init, commit, psk, context = (bytes((number,)) * length for number in (1, 2, 3, 4))

    joiner = derive_joiner_secret(suite, InitSecret(init), CommitSecret(commit), context)
    expected_joiner = expand_with_label(name, extract(name, init, commit), b"joiner", context, length)
    assert joiner.expose() == expected_joiner
    assert joiner.expose() != expand_with_label(name, extract(name, commit, init), b"joiner", context, length)

    member = extract(name, expected_joiner, psk)
    welcome = derive_welcome_secret(suite, joiner, PSKSecret(psk))
    assert welcome.expose() == expand_with_label(name, member, b"welcome", b"", length)

    epoch_secret = expand_with_label(name, member, b"epoch", context, length)
    secrets = derive_epoch_secrets(suite, joiner, PSKSecret(psk), context)
    assert secrets.init_secret.expose() == expand_with_label(name, epoch_secret, b"init", b"", length)


@every_suite
@pytest.mark.rfc("R-8-08")
def test_every_secret_of_an_epoch_has_its_label(suite_id: int) -> None:
    suite, name = cipher_suite(suite_id), HASHES[suite_id]
    secret = b"e" * suite.hash_length
    secrets = epoch_secrets_of(suite, EpochSecret(secret))
    for label, derived in (
        (b"sender data", secrets.sender_data),
        (b"encryption", secrets.encryption),
        (b"exporter", secrets.exporter),
        (b"external", secrets.external),
        (b"confirm", secrets.confirmation_key),
        (b"membership", secrets.membership_key),
        (b"resumption", secrets.resumption_psk),
        (b"authentication", Secret(secrets.epoch_authenticator)),
        (b"init", secrets.init_secret),
    ):
        assert derived.expose() == expand_with_label(name, secret, label, b"", suite.hash_length)


@every_suite
@pytest.mark.rfc("R-8-06")
def test_a_commit_without_path_or_psk_contributes_zeros(suite_id: int) -> None:
    suite = cipher_suite(suite_id)
    assert zero_commit_secret(suite).expose() == bytes(suite.hash_length)
    assert psk_secret(suite, []).expose() == bytes(suite.hash_length)


@pytest.mark.rfc("R-8-07")
def test_the_group_context_enters_the_joiner_and_the_epoch_secret() -> None:
    def joiner(context: bytes) -> bytes:
        return derive_joiner_secret(SUITE, InitSecret(bytes(32)), CommitSecret(bytes(32)), context).expose()

    def authenticator(context: bytes) -> bytes:
        secrets = derive_epoch_secrets(SUITE, JoinerSecret(bytes(32)), PSKSecret(bytes(32)), context)
        return secrets.epoch_authenticator

    assert joiner(b"one") == joiner(b"one") != joiner(b"another")
    assert authenticator(b"one") == authenticator(b"one") != authenticator(b"another")


@pytest.mark.rfc("R-8-10", "R-9.2-02", "R-9.2-07")
def test_the_epoch_secret_is_wiped_once_it_has_derived_the_others() -> None:
    epoch_secret = EpochSecret(b"e" * LENGTH)
    secrets = epoch_secrets_of(SUITE, epoch_secret)
    assert epoch_secret.is_wiped
    assert not secrets.encryption.is_wiped


@pytest.mark.rfc("R-8-10")
def test_what_lies_between_two_stages_is_wiped() -> None:
    init, commit, psk = InitSecret(b"i" * LENGTH), CommitSecret(b"c" * LENGTH), PSKSecret(bytes(LENGTH))
    joiner = JoinerSecret(b"j" * LENGTH)
    epochs = epoch_secrets_of(SUITE, EpochSecret(b"e" * LENGTH))
    stages: list[Callable[[], object]] = [
        lambda: derive_joiner_secret(SUITE, init, commit, b"context"),
        lambda: derive_welcome_secret(SUITE, joiner, psk),
        lambda: derive_epoch_secrets(SUITE, joiner, psk, b"context"),
        lambda: epoch_secrets_of(SUITE, EpochSecret(b"e" * LENGTH)),
        lambda: welcome_key_and_nonce(SUITE, WelcomeSecret(b"w" * LENGTH))[1],
        lambda: sender_data_key_and_nonce(SUITE, epochs.sender_data, b"sample"),
        lambda: export_secret(SUITE, epochs.exporter, b"label", b"context", 16),
        lambda: psk_secret(SUITE, [(psk_id(b"one"), PSK(b"1")), (psk_id(b"two"), PSK(b"2"))]),
    ]
    mine = (WelcomeSecret, AEADKey, PSK)
    for stage in stages:
        assert [secret for secret in stray_secrets(stage) if not isinstance(secret, mine)] == []
    assert len(secrets_made_in(stages[2])[1]) == 1 + 1 + 9


@pytest.mark.rfc("R-8-10")
def test_the_callers_secrets_are_left_alone() -> None:
    init, commit, psk = InitSecret(b"i" * LENGTH), CommitSecret(b"c" * LENGTH), PSKSecret(b"p" * LENGTH)
    joiner = derive_joiner_secret(SUITE, init, commit, b"context")
    derive_welcome_secret(SUITE, joiner, psk)
    derive_epoch_secrets(SUITE, joiner, psk, b"context")
    assert not any(secret.is_wiped for secret in (init, commit, psk, joiner))


def test_an_epoch_can_be_wiped() -> None:
    secrets = epoch_secrets_of(SUITE, EpochSecret(b"e" * LENGTH))
    secrets.wipe()
    held = [referent for referent in gc.get_referents(secrets) if isinstance(referent, Secret)]
    assert len(held) == 8
    assert all(secret.is_wiped for secret in held)


@every_suite
@pytest.mark.rfc("R-12.4.3.1-09")
def test_welcome_key_and_nonce(suite_id: int) -> None:
    suite, name = cipher_suite(suite_id), HASHES[suite_id]
    secret = b"w" * suite.hash_length
    key, nonce = welcome_key_and_nonce(suite, WelcomeSecret(secret))
    assert key.expose() == expand_with_label(name, secret, b"key", b"", suite.aead_key_length)
    assert nonce == expand_with_label(name, secret, b"nonce", b"", suite.aead_nonce_length)


@pytest.mark.rfc("R-6.3.2-04")
def test_the_sample_is_at_most_nh_bytes_of_ciphertext() -> None:
    secret = epoch_secrets_of(SUITE, EpochSecret(b"e" * LENGTH)).sender_data
    _, nonce = sender_data_key_and_nonce(SUITE, secret, bytes(LENGTH))
    assert sender_data_key_and_nonce(SUITE, secret, bytes(LENGTH) + b"beyond the sample")[1] == nonce
    assert sender_data_key_and_nonce(SUITE, secret, bytes(LENGTH - 1))[1] != nonce


# §8.2


def content_of(content: Content) -> AuthenticatedContent:
    tag = b"t" * LENGTH if isinstance(content, Commit) else None
    framed = FramedContent(b"group", 6, MemberSender(LeafIndex(1)), b"aad", content)
    return AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, framed, FramedContentAuthData(b"signature", tag))


@pytest.mark.rfc("R-8.2-01", "R-8.2-06")
def test_the_confirmed_hash_covers_wire_format_content_and_signature() -> None:
    content = content_of(Commit((), None))
    added = WireFormat.PUBLIC_MESSAGE.to_bytes(2, "big") + encode(content.content) + b"\x09signature"
    assert confirmed_transcript_hash(SUITE, b"interim", content) == SUITE.hash(b"interim" + added)


@pytest.mark.rfc("R-8.2-05")
def test_only_commits_enter_the_transcript() -> None:
    assert confirmed_transcript_hash(SUITE, b"", content_of(Commit((), None)))
    with pytest.raises(UsageError) as refused:
        confirmed_transcript_hash(SUITE, b"", content_of(ApplicationData(b"hello")))
    assert refused.value.rule == "R-8.2-05"


@pytest.mark.rfc("R-8.2-02", "R-8.2-03", "R-8.2-04")
def test_the_interim_hash_covers_the_tag_with_its_length_even_at_epoch_0() -> None:
    tag = b"t" * LENGTH
    assert interim_transcript_hash(SUITE, b"confirmed", tag) == SUITE.hash(b"confirmed\x20" + tag)
    assert EMPTY_TRANSCRIPT_HASH == b""
    assert interim_transcript_hash(SUITE, EMPTY_TRANSCRIPT_HASH, tag) == SUITE.hash(b"\x20" + tag)


@pytest.mark.rfc("R-6.1-14", "R-6.1-15", "B01")
def test_the_confirmation_tag_is_compared_whole() -> None:
    key = ConfirmationKey(b"k" * LENGTH)
    tag = confirmation_tag(SUITE, key, b"confirmed")
    verify_confirmation_tag(SUITE, key, b"confirmed", tag)
    for wrong in (b"", tag[:-1], tag + b"\x00", bytes(LENGTH)):
        with pytest.raises(InvalidTag) as refused:
            verify_confirmation_tag(SUITE, key, b"confirmed", wrong)
        assert (refused.value.rule, refused.value.code) == ("R-6.1-15", Code.BAD_CONFIRMATION_TAG)


# §8.3


@every_suite
@pytest.mark.rfc("R-8-09", "R-8.3-01", "R-8.3-02", "R-8.3-03")
def test_joiner_and_members_share_the_external_init_secret(suite_id: int, entropy: DeterministicEntropy) -> None:
    suite = cipher_suite(suite_id)
    pair = external_key_pair(suite, ExternalSecret(b"e" * suite.hash_length))
    kem_output, ours = create_external_init(suite, pair.public, entropy)
    theirs = external_init_secret(suite, pair.private, kem_output)
    assert ours.expose() == theirs.expose()
    assert len(theirs) == suite.hash_length

    _, other = create_external_init(suite, pair.public, entropy)
    assert other.expose() != ours.expose()


@pytest.mark.parametrize("kem_output", [b"", bytes(31), bytes(33), bytes(32)], ids=["empty", "short", "long", "zero"])
@pytest.mark.rfc("R-8.3-04")
def test_a_malformed_kem_output_is_refused(kem_output: bytes) -> None:
    pair = external_key_pair(SUITE, ExternalSecret(b"e" * LENGTH))
    with pytest.raises(InvalidKey):
        external_init_secret(SUITE, pair.private, kem_output)


# §8.4


def psk_id(name: bytes, nonce: bytes = bytes(LENGTH)) -> PreSharedKeyID:
    return PreSharedKeyID(ExternalPSK(name), nonce)


@pytest.mark.rfc("R-8.4-04", "R-8.4-05", "R-8.4-06")
def test_the_chain_takes_its_salt_from_the_psk() -> None:
    expected = bytes(LENGTH)
    for index, psk in enumerate((b"first", b"second, longer")):
        label = encode(psk_id(b"id%d" % index)) + index.to_bytes(2, "big") + (2).to_bytes(2, "big")
        extracted = extract("sha256", bytes(LENGTH), psk)
        psk_input = expand_with_label("sha256", extracted, b"derived psk", label, LENGTH)
        expected = extract("sha256", psk_input, expected)

    psks = [(psk_id(b"id0"), PSK(b"first")), (psk_id(b"id1"), PSK(b"second, longer"))]
    assert psk_secret(SUITE, psks).expose() == expected
    assert not any(psk.is_wiped for _, psk in psks)


@pytest.mark.rfc("R-8.4-03", "R-8.4-07")
def test_the_order_of_psks_matters() -> None:
    psks = [(psk_id(b"id%d" % number), PSK(b"same")) for number in range(3)]
    assert psk_secret(SUITE, psks).expose() == psk_secret(SUITE, list(psks)).expose()
    assert psk_secret(SUITE, psks).expose() != psk_secret(SUITE, psks[::-1]).expose()


@pytest.mark.rfc("R-8.4-09")
def test_more_psks_than_a_uint16_counts_are_refused() -> None:
    assert len(psk_secret(SUITE, [(psk_id(b"id"), PSK(b"psk"))] * 300)) == LENGTH
    with pytest.raises(InvalidMessage) as refused:
        psk_secret(SUITE, [(psk_id(b"id"), PSK(b"psk"))] * 0x10000)
    assert refused.value.rule == "R-8.4-09"


# §8.5, §8.7


@pytest.mark.rfc("R-8.5-01", "R-8.5-02")
def test_an_exporter_takes_label_and_context_verbatim() -> None:
    secret = b"x" * LENGTH
    for label in (b"app", b"6c6162656c", b"\x00\xff", b"MLS 1.0 "):
        derived = expand_with_label("sha256", secret, label, b"", LENGTH)
        expected = expand_with_label("sha256", derived, b"exported", SUITE.hash(b"\x01context"), 100)
        assert export_secret(SUITE, ExporterSecret(secret), label, b"\x01context", 100).expose() == expected


@pytest.mark.rfc("R-8-03")
def test_an_exporter_gives_no_more_than_the_kdf_can() -> None:
    secret = ExporterSecret(b"x" * LENGTH)
    assert len(export_secret(SUITE, secret, b"app", b"", 255 * LENGTH)) == 255 * LENGTH
    for length in (-1, 255 * LENGTH + 1, 70_000):
        with pytest.raises(UsageError) as refused:
            export_secret(SUITE, secret, b"app", b"", length)
        assert refused.value.rule == "R-8-03"


@pytest.mark.rfc("R-8.5-04", "R-8.7-01")
def test_exports_and_authenticators_differ_between_epochs() -> None:
    first, second = (epoch_secrets_of(SUITE, EpochSecret(bytes((number,)) * LENGTH)) for number in (1, 2))
    assert first.epoch_authenticator != second.epoch_authenticator
    exported = [export_secret(SUITE, epoch.exporter, b"app", b"", 32).expose() for epoch in (first, second)]
    assert exported[0] != exported[1]
