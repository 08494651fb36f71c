"""Keys, tags and randomness under attack, in every suite; and habits of the source that such attacks would exploit."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from mls import Add, Client, MLSError, Update
from mls.crypto import SUITES, CipherSuite
from mls.crypto.curves import MontgomeryCurve
from mls.errors import Code, InvalidMessage, InvalidTag
from mls.messages import Add as AddProposal
from mls.messages import Commit, Extension, ExtensionType, ExternalPub, MLSMessage, ProtocolVersion, encode_unsigned
from tests.adversarial.insider import assert_refused, public_message, refusal, wrapped
from tests.support.crafting import Forger, crafted_package
from tests.support.modules import ENGINE, Module, modules
from tests.support.welcome_scenes import scene_of
from tests.support.welcomes import group_info_of
from tests.support.world import World, records
from treekem.wire import encode

each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: f"suite{suite.id}")
BAD_KEY = (Code.BAD_KEY, Code.NON_CANONICAL_KEY)


def bad_keys(suite: CipherSuite, good: bytes) -> list[bytes]:
    """Return keys that the suite must not accept: of low order, or off the curve, or in another form."""
    if isinstance(suite.hpke.kem.curve, MontgomeryCurve):
        one = b"\1" + bytes(len(good) - 1)
        return [bytes(len(good)), one, good[:-1], good + b"\0", b""]
    half = (len(good) - 1) // 2
    x, y = good[1 : 1 + half], good[1 + half :]
    parity = y[-1] & 1
    off = good[:-1] + bytes([good[-1] ^ 1])
    return [bytes([2 | parity]) + x, bytes([6 | parity]) + x + y, b"\0", off, good[:-1], good + b"\0"]


@each_suite
@pytest.mark.rfc("N-K01", "N-K02", "R-5.1.1-04", "B43")
@pytest.mark.parametrize("place", ["init_key", "encryption_key", "path leaf", "path node"])
def test_a_bad_key_is_refused_where_it_arrives(suite: CipherSuite, place: str) -> None:
    world = World(suite.id, private_handshakes=False)
    groups = world.group(3)
    outsider = world.client("outsider")
    forger = Forger(world, groups[1])
    good = suite.generate_key_pair(world.entropy("keys")).public
    for key in bad_keys(suite, good):
        match place:
            case "init_key":
                message = forger.commit(AddProposal(crafted_package(outsider, init_key=key)), path=forger.path())
            case "encryption_key":
                package = crafted_package(outsider, leaf={"encryption_key": key})
                message = forger.commit(AddProposal(package), path=forger.path())
            case "path leaf":
                message = forger.commit(path=forger.path(encryption_key=key))
            case _:
                path = forger.path()
                changed = replace(path.nodes[0], encryption_key=key)
                message = forger.commit(path=replace(path, nodes=(changed, *path.nodes[1:])))
        error = refusal(groups[0], message)
        assert isinstance(error, InvalidMessage)
        assert error.rule in ("N-K01", "R-5.1.1-04", "R-5.1.1-01", "R-5.1.1-03"), error
        assert error.code in BAD_KEY
        assert error.authenticated


@each_suite
@pytest.mark.rfc("N-K01", "N-K02", "R-8.3-04")
def test_a_bad_external_key_is_refused_before_anything_is_made(suite: CipherSuite) -> None:
    world = World(suite.id, external_commits=True)
    alice = world.group(1)[0]
    forger, client = Forger(world, alice), world.client("outsider")
    info = group_info_of(alice)
    good = suite.generate_key_pair(world.entropy("keys")).public
    for key in bad_keys(suite, good):
        entry = Extension(ExtensionType.EXTERNAL_PUB, encode(ExternalPub(key)))
        others = tuple(each for each in info.extensions if each.extension_type != ExtensionType.EXTERNAL_PUB)
        unsigned = replace(info, extensions=(*others, entry), signature=b"")
        signature = suite.sign_with_label(forger.state.own.signature_key, b"GroupInfoTBS", encode_unsigned(unsigned))
        message = encode(MLSMessage(ProtocolVersion.MLS10, replace(unsigned, signature=signature)))
        before = records(client._store)
        with pytest.raises(InvalidMessage) as caught:
            client.join_external(message)
        assert caught.value.code in BAD_KEY, caught.value
        assert records(client._store) == before
    assert client.join_external(alice.group_info()).members


def wrong_tags(good: bytes) -> list[bytes]:
    """Return tags of other lengths, most of which begin as the good one does."""
    return [b"", good[:1], good[:-1], good + b"\0", good + bytes(255 - len(good)), bytes(len(good)), good[::-1]]


@each_suite
@pytest.mark.rfc("B01", "N-K08", "R-6.2-03", "R-6.1-15")
def test_a_tag_is_compared_at_its_full_length_in_every_place(suite: CipherSuite) -> None:
    world = World(suite.id, private_handshakes=False)
    scene = scene_of(world)
    bob, forger = scene.groups[0], scene.inviter.forger
    body = public_message(forger.honest())
    good = body.membership_tag or b""
    for tag in wrong_tags(good):
        message = wrapped(replace(body, membership_tag=tag))
        assert_refused(bob, message, InvalidTag, "R-6.2-03", Code.BAD_MEMBERSHIP_TAG)
    content = body.content.content
    assert isinstance(content, Commit)
    for tag in wrong_tags(body.auth.confirmation_tag or b""):
        message = forger.public(forger.signed(body.content, tag=tag))
        assert_refused(bob, message, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    for tag in wrong_tags(scene.inviter.true_tag()):
        message = scene.inviter.message(info=scene.inviter.info(confirmation_tag=tag))
        scene.assert_refused(message, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    bob.receive(wrapped(body))


class Drained(Exception):
    """What a source of randomness may raise."""


@pytest.mark.rfc("N-K12", "B43", "R-14-06")
def test_without_randomness_nothing_is_made_and_nothing_stored() -> None:
    world = World(external_commits=True)
    alice, bob = world.group(2)
    info, package = bob.group_info(), world.client("dora").key_package()
    client, other = world.clients["member-0"], world.client("outsider")

    def drained(_: int) -> bytes:
        raise Drained

    def short(length: int) -> bytes:
        return bytes(max(length - 1, 0))

    client._entropy = other._entropy = drained
    works: list[tuple[Client, Callable[[], object]]] = [
        (client, client.key_package),
        (client, client.create_group),
        (client, partial(alice.commit, [Add(package)])),
        (client, partial(alice.propose, Update())),
        (client, partial(alice.encrypt, b"hello")),
        (other, partial(other.join_external, info)),
    ]
    for holder, work in works:
        before, stored = alice.fingerprint(), records(holder._store)
        with pytest.raises(Drained):
            work()
        assert (alice.fingerprint(), records(holder._store)) == (before, stored)
    client._entropy = short
    for holder, work in works[:4]:
        before, stored = alice.fingerprint(), records(holder._store)
        with pytest.raises(MLSError) as caught:
            work()
        assert caught.value.rule == "N-K12"
        assert (alice.fingerprint(), records(holder._store)) == (before, stored)
    client._entropy = world.entropy("full again")
    world.commit(alice, (), bob)
    world.agree(alice, bob)


# Habits of the source.


def functions(module: Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef))


def compares_a_secret(node: ast.AST) -> bool:
    """Whether a node is a comparison of which one side is called like a secret or a tag, or is a secret's content."""
    if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return False
    sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
    return any(side.endswith(("tag", "secret", "mac", "digest", ".expose()")) for side in sides)


