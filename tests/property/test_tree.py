"""Random histories: the tree against a linked model, hashes against the plain ones, and commits that everyone opens."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain
from operator import itemgetter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mls.crypto import cipher_suite
from tests.support.naive_tree import NaiveTree
from tests.support.tree_builder import leaf_named, parent_named, tree_of
from tests.support.tree_group import TreeGroup, leaf_node
from treekem import reference
from treekem.errors import InvalidTree
from treekem.hashing import verify_tree_structure, verify_unmerged_leaves
from treekem.index import LeafIndex, NodeIndex, common_ancestor, direct_path, leaves_below, node_of, node_width, root
from treekem.leaf_node import CommitSource
from treekem.nodes import Content, LeafSlot
from treekem.path import plan_path
from treekem.suite import PathSecret
from treekem.tree import RatchetTree
from treekem.wire import decode_varint, encode_varint

SUITE = cipher_suite(1)
MAX_MEMBERS = 64

Step = tuple[str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "fill", "update", "remove", "halve", "commit", "commit"]),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=40,
)


class TwoTrees:
    """The same history, lived by the tree and by the linked model."""

    def __init__(self) -> None:
        self._drawn = 0
        slot = self.slot()
        self.tree, self.naive = RatchetTree.of_leaf(slot), NaiveTree(slot.encryption_key)

    def key(self) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(32, "little")

    def slot(self) -> LeafSlot:
        return LeafSlot.of(leaf_node(self.key()))

    def step(self, what: str, choice: int) -> None:
        members = self.naive.members()
        chosen = LeafIndex(members[choice % len(members)])
        match what:
            case "add" if len(members) < MAX_MEMBERS:
                self.add()
            case "fill":
                for _ in range(min(choice % 20, MAX_MEMBERS - len(members))):
                    self.add()
            case "update":
                slot = self.slot()
                self.tree = self.tree.update_leaf(chosen, slot)
                self.naive.update(chosen, slot.encryption_key)
            case "remove" if len(members) > 1:
                self.remove(chosen)
            case "halve" if len(members) > 1:
                for leaf in members[len(members) // 2 :] if choice % 2 else members[: len(members) // 2]:
                    self.remove(LeafIndex(leaf))
            case "commit":
                self.commit(chosen, choice)

    def add(self) -> None:
        slot = self.slot()
        self.tree, leaf = self.tree.add_leaf(slot)
        assert leaf == self.naive.add(slot.encryption_key)

    def remove(self, leaf: LeafIndex) -> None:
        self.tree = self.tree.remove_leaf(leaf)
        self.naive.remove(leaf)

    def commit(self, leaf: LeafIndex, choice: int) -> None:
        plan = plan_path(self.tree, leaf, SUITE, PathSecret(choice.to_bytes(32, "big") + self.key()), self.key())
        self.tree = plan.install(LeafSlot.of(leaf_node(plan.leaf_public_key, CommitSource(plan.leaf_parent_hash))))
        self.naive.commit(leaf, plan.leaf_public_key, plan.public_keys)


def agree(tree: RatchetTree, naive: NaiveTree) -> None:
    nodes = list(naive.root.in_order())
    number = {node: NodeIndex(x) for x, node in enumerate(nodes)}
    assert tree.n_leaves == naive.n_leaves()
    assert [leaf for leaf, _ in tree.leaves()] == naive.members()
    assert tree.n_members == len(naive.members())
    contents = [
        (key, () if parent is None else parent.unmerged_leaves)
        if (key := tree.encryption_key(x)) is not None and ((parent := tree.parent(x)) is not None or x % 2 == 0)
        else None
        for x in map(NodeIndex, range(node_width(tree.n_leaves)))
    ]
    assert contents == naive.nodes()
    for node, x in number.items():
        assert [number[y] for y in naive.resolution(node)] == list(tree.resolution(x))
    for leaf in range(naive.n_leaves()):
        filtered = [(number[node], number[other]) for node, other in naive.filtered_path(leaf)]
        assert filtered == list(tree.filtered_direct_path(LeafIndex(leaf)))


@given(steps)
@pytest.mark.rfc("R-4.1-01", "R-4.1-02", "R-7.1-03", "R-7.7-04", "R-4.1.2-04")
def test_tree_equals_the_linked_model(history: list[Step]) -> None:
    both = TwoTrees()
    for what, choice in history:
        before, encoded = both.tree, both.tree.encode()
        both.step(what, choice)
        assert before.encode() == encoded
    agree(both.tree, both.naive)
    verify_tree_structure(both.tree, SUITE)


@given(steps)
@pytest.mark.rfc("R-7.8-05", "R-7.8-06", "R-7.9-06", "R-7.9.2-03")
def test_remembered_hashes_equal_the_plain_ones(history: list[Step]) -> None:
    both = TwoTrees()
    for what, choice in history:
        both.step(what, choice)
        both.tree.tree_hash(SUITE)
    check_hashes(both.tree)


def check_hashes(tree: RatchetTree) -> None:
    nodes = reference.nodes_of(tree)
    for x in map(NodeIndex, range(len(nodes))):
        assert tree.node_hash(SUITE, x) == reference.tree_hash(nodes, x, SUITE)
    verify_tree_structure(tree, SUITE)
    reference.verify_parent_hashes(nodes, SUITE)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.rfc("R-4.2-03", "R-7.1-03", "R-7.4-01", "R-7.8-06", "R-7.9-04")
def test_long_histories(seed: int) -> None:
    random = Random(seed)
    both = TwoTrees()
    for _ in range(random.randrange(8, MAX_MEMBERS)):
        both.add()
    n_unmerged = 0
    for number in range(150):
        what = random.choices(["add", "update", "remove", "commit", "halve"], [30, 3, 20, 45, 1])[0]
        both.step(what, random.randrange(10**6))
        n_unmerged += sum(len(parent.unmerged_leaves) for _, parent in both.tree.parents())
        if number % 15 == 0:
            agree(both.tree, both.naive)
            check_hashes(both.tree)
    assert n_unmerged > 100


@given(steps)
@pytest.mark.rfc("R-12.4.3.3-02", "R-12.4.3.3-04", "R-16.7-01")
def test_stored_and_sent_trees_come_back(history: list[Step]) -> None:
    both = TwoTrees()
    records = dict(both.tree.blocks())
    for what, choice in history:
        before = both.tree
        before.has_encryption_key(both.key(), SUITE)
        both.step(what, choice)
        restored = before.with_blocks(both.tree.n_leaves, both.tree.changed_blocks(before))
        assert (restored.n_leaves, restored.encode()) == (both.tree.n_leaves, both.tree.encode())
        assert restored.tree_hash(SUITE) == both.tree.tree_hash(SUITE)
        assert not set(map(itemgetter(0), restored.changed_blocks(before))) - set(
            map(itemgetter(0), both.tree.changed_blocks(before))
        )
        for number, record in both.tree.changed_blocks(before):
            if record is None:
                del records[number]
            else:
                records[number] = record
    tree = both.tree
    assert records == dict(tree.blocks())
    assert RatchetTree.from_blocks(tree.n_leaves, records.items()).encode() == tree.encode()
    again = RatchetTree.decode(tree.encode())
    assert (again.n_leaves, again.encode()) == (tree.n_leaves, tree.encode())
    keys = {key for _, key in tree.encryption_keys()}
    for key in chain(keys, [both.key()]):
        assert tree.has_encryption_key(key, SUITE) == (key in keys)


def test_a_large_tree_is_edited_by_the_path() -> None:
    both = TwoTrees()
    for _ in range(299):
        slot = both.slot()
        both.tree, _ = both.tree.add_leaf(slot)
    for leaf in (0, 299, 64, 63, 33, 150):
        tree, before = both.tree, both.tree.tree_hash(SUITE)
        plan = plan_path(tree, LeafIndex(leaf), SUITE, PathSecret(bytes(32)), both.key())
        both.tree = plan.install(LeafSlot.of(leaf_node(plan.leaf_public_key, CommitSource(plan.leaf_parent_hash))))
        assert len(list(both.tree.changed_blocks(tree))) == 2
        assert tree.tree_hash(SUITE) == before
        nodes = reference.nodes_of(both.tree)
        assert both.tree.tree_hash(SUITE) == reference.tree_hash(nodes, NodeIndex(both.tree.n_leaves - 1), SUITE)
    for leaf in range(299, 20, -1):
        both.tree = both.tree.remove_leaf(LeafIndex(leaf))
    assert both.tree.n_leaves == 32
    nodes = reference.nodes_of(both.tree)
    assert both.tree.tree_hash(SUITE) == reference.tree_hash(nodes, NodeIndex(31), SUITE)


group_steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "update", "remove", "commit", "commit", "partial"]), st.integers(0, 10**6)
    ),
    min_size=1,
    max_size=20,
)


def expected_ciphertexts(tree: RatchetTree, sender: LeafIndex, new_leaves: frozenset[LeafIndex]) -> list[int]:
    new = {node_of(leaf) for leaf in new_leaves}
    return [len(set(tree.resolution(child)) - new) for _, child in tree.filtered_direct_path(sender)]


@given(group_steps, st.integers(1, 12))
@pytest.mark.rfc("R-4-01", "R-4.2-01", "R-7.5-06", "R-7.5-12", "R-7.5-15")
def test_everyone_opens_every_commit(history: list[Step], n_members: int) -> None:
    group = TreeGroup(b"history")
    group.add(n_members - 1)
    for what, choice in history:
        members = group.members
        chosen = members[choice % len(members)]
        match what:
            case "add":
                group.add(1 + choice % 3)
            case "update":
                group.update(chosen)
            case "remove" if len(members) > 1:
                group.remove(chosen)
            case "partial":
                group.partial_commit()
            case "commit":
                senders = [leaf for leaf in members if leaf not in group.new_leaves]
                if senders:
                    commit(group, senders[choice % len(senders)])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.rfc("R-4-01", "R-4.2-01", "R-4.2-02", "R-4.2-03", "R-7.5-06")
def test_everyone_opens_long_histories(seed: int) -> None:
    random = Random(seed)
    group = TreeGroup(b"long history")
    group.add(random.randrange(4, 24))
    for _ in range(25):
        group.remove(*random.sample(group.members, random.choice((0, 0, 1, 1, 3)) % len(group.members)))
        group.add(random.choice((0, 0, 1, 2, 3)))
        if random.random() < 0.2:
            group.partial_commit()
        senders = [leaf for leaf in group.members if leaf not in group.new_leaves]
        if senders:
            commit(group, random.choice(senders))


def commit(group: TreeGroup, sender: LeafIndex) -> None:
    done = group.commit(sender)
    sent = [len(node.encrypted_path_secret) for node in done.path.nodes]
    assert sent == expected_ciphertexts(done.before, sender, done.new_leaves)
    verify_tree_structure(group.tree, group.suite)
    for me, keys in group.private_keys.items():
        own_path = {node_of(me), *direct_path(node_of(me), group.tree.n_leaves)}
        for x, private in keys.items():
            assert x in own_path
            assert group.suite.hpke_public_key(private) == group.tree.encryption_key(x)
        # What a member does not hold above its leaf is blank, or does not count on the member yet.
        for x in own_path - keys.keys():
            node = group.tree.parent(x)
            assert node is None or me in node.unmerged_leaves
        assert me == sender or common_ancestor(node_of(sender), node_of(me)) in keys


def lists_are_sound(tree: RatchetTree) -> bool:
    """Judge lists of unmerged leaves by the words of RFC 9420 §12.4.3.1, leaf by leaf."""
    lists = {x: list(node.unmerged_leaves) for x, node in tree.parents()}
    return all(
        unmerged == sorted(set(unmerged))
        and all(
            tree.leaf(leaf) is not None
            and x in (above := direct_path(node_of(leaf), tree.n_leaves))
            and all(leaf in lists.get(y, [leaf]) for y in above[: above.index(x)])
            for leaf in unmerged
        )
        for x, unmerged in lists.items()
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.rfc("R-7.1-02", "R-12.4.3.1-16", "R-12.4.3.1-17")
def test_lists_of_unmerged_leaves_are_judged_as_worded(seed: int) -> None:
    random = Random(seed)
    verdicts = []
    for _ in range(300):
        n_leaves = random.choice((2, 4, 8, 16))
        contents: dict[int, Content] = {2 * leaf: leaf_named(str(leaf)) for leaf in range(n_leaves)}
        del contents[2 * random.randrange(n_leaves)]
        joined = [leaf for leaf in range(n_leaves) if 2 * leaf in contents and random.random() < 0.3]
        for x in map(NodeIndex, range(1, 2 * n_leaves - 1, 2)):
            unmerged = [leaf for leaf in joined if leaf in leaves_below(x)]
            match random.randrange(30):
                case 0:
                    unmerged = unmerged[1:]
                case 1:
                    unmerged.append(random.randrange(n_leaves))
                case number if number < 10:
                    continue
            contents[x] = parent_named(str(x), *unmerged)
        tree = tree_of(n_leaves, contents)
        verdicts.append(lists_are_sound(tree))
        with nullcontext() if verdicts[-1] else pytest.raises(InvalidTree):
            verify_unmerged_leaves(tree)
    assert 50 < sum(verdicts) < 250


@pytest.mark.rfc("R-12.4.3.3-04")
def test_a_wide_tree_of_two_members_is_read_and_resolved() -> None:
    both = TwoTrees()
    encoded = both.tree.encode()
    entry = encoded[decode_varint(encoded, 0)[1] :]
    body = entry + bytes(2**16 - 1) + entry
    tree = RatchetTree.decode(encode_varint(len(body)) + body)
    assert tree.n_leaves == 2**16
    assert tree.resolution(NodeIndex(2**16 - 1)) == (NodeIndex(0), NodeIndex(2**16))
    assert tree.encode() == encode_varint(len(body)) + body


@pytest.mark.parametrize("suite_id", [1, 4, 7])
@pytest.mark.parametrize("n_leaves", [1, 16, 32, 64, 256])
@pytest.mark.rfc("R-7.8-05", "R-7.8-06")
def test_hashes_and_resolutions_after_bulk_changes(n_leaves: int, suite_id: int) -> None:
    """Blocks without any hash are hashed as a whole, those without parents resolved at a glance; neither may show."""
    random, suite = Random(n_leaves), cipher_suite(suite_id)
    nodes: dict[int, Content] = {0: leaf_named("first")}
    nodes |= {x: leaf_named(str(x)) for x in range(0, 2 * n_leaves - 1, 2) if random.random() < 0.6}
    nodes |= {x: parent_named(str(x)) for x in range(1, 2 * n_leaves - 1, 2) if random.random() < 0.4}
    tree = tree_of(n_leaves, nodes)
    for share in (0, 0.05, 0.9, 0.3):
        places = [x for x in range(2 * n_leaves - 1) if random.random() < share]
        made = (leaf_named, parent_named)
        tree = tree.with_nodes({NodeIndex(x): random.choice((None, made[x & 1](f"{share} {x}"))) for x in places})
        expected = reference.nodes_of(tree)
        assert tree.tree_hash(suite) == reference.tree_hash(expected, root(n_leaves), suite)
        for x in map(NodeIndex, range(2 * n_leaves - 1)):
            assert tree.node_hash(suite, x) == reference.tree_hash(expected, x, suite)
            assert list(tree.resolution(x)) == reference.resolution(expected, x)
