"""Extensions: unknown ones are carried, known ones have a place and a form. RFC 9420 §13, §13.4, §17.3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mls import Extension, NewLeaf, intents, key_packages
from mls.crypto import SUITES, CipherSuite, cipher_suite, suites
from mls.crypto.hpke import HPKE
from mls.epoch.extensions import (
    external_pub,
    external_senders,
    required_capabilities,
    verify_extensions,
)
from mls.errors import Code, InvalidGroupInfo, InvalidLeafNode, InvalidProposal, MalformedMessage
from mls.key_packages import own_capabilities
from mls.messages import (
    ApplicationID,
    BasicCredential,
    Capabilities,
    ExtensionType,
    ExternalPub,
    ExternalSender,
    ExternalSenders,
    RequiredCapabilities,
)
from mls.registry import GROUP_CONTEXT, GROUP_INFO, KEY_PACKAGE, LEAF_NODE
from tests.support.crafting import UNKNOWN_EXTENSION, capable_group
from tests.support.world import World
from treekem.wire import decode, encode

PLACES = (LEAF_NODE, KEY_PACKAGE, GROUP_CONTEXT, GROUP_INFO)
BODIES = {
    ExtensionType.APPLICATION_ID: encode(ApplicationID(b"phone")),
    ExtensionType.RATCHET_TREE: b"\x00",
    ExtensionType.REQUIRED_CAPABILITIES: encode(RequiredCapabilities((1,), (2,), (3,))),
    ExtensionType.EXTERNAL_PUB: encode(ExternalPub(b"key")),
    ExtensionType.EXTERNAL_SENDERS: encode(ExternalSenders((ExternalSender(b"key", BasicCredential(b"server")),))),
}
HOMES = {
    ExtensionType.APPLICATION_ID: LEAF_NODE,
    ExtensionType.RATCHET_TREE: GROUP_INFO,
    ExtensionType.REQUIRED_CAPABILITIES: GROUP_CONTEXT,
    ExtensionType.EXTERNAL_PUB: GROUP_INFO,
    ExtensionType.EXTERNAL_SENDERS: GROUP_CONTEXT,
}
unknown_types = st.integers(0, 0xFFFF).filter(lambda kind: kind not in set(ExtensionType))


# Suites and types of credentials, §13.1 to §13.3.


@pytest.mark.rfc("R-13.1-01")
def test_a_new_cipher_suite_is_a_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = HPKE(cipher_suite(7).hpke.kem, cipher_suite(5).kdf, cipher_suite(3).aead)
    row = CipherSuite(0xF001, "MLS_192_DHKEMP384_CHACHA20POLY1305_SHA512_Ed25519", mixed, cipher_suite(1).signatures)
    for module in (suites, key_packages):
        monkeypatch.setattr(module, "SUITES", {**SUITES, row.id: row})
    world = World(row.id, cipher_suites=frozenset((row.id,)))
    alice, bob, carol = world.group(3)
    world.deliver(bob.propose(intents.Update()).message, alice, carol)
    world.commit(carol, (), alice, bob)
    world.agree(world.restart(alice), bob, carol)
    (event,) = world.deliver(bob.encrypt(b"hello"), carol)
    assert getattr(event, "data", None) == b"hello"
    assert len(alice.epoch_authenticator) == 64
    assert alice._standing.state.group.context.cipher_suite == 0xF001


@pytest.mark.rfc("R-13.3-02")
@pytest.mark.parametrize("by_update", [True, False], ids=["by an Update", "by a commit"])
def test_members_begin_to_list_a_type_before_it_is_used(by_update: bool) -> None:
    world = World(grease=False)
    (alice,) = capable_group(world, 1, credentials=(1, 0xF003))
    (bob,) = world.add(alice, world.client("bob"))
    required = Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(RequiredCapabilities((), (), (0xF003,))))
    requires = intents.GroupContextExtensions((required,))
    with pytest.raises(InvalidLeafNode) as caught:
        alice.commit([requires])
    assert (caught.value.rule, caught.value.leaf) == ("R-7.3-04", 1)
    leaf = NewLeaf(capabilities=replace(own_capabilities(), credentials=(1, 2, 0xF003)))
    if by_update:
        world.deliver(bob.propose(intents.Update(leaf)).message, alice)
        world.commit(alice, (), bob)
    else:
        world.commit(bob, (), alice, leaf=leaf)
    world.commit(alice, [requires], bob)
    assert bob.extensions == (required,)
    world.agree(alice, bob)


# Extensions, §13.4.


@pytest.mark.rfc("R-13.4-01", "R-13-01")
def test_an_extension_is_a_type_and_opaque_data() -> None:
    extension = Extension(0xF001, b"data")
    assert encode(extension) == b"\xf0\x01\x04data"
    assert decode(Extension, b"\xf0\x01\x04data") == extension


@pytest.mark.rfc("R-13.4-08", "R-13.4-01", "R-12.1.8.1-01", "R-12.4.3.2-01", "R-17.3-01")
@pytest.mark.parametrize("kind", list(ExtensionType))
@pytest.mark.parametrize("place", PLACES)
def test_each_known_extension_has_one_home(kind: ExtensionType, place: str) -> None:
    extensions = (Extension(kind, BODIES[kind]),)
    if HOMES[kind] == place:
        verify_extensions(extensions, place, InvalidGroupInfo)
        return
    with pytest.raises(InvalidGroupInfo) as caught:
        verify_extensions(extensions, place, InvalidGroupInfo)
    assert (caught.value.rule, caught.value.code) == ("R-13.4-08", Code.BAD_GROUP_INFO)


@pytest.mark.rfc("R-13.4-08", "N-C04", "B10")
@pytest.mark.parametrize("kind", [kind for kind in ExtensionType if kind is not ExtensionType.RATCHET_TREE])
def test_a_known_extension_at_home_is_well_formed(kind: ExtensionType) -> None:
    body = BODIES[kind]
    for wrong, rules in ((body + b"\0", {"R-2.1-08"}), (body[:-1], {"R-2.1-07", "R-2.1.2-05", "R-2.1-09"})):
        with pytest.raises(MalformedMessage) as caught:
            verify_extensions((Extension(kind, wrong),), HOMES[kind], InvalidLeafNode)
        assert caught.value.rule in rules


@pytest.mark.rfc("R-13.4-05", "R-13.5-05", "N-C08", "B25")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [UNKNOWN_EXTENSION, 0x0A0A])
def test_no_type_stands_twice_in_a_list(place: str, kind: int) -> None:
    twice = (Extension(kind, b"1"), Extension(0xF0F0, b""), Extension(kind, b"2"))
    with pytest.raises(InvalidProposal) as caught:
        verify_extensions(twice, place, InvalidProposal)
    assert (caught.value.rule, caught.value.code) == ("R-13.4-05", Code.DUPLICATE_EXTENSION)
    verify_extensions(twice[:2], place, InvalidProposal)


@pytest.mark.rfc("R-13-01", "R-13.4-03", "R-13.4-04", "R-13.5-05")
@given(st.lists(st.tuples(unknown_types, st.binary(max_size=8)), unique_by=lambda pair: pair[0], max_size=6))
def test_extensions_that_nobody_knows_are_looked_at_by_nobody(pairs: Sequence[tuple[int, bytes]]) -> None:
    extensions = tuple(Extension(kind, data) for kind, data in pairs)
    for place in PLACES:
        verify_extensions(extensions, place, InvalidLeafNode)
    assert required_capabilities(extensions) == RequiredCapabilities((), (), ())
    assert external_senders(extensions) is None
    assert external_pub(extensions) is None


@pytest.mark.rfc("R-13.4-01", "R-12.1.8.1-01")
def test_known_extensions_are_read_where_they_stand() -> None:
    extensions = tuple(Extension(kind, body) for kind, body in BODIES.items())
    assert required_capabilities(extensions) == RequiredCapabilities((1,), (2,), (3,))
    assert external_senders(extensions) == ExternalSenders((ExternalSender(b"key", BasicCredential(b"server")),))
    assert external_pub(extensions) == b"key"


@pytest.mark.rfc("R-13-01", "R-13.4-03", "R-13.5-05")
@given(st.lists(st.integers(0, 0xFFFF), max_size=8))
def test_capabilities_that_nobody_knows_survive_a_round_trip(values: Sequence[int]) -> None:
    capabilities = Capabilities(*(tuple(values),) * 5)
    assert decode(Capabilities, encode(capabilities)) == capabilities


@pytest.mark.rfc("R-13.4-06", "R-13.4-07", "R-13-01")
def test_a_group_carries_an_extension_of_the_application_to_all_who_support_it() -> None:
    world = World()
    extension = Extension(UNKNOWN_EXTENSION, b"what the application says")
    groups = capable_group(world, 3, (extension,), extensions=(UNKNOWN_EXTENSION,))
    assert all(group._standing.state.group.extensions == (extension,) for group in groups)
    world.commit(groups[2], (), *groups[:2])
    world.agree(*groups)
    with pytest.raises(InvalidLeafNode) as caught:
        groups[0].commit([intents.Add(world.client("plain").key_package())])
    assert (caught.value.rule, caught.value.code) == ("R-7.3-16", Code.UNSUPPORTED_CAPABILITY)
