"""RFC 9420 §9 and §15.3: the secret tree, its ratchets, what is deleted when, and the limits on what is kept."""

from __future__ import annotations

import random
from functools import partial

import pytest

from mls.errors import Code, InvalidCiphertext, UsageError
from mls.messages import ContentType
from mls.schedule.key_schedule import EncryptionSecret
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits, StagedKey
from tests.support.live import reachable, reachable_bytes, stray_secrets
from tests.support.naive_schedule import expand_with_label, leaf_keys, leaf_secrets, ratchet_keys
from tests.support.secret_trees import (
    APPLICATION,
    COMMIT,
    KEYS,
    LAST,
    PROPOSAL,
    ROOT,
    SUITE,
    A,
    B,
    C,
    D,
    consume,
    new_tree,
    refusal,
    restored,
    with_head_at,
)
from treekem.index import LeafIndex
from treekem.secrets import Secret

# §9


@pytest.mark.rfc("R-9-01", "R-9-02", "R-9.1-02", "R-9.1-03", "R-9.1-06")
def test_keys_are_those_of_a_full_derivation_in_any_order_of_leaves() -> None:
    for order in ((A, B, C, D), (D, C, B, A), (C, A, D, B)):
        tree = new_tree()
        for leaf in order:
            for generation in (0, 1, 7):
                assert consume(tree, leaf, APPLICATION, generation) == KEYS[leaf, "application", generation]
                assert consume(tree, leaf, COMMIT, generation) == KEYS[leaf, "handshake", generation]


def test_a_tree_of_one_leaf_is_its_root() -> None:
    tree = new_tree(n_leaves=1)
    assert consume(tree, A, APPLICATION, 3) == leaf_keys(ROOT, 4)["application", 3]
    assert set(tree.records()) == {"ratchet/0/application", "ratchet/0/handshake"}


@pytest.mark.rfc("R-9-03")
def test_the_tree_has_full_width_and_leaves_lie_inside() -> None:
    for n_leaves in (1, 2, 8, 1 << 20):
        assert new_tree(n_leaves=n_leaves).next_generation(LeafIndex(n_leaves - 1), COMMIT) == 0
    for n_leaves in (-4, 0, 3, 6):
        assert refusal(new_tree, None, n_leaves, error=UsageError)[0] == "R-9-03"
    for leaf in (-1, 4, LAST):
        assert refusal(new_tree().stage, LeafIndex(leaf), COMMIT, 0, error=UsageError)[0] == "R-9-03"


# §9.1


@pytest.mark.rfc("R-9.1-04")
def test_proposals_and_commits_share_a_ratchet_that_application_data_does_not() -> None:
    tree = new_tree()
    assert consume(tree, A, PROPOSAL, 0) == KEYS[0, "handshake", 0]
    assert consume(tree, A, COMMIT, 1) == KEYS[0, "handshake", 1]
    assert refusal(tree.stage, A, COMMIT, 0)[1] == Code.KEY_CONSUMED
    assert consume(tree, A, APPLICATION, 0) == KEYS[0, "application", 0]
    assert tree.next_generation(A, PROPOSAL) == tree.next_generation(A, COMMIT) == 2
    assert tree.next_generation(A, APPLICATION) == 1


@pytest.mark.rfc("R-9.1-01")
def test_no_pair_of_key_and_nonce_is_staged_for_two_sent_messages() -> None:
    tree = new_tree()
    pairs = set()
    for _ in range(10):
        for kind in ContentType:
            staged = tree.stage_next(B, kind)
            pairs.add((staged.key.expose(), staged.nonce))
            tree.apply(staged)
    assert len(pairs) == 30


@pytest.mark.rfc("R-9.1-01")
def test_of_two_keys_staged_for_sending_only_one_can_be_spent() -> None:
    tree = new_tree()
    first, second = tree.stage_next(A, APPLICATION), tree.stage_next(A, APPLICATION)
    assert first.generation == second.generation == 0
    tree.apply(first)
    assert second.key.is_wiped
    assert refusal(tree.apply, second)[1] == Code.KEY_CONSUMED
    assert tree.stage_next(A, APPLICATION).generation == 1


@pytest.mark.rfc("R-9.1-01", "R-9.2-01")
def test_a_spent_generation_stays_spent_though_its_ciphertext_is_dropped() -> None:
    tree = new_tree()
    store: dict[str, bytes | None] = dict(tree.records())
    staged = tree.stage_next(A, COMMIT)
    store.update(staged.records)
    later = SecretTree.restore(SUITE, 4, {key: data for key, data in store.items() if data is not None})
    assert later.stage_next(A, COMMIT).generation == 1
    assert refusal(later.stage, A, COMMIT, 0)[1] == Code.KEY_CONSUMED


