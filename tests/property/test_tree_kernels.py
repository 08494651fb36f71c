"""The kernels equal the plain ways on trees with blanks and unmerged leaves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from hypothesis import given

from mls.crypto import cipher_suite
from tests.property.test_tree import TwoTrees, steps
from tests.support.tree_builder import leaf_named, parent_named, tree_of
from treekem import reference
from treekem.columns import NodeColumns
from treekem.errors import InvalidTree, MLSError
from treekem.hashing import _valid_descendants, verify_tree_structure, verify_unmerged_leaves
from treekem.index import LeafIndex, NodeIndex, leaves_below
from treekem.nodes import Content, decode_ratchet_tree
from treekem.scanned import ScannedTree
from treekem.tree import RatchetTree
from treekem.tree_hashes import BYTES_FOR_KERNELS, OriginalHashes
from treekem.wire import decode_varint, encode, encode_varint

SUITES = {1: "sha256", 4: "sha512", 7: "sha384"}


def scanned(data: bytes) -> ScannedTree:
    tree = ScannedTree.of(data, decode_varint(data, 0)[1])
    assert tree is not None
    return tree


def kept(flat: ScannedTree) -> RatchetTree:
    """Return a tree whose nodes stay in the bytes."""
    return RatchetTree(NodeColumns.of_scanned(flat))


def grown(seed: int, n_steps: int) -> RatchetTree:
    random = Random(seed)
    both = TwoTrees()
    for _ in range(random.randrange(8, 60)):
        both.add()
    for _ in range(n_steps):
        both.step(random.choices(["add", "update", "remove", "commit"], [30, 3, 10, 45])[0], random.randrange(10**6))
    return both.tree


def check(tree: RatchetTree, suite_id: int) -> None:
    suite, flat = cipher_suite(suite_id), scanned(tree.encode())
    assert flat.n_leaves == tree.n_leaves
    nodes = reference.nodes_of(tree)
    contents = [tree.leaf(LeafIndex(x >> 1)) if x % 2 == 0 else tree.parent(NodeIndex(x)) for x in range(len(nodes))]
    assert [flat.content(NodeIndex(x)) for x in range(len(nodes))] == contents
    digests = flat.tree_hashes(SUITES[suite_id])
    expected = [reference.tree_hash(nodes, NodeIndex(x), suite) for x in range(len(nodes))]
    assert [row.tobytes() for row in digests] == expected
    encoded = [b"\0" if node is None else b"\1" + encode(node) for node in nodes]
    assert reference.tree_hashes(encoded, SUITES[suite_id]) == expected
    assert flat.has_sound_lists()
    if suite_id == 1:
        assert list(flat.unlinked_parents("sha256", digests.data.cast("B"))) == []


@given(steps)
def test_random_histories(history: list[tuple[str, int]]) -> None:
    both = TwoTrees()
    for what, choice in history:
        both.step(what, choice)
    check(both.tree, 1)


@pytest.mark.parametrize("suite_id", SUITES)
@pytest.mark.parametrize("seed", range(3))
def test_long_histories(seed: int, suite_id: int) -> None:
    check(grown(seed, 100), suite_id)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_scanned_is_what_is_decoded(seed: int) -> None:
    random = Random(seed)
    data = grown(seed, 40).encode()
    start = decode_varint(data, 0)[1]
    n_decoded = 0
    for _ in range(1500):
        body = bytearray(data[start:])
        place = random.randrange(len(body))
        match random.randrange(4):
            case 0:
                body[place] ^= 1 << random.randrange(8)
            case 1:
                body[place:] = b""
            case 2:
                body[place:place] = random.randbytes(random.randrange(1, 5))
            case _:
                del body[place : place + random.randrange(1, 5)]
        mutant = encode_varint(len(body)) + bytes(body)
        flat = ScannedTree.of(mutant, decode_varint(mutant, 0)[1])
        try:
            decoded = RatchetTree.decode(mutant)
        except MLSError:
            assert flat is None
            continue
        n_decoded += 1
        assert flat is not None
        assert flat.n_leaves == decoded.n_leaves
        held = [(x, node) for x in map(NodeIndex, range(2 * flat.n_leaves - 1)) if (node := flat.content(x))]
        assert held == list(decoded._columns.items())
    assert n_decoded > 100


def test_a_scan_ends_at_the_limit() -> None:
    data = grown(1, 40).encode()
    start = decode_varint(data, 0)[1]
    n_entries = len(list(RatchetTree.decode(data)._columns.items()))
    width = 2 * scanned(data).n_leaves - 1
    assert n_entries < width
    assert ScannedTree.of(data, start, width) is not None
    assert ScannedTree.of(data, start, n_entries // 2) is None


def disturbed(tree: RatchetTree, random: Random) -> RatchetTree:
    """Return the tree with a few nodes blanked, put elsewhere, or given another list of unmerged leaves."""
    for _ in range(random.randrange(1, 4)):
        parents = [x for x, _ in tree.parents()]
        if not parents:
            return tree
        x = random.choice(parents)
        node = tree.parent(x)
        assert node is not None
        below = [leaf for leaf in map(LeafIndex, leaves_below(x)) if tree.leaf(leaf) is not None]
        match random.randrange(4):
            case 0:
                tree = tree.with_nodes({x: None})
            case 1:
                tree = tree.with_nodes({x: tree.parent(random.choice(parents))})
            case 2:
                chosen = tuple(leaf for leaf in below if random.random() < random.choice((0.1, 0.9)))
                tree = tree.with_nodes({x: replace(node, unmerged_leaves=chosen)})
            case _:
                tree = tree.with_nodes({x: replace(node, parent_hash=random.randbytes(32))})
    return tree


def are_lists_sound(tree: RatchetTree) -> bool:
    try:
        verify_unmerged_leaves(tree)
    except InvalidTree:
        return False
    return True


@pytest.mark.rfc("R-7.9.2-03", "R-12.4.3.1-16", "R-12.4.3.1-17")
@pytest.mark.parametrize("seed", range(4))
def test_disturbed_trees_are_judged_alike(seed: int) -> None:
    random = Random(seed)
    suite = cipher_suite(1)
    verdicts = []
    for number in range(40):
        tree = grown(100 * seed + number % 7, 40)
        tree = disturbed(tree, random) if number % 4 else tree
        flat = scanned(tree.encode())
        assert flat.has_sound_lists() == are_lists_sound(tree)
        if not flat.has_sound_lists():
            continue
        known: OriginalHashes = {}
        links = [(x, len(list(_valid_descendants(tree, suite, x, node, known)))) for x, node in tree.parents()]
        unlinked = list(kept(flat).unlinked_parents(suite) or ())
        assert unlinked == [(x, count) for x, count in links if count != 1]
        verdicts.append(not unlinked)
    assert 5 < sum(verdicts) < len(verdicts) - 5


def test_pieces_spread_over_threads_make_the_same_tree() -> None:
    random = Random(5)
    nodes: dict[int, Content] = {x: leaf_named(str(x)) for x in range(0, 2**15 - 1, 2) if random.random() < 0.6}
    nodes |= {x: parent_named(str(x)) for x in range(1, 2**15 - 1, 2) if random.random() < 0.5}
    tree = tree_of(2**14, nodes)
    flat = scanned(tree.encode())
    with ThreadPoolExecutor(4) as executor:
        spread = flat.tree_hashes("sha256", executor)
    assert (spread == flat.tree_hashes("sha256")).all()
    assert spread[2**14 - 1].tobytes() == tree.tree_hash(cipher_suite(1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.rfc("R-7.8-05", "R-7.8-06")
def test_a_tree_kept_in_its_bytes_is_like_any_other(seed: int) -> None:
    random = Random(seed)
    suite = cipher_suite(1)
    plain = grown(seed, 60)
    tree = kept(scanned(plain.encode()))
    assert tree.encode() == plain.encode()
    assert dict(tree.blocks()) == dict(plain.blocks())
    assert (tree.n_members, tree.first_blank_leaf()) == (plain.n_members, plain.first_blank_leaf())
    if seed % 2:
        assert tree.tree_hash(suite) == plain.tree_hash(suite)
        verify_tree_structure(tree, suite)
    for _ in range(30):
        members = [leaf for leaf, _ in plain.leaves()]
        leaf = random.choice(members)
        slot = leaf_named(str(random.random()))
        match random.randrange(3):
            case 0:
                tree, plain = tree.update_leaf(leaf, slot), plain.update_leaf(leaf, slot)
            case 1 if len(members) > 1:
                tree, plain = tree.remove_leaf(leaf), plain.remove_leaf(leaf)
            case _:
                (tree, _), (plain, _) = tree.add_leaf(slot), plain.add_leaf(slot)
        assert tree.tree_hash(suite) == plain.tree_hash(suite)
        assert tree.encode() == plain.encode()
        for x in map(NodeIndex, range(2 * tree.n_leaves - 1)):
            assert tree.resolution(x) == plain.resolution(x)
            assert tree.node_hash(suite, x) == plain.node_hash(suite, x)


def test_a_wide_tree_of_blanks_is_kept_in_its_bytes() -> None:
    suite = cipher_suite(1)
    plain = tree_of(2**14, {0: leaf_named("a"), 20_000: leaf_named("b"), 2**15 - 2: leaf_named("c")})
    tree = kept(scanned(plain.encode()))
    assert tree.tree_hash(suite) == plain.tree_hash(suite)
    for x in (0, 1, 31, 63, 127, 4095, 9000, 2**13 - 1, 2**14 - 1):
        assert tree.node_hash(suite, NodeIndex(x)) == plain.node_hash(suite, NodeIndex(x))
    assert tree.encode() == plain.encode()
    shorter, longer = tree.remove_leaf(LeafIndex(2**14 - 1)), plain.remove_leaf(LeafIndex(2**14 - 1))
    assert shorter.tree_hash(suite) == longer.tree_hash(suite)


def large_vector(*, bad_at: float | None = None) -> bytes:
    """Return a vector long enough for the kernels; on request with a node of the wrong kind at some share of it."""
    leaf, parent = b"\1\1" + leaf_named("leaf").encoded, b"\1\2" + encode(parent_named("parent"))
    n_entries = BYTES_FOR_KERNELS // len(leaf + parent) * 2 + 3
    entries = [leaf if x % 2 == 0 else parent for x in range(n_entries)]
    if bad_at is not None:
        entries[int(bad_at * n_entries)] = leaf + parent
    body = b"".join(entries)
    return encode_varint(len(body)) + body


def refusal_of(read: Callable[[], object]) -> tuple[object, ...]:
    with pytest.raises(MLSError) as caught:
        read()
    error = caught.value
    return type(error), error.code, error.rule, error.message, error.index


@pytest.mark.rfc("R-12.4.3.3-05", "R-2.1-07", "R-2.1-08", "S-max_leaves")
def test_a_large_tree_is_refused_in_the_words_of_the_decoder() -> None:
    data = large_vector()
    tree = RatchetTree.decode(data)
    assert tree.unlinked_parents(cipher_suite(1)) is not None
    assert tree.encode() == data

    for bad in (data[:-1], data + b"\0", large_vector(bad_at=0.01), large_vector(bad_at=0.8)):
        assert refusal_of(partial(RatchetTree.decode, bad)) == refusal_of(partial(decode_ratchet_tree, bad))
    n_leaves = tree.n_leaves // 2
    expected = refusal_of(lambda: decode_ratchet_tree(data, max_entries=2 * n_leaves - 1))
    assert refusal_of(lambda: RatchetTree.decode(data, n_leaves)) == expected


def test_a_tree_that_is_little_but_blanks_is_left_to_the_decoder() -> None:
    leaf = b"\1\1" + leaf_named("leaf").encoded
    for n_blanks, taken in ((2**16 - 3, True), (2**16 + 1, False)):
        body = leaf + bytes(n_blanks) + leaf
        assert (ScannedTree.of(encode_varint(len(body)) + body, 4) is not None) == taken


@pytest.mark.parametrize("n_leaves", [2, 8, 32, 64])
def test_a_tree_kept_in_its_bytes_grows(n_leaves: int) -> None:
    suite = cipher_suite(1)
    plain = tree_of(n_leaves, {2 * leaf: leaf_named(str(leaf)) for leaf in range(n_leaves)})
    tree = kept(scanned(plain.encode()))
    tree.tree_hash(suite)
    for number in range(n_leaves + 1):
        slot = leaf_named(f"new {number}")
        (tree, leaf), (plain, place) = tree.add_leaf(slot), plain.add_leaf(slot)
        assert leaf == place
        assert tree.tree_hash(suite) == plain.tree_hash(suite)
    assert tree.encode() == plain.encode()
    assert dict(tree.blocks()) == dict(plain.blocks())
