"""Update paths: fresh keys from a leaf to the root, and their secrets sealed to everyone else. RFC 9420 §7.4-7.6.

The committer plans a path, signs its new leaf over `leaf_parent_hash`, installs the leaf, computes the tree hash and
with it the provisional group context, and then seals. A receiver applies the public part, computes the same context,
and opens.

`tree` is the tree after the proposals; `tree_after` has the path merged in. Leaves that the same commit adds count when
the path is filtered, but nothing is sealed to them: they learn their secret from the Welcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from treekem.errors import Code, InvalidPath, MLSError, UsageError
from treekem.hashing import parent_hash, verify_parent_key
from treekem.index import LeafIndex, NodeIndex, direct_path, is_in_subtree, node_of
from treekem.leaf_node import CommitSource, LeafNode
from treekem.nodes import Content, HPKECiphertext, LeafSlot, ParentNode, UpdatePath, UpdatePathNode
from treekem.rules import require
from treekem.suite import CommitSecret, Entropy, HPKEPrivateKey, PathSecret, TreeSuite
from treekem.tree import RatchetTree

_LABEL = b"UpdatePathNode"
_MANY = 8


@dataclass(frozen=True, slots=True)
class PathPlan:
    """A committer's new keys, before its leaf is signed; `nodes` and `public_keys` go from below to the root."""

    tree: RatchetTree
    sender: LeafIndex
    leaf_public_key: bytes
    leaf_parent_hash: bytes
    nodes: tuple[NodeIndex, ...]
    public_keys: tuple[bytes, ...]
    parents: Mapping[NodeIndex, ParentNode]
    path_secrets: Mapping[NodeIndex, PathSecret]
    private_keys: Mapping[NodeIndex, HPKEPrivateKey]
    commit_secret: CommitSecret

    def install(self, slot: LeafSlot) -> RatchetTree:
        """Return the tree with the path and the signed leaf merged in. Raises UsageError for another leaf than planned.

        RFC 9420 §7.5.
        """
        if (slot.encryption_key, slot.parent_hash) != (self.leaf_public_key, self.leaf_parent_hash):
            raise UsageError("the leaf does not carry the encryption key and parent hash of the plan")
        return _merged(self.tree, self.sender, self.parents, slot)

    def wipe_path_secrets(self) -> None:
        """Forget the path secrets, once they are sealed. RFC 9420 §7.5."""
        for secret in self.path_secrets.values():
            secret.wipe()


@dataclass(frozen=True, slots=True)
class OpenedPath:
    """What a receiver learns from a path: the private keys of `node` and the path above it, and the commit secret."""

    node: NodeIndex
    path_secret: PathSecret
    private_keys: Mapping[NodeIndex, HPKEPrivateKey]
    commit_secret: CommitSecret


def plan_path(
    tree: RatchetTree, sender: LeafIndex, suite: TreeSuite, path_secret: PathSecret, leaf_public_key: bytes
) -> PathPlan:
    """Derive the keys of the sender's filtered direct path from `path_secret`, Nh fresh random bytes.

    The sender's leaf may still be blank, as a joiner's is before its external commit.

    RFC 9420 §7.4, §7.5.
    """
    nodes = tuple(node for node, _ in tree.filtered_direct_path(sender))
    path_secrets: dict[NodeIndex, PathSecret] = {}
    private_keys: dict[NodeIndex, HPKEPrivateKey] = {}
    public_keys = []
    secret = path_secret.copy()
    for node in nodes:
        if path_secrets:
            secret = suite.derive_path_secret(secret)
        pair = suite.derive_node_key_pair(secret)
        path_secrets[node], private_keys[node] = secret, pair.private
        public_keys.append(pair.public)

    # One step beyond the last node; without any node, the first secret itself.
    commit_secret = suite.derive_commit_secret(secret) if nodes else CommitSecret(secret.expose())
    if not nodes:
        secret.wipe()
    parents, leaf_parent_hash = _parents_of_path(tree, sender, suite, tuple(public_keys))
    return PathPlan(
        tree=tree,
        sender=sender,
        leaf_public_key=leaf_public_key,
        leaf_parent_hash=leaf_parent_hash,
        nodes=nodes,
        public_keys=tuple(public_keys),
        parents=parents,
        path_secrets=path_secrets,
        private_keys=private_keys,
        commit_secret=commit_secret,
    )


def seal_path(
    plan: PathPlan,
    tree_after: RatchetTree,
    leaf_node: LeafNode,
    suite: TreeSuite,
    group_context: bytes,
    entropy: Entropy,
    new_leaves: AbstractSet[LeafIndex] = frozenset(),
) -> UpdatePath:
    """Seal each path secret to everyone below the other child of its node. Raises InvalidKey.

    `group_context` is the encoded provisional GroupContext, whose tree hash is that of `tree_after`.

    RFC 9420 §7.5, §7.6.
    """
    context = suite.seal_context(_LABEL, group_context)
    nodes = []
    for node, copath_child in tree_after.filtered_direct_path(plan.sender):
        secret = plan.path_secrets[node].expose()
        recipients = map(tree_after.encryption_key, _recipients(tree_after, copath_child, new_leaves))
        sealed = (suite.seal(key, context, secret, entropy) for key in recipients if key is not None)
        ciphertexts = tuple(HPKECiphertext(kem_output, ciphertext) for kem_output, ciphertext in sealed)
        nodes.append(UpdatePathNode(plan.parents[node].encryption_key, ciphertexts))
    return UpdatePath(leaf_node, tuple(nodes))