@pytest.mark.rfc("R-9.1-05", "N-M03")
def test_a_ratchet_ends_with_the_last_generation_of_a_uint32() -> None:
    tree = with_head_at(LAST)
    staged = tree.stage_next(A, APPLICATION)
    assert staged.generation == LAST
    tree.apply(staged)
    for each in (tree, restored(tree)):
        assert refusal(each.stage_next, A, APPLICATION, error=UsageError) == ("R-9.1-05", Code.MUST_REKEY)
        assert refusal(each.stage, A, APPLICATION, LAST)[1] == Code.KEY_CONSUMED
        assert each.stage_next(A, COMMIT).generation == 1
    for generation in (-1, LAST + 1):
        assert refusal(tree.stage, A, COMMIT, generation, error=UsageError)[0] == "R-9.1-05"


# §9.2


@pytest.mark.rfc("R-9.2-02")
def test_the_encryption_secret_lives_in_the_tree_alone() -> None:
    secret = EncryptionSecret(ROOT)
    SecretTree(SUITE, 4, secret)
    assert secret.is_wiped


@pytest.mark.rfc("R-9.2-01", "R-9.2-03", "R-9.2-04")
def test_the_worked_example_of_section_9_2() -> None:
    # Leaves A, B, C, D; parents E over A and B, F over C and D, G on top. D's first message has generation 1.
    g = ROOT
    e, f = (expand_with_label("sha256", g, b"tree", side, 32) for side in (b"left", b"right"))
    c, d = (expand_with_label("sha256", f, b"tree", side, 32) for side in (b"left", b"right"))
    hr0, ar0 = (expand_with_label("sha256", d, kind, b"", 32) for kind in (b"handshake", b"application"))
    ar1 = expand_with_label("sha256", ar0, b"secret", bytes(4), 32)
    ar2 = expand_with_label("sha256", ar1, b"secret", bytes((0, 0, 0, 1)), 32)
    (k0, n0), (k1, n1) = (KEYS[3, "application", generation] for generation in (0, 1))

    tree = new_tree()
    assert consume(tree, D, APPLICATION, 1) == (k1, n1)
    held = reachable_bytes(tree)
    assert held.isdisjoint({g, f, d, ar0, ar1, k1, n1})
    assert held >= {e, c, hr0, ar2, k0, n0}

    records = tree.records()
    assert set(records) == {"node/1", "node/4", "ratchet/3/handshake", "ratchet/3/application"}
    stored = b"".join(records.values())
    assert not any(gone in stored for gone in (g, f, d, ar0, ar1, k1, n1))
    assert all(kept in stored for kept in (e, c, hr0, ar2, k0, n0))


@pytest.mark.parametrize(
    ("order", "nodes"),
    [
        ((0,), {2, 5, 11}),
        ((7,), {3, 9, 12}),
        ((0, 1), {5, 11}),
        ((0, 7), {2, 5, 9, 12}),
        ((3, 4, 2), {1, 10, 13}),
        ((0, 1, 2, 3), {11}),
        (tuple(range(8)), set()),
    ],
)
@pytest.mark.rfc("R-9.2-03")
def test_a_leaf_takes_its_whole_path_with_it(order: tuple[int, ...], nodes: set[int]) -> None:
    tree = new_tree(n_leaves=8)
    for leaf in order:
        consume(tree, LeafIndex(leaf), APPLICATION, 0)
    assert {key for key in tree.records() if key.startswith("node/")} == {f"node/{x}" for x in nodes}


@pytest.mark.rfc("R-9.2-01", "R-9.2-04", "N-M10", "B44")
def test_no_live_object_and_no_record_derives_a_consumed_key() -> None:
    chance = random.Random(9)
    tree = new_tree()
    unconsumed = {place: pair for place, pair in KEYS.items() if place[2] < 8}
    bystanders: list[StagedKey] = []
    for _ in range(40):
        leaf, kind, generation = chance.choice(sorted(unconsumed))
        content_type = APPLICATION if kind == "application" else COMMIT
        staged = tree.stage(LeafIndex(leaf), content_type, generation)
        assert staged.records
        if chance.random() < 0.3:
            bystanders.append(staged)
            continue
        tree.apply(staged)
        del unconsumed[leaf, kind, generation]
        assert derivable_keys(reachable_bytes(tree, bystanders, staged), 8) == {key for key, _ in unconsumed.values()}
        assert derivable_keys(reachable_bytes(restored(tree)), 8) == {key for key, _ in unconsumed.values()}


