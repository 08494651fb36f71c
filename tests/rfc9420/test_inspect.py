"""`mls inspect`: what it shows of an object, what it never shows, and where it says that one breaks."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mls import AcceptAnyone, Add, Client, Identity, MemoryStore, Settings
from mls.cli.app import app
from mls.cli.inspection import guess, inspect_bytes, kinds, read_input
from mls.crypto import cipher_suite
from mls.errors import MalformedMessage
from mls.messages import (
    ApplicationData,
    AuthenticatedContent,
    Extension,
    ExternalPSK,
    ExternalPub,
    ExternalSender,
    ExternalSenders,
    FramedContent,
    FramedContentAuthData,
    GroupContext,
    GroupInfo,
    GroupSecrets,
    KeyPackage,
    MemberSender,
    MLSMessage,
    PreSharedKeyID,
    RequiredCapabilities,
    Welcome,
    WirePathSecret,
)
from mls.messages import BasicCredential as Basic
from mls.registry import ProposalDefinition, Registry
from tests.support.entropy import DeterministicEntropy
from treekem.index import LeafIndex
from treekem.wire import decode, encode, struct


class Objects:
    """What a small group sends."""

    def __init__(self) -> None:
        alice, bob = (self._client(name) for name in (b"alice", b"bob"))
        room = alice.create_group(b"room")
        self.key_package = bob.key_package()
        commit = room.commit([Add(self.key_package)])
        room.merge(commit)
        assert commit.welcome is not None
        self.commit, self.welcome = commit.message, commit.welcome
        self.group_info, self.tree = room.group_info(), room.ratchet_tree

    def _client(self, name: bytes) -> Client:
        identity = Identity.basic(name)
        entropy = DeterministicEntropy(name)
        return Client.create(MemoryStore(), identity, policy=AcceptAnyone(), clock=lambda: 1.8e9, entropy=entropy)


@pytest.fixture(scope="module")
def objects() -> Objects:
    return Objects()


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.delenv("COLUMNS", raising=False)
    return Shown(capsys)


class Shown:
    """Inspects, and returns the exit code and the text."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, data: bytes, kind: str | None = None, *, full: bool = False) -> tuple[int, str]:
        code = inspect_bytes(data, kind, full=full)
        return code, self._capsys.readouterr().out


def test_a_key_package_is_shown_with_names_dates_and_its_reference(objects: Objects, shown: Shown) -> None:
    code, text = shown(objects.key_package)
    suite = cipher_suite(1)
    reference = suite.ref_hash(b"MLS 1.0 KeyPackage Reference", objects.key_package[4:])
    assert code == 0
    for part in (
        "body: KeyPackage, mls_key_package (5)",
        "cipher_suite: MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (1)",
        "credential: BasicCredential, basic (1)",
        'identity: "bob", 3 bytes',
        "not_before: 2027-01-15 07:00:00 UTC",
        f"= KeyPackageRef {reference.hex()}",
    ):
        assert part in text


def test_extensions_are_opened(objects: Objects, shown: Shown) -> None:
    code, text = shown(objects.group_info)
    assert code == 0
    for part in (
        "ratchet_tree (2)",
        "[2]: leaf 1, LeafNode",
        "external_pub (4)",
        "= the ratchet_tree has the tree_hash",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("number", "body", "expected"),
    [
        (1, b"\x04name", 'application_id: "name", 4 bytes'),
        (3, encode(RequiredCapabilities((1, 0x0A0A), (2,), (0xF001,))), "extension_types: application_id (1), GREASE"),
        (4, encode(ExternalPub(b"key")), "external_pub: 6b6579, 3 bytes"),
        (5, encode(ExternalSenders((ExternalSender(b"k", Basic(b"watch")),))), 'identity: "watch"'),
        (0xF00D, b"whatever", "extension_type: private use (0xf00d)"),
    ],
)
def test_each_known_extension_has_a_body(number: int, body: bytes, expected: str, shown: Shown) -> None:
    code, text = shown(encode(Extension(number, body)), "Extension")
    assert (code, expected in text) == (0, True), text


def test_a_broken_extension_breaks_the_object_at_an_absolute_byte(objects: Objects, shown: Shown) -> None:
    place = objects.group_info.index(objects.tree) + 2
    broken = bytearray(objects.group_info)
    broken[place] = 7
    code, text = shown(bytes(broken))
    assert code == 1
    assert f"malformed at byte {place} of {len(broken)}: a presence octet of 7 [R-2.1.1-02]" in text
    assert "in MLSMessage.body.extensions[0].extension_data.RatchetTreeExtension.ratchet_tree[0]" in text
    assert "breaks here" in text