def apply_path(
    tree: RatchetTree,
    sender: LeafIndex,
    path: UpdatePath,
    suite: TreeSuite,
    new_leaves: AbstractSet[LeafIndex] = frozenset(),
) -> RatchetTree:
    """Return the tree with a received path merged in, once its shape, keys and parent hash are right.

    Raises InvalidPath, or InvalidKey for a parent's public key that is none. The leaf node, its key and its signature
    are judged above.

    RFC 9420 §7.5, §7.6, §12.4.2.
    """
    _verify_counts(tree, sender, path, new_leaves)
    keys = tuple(node.encryption_key for node in path.nodes)
    if len(keys) < _MANY or not suite.has_good_keys_only(keys):
        for (node, _), key in zip(tree.filtered_direct_path(sender), keys, strict=True):
            verify_parent_key(suite, node, key)
    _verify_fresh_keys(tree, sender, path, suite)

    parents, leaf_parent_hash = _parents_of_path(tree, sender, suite, keys)
    source = path.leaf_node.source
    is_bound = isinstance(source, CommitSource) and source.parent_hash == leaf_parent_hash
    message = f"the leaf of sender {sender} does not carry the parent hash of its path"
    require(is_bound, InvalidPath, "R-7.5-08", message, code=Code.PARENT_HASH_MISMATCH, leaf=sender)
    return _merged(tree, sender, parents, LeafSlot.of(path.leaf_node))


def open_path(
    tree_after: RatchetTree,
    sender: LeafIndex,
    me: LeafIndex,
    path: UpdatePath,
    suite: TreeSuite,
    private_keys: Mapping[NodeIndex, HPKEPrivateKey],
    group_context: bytes,
    new_leaves: AbstractSet[LeafIndex] = frozenset(),
) -> OpenedPath:
    """Open the one path secret that is sealed to this member, and derive everything above from it.

    `path` was accepted by `apply_path`; `private_keys` are those that the member holds, its leaf's included. Raises
    InvalidCiphertext, InvalidKey or InvalidPath.

    RFC 9420 §7.5.
    """
    position, recipient, node = _place_of_receiver(tree_after, sender, me, private_keys, new_leaves)
    sealed = path.nodes[position[0]].encrypted_path_secret[position[1]]
    context = suite.seal_context(_LABEL, group_context)
    plaintext = suite.open(private_keys[recipient], context, sealed.kem_output, sealed.ciphertext)
    right_length = len(plaintext) == suite.hash_length
    message = f"the path secret of node {node} has {len(plaintext)} bytes"
    require(right_length, InvalidPath, "R-7.6-06", message, code=Code.PATH_SECRET_MISMATCH)

    secret = PathSecret(plaintext)
    derived, commit_secret = _keys_above(tree_after, sender, node, secret, suite, (InvalidPath, "R-7.5-14"))
    return OpenedPath(node=node, path_secret=secret, private_keys=derived, commit_secret=commit_secret)


def path_keys_from(
    tree: RatchetTree,
    sender: LeafIndex,
    node: NodeIndex,
    path_secret: PathSecret,
    suite: TreeSuite,
    refusal: tuple[type[MLSError], str] = (InvalidPath, "R-12.4.3.1-21"),
) -> dict[NodeIndex, HPKEPrivateKey]:
    """Return the private keys of `node` and the sender's filtered direct path above it, as a joiner learns them.

    Raises the error of `refusal`, naming its rule, when a key does not fit the public key in the tree.

    RFC 9420 §12.4.3.1.
    """
    derived, commit_secret = _keys_above(tree, sender, node, path_secret, suite, refusal)
    commit_secret.wipe()
    return derived


def surviving_keys(
    before: RatchetTree, after: RatchetTree, private_keys: Mapping[NodeIndex, HPKEPrivateKey]
) -> dict[NodeIndex, HPKEPrivateKey]:
    """Return the private keys without those whose nodes were blanked, cut off or given another key.

    RFC 9420 §7.5, §7.7, §12.4.2.
    """
    return {
        x: private
        for x, private in private_keys.items()
        if (key := after.encryption_key(x)) is not None and key == before.encryption_key(x)
    }


def _parents_of_path(
    tree: RatchetTree, sender: LeafIndex, suite: TreeSuite, public_keys: tuple[bytes, ...]
) -> tuple[dict[NodeIndex, ParentNode], bytes]:
    """Return the nodes of a path with these keys, and the parent hash of the leaf below; both empty for an empty path.

    Hashes run from the top down; the topmost node has an empty parent hash, whether or not it is the root. A path
    resets the unmerged leaves of its nodes, so that a sibling's tree hash is its original one. RFC 9420 §7.5, §7.9.
    """
    parents = {}
    hash_above = b""
    filtered = tree.filtered_direct_path(sender)
    for (node, copath_child), key in zip(reversed(filtered), reversed(public_keys), strict=True):
        parents[node] = ParentNode(key, hash_above, ())
        hash_above = parent_hash(suite, parents[node], tree.node_hash(suite, copath_child))
    return parents, hash_above


