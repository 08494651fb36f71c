"""RFC 9420 §15.3: delayed and reordered messages, within limits."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType

import cbor2
import pytest

from mls.errors import Code
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits, StagedKey
from mls.schedule.secret_tree_records import RatchetKind
from tests.support.live import reachable
from tests.support.secret_trees import (
    APPLICATION,
    COMMIT,
    KEYS,
    LAST,
    SUITE,
    A,
    B,
    C,
    D,
    consume,
    new_tree,
    refusal,
    with_head_at,
)
from treekem.index import LeafIndex
from treekem.secrets import Secret


@pytest.mark.parametrize(("head", "generation"), [(0, 1001), (0, LAST), (10, 1011), (10, LAST), (LAST - 1001, LAST)])
@pytest.mark.rfc("R-15.3-03")
def test_a_generation_too_far_ahead_is_refused_before_anything_is_derived(head: int, generation: int) -> None:
    for tree in [with_head_at(head)] + [new_tree()] * (head == 0):
        before = tree.records()
        refused, derivations = counting_derivations(refusal, tree.stage, A, APPLICATION, generation)
        assert refused == ("R-15.3-03", Code.TOO_FAR_FUTURE)
        assert derivations == 0
        assert tree.records() == before


@pytest.mark.parametrize("head", [0, 10, LAST - 1000])
@pytest.mark.rfc("R-15.3-03")
def test_a_generation_as_far_ahead_as_allowed_is_staged(head: int) -> None:
    tree = with_head_at(head)
    assert consume(tree, A, APPLICATION, head + 1000) != consume(tree, A, APPLICATION, head + 999)
    assert tree.next_generation(A, APPLICATION) == head + 1001


def counting_derivations(work: Callable[..., object], *arguments: object) -> tuple[object, int]:
    count = 0

    def observe(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_name == "expand_with_label"

    sys.setprofile(observe)
    try:
        result = work(*arguments)
    finally:
        sys.setprofile(None)
    return result, count


def test_derivations_are_counted_as_meant() -> None:
    tree = new_tree()
    staged, derivations = counting_derivations(tree.stage, A, APPLICATION, 0)
    assert isinstance(staged, StagedKey)
    assert derivations > 3


@pytest.mark.rfc("R-9.2-06", "R-15.3-01")
def test_messages_may_arrive_in_any_order() -> None:
    order = [5, 0, 3, 9, 1, 2, 8, 4, 7, 6]
    tree = new_tree()
    for generation in order:
        assert consume(tree, C, APPLICATION, generation) == KEYS[2, "application", generation]
    assert cbor2.loads(tree.records()["ratchet/2/application"])["skipped"] == b""


@pytest.mark.rfc("R-9.2-06", "R-15.3-02", "R-15.3-04")
def test_the_oldest_skipped_keys_of_a_ratchet_make_room() -> None:
    tree = new_tree(SecretTreeLimits(max_skipped=3))
    consume(tree, A, APPLICATION, 2)
    consume(tree, A, APPLICATION, 6)
    for each in (tree, SecretTree.restore(SUITE, 4, tree.records(), SecretTreeLimits(max_skipped=3))):
        for generation in (0, 1):
            assert refusal(each.stage, A, APPLICATION, generation) == ("R-15.3-04", Code.TOO_OLD)
        assert refusal(each.stage, A, APPLICATION, 6)[1] == Code.KEY_CONSUMED
        for generation in (4, 3, 5):
            assert consume(each, A, APPLICATION, generation) == KEYS[0, "application", generation]
            assert refusal(each.stage, A, APPLICATION, generation)[1] == Code.KEY_CONSUMED


@pytest.mark.rfc("R-15.3-02")
def test_with_no_room_every_skipped_key_is_lost() -> None:
    tree = new_tree(SecretTreeLimits(max_skipped=0))
    consume(tree, A, APPLICATION, 0)
    consume(tree, A, APPLICATION, 1)
    assert refusal(tree.stage, A, APPLICATION, 0)[1] == Code.KEY_CONSUMED
    consume(tree, A, APPLICATION, 4)
    assert refusal(tree.stage, A, APPLICATION, 3)[1] == Code.TOO_OLD
    assert refusal(tree.stage, A, APPLICATION, 4)[1] == Code.KEY_CONSUMED


# How old skipped keys may become.

NOON = 1_800_000_000
BRIEF = SecretTreeLimits(skipped_ttl=60)


def consume_at(tree: SecretTree, leaf: LeafIndex, generation: int, now: int) -> None:
    """Apply the key of a message that comes `now`."""
    tree.apply(tree.stage(leaf, APPLICATION, generation, now))


def skipped_in(records: Mapping[str, bytes | None], name: str) -> bytes:
    record = records[f"ratchet/{name}/application"]
    assert record is not None
    skipped = cbor2.loads(record)["skipped"]
    assert isinstance(skipped, bytes)
    return skipped


@pytest.mark.rfc("S-skipped_key_ttl", "R-15.3-02")
@pytest.mark.parametrize("restored", [False, True])
def test_a_skipped_key_is_used_for_a_while(restored: bool) -> None:
    tree = new_tree(BRIEF)
    consume_at(tree, A, 3, NOON)
    consume_at(tree, A, 6, NOON + 30)
    tree = SecretTree.restore(SUITE, 4, tree.records(), BRIEF) if restored else tree
    consume_at(tree, A, 0, NOON + 60)
    before = tree.records()
    refused, derivations = counting_derivations(refusal, tree.stage, A, APPLICATION, 1, NOON + 61)
    assert (refused, derivations) == (("S-skipped_key_ttl", Code.TOO_OLD), 0)
    assert tree.records() == before
    consume_at(tree, A, 4, NOON + 90)
    assert refusal(tree.stage, A, APPLICATION, 5, NOON + 91) == ("S-skipped_key_ttl", Code.TOO_OLD)
    # What is younger, consumed or ahead is judged as ever.
    assert refusal(tree.stage, A, APPLICATION, 3, NOON + 91)[1] == Code.KEY_CONSUMED
    consume_at(tree, A, 7, NOON + 91)


@pytest.mark.rfc("R-15.3-02", "R-15.3-04", "S-skipped_key_ttl")
def test_skipped_keys_of_all_senders_that_are_too_old_go_with_the_next_message() -> None:
    tree = new_tree(BRIEF)
    for leaf, now in ((A, NOON), (B, NOON + 50)):
        consume_at(tree, leaf, 2, now)
    old = [entry.key for entry in tree._ratchets[A, RatchetKind.APPLICATION].skipped.values()]
    assert len(old) == 2
    staged = tree.stage(C, APPLICATION, 0, NOON + 60)
    assert "ratchet/0/application" not in staged.records
    staged = tree.stage(C, APPLICATION, 0, NOON + 61)
    assert skipped_in(staged.records, "0") == b""
    assert "ratchet/1/application" not in staged.records
    assert not any(key.is_wiped for key in old)
    tree.apply(staged)
    assert all(key.is_wiped for key in old)
    assert tree.records() == SecretTree.restore(SUITE, 4, tree.records(), BRIEF).records()
    for generation in (0, 1):
        assert refusal(tree.stage, A, APPLICATION, generation, NOON + 61) == ("R-15.3-04", Code.TOO_OLD)
    consume_at(tree, B, 1, NOON + 110)
    assert (skipped_in(tree.records(), "0"), skipped_in(tree.records(), "1") == b"") == (b"", False)


@pytest.mark.rfc("R-15.3-02")
def test_what_is_too_old_is_forgotten_when_asked() -> None:
    tree = new_tree(BRIEF)
    consume_at(tree, A, 2, NOON)
    consume_at(tree, B, 1, NOON + 10)
    old = [entry.key for entry in tree._ratchets[A, RatchetKind.APPLICATION].skipped.values()]
    assert tree.records_without_expired(NOON + 60) == {}
    changes = tree.records_without_expired(NOON + 61)
    assert list(changes) == ["ratchet/0/application"]
    assert skipped_in(changes, "0") == b""
    waiting = tree.stage(B, APPLICATION, 0, NOON + 61)
    assert not any(key.is_wiped for key in old)
    tree.forget_expired(NOON + 61)
    assert all(key.is_wiped for key in old)
    assert tree.records()["ratchet/0/application"] == changes["ratchet/0/application"]
    assert tree.records_without_expired(NOON + 61) == {}
    # What was staged before stands, even if it is too old by now.
    tree.apply(waiting)
    assert tree.records_without_expired(NOON + 1_000) == {}


@pytest.mark.rfc("R-15.3-02")
def test_a_clock_that_is_turned_back_makes_no_key_younger_than_those_before_it() -> None:
    tree = new_tree(BRIEF)
    consume_at(tree, A, 1, NOON)
    consume_at(tree, A, 3, NOON - 3_600)
    consume_at(tree, A, 2, NOON + 60)
    assert refusal(tree.stage, A, APPLICATION, 0, NOON + 61) == ("S-skipped_key_ttl", Code.TOO_OLD)


@pytest.mark.rfc("R-15.3-02")
def test_nothing_is_looked_for_again_while_nothing_can_have_expired() -> None:
    tree = new_tree(BRIEF)
    for leaf in (A, B, C):
        consume_at(tree, leaf, 9, NOON)
    looked = Counter[int]()

    def observe(frame: FrameType, event: str, _: object) -> None:
        looked[now] += event == "call" and frame.f_code is SecretTree._held.__code__

    for now in range(NOON + 1, NOON + 70):
        sys.setprofile(observe)
        try:
            consume_at(tree, D, now - NOON - 1, now)
        finally:
            sys.setprofile(None)
    assert [now - NOON for now, times in looked.items() if times] == [61]


@pytest.mark.rfc("R-15.3-02")
def test_the_oldest_skipped_keys_of_the_group_make_room() -> None:
    limits = SecretTreeLimits(max_skipped=4, max_skipped_in_group=5)
    tree = new_tree(limits)
    consume(tree, B, APPLICATION, 2)  # skips 0 and 1
    consume(tree, A, APPLICATION, 2)  # likewise
    tree = SecretTree.restore(SUITE, 4, tree.records(), limits)
    staged = tree.stage(D, COMMIT, 2)  # two more are one too many: B's 0 goes
    assert set(staged.records) >= {"ratchet/1/application", "ratchet/3/handshake"}
    assert "ratchet/0/application" not in staged.records
    tree.apply(staged)
    assert refusal(tree.stage, B, APPLICATION, 0)[1] == Code.TOO_OLD
    assert consume(tree, B, APPLICATION, 1) == KEYS[1, "application", 1]
    assert consume(tree, A, APPLICATION, 0) == KEYS[0, "application", 0]
    assert consume(tree, D, COMMIT, 1) == KEYS[3, "handshake", 1]


@pytest.mark.rfc("R-15.3-02")
def test_age_is_counted_by_message_when_a_ratchet_skips_twice() -> None:
    tree = new_tree(SecretTreeLimits(max_skipped=4, max_skipped_in_group=4))
    consume(tree, B, APPLICATION, 1)  # skips 0
    consume(tree, B, APPLICATION, 3)  # skips 2
    consume(tree, A, APPLICATION, 1)  # skips 0
    consume(tree, B, APPLICATION, 5)  # skips 4
    consume(tree, D, COMMIT, 3)  # three more: B's 0 and 2 go, then A's 0
    for leaf, generation in ((B, 0), (B, 2), (A, 0)):
        assert refusal(tree.stage, leaf, APPLICATION, generation)[1] == Code.TOO_OLD
    assert consume(tree, B, APPLICATION, 4) == KEYS[1, "application", 4]
    for generation in range(3):
        assert consume(tree, D, COMMIT, generation) == KEYS[3, "handshake", generation]


@pytest.mark.rfc("R-15.3-02")
def test_endless_jumps_keep_memory_bounded() -> None:
    tree = new_tree(SecretTreeLimits(max_forward=50, max_skipped=20, max_skipped_in_group=30))
    for jump in range(1, 20):
        for leaf in (A, B, C, D):
            consume(tree, leaf, APPLICATION, 50 * jump)
    held = [thing for thing in reachable(tree) if isinstance(thing, Secret)]
    assert len(held) == 8 + 30
    assert sum(map(len, tree.records().values())) < 8 * 120 + 30 * 40
