"""RFC 9420 §7.4-7.6, §12.4.2, §12.4.3.1: update paths, how they are made, applied and opened, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from mls.crypto import HPKEPrivateKey
from tests.support.live import stray_secrets
from tests.support.tree_group import PUBLISHED, Committed, TreeGroup, leaf_node
from treekem.errors import Code, InvalidCiphertext, InvalidKey, InvalidPath, MLSError, UsageError
from treekem.hashing import parent_hash, verify_tree_structure
from treekem.index import LeafIndex, NodeIndex, node_of
from treekem.leaf_node import CommitSource, UpdateSource
from treekem.nodes import HPKECiphertext, LeafSlot, ParentNode, UpdatePath, UpdatePathNode
from treekem.path import OpenedPath, apply_path, open_path, path_keys_from, plan_path, seal_path, surviving_keys
from treekem.suite import PathSecret
from treekem.tree import RatchetTree
from treekem.wire import decode, encode

A, B, C, D = map(LeafIndex, range(4))


def refusal(
    attempt: Callable[..., object], *arguments: object, error: type[MLSError] = InvalidPath
) -> tuple[str, Code]:
    with pytest.raises(error) as refused:
        attempt(*arguments)
    return refused.value.rule, refused.value.code


def with_node(path: UpdatePath, index: int, node: UpdatePathNode) -> UpdatePath:
    return replace(path, nodes=(*path.nodes[:index], node, *path.nodes[index + 1 :]))


class Sent:
    """A commit of leaf 0 in a group of eight, where leaf 5 is unmerged at node 11 and leaves 2 and 8 are new."""

    sender = A
    receivers = (1, 3, 4, 5, 6, 7)

    def __init__(self) -> None:
        group = self.group = TreeGroup.of_size(8, b"sent")
        group.remove(LeafIndex(2), LeafIndex(5))
        group.commit(LeafIndex(3))
        group.commit(LeafIndex(4))
        assert group.add() == [2]
        assert group.add() == [5]
        group.remove(LeafIndex(2))
        group.partial_commit()
        assert group.add(2) == [2, 8]
        self.tree, self.suite, self.new_leaves = group.tree, group.suite, group.new_leaves
        self.keys = {leaf: dict(keys) for leaf, keys in group.private_keys.items()}
        self.done: Committed = group.commit(self.sender)
        self.path, self.after = self.done.path, group.tree

    def apply(self, path: UpdatePath) -> RatchetTree:
        return apply_path(self.tree, self.sender, path, self.suite, self.new_leaves)

    def open(self, me: int, path: UpdatePath, after: RatchetTree | None = None) -> OpenedPath:
        tree, keys = self.after if after is None else after, self.keys[LeafIndex(me)]
        context = self.done.context
        return open_path(tree, self.sender, LeafIndex(me), path, self.suite, keys, context, self.new_leaves)


@pytest.fixture(scope="module")
def sent() -> Sent:
    return Sent()


# §7.4, §7.5: making a path.


@pytest.mark.rfc("R-7.4-01", "R-7.4-03", "R-7.4-04", "R-7.4-05", "R-7.5-01")
def test_a_plan_derives_one_key_pair_per_filtered_node() -> None:
    group = TreeGroup.of_size(8, b"plan")
    group.remove(LeafIndex(1))
    first = PathSecret(bytes(range(32)))
    plan = plan_path(group.tree, A, group.suite, first, b"leaf public key")
    assert plan.nodes == (3, 7)
    second = group.suite.derive_path_secret(first)
    assert [plan.path_secrets[x].expose() for x in plan.nodes] == [first.expose(), second.expose()]
    assert [group.suite.derive_node_key_pair(s).public for s in (first, second)] == list(plan.public_keys)
    assert plan.commit_secret.expose() == group.suite.derive_commit_secret(second).expose()
    for x, key in zip(plan.nodes, plan.public_keys, strict=True):
        assert group.suite.hpke_public_key(plan.private_keys[x]) == key

    # The old key of a node that is filtered out is blanked, up to and with the root.
    stale = group.tree.with_nodes({NodeIndex(1): ParentNode(b"stale", b"", ())})
    again = plan_path(stale, A, group.suite, first, b"leaf public key")
    leaf = leaf_node(b"leaf public key", CommitSource(again.leaf_parent_hash))
    after = again.install(LeafSlot.of(leaf))
    assert after.is_blank(NodeIndex(1))
    assert [after.encryption_key(x) for x in plan.nodes] == list(plan.public_keys)


@pytest.mark.rfc("R-7.5-09", "R-7.9-01", "R-7.9-02", "R-7.9-07")
def test_parent_hashes_run_from_the_root_to_the_leaf() -> None:
    group = TreeGroup.of_size(4, b"order")
    group.update(D)
    group.add()
    tree, suite = group.tree, group.suite
    plan, _ = group.plan(A)
    top, middle, low = (plan.parents[NodeIndex(x)] for x in (7, 3, 1))
    assert top.parent_hash == b""
    assert middle.parent_hash == parent_hash(suite, top, tree.node_hash(suite, NodeIndex(11)))
    assert low.parent_hash == parent_hash(suite, middle, tree.node_hash(suite, NodeIndex(5)))
    assert plan.leaf_parent_hash == parent_hash(suite, low, tree.node_hash(suite, NodeIndex(2)))


@pytest.mark.rfc("R-7.5-02")
def test_only_the_planned_leaf_is_installed() -> None:
    group = TreeGroup.of_size(2)
    plan, _ = group.plan(A)
    for key, source in (
        (b"another key", CommitSource(plan.leaf_parent_hash)),
        (plan.leaf_public_key, CommitSource(b"another hash")),
        (plan.leaf_public_key, UpdateSource()),
    ):
        with pytest.raises(UsageError):
            plan.install(LeafSlot.of(leaf_node(key, source)))


@pytest.mark.parametrize("leaf", [0, 2, 3])
@pytest.mark.rfc("R-7.5-10", "R-7.9-03")
def test_a_lone_member_commits_at_any_leaf(leaf: int) -> None:
    group = TreeGroup.of_size(4, b"lone")
    group.remove(*(other for other in map(LeafIndex, range(4)) if other != leaf))
    assert group.tree.n_leaves == (1 if leaf == 0 else 4)
    secret = PathSecret(bytes(range(32)))
    plan = plan_path(group.tree, LeafIndex(leaf), group.suite, secret, b"key")
    assert (plan.nodes, plan.leaf_parent_hash) == ((), b"")
    assert plan.commit_secret.expose() == secret.expose()
    done = group.commit(LeafIndex(leaf))
    assert done.path.nodes == ()
    verify_tree_structure(group.tree, group.suite)


@pytest.mark.rfc("R-7.9-03", "R-7.5-09")
def test_the_topmost_node_has_no_parent_hash_though_it_is_not_the_root() -> None:
    group = TreeGroup.of_size(4, b"left half blank")
    group.remove(A, B)
    for sender in (C, D):
        group.commit(sender)
        assert group.tree.is_blank(NodeIndex(3))
        node, leaf = group.tree.parent(NodeIndex(5)), group.tree.leaf(sender)
        assert node is not None
        assert leaf is not None
        assert (node.parent_hash, len(leaf.parent_hash or b"")) == (b"", 32)
        verify_tree_structure(group.tree, group.suite)
    # Members to the left make the root count again.
    group.add()
    group.commit(C)
    assert not group.tree.is_blank(NodeIndex(3))
    verify_tree_structure(group.tree, group.suite)


@pytest.mark.rfc("R-7.5-16")
def test_path_secrets_are_wiped() -> None:
    group = TreeGroup.of_size(4, b"wipe")
    given = PathSecret(bytes(32))
    plan = plan_path(group.tree, A, group.suite, given, b"key")
    plan.wipe_path_secrets()
    assert all(secret.is_wiped for secret in plan.path_secrets.values())
    assert not given.is_wiped
    assert not plan.commit_secret.is_wiped


@pytest.mark.rfc("R-7.5-16", "R-8-10")
def test_what_a_path_passes_through_is_wiped(sent: Sent) -> None:
    group = TreeGroup.of_size(4, b"wipe")
    lone = TreeGroup(b"lone")
    given, node = PathSecret(bytes(32)), NodeIndex(3)
    secret = sent.done.plan.path_secrets[node]
    for work in (
        partial(plan_path, group.tree, A, group.suite, given, b"key"),
        partial(plan_path, lone.tree, A, lone.suite, given, b"key"),
        partial(sent.open, 3, sent.path),
        partial(path_keys_from, sent.after, A, node, secret, sent.suite),
    ):
        assert stray_secrets(work, sent, group) == []


@pytest.mark.rfc("R-7.5-17", "R-7.7-05", "R-4.2-01")
def test_private_keys_survive_while_their_nodes_stay_as_they_are() -> None:
    group = TreeGroup.of_size(8, b"survival")
    tree, keys = group.tree, group.private_keys[LeafIndex(0)]
    assert set(surviving_keys(tree, tree, keys)) == set(keys) == {0, 1, 3, 7}
    assert set(surviving_keys(tree, tree.remove_leaf(LeafIndex(7)), keys)) == {0, 1, 3}
    cut = tree
    for leaf in (7, 6, 5, 4):
        cut = cut.remove_leaf(LeafIndex(leaf))
    assert (cut.n_leaves, set(surviving_keys(tree, cut, keys))) == (4, {0, 1, 3})
    # A node that another path set again has another key; one that was blank before and is blank now has none.
    reset = group.tree.with_nodes({NodeIndex(3): ParentNode(b"another", b"", ())})
    assert set(surviving_keys(tree, reset, keys)) == {0, 1, 7}
    blanked = tree.with_nodes({NodeIndex(3): None})
    assert set(surviving_keys(blanked, blanked, keys)) == {0, 1, 7}


# §7.5, §7.6: what is sent.


@pytest.mark.rfc("R-7.5-05", "R-7.5-06", "R-7.6-04", "R-4.2-03")
def test_secrets_are_sealed_to_old_members_only(sent: Sent) -> None:
    assert [(x, sent.tree.resolution(child)) for x, child in sent.tree.filtered_direct_path(sent.sender)] == [
        (1, (2,)),
        (3, (4, 6)),
        (7, (11, 10)),
        (15, (16,)),
    ]
    assert sent.new_leaves == {2, 8}
    assert [len(node.encrypted_path_secret) for node in sent.path.nodes] == [1, 1, 2, 0]


@pytest.mark.rfc("R-7.5-07", "R-7.5-08")
def test_the_receivers_tree_is_the_senders(sent: Sent) -> None:
    received = sent.apply(sent.path)
    assert received.encode() == sent.after.encode()
    assert all(node.unmerged_leaves == () for x, node in received.parents() if x in (1, 3, 7, 15))
    assert sent.tree.encode() != received.encode()


@pytest.mark.rfc("R-7.5-11", "R-7.5-12", "R-7.5-13", "R-7.5-15")
def test_every_receiver_learns_the_nodes_above_the_common_one(sent: Sent) -> None:
    learnt = {me: sent.open(me, sent.path) for me in sent.receivers}
    assert {me: set(opened.private_keys) for me, opened in learnt.items()} == {
        1: {1, 3, 7, 15},
        3: {3, 7, 15},
        **{me: {7, 15} for me in (4, 5, 6, 7)},
    }
    assert {opened.commit_secret.expose() for opened in learnt.values()} == {sent.done.plan.commit_secret.expose()}
    # Leaf 5 is unmerged at node 11 and opens with its leaf's key; leaf 4 holds the key of node 11.
    without_leaf = {x: key for x, key in sent.keys[LeafIndex(4)].items() if x != 8}
    opened = open_path(
        sent.after, A, LeafIndex(4), sent.path, sent.suite, without_leaf, sent.done.context, sent.new_leaves
    )
    assert opened.node == 7
    with pytest.raises(UsageError):
        open_path(sent.after, A, LeafIndex(5), sent.path, sent.suite, {}, sent.done.context, sent.new_leaves)
    with pytest.raises(UsageError):
        open_path(sent.after, A, A, sent.path, sent.suite, sent.keys[A], sent.done.context, sent.new_leaves)


@pytest.mark.rfc("R-7.5-07", "R-7.4-01")
@pytest.mark.parametrize(("n_members", "removed", "sender", "filtered"), [(4, [1], 0, 1), (8, [0, 1, 2, 3], 4, 7)])
def test_a_path_blanks_nodes_that_it_leaves_out(n_members: int, removed: list[int], sender: int, filtered: int) -> None:
    group = TreeGroup.of_size(n_members, b"left out")
    group.remove(*map(LeafIndex, removed))
    node, leaf = NodeIndex(filtered), LeafIndex(sender)
    # No member makes such a tree, but whoever invites might.
    tree = group.tree.with_nodes({node: ParentNode(bytes(31) + b"\x02", b"", ())})
    plan = plan_path(tree, leaf, group.suite, PathSecret(bytes(32)), bytes(31) + b"\x01")
    assert node not in plan.nodes
    content = leaf_node(plan.leaf_public_key, CommitSource(plan.leaf_parent_hash))
    after = plan.install(LeafSlot.of(content))
    path = seal_path(plan, after, content, group.suite, b"context", group.entropy)
    for each in (after, apply_path(tree, leaf, path, group.suite)):
        assert each.is_blank(node)
        assert all(not each.is_blank(x) for x in plan.nodes)


@pytest.mark.rfc("R-7.5-07", "R-7.9-06", "R-7.9-07")
def test_a_path_merges_everybody_below_it() -> None:
    group = TreeGroup.of_size(3, b"merges")
    assert group.add() == [3]
    root = group.tree.parent(NodeIndex(3))
    assert root is not None
    assert root.unmerged_leaves == (3,)
    done = group.commit(A)
    received = apply_path(done.before, A, done.path, group.suite, done.new_leaves)
    assert received.encode() == group.tree.encode()
    assert {x: node.unmerged_leaves for x, node in received.parents() if x in (1, 3)} == {1: (), 3: ()}
    verify_tree_structure(received, group.suite)


@pytest.mark.rfc("R-7.6-01")
def test_the_fields_of_a_path() -> None:
    leaf = leaf_node(b"key")
    path = UpdatePath(leaf, (UpdatePathNode(b"node", (HPKECiphertext(b"kem", b"text"), HPKECiphertext(b"", b"x"))),))
    ciphertexts = b"\x03kem\x04text" + b"\x00\x01x"
    nodes = b"\x04node" + bytes([len(ciphertexts)]) + ciphertexts
    assert encode(path) == encode(leaf) + bytes([len(nodes)]) + nodes
    assert decode(UpdatePath, encode(path)) == path


# §7.6, §12.4.2: what is refused.


@pytest.mark.rfc("R-7.6-02")
def test_a_path_of_another_length_is_refused(sent: Sent) -> None:
    for nodes in (sent.path.nodes[:-1], (*sent.path.nodes, UpdatePathNode(b"key", ())), ()):
        assert refusal(sent.apply, replace(sent.path, nodes=nodes)) == ("R-7.6-02", Code.BAD_PATH)


@pytest.mark.parametrize("index", range(4))
@pytest.mark.rfc("R-7.6-03", "R-7.6-04")
def test_a_wrong_number_of_ciphertexts_is_refused_at_every_node(sent: Sent, index: int) -> None:
    node = sent.path.nodes[index]
    more = (*node.encrypted_path_secret, HPKECiphertext(b"kem output", b"ciphertext"))
    for ciphertexts in (more, node.encrypted_path_secret[:-1]):
        if len(ciphertexts) != len(node.encrypted_path_secret):
            path = with_node(sent.path, index, replace(node, encrypted_path_secret=ciphertexts))
            assert refusal(sent.apply, path) == ("R-7.6-03", Code.BAD_PATH)


@pytest.mark.rfc("R-7.5-06", "R-7.6-03")
def test_ciphertexts_for_new_members_are_refused(sent: Sent) -> None:
    assert refusal(apply_path, sent.tree, A, sent.path, sent.suite)[0] == "R-7.6-03"


@pytest.mark.rfc("R-12.4.2-10")
def test_a_leaf_that_keeps_its_key_is_refused(sent: Sent) -> None:
    old = sent.tree.encryption_key(node_of(sent.sender))
    assert old is not None
    for key in (old, old[:31] + bytes([old[31] ^ 0x80])):
        path = replace(sent.path, leaf_node=replace(sent.path.leaf_node, encryption_key=key))
        assert refusal(sent.apply, path) == ("R-12.4.2-10", Code.DUPLICATE_KEY)


@pytest.mark.rfc("R-12.4.2-11")
def test_keys_that_the_tree_holds_are_refused(sent: Sent) -> None:
    # Another leaf, another parent, a new leaf, and an old node of the very path that is replaced.
    for x in (2, 6, 13, 11, 4, 16, 1):
        key = sent.tree.encryption_key(NodeIndex(x))
        assert key is not None
        leaf = replace(sent.path.leaf_node, encryption_key=key)
        node = replace(sent.path.nodes[1], encryption_key=key[:31] + bytes([key[31] ^ 0x80]))
        for path in (replace(sent.path, leaf_node=leaf), with_node(sent.path, 1, node)):
            assert refusal(sent.apply, path) == ("R-12.4.2-11", Code.DUPLICATE_KEY)


@pytest.mark.parametrize("key", [bytes(32), bytes(31) + b"\x80", b"\x01" + bytes(31), bytes(31), bytes(33), b""])
@pytest.mark.rfc("R-5.1.1-04", "N-K01")
def test_a_key_of_the_path_that_is_none_is_refused(sent: Sent, key: bytes) -> None:
    for index, x in enumerate((1, 3, 7, 15)):
        path = with_node(sent.path, index, replace(sent.path.nodes[index], encryption_key=key))
        with pytest.raises(InvalidKey, match=f"node {x}:") as refused:
            sent.apply(path)
        assert refused.value.rule == ("N-K01" if len(key) == 32 else "R-5.1.1-04")


@pytest.mark.rfc("R-12.4.2-12")
def test_keys_that_repeat_within_the_path_are_refused(sent: Sent) -> None:
    for key in (sent.path.nodes[0].encryption_key, sent.path.leaf_node.encryption_key):
        path = with_node(sent.path, 2, replace(sent.path.nodes[2], encryption_key=key))
        assert refusal(sent.apply, path) == ("R-12.4.2-12", Code.DUPLICATE_KEY)


@pytest.mark.rfc("R-7.5-08", "R-7.9.2-06")
def test_a_leaf_with_another_parent_hash_is_refused(sent: Sent) -> None:
    for source in (CommitSource(bytes(32)), CommitSource(b""), UpdateSource(), PUBLISHED):
        path = replace(sent.path, leaf_node=replace(sent.path.leaf_node, source=source))
        assert refusal(sent.apply, path) == ("R-7.5-08", Code.PARENT_HASH_MISMATCH)
    # A changed key anywhere on the path changes the hash that the leaf must carry.
    for index, node in enumerate(sent.path.nodes):
        changed = sent.suite.generate_key_pair(sent.group.entropy).public
        path = with_node(sent.path, index, replace(node, encryption_key=changed))
        assert refusal(sent.apply, path)[0] == "R-7.5-08"


def sealed_otherwise(sent: Sent, change: Callable[[bytes], bytes]) -> UpdatePath:
    """Return the path with every path secret changed before it is sealed."""
    plan = sent.done.plan
    secrets = {x: PathSecret(change(secret.expose())) for x, secret in plan.path_secrets.items()}
    other = replace(plan, path_secrets=secrets)
    context = sent.done.context
    return seal_path(other, sent.after, sent.path.leaf_node, sent.suite, context, sent.group.entropy, sent.new_leaves)


@pytest.mark.rfc("R-7.5-14")
def test_a_path_secret_that_leads_elsewhere_is_refused(sent: Sent) -> None:
    assert sealed_otherwise(sent, bytes).nodes[3] == sent.path.nodes[3]
    path = sealed_otherwise(sent, lambda secret: secret[::-1])
    for me in sent.receivers:
        assert refusal(sent.open, me, path) == ("R-7.5-14", Code.PATH_SECRET_MISMATCH)


@pytest.mark.rfc("R-7.5-14", "R-7.5-11")
def test_a_wrong_public_key_above_the_common_node_is_refused(sent: Sent) -> None:
    other = sent.suite.generate_key_pair(sent.group.entropy).public
    for x, victims in ((1, (1,)), (3, (1, 3)), (7, sent.receivers), (15, sent.receivers)):
        node = sent.after.parent(NodeIndex(x))
        assert node is not None
        after = sent.after.with_nodes({NodeIndex(x): replace(node, encryption_key=other)})
        for me in sent.receivers:
            if me in victims:
                assert refusal(sent.open, me, sent.path, after)[0] == "R-7.5-14"
            else:
                assert sent.open(me, sent.path, after).private_keys


@pytest.mark.parametrize("length", [0, 31, 33])
@pytest.mark.rfc("R-7.6-06")
def test_a_path_secret_of_another_length_is_refused(sent: Sent, length: int) -> None:
    path = sealed_otherwise(sent, lambda secret: (secret + b"more")[:length])
    for me in sent.receivers:
        assert refusal(sent.open, me, path) == ("R-7.6-06", Code.PATH_SECRET_MISMATCH)


@pytest.mark.rfc("R-7.6-05", "R-7.5-11")
def test_ciphertexts_that_do_not_open_are_refused(sent: Sent) -> None:
    for index, node in enumerate(sent.path.nodes[:3]):
        damaged = tuple(
            replace(sealed, ciphertext=sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1]))
            for sealed in node.encrypted_path_secret
        )
        path = with_node(sent.path, index, replace(node, encrypted_path_secret=damaged))
        victims = ((1,), (3,), (4, 5, 6, 7))[index]
        for me in sent.receivers:
            if me in victims:
                assert refusal(sent.open, me, path, error=InvalidCiphertext)[1] == Code.AEAD_FAILED
            else:
                assert sent.open(me, path).private_keys
    keys = sent.keys[B]
    with pytest.raises(InvalidCiphertext):
        open_path(sent.after, A, B, sent.path, sent.suite, keys, b"another context", sent.new_leaves)


# §12.4.3.1: a joiner's path secret.


@pytest.mark.rfc("R-12.4.3.1-21")
def test_a_joiner_derives_the_path_above_its_common_node(sent: Sent) -> None:
    secrets = sent.done.plan.path_secrets
    for joiner, node in ((2, 3), (8, 15)):
        secret = secrets[NodeIndex(node)]
        learnt = path_keys_from(sent.after, A, NodeIndex(node), secret, sent.suite)
        assert set(learnt) == {x for x in (3, 7, 15) if x >= node}
        for x, private in learnt.items():
            assert isinstance(private, HPKEPrivateKey)
            assert sent.suite.hpke_public_key(private) == sent.after.encryption_key(x)
        assert joiner in sent.new_leaves
        assert not secret.is_wiped


@pytest.mark.rfc("R-12.4.3.1-21")
def test_a_joiner_refuses_a_secret_that_does_not_fit(sent: Sent) -> None:
    secrets = sent.done.plan.path_secrets
    expected = ("R-12.4.3.1-21", Code.PATH_SECRET_MISMATCH)
    wrong = secrets[NodeIndex(7)]
    assert refusal(path_keys_from, sent.after, A, NodeIndex(3), wrong, sent.suite) == expected
    blanked = sent.after.with_nodes({NodeIndex(7): None})
    right = secrets[NodeIndex(3)]
    assert refusal(path_keys_from, blanked, A, NodeIndex(3), right, sent.suite) == expected
    with pytest.raises(UsageError):
        path_keys_from(sent.after, A, NodeIndex(5), right, sent.suite)


# An external joiner's leaf is still blank when its path is made.


@pytest.mark.rfc("R-7.5-01", "R-12.1.1-03")
def test_a_path_is_made_for_a_leaf_that_is_still_blank() -> None:
    for n_members in (3, 4):
        group = TreeGroup.of_size(n_members, b"external")
        tree, place = group.tree.with_room()
        assert (place, tree.n_leaves) == (n_members, 4 if n_members == 3 else 8)
        plan = plan_path(tree, place, group.suite, PathSecret(bytes(32)), bytes(31) + b"\x01")
        leaf = leaf_node(plan.leaf_public_key, CommitSource(plan.leaf_parent_hash))
        after = plan.install(LeafSlot.of(leaf))
        path = seal_path(plan, after, leaf, group.suite, b"context", group.entropy)
        received = apply_path(tree, place, path, group.suite)
        assert received.encode() == after.encode()
        verify_tree_structure(after, group.suite)
        for me, keys in group.private_keys.items():
            opened = open_path(after, place, me, path, group.suite, keys, b"context")
            assert opened.commit_secret.expose() == plan.commit_secret.expose()