def _merged(
    tree: RatchetTree, sender: LeafIndex, parents: Mapping[NodeIndex, ParentNode], slot: LeafSlot
) -> RatchetTree:
    blanks: dict[NodeIndex, Content] = dict.fromkeys(direct_path(node_of(sender), tree.n_leaves))
    return tree.with_path(sender, {**blanks, **parents, node_of(sender): slot})


def _recipients(
    tree: RatchetTree, copath_child: NodeIndex, new_leaves: AbstractSet[LeafIndex]
) -> tuple[NodeIndex, ...]:
    resolution = tree.resolution(copath_child)
    if not new_leaves:
        return resolution
    new = {node_of(leaf) for leaf in new_leaves}
    return tuple(x for x in resolution if x not in new)


def _verify_counts(tree: RatchetTree, sender: LeafIndex, path: UpdatePath, new_leaves: AbstractSet[LeafIndex]) -> None:
    filtered = tree.filtered_direct_path(sender)
    message = f"the path has {len(path.nodes)} nodes where {len(filtered)} are due"
    require(len(path.nodes) == len(filtered), InvalidPath, "R-7.6-02", message, leaf=sender)
    for index, ((node, copath_child), sent) in enumerate(zip(filtered, path.nodes, strict=True)):
        n_sent, n_due = len(sent.encrypted_path_secret), len(_recipients(tree, copath_child, new_leaves))
        message = "" if n_sent == n_due else f"node {node} of the path has {n_sent} ciphertexts where {n_due} are due"
        require(n_sent == n_due, InvalidPath, "R-7.6-03", message, leaf=sender, index=index)


def _verify_fresh_keys(tree: RatchetTree, sender: LeafIndex, path: UpdatePath, suite: TreeSuite) -> None:
    present = tree.leaf(sender)
    leaf_key = path.leaf_node.encryption_key
    canonical = suite.canonical_public_key
    is_changed = present is None or canonical(leaf_key) != canonical(present.encryption_key)
    message = f"leaf {sender} keeps its encryption key"
    require(is_changed, InvalidPath, "R-12.4.2-10", message, code=Code.DUPLICATE_KEY, leaf=sender)

    keys = suite.canonical_public_keys((leaf_key, *(node.encryption_key for node in path.nodes)))
    is_distinct = len(set(keys)) == len(keys)
    message = "two encryption keys of the path are the same"
    require(is_distinct, InvalidPath, "R-12.4.2-12", message, code=Code.DUPLICATE_KEY, leaf=sender)
    for holders in tree.nodes_with_encryption_keys(keys, suite):
        is_new = not holders
        message = "an encryption key of the path is in the tree already"
        require(is_new, InvalidPath, "R-12.4.2-11", message, code=Code.DUPLICATE_KEY, leaf=sender)


def _place_of_receiver(
    tree: RatchetTree,
    sender: LeafIndex,
    me: LeafIndex,
    private_keys: Mapping[NodeIndex, HPKEPrivateKey],
    new_leaves: AbstractSet[LeafIndex],
) -> tuple[tuple[int, int], NodeIndex, NodeIndex]:
    """Return where the receiver's ciphertext stands, the node it is sealed to, and the node whose secret it holds."""
    for index, (node, copath_child) in enumerate(tree.filtered_direct_path(sender)):
        if not is_in_subtree(node_of(me), copath_child):
            continue
        for position, recipient in enumerate(_recipients(tree, copath_child, new_leaves)):
            if recipient in private_keys:
                return (index, position), recipient, node
    raise UsageError(f"leaf {me} holds no private key that opens a path of leaf {sender}")


def _keys_above(
    tree: RatchetTree,
    sender: LeafIndex,
    node: NodeIndex,
    path_secret: PathSecret,
    suite: TreeSuite,
    refusal: tuple[type[MLSError], str],
) -> tuple[dict[NodeIndex, HPKEPrivateKey], CommitSecret]:
    """Return the private keys from `node` upward, each compared with the tree's public key, and the commit secret."""
    path = tuple(x for x, _ in tree.filtered_direct_path(sender))
    if node not in path:
        raise UsageError(f"node {node} is not on the filtered direct path of leaf {sender}")
    error, rule = refusal
    derived: dict[NodeIndex, HPKEPrivateKey] = {}
    secret = path_secret.copy()
    for x in path[path.index(node) :]:
        below, secret = secret, suite.derive_path_secret(secret) if derived else secret.copy()
        below.wipe()
        pair = suite.derive_node_key_pair(secret)
        message = f"the path secret does not lead to the public key of node {x}"
        require(pair.public == tree.encryption_key(x), error, rule, message, code=Code.PATH_SECRET_MISMATCH)
        derived[x] = pair.private
    commit_secret = suite.derive_commit_secret(secret)
    secret.wipe()
    return derived, commit_secret
