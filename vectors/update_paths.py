"""Kind treekem: update paths, opened by everybody, and made anew. RFC 9420 §7.4 to §7.6."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mls.crypto import CipherSuite, HPKEPrivateKey, SignaturePrivateKey
from mls.messages import CommitSource, GroupContext, LeafNode, LeafPosition, ProtocolVersion, leaf_node_tbs
from treekem.index import LeafIndex, NodeIndex, is_in_subtree, node_of
from treekem.nodes import LeafSlot, UpdatePath
from treekem.path import PathPlan, apply_path, open_path, plan_path, seal_path
from treekem.suite import Entropy, PathSecret
from treekem.tree import RatchetTree
from treekem.wire import decode, encode
from vectors.case import (
    Case,
    Kind,
    Mismatch,
    Recipe,
    array,
    expect,
    expect_octets,
    hpke_private_key,
    number,
    octets,
    parts,
    signature_private_key,
    suite_of,
)
from vectors.signed_trees import SignedTree
from vectors.trees import appendix_a_tree


@dataclass(frozen=True, slots=True)
class _Owner:
    """A member's private state."""

    private_keys: dict[NodeIndex, HPKEPrivateKey]
    signature_key: SignaturePrivateKey


@dataclass(frozen=True, slots=True)
class _Grove:
    """The tree of a case, its group, and its members by their leaves."""

    suite: CipherSuite
    tree: RatchetTree
    case: Case
    owners: dict[LeafIndex, _Owner]

    def group_context(self, after: RatchetTree) -> bytes:
        """Return the encoded group context that a path leading to `after` is sealed under."""
        return _group_context(self.suite, self.case, after)

    def verify_leaf(self, leaf_node: LeafNode, sender: LeafIndex) -> None:
        """Check that the sender signed its new leaf for its place in the group."""
        tbs = leaf_node_tbs(leaf_node, LeafPosition(octets(self.case, "group_id"), sender))
        self.suite.verify_with_label(leaf_node.signature_key, b"LeafNodeTBS", tbs, leaf_node.signature)


def verify_treekem(case: Case, entropy: Entropy) -> None:
    """Check every private state against the tree, then every path, then a path of our own for every sender."""
    suite, tree = suite_of(case), RatchetTree.decode(octets(case, "ratchet_tree"))
    expect_octets(tree.encode(), case, "ratchet_tree")
    owners = {
        LeafIndex(number(stated, "index")): _consistent_owner(suite, tree, stated)
        for stated in parts(case, "leaves_private")
    }
    expect(sorted(owners), [leaf for leaf, _ in tree.leaves()], "the leaves of leaves_private")
    grove = _Grove(suite, tree, case, owners)
    paths = parts(case, "update_paths")
    if not paths:
        raise Mismatch("update_paths is empty")
    for stated in paths:
        _verify_stated_path(grove, stated)
        _verify_path_of_our_own(grove, LeafIndex(number(stated, "sender")), entropy)


def _consistent_owner(suite: CipherSuite, tree: RatchetTree, stated: Case) -> _Owner:
    leaf = LeafIndex(number(stated, "index"))
    slot = tree.leaf(leaf)
    if slot is None:
        raise Mismatch(f"leaf {leaf} is blank and has private keys")
    signature_key = signature_private_key(suite, stated, "signature_priv")
    expect(suite.signature_public_key(signature_key), slot.leaf_node().signature_key, f"leaf {leaf}: signature_priv")
    keys = {node_of(leaf): hpke_private_key(suite, stated, "encryption_priv")}
    for known in parts(stated, "path_secrets"):
        node = NodeIndex(number(known, "node"))
        expect(is_in_subtree(node_of(leaf), node), True, f"leaf {leaf}: whether node {node} is above it")  # noqa: FBT003  (a value to compare)
        keys[node] = suite.derive_node_key_pair(PathSecret(octets(known, "path_secret"))).private
    for node, private in keys.items():
        public = tree.encryption_key(node)
        expect(suite.hpke_public_key(private), public, f"leaf {leaf}: the public key of node {node}")
    return _Owner(keys, signature_key)


def _verify_stated_path(grove: _Grove, stated: Case) -> None:
    sender, path = LeafIndex(number(stated, "sender")), decode(UpdatePath, octets(stated, "update_path"))
    expect_octets(encode(path), stated, "update_path")
    grove.verify_leaf(path.leaf_node, sender)
    after = apply_path(grove.tree, sender, path, grove.suite)
    where = f"the path of leaf {sender}: "
    expect_octets(after.tree_hash(grove.suite), stated, "tree_hash_after", where)
    path_secrets = array(stated, "path_secrets")
    expect(len(path_secrets), grove.tree.n_leaves, where + "the length of path_secrets")
    context = grove.group_context(after)
    for index, path_secret in enumerate(path_secrets):
        me = LeafIndex(index)
        if me == sender or me not in grove.owners:
            expect(None, path_secret, where + f"path_secrets[{me}]")
            continue
        keys = grove.owners[me].private_keys
        opened = open_path(after, sender, me, path, grove.suite, keys, context)
        expect(opened.path_secret.expose().hex(), path_secret, where + f"path_secrets[{me}]")
        expect_octets(opened.commit_secret, stated, "commit_secret", where + f"opened by leaf {me}, ")