def test_every_truncation_is_located(objects: Objects, shown: Shown) -> None:
    for length in range(1, len(objects.key_package)):
        code, text = shown(objects.key_package[:length], "MLSMessage")
        with pytest.raises(MalformedMessage) as refusal:
            decode(MLSMessage, objects.key_package[:length])
        assert code == 1
        assert f"malformed at byte {refusal.value.offset} of {length}" in text
        assert refusal.value.rule in text
        assert f"in {refusal.value.where}\n" in text


def test_what_was_read_before_is_named(objects: Objects, shown: Shown) -> None:
    _, text = shown(objects.key_package[:114])
    assert "after MLSMessage.body.leaf_node.credential.identity, the last part that is whole" in text
    _, text = shown(objects.key_package + b"?")
    assert f"malformed at byte {len(objects.key_package)}" in text
    assert "after MLSMessage.body.signature" in text


# Notations and types.


def test_every_notation_is_recognised(objects: Objects) -> None:
    data = objects.key_package
    octets = data.hex()
    lines = "\n  ".join(octets[start : start + 60] for start in range(0, len(octets), 60))
    assert read_input(data) == (data, "binary")
    for text in (octets, octets.upper(), f"0x{octets}\n", lines, f'"{octets}"'):
        assert read_input(text.encode()) == (data, "hex")
    standard, for_urls = base64.encodebytes(data), base64.urlsafe_b64encode(data).rstrip(b"=")
    for encoded in (standard, for_urls):
        assert read_input(encoded) == (data, "base64")


def test_half_a_byte_is_no_input(shown: Shown) -> None:
    assert shown(b"0001000") == (2, "✗ 7 hex digits do not make whole bytes\n")
    assert shown(b"")[0] == 2


def test_types_are_guessed(objects: Objects) -> None:
    assert guess(objects.commit) is MLSMessage
    assert guess(objects.key_package[4:]) is KeyPackage
    assert guess(objects.group_info[4:]) is GroupInfo
    assert guess(objects.welcome[4:]) is Welcome
    context = decode(MLSMessage, objects.group_info).body.group_context  # type: ignore[union-attr]  # it is a GroupInfo
    assert guess(encode(context)) is GroupContext
    assert guess(objects.key_package[:-1]) is MLSMessage
    assert guess(objects.key_package[4:-1]) is KeyPackage


def test_types_are_named_in_any_case(objects: Objects, shown: Shown) -> None:
    for name in ("ratchet_tree", "RatchetTreeExtension", "ratchettreeextension"):
        assert shown(objects.tree, name)[0] == 0
    code, text = shown(objects.tree, "KeyPakage")
    assert code == 2
    assert "did you mean KeyPackage" in text
    assert {"proposal", "groupsecrets", "updatepath", "leafnode"} <= kinds().keys()


def test_an_unknown_name_is_answered_with_all_that_are_known(objects: Objects, shown: Shown) -> None:
    code, text = shown(objects.tree, "Nonsense")
    assert code == 2
    assert "Nonsense is no type that is known here" in text
    assert "did you mean" not in text
    listed = text.partition("--as takes ")[2].replace("\n", " ").rstrip(". ").split(", ")
    assert {"KeyPackage", "LeafNode", "MLSMessage", "Proposal", "Credential", "RatchetTreeExtension"} <= set(listed)
    # Each of them can be named, and what has no wire format of its own is not among them.
    assert [name for name in listed if name.lower() not in kinds()] == []
    assert not {"CustomProposal", "FramedContentAuthData"} & set(listed)
    assert shown(objects.key_package, "CustomProposal")[0] == 2


@pytest.mark.parametrize(
    ("name", "data", "hint"),
    [
        ("KeyPackage", "key_package", "an MLSMessage with a KeyPackage in it"),
        ("GroupInfo", "group_info", "an MLSMessage with a GroupInfo in it"),
        ("KeyPackage", "welcome", "an MLSMessage with a Welcome in it"),
    ],
)
def test_who_names_the_wrong_type_is_told_the_right_one(
    objects: Objects, shown: Shown, name: str, data: str, hint: str
) -> None:
    message: bytes = getattr(objects, data)
    code, text = shown(message, name)
    assert code == 1
    assert f"These bytes are {hint}: leave out --as." in text
    # What is inside, what is taken for what it is, and what is nothing at all need no such hint.
    inside = message[4:]
    for bad, kind in ((inside, name), (message, "MLSMessage"), (inside[:-1], name), (b"\x07" + message, name)):
        assert "leave out" not in shown(bad, kind)[1]


def test_who_takes_what_is_inside_for_a_message_is_told(objects: Objects, shown: Shown) -> None:
    code, text = shown(objects.key_package[4:], "MLSMessage")
    assert code == 1
    assert "These bytes are a KeyPackage: leave out --as." in text


