"""Leaf nodes: their encoding, and what they are refused for wherever they turn up. RFC 9420 §7.2, §7.3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import Extension, Group, intents
from mls.crypto import SUITES
from mls.epoch.leaves import Demands, decode_leaf_node, verify_leaf_node
from mls.errors import (
    Code,
    InvalidKey,
    InvalidLeafNode,
    InvalidSignature,
    MalformedMessage,
)
from mls.events import StagedCommit
from mls.key_packages import own_capabilities
from mls.messages import (
    DEFAULT_EXTENSIONS,
    DEFAULT_PROPOSALS,
    Add,
    BasicCredential,
    Capabilities,
    Certificate,
    CommitSource,
    CredentialType,
    ExtensionType,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    Lifetime,
    Remove,
    Update,
    UpdateSource,
    X509Credential,
    encode_unsigned,
    leaf_node_tbs,
)
from mls.settings import DAY, HOUR
from tests.adversarial.insider import assert_refused, refusal
from tests.support.crafting import (
    UNKNOWN_EXTENSION,
    UNKNOWN_PROPOSAL,
    UPDATE,
    Forger,
    assert_both_refuse,
    capabilities_of,
    capable_group,
    crafted_package,
    message_of,
    package_of,
)
from tests.support.leaf_scenes import PLACES, UNSUPPORTED, LeafScene, requirement, scene_of
from tests.support.world import NOW, World
from treekem.index import LeafIndex
from treekem.wire import decode, encode

GREASE = (0x0A0A, 0x1A1A, 0xEAEA)


@pytest.fixture
def scene() -> LeafScene:
    world = World()
    return scene_of(world.group(3), world)


@pytest.fixture
def capable() -> LeafScene:
    """A group whose members support one extension and one proposal type more than the engine does."""
    world = World()
    return scene_of(capable_group(world, 3, extensions=(UNKNOWN_EXTENSION,), proposals=(UNKNOWN_PROPOSAL,)), world)


# What a leaf is on the wire, §7.2.


@pytest.mark.rfc("R-7.2-01", "R-7.2-02", "R-7.2-03")
def test_the_fields_of_a_leaf() -> None:
    capabilities = Capabilities((1,), (2, 3), (0xF001,), (0xF002,), (1, 2))
    encoded_capabilities = "02 0001 04 0002 0003 02 f001 02 f002 04 0001 0002"
    bodies: dict[KeyPackageSource | UpdateSource | CommitSource, str] = {
        KeyPackageSource(Lifetime(5, 6)): "01 0000000000000005 0000000000000006",
        UpdateSource(): "02",
        CommitSource(b"hash"): "03 04 68617368",
    }
    for source, body in bodies.items():
        leaf = LeafNode(b"ek", b"sk", BasicCredential(b"me"), capabilities, source, (Extension(0xF001, b"x"),), b"sign")
        expected = f"02 656b 02 736b 0001 02 6d65 {encoded_capabilities} {body} 04 f001 01 78 04 7369676e"
        assert encode(leaf) == bytes.fromhex(expected)
        assert decode(LeafNode, encode(leaf)) == leaf


@pytest.mark.rfc("R-7.2-11", "R-7.2-12")
def test_what_is_signed_of_a_leaf(scene: LeafScene) -> None:
    position = LeafPosition(b"group", LeafIndex(7))
    leaf = scene.forger.own_leaf()
    for source, tail in (
        (KeyPackageSource(Lifetime(0, 1)), b""),
        (UPDATE, b"\x05group\x00\x00\x00\x07"),
        (CommitSource(b"hash"), b"\x05group\x00\x00\x00\x07"),
    ):
        sourced = replace(leaf, source=source)
        assert encode(sourced).startswith(encode_unsigned(sourced))
        assert leaf_node_tbs(sourced, position) == encode_unsigned(sourced) + tail
        assert encode_unsigned(sourced) + b"\x40\x40" + leaf.signature == encode(sourced)
    own = leaf_node_tbs(leaf, LeafPosition(scene.forger.context.group_id, scene.forger.leaf))
    scene.forger.suite.verify_with_label(leaf.signature_key, b"LeafNodeTBS", own, leaf.signature)


@pytest.mark.rfc("R-7.2-04", "R-7.2-06", "R-13.4-02", "R-13.5-06", "B25")
def test_own_capabilities_list_what_is_not_default() -> None:
    own = own_capabilities()
    assert own.versions == (1,)
    assert set(own.cipher_suites) == set(SUITES)
    assert set(own.credentials) == {CredentialType.BASIC, CredentialType.X509}
    assert not DEFAULT_EXTENSIONS.intersection(own.extensions)
    assert not DEFAULT_PROPOSALS.intersection(own.proposals)
    assert own.extensions == own.proposals == ()


@pytest.mark.rfc("R-7.2-05", "R-7.2-09", "R-13.4-03", "R-13.5-05", "R-13.5-07")
def test_values_that_nobody_knows_and_values_that_need_no_mention_do_no_harm(scene: LeafScene) -> None:
    plain = capabilities_of(scene.outsider)
    odd = Capabilities(
        (*plain.versions, 0x0A0A),
        (*GREASE, *plain.cipher_suites),
        (*GREASE, 0xF0F0, *sorted(DEFAULT_EXTENSIONS)),
        (*GREASE, *sorted(DEFAULT_PROPOSALS)),
        (*plain.credentials, *GREASE),
    )
    unknown = Extension(0x0A0A, b"anything")
    package = crafted_package(scene.outsider, leaf={"capabilities": odd, "extensions": (unknown,)})
    alice, bob, carol = scene.groups
    pending = scene.world.commit(alice, [intents.Add(message_of(package))], bob, carol)
    joined = scene.outsider.join(pending.welcome or b"").accept()
    scene.world.agree(alice, bob, carol, joined)
    scene.world.commit(joined, (), alice, bob, carol)
    scene.world.agree(alice, bob, carol, joined)


@pytest.mark.rfc("R-7.2-16", "R-7.2-17", "R-7.3-15")
def test_leaves_stay_as_they_were_signed(scene: LeafScene) -> None:
    alice, bob, carol = scene.groups
    package = package_of(scene.outsider.key_package())
    pending = scene.world.commit(alice, [intents.Add(message_of(package))], bob, carol)
    update = bob.propose(intents.Update())
    scene.world.deliver(update.message, alice, carol)
    scene.world.commit(alice, (), bob, carol)
    group = carol._standing.state.group
    assert group.leaf_node(LeafIndex(3)) == package.leaf_node
    sources = [type(leaf.source) for leaf in _leaves(carol)]
    assert sources == [CommitSource, UpdateSource, KeyPackageSource, KeyPackageSource]
    demands = Demands.of(group.context, group.suite)
    for index, leaf in enumerate(_leaves(carol)):
        position = LeafPosition(carol.group_id, LeafIndex(index))
        verify_leaf_node(leaf, position, demands, scene.forger.env)
    assert pending.welcome is not None


def _leaves(group: Group) -> list[LeafNode]:
    state = group._standing.state.group
    found = (state.leaf_node(member.leaf) for member in group.members)
    return [leaf for leaf in found if leaf is not None]


# Validation, §7.3, in every place that a leaf may come from.


@pytest.mark.rfc("R-7.3-01", "R-7.3-03", "R-12.1.2-02", "R-12.4.2-09", "N-L11")
def test_the_signature_of_a_leaf_binds_it_to_its_place(scene: LeafScene) -> None:
    refused = (InvalidSignature, "R-7.3-03", Code.BAD_SIGNATURE)
    for position in (
        LeafPosition(scene.forger.group.group_id, LeafIndex(0)),
        LeafPosition(b"another group", scene.forger.leaf),
    ):
        scene.assert_refused_everywhere(*refused, places=("update", "path"), position=position)
    for group in scene.receivers:
        group.receive(scene.leaf_at("update"))
    assert isinstance(scene.receivers[0].receive(scene.forger.honest()), StagedCommit)


@pytest.mark.rfc("R-7.3-03", "R-7.2-16", "N-L03")
def test_every_field_of_a_leaf_is_signed(scene: LeafScene) -> None:
    client, suite = scene.outsider, scene.forger.suite
    genuine = package_of(client.key_package()).leaf_node
    demands = Demands.of(scene.forger.context, suite)
    nowhere = LeafPosition(b"", LeafIndex(0))
    verify_leaf_node(genuine, nowhere, demands, scene.forger.env)
    assert isinstance(genuine.source, KeyPackageSource)
    lifetime = genuine.source.lifetime
    changes: dict[str, object] = {
        "encryption_key": suite.generate_key_pair(scene.forger.env.entropy).public,
        "signature_key": scene.forger.new_signature_keys().public,
        "credential": BasicCredential(b"somebody else"),
        "capabilities": replace(genuine.capabilities, extensions=(0xF0F0,)),
        "source": KeyPackageSource(replace(lifetime, not_after=lifetime.not_after - 1)),
        "extensions": (Extension(ExtensionType.APPLICATION_ID, b"\x01x"),),
        "signature": genuine.signature[:-1] + bytes([genuine.signature[-1] ^ 1]),
    }
    assert set(changes) == set(LeafNode.__dataclass_fields__)
    for name, value in changes.items():
        forged = replace(genuine, **{name: value})  # type: ignore[arg-type]  # each of its own type
        with pytest.raises(InvalidSignature) as caught:
            verify_leaf_node(forged, nowhere, demands, scene.forger.env)
        assert caught.value.rule == "R-7.3-03"


@pytest.mark.rfc("R-7.3-01", "R-5.1.1-01")
def test_the_keys_of_a_leaf_are_keys_of_the_suite(scene: LeafScene) -> None:
    for place in PLACES:
        for fields in ({"encryption_key": b"short"}, {"encryption_key": bytes(32)}):
            message = scene.leaf_at(place, **fields)
            refused = [refusal(group, message) for group in scene.receivers]
            assert {type(each) for each in refused} == {InvalidKey}
            assert {each.code for each in refused} <= {Code.BAD_KEY, Code.NON_CANONICAL_KEY}
            assert all(each.authenticated for each in refused)


@pytest.mark.rfc("R-7.3-04", "R-11.1-05", "N-L13")
def test_a_leaf_supports_what_the_group_requires(capable: LeafScene) -> None:
    alice, bob, carol = capable.groups
    required = requirement((UNKNOWN_EXTENSION,), (UNKNOWN_PROPOSAL,), (CredentialType.X509,))
    capable.world.commit(alice, [intents.GroupContextExtensions((required,))], bob, carol)
    scene = replace(capable, forger=Forger(capable.world, bob))
    full = scene.forger.own_leaf().capabilities
    for short in (
        replace(full, extensions=()),
        replace(full, proposals=()),
        replace(full, credentials=(CredentialType.BASIC,)),
    ):
        scene.assert_refused_everywhere(InvalidLeafNode, "R-7.3-04", UNSUPPORTED, capabilities=short)
    package = message_of(crafted_package(scene.outsider, leaf={"capabilities": full}))
    scene.world.commit(alice, [intents.Add(package)], bob, carol)
    scene.world.agree(alice, bob, carol)


@pytest.mark.rfc("R-7.3-04", "R-11.1-02")
def test_default_types_may_be_required_of_clients_that_list_none(scene: LeafScene) -> None:
    required = requirement(tuple(sorted(DEFAULT_EXTENSIONS)), tuple(sorted(DEFAULT_PROPOSALS)), (CredentialType.BASIC,))
    alice, bob, carol = scene.groups
    scene.world.commit(alice, [intents.GroupContextExtensions((required,))], bob, carol)
    joined = scene.world.add(alice, scene.outsider, others=[bob, carol])
    scene.world.agree(alice, bob, carol, *joined)


@pytest.mark.rfc("R-7.3-05", "R-10.1-02")
@pytest.mark.parametrize("changes", [{"cipher_suites": (2, 3)}, {"versions": (0x0A0A,)}])
def test_a_leaf_lists_the_suite_and_version_it_is_used_with(changes: dict[str, Any]) -> None:
    for required in (True, False):
        world = World(require_listed_suite=required)
        scene = scene_of(world.group(3), world)
        short = replace(scene.forger.own_leaf().capabilities, **changes)
        if required:
            scene.assert_refused_everywhere(InvalidLeafNode, "R-7.3-05", UNSUPPORTED, capabilities=short)
            continue
        for group in scene.receivers:
            group.receive(scene.leaf_at("update", capabilities=short))
        # What one sends oneself is judged strictly, whatever is tolerated of others.
        with pytest.raises(InvalidLeafNode) as caught:
            scene.forger.order(leaf=scene.forger.content(capabilities=short))
        assert (caught.value.rule, caught.value.code) == ("R-7.3-05", UNSUPPORTED)


@pytest.mark.rfc("R-7.3-06", "R-13.3-01", "N-L07")
def test_a_credential_type_must_be_supported_by_all(scene: LeafScene) -> None:
    x509 = X509Credential((Certificate(b"certificate"),))
    alice, _, carol = scene.groups
    package = crafted_package(scene.outsider, leaf={"credential": x509})
    basic_only = replace(scene.forger.own_leaf().capabilities, credentials=(CredentialType.BASIC,))
    update = scene.forger.send(Update(scene.forger.leaf_node(UPDATE, capabilities=basic_only)))
    scene.world.deliver(update.message, alice, carol)
    assert Forger(scene.world, alice).order(Add(package)).welcome is not None
    scene.world.commit(alice, (), carol)

    after = Forger(scene.world, alice)
    assert_both_refuse(after, carol, (Add(package),), (InvalidLeafNode, "R-7.3-06", UNSUPPORTED))
    path = after.path(credential=x509)
    assert_refused(carol, after.commit(path=path), InvalidLeafNode, "R-7.3-06", UNSUPPORTED)
    # Where the member goes that cannot read it, the type may be used.
    message = after.honest(Remove(LeafIndex(1)), Add(package))
    assert isinstance(carol.receive(message), StagedCommit)


@pytest.mark.rfc("R-7.3-07", "N-L07")
def test_a_leaf_supports_the_credential_types_of_the_others(scene: LeafScene) -> None:
    x509 = X509Credential((Certificate(b"certificate"),))
    only_x509 = replace(scene.forger.own_leaf().capabilities, credentials=(CredentialType.X509,))
    scene.assert_refused_everywhere(
        InvalidLeafNode, "R-7.3-07", UNSUPPORTED, places=("add", "path"), capabilities=only_x509, credential=x509
    )
    forger = scene.forger
    update = forger.send(Update(forger.leaf_node(UPDATE, capabilities=only_x509, credential=x509)))
    scene.world.deliver(update.message, *scene.receivers)
    assert_both_refuse(
        Forger(scene.world, scene.groups[0]), scene.groups[2], (update,), (InvalidLeafNode, "R-7.3-07", UNSUPPORTED)
    )
    package = crafted_package(scene.outsider, leaf={"credential": x509})
    assert Forger(scene.world, scene.groups[0]).order(Add(package)).welcome is not None


@pytest.mark.rfc("R-7.2-08", "R-11.1-02")
def test_a_leaf_lists_its_own_credential_type(scene: LeafScene) -> None:
    short = replace(scene.forger.own_leaf().capabilities, credentials=(CredentialType.X509,))
    scene.assert_refused_everywhere(InvalidLeafNode, "R-7.2-08", UNSUPPORTED, capabilities=short)


@pytest.mark.rfc("R-7.3-10", "R-7.2-07", "R-10-10", "N-L06")
def test_a_leaf_lists_its_own_extensions(scene: LeafScene) -> None:
    unknown = (Extension(UNKNOWN_EXTENSION, b"data"),)
    scene.assert_refused_everywhere(InvalidLeafNode, "R-7.3-10", UNSUPPORTED, extensions=unknown)
    listed = replace(scene.forger.own_leaf().capabilities, extensions=(UNKNOWN_EXTENSION,))
    update = scene.leaf_at("update", extensions=unknown, capabilities=listed)
    scene.world.deliver(update, *scene.receivers)
    assert len(scene.receivers[0].proposals) == 1


@pytest.mark.rfc("R-13.4-05", "R-13.4-08", "N-C08")
@pytest.mark.parametrize(
    ("extensions", "rule", "code"),
    [
        ((Extension(UNKNOWN_EXTENSION, b""), Extension(UNKNOWN_EXTENSION, b"")), "R-13.4-05", Code.DUPLICATE_EXTENSION),
        ((Extension(ExtensionType.RATCHET_TREE, b"\x00"),), "R-13.4-08", Code.BAD_LEAF),
        ((Extension(ExtensionType.REQUIRED_CAPABILITIES, b"\x00\x00\x00"),), "R-13.4-08", Code.BAD_LEAF),
        ((Extension(ExtensionType.EXTERNAL_PUB, b"\x00"),), "R-13.4-08", Code.BAD_LEAF),
        ((Extension(ExtensionType.EXTERNAL_SENDERS, b"\x00"),), "R-13.4-08", Code.BAD_LEAF),
    ],
)
def test_extensions_of_a_leaf_have_their_place(
    scene: LeafScene, extensions: tuple[Extension, ...], rule: str, code: str
) -> None:
    listed = replace(scene.forger.own_leaf().capabilities, extensions=(UNKNOWN_EXTENSION,))
    scene.assert_refused_everywhere(InvalidLeafNode, rule, code, extensions=extensions, capabilities=listed)


@pytest.mark.rfc("R-13.4-08")
def test_a_known_extension_of_a_leaf_is_well_formed(scene: LeafScene) -> None:
    broken = (Extension(ExtensionType.APPLICATION_ID, b"\x05four"),)
    scene.assert_refused_everywhere(MalformedMessage, "R-2.1.2-05", Code.TRUNCATED, extensions=broken)


@pytest.mark.rfc("R-7.3-16", "R-13.4-06")
def test_a_leaf_supports_the_extensions_that_the_group_uses(capable: LeafScene) -> None:
    alice, bob, carol = capable.groups
    in_use = intents.GroupContextExtensions((Extension(UNKNOWN_EXTENSION, b""),))
    capable.world.commit(alice, [in_use], bob, carol)
    scene = replace(capable, forger=Forger(capable.world, bob))
    full = scene.forger.own_leaf().capabilities
    scene.assert_refused_everywhere(InvalidLeafNode, "R-7.3-16", UNSUPPORTED, capabilities=replace(full, extensions=()))
    scene.world.commit(bob, (), alice, carol)
    scene.world.agree(alice, bob, carol)


@pytest.mark.rfc("R-7.3-11", "R-10-08", "R-10.1-03", "N-L04")
def test_the_source_of_a_leaf_fits_its_place(scene: LeafScene) -> None:
    forger, receivers = scene.forger, scene.receivers
    lifetime = KeyPackageSource(Lifetime(NOW - HOUR, NOW + DAY))
    committed = CommitSource(b"")
    refused = (InvalidLeafNode, "R-7.3-11", Code.BAD_LEAF)
    for source in (UPDATE, committed):
        package = crafted_package(scene.outsider, leaf={"source": source})
        assert_refused(receivers, forger.commit(Add(package), path=forger.path()), *refused)
    for wrong in (lifetime, committed):
        assert_refused(receivers, forger.send(Update(forger.leaf_node(wrong))).message, *refused)
    for other in (lifetime, UPDATE):
        message = forger.commit(path=forger.path(source=other))
        assert_refused(receivers, message, InvalidLeafNode, "R-12.4.2-09", Code.BAD_LEAF)


@pytest.mark.rfc("R-7.3-12", "R-12.4.2-10", "R-7.5-03", "N-L10")
def test_a_replaced_leaf_has_a_fresh_encryption_key(scene: LeafScene) -> None:
    old = scene.forger.own_leaf().encryption_key
    # The same X25519 key in its other encoding is no fresh key.
    for key in (old, old[:-1] + bytes([old[-1] | 0x80])):
        for place, rule in (("update", "R-7.3-12"), ("path", "R-12.4.2-10")):
            scene.assert_refused_everywhere(InvalidLeafNode, rule, Code.BAD_LEAF, places=(place,), encryption_key=key)
    scene.world.deliver(scene.leaf_at("update"), *scene.receivers)


def test_leaves_are_remembered_but_not_large_ones() -> None:
    """Members decide how large their leaves are; what is remembered beyond the groups must not grow with that."""
    leaf = World().group(1)[0]._standing.state.group.leaf_node(LeafIndex(0))
    assert leaf is not None
    large = replace(leaf, extensions=(Extension(0xF001, bytes(5_000)),))
    for each, remembered in ((leaf, True), (large, False)):
        encoded = encode(each)
        assert decode_leaf_node(encoded) == each
        assert (decode_leaf_node(encoded) is decode_leaf_node(encoded)) == remembered


def test_few_long_leaves_are_remembered() -> None:
    """A leaf that is little but lists of types takes many times its length."""
    leaf = World().group(1)[0]._standing.state.group.leaf_node(LeafIndex(0))
    assert leaf is not None
    long = [encode(replace(leaf, extensions=(Extension(0xF001, n.to_bytes(600, "big")),))) for n in range(1_025)]
    first = decode_leaf_node(long[0])
    assert decode_leaf_node(long[0]) is first
    for encoded in long[1:]:
        decode_leaf_node(encoded)
    assert decode_leaf_node(long[0]) is not first
    assert decode_leaf_node(long[0]) == first
