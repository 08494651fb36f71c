"""Joining by a Welcome: what it is, and everything that it is refused for. RFC 9420 §12.4.3, §12.4.3.1."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from mls import Extension, intents
from mls.crypto import SUITES, cipher_suite
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidGroupInfo,
    InvalidKey,
    InvalidLeafNode,
    InvalidSignature,
    InvalidTag,
    InvalidTree,
    InvalidWelcome,
    MalformedMessage,
    MLSError,
    UnavailableSecret,
    Unsupported,
    UsageError,
)
from mls.messages import (
    GREASE,
    ApplicationID,
    EncryptedGroupSecrets,
    ExtensionType,
    ExternalPSK,
    GroupContext,
    GroupInfo,
    GroupSecrets,
    MLSMessage,
    PreSharedKeyID,
    ProtocolVersion,
    RequiredCapabilities,
    ResumptionPSK,
    ResumptionPSKUsage,
    Welcome,
    WirePathSecret,
    encode_unsigned,
)
from tests.support.crafting import UNKNOWN_EXTENSION
from tests.support.welcome_scenes import Scene, scene_of
from tests.support.welcomes import assert_join_refused, bundle_of
from tests.support.world import World, records
from treekem.index import LeafIndex, NodeIndex
from treekem.nodes import HPKECiphertext
from treekem.wire import decode, encode


@pytest.fixture
def scene() -> Scene:
    return scene_of(World())


# What is on the wire, §12.4.3.


@pytest.mark.rfc("R-12.4.3-01", "R-12.4.3.1-01", "R-12.4.3.1-02")
def test_the_fields_of_what_a_joiner_is_told() -> None:
    context = GroupContext(1, 2, b"id", 3, b"th", b"cth", ())
    encoded_context = "0001 0002 02 6964 0000000000000003 02 7468 03 637468 00"
    assert encode(context) == bytes.fromhex(encoded_context)
    info = GroupInfo(context, (Extension(9, b"x"),), b"tag", LeafIndex(7), b"sig")
    head = f"{encoded_context} 04 0009 01 78 03 746167 00000007"
    assert encode_unsigned(info) == bytes.fromhex(head)
    assert encode(info) == bytes.fromhex(head + "03 736967")
    secrets = GroupSecrets(b"joiner", WirePathSecret(b"path"), (PreSharedKeyID(ExternalPSK(b"p"), b"n"),))
    assert encode(secrets) == bytes.fromhex("06 6a6f696e6572 01 04 70617468 05 01 01 70 01 6e")
    assert encode(replace(secrets, path_secret=None, psks=())) == bytes.fromhex("06 6a6f696e6572 00 00")
    entry = EncryptedGroupSecrets(b"ref", HPKECiphertext(b"kem", b"ct"))
    welcome = Welcome(2, (entry,), b"info")
    assert encode(welcome) == bytes.fromhex("0002 0b 03 726566 03 6b656d 02 6374 04 696e666f")


@pytest.mark.rfc("R-12.4.3-02", "R-12.4.1-11", "R-12.4.1-15", "R-12.4.3.3-06")
def test_what_a_welcome_says(scene: Scene) -> None:
    info, secrets = scene.inviter.parts.info, scene.inviter.parts.secrets
    assert info.group_context == scene.inviter.after.group.context
    assert (info.signer, info.confirmation_tag) == (1, scene.inviter.true_tag())
    key = scene.groups[1].me.signature_key
    scene.inviter.suite.verify_with_label(key, b"GroupInfoTBS", encode_unsigned(info), info.signature)
    known = [each.extension_type for each in info.extensions if each.extension_type not in GREASE]
    assert known == [ExtensionType.RATCHET_TREE]
    assert secrets.path_secret is not None
    assert secrets.psks == ()
    without = scene_of(World(seed=1), path=False).inviter.parts.secrets
    assert without.path_secret is None


@pytest.mark.rfc("R-12.4.3.1-20", "R-12.4.3.1-23", "R-12.4.3.1-25", "R-12.4.1-16")
@pytest.mark.parametrize("suite", sorted(SUITES))
@pytest.mark.parametrize("path", [True, False])
def test_a_joiner_holds_what_the_others_hold(suite: int, path: bool) -> None:
    scene = scene_of(World(suite), path=path)
    invitation = scene.joiner.join(scene.inviter.message())
    assert invitation.inviter.leaf == 1
    joined = invitation.accept()
    assert joined.epoch_authenticator == scene.inviter.after.secrets.epoch_authenticator
    agreed = scene.inviter.after.group
    assert joined._standing.state.group.interim_transcript_hash == agreed.interim_transcript_hash
    held = joined._standing.state.own.private_keys
    expected = {NodeIndex(6), NodeIndex(3)} if path else {NodeIndex(6)}
    assert set(held) == expected
    for node, key in held.items():
        assert cipher_suite(suite).hpke_public_key(key) == joined._standing.state.group.tree.encryption_key(node)


@pytest.mark.rfc("R-12.4.3-03", "R-13.4-04", "R-13.5-05", "N-W10")
def test_unknown_extensions_of_a_group_info_are_ignored(scene: Scene) -> None:
    used = {each.extension_type for each in scene.inviter.parts.info.extensions}
    grease = next(value for value in GREASE if value not in used)
    unknown = (Extension(grease, b"x"), Extension(UNKNOWN_EXTENSION, b""))
    info = scene.inviter.info(extensions=(*unknown, *scene.inviter.parts.info.extensions))
    assert scene.joiner.join(scene.inviter.message(info=info)).accept().epoch == 3


# Whose it is.


@pytest.mark.rfc("R-12.4.3.1-03", "N-W01")
def test_a_welcome_for_somebody_else(scene: Scene) -> None:
    welcome = scene.inviter.welcome()
    entry = replace(welcome.secrets[0], new_member=bytes(32))
    refused = (InvalidWelcome, "R-12.4.3.1-03", Code.NO_MATCHING_KEY_PACKAGE)
    for secrets in ((), (entry,)):
        message = encode(MLSMessage(ProtocolVersion.MLS10, replace(welcome, secrets=secrets)))
        scene.assert_refused(message, *refused)
    both = replace(welcome, secrets=(entry, welcome.secrets[0]))
    assert scene.joiner.join(encode(MLSMessage(ProtocolVersion.MLS10, both))).epoch == 3


@pytest.mark.rfc("R-12.4.3.1-04", "R-17.1-06")
def test_a_welcome_is_of_the_suite_of_its_key_package(scene: Scene) -> None:
    welcome = scene.inviter.welcome()
    other = encode(MLSMessage(ProtocolVersion.MLS10, replace(welcome, cipher_suite=3)))
    scene.assert_refused(other, InvalidWelcome, "R-12.4.3.1-04", Code.BAD_WELCOME)
    unknown = encode(MLSMessage(ProtocolVersion.MLS10, replace(welcome, cipher_suite=0xF000)))
    scene.assert_refused(unknown, Unsupported, "R-17.1-06", Code.UNSUPPORTED)


# What is sealed.


@pytest.mark.rfc("R-12.4.3.1-05", "N-W02", "N-W03")
def test_the_secrets_are_sealed_to_the_joiner_and_bound_to_the_group_info(scene: Scene) -> None:
    welcome = scene.inviter.welcome()
    entry = welcome.secrets[0]
    sealed = entry.encrypted_group_secrets
    refused = (InvalidCiphertext, "R-12.4.3.1-05", Code.AEAD_FAILED)
    flipped = bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:]
    other = scene.inviter.suite.generate_key_pair(scene.inviter.forger.env.entropy).public
    bodies = replace(sealed, ciphertext=flipped), replace(sealed, ciphertext=b""), replace(sealed, kem_output=other)
    for changed in bodies:
        forged = replace(welcome, secrets=(replace(entry, encrypted_group_secrets=changed),))
        scene.assert_refused(encode(MLSMessage(ProtocolVersion.MLS10, forged)), *refused)
    swapped = replace(welcome, encrypted_group_info=scene.inviter.genuine.encrypted_group_info[:-1])
    scene.assert_refused(encode(MLSMessage(ProtocolVersion.MLS10, swapped)), *refused)
    low = replace(welcome, secrets=(replace(entry, encrypted_group_secrets=replace(sealed, kem_output=bytes(32))),))
    with pytest.raises(InvalidKey):
        scene.joiner.join(encode(MLSMessage(ProtocolVersion.MLS10, low)))


@pytest.mark.rfc("R-12.4.3.1-06", "N-C04")
def test_the_secrets_are_whole(scene: Scene) -> None:
    secrets = scene.inviter.secrets
    joiner_secret = scene.inviter.parts.secrets.joiner_secret
    for wrong in (joiner_secret[:-1], joiner_secret + b"\0", b""):
        message = scene.inviter.message(secrets=secrets(joiner_secret=wrong))
        scene.assert_refused(message, InvalidWelcome, "R-12.4.3.1-06", Code.BAD_WELCOME)
    trailing = scene.inviter.message(plain_secrets=encode(scene.inviter.parts.secrets) + b"\0")
    scene.assert_refused(trailing, MalformedMessage, "R-2.1-08", Code.TRAILING_DATA)
    trailing = scene.inviter.message(plain_info=encode(scene.inviter.parts.info) + b"\0")
    scene.assert_refused(trailing, MalformedMessage, "R-2.1-08", Code.TRAILING_DATA)


@pytest.mark.rfc("R-12.4.3.1-09", "N-W03")
def test_the_group_info_is_sealed_under_the_joiner_secret(scene: Scene) -> None:
    message = scene.inviter.message(secrets=scene.inviter.secrets(joiner_secret=bytes(32)))
    scene.assert_refused(message, InvalidCiphertext, "R-12.4.3.1-09", Code.AEAD_FAILED)


# PSKs.


def external(nonce: bytes = bytes(32), name: bytes = b"psk") -> PreSharedKeyID:
    return PreSharedKeyID(ExternalPSK(name), nonce)


@pytest.mark.rfc("R-12.4.3.1-07", "R-12.4.3.1-08", "N-W09")
def test_the_psks_of_a_welcome(scene: Scene) -> None:
    secrets = scene.inviter.secrets
    group_id = scene.groups[0].group_id
    reinit, branch = (
        PreSharedKeyID(ResumptionPSK(usage, group_id, 1), bytes(32))
        for usage in (ResumptionPSKUsage.REINIT, ResumptionPSKUsage.BRANCH)
    )
    for psks, error, rule, code in (
        ((external(),), UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN),
        ((external(bytes(31)),), InvalidWelcome, "R-12.4.3.1-07", Code.PSK_INVALID),
        ((external(b""),), InvalidWelcome, "R-12.4.3.1-07", Code.PSK_INVALID),
        ((external(), external()), InvalidWelcome, "R-12.2-09", Code.PSK_INVALID),
        ((reinit,), UnavailableSecret, "R-12.3-05", Code.PSK_UNKNOWN),
        ((branch, reinit), InvalidWelcome, "R-12.4.3.1-08", Code.PSK_INVALID),
    ):
        message = scene.inviter.message(secrets=secrets(psks=psks))
        scene.assert_refused(message, error, rule, code)
    # One that we hold, but that was not injected.
    scene.joiner.add_psk(b"psk", b"secret")
    message = scene.inviter.message(secrets=secrets(psks=(external(),)))
    scene.assert_refused(message, InvalidCiphertext, "R-12.4.3.1-09", Code.AEAD_FAILED)


@pytest.mark.rfc("R-12.4.3.1-07", "R-12.4.1-17", "N-W09", "R-12.4.3.1-23")
def test_the_order_of_psks_counts(scene: Scene) -> None:
    world, forger = scene.world, scene.inviter.forger
    joiner = world.client("another joiner")
    for client in world.clients.values():
        client.add_psk(b"one", b"secret 1")
        client.add_psk(b"two", b"secret 2")
    pending = scene.groups[0].commit(
        [intents.Add(joiner.key_package()), intents.PreSharedKey(b"one"), intents.PreSharedKey(b"two")]
    )
    assert joiner.join(pending.welcome or b"").epoch == 3
    body = decode(MLSMessage, pending.welcome or b"").body
    assert isinstance(body, Welcome)
    bundle = bundle_of(joiner)
    sealed = body.secrets[0].encrypted_group_secrets
    context = forger.suite.seal_context(b"Welcome", body.encrypted_group_info)
    told = decode(GroupSecrets, forger.suite.open(bundle.init_key, context, sealed.kem_output, sealed.ciphertext))
    assert [psk.psk for psk in told.psks] == [ExternalPSK(b"one"), ExternalPSK(b"two")]
    for psks in (told.psks[::-1], told.psks[:1]):
        changed = forger.suite.seal(
            bundle.key_package.init_key, context, encode(replace(told, psks=psks)), forger.env.entropy
        )
        entry = replace(body.secrets[0], encrypted_group_secrets=HPKECiphertext(*changed))
        message = encode(MLSMessage(ProtocolVersion.MLS10, replace(body, secrets=(entry,))))
        refused = (InvalidCiphertext, "R-12.4.3.1-09", Code.AEAD_FAILED)
        assert_join_refused(joiner, partial(joiner.join, message), refused)


# The GroupInfo.


@pytest.mark.rfc("R-12.4.3-07", "R-12.4.3.1-11", "N-W04")
def test_a_group_info_is_signed_by_the_member_that_it_names(scene: Scene) -> None:
    inviter = scene.inviter
    for signer in (4, 99, 2**32 - 1):
        info = inviter.info(signer=LeafIndex(signer))
        scene.assert_refused(inviter.message(info=info), InvalidGroupInfo, "R-12.4.3-07", Code.BAD_SIGNATURE)
    refused = (InvalidSignature, "R-12.4.3.1-11", Code.BAD_SIGNATURE)
    strangers = inviter.forger.new_signature_keys()
    for info in (
        inviter.info(signer=LeafIndex(0)),
        inviter.info(key=strangers.private),
        replace(inviter.parts.info, confirmation_tag=bytes(32)),
        replace(inviter.parts.info, signature=b""),
    ):
        scene.assert_refused(inviter.message(info=info), *refused)


@pytest.mark.rfc("R-12.4.3.1-12", "N-W05", "B24")
def test_the_group_is_of_the_suite_and_version_of_the_key_package(scene: Scene) -> None:
    inviter = scene.inviter
    other = inviter.message(info=inviter.confirmed_info(cipher_suite=3))
    scene.assert_refused(other, InvalidGroupInfo, "R-12.4.3.1-12", Code.BAD_KEY_PACKAGE)
    other = inviter.message(info=inviter.confirmed_info(version=2))
    scene.assert_refused(other, Unsupported, "R-6-05", Code.UNSUPPORTED)


@pytest.mark.rfc("R-12.4.3.1-24", "N-W11")
def test_the_epoch_is_confirmed(scene: Scene) -> None:
    inviter = scene.inviter
    refused = (InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    for tag in (bytes(32), b"", inviter.true_tag()[:-1]):
        scene.assert_refused(inviter.message(info=inviter.info(confirmation_tag=tag)), *refused)
    for context in ({"epoch": 9}, {"group_id": b"another"}, {"confirmed_transcript_hash": bytes(32)}):
        info = inviter.confirmed_info(**context)
        if "group_id" in context:  # Leaves that were signed for the group betray another id first.
            message = inviter.message(info=info)
            scene.assert_refused(message, InvalidSignature, "R-7.3-03", Code.BAD_SIGNATURE)
        else:
            scene.assert_refused(inviter.message(info=info), *refused)


@pytest.mark.rfc("R-12.4.3-05", "R-13.4-07", "R-12.4.3.1-28", "N-W10")
@pytest.mark.parametrize(
    ("extension", "rule"),
    [
        (Extension(UNKNOWN_EXTENSION, b""), "R-7.3-16"),
        (
            Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(RequiredCapabilities((UNKNOWN_EXTENSION,), (), ()))),
            "R-7.3-04",
        ),
    ],
)
def test_a_group_that_asks_more_than_we_can_do(scene: Scene, extension: Extension, rule: str) -> None:
    message = scene.inviter.message(info=scene.inviter.confirmed_info(extensions=(extension,)))
    scene.assert_refused(message, InvalidLeafNode, rule, Code.UNSUPPORTED_CAPABILITY)


@pytest.mark.rfc("R-13.4-05", "R-13.4-08", "N-C08")
def test_the_extensions_of_group_and_group_info_have_their_place(scene: Scene) -> None:
    inviter = scene.inviter
    unknown = Extension(UNKNOWN_EXTENSION, b"")
    identity = Extension(ExtensionType.APPLICATION_ID, encode(ApplicationID(b"x")))
    cases = (
        ((unknown, unknown), "R-13.4-05", Code.DUPLICATE_EXTENSION),
        ((identity,), "R-13.4-08", Code.BAD_GROUP_INFO),
    )
    for extensions, rule, code in cases:
        of_info = inviter.info(extensions=(*inviter.parts.info.extensions, *extensions))
        of_context = inviter.confirmed_info(extensions=extensions)
        for info in (of_info, of_context):
            scene.assert_refused(inviter.message(info=info), InvalidGroupInfo, rule, code)


@pytest.mark.rfc("R-12.4.3-06", "N-W06", "B04")
def test_a_client_is_in_a_group_once(scene: Scene) -> None:
    package = scene.joiner.key_package(last_resort=True)
    alice = scene.groups[0]
    first = alice.commit([intents.Add(package)])
    invitation, late = scene.joiner.join(first.welcome or b""), scene.joiner.join(first.welcome or b"")
    group = invitation.accept()
    exists = (InvalidWelcome, "R-12.4.3-06", Code.GROUP_EXISTS)
    assert_join_refused(scene.joiner, lambda: scene.joiner.join(first.welcome or b""), exists)
    before, stored = group.fingerprint(), records(scene.joiner._store)
    for again in (late, invitation):
        with pytest.raises(UsageError) as caught:
            again.accept()
        assert caught.value.code in {Code.GROUP_EXISTS, Code.STALE_HANDLE}
    assert (group.fingerprint(), records(scene.joiner._store)) == (before, stored)


# Failing and succeeding.


@pytest.mark.rfc("R-12.4.3.1-29", "R-10-15")
def test_nothing_is_used_up_before_the_invitation_is_accepted(scene: Scene) -> None:
    before = records(scene.joiner._store)
    invitation = scene.joiner.join(scene.inviter.message())
    assert records(scene.joiner._store) == before
    assert invitation.group_id == scene.groups[0].group_id
    group = invitation.accept()
    after = records(scene.joiner._store)
    assert not [name for name in after if name.startswith("keypackage/")]
    assert scene.joiner.group(group.group_id).epoch == 3


@pytest.mark.rfc("S-max_leaves", "S-max_welcome_bytes")
def test_a_welcome_is_limited_in_size() -> None:
    world = World()
    scene = scene_of(world)
    small = world.client("small", max_welcome_bytes=500)
    pending = scene.groups[0].commit([intents.Add(small.key_package())])
    with pytest.raises(MLSError) as caught:
        small.join(pending.welcome or b"")
    assert (caught.value.rule, caught.value.code) == ("S-max_welcome_bytes", Code.LIMIT_EXCEEDED)
    narrow = world.client("narrow", max_leaves=2)
    pending = scene.groups[0].commit([intents.Add(narrow.key_package())])
    with pytest.raises(InvalidTree) as refused:
        narrow.join(pending.welcome or b"")
    assert (refused.value.rule, refused.value.code) == ("S-max_leaves", Code.LIMIT_EXCEEDED)
