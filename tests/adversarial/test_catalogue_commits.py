"""The catalogue of hostile commits, rows N-X: each is sent in the clear and encrypted, well signed and tagged.

What fails only once the tags are checked carries good ones; everything else a wrong confirmation tag, so that the rule
in question refuses and not the tag. Rows 02 and 09 stand in tests/rfc9420 as well, by their clauses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from mls import Group, Settings, intents
from mls.crypto import SUITES
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidCommit,
    InvalidFraming,
    InvalidLeafNode,
    InvalidPath,
    InvalidProposalList,
    InvalidTag,
    MalformedMessage,
    MLSError,
    WrongEpoch,
)
from mls.identity import AcceptAnyone
from mls.messages import Commit, CommitSource, ExternalInit, MemberSender, Proposal, Remove
from mls.observer import PublicGroup
from tests.adversarial.insider import PRIVATE, PUBLIC, Envelope, assert_refused
from tests.support.crafting import Forger, with_ciphertext, with_node
from tests.support.scenes import NO_EXTENSIONS, Scene, staged
from tests.support.tree_group import TreeGroup
from tests.support.world import NOW, World
from treekem.index import LeafIndex
from treekem.nodes import UpdatePath

formats = pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
suites = pytest.mark.parametrize("suite", sorted(SUITES))
BUILD = Callable[[Scene, bool], bytes]


def scene_of(suite: int = 1, n: int = 4, **settings: bool) -> Scene:
    world = World(suite, **settings)
    groups = world.group(n)
    return Scene(world, groups, Forger(world, groups[1]))


@dataclass(frozen=True)
class Refusal:
    """What a hostile commit ends in."""

    error: type[MLSError]
    rule: str
    code: str


PATH_REQUIRED = Refusal(InvalidCommit, "R-12.4-08", Code.PATH_REQUIRED)
BAD_COUNT = Refusal(InvalidPath, "R-7.6-02", Code.BAD_PATH)
BAD_RECIPIENTS = Refusal(InvalidPath, "R-7.6-03", Code.BAD_PATH)
KNOWN_KEY = Refusal(InvalidPath, "R-12.4.2-11", Code.DUPLICATE_KEY)
REPEATED_KEY = Refusal(InvalidPath, "R-12.4.2-12", Code.DUPLICATE_KEY)
UNBOUND = Refusal(InvalidPath, "R-7.5-08", Code.PARENT_HASH_MISMATCH)
BAD_LIST = Code.BAD_PROPOSAL_LIST


def pathless(*proposals: Proposal) -> BUILD:
    return lambda scene, private: scene.forger.commit(*proposals, private=private)


def with_path(change: Callable[[Forger, UpdatePath], UpdatePath], *proposals: Proposal) -> BUILD:
    """Return a builder of a commit whose path is changed."""
    return lambda scene, private: scene.forger.commit(
        *proposals, path=change(scene.forger, scene.forger.path(*proposals)), private=private
    )


def with_nodes(change: Callable[[UpdatePath], Sequence[object]]) -> BUILD:
    return with_path(lambda _, path: replace(path, nodes=tuple(change(path))))  # type: ignore[arg-type]  # its own nodes


def with_recipients(change: Callable[[Sequence[object]], Sequence[object]]) -> BUILD:
    """Return a builder of a commit whose topmost node is sealed to others."""

    def changed(_: Forger, path: UpdatePath) -> UpdatePath:
        sealed = path.nodes[-1].encrypted_path_secret
        return with_node(path, len(path.nodes) - 1, encrypted_path_secret=tuple(change(sealed)))

    return with_path(changed)


def with_key(key: Callable[[Forger, UpdatePath], bytes], place: int = 0) -> BUILD:
    return with_path(lambda forger, path: with_node(path, place, encryption_key=key(forger, path)))


def with_leaf_key(key: Callable[[Forger], bytes]) -> BUILD:
    return lambda scene, private: scene.forger.commit(
        path=scene.forger.path(encryption_key=key(scene.forger)), private=private
    )


def with_parent_hash(parent_hash: bytes) -> BUILD:
    return lambda scene, private: scene.forger.commit(
        path=scene.forger.path(source=CommitSource(parent_hash)), private=private
    )


def old_leaf_key(forger: Forger, *_: object) -> bytes:
    return forger.own_leaf().encryption_key


def old_parent_key(forger: Forger, *_: object) -> bytes:
    return next(node.encryption_key for _, node in forger.state.group.tree.parents())


def other_leaf_key(forger: Forger, *_: object) -> bytes:
    slot = forger.state.group.tree.leaf(LeafIndex(3))
    assert slot is not None
    return slot.encryption_key


def add_of(scene: Scene, private: bool) -> bytes:
    """Seal to who is added by the same commit, who learns the secret from the Welcome."""
    add = scene.add()
    path = scene.forger.path(add)
    top = with_node(path, 2, encrypted_path_secret=path.nodes[0].encrypted_path_secret)
    return scene.forger.commit(add, path=top, private=private)


CASES: list[tuple[str, str, BUILD, Refusal]] = [
    ("N-X01", "nothing", pathless(), PATH_REQUIRED),
    ("N-X02", "remove", pathless(Remove(LeafIndex(3))), PATH_REQUIRED),
    ("N-X02", "extensions", pathless(NO_EXTENSIONS), PATH_REQUIRED),
    # An ExternalInit needs a path too, but in a member's commit it is refused for being there at all.
    ("N-X02", "init", pathless(ExternalInit(bytes(32))), Refusal(InvalidProposalList, "R-12.2-13", BAD_LIST)),
    ("N-X03", "no nodes", with_nodes(lambda _: ()), BAD_COUNT),
    ("N-X03", "too short", with_nodes(lambda path: path.nodes[:-1]), BAD_COUNT),
    ("N-X03", "too long", with_nodes(lambda path: (*path.nodes, path.nodes[-1])), BAD_COUNT),
    ("N-X04", "nobody", with_recipients(lambda _: ()), BAD_RECIPIENTS),
    ("N-X04", "one less", with_recipients(lambda sealed: sealed[:-1]), BAD_RECIPIENTS),
    ("N-X04", "one more", with_recipients(lambda sealed: (*sealed, sealed[0])), BAD_RECIPIENTS),
    ("N-X04", "who is added", add_of, BAD_RECIPIENTS),
    ("N-X05", "a parent's", with_key(old_parent_key), KNOWN_KEY),
    ("N-X05", "a leaf's", with_key(other_leaf_key, 1), KNOWN_KEY),
    ("N-X05", "the old leaf's", with_key(old_leaf_key), KNOWN_KEY),
    ("N-X05", "repeated", with_key(lambda _, path: path.nodes[1].encryption_key), REPEATED_KEY),
    ("N-X05", "the new leaf's", with_key(lambda _, path: path.leaf_node.encryption_key, 1), REPEATED_KEY),
    ("N-X05", "kept", with_leaf_key(old_leaf_key), Refusal(InvalidLeafNode, "R-12.4.2-10", Code.BAD_LEAF)),
    ("N-X05", "of a parent, at the leaf", with_leaf_key(old_parent_key), KNOWN_KEY),
    ("N-X06", "empty", with_parent_hash(b""), UNBOUND),
    ("N-X06", "wrong", with_parent_hash(bytes(32)), UNBOUND),
    ("N-X06", "long", with_parent_hash(bytes(255)), UNBOUND),
    ("N-X10", "itself", pathless(Remove(LeafIndex(1))), Refusal(InvalidProposalList, "R-12.2-04", BAD_LIST)),
]


@pytest.mark.rfc("P01")
@formats
@pytest.mark.parametrize(
    ("build", "refused"),
    [
        pytest.param(build, refused, id=f"{row} {name}", marks=pytest.mark.rfc(row))
        for row, name, build, refused in CASES
    ],
)
def test_a_hostile_commit_is_refused(build: BUILD, refused: Refusal, private: bool) -> None:
    scene = scene_of()
    error = assert_refused(scene.receivers, build(scene, private), refused.error, refused.rule, refused.code)
    assert error.authenticated
    # The insider can do better, and so could everybody throughout.
    message = scene.forger.group.commit().message if private else scene.forger.honest()
    for group in scene.receivers:
        group.merge(staged(group, message))
    scene.world.agree(*scene.receivers)


@suites
@pytest.mark.rfc("N-X05", "R-12.4.2-11")
def test_a_key_of_the_tree_is_refused_under_every_suite(suite: int) -> None:
    scene = scene_of(suite)
    for build in (with_key(old_leaf_key), with_key(other_leaf_key, 1)):
        assert_refused(scene.receivers, build(scene, suite % 2 == 0), KNOWN_KEY.error, KNOWN_KEY.rule, KNOWN_KEY.code)


@pytest.mark.rfc("N-X06", "R-7.9-02")
def test_a_parent_hash_where_there_is_no_parent_is_refused() -> None:
    # A sole member's path is empty. Nobody else is left in the group, but someone may follow it from outside.
    world = World()
    groups = world.group(2)
    observer = PublicGroup.follow(groups[0].group_info(), policy=AcceptAnyone(), settings=Settings(), clock=lambda: NOW)
    forger, remove = Forger(world, groups[0]), Remove(LeafIndex(1))
    before = observer.group_context
    crooked = forger.commit(remove, path=forger.path(remove, source=CommitSource(bytes(32))))
    with pytest.raises(InvalidPath) as caught:
        observer.receive(crooked)
    assert (caught.value.rule, caught.value.code) == ("R-7.5-08", Code.PARENT_HASH_MISMATCH)
    assert observer.group_context == before
    observer.receive(forger.honest(remove))


# Tags, senders and epochs.


@suites
@pytest.mark.rfc("N-X07", "R-6.1-15")
def test_a_commit_without_its_confirmation_is_refused(suite: int) -> None:
    scene = scene_of(suite, 2)
    forger, alice = scene.forger, scene.groups[0]
    content = forger.read(forger.honest())
    true = content.auth.confirmation_tag or b""
    for tag in (b"", true[:-1], true + b"\0", bytes(len(true)), bytes([true[0] ^ 1]) + true[1:]):
        forged = replace(content, auth=replace(content.auth, confirmation_tag=tag))
        assert_refused(alice, forger.public(forged), InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    alice.merge(staged(alice, forger.public(content)))


@pytest.mark.rfc("N-X08", "R-6.3.1-03")
def test_a_membership_tag_within_a_private_message_is_refused() -> None:
    # The tag would stand where padding does, which is all zero.
    scene = scene_of()
    forger = scene.forger
    signed = forger.signed(forger.framed(Commit((), forger.path())), PRIVATE, tag=bytes(32))
    message = forger.private(signed, Envelope(padding=b"\x20" + b"t" * 32))
    assert_refused(scene.receivers, message, MalformedMessage, "R-6.3.1-03", Code.NON_ZERO_PADDING)


@formats
@pytest.mark.rfc("N-X10", "R-6.1-07", "R-6.3.2-06")
def test_a_commit_of_nobody_is_refused(private: bool) -> None:
    scene = scene_of()
    scene.world.commit(scene.groups[0], [intents.Remove(2)], *scene.groups[1:])
    forger, receivers = scene.by(1), [scene.groups[0], scene.groups[3]]
    commit = Commit((), forger.path())
    for leaf in (2, 4, 2**24, 2**31, 2**32 - 1):
        framed = forger.framed(commit, sender=MemberSender(LeafIndex(leaf)))
        signed = forger.signed(framed, PRIVATE if private else PUBLIC)
        message = forger.private(signed, Envelope(leaf=leaf, ratchet_of=1)) if private else forger.public(signed)
        rule = "R-6.3.2-06" if private else "R-6.1-07"
        assert_refused(receivers, message, InvalidFraming, rule, Code.UNVERIFIED)


@formats
@pytest.mark.rfc("N-X16", "R-14-02", "R-6-11")
def test_of_two_commits_of_an_epoch_the_second_is_refused(private: bool) -> None:
    # The RFC leaves to the delivery service which is the first; evidence of a fork is no part of it.
    scene = scene_of(private_handshakes=private)
    alice, bob, carol, dave = scene.groups
    first, second = bob.commit(), carol.commit()
    scene.world.deliver(first.message, alice, dave)
    assert_refused([alice, dave], second.message, WrongEpoch, "R-6-11", Code.WRONG_EPOCH)
    bob.merge(first)
    scene.world.deliver(first.message, carol)
    scene.world.agree(*scene.groups)


# Secrets that lead nowhere. The committer has signed for them, and is named.


def assert_misled(victims: Sequence[Group], message: bytes, refused: Refusal) -> None:
    error = assert_refused(victims, message, refused.error, refused.rule, refused.code)
    assert (error.leaf, error.authenticated) == (1, True)


MISMATCH = Refusal(InvalidPath, "R-7.5-14", Code.PATH_SECRET_MISMATCH)
WRONG_LENGTH = Refusal(InvalidPath, "R-7.6-06", Code.PATH_SECRET_MISMATCH)
UNREADABLE = Refusal(InvalidCiphertext, "R-5.1.3-03", Code.AEAD_FAILED)


def replacing(position: int, key: bytes) -> Callable[[tuple[bytes, ...]], tuple[bytes, ...]]:
    return lambda keys: (*keys[:position], key, *keys[position + 1 :])


@suites
@pytest.mark.rfc("N-X12", "N-X13", "N-X14", "R-7.5-14", "R-7.6-06")
def test_a_secret_that_leads_nowhere_is_refused(suite: int) -> None:
    scene = scene_of(suite)
    forger, carol = scene.forger, scene.groups[2]
    private = suite % 2 == 0
    path = forger.path()
    length = forger.suite.hash_length
    # One subtree is told another secret; who is not in it cannot see that, and sees a commit without a good tag.
    for secret, refused in ((bytes(length), MISMATCH), (bytes(length - 1), WRONG_LENGTH), (b"", WRONG_LENGTH)):
        message = forger.commit(path=forger.resealed(path, 1, 0, secret), private=private)
        assert_misled([carol], message, refused)
        assert_refused(scene.groups[3], message, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    # A good secret below a public key that is another's.
    stray = forger.suite.generate_key_pair(forger.env.entropy).public
    for node, victims in ((0, scene.groups[:1]), (1, scene.receivers)):
        message = forger.commit(path=forger.crooked_path(replacing(node, stray)), private=private)
        assert_misled(victims, message, MISMATCH)
    sealed = path.nodes[1].encrypted_path_secret[0]
    flipped = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
    for garbage in (flipped, b"", sealed.ciphertext[:15], bytes(len(sealed.ciphertext))):
        other = with_ciphertext(path, 1, 0, replace(sealed, ciphertext=garbage))
        assert_misled([carol], forger.commit(path=other, private=private), UNREADABLE)


@formats
@pytest.mark.rfc("N-X15", "R-16.12-01", "R-16.12-02")
def test_one_of_many_recipients_is_misled(private: bool) -> None:
    # The right half is blank but for its leaves, so that each gets a ciphertext of its own; one is wrong.
    scene = scene_of(n=8)
    scene.world.commit(scene.groups[0], [intents.Remove(6)], *scene.groups[1:])
    forger = scene.by(1)
    path = forger.path()
    assert [len(node.encrypted_path_secret) for node in path.nodes] == [1, 2, 3]
    misled = forger.resealed(path, 2, 1, bytes(32))
    victim, others = scene.groups[5], [group for group in scene.groups if group.me.leaf not in (1, 5, 6)]
    message = forger.commit(path=misled, private=private)
    assert_misled([victim], message, MISMATCH)
    for group in others:
        # Everyone else gets as far as the tag, which the insider could have made a good one.
        assert_refused(group, message, InvalidTag, "R-6.1-15", Code.BAD_CONFIRMATION_TAG)
    fine = forger.honest()
    for group in (victim, *others):
        group.merge(staged(group, fine))
    scene.world.agree(victim, *others)


@pytest.mark.rfc("N-X17", "P08", "R-7.5-05")
def test_a_path_over_many_who_were_only_added_costs_one_ciphertext_each_and_once() -> None:
    # How many may be unmerged is the application's to say: the RFC sets no bound. What counts is that the cost ends.
    group = TreeGroup(b"only added")
    for _ in range(200):
        group.add()
        group.partial_commit()
    first = group.commit(LeafIndex(0))
    assert sum(len(node.encrypted_path_secret) for node in first.path.nodes) == 200
    for leaf in range(201):
        if leaf % 8 == 0:
            group.commit(LeafIndex(leaf))
    later = group.commit(LeafIndex(0))
    assert sum(len(node.encrypted_path_secret) for node in later.path.nodes) < 50
