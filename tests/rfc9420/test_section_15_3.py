"""RFC 9420 §15.3: delayed and reordered messages, within limits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import cbor2
import pytest

from mls.errors import Code
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits, StagedKey
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