def derivable_keys(held: set[bytes], n_generations: int) -> set[bytes]:
    """Return the known message keys that byte strings are, or derive when taken for node or ratchet secrets."""
    candidates = {thing for thing in held if len(thing) == 32}
    leaves = {leaf for secret in candidates for n_leaves in (1, 2, 4) for leaf in leaf_secrets(secret, n_leaves)}
    found = {key for leaf in leaves for key, _ in leaf_keys(leaf, n_generations).values()}
    for first in range(n_generations):
        found |= {key for secret in candidates for key, _ in ratchet_keys(secret, range(first, n_generations)).values()}
    known = {pair[0] for place, pair in KEYS.items() if place[2] < n_generations}
    return known & (found | held)


@pytest.mark.rfc("R-9.2-09", "B40")
def test_what_is_deleted_is_overwritten() -> None:
    tree = new_tree()
    consume(tree, D, APPLICATION, 2)
    before = [thing for thing in reachable(tree) if isinstance(thing, Secret)]
    staged = tree.stage(C, APPLICATION, 1)
    tree.apply(staged)
    consume(tree, D, APPLICATION, 0)
    consume(tree, D, APPLICATION, 4)
    after = {id(thing) for thing in reachable(tree) if isinstance(thing, Secret)}
    gone = [secret for secret in before if id(secret) not in after]
    # C's node, D's skipped key 0 and D's ratchet secret.
    assert len(gone) == 3
    assert all(secret.is_wiped for secret in gone)
    assert staged.key.is_wiped
    assert not any(secret.is_wiped for secret in reachable(tree) if isinstance(secret, Secret))


@pytest.mark.rfc("R-9.2-09")
def test_what_is_derived_on_the_way_is_overwritten() -> None:
    tree = new_tree()
    tree.apply(tree.stage(D, APPLICATION, 3))
    ending = with_head_at(LAST)
    skipped, ahead, split, both = (D, APPLICATION, 1), (D, APPLICATION, 7), (B, COMMIT, 0), (A, COMMIT, 4)
    last = (A, APPLICATION, LAST)
    for each, place in ((tree, skipped), (tree, ahead), (tree, split), (tree, both), (ending, last)):
        staged = each.stage(*place)
        assert stray_secrets(partial(each.stage, *place), each) == []
        assert stray_secrets(partial(each.records_after, staged), each) == []
        assert stray_secrets(partial(each.apply, staged), each) == []


@pytest.mark.rfc("R-9.2-05")
def test_a_caller_may_wipe_a_key_that_did_not_fit() -> None:
    tree = new_tree()
    consume(tree, A, APPLICATION, 1)
    for generation in (0, 2):
        tree.stage(A, APPLICATION, generation).key.wipe()
        assert consume(tree, A, APPLICATION, generation) == KEYS[0, "application", generation]


@pytest.mark.rfc("R-9.2-05", "R-6.3.2-07")
def test_staging_changes_nothing() -> None:
    tree = new_tree()
    consume(tree, D, APPLICATION, 3)
    before = tree.records(), tree.fingerprint()
    for leaf in (A, B, C, D):
        for kind in ContentType:
            assert tree.stage(leaf, kind, 9).records
            tree.stage_next(leaf, kind)
    assert tree.stage(D, APPLICATION, 1).records
    assert (tree.records(), tree.fingerprint()) == before


@pytest.mark.parametrize("generation", [0, 2, 5], ids=["skipped", "next", "ahead"])
@pytest.mark.rfc("R-9.2-05", "N-M01a")
def test_a_forged_message_leaves_the_genuine_one_its_key(generation: int) -> None:
    sender, receiver = new_tree(), new_tree()
    consume(receiver, A, APPLICATION, 1)
    key = sender.stage(A, APPLICATION, generation)
    genuine = SUITE.aead_seal(key.key, key.nonce, b"aad", b"hello")
    forgeries = (genuine[:-1] + bytes((genuine[-1] ^ 1,)), genuine[:-1], bytes(len(genuine)))
    for forgery in forgeries:
        staged = receiver.stage(A, APPLICATION, generation)
        with pytest.raises(InvalidCiphertext):
            SUITE.aead_open(staged.key, staged.nonce, b"aad", forgery)

    staged = receiver.stage(A, APPLICATION, generation)
    assert SUITE.aead_open(staged.key, staged.nonce, b"aad", genuine) == b"hello"
    receiver.apply(staged)
    assert refusal(receiver.stage, A, APPLICATION, generation) == ("R-9.2-08", Code.KEY_CONSUMED)


