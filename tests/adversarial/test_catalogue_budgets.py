"""What a hostile message may cost, counted: nothing before its header fits, and little before somebody vouches for it.

The inputs are the worst that were found for their size: vectors of the smallest elements, of which each becomes an
object of its own.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from cryptography import x509

from mls import AcceptAnyone, Client, Group
from mls.epoch.members import traits_of
from mls.errors import (
    Code,
    InvalidProposalList,
    InvalidSignature,
    InvalidTag,
    InvalidWelcome,
    MalformedMessage,
    MLSError,
    WrongEpoch,
    WrongGroup,
)
from mls.messages import (
    Add,
    ApplicationData,
    Capabilities,
    Certificate,
    Commit,
    CommitSource,
    Extension,
    GroupInfo,
    MLSMessage,
    ProposalContent,
    ProtocolVersion,
    Remove,
    X509Credential,
)
from mls.observer import PublicGroup
from tests.adversarial.insider import PRIVATE, PUBLIC, Envelope
from tests.support.certificates import DNS, MIDDLE, TRUSTING, end_entity
from tests.support.counting import MIB, Cost, cost_of
from tests.support.crafting import Forger, crafted_package, message_of, package_of
from tests.support.observing import OPEN, follow
from tests.support.welcomes import group_info_of
from tests.support.world import NOW, World, records
from treekem.index import LeafIndex
from treekem.wire import encode, encode_as, encode_varint

LARGEST_PEAK = 64 * MIB
ROOM = 2_000
"""Bytes of a worst case that are left for what stands around the long vector."""


@dataclass(frozen=True)
class Scene:
    """Three members and an observer; the first member forges, and the second receives."""

    world: World
    groups: list[Group]
    observer: PublicGroup
    forger: Forger

    @property
    def bob(self) -> Group:
        return self.groups[1]

    def cost(self, message: bytes, error: type[MLSError], rule: str, code: str) -> Cost:
        """Return what refusing a message costs a member, and assert by which rule it and the observer do."""
        before, stored = self.bob.fingerprint(), records(self.bob._store)
        cost = cost_of(lambda: self.bob.receive(message))
        assert cost.error is not None
        assert (type(cost.error), cost.error.rule, cost.error.code) == (error, rule, code), cost.error
        assert (self.bob.fingerprint(), records(self.bob._store)) == (before, stored)
        return cost


@pytest.fixture(scope="module")
def scene() -> Scene:
    world = World(private_handshakes=False, **OPEN)
    groups = world.group(3)
    world.commit(groups[0], (), *groups[1:])
    return Scene(world, groups, follow(groups[0]), Forger(world, groups[0]))


def long_vector(element: bytes, size: int = MIB - ROOM) -> bytes:
    """Return a vector of as many copies of an element as fit."""
    body = element * (size // len(element))
    return encode_varint(len(body)) + body


def commit_of(forger: Forger, proposals: bytes, path: bytes = b"\0") -> bytes:
    """Return a PublicMessage around a commit that is given in bytes; signature and tags are zeros."""
    empty = encode(forger.framed(Commit((), None)))
    auth = encode_as(bytes, bytes(64)) + encode_as(bytes, bytes(32)) + encode_as(bytes, bytes(32))
    return b"\0\1\0\1" + empty.removesuffix(b"\0\0") + proposals + path + auth


# Before anything is decoded.


@pytest.mark.rfc("N-D01", "R-6-10", "R-6-11", "N-M15")
@pytest.mark.parametrize("wire_format", [PUBLIC, PRIVATE])
def test_a_message_for_another_state_costs_nothing(scene: Scene, wire_format: object) -> None:
    forger, proposal = scene.forger, ProposalContent(Remove(LeafIndex(2)))
    said: list[tuple[dict[str, object], type[MLSError], str, str]] = [
        ({"group_id": b"another"}, WrongGroup, "R-6-10", Code.UNKNOWN_GROUP),
        ({"epoch": 0}, WrongEpoch, "R-6-11", Code.WRONG_EPOCH),
        ({"epoch": 3}, WrongEpoch, "R-6-11", Code.WRONG_EPOCH),
        ({"epoch": 2**64 - 1}, WrongEpoch, "R-6-11", Code.WRONG_EPOCH),
    ]
    for changes, error, rule, code in said:
        framed = replace(forger.framed(proposal), **changes)  # type: ignore[arg-type]  # fields of FramedContent
        signed = forger.signed(framed, wire_format)  # type: ignore[arg-type]  # one of the two wire formats
        message = forger.private(signed) if wire_format is PRIVATE else forger.public(signed)
        assert scene.cost(message, error, rule, code).is_nothing
        assert cost_of(lambda message=message: scene.observer.receive(message)).is_nothing  # type: ignore[misc]  # a loop variable
    good = forger.propose(Remove(LeafIndex(2)), wire_format=PUBLIC)
    taken = cost_of(lambda: scene.observer.receive(good))
    assert taken.error is None
    assert not taken.is_nothing


@pytest.mark.rfc("N-D01", "S-max_message_bytes", "S-max_welcome_bytes", "R-2.1.2-07")
def test_a_message_that_is_too_large_costs_nothing(scene: Scene) -> None:
    client = scene.world.client(f"large-{len(scene.world.clients)}")
    small = commit_of(scene.forger, b"\0")
    huge = b"\0\1\0\3\0\1" + bytes(8 * MIB)
    assert scene.cost(small + bytes(MIB), MalformedMessage, "S-max_message_bytes", Code.LIMIT_EXCEEDED).is_nothing
    for work in (
        lambda: scene.observer.receive(small + bytes(MIB)),
        lambda: client.receive(huge),
        lambda: client.join(huge),
        lambda: client.join_external(huge),
        lambda: client.join(huge[:100], huge),
        lambda: client.join_external(huge[:100], huge),
        lambda: PublicGroup.follow(huge, policy=AcceptAnyone(), clock=lambda: NOW),
    ):
        cost = cost_of(work)
        assert cost.error is not None
        assert cost.error.code is Code.LIMIT_EXCEEDED
        assert cost.is_nothing


# Before somebody vouches for it.


def _tiny_commit(scene: Scene, kind: str) -> bytes:
    forger = scene.forger
    leaf = encode(forger.leaf_node(CommitSource(b"")))
    match kind:
        case "references":
            return commit_of(forger, long_vector(b"\2\0"))
        case "external inits":
            return commit_of(forger, long_vector(b"\1\0\6\0"))
        case "extensions":
            return commit_of(forger, encode_as(bytes, b"\1\0\7" + long_vector(b"\xf0\1\0")))
        case "path nodes":
            return commit_of(forger, b"\0", b"\1" + leaf + long_vector(b"\0\0"))
        case "ciphertexts":
            return commit_of(forger, b"\0", b"\1" + leaf + encode_as(bytes, b"\0" + long_vector(b"\0\0")))
        case "capabilities":
            listed = replace(forger.own_leaf().capabilities, extensions=(0xF001,) * (MIB // 2 - ROOM))
            return _update_of(forger, capabilities=listed)
        case _:
            return _update_of(forger, credential=X509Credential((Certificate(b""),) * (MIB - ROOM)))


def _update_of(forger: Forger, **fields: object) -> bytes:
    leaf = replace(forger.own_leaf(), **fields)  # type: ignore[arg-type]  # fields of a leaf
    return commit_of(forger, encode_as(bytes, b"\1\0\2" + encode(leaf)))


@pytest.mark.rfc("N-D02", "R-2.1-15", "R-6.2-03")
@pytest.mark.parametrize(
    "kind",
    [
        "capabilities",
        pytest.param("references", marks=pytest.mark.slow),
        pytest.param("certificates", marks=pytest.mark.slow),
        pytest.param("external inits", marks=pytest.mark.slow),
        pytest.param("extensions", marks=pytest.mark.slow),
        pytest.param("path nodes", marks=pytest.mark.slow),
        pytest.param("ciphertexts", marks=pytest.mark.slow),
    ],
)
def test_a_forged_message_costs_one_tag_and_bounded_memory(scene: Scene, kind: str) -> None:
    message = _tiny_commit(scene, kind)
    assert MIB * 9 // 10 < len(message) <= MIB
    cost = scene.cost(message, InvalidTag, "R-6.2-03", Code.BAD_MEMBERSHIP_TAG)
    assert cost.vouching == 1
    assert cost.peak <= LARGEST_PEAK


@pytest.mark.rfc("N-D02", "R-6.3.2-05", "R-5.1.3-03")
def test_a_forged_private_message_costs_no_signature(scene: Scene) -> None:
    forger = scene.forger
    framed = forger.framed(ApplicationData(b""))
    sealed = forger.private(forger.signed(framed, PRIVATE), Envelope(plaintext=bytes(MIB - ROOM)))
    before = scene.bob.fingerprint()
    for message in (sealed[:200] + bytes(len(sealed) - 200), sealed[:-1] + bytes([sealed[-1] ^ 1])):
        cost = cost_of(lambda message=message: scene.bob.receive(message))  # type: ignore[misc]  # a loop variable
        assert cost.error is not None
        assert not cost.error.authenticated
        assert cost.calls["verify"] == 0
        assert cost.calls["aead"] <= 2
        assert cost.peak <= LARGEST_PEAK
    assert scene.bob.fingerprint() == before


@pytest.mark.rfc("N-D02", "S-max_leaves")
@pytest.mark.parametrize("mib", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_a_welcome_of_tiny_entries_costs_little(scene: Scene, mib: int) -> None:
    client = scene.world.client(f"joiner-{len(scene.world.clients)}")
    client.key_package()
    before = records(client._store)
    welcome = b"\0\1\0\3\0\1" + long_vector(bytes(3), mib * MIB - ROOM) + b"\0"
    cost = cost_of(lambda: client.join(welcome))
    assert type(cost.error) is InvalidWelcome
    assert (cost.error.rule, cost.error.code) == ("S-max_leaves", Code.LIMIT_EXCEEDED)
    assert cost.calls.total() == 0
    # The announced vector is copied once; of its entries none is kept.
    assert cost.peak <= (mib + 1) * MIB
    assert records(client._store) == before


@pytest.mark.rfc("N-D02", "R-2.1-08", "R-2.1-07", "R-12.4.3.1-03", "S-max_leaves")
def test_entries_of_a_welcome_are_read_one_by_one(scene: Scene) -> None:
    client = scene.world.client(f"joiner-{len(scene.world.clients)}", max_leaves=4)
    entry = b"\1a\1b\1c"
    for entries, rest, error, rule, code, where in (
        (entry * 4, b"\0", InvalidWelcome, "R-12.4.3.1-03", Code.NO_MATCHING_KEY_PACKAGE, None),
        (entry * 5, b"\0", InvalidWelcome, "S-max_leaves", Code.LIMIT_EXCEEDED, None),
        (entry * 2 + b"\1a\1b", b"\0", MalformedMessage, "R-2.1-07", Code.TRUNCATED, (2, 7 + 16)),
        (entry + b"\1a\1b\2c", b"\0", MalformedMessage, "R-2.1.2-05", Code.TRUNCATED, (1, 7 + 10)),
        (entry, b"\0\0", MalformedMessage, "R-2.1-08", Code.TRAILING_DATA, None),
        (entry, b"", MalformedMessage, "R-2.1-07", Code.TRUNCATED, None),
    ):
        message = b"\0\1\0\3\0\1" + encode_as(bytes, entries) + rest
        with pytest.raises(MLSError) as caught:
            client.join(message)
        refused = caught.value
        assert (type(refused), refused.rule, refused.code) == (error, rule, code), refused
        if where is not None:
            assert isinstance(refused, MalformedMessage)
            assert (refused.index, refused.offset) == where
            assert refused.where.startswith(f"Welcome.secrets[{where[0]}].EncryptedGroupSecrets")


Taker = Callable[[Client, bytes, bytes | None], object]


def _follow(_: Client, group_info: bytes, tree: bytes | None) -> object:
    return PublicGroup.follow(group_info, tree, policy=AcceptAnyone(), clock=lambda: NOW)


def _join_external(client: Client, group_info: bytes, tree: bytes | None) -> object:
    return client.join_external(group_info, tree)


@pytest.mark.rfc("N-D02", "R-12.4.3.3-03", "N-C10")
@pytest.mark.parametrize("take", [_follow, _join_external])
@pytest.mark.parametrize(
    "kind",
    [
        "blanks",
        "a member's leaf",
        pytest.param("extensions", marks=pytest.mark.slow),
        pytest.param("extensions of the group", marks=pytest.mark.slow),
        pytest.param("parents", marks=pytest.mark.slow),
    ],
)
def test_a_group_info_that_somebody_made_up_costs_little(scene: Scene, take: Taker, kind: str) -> None:
    client = scene.world.client(f"reader-{len(scene.world.clients)}")
    info, tree = _made_up(scene, kind)
    before = records(client._store)
    message = encode(MLSMessage(ProtocolVersion.MLS10, info))
    cost = cost_of(lambda: take(client, message, tree))
    assert cost.error is not None
    assert cost.vouching <= 1
    assert cost.peak <= LARGEST_PEAK
    assert records(client._store) == before


def _made_up(scene: Scene, kind: str) -> tuple[GroupInfo, bytes | None]:
    info = group_info_of(scene.groups[0], ratchet_tree=False)
    many = (Extension(0xF001, b""),) * ((MIB - ROOM) // 3)
    match kind:
        case "extensions":
            return replace(info, extensions=many), None
        case "extensions of the group":
            return replace(info, group_context=replace(info.group_context, extensions=many)), None
        case "blanks":
            return info, long_vector(b"\0")
        case "parents":
            return info, long_vector(b"\0" + b"\1\2\0\0\0")
        case _:
            leaf = encode(scene.forger.own_leaf())
            return info, long_vector(b"\1\1" + leaf + b"\0")[:-1]


@pytest.mark.rfc("N-D02", "R-10.1-03")
def test_a_key_package_of_tiny_parts_costs_one_signature(scene: Scene) -> None:
    client = scene.world.client(f"importer-{len(scene.world.clients)}")
    package = package_of(client.key_package())
    leaf, before = package.leaf_node, records(client._store)
    listed = replace(leaf.capabilities, proposals=(0xF001,) * (MIB // 2 - ROOM))
    many = (Extension(0xF001, b""),) * (MIB // 16)
    key = client._suite.generate_key_pair(client._entropy).private
    for changed in (
        replace(package, leaf_node=replace(leaf, capabilities=listed)),
        replace(package, leaf_node=replace(leaf, extensions=many)),
        replace(package, extensions=many),
    ):
        message = message_of(changed)
        cost = cost_of(lambda message=message: client.import_key_package(message, key, key))  # type: ignore[misc]  # a loop variable
        assert cost.error is not None
        assert cost.vouching <= 1
        assert cost.peak <= LARGEST_PEAK
    assert records(client._store) == before


# Once a member has vouched for it.


@pytest.mark.rfc("N-D03", "R-12.4.2-04", "R-12.2-07")
def test_a_members_commit_costs_few_signatures_per_proposal(scene: Scene) -> None:
    clients = [scene.world.client(f"added-{n}-{len(scene.world.clients)}") for n in range(12)]
    adds = [Add(package_of(client.key_package())) for client in clients]
    honest = scene.forger.honest(*adds)
    taken = cost_of(lambda: scene.bob.receive(honest))
    assert taken.error is None
    assert 2 * len(adds) <= taken.calls["verify"] <= 4 * len(adds)
    # What costs no signature is looked at first; one is that of the commit itself.
    bad = scene.forger.commit(*adds, adds[7], path=scene.forger.path())
    cost = scene.cost(bad, InvalidProposalList, "R-12.2-07", Code.BAD_PROPOSAL_LIST)
    assert cost.error is not None
    assert (cost.calls["verify"], cost.error.index) == (1, len(adds))


@pytest.mark.slow
@pytest.mark.rfc("N-D03", "R-12.2-07")
def test_a_list_that_repeats_a_client_until_the_message_is_full_costs_one_signature(scene: Scene) -> None:
    package = crafted_package(scene.world.client(f"added-{len(scene.world.clients)}"))
    n = (MIB - ROOM) // (len(encode(package)) + 3)
    bad = scene.forger.commit(*[Add(package)] * n, path=scene.forger.path())
    assert len(bad) > MIB * 9 // 10
    cost = scene.cost(bad, InvalidProposalList, "R-12.2-07", Code.BAD_PROPOSAL_LIST)
    assert cost.error is not None
    assert cost.error.authenticated
    assert cost.calls["verify"] == 1
    assert cost.peak <= LARGEST_PEAK


@pytest.mark.rfc("N-D03", "R-6.1-13")
def test_a_wrong_signature_under_a_good_tag_costs_no_more(scene: Scene) -> None:
    forger = scene.forger
    framed = forger.framed(Commit((), None))
    key = forger.new_signature_keys().private
    message = forger.public(forger.signed(framed, PUBLIC, key=key))
    cost = scene.cost(message, InvalidSignature, "R-6.1-13", Code.BAD_SIGNATURE)
    assert (cost.calls["mac"], cost.calls["verify"]) == (1, 1)


@pytest.mark.rfc("N-D02")
def test_long_lists_of_types_are_forgotten_with_the_leaves_that_have_them() -> None:
    """What trees ask of leaves is remembered beyond any one group, and takes many times what the members sent."""
    lists = [tuple(range(first, first + 2_000)) for first in range(60)]
    sent = [encode(Capabilities((1,), (1,), types, (), (1,))) for types in lists]
    assert len(traits_of(b"\0\1", sent[0])) == 2_002
    kept, peak = memory_of(lambda: [len(traits_of(b"\0\1", each)) for each in sent])
    assert 4 * kept < peak


@pytest.mark.rfc("N-D02", "N-X509-03")
def test_large_certificates_are_forgotten_with_their_chains() -> None:
    """Certificates are read before anybody knows whether they are to be trusted, and names take room."""
    names = [x509.DNSName(f"{number}.example") for number in range(1_000)]
    sent = [end_entity("alice", suite, MIDDLE, names=[DNS, *names]).credential for suite in range(1, 7)]
    assert len(sent[0].certificates[0].cert_data) < 2**15
    kept, peak = memory_of(lambda: [len(TRUSTING.identity(each)) for each in sent])
    assert 4 * kept < peak


def memory_of(work: Callable[[], object]) -> tuple[int, int]:
    """Return how many bytes some work leaves behind, and how many it takes at its peak."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return now - before, peak - before
