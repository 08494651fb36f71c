"""RFC 9420 §12.4.3.3: the ratchet_tree vector, which strangers send and which may be long."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable

import pytest

from tests.support.tree_builder import leaf_named, tree_of
from treekem.errors import Code, InvalidTree, MalformedMessage, MLSError, UsageError
from treekem.tree import RatchetTree
from treekem.wire import encode_varint


def refusal(check: Callable[..., object], *arguments: object, error: type[MLSError] = InvalidTree) -> tuple[str, Code]:
    with pytest.raises(error) as refused:
        check(*arguments)
    return refused.value.rule, refused.value.code


def vector(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return encode_varint(len(body)) + body


LEAF = b"\x01\x01" + leaf_named("A").encoded
OTHER_LEAF = b"\x01\x01" + leaf_named("B").encoded
PARENT = b"\x01\x02" + b"\x03key" + b"\x00" + b"\x00"
BLANK = b"\x00"


@pytest.mark.rfc("R-12.4.3.3-01", "R-12.4.3.3-04")
def test_trees_are_padded_to_the_next_full_size() -> None:
    for entries, n_leaves in (
        ([LEAF], 1),
        ([LEAF, BLANK, OTHER_LEAF], 2),
        ([LEAF, PARENT, OTHER_LEAF, BLANK, LEAF], 4),
        ([LEAF, *[BLANK] * 7, LEAF], 8),
        ([LEAF, PARENT], 2),
    ):
        tree = RatchetTree.decode(vector(*entries))
        assert (tree.n_leaves, tree.encode()) == (n_leaves, vector(*entries))


@pytest.mark.parametrize("entries", [[], [BLANK], [LEAF, BLANK], [LEAF, BLANK, OTHER_LEAF, BLANK, BLANK]])
@pytest.mark.rfc("R-12.4.3.3-03", "N-C09")
def test_an_empty_tree_and_one_that_ends_in_a_blank_are_refused(entries: list[bytes]) -> None:
    expected = ("R-12.4.3.3-03", Code.MALFORMED_TREE)
    assert refusal(RatchetTree.decode, vector(*entries)) == expected


@pytest.mark.parametrize("entries", [[PARENT], [LEAF, OTHER_LEAF], [LEAF, BLANK, PARENT], [LEAF, PARENT, BLANK, LEAF]])
@pytest.mark.rfc("R-12.4.3.3-05", "N-C09")
def test_leaves_and_parents_in_each_others_places_are_refused(entries: list[bytes]) -> None:
    expected = ("R-12.4.3.3-05", Code.MALFORMED_TREE)
    assert refusal(RatchetTree.decode, vector(*entries)) == expected


@pytest.mark.rfc("R-2.1-07", "R-2.1-08", "R-2.1-10", "R-2.1.1-02")
def test_malformed_vectors_are_refused() -> None:
    whole = vector(LEAF, PARENT, OTHER_LEAF)
    for data, rule in (
        (whole + b"\x00", "R-2.1-08"),
        (whole[:-1], "R-2.1-07"),
        (whole[: -len(OTHER_LEAF)], "R-2.1-07"),
        (vector(LEAF[:-1]), "R-2.1-07"),
        (vector(LEAF, b"\x02" + PARENT[1:]), "R-2.1.1-02"),
        (vector(LEAF, b"\x01\x03" + PARENT[2:]), "R-2.1-10"),
        (b"", "R-2.1-07"),
    ):
        assert refusal(RatchetTree.decode, data, error=MalformedMessage)[0] == rule


@pytest.mark.rfc("R-12.4.3.3-05", "R-2.1-07")
def test_an_error_names_the_entry_and_the_byte() -> None:
    start = len(vector(LEAF, BLANK, BLANK, BLANK, OTHER_LEAF)) - len(OTHER_LEAF)
    with pytest.raises(MalformedMessage, match=r"ratchet_tree\[4\].* byte \d+") as cut:
        RatchetTree.decode(vector(LEAF, BLANK, BLANK, BLANK, OTHER_LEAF[:20]))
    assert (cut.value.index, cut.value.where) == (4, "ratchet_tree[4].LeafNode.encryption_key")
    assert start <= cut.value.offset < start + 20
    with pytest.raises(InvalidTree, match="node 3") as misplaced:
        RatchetTree.decode(vector(LEAF, BLANK, BLANK, OTHER_LEAF))
    assert misplaced.value.index == 3


@pytest.mark.rfc("N-C09")
def test_a_vector_longer_than_allowed_is_refused() -> None:
    for entries, n_leaves in (([LEAF], 1), ([LEAF, PARENT, OTHER_LEAF], 2), ([LEAF, *[BLANK] * 5, LEAF], 4)):
        data = vector(*entries)
        assert RatchetTree.decode(data, n_leaves).n_leaves == n_leaves
        if n_leaves > 1:
            expected = ("S-max_leaves", Code.LIMIT_EXCEEDED)
            assert refusal(RatchetTree.decode, data, n_leaves // 2) == expected
    # Nothing behind the limit is read.
    assert refusal(RatchetTree.decode, vector(LEAF, BLANK, OTHER_LEAF, b"\x07"), 1)[0] == "S-max_leaves"
    assert refusal(RatchetTree.decode, vector(bytes(1000)), 8)[0] == "S-max_leaves"


@pytest.mark.rfc("N-C10")
@pytest.mark.parametrize("last", [b"", LEAF], ids=["blanks alone", "a member at the end"])
def test_many_blanks_cost_little(last: bytes) -> None:
    data = vector(LEAF, bytes(2**20 - 1), last)
    tracemalloc.start()
    start = time.process_time()
    with contextlib.suppress(InvalidTree):
        RatchetTree.decode(data)
    spent = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 0.25
    assert peak < 16 * len(data)


@pytest.mark.rfc("R-12.4.3.3-02")
def test_a_tree_without_members_is_not_sent() -> None:
    empty = tree_of(1, {})
    with pytest.raises(UsageError):
        empty.encode()
