"""Leaf nodes: their encoding and what they are refused for, wherever they turn up. RFC 9420 §7.2, §7.3, §16.7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mls import Client, Extension, Group, Settings, intents
from mls.client import own_capabilities
from mls.crypto import SUITES
from mls.epoch.leaves import Demands, verify_leaf_node
from mls.errors import (
    Code,
    InvalidKey,
    InvalidLeafNode,
    InvalidProposalList,
    InvalidSignature,
    MalformedMessage,
    MLSError,
)
from mls.events import StagedCommit
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
    GroupContextExtensions,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    Lifetime,
    Remove,
    RequiredCapabilities,
    Update,
    UpdateSource,
    X509Credential,
    encode_unsigned,
    leaf_node_tbs,
)
from mls.settings import DAY, HOUR
from tests.adversarial.insider import assert_refused
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
from tests.support.world import NOW, World
from treekem.index import LeafIndex
from treekem.wire import decode, encode

GREASE = (0x0A0A, 0x1A1A, 0xEAEA)
UNSUPPORTED = Code.UNSUPPORTED_CAPABILITY
PLACES = ("add", "update", "path")


@dataclass(frozen=True)
class Scene:
    """A group of three. The second member forges; the first and the third receive; a fourth client stands outside."""

    world: World
    groups: Sequence[Group]
    forger: Forger
    outsider: Client

    @property
    def receivers(self) -> list[Group]:
        return [self.groups[0], self.groups[2]]

    def leaf_at(self, place: str, **fields: Any) -> bytes:  # noqa: ANN401  (fields of LeafNode)
        """Return a message that brings a leaf with these fields to a place."""
        match place:
            case "add":
                return self.forger.commit(Add(crafted_package(self.outsider, leaf=fields)), path=self.forger.path())
            case "update":
                return self.forger.send(Update(self.forger.leaf_node(UPDATE, **fields))).message
            case _:
                return self.forger.commit(path=self.forger.path(**fields))

    def assert_refused_everywhere(
        self,
        error: type[MLSError],
        rule: str,
        code: str,
        places: Sequence[str] = PLACES,
        **fields: Any,  # noqa: ANN401
    ) -> None:
        for place in places:
            message = self.leaf_at(place, **fields)
            refused = assert_refused(self.receivers, message, error, rule, code)
            assert refused.authenticated


def scene_of(groups: Sequence[Group], world: World) -> Scene:
    return Scene(world, groups, Forger(world, groups[1]), world.client("outsider"))


@pytest.fixture
def scene() -> Scene:
    world = World()
    return scene_of(world.group(3), world)


@pytest.fixture
def capable() -> Scene:
    """A group whose members support one extension and one proposal type more than the engine does."""
    world = World()
    return scene_of(capable_group(world, 3, extensions=(UNKNOWN_EXTENSION,), proposals=(UNKNOWN_PROPOSAL,)), world)


def requirement(
    extensions: tuple[int, ...] = (), proposals: tuple[int, ...] = (), credentials: tuple[int, ...] = ()
) -> Extension:
    body = encode(RequiredCapabilities(extensions, proposals, credentials))
    return Extension(ExtensionType.REQUIRED_CAPABILITIES, body)


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
def test_what_is_signed_of_a_leaf(scene: Scene) -> None:
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


@pytest.mark.rfc("R-7.2-04", "R-7.2-06", "R-13.4-02", "R-13.5-06")
def test_own_capabilities_list_what_is_not_default() -> None:
    own = own_capabilities()
    assert own.versions == (1,)
    assert set(own.cipher_suites) == set(SUITES)
    assert set(own.credentials) == {CredentialType.BASIC, CredentialType.X509}
    assert not DEFAULT_EXTENSIONS.intersection(own.extensions)
    assert not DEFAULT_PROPOSALS.intersection(own.proposals)
    assert own.extensions == own.proposals == ()


@pytest.mark.rfc("R-7.2-05", "R-7.2-09", "R-13.4-03", "R-13.5-05", "R-13.5-07")
def test_values_that_nobody_knows_and_values_that_need_no_mention_do_no_harm(scene: Scene) -> None:
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
def test_leaves_stay_as_they_were_signed(scene: Scene) -> None:
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
def test_the_signature_of_a_leaf_binds_it_to_its_place(scene: Scene) -> None:
    refused = (InvalidSignature, "R-7.3-03", Code.BAD_SIGNATURE)
    for position in (
        LeafPosition(scene.forger.group.group_id, LeafIndex(0)),
        LeafPosition(b"another group", scene.forger.leaf),
    ):
        scene.assert_refused_everywhere(*refused, places=("update", "path"), position=position)
    for group in scene.receivers:
        group.receive(scene.leaf_at("update"))
    assert isinstance(scene.receivers[0].receive(scene.forger.honest()), StagedCommit)


@pytest.mark.rfc("R-7.3-03", "N-L03")
def test_every_field_of_a_leaf_is_signed(scene: Scene) -> None:
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
def test_the_keys_of_a_leaf_are_keys_of_the_suite(scene: Scene) -> None:
    for place in PLACES:
        for fields in ({"encryption_key": b"short"}, {"encryption_key": bytes(32)}):
            message = scene.leaf_at(place, **fields)
            for group in scene.receivers:
                before = group.fingerprint()
                with pytest.raises(InvalidKey) as caught:
                    group.receive(message)
                assert caught.value.code in {Code.BAD_KEY, Code.NON_CANONICAL_KEY}
                assert group.fingerprint() == before
                assert caught.value.authenticated


@pytest.mark.rfc("R-7.3-04", "R-11.1-05", "N-L13")
def test_a_leaf_supports_what_the_group_requires(capable: Scene) -> None:
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
def test_default_types_may_be_required_of_clients_that_list_none(scene: Scene) -> None:
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
def test_a_credential_type_must_be_supported_by_all(scene: Scene) -> None:
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
def test_a_leaf_supports_the_credential_types_of_the_others(scene: Scene) -> None:
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


@pytest.mark.rfc("R-7.2-08")
def test_a_leaf_lists_its_own_credential_type(scene: Scene) -> None:
    short = replace(scene.forger.own_leaf().capabilities, credentials=(CredentialType.X509,))
    scene.assert_refused_everywhere(InvalidLeafNode, "R-7.2-08", UNSUPPORTED, capabilities=short)


@pytest.mark.rfc("R-7.3-10", "R-7.2-07", "R-10-10", "N-L06")
def test_a_leaf_lists_its_own_extensions(scene: Scene) -> None:
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
    scene: Scene, extensions: tuple[Extension, ...], rule: str, code: str
) -> None:
    listed = replace(scene.forger.own_leaf().capabilities, extensions=(UNKNOWN_EXTENSION,))
    scene.assert_refused_everywhere(InvalidLeafNode, rule, code, extensions=extensions, capabilities=listed)


@pytest.mark.rfc("R-13.4-08")
def test_a_known_extension_of_a_leaf_is_well_formed(scene: Scene) -> None:
    broken = (Extension(ExtensionType.APPLICATION_ID, b"\x05four"),)
    scene.assert_refused_everywhere(MalformedMessage, "R-2.1.2-05", Code.TRUNCATED, extensions=broken)


@pytest.mark.rfc("R-7.3-16", "R-13.4-06")
def test_a_leaf_supports_the_extensions_that_the_group_uses(capable: Scene) -> None:
    alice, bob, carol = capable.groups
    in_use = intents.GroupContextExtensions((Extension(UNKNOWN_EXTENSION, b""),))
    capable.world.commit(alice, [in_use], bob, carol)
    scene = replace(capable, forger=Forger(capable.world, bob))
    full = scene.forger.own_leaf().capabilities
    scene.assert_refused_everywhere(InvalidLeafNode, "R-7.3-16", UNSUPPORTED, capabilities=replace(full, extensions=()))
    scene.world.commit(bob, (), alice, carol)
    scene.world.agree(alice, bob, carol)


@pytest.mark.rfc("R-7.3-11", "R-10-08", "R-10.1-03", "N-L04")
def test_the_source_of_a_leaf_fits_its_place(scene: Scene) -> None:
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
def test_a_replaced_leaf_has_a_fresh_encryption_key(scene: Scene) -> None:
    old = scene.forger.own_leaf().encryption_key
    # The same X25519 key in its other encoding is no fresh key.
    for key in (old, old[:-1] + bytes([old[-1] | 0x80])):
        for place, rule in (("update", "R-7.3-12"), ("path", "R-12.4.2-10")):
            scene.assert_refused_everywhere(InvalidLeafNode, rule, Code.BAD_LEAF, places=(place,), encryption_key=key)
    scene.world.deliver(scene.leaf_at("update"), *scene.receivers)


# Lifetimes.


@pytest.mark.rfc("R-7.2-13", "R-7.2-14", "R-7.3-09", "N-L05")
@pytest.mark.parametrize(
    ("not_before", "not_after", "rule"),
    [
        (NOW + 5, NOW + 4, "R-7.2-14"),
        (NOW, NOW + 90 * DAY + HOUR + 1, "R-7.2-13"),
        (0, 2**64 - 1, "R-7.2-13"),
        (NOW - DAY, NOW - HOUR - 1, "R-7.3-09"),
        (NOW + HOUR + 1, NOW + DAY, "R-7.3-09"),
    ],
)
def test_lifetimes_that_are_refused(scene: Scene, not_before: int, not_after: int, rule: str) -> None:
    source = KeyPackageSource(Lifetime(not_before, not_after))
    package = crafted_package(scene.outsider, leaf={"source": source})
    message = scene.forger.commit(Add(package), path=scene.forger.path())
    assert_refused(scene.receivers, message, InvalidLeafNode, rule, Code.LIFETIME_INVALID)


@pytest.mark.rfc("R-7.2-13", "R-7.3-09", "R-7.2-15")
@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [(NOW, NOW), (NOW - HOUR, NOW - HOUR), (NOW + HOUR, NOW + HOUR), (NOW - HOUR, NOW + 90 * DAY)],
)
def test_lifetimes_at_the_edge_are_accepted(scene: Scene, not_before: int, not_after: int) -> None:
    source = KeyPackageSource(Lifetime(not_before, not_after))
    package = crafted_package(scene.outsider, leaf={"source": source})
    verify_leaf_node(
        package.leaf_node,
        LeafPosition(b"", LeafIndex(0)),
        Demands.of(scene.forger.context, scene.forger.suite),
        scene.forger.env,
    )


@pytest.mark.rfc("R-7.3-09", "S-check_peer_lifetimes")
def test_whether_the_clock_matters_for_others_is_a_setting() -> None:
    for checked in (True, False):
        world = World()
        alice, bob = world.group(2)
        bob_group = world.client("witness", check_peer_lifetimes=checked)
        (witness,) = world.add(alice, bob_group, others=[bob])
        package = package_of(world.client("carol").key_package())
        message = Forger(world, alice).honest(Add(package))
        world.now += 29 * DAY
        if checked:
            assert_refused(witness, message, InvalidLeafNode, "R-7.3-09", Code.LIFETIME_INVALID)
        else:
            assert isinstance(witness.receive(message), StagedCommit)


@pytest.mark.rfc("R-7.3-08")
def test_an_expired_leaf_is_not_sent_by_us_whatever_the_setting() -> None:
    world = World(check_peer_lifetimes=False)
    alice, _ = world.group(2)
    package = world.client("carol").key_package()
    alice.commit([intents.Add(package)])
    world.now += 28 * DAY
    alice.commit([intents.Add(package)])
    world.now += 1
    for attempt in (alice.propose, lambda intent: alice.commit([intent])):
        with pytest.raises(InvalidLeafNode) as caught:
            attempt(intents.Add(package))
        assert (caught.value.rule, caught.value.code) == ("R-7.3-08", Code.LIFETIME_INVALID)


@pytest.mark.rfc("R-7.2-13", "R-7.3-09")
def test_members_whose_lifetime_is_over_stay_members() -> None:
    world = World()
    alice, bob = world.group(2)
    world.now += 365 * DAY
    carol = world.client("carol")
    joined = world.add(alice, carol, others=[bob])
    world.agree(alice, bob, *joined)
    # Unless one asks for more.
    strict = world.client("dave", check_joined_lifetimes=True)
    pending = alice.commit([intents.Add(strict.key_package())])
    with pytest.raises(InvalidLeafNode) as caught:
        strict.receive(pending.welcome or b"")
    assert (caught.value.rule, caught.value.code) == ("R-7.3-09", Code.LIFETIME_INVALID)
    assert Settings().check_joined_lifetimes is False


# Keys that must differ.


@pytest.mark.rfc("R-7.3-13", "R-12.2-15", "N-L08")
def test_a_signature_key_belongs_to_one_member(scene: Scene) -> None:
    alice = scene.groups[0]
    stolen = Forger(scene.world, alice).content().signature_keys
    refused = (InvalidLeafNode, "R-7.3-13", Code.DUPLICATE_KEY)
    theirs = crafted_package(scene.outsider, signature_keys=stolen, leaf={"credential": BasicCredential(b"outsider")})
    assert_both_refuse(scene.forger, scene.receivers, (Add(theirs),), refused)
    # A member that knows another's key, and signs its own next leaf with it.
    order = scene.forger.content(signature_keys=stolen)
    with pytest.raises(InvalidLeafNode) as caught:
        scene.forger.order(leaf=order)
    assert (caught.value.rule, caught.value.code) == ("R-7.3-13", Code.DUPLICATE_KEY)
    assert_refused(scene.groups[2], _path_by(scene, stolen.public), *refused)


def _path_by(scene: Scene, signature_key: bytes) -> bytes:
    """Return a commit whose path brings a leaf that is signed by the first member."""
    first, forger = Forger(scene.world, scene.groups[0]), scene.forger
    path = forger.path()
    position = LeafPosition(forger.group.group_id, forger.leaf)
    own = path.leaf_node
    leaf = first.leaf_node(
        own.source,
        position=position,
        encryption_key=own.encryption_key,
        signature_key=signature_key,
        credential=own.credential,
    )
    return forger.commit(path=replace(path, leaf_node=leaf))


@pytest.mark.rfc("R-7.3-14", "R-12.2-15", "N-L08")
def test_an_encryption_key_belongs_to_one_leaf(scene: Scene) -> None:
    taken = Forger(scene.world, scene.groups[0]).own_leaf().encryption_key
    twin = taken[:-1] + bytes([taken[-1] | 0x80])
    refused = (InvalidLeafNode, "R-7.3-14", Code.DUPLICATE_KEY)
    for key in (taken, twin):
        add = Add(crafted_package(scene.outsider, leaf={"encryption_key": key}))
        assert_both_refuse(scene.forger, scene.receivers, (add,), refused)
    first = package_of(scene.outsider.key_package())
    second = crafted_package(scene.world.client("another"), leaf={"encryption_key": first.leaf_node.encryption_key})
    assert_both_refuse(scene.forger, scene.receivers, (Add(first), Add(second)), refused)

    update = scene.forger.send(Update(scene.forger.leaf_node(UPDATE, encryption_key=taken)))
    scene.world.deliver(update.message, *scene.receivers)
    committer = Forger(scene.world, scene.groups[2])
    assert_both_refuse(committer, scene.groups[0], (update,), refused)


@pytest.mark.rfc("R-16.7-01", "N-L08")
def test_the_key_of_a_parent_is_no_leafs(scene: Scene) -> None:
    alice, _, carol = scene.groups
    parent_key = next(node.encryption_key for _, node in alice._standing.state.group.tree.parents())
    refused = (InvalidLeafNode, "R-16.7-01", Code.DUPLICATE_KEY)
    add = Add(crafted_package(scene.outsider, leaf={"encryption_key": parent_key}))
    committer = Forger(scene.world, alice)
    assert_both_refuse(committer, carol, (add,), refused)
    fresh = crafted_package(scene.outsider)
    assert isinstance(carol.receive(committer.honest(Add(fresh))), StagedCommit)


@pytest.mark.rfc("R-16.7-01", "N-L08")
def test_no_key_both_signs_and_encrypts(scene: Scene) -> None:
    signing = Forger(scene.world, scene.groups[0]).own_leaf().signature_key
    refused = (InvalidLeafNode, "R-16.7-01", Code.DUPLICATE_KEY)
    add = Add(crafted_package(scene.outsider, leaf={"encryption_key": signing}))
    assert_both_refuse(scene.forger, scene.receivers, (add,), refused)


@pytest.mark.rfc("R-12.2-22", "R-12.2-08", "R-12.3-04", "N-P04")
def test_the_keys_of_a_removed_member_may_return_with_its_removal(scene: Scene) -> None:
    alice, bob, carol = scene.groups
    keys = Forger(scene.world, carol).own_leaf()
    returning = crafted_package(scene.world.clients["member-2"], leaf={"encryption_key": keys.encryption_key})
    forger = Forger(scene.world, alice)
    message = forger.honest(Remove(LeafIndex(2)), Add(returning))
    staged = bob.receive(message)
    assert isinstance(staged, StagedCommit)
    assert [member.leaf for member in (*staged.effect.removed, *staged.effect.added)] == [2, 2]
    refused = (InvalidProposalList, "R-12.2-08", Code.BAD_PROPOSAL_LIST)
    assert_both_refuse(forger, bob, (Add(returning),), refused)


@pytest.mark.rfc("R-7.3-02", "R-7.3-15")
def test_requirements_bind_only_while_they_hold(capable: Scene) -> None:
    alice, bob, carol = capable.groups
    in_use = GroupContextExtensions((Extension(UNKNOWN_EXTENSION, b""),))
    forger = Forger(capable.world, alice)
    weak = Add(package_of(capable.outsider.key_package()))
    assert_both_refuse(forger, [bob, carol], (in_use, weak), (InvalidLeafNode, "R-7.3-16", UNSUPPORTED))
    assert isinstance(bob.receive(forger.honest(weak)), StagedCommit)