@pytest.mark.rfc("B23")
def test_tags_and_secrets_are_compared_in_one_place() -> None:
    users, compared = [], []
    for module in modules(*ENGINE):
        nodes = list(ast.walk(module.tree))
        users += [module.path for node in nodes if isinstance(node, ast.Attribute) and node.attr == "compare_digest"]
        equal = [
            node for node in nodes if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq)
        ]
        compared += [f"{module.path}: {ast.unparse(node)}" for node in equal if compares_a_secret(node)]
    assert users == ["treekem/secrets.py"]
    assert compared == []
    assert compares_a_secret(ast.parse("a.auth.confirmation_tag == tag", mode="eval").body)
    assert compares_a_secret(ast.parse("key.expose() != other", mode="eval").body)


@pytest.mark.rfc("B45")
def test_what_verifies_raises_and_returns_nothing_to_forget() -> None:
    found = {
        function.name: ast.unparse(function.returns) if function.returns else "nothing said"
        for module in modules(*ENGINE)
        for function in functions(module)
        if function.name.lstrip("_").startswith("verify_")
    }
    assert len(found) > 30
    # The one that answers is a predicate of a primitive, whose every call stands in a `require`.
    assert {name for name, returns in found.items() if returns != "None"} == {"verify_mac"}


@pytest.mark.rfc("B42")
def test_no_error_is_caught_and_then_taken_for_success() -> None:
    # What is caught is raised again, as another error or in other words, or answered by a value that says so. Of the
    # rest the first collects refusals, the second lets one rule speak for others, and two try again to find the place.
    ends = (ast.Raise, ast.Return, ast.Continue)
    found = {
        f"{module.name}.{function.name}"
        for module in modules(*ENGINE)
        if not module.name.startswith("mls.cli")
        for function in functions(module)
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ends)
    }
    assert found == {
        "mls.epoch.proposals._verify_each",
        "mls.epoch.join._psks",
        "treekem.wire.codec.decode",
        "treekem.wire.codec.decode_prefix",
        "treekem.wire.description.describe",
    }


@pytest.mark.rfc("B52", "B41")
def test_keys_pass_no_encoder_for_text_and_no_stand_in_is_shipped() -> None:
    for module in modules(*ENGINE):
        # The command reads what people paste, and shows no secret; everything else has no use for text.
        if not module.name.startswith("mls.cli"):
            assert "base64" not in module.source
            assert "binascii" not in module.source
        assert ".expose().hex" not in module.source
        assert not any(word in module.name for word in ("test", "mock", "fake", "dummy"))
