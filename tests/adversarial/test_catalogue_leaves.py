"""The catalogue of hostile key packages and leaves, rows N-L, wherever such a leaf may come to a group.

A leaf comes in an Add, an Update or a path, and each of them in the clear or encrypted. Rows 07 and 12 have their tests
by their clauses, beside those of leaves and of key packages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mls import TrustOnFirstUse, intents
from mls.crypto import SUITES
from mls.errors import (
    Code,
    InvalidKeyPackage,
    InvalidLeafNode,
    InvalidSignature,
    MLSError,
    Refused,
)
from mls.messages import (
    Add,
    BasicCredential,
    CommitSource,
    CredentialType,
    Extension,
    ExtensionType,
    GroupContextExtensions,
    KeyPackage,
    KeyPackageSource,
    LeafPosition,
    Lifetime,
    ProposalContent,
    Remove,
    Update,
)
from mls.settings import DAY, HOUR
from tests.adversarial.insider import PRIVATE, PUBLIC, assert_refused
from tests.support.crafting import (
    UNKNOWN_EXTENSION,
    UPDATE,
    Forger,
    capable_group,
    crafted_package,
    package_of,
    resigned_package,
)
from tests.support.leaf_scenes import UNSUPPORTED, LeafScene, requirement, scene_of
from tests.support.scenes import staged
from tests.support.world import NOW, World
from treekem.index import LeafIndex

formats = pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
suites = pytest.mark.parametrize("suite", sorted(SUITES))
UNSIGNED = (InvalidSignature, "R-7.3-03", Code.BAD_SIGNATURE)
DUPLICATE = Code.DUPLICATE_KEY
Refusal = tuple[type[MLSError], str, str]
Leaf = Callable[[LeafScene], dict[str, Any]]


def new_scene(suite: int = 1) -> LeafScene:
    world = World(suite)
    return scene_of(world.group(3), world)


def brought(scene: LeafScene, place: str, *, private: bool, **fields: Any) -> bytes:  # noqa: ANN401  (fields of LeafNode)
    """Return a message that brings a leaf with these fields to a place."""
    forger, wire_format = scene.forger, PRIVATE if private else PUBLIC
    match place:
        case "add":
            package = crafted_package(scene.outsider, leaf=fields)
            return forger.commit(Add(package), path=forger.path(), private=private)
        case "proposed add":
            return forger.propose(Add(crafted_package(scene.outsider, leaf=fields)), wire_format=wire_format)
        case "update":
            node = forger.leaf_node(**{"source": UPDATE, **fields})
            return forger.propose(Update(node), wire_format=wire_format)
        case _:
            return forger.commit(path=forger.path(**fields), private=private)


def kept_key(scene: LeafScene) -> dict[str, Any]:
    return {"encryption_key": scene.forger.own_leaf().encryption_key}


def without(scene: LeafScene, **fields: tuple[int, ...]) -> dict[str, Any]:
    return {"capabilities": replace(scene.forger.own_leaf().capabilities, **fields)}


def lifetime(not_before: int, not_after: int) -> Leaf:
    return lambda _: {"source": KeyPackageSource(Lifetime(not_before, not_after))}


def elsewhere(scene: LeafScene) -> dict[str, Any]:
    return {"position": LeafPosition(scene.forger.group.group_id, LeafIndex(0))}


def in_another_group(scene: LeafScene) -> dict[str, Any]:
    return {"position": LeafPosition(b"another group", scene.forger.leaf)}


def of_lifetime(rule: str) -> Refusal:
    return (InvalidLeafNode, rule, Code.LIFETIME_INVALID)


BAD_LEAF = (InvalidLeafNode, "R-7.3-11", Code.BAD_LEAF)
UNLISTED = (InvalidLeafNode, "R-7.3-10", UNSUPPORTED)
ADDS, OWN = ("add", "proposed add"), ("update", "path")
UNKNOWN = Extension(UNKNOWN_EXTENSION, b"")

CASES: list[tuple[str, str, tuple[str, ...], Leaf, Refusal]] = [
    ("N-L03", "unsigned", OWN, lambda _: {"signed": False}, UNSIGNED),
    ("N-L04", "an update's", ADDS, lambda _: {"source": UPDATE}, BAD_LEAF),
    ("N-L04", "a commit's", (*ADDS, "update"), lambda _: {"source": CommitSource(b"")}, BAD_LEAF),
    ("N-L04", "a key package's", ("update",), lifetime(NOW, NOW + DAY), BAD_LEAF),
    ("N-L05", "expired", ADDS, lifetime(NOW - DAY, NOW - HOUR - 1), of_lifetime("R-7.3-09")),
    ("N-L05", "future", ADDS, lifetime(NOW + HOUR + 1, NOW + DAY), of_lifetime("R-7.3-09")),
    ("N-L05", "backwards", ADDS, lifetime(NOW + 5, NOW + 4), of_lifetime("R-7.2-14")),
    ("N-L05", "too long", ADDS, lifetime(NOW, NOW + 90 * DAY + HOUR + 1), of_lifetime("R-7.2-13")),
    ("N-L05", "for ever", ADDS, lifetime(0, 2**64 - 1), of_lifetime("R-7.2-13")),
    ("N-L05", "at the end of time", ADDS, lifetime(2**64 - 1, 2**64 - 1), of_lifetime("R-7.3-09")),
    ("N-L06", "an extension", (*ADDS, *OWN), lambda _: {"extensions": (UNKNOWN,)}, UNLISTED),
    ("N-L10", "kept", ("update",), kept_key, (InvalidLeafNode, "R-7.3-12", Code.BAD_LEAF)),
    ("N-L10", "kept", ("path",), kept_key, (InvalidLeafNode, "R-12.4.2-10", Code.BAD_LEAF)),
    ("N-L11", "another place", OWN, elsewhere, UNSIGNED),
    ("N-L11", "another group", OWN, in_another_group, UNSIGNED),
]  # fmt: skip


@formats
@pytest.mark.parametrize(
    ("places", "leaf", "refused"),
    [
        pytest.param(places, leaf, refused, id=f"{row} {name} {places[0]}", marks=pytest.mark.rfc(row))
        for row, name, places, leaf, refused in CASES
    ],
)
def test_a_hostile_leaf_is_refused(places: tuple[str, ...], leaf: Leaf, refused: Refusal, private: bool) -> None:
    scene = new_scene()
    for place in places:
        message = brought(scene, place, private=private, **leaf(scene))
        assert assert_refused(scene.receivers, message, *refused).authenticated
    sound = "update" if places[0] in OWN else "proposed add"
    scene.world.deliver(brought(scene, sound, private=private), *scene.receivers)
    assert [len(group.proposals) for group in scene.receivers] == [1, 1]


# Key packages.


Packages = Callable[[LeafScene], KeyPackage]


def unlike(**fields: Any) -> Packages:  # noqa: ANN401  (fields of KeyPackage)
    return lambda scene: crafted_package(scene.outsider, **fields)


def one_key(scene: LeafScene) -> KeyPackage:
    key = package_of(scene.outsider.key_package()).init_key
    return crafted_package(scene.outsider, init_key=key, leaf={"encryption_key": key})


def signed_by_another(scene: LeafScene) -> KeyPackage:
    genuine = package_of(scene.outsider.key_package())
    return resigned_package(genuine, genuine.cipher_suite, scene.forger.new_signature_keys().private)


def leaf_signed_by_another(scene: LeafScene) -> KeyPackage:
    genuine = package_of(scene.outsider.key_package())
    length = len(genuine.leaf_node.signature)
    return crafted_package(scene.outsider, leaf_signature=bytes(length))


PACKAGES: list[tuple[str, str, Packages, Refusal]] = [
    ("N-L01", "one key", one_key, (InvalidKeyPackage, "R-10.1-05", Code.BAD_KEY_PACKAGE)),
    ("N-L02", "version", unlike(version=2), (InvalidKeyPackage, "R-10.1-02", Code.BAD_KEY_PACKAGE)),
    ("N-L03", "signature", signed_by_another, (InvalidSignature, "R-10-03", Code.BAD_SIGNATURE)),
    ("N-L03", "its leaf's", leaf_signed_by_another, UNSIGNED),
]


@suites
@pytest.mark.parametrize(
    ("package", "refused"),
    [
        pytest.param(package, refused, id=f"{row} {name}", marks=pytest.mark.rfc(row))
        for row, name, package, refused in PACKAGES
    ],
)
def test_a_hostile_key_package_is_refused(suite: int, package: Packages, refused: Refusal) -> None:
    scene = new_scene(suite)
    add = Add(package(scene))
    private = suite % 2 == 0
    message = scene.forger.commit(add, path=scene.forger.path(), private=private)
    assert_refused(scene.receivers, message, *refused)
    proposed = scene.forger.propose(add, wire_format=PRIVATE if private else PUBLIC)
    assert_refused(scene.receivers, proposed, *refused)
    before = scene.forger.group.fingerprint()
    with pytest.raises(MLSError) as caught:
        scene.forger.order(add)
    assert (type(caught.value), caught.value.rule, caught.value.code) == refused
    assert scene.forger.group.fingerprint() == before


@formats
@pytest.mark.rfc("N-L02", "R-10.1-02")
def test_a_key_package_of_another_suite_is_refused(private: bool) -> None:
    scene = new_scene()
    for suite in (0, 2, 3, 0xFFFF):
        add = Add(replace(package_of(scene.outsider.key_package()), cipher_suite=suite))
        message = scene.forger.commit(add, path=scene.forger.path(), private=private)
        refused = (InvalidKeyPackage, "R-10.1-02", Code.BAD_KEY_PACKAGE)
        assert_refused(scene.receivers, message, *refused)


# Keys that are held already, and what the others can do.


@formats
@suites
@pytest.mark.rfc("N-L08", "R-7.3-13", "R-7.3-14", "R-16.7-01")
def test_a_key_that_somebody_holds_is_refused(suite: int, private: bool) -> None:
    scene = new_scene(suite)
    forger = scene.forger
    first = Forger(scene.world, scene.groups[0])
    taken = first.own_leaf()
    another = scene.world.client("another")
    keys = scene.outsider._signature_keys
    ours = {"credential": BasicCredential(b"another")}
    package = package_of(scene.outsider.key_package())
    pairs: list[tuple[tuple[KeyPackage, ...], str]] = [
        ((crafted_package(another, leaf={"encryption_key": taken.encryption_key}),), "R-7.3-14"),
        ((crafted_package(another, signature_keys=first.content().signature_keys, leaf=ours),), "R-7.3-13"),
        # Twice in one commit, by two who are both new.
        ((package, crafted_package(another, signature_keys=keys, leaf=ours)), "R-7.3-13"),
        ((package, crafted_package(another, leaf={"encryption_key": package.leaf_node.encryption_key})), "R-7.3-14"),
    ]
    if suite in (1, 3):
        # A key of either kind can have the bytes of one of the other.
        pairs.append(((crafted_package(another, leaf={"encryption_key": taken.signature_key}),), "R-16.7-01"))
    for packages, rule in pairs:
        message = forger.commit(*map(Add, packages), path=forger.path(), private=private)
        assert_refused(scene.receivers, message, InvalidLeafNode, rule, DUPLICATE)
    for group in scene.receivers:
        staged(group, forger.honest(Add(package)))


@formats
@pytest.mark.rfc("N-L09", "B34", "R-5.3.1-08")
def test_a_leaf_does_not_become_somebody_elses(private: bool) -> None:
    world = World()
    alice = world.client("alice", policy=TrustOnFirstUse()).create_group()
    groups = [alice, *world.add(alice, world.client("bob"), world.client("carol", policy=TrustOnFirstUse()))]
    scene = scene_of(groups, world)
    # Another name by the same key, and another name by another key, as whoever would impersonate somebody later.
    changed = (Refused, "R-5.3.1-08", Code.CREDENTIAL_CHANGED)
    for place in OWN:
        message = brought(scene, place, private=private, credential=BasicCredential(b"member of another group"))
        assert_refused(scene.receivers, message, *changed)
    keys = scene.forger.new_signature_keys()
    content = scene.forger.content(signature_keys=keys, credential=BasicCredential(b"mallory"))
    assert_refused(scene.receivers, scene.forger.honest(leaf=content), *changed)
    kept = scene.forger.content(signature_keys=keys)
    for group in scene.receivers:
        staged(group, scene.forger.honest(leaf=kept))


@formats
@pytest.mark.rfc("N-L13", "R-7.3-04", "R-7.2-08")
def test_a_leaf_that_cannot_do_what_others_need_is_refused(private: bool) -> None:
    world = World()
    scene = scene_of(capable_group(world, 3, extensions=(UNKNOWN_EXTENSION,)), world)
    alice, bob, carol = scene.groups
    scene.world.commit(alice, [intents.GroupContextExtensions((requirement((UNKNOWN_EXTENSION,)),))], bob, carol)
    scene = replace(scene, forger=Forger(scene.world, bob))
    for place in ("add", "proposed add", *OWN):
        message = brought(scene, place, private=private, **without(scene, extensions=()))
        assert_refused(scene.receivers, message, InvalidLeafNode, "R-7.3-04", UNSUPPORTED)
    x509_only = without(scene, credentials=(CredentialType.X509,))
    for place in ("add", *OWN):
        # It does not even support its own.
        message = brought(scene, place, private=private, **x509_only)
        assert_refused(scene.receivers, message, InvalidLeafNode, "R-7.2-08", UNSUPPORTED)
    for group in scene.receivers:
        group.receive(brought(scene, "update", private=private))


@pytest.mark.rfc("B07", "R-12.2-16", "R-12.1.7-04")
def test_who_is_removed_need_not_support_what_follows() -> None:
    # Types of proposals go by the same rule as extensions: those count who are there after the commit.
    world = World()
    groups = capable_group(world, 2, extensions=(UNKNOWN_EXTENSION,))
    plain = world.client("plain")
    (incapable,) = world.add(groups[0], plain, others=groups[1:])
    forger = Forger(world, groups[0])
    uses = GroupContextExtensions((Extension(UNKNOWN_EXTENSION, b""), requirement((UNKNOWN_EXTENSION,))))
    stays = forger.commit(uses, path=forger.path())
    assert_refused(groups[1], stays, InvalidLeafNode, "R-7.3-04", UNSUPPORTED)
    message = forger.honest(Remove(LeafIndex(2)), uses)
    for group in (groups[1], incapable):
        group.merge(staged(group, message))
    assert incapable.is_retired
    assert [each.extension_type for each in groups[1]._standing.state.group.extensions] == [
        UNKNOWN_EXTENSION,
        ExtensionType.REQUIRED_CAPABILITIES,
    ]


@formats
@pytest.mark.rfc("P02", "N-L11", "R-7.3-03")
def test_a_leaf_of_a_commit_does_not_move(private: bool) -> None:
    # A leaf that its owner signed for its own place, replayed by another member in another one.
    scene = new_scene()
    alice, _, carol = scene.groups
    theirs = Forger(scene.world, alice)
    for leaf in (theirs.path().leaf_node, theirs.leaf_node(UPDATE)):
        path = replace(scene.forger.path(), leaf_node=leaf)
        message = scene.forger.commit(path=path, private=private)
        wrong_source = (InvalidLeafNode, "R-12.4.2-09", Code.BAD_LEAF)
        assert_refused(carol, message, *(UNSIGNED if isinstance(leaf.source, CommitSource) else wrong_source))
    moved = scene.forger.framed(ProposalContent(Update(theirs.leaf_node(UPDATE))))
    wire_format = PRIVATE if private else PUBLIC
    signed = scene.forger.signed(moved, wire_format)
    sent = scene.forger.private(signed) if private else scene.forger.public(signed)
    assert_refused(carol, sent, *UNSIGNED)
