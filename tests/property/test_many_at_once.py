"""A question about all nodes or members at once has the answer that questions about each of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

import pytest

from mls.crypto import SUITES, cipher_suite
from mls.crypto.curves import MontgomeryCurve
from mls.epoch.members import verify_credential_support, verify_encryption_keys, verify_signature_keys
from mls.errors import InvalidKey, MLSError
from mls.messages import BasicCredential, Capabilities, Certificate, Credential, X509Credential
from tests.property.test_tree_kernels import grown, kept, scanned
from tests.rfc9420.test_section_5_1 import encodings, low_order_keys
from tests.support.entropy import DeterministicEntropy
from tests.support.tree_builder import key_named, leaf_named, parent_named, tree_of, with_parent
from treekem.hashing import has_distinct_encryption_keys, verify_parent_keys, verify_unique_encryption_keys
from treekem.index import LeafIndex, NodeIndex, node_of
from treekem.nodes import Content, LeafSlot
from treekem.tree import RatchetTree

SUITE = cipher_suite(1)


@pytest.mark.parametrize("suite_id", SUITES)
@pytest.mark.rfc("N-K01", "N-K03", "R-5.1.1-04")
def test_many_keys_are_judged_as_each_of_them_is(suite_id: int, entropy: DeterministicEntropy) -> None:
    suite = cipher_suite(suite_id)
    kem = suite.hpke.kem
    curve, bad = kem.curve, [suite.generate_key_pair(entropy).public[:-1], bytes(kem.public_length + 1), b""]
    good = [suite.generate_key_pair(entropy).public for _ in range(3)]
    if isinstance(curve, MontgomeryCurve):
        good += [key for u in (2, 18) for key in encodings(u, curve.prime, curve.bits, curve.length)]
        bad += low_order_keys(kem)
    for key in good:
        suite.verify_hpke_key(key)
    assert suite.has_good_keys_only(good) == isinstance(curve, MontgomeryCurve)
    assert suite.canonical_public_keys(good) == [suite.canonical_public_key(key) for key in good]
    for key in bad:
        with pytest.raises(InvalidKey):
            suite.verify_hpke_key(key)
        assert not suite.has_good_keys_only([*good, key])
        if len(key) != kem.public_length:
            with pytest.raises(InvalidKey) as refusal:
                suite.canonical_public_keys([*good, key])
            assert refusal.value.rule == "R-5.1.1-04"


def with_a_key_twice(tree: RatchetTree, random: Random) -> RatchetTree:
    """Return the tree with a key in two places: of leaves, of parents, or of one of each, in either encoding."""
    leaves, parents = [leaf for leaf, _ in tree.leaves()], [x for x, _ in tree.parents()]
    name = random.choice(("again", "a key"))
    key = key_named(name)
    marked = key[:-1] + bytes((key[-1] | 0x80 * random.randrange(2),))
    match random.randrange(3):
        case 0:
            return tree.with_nodes(dict.fromkeys(map(node_of, random.sample(leaves, 2)), leaf_named(name)))
        case 1 if len(parents) > 1:
            x, y = random.sample(parents, 2)
            return with_parent(with_parent(tree, x, encryption_key=key), y, encryption_key=marked)
        case _ if parents:
            beside = tree.update_leaf(LeafIndex(0), leaf_named(name)).with_nodes({parents[-1]: parent_named("P")})
            return with_parent(beside, parents[-1], encryption_key=marked)
    return tree


def is_accepted(check: object, *arguments: object) -> bool:
    assert callable(check)
    try:
        check(*arguments)
    except MLSError:
        return False
    return True


@pytest.mark.rfc("R-12.4.3.1-18", "R-16.7-01")
@pytest.mark.parametrize("seed", range(4))
def test_encryption_keys_of_all_nodes_are_compared_as_node_by_node(seed: int) -> None:
    random, verdicts = Random(seed), []
    for number in range(12):
        tree = grown(100 * seed + number % 7, 40)
        if number % 2:
            tree = with_a_key_twice(tree, random)
        plain = is_accepted(verify_unique_encryption_keys, tree, SUITE)
        assert has_distinct_encryption_keys(tree, SUITE) == plain
        assert has_distinct_encryption_keys(kept(scanned(tree.encode())), SUITE) == plain
        verdicts.append(plain)
    assert 2 < sum(verdicts) < len(verdicts) - 2


@pytest.mark.rfc("R-5.1.1-04", "N-K01")
@pytest.mark.parametrize("is_kept", [False, True])
def test_the_keys_of_a_large_tree_are_refused_by_name(is_kept: bool) -> None:
    tree = RatchetTree.of_leaf(leaf_named("0"))
    for number in range(1, 300):
        tree = tree.add_leaf(leaf_named(str(number)))[0]
    tree = tree.with_nodes({x: parent_named(f"P{x}") for x in map(NodeIndex, (1, 255, 303))})

    def judged(tree: RatchetTree) -> None:
        told = kept(scanned(tree.encode())) if is_kept else tree
        verify_parent_keys(told, SUITE)
        verify_unique_encryption_keys(told, SUITE)

    judged(tree)
    refused = {
        "R-5.1.1-04": with_parent(tree, 303, encryption_key=b"short"),
        "N-K01": with_parent(tree, 1, encryption_key=bytes(32)),
        "R-12.4.3.1-18": with_parent(tree, 255, encryption_key=key_named("299")),
        "R-16.7-01": tree.update_leaf(LeafIndex(298), leaf_named("17")),
    }
    for rule, bad in refused.items():
        with pytest.raises(MLSError) as caught:
            judged(bad)
        assert caught.value.rule == rule


def member(random: Random, number: int, keys: Sequence[bytes]) -> LeafSlot:
    """Return a leaf whose keys, credential and capabilities occur again now and then."""
    credential: Credential = BasicCredential(b"somebody")
    if random.random() < 0.02:
        credential = X509Credential((Certificate(b"certificate"),))
    credentials = (1, 2) if random.random() < 0.99 else (1,)
    kept = key_named(f"signs {number}")
    return LeafSlot.of(
        replace(
            leaf_named(str(number)).leaf_node(),
            signature_key=random.choice(keys) if random.random() < 0.01 else kept,
            encryption_key=random.choice(keys) if random.random() < 0.01 else key_named(str(number)),
            credential=credential,
            capabilities=Capabilities((1,), (1,), (), (), credentials),
        )
    )


@pytest.mark.rfc("R-7.3-06", "R-7.3-07", "R-7.3-13", "R-7.3-14", "R-16.7-01")
@pytest.mark.parametrize("seed", range(3))
def test_most_members_of_a_tree_are_compared_as_one_by_one(seed: int) -> None:
    random = Random(seed)
    checks = (
        partial(verify_encryption_keys, suite=SUITE),
        partial(verify_signature_keys, suite=SUITE),
        verify_credential_support,
    )
    refused: Counter[int] = Counter()
    for _ in range(20):
        n_members = random.choice((80, 120))
        again = [key_named(f"again {number}") for number in range(random.choice((1, 2, 1000)))]
        again += [key[:-1] + bytes((key[-1] | 0x80,)) for key in again]
        nodes: dict[int, Content] = {2 * number: member(random, number, again) for number in range(n_members)}
        tree = tree_of(128, {**nodes, 1: parent_named("P")})
        if random.random() < 0.3:
            tree = with_parent(tree, 1, encryption_key=random.choice(again))
        for number, check in enumerate(checks):
            everyone = frozenset(leaf for leaf, _ in tree.leaves())
            parts = (frozenset(map(LeafIndex, range(start, start + 40))) for start in range(0, n_members, 40))
            by_parts = all(is_accepted(check, tree, part & everyone) for part in parts)
            assert is_accepted(check, tree, everyone) == by_parts
            refused[number] += not by_parts
    assert all(0 < refused[number] < 20 for number in range(3))


@pytest.mark.rfc("R-12.1.1-01", "R-12.1.1-04", "R-12.1.1-05")
@pytest.mark.parametrize("seed", range(4))
def test_many_new_members_are_added_as_one_after_the_other(seed: int) -> None:
    random = Random(seed)
    for number in range(8):
        plain = grown(100 * seed + number, 60)
        for leaf in random.sample([leaf for leaf, _ in plain.leaves()][1:], random.randrange(5)):
            plain = plain.remove_leaf(leaf)
        plain = kept(scanned(plain.encode())) if number % 2 else plain
        slots = [leaf_named(f"new {each}") for each in range(random.choice((0, 1, 3, 40, 200)))]
        tree, leaves = plain.with_new_leaves(slots)
        places = []
        for slot in slots:
            plain, leaf = plain.add_leaf(slot)
            places.append(leaf)
        assert leaves == places
        assert (tree.n_leaves, tree.encode()) == (plain.n_leaves, plain.encode())
        assert tree.tree_hash(SUITE) == plain.tree_hash(SUITE)
        blank = [leaf for leaf in map(LeafIndex, range(tree.n_leaves)) if tree.leaf(leaf) is None]
        assert list(tree._columns.blank_leaves()) == blank
