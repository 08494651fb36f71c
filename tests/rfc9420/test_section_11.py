"""Founding a group, and what it requires of its members. RFC 9420 §11, §11.1."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import Client, Extension, Group, Identity, MemoryStore, intents
from mls.crypto import SUITES, cipher_suite
from mls.epoch.extensions import required_capabilities
from mls.errors import Code, InvalidKeyPackage, InvalidLeafNode, InvalidProposal, MalformedMessage, MLSError, UsageError
from mls.events import StagedCommit
from mls.key_packages import common_cipher_suites
from mls.messages import (
    Add,
    CredentialType,
    ExtensionType,
    GroupContextExtensions,
    GroupInfo,
    MLSMessage,
    Remove,
    RequiredCapabilities,
    Update,
)
from tests.adversarial.insider import assert_refused
from tests.support.crafting import (
    UNKNOWN_EXTENSION,
    UNKNOWN_PROPOSAL,
    UPDATE,
    Forger,
    assert_both_refuse,
    capable_group,
    capable_package,
    founded,
    package_of,
)
from tests.support.naive_schedule import HASHES, expand_with_label
from tests.support.world import ANYONE, World, records
from treekem.index import LeafIndex
from treekem.tree import RatchetTree
from treekem.wire import decode, encode

UNSUPPORTED = Code.UNSUPPORTED_CAPABILITY
BASIC, X509 = CredentialType.BASIC, CredentialType.X509


def requirement(
    extensions: tuple[int, ...] = (), proposals: tuple[int, ...] = (), credentials: tuple[int, ...] = ()
) -> Extension:
    body = encode(RequiredCapabilities(extensions, proposals, credentials))
    return Extension(ExtensionType.REQUIRED_CAPABILITIES, body)


# Founding, §11.


@pytest.mark.rfc("R-11-01", "R-11-02", "R-11-03", "R-8.1-01", "R-8.2-03")
@pytest.mark.parametrize("suite", sorted(SUITES))
def test_epoch_zero(suite: int) -> None:
    world = World(suite)
    extensions = (requirement((), (), (BASIC,)),)
    alice = world.client("alice").create_group(b"our group", extensions)
    state = alice._standing.state
    context, crypto = state.group.context, cipher_suite(suite)
    assert (context.group_id, context.epoch, context.extensions) == (b"our group", 0, extensions)
    assert (context.version, context.cipher_suite, context.confirmed_transcript_hash) == (1, suite, b"")
    assert context.tree_hash == RatchetTree.decode(alice.ratchet_tree).tree_hash(crypto)
    assert [member.leaf for member in alice.members] == [0]
    tag = state.group.confirmation_tag
    assert tag == crypto.mac(state.secrets.confirmation_key, b"")
    # The tag is hashed with its length before it, and no hash stands before that.
    header = bytes([len(tag)]) if len(tag) < 64 else (0x4000 | len(tag)).to_bytes(2, "big")
    assert state.group.interim_transcript_hash == crypto.hash(header + tag)


@pytest.mark.rfc("R-11-01")
@pytest.mark.parametrize("suite", sorted(SUITES))
def test_the_first_epoch_secret_is_nh_random_bytes(suite: int) -> None:
    drawn: list[bytes] = []
    source = World().entropy("alice")

    def entropy(length: int) -> bytes:
        drawn.append(source(length))
        return drawn[-1]

    identity = Identity.basic(b"alice", suite)
    group = Client.create(MemoryStore(), identity, policy=ANYONE, entropy=entropy).create_group(b"our group")
    name, length = HASHES[suite], cipher_suite(suite).hash_length
    derived = {expand_with_label(name, each, b"authentication", b"", length) for each in drawn if len(each) == length}
    assert group.epoch_authenticator in derived


@pytest.mark.rfc("R-11-01", "R-11-08")
@pytest.mark.parametrize("suite", [1, 7])
def test_groups_are_random_unless_named(suite: int) -> None:
    client = World(suite).client("alice")
    groups = [client.create_group() for _ in range(7)]
    groups.append(client.branch(groups[0], [])[0])
    assert {len(group.group_id) for group in groups} == {cipher_suite(suite).hash_length}
    assert len({group.group_id for group in groups}) == 8
    assert len({group.epoch_authenticator for group in groups}) == 8
    assert set(client.groups) == {group.group_id for group in groups}
    assert client.create_group(b"named").group_id == b"named"


@pytest.mark.rfc("R-11-06", "R-11-07", "R-13.5-06")
def test_a_founder_learns_which_suites_all_have() -> None:
    world = World()
    alice, bob, carol = (world.client(name) for name in ("alice", "bob", "carol"))
    assert common_cipher_suites([]) == common_cipher_suites([alice.key_package()]) == frozenset(SUITES)
    few = capable_package(bob, cipher_suites=(0x0A0A, 1, 3, 7, 0xF001))
    fewer = capable_package(carol, cipher_suites=(7, 0x0A0A, 0xF001, 2, 3))
    assert common_cipher_suites([alice.key_package(), few]) == {1, 3, 7}
    assert common_cipher_suites((few, alice.key_package(), fewer)) == {3, 7}
    assert common_cipher_suites([few, capable_package(carol, versions=(2,))]) == frozenset()
    with pytest.raises(InvalidKeyPackage):
        common_cipher_suites([few, alice.create_group().group_info()])
    with pytest.raises(MalformedMessage):
        common_cipher_suites([few[:-1]])


@pytest.mark.rfc("R-11-04", "R-12.4.3.1-15")
def test_the_founders_leaf_is_the_one_of_a_key_package() -> None:
    world = World()
    alice = world.client("alice").create_group()
    pending = alice.commit([intents.Add(world.client("bob").key_package())], path=False)
    alice.merge(pending)
    bob = world.clients["bob"].join(pending.welcome or b"").accept()
    leaf = bob._standing.state.group.leaf_node(LeafIndex(0))
    assert leaf is not None
    assert type(leaf.source).__name__ == "KeyPackageSource"
    world.agree(alice, bob)


@pytest.mark.rfc("R-11-05", "R-13.4-02", "R-13.4-05")
@pytest.mark.parametrize(
    ("extensions", "error", "rule", "code"),
    [
        ((Extension(UNKNOWN_EXTENSION, b""),), InvalidLeafNode, "R-7.3-16", UNSUPPORTED),
        ((requirement((UNKNOWN_EXTENSION,)),), InvalidLeafNode, "R-7.3-04", UNSUPPORTED),
        ((requirement((), (UNKNOWN_PROPOSAL,)),), InvalidLeafNode, "R-7.3-04", UNSUPPORTED),
        ((requirement((), (), (0xF003,)),), InvalidLeafNode, "R-7.3-04", UNSUPPORTED),
        ((requirement(), requirement()), InvalidProposal, "R-13.4-05", Code.DUPLICATE_EXTENSION),
        ((Extension(ExtensionType.APPLICATION_ID, b"\x00"),), InvalidProposal, "R-13.4-08", Code.BAD_PROPOSAL),
        ((Extension(ExtensionType.REQUIRED_CAPABILITIES, b"\x00\x00"),), MalformedMessage, "R-2.1-07", Code.TRUNCATED),
    ],
)
def test_a_founder_supports_its_own_extensions(
    extensions: tuple[Extension, ...], error: type[MLSError], rule: str, code: str
) -> None:
    client = World().client("alice")
    before = records(client._store)
    with pytest.raises(error) as caught:
        client.create_group(extensions=extensions)
    assert (caught.value.rule, caught.value.code) == (rule, code)
    assert records(client._store) == before


@pytest.mark.rfc("R-11-05", "R-11.1-01")
def test_a_founder_may_use_what_it_supports() -> None:
    extensions = (Extension(UNKNOWN_EXTENSION, b"data"), requirement((UNKNOWN_EXTENSION,)))
    group = founded(World().client("alice"), extensions, extensions=(UNKNOWN_EXTENSION,))
    assert group._standing.state.group.extensions == extensions


@pytest.mark.rfc("R-11-09")
def test_the_group_info_of_epoch_zero_is_ready_for_joiners() -> None:
    alice = World(grease=False).client("alice").create_group()
    body = decode(MLSMessage, alice.group_info()).body
    assert isinstance(body, GroupInfo)
    assert body.group_context == alice._standing.state.group.context
    kinds = {each.extension_type for each in body.extensions}
    assert kinds == {ExtensionType.RATCHET_TREE, ExtensionType.EXTERNAL_PUB}


@pytest.mark.rfc("R-11-10")
def test_a_client_founds_no_second_group_of_one_id() -> None:
    world = World()
    alice = world.client("alice")
    group = alice.create_group(b"our group")
    before = records(alice._store)
    with pytest.raises(UsageError) as caught:
        alice.create_group(b"our group")
    assert (caught.value.rule, caught.value.code) == ("R-11-10", Code.GROUP_EXISTS)
    assert records(alice._store) == before
    assert world.client("bob").create_group(b"our group").epoch_authenticator != group.epoch_authenticator


@pytest.mark.rfc("R-10.1-02")
def test_a_group_takes_no_client_of_another_suite() -> None:
    world, elsewhere = World(1), World(2)
    alice = world.client("alice").create_group()
    with pytest.raises(MLSError) as caught:
        alice.commit([intents.Add(elsewhere.client("bob").key_package())])
    assert caught.value.rule == "R-10.1-02"
    assert alice.epoch == 0


# Required capabilities, §11.1.


@pytest.mark.rfc("R-11.1-01")
def test_the_fields_of_required_capabilities() -> None:
    body = RequiredCapabilities((0xF001,), (0xF002, 0xF003), (1,))
    assert encode(body) == bytes.fromhex("02 f001 04 f002 f003 02 0001")
    assert required_capabilities((Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(body)),)) == body
    assert required_capabilities(()) == RequiredCapabilities((), (), ())


@pytest.fixture
def capable() -> tuple[World, list[Group]]:
    world = World()
    return world, capable_group(world, 3, extensions=(UNKNOWN_EXTENSION,), proposals=(UNKNOWN_PROPOSAL,))


REQUIREMENTS = [
    requirement((UNKNOWN_EXTENSION,)),
    requirement((), (UNKNOWN_PROPOSAL,)),
    requirement((), (), (X509,)),
]


@pytest.mark.rfc("R-11.1-03", "R-12.3-02", "R-12.1.7-03", "N-P06")
@pytest.mark.parametrize("required", REQUIREMENTS)
def test_who_is_added_meets_what_the_same_commit_begins_to_require(
    capable: tuple[World, list[Group]], required: Extension
) -> None:
    world, (alice, bob, carol) = capable
    short = capable_package(world.client("short"), credentials=(BASIC,))
    forger = Forger(world, alice)
    weak = Add(package_of(short))
    requires = GroupContextExtensions((required,))
    refused = (InvalidLeafNode, "R-7.3-04", UNSUPPORTED)
    for proposals in ((requires, weak), (weak, requires)):
        assert_both_refuse(forger, [bob, carol], proposals, refused)
    able = capable_package(
        world.client("able"), extensions=(UNKNOWN_EXTENSION,), proposals=(UNKNOWN_PROPOSAL,), credentials=(BASIC, X509)
    )
    for message in (forger.honest(weak), forger.honest(requires, Add(package_of(able)))):
        assert isinstance(bob.receive(message), StagedCommit)


@pytest.mark.rfc("R-11.1-03", "R-12.1.7-02")
def test_who_is_added_need_not_meet_what_the_same_commit_ceases_to_require(
    capable: tuple[World, list[Group]],
) -> None:
    world, (alice, bob, carol) = capable
    world.commit(alice, [intents.GroupContextExtensions((REQUIREMENTS[0],))], bob, carol)
    weak = Add(package_of(world.client("short").key_package()))
    forger = Forger(world, alice)
    assert_both_refuse(forger, [bob, carol], (weak,), (InvalidLeafNode, "R-7.3-04", UNSUPPORTED))
    assert isinstance(bob.receive(forger.honest(GroupContextExtensions(()), weak)), StagedCommit)


@pytest.mark.rfc("R-11.1-04", "R-12.1.7-03", "R-12.1.7-04", "N-P06")
@pytest.mark.parametrize(
    ("extension", "rule"),
    [(REQUIREMENTS[0], "R-7.3-04"), (REQUIREMENTS[1], "R-7.3-04"), (Extension(UNKNOWN_EXTENSION, b""), "R-7.3-16")],
)
def test_nothing_is_required_that_a_member_lacks(
    capable: tuple[World, list[Group]], extension: Extension, rule: str
) -> None:
    world, (alice, bob, carol) = capable
    (short,) = world.add(alice, world.client("short"), others=[bob, carol])
    forger = Forger(world, alice)
    requires = GroupContextExtensions((extension,))
    assert_both_refuse(forger, [bob, carol, short], (requires,), (InvalidLeafNode, rule, UNSUPPORTED))
    # A member that goes with the same commit does not count.
    message = forger.honest(requires, Remove(LeafIndex(3)))
    assert isinstance(bob.receive(message), StagedCommit)


@pytest.mark.rfc("R-11.1-05", "R-7.3-04")
def test_no_member_drops_what_is_required(capable: tuple[World, list[Group]]) -> None:
    world, (alice, bob, carol) = capable
    world.commit(alice, [intents.GroupContextExtensions((REQUIREMENTS[0],))], bob, carol)
    forger = Forger(world, bob)
    dropped = replace(forger.own_leaf().capabilities, extensions=())
    refused = (InvalidLeafNode, "R-7.3-04", UNSUPPORTED)
    assert_refused([alice, carol], forger.commit(path=forger.path(capabilities=dropped)), *refused)
    update = Update(forger.leaf_node(UPDATE, capabilities=dropped))
    assert_refused([alice, carol], forger.send(update).message, *refused)
    with pytest.raises(InvalidLeafNode) as caught:
        forger.order(leaf=forger.content(capabilities=dropped))
    assert (caught.value.rule, caught.value.code) == ("R-7.3-04", UNSUPPORTED)
    # Nor by an Update that was fine until the commit that covers it began to require more.
    earlier = forger.send(
        Update(forger.leaf_node(UPDATE, capabilities=replace(forger.own_leaf().capabilities, proposals=())))
    )
    world.deliver(earlier.message, alice, carol)
    both = GroupContextExtensions((REQUIREMENTS[0],)), GroupContextExtensions((requirement((), (UNKNOWN_PROPOSAL,)),))
    committer = Forger(world, alice)
    assert_both_refuse(committer, carol, (earlier, both[1]), refused)
    assert isinstance(carol.receive(committer.honest(earlier, both[0])), StagedCommit)