@pytest.mark.rfc("R-9.2-08", "R-15.3-04", "N-M02", "B26")
def test_a_duplicate_is_refused_and_costs_nothing() -> None:
    tree = new_tree()
    consume(tree, A, APPLICATION, 0)
    for each in (tree, restored(tree)):
        assert refusal(each.stage, A, APPLICATION, 0) == ("R-9.2-08", Code.KEY_CONSUMED)
        assert consume(each, A, APPLICATION, 1) == KEYS[0, "application", 1]


@pytest.mark.rfc("R-9.2-08")
def test_a_key_is_applied_once() -> None:
    tree = new_tree()
    staged = tree.stage(A, APPLICATION, 0)
    tree.apply(staged)
    before = tree.records()
    assert refusal(tree.apply, staged)[1] == Code.KEY_CONSUMED
    assert refusal(lambda: staged.records)[1] == Code.KEY_CONSUMED
    assert tree.records() == before


# Keys staged before others are applied: a staged commit waits while messages arrive.


@pytest.mark.parametrize(
    "meanwhile",
    [(D, COMMIT, 0), (D, COMMIT, 1), (D, COMMIT, 6), (D, APPLICATION, 4), (C, COMMIT, 0), (A, APPLICATION, 3)],
)
@pytest.mark.rfc("R-9.2-03", "R-9.2-04", "R-9.2-06")
def test_a_key_staged_early_is_applied_to_the_tree_as_it_then_stands(
    meanwhile: tuple[LeafIndex, ContentType, int],
) -> None:
    tree, plain = new_tree(), new_tree()
    staged = tree.stage(D, COMMIT, 3)
    early = staged.records
    consume(tree, *meanwhile)
    consume(plain, *meanwhile)
    late = staged.records
    store: dict[str, bytes | None] = dict(tree.records())
    tree.apply(staged)
    consume(plain, D, COMMIT, 3)

    assert tree.records() == plain.records()
    assert tree.fingerprint() == plain.fingerprint()
    assert {key: data for key, data in (store | late).items() if data is not None} == tree.records()
    assert early


def test_a_key_of_another_tree_is_refused() -> None:
    tree, other = new_tree(), new_tree()
    staged = other.stage(A, APPLICATION, 0)
    assert refusal(tree.apply, staged, error=UsageError)[1] == Code.STALE_HANDLE
    other.apply(staged)
    assert tree.next_generation(A, APPLICATION) == 0


def test_a_wiped_tree_gives_nothing() -> None:
    tree = new_tree()
    consume(tree, A, APPLICATION, 2)
    staged = tree.stage(B, APPLICATION, 2)
    assert staged.records
    held = [thing for thing in reachable(tree, staged) if isinstance(thing, Secret)]
    tree.wipe()
    assert all(secret.is_wiped for secret in held)
    assert tree.records() == {}
    assert refusal(tree.stage, A, APPLICATION, 3, error=UsageError)[1] == Code.STALE_HANDLE
    assert refusal(tree.apply, staged, error=UsageError)[1] == Code.STALE_HANDLE


# The fingerprint


def test_a_ratchet_that_was_merely_derived_is_as_good_as_none() -> None:
    one, other = new_tree(), SecretTree(SUITE, 4, EncryptionSecret(bytes(32)))
    assert one.fingerprint() == other.fingerprint()
    consume(one, A, APPLICATION, 1)
    assert one.fingerprint() != other.fingerprint()
    consume(other, A, APPLICATION, 1)
    assert one.fingerprint() == other.fingerprint() == restored(one).fingerprint()
    one.stage(B, COMMIT, 0)
    assert one.fingerprint() == other.fingerprint()

    derived = with_head_at(0, COMMIT)
    assert len(derived.records()) > len(new_tree().records())
    assert derived.fingerprint() == new_tree().fingerprint()


def test_the_fingerprint_tells_what_is_consumed() -> None:
    seen = set()
    tree = new_tree(SecretTreeLimits(max_skipped=2))
    steps = (
        (A, APPLICATION, 2),
        (A, APPLICATION, 1),
        (A, APPLICATION, 0),
        (A, COMMIT, 0),
        (B, COMMIT, 0),
        (B, COMMIT, 9),
    )
    for leaf, kind, generation in steps:
        seen.add(tree.fingerprint())
        consume(tree, leaf, kind, generation)
    assert len(seen | {tree.fingerprint()}) == len(steps) + 1