def _verify_path_of_our_own(grove: _Grove, sender: LeafIndex, entropy: Entropy) -> None:
    suite = grove.suite
    pair, secret = suite.generate_key_pair(entropy), PathSecret(entropy(suite.hash_length))
    plan = plan_path(grove.tree, sender, suite, secret, pair.public)
    leaf_node = _planned_leaf(grove, plan)
    grove.verify_leaf(leaf_node, sender)
    after = plan.install(LeafSlot.of(leaf_node))
    context = grove.group_context(after)
    sealed = seal_path(plan, after, leaf_node, suite, context, entropy)
    path = decode(UpdatePath, encode(sealed))
    where = f"a path of our own from leaf {sender}"
    expect(apply_path(grove.tree, sender, path, suite).encode(), after.encode(), f"{where}: the tree after it")
    for me, owner in grove.owners.items():
        if me != sender:
            opened = open_path(after, sender, me, path, suite, owner.private_keys, context)
            what = f"{where}, opened by leaf {me}: the commit secret"
            expect(opened.commit_secret.expose(), plan.commit_secret.expose(), what)


def _planned_leaf(grove: _Grove, plan: PathPlan) -> LeafNode:
    slot = grove.tree.leaf(plan.sender)
    if slot is None:
        raise Mismatch(f"sender: leaf {plan.sender} is blank")
    source = CommitSource(plan.leaf_parent_hash)
    unsigned = replace(slot.leaf_node(), encryption_key=plan.leaf_public_key, source=source)
    tbs = leaf_node_tbs(unsigned, LeafPosition(octets(grove.case, "group_id"), plan.sender))
    signature = grove.suite.sign_with_label(grove.owners[plan.sender].signature_key, b"LeafNodeTBS", tbs)
    return replace(unsigned, signature=signature)


def _group_context(suite: CipherSuite, case: Case, after: RatchetTree) -> bytes:
    group_id, epoch, confirmed = octets(case, "group_id"), number(case, "epoch"), "confirmed_transcript_hash"
    tree_hash = after.tree_hash(suite)
    return encode(
        GroupContext(ProtocolVersion.MLS10, suite.id, group_id, epoch, tree_hash, octets(case, confirmed), ())
    )


def generate_treekem(recipe: Recipe) -> Iterator[Case]:
    """Yield grown trees of two to eight members, one with blanks, and two with an unmerged leaf."""
    suite, entropy = recipe.suite, recipe.entropy
    for n_members in (2, 5) if recipe.small else range(2, 9):
        yield _case(SignedTree.grown(suite, entropy, n_members), recipe)
    if recipe.small:
        return
    blanked = SignedTree.grown(suite, entropy, 8)
    blanked.commit(LeafIndex(0), removals=[LeafIndex(2), LeafIndex(3)])
    yield _case(blanked, recipe)
    unmerged = SignedTree.grown(suite, entropy, 7)
    unmerged.add(*unmerged.offer())
    yield _case(unmerged, recipe)
    yield _case(appendix_a_tree(suite, entropy), recipe)


def _case(grown: SignedTree, recipe: Recipe) -> Case:
    case: Case = {
        "cipher_suite": recipe.suite.id,
        "group_id": grown.group_id.hex(),
        "epoch": int.from_bytes(recipe.entropy(4), "big"),
        "confirmed_transcript_hash": recipe.entropy(recipe.suite.hash_length).hex(),
        "ratchet_tree": grown.tree.encode().hex(),
        "leaves_private": [_private_state(grown, leaf) for leaf in sorted(grown.owners)],
    }
    senders = sorted(grown.owners)[:: 3 if recipe.small else 1]
    return {**case, "update_paths": [_sent_path(grown, sender, case) for sender in senders]}


def _private_state(grown: SignedTree, leaf: LeafIndex) -> Case:
    owner = grown.owners[leaf]
    return {
        "index": leaf,
        "encryption_priv": owner.encryption_key.expose().hex(),
        "signature_priv": owner.signature_keys.private.expose().hex(),
        "path_secrets": [
            {"node": node, "path_secret": secret.expose().hex()} for node, secret in sorted(owner.path_secrets.items())
        ],
    }


def _sent_path(grown: SignedTree, sender: LeafIndex, case: Case) -> Case:
    planned = grown.planned(sender)
    context = _group_context(grown.suite, case, planned.tree_after)
    leaves = [LeafIndex(index) for index in range(grown.tree.n_leaves)]
    return {
        "sender": sender,
        "update_path": encode(grown.sealed(planned, context)).hex(),
        "path_secrets": [_learnt(planned.plan, leaf) if leaf in grown.owners else None for leaf in leaves],
        "commit_secret": planned.plan.commit_secret.expose().hex(),
        "tree_hash_after": planned.tree_after.tree_hash(grown.suite).hex(),
    }


def _learnt(plan: PathPlan, leaf: LeafIndex) -> str | None:
    """Return the path secret that a member opens: that of the lowest node of the path above it."""
    if leaf == plan.sender:
        return None
    node = next(node for node in plan.nodes if is_in_subtree(node_of(leaf), node))
    return plan.path_secrets[node].expose().hex()


_FIELDS = (
    *("cipher_suite", "group_id", "epoch", "confirmed_transcript_hash"),
    *("ratchet_tree", "leaves_private", "update_paths"),
)
KINDS = (Kind("treekem", frozenset(_FIELDS), verify_treekem, generate_treekem),)