@struct
class Poll:
    """What an application asks a group."""

    question: bytes


def test_types_of_an_application_are_told_from_what_is_broken(shown: Shown) -> None:
    poll = ProposalDefinition(0xF100, Poll, needs_path=False, external=False)
    registry = Registry(proposals=(poll,))
    alice = Client.create(
        MemoryStore(),
        Identity.basic(b"alice"),
        policy=AcceptAnyone(),
        registry=registry,
        settings=Settings(private_handshakes=False),
    )
    room = alice.create_group(b"room")
    hint = "Unknown proposal type 0xf100: inspect knows the RFC's types only."
    question = poll.proposal(Poll(b"?"))
    for data, kind in (
        (room.propose(question).message, None),
        (room.commit([question], include=()).message, None),
        (b"\xf1\x00\x01?", "Proposal"),
    ):
        code, text = shown(data, kind)
        assert (code, hint in text) == (1, True), text
    # A commit that covers it by its reference says nothing of its type.
    assert shown(room.commit().message)[0] == 0
    code, text = shown(b"\x77\x77\x02me", "Credential")
    assert (code, "Unknown credential type 0x7777: inspect knows the RFC's types only." in text) == (1, True)
    # A wire format is none of an application's types.
    code, text = shown(b"\x00\x01\xf1\x00", "MLSMessage")
    assert (code, "inspect knows" in text) == (1, False)


def test_a_member_of_a_union_is_named_by_its_tag(shown: Shown) -> None:
    assert "Remove\n└── removed: 7" in shown(bytes.fromhex("000300000007"), "Proposal")[1]
    code, text = shown(bytes.fromhex("0003000000"), "Proposal")
    assert code == 1
    assert "in Remove.removed" in text


def test_long_lists_are_cut_unless_asked_for(shown: Shown) -> None:
    senders = ExternalSenders(tuple(ExternalSender(b"k%d" % number, Basic(b"s")) for number in range(60)))
    short, whole = shown(encode(senders), "ExternalSenders")[1], shown(encode(senders), "ExternalSenders", full=True)[1]
    assert "… 20 more" in short
    assert "[59]" in short
    assert len(re.findall(r"\[\d+\]: ", whole)) == 60


# What is never shown.

SECRETS = GroupSecrets(
    bytes(range(32)),
    WirePathSecret(bytes(range(64, 96))),
    (PreSharedKeyID(ExternalPSK(b"psk-name"), bytes(range(128, 160))),),
)


@pytest.mark.parametrize("cut", range(0, 100, 3))
@pytest.mark.parametrize("kind", [None, "GroupSecrets"])
def test_group_secrets_are_never_shown(cut: int, kind: str | None, shown: Shown) -> None:
    encoded = encode(SECRETS)
    _, text = shown(encoded[: len(encoded) - cut], kind)
    secret = encode(SECRETS).hex()
    windows = {secret[start : start + 8] for start in range(0, len(secret) - 8, 2)}
    assert not [window for window in windows if window in text]
    assert "psk-name" not in text
    assert "sha256" not in text


def test_group_secrets_show_lengths(shown: Shown) -> None:
    code, text = shown(encode(SECRETS), "GroupSecrets")
    assert code == 0
    assert "joiner_secret: 32 bytes, not shown" in text
    assert "psk_id: 8 bytes, not shown" in text


def test_application_data_is_not_shown(shown: Shown) -> None:
    content = FramedContent(b"room", 0, MemberSender(LeafIndex(0)), b"", ApplicationData(b"between us"))
    code, text = shown(
        encode(AuthenticatedContent(1, content, FramedContentAuthData(b"s", None))), "AuthenticatedContent"
    )
    assert code == 0
    assert "application_data: 10 bytes, not shown" in text
    assert "between us" not in text


def test_names_cannot_steer_the_terminal(shown: Shown) -> None:
    text = shown(encode(Basic(b"\x1b[2J[bold]")), "BasicCredential")[1]
    assert "\x1b" not in text
    assert 'identity: "[bold]"' in shown(encode(Basic(b"[bold]")), "BasicCredential")[1]


# The command.


def test_the_command_reads_files_and_standard_input(objects: Objects, tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(objects.key_package)
    runner = CliRunner()
    of_file = runner.invoke(app, ["inspect", str(path)])
    of_input = runner.invoke(app, ["inspect", "-"], input=objects.key_package.hex())
    assert (of_file.exit_code, of_input.exit_code) == (0, 0)
    assert of_file.output.splitlines()[1:] == of_input.output.splitlines()[1:]
    assert runner.invoke(app, ["inspect", "-"], input=objects.key_package.hex()[:-2]).exit_code == 1
    assert runner.invoke(app, ["inspect", str(tmp_path / "absent")]).exit_code == 2
