"""Key packages: what they are, what they are refused for, and how often they serve. RFC 9420 §10."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import Client, Extension, Group, Identity, MemoryStore, intents
from mls.crypto import cipher_suite
from mls.errors import (
    Code,
    InvalidKey,
    InvalidKeyPackage,
    InvalidLeafNode,
    InvalidProposalList,
    InvalidSignature,
    InvalidWelcome,
    MalformedMessage,
    MLSError,
    UsageError,
)
from mls.events import StagedCommit
from mls.extensions import external_senders
from mls.key_packages import common_cipher_suites
from mls.messages import (
    Add,
    ExtensionType,
    KeyPackage,
    KeyPackageSource,
    LeafPosition,
    encode_unsigned,
)
from mls.outsider import Outsider
from mls.settings import DAY, Settings
from tests.adversarial.insider import assert_refused
from tests.support.counting import cost_of
from tests.support.crafting import (
    UNKNOWN_EXTENSION,
    UPDATE,
    Forger,
    assert_both_refuse,
    capabilities_of,
    crafted_package,
    message_of,
    package_of,
    plain_package,
    resigned_package,
)
from tests.support.world import ANYONE, NOW, World, records
from treekem.index import LeafIndex
from treekem.wire import decode, encode


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def groups(world: World) -> list[Group]:
    return world.group(3)


@pytest.fixture
def forger(world: World, groups: list[Group]) -> Forger:
    return Forger(world, groups[0])


@pytest.fixture
def dave(world: World) -> Client:
    return world.client("dave")


def assert_add_refused(
    forger: Forger, receivers: list[Group], package: KeyPackage, error: type[MLSError], rule: str, code: str
) -> None:
    """Assert that nobody commits, proposes or takes a key package."""
    assert_both_refuse(forger, receivers, (Add(package),), (error, rule, code))
    assert_refused(receivers, forger.send(Add(package)).message, error, rule, code)
    for attempt in (forger.group.propose, lambda intent: forger.group.commit([intent])):
        with pytest.raises(error) as caught:
            attempt(intents.Add(message_of(package)))
        assert (caught.value.rule, caught.value.code) == (rule, code)


# What a key package is.


@pytest.mark.rfc("R-10-01", "R-10-02", "R-7.2-12")
def test_the_fields_of_a_key_package(dave: Client) -> None:
    package = plain_package(dave)
    leaf = encode(package.leaf_node)
    head = b"\x00\x01\x00\x01" + bytes([32]) + package.init_key + leaf + b"\x00"
    assert encode_unsigned(package) == head
    assert encode(package) == head + b"\x40\x40" + package.signature
    assert decode(KeyPackage, encode(package)) == package
    suite = cipher_suite(1)
    suite.verify_with_label(package.leaf_node.signature_key, b"KeyPackageTBS", head, package.signature)
    suite.verify_with_label(
        package.leaf_node.signature_key, b"LeafNodeTBS", encode_unsigned(package.leaf_node), package.leaf_node.signature
    )


@pytest.mark.rfc("R-10-06", "R-10-14", "R-10.1-05", "R-10-08")
def test_a_client_makes_as_many_as_it_likes_and_no_key_twice(world: World) -> None:
    for suite in (1, 2, 3):
        identity = Identity.basic(b"erin", suite)
        erin = Client.create(
            MemoryStore(), identity, policy=ANYONE, clock=lambda: NOW, entropy=world.entropy(str(suite))
        )
        packages = [package_of(erin.key_package()) for _ in range(16)]
        keys = [key for each in packages for key in (each.init_key, each.leaf_node.encryption_key)]
        assert len(set(keys)) == 32
        assert {each.cipher_suite for each in packages} == {suite}
        assert all(isinstance(each.leaf_node.source, KeyPackageSource) for each in packages)


@pytest.mark.rfc("R-10-14", "R-10-16")
def test_a_client_offers_key_packages_of_several_suites_at_once(world: World) -> None:
    erin = world.client("erin")
    erin.add_identity(Identity.basic(b"erin", 2))
    offered = [package_of(erin.key_package(suite=suite)) for suite in (1, 2, 1, 2)]
    assert [each.cipher_suite for each in offered] == [1, 2, 1, 2]
    label = b"MLS 1.0 KeyPackage Reference"
    references = {cipher_suite(each.cipher_suite).ref_hash(label, encode(each)).hex() for each in offered}
    assert {name for name in records(erin._store) if name.startswith("keypackage/")} == {
        f"keypackage/{reference}" for reference in references
    }


@pytest.mark.rfc("R-10-16")
def test_the_private_half_is_found_by_the_hash_of_the_package(dave: Client) -> None:
    message = dave.key_package()
    reference = cipher_suite(1).ref_hash(b"MLS 1.0 KeyPackage Reference", encode(package_of(message)))
    assert f"keypackage/{reference.hex()}" in records(dave._store)


@pytest.mark.rfc("R-10-09", "R-10-10")
def test_own_key_packages_declare_their_extensions(dave: Client) -> None:
    before = records(dave._store)
    with pytest.raises(InvalidKeyPackage) as caught:
        dave.key_package(extensions=(Extension(UNKNOWN_EXTENSION, b""),))
    assert (caught.value.rule, caught.value.code) == ("R-10-10", Code.UNSUPPORTED_CAPABILITY)
    assert records(dave._store) == before


# What a key package is refused for.


@pytest.mark.rfc("R-10-03", "R-10.1-01", "R-10.1-04", "N-L03")
def test_a_key_package_is_signed_by_its_leaf(forger: Forger, groups: list[Group], dave: Client) -> None:
    genuine = package_of(dave.key_package())
    refused = (InvalidSignature, "R-10-03", Code.BAD_SIGNATURE)
    flipped = bytes([genuine.signature[0] ^ 1]) + genuine.signature[1:]
    other = forger.suite.generate_key_pair(forger.env.entropy).public
    stranger = resigned_package(genuine, 1, forger.new_signature_keys().private)
    for forged in (replace(genuine, signature=flipped), replace(genuine, init_key=other), stranger):
        assert_add_refused(forger, groups[1:], forged, *refused)
    assert isinstance(groups[1].receive(forger.honest(Add(genuine))), StagedCommit)


@pytest.mark.rfc("R-10-04", "N-L02")
def test_a_key_package_is_of_the_version_of_its_message(groups: list[Group], dave: Client) -> None:
    package = crafted_package(dave, version=2)
    before = groups[0].fingerprint()
    with pytest.raises(InvalidKeyPackage) as caught:
        groups[0].commit([intents.Add(message_of(package, version=1))])
    assert (caught.value.rule, caught.value.code) == ("R-10-04", Code.BAD_KEY_PACKAGE)
    assert groups[0].fingerprint() == before


@pytest.mark.rfc("R-10.1-02", "N-L02")
def test_a_key_package_is_for_the_version_and_suite_of_the_group(
    forger: Forger, groups: list[Group], dave: Client
) -> None:
    for package in (crafted_package(dave, version=2), crafted_package(dave, cipher_suite=3)):
        message = forger.commit(Add(package), path=forger.path())
        assert_refused(groups[1:], message, InvalidKeyPackage, "R-10.1-02", Code.BAD_KEY_PACKAGE)
        with pytest.raises(InvalidKeyPackage) as caught:
            forger.order(Add(package))
        assert caught.value.rule == "R-10.1-02"
        assert caught.value.index == 0


@pytest.mark.rfc("R-10-05", "R-10-07", "R-5.1.1-01")
@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32)])
def test_the_keys_of_a_key_package_are_keys_of_its_suite(
    forger: Forger, groups: list[Group], dave: Client, key: bytes
) -> None:
    for package in (
        crafted_package(dave, init_key=key),
        crafted_package(dave, leaf={"encryption_key": key}),
        replace(plain_package(dave), leaf_node=crafted_package(dave, leaf={"signature_key": key}).leaf_node),
    ):
        with pytest.raises(InvalidKey):
            forger.order(Add(package))
        message = forger.commit(Add(package), path=forger.path())
        for group in groups[1:]:
            before = group.fingerprint()
            with pytest.raises(InvalidKey) as caught:
                group.receive(message)
            assert caught.value.rule.startswith(("R-5.1.1", "N-K"))
            assert group.fingerprint() == before


@pytest.mark.rfc("R-10.1-03", "R-12.1.1-02", "N-L11")
def test_a_leaf_that_was_signed_for_a_group_is_no_key_packages(
    forger: Forger, groups: list[Group], dave: Client
) -> None:
    position = LeafPosition(forger.group.group_id, LeafIndex(3))
    signed_for_group = crafted_package(dave, leaf={"source": UPDATE}, leaf_position=position)
    assert_add_refused(forger, groups[1:], signed_for_group, InvalidLeafNode, "R-7.3-11", Code.BAD_LEAF)
    broken = crafted_package(dave, leaf_signature=bytes(64))
    assert_add_refused(forger, groups[1:], broken, InvalidSignature, "R-7.3-03", Code.BAD_SIGNATURE)


@pytest.mark.rfc("R-10.1-05", "N-L01")
def test_init_key_and_encryption_key_differ(forger: Forger, groups: list[Group], dave: Client) -> None:
    key = package_of(dave.key_package()).init_key
    for twin in (key, key[:-1] + bytes([key[-1] | 0x80])):
        package = crafted_package(dave, init_key=key, leaf={"encryption_key": twin})
        assert_add_refused(forger, groups[1:], package, InvalidKeyPackage, "R-10.1-05", Code.BAD_KEY_PACKAGE)


@pytest.mark.rfc("R-10.1-06")
def test_key_packages_of_one_commit_have_init_keys_of_their_own(
    forger: Forger, groups: list[Group], dave: Client, world: World
) -> None:
    first = package_of(dave.key_package())
    erin = world.client("erin")
    second = crafted_package(erin, init_key=first.init_key)
    refused = (InvalidProposalList, "R-10.1-06", Code.DUPLICATE_KEY)
    assert_both_refuse(forger, groups[1:], (Add(first), Add(second)), refused)
    third = package_of(erin.key_package())
    assert isinstance(groups[1].receive(forger.honest(Add(first), Add(third))), StagedCommit)


@pytest.mark.rfc("R-13.4-05", "R-13.4-08", "N-C08")
@pytest.mark.parametrize(
    ("extensions", "rule", "code"),
    [
        ((Extension(0xF0F0, b""), Extension(0xF0F0, b"")), "R-13.4-05", Code.DUPLICATE_EXTENSION),
        *(((Extension(kind, b"\x00"),), "R-13.4-08", Code.BAD_KEY_PACKAGE) for kind in sorted(ExtensionType)),
    ],
)
def test_no_extension_of_the_rfc_has_its_place_in_a_key_package(
    forger: Forger, groups: list[Group], dave: Client, extensions: tuple[Extension, ...], rule: str, code: str
) -> None:
    package = crafted_package(dave, extensions=extensions)
    message = forger.commit(Add(package), path=forger.path())
    assert_refused(groups[1:], message, InvalidKeyPackage, rule, code)


@pytest.mark.rfc("R-10-10", "R-10-11", "R-13.4-03", "S-require_declared_key_package_extensions")
def test_unknown_extensions_of_others_key_packages_are_ignored(world: World) -> None:
    alice, bob = world.group(2)
    strict = world.client("strict", require_declared_key_package_extensions=True)
    (witness,) = world.add(alice, strict, others=[bob])
    unknown = (Extension(0x0A0A, b"anything"), Extension(UNKNOWN_EXTENSION, b""))
    dave = world.client("dave")
    forger = Forger(world, alice)
    # Sent by reference: what we send ourselves by value is judged strictly.
    undeclared = crafted_package(dave, extensions=unknown)
    sent = forger.send(Add(undeclared))
    bob.receive(sent.message)
    assert_refused(witness, sent.message, InvalidKeyPackage, "R-10-10", Code.UNSUPPORTED_CAPABILITY)
    with pytest.raises(InvalidKeyPackage) as caught:
        forger.order(Add(undeclared))
    assert caught.value.rule == "R-10-10"
    assert isinstance(bob.receive(forger.honest(sent)), StagedCommit)

    capabilities = capabilities_of(dave, extensions=(0x0A0A, UNKNOWN_EXTENSION))
    declared = crafted_package(dave, extensions=unknown, leaf={"capabilities": capabilities})
    message = forger.honest(Add(declared))
    assert isinstance(witness.receive(message), StagedCommit)


# How often a key package serves.


@pytest.mark.rfc("R-10-13", "R-10-15", "R-16.8-02", "N-L12", "P12")
def test_a_key_package_serves_once_unless_it_is_a_last_resort(world: World, groups: list[Group]) -> None:
    for last_resort in (False, True):
        client = world.client(f"joiner, {last_resort}")
        package = client.key_package(last_resort=last_resort)
        first = groups[0].commit([intents.Add(package)])
        name = next(name for name in records(client._store) if name.startswith("keypackage/"))
        client.join(first.welcome or b"").accept()
        assert (name in records(client._store)) is last_resort

        elsewhere = world.group(1)[0].commit([intents.Add(package)])
        if last_resort:
            assert client.join(elsewhere.welcome or b"").accept().epoch == 1
            continue
        with pytest.raises(InvalidWelcome) as caught:
            client.join(elsewhere.welcome or b"")
        assert (caught.value.rule, caught.value.code) == ("N-L12", Code.KEY_PACKAGE_CONSUMED)


@pytest.mark.rfc("R-10-13", "R-7.2-13")
def test_expired_key_packages_are_forgotten_and_none_is_made_to_last_for_ever(world: World, dave: Client) -> None:
    dave.key_package(lifetime=DAY)
    dave.key_package(lifetime=2 * DAY)
    assert dave.forget_expired_key_packages() == 0
    world.now += DAY + 1
    assert dave.forget_expired_key_packages() == 1
    for lifetime in (0, -1, 90 * DAY + 1):
        with pytest.raises(UsageError) as caught:
            dave.key_package(lifetime=lifetime)
        assert (caught.value.rule, caught.value.code) == ("R-7.2-13", Code.LIFETIME_INVALID)


# How large it may be.


@pytest.mark.rfc("S-max_message_bytes", "N-D01")
def test_a_key_package_that_fits_no_message_is_not_read() -> None:
    world = World(external_senders=True)
    server = world.client("server")
    outsider = Outsider(Identity.basic(b"server", 1, server._signature_keys.private))
    alice, bob = world.group(2, extensions=(external_senders(outsider.entry),))
    carol, address = world.client("carol"), outsider.address(alice.group_info())
    package = package_of(carol.key_package())
    listed = replace(package.leaf_node.capabilities, proposals=(0xF001,) * 2**19)
    large = message_of(replace(package, leaf_node=replace(package.leaf_node, capabilities=listed)))
    key = carol._suite.generate_key_pair(carol._entropy).private
    before, stored = alice.fingerprint(), [records(each._store) for each in (alice, carol)]
    for take in (
        lambda: alice.propose(intents.Add(large)),
        lambda: alice.commit([intents.Add(large)]),
        lambda: outsider.propose(address, intents.Add(large)),
        lambda: carol.import_key_package(large, key, key),
        lambda: common_cipher_suites([large]),
    ):
        cost = cost_of(take)
        assert cost.error is not None
        assert (type(cost.error), cost.error.rule) == (MalformedMessage, "S-max_message_bytes")
        assert cost.error.code is Code.LIMIT_EXCEEDED
        assert cost.is_nothing
    with pytest.raises(MalformedMessage):
        world.clients["member-1"].branch(bob, [large])
    assert (alice.fingerprint(), [records(each._store) for each in (alice, carol)]) == (before, stored)
    assert common_cipher_suites([large], Settings(max_message_bytes=len(large)))
