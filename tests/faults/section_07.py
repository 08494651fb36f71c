"""Faults in nodes of ratchet trees, and in how members change them. RFC 9420 §7.1-7.5."""

from __future__ import annotations

from typing import Annotated

from mls import drafting, key_packages, merging
from mls.crypto import CipherSuite
from mls.epoch import create_commit, grease, join, leaves, proposals, receive_commit
from mls.messages import (
    Capabilities,
    CommitSource,
    CredentialType,
    KeyPackageSource,
    LeafNode,
    Lifetime,
    leaf_node,
    signed,
)
from tests.support.planting import Edit, Fault, Layout
from treekem import path, tree
from treekem.nodes import (
    ParentNode,
)
from treekem.wire import Fixed, UInt16, UInt32, Width

_LEAF_FIELDS = ("encryption_key", "signature_key", "credential", "capabilities", "source", "extensions", "signature")
_FIRST = "path_secret = PathSecret(env.entropy(suite.hash_length))"

FAULTS = [
    # §7.1: parent nodes.
    Fault(
        "R-7.1-01",
        "the parent hash stands before the key",
        Layout(ParentNode, order=("parent_hash", "encryption_key", "unmerged_leaves")),
    ),
    Fault(
        "R-7.1-01",
        "unmerged leaves take two bytes each",
        Layout(ParentNode, types=(("unmerged_leaves", tuple[UInt16, ...]),)),
    ),
    Fault(
        "R-7.1-03",
        "a new leaf is the last one of those that are unmerged",
        Edit(
            tree._with_unmerged,
            "(*node.unmerged_leaves[:place], leaf, *node.unmerged_leaves[place:])",
            "(*node.unmerged_leaves, leaf)",
        ),
    ),
    # §7.2: leaf nodes.
    Fault(
        "R-7.2-01",
        "extensions stand before the source",
        Layout(LeafNode, order=(*_LEAF_FIELDS[:4], "extensions", "source", "signature")),
    ),
    Fault(
        "R-7.2-01",
        "the signature key stands before the encryption key",
        Layout(LeafNode, order=("signature_key", "encryption_key", *_LEAF_FIELDS[2:])),
    ),
    Fault("R-7.2-02", "a lifetime begins with its end", Layout(Lifetime, order=("not_after", "not_before"))),
    Fault(
        "R-7.2-02",
        "the parent hash of a leaf has no length",
        Layout(CommitSource, types=(("parent_hash", Annotated[bytes, Fixed(4)]),)),
    ),
    Fault(
        "R-7.2-02",
        "a lifetime takes four bytes",
        Layout(Lifetime, types=(("not_before", UInt32), ("not_after", UInt32))),
    ),
    Fault(
        "R-7.2-03",
        "proposals stand before extensions",
        Layout(Capabilities, order=("versions", "cipher_suites", "proposals", "extensions", "credentials")),
    ),
    Fault(
        "R-7.2-03",
        "credential types take four bytes each",
        Layout(Capabilities, types=(("credentials", tuple[UInt32, ...]),)),
    ),
    Fault(
        "R-7.2-04",
        "default extension types are listed",
        Edit(key_packages.own_capabilities, "tuple(SUITES), extension_types", "tuple(SUITES), (1, *extension_types)"),
    ),
    Fault(
        "R-7.2-04",
        "default proposal types are listed",
        Edit(key_packages.own_capabilities, "proposal_types, credentials)", "(*proposal_types, 7), credentials)"),
    ),
    Fault(
        "R-7.2-05",
        "who lists default types is refused",
        Edit(
            leaves.verify_self_description,
            "used = credential_type(leaf.credential)",
            "used = credential_type(leaf.credential)\n    _support(not DEFAULT_PROPOSALS.intersection("
            'leaf.capabilities.proposals), "R-7.2-05", "a default type is listed", index)',
        ),
    ),
    Fault(
        "R-7.2-06",
        "one cipher suite is not listed",
        Edit(key_packages.own_capabilities, "tuple(SUITES)", "tuple(SUITES)[:-1]"),
    ),
    Fault(
        "R-7.2-06",
        "X.509 credentials are not listed",
        Edit(key_packages.own_capabilities, "for known in CredentialType", "for known in [CredentialType.BASIC]"),
    ),
    Fault(
        "R-7.2-07",
        "our own path brings a leaf that nobody judged",
        Edit(create_commit._verify_own_path, "if new.path is not None:", "if new.path is None:"),
    ),
    Fault(
        "R-7.2-09",
        "credential types that nobody knows are refused in capabilities",
        Layout(Capabilities, types=(("credentials", tuple[Annotated[CredentialType, Width(2)], ...]),)),
    ),
    Fault(
        "R-7.2-10",
        "own capabilities hold no value that means nothing",
        Edit(grease.greased, "if not env.settings.grease:", "if env.settings.grease:"),
    ),
    Fault(
        "R-7.2-10",
        "own capabilities hold the same meaningless value every time",
        Edit(grease.greased, "or _drawn(entropy, ())", "or (0x0A0A,)"),
    ),
    Fault(
        "R-7.2-11",
        "leaves are signed under another label",
        Edit(create_commit.sign_leaf, 'b"LeafNodeTBS"', 'b"LeafNode"'),
        Edit(key_packages._signed_leaf, 'b"LeafNodeTBS"', 'b"LeafNode"'),
        Edit(leaves.verify_leaf_node, 'b"LeafNodeTBS"', 'b"LeafNode"'),
    ),
    Fault(
        "R-7.2-11",
        "the last byte before the signature is not signed",
        Edit(signed.encode_unsigned, "- len(encode_varint(length))", "- len(encode_varint(length)) - 1"),
    ),
    Fault(
        "R-7.2-12",
        "the leaf index is not signed",
        Edit(leaf_node.leaf_node_tbs, "fields + encode(position)", "fields + encode(position)[:-4]"),
    ),
    Fault(
        "R-7.2-12",
        "a key package's leaf is signed for a place",
        Edit(
            leaf_node.leaf_node_tbs,
            "case KeyPackageSource():\n            return fields",
            "case KeyPackageSource():\n            return fields + encode(position)",
        ),
    ),
    Fault(
        "R-7.2-16",
        "a leaf may change its encryption key and keep its signature",
        Edit(
            leaf_node.leaf_node_tbs,
            "fields = encode_unsigned(leaf_node)",
            "fields = encode_unsigned(leaf_node)[1 + len(leaf_node.encryption_key) :]",
        ),
    ),
    Fault(
        "R-7.2-17",
        "a published leaf enters the tree without its signature",
        Edit(
            proposals._edited_tree,
            "LeafSlot.of(key_package.leaf_node)",
            'LeafSlot.of(replace(key_package.leaf_node, signature=b""))',
        ),
    ),
    # §7.3: validation.
    Fault(
        "R-7.3-01",
        "a leaf that replaces another one is not judged",
        Edit(
            proposals.verify_replacement,
            "verify_leaf_node(leaf, position, demands, env, strict=strict, signer=signer)",
            "pass",
        ),
    ),
    Fault(
        "R-7.3-01",
        "a key package's leaf is not judged",
        Edit(
            leaves._verify_key_package,
            "verify_leaf_node(leaf, None, demands, env, strict=strict)",
            "pass",
        ),
    ),
    Fault(
        "R-7.3-01",
        "the leaves of a tree are not judged at a join",
        Edit(
            join.verify_joined_tree,
            "verify_leaf_node(leaf, LeafPosition(group.context.group_id, index), demands, lenient)",
            "pass",
        ),
    ),
    Fault(
        "R-7.3-15",
        "a tree may not hold a leaf that an Update brought",
        Edit(
            leaves.verify_leaf_node,
            "index = None if position is None else position.leaf_index",
            "index = None if position is None else position.leaf_index\n    "
            '_support(hasattr(leaf.source, "lifetime") or hasattr(leaf.source, '
            '"parent_hash"), "R-7.3-15", "its source is update", index)',
        ),
    ),
    Fault(
        "R-7.3-15",
        "a tree may not hold a leaf that a commit brought",
        Layout(LeafNode, types=(("source", KeyPackageSource | leaf_node.UpdateSource),)),
    ),
    # §7.4: evolution.
    Fault(
        "R-7.4-01",
        "nodes that are filtered out of a path keep their keys",
        Edit(path._merged, "{**blanks, **parents,", "{**parents,"),
    ),
    Fault(
        "R-7.4-01",
        "the root is not blanked",
        Edit(
            path._merged,
            "direct_path(node_of(sender), tree.n_leaves)",
            "direct_path(node_of(sender), tree.n_leaves)[:-1]",
        ),
    ),
    Fault(
        "R-7.4-02",
        "the committer's leaf key derives from the path secret",
        Edit(
            create_commit.create_path,
            f"leaf_keys = suite.generate_key_pair(env.entropy)\n    {_FIRST}",
            f"{_FIRST}\n    leaf_keys = suite.derive_key_pair(path_secret)",
        ),
    ),
    Fault(
        "R-7.4-03",
        "path secrets derive under another label",
        Edit(CipherSuite.derive_path_secret, 'b"path"', 'b"node"'),
    ),
    Fault(
        "R-7.4-03",
        "the first path secret is the same every time",
        Edit(
            create_commit.create_path,
            "PathSecret(env.entropy(suite.hash_length))",
            "PathSecret(bytes(suite.hash_length))",
        ),
    ),
    Fault(
        "R-7.4-04",
        "receivers derive a secret for every node of the direct path",
        Edit(
            path._keys_above,
            "tuple(x for x, _ in tree.filtered_direct_path(sender))",
            "tuple(direct_path(node_of(sender), tree.n_leaves))",
        ),
    ),
    Fault(
        "R-7.4-04",
        "the first secret is spent where the lowest node is filtered out",
        Edit(
            path.plan_path,
            "secret = path_secret.copy()",
            "secret = path_secret.copy()\n"
            "    if nodes and nodes[0] != direct_path(node_of(sender), tree.n_leaves)[0]:\n"
            "        secret = suite.derive_path_secret(secret)",
        ),
    ),
    Fault(
        "R-7.4-05",
        "key pairs derive from node secrets of another label",
        Edit(CipherSuite.derive_node_key_pair, 'b"node"', 'b"path"'),
    ),
    Fault(
        "R-7.4-05",
        "key pairs derive from path secrets",
        Edit(CipherSuite.derive_node_key_pair, "self.derive_key_pair(node_secret)", "self.derive_key_pair(secret)"),
    ),
    # §7.5: synchronizing views of the tree.
    Fault(
        "R-7.5-01",
        "parent hashes run from the leaf to the root",
        Edit(
            path._parents_of_path,
            "zip(reversed(filtered), reversed(public_keys), strict=True)",
            "zip(filtered, public_keys, strict=True)",
        ),
    ),
    Fault(
        "R-7.5-02",
        "a leaf with another parent hash than planned is installed",
        Edit(
            path.PathPlan.install,
            "(slot.encryption_key, slot.parent_hash) != (self.leaf_public_key, self.leaf_parent_hash)",
            "slot.encryption_key != self.leaf_public_key",
        ),
    ),
    Fault(
        "R-7.5-02",
        "a leaf with another key than planned is installed",
        Edit(
            path.PathPlan.install,
            "(slot.encryption_key, slot.parent_hash) != (self.leaf_public_key, self.leaf_parent_hash)",
            "slot.parent_hash != self.leaf_parent_hash",
        ),
    ),
    Fault(
        "R-7.5-04",
        "a commit does not change the extensions of its leaf",
        Edit(drafting.draft_leaf, '("credential", "capabilities", "extensions")', '("credential", "capabilities")'),
    ),
    Fault(
        "R-7.5-04",
        "a commit does not change the credential of its leaf",
        Edit(drafting.draft_leaf, '("credential", "capabilities", "extensions")', '("capabilities", "extensions")'),
    ),
    Fault(
        "R-7.5-04",
        "a commit keeps the signature key that it should rotate",
        Edit(drafting.draft_leaf, "if changes.rotate_signature_key:", "if changes.rotate_signature_key and False:"),
    ),
    Fault(
        "R-7.5-05",
        "path secrets are sealed to a resolution from right to left",
        Edit(
            path.seal_path,
            "_recipients(tree_after, copath_child, new_leaves)",
            "reversed(_recipients(tree_after, copath_child, new_leaves))",
        ),
    ),
    Fault(
        "R-7.5-05",
        "the last one of a resolution is sealed to the first one's key",
        Edit(
            path.seal_path,
            "_recipients(tree_after, copath_child, new_leaves)",
            "(found := _recipients(tree_after, copath_child, new_leaves))[:-1] + found[:1]",
        ),
    ),
    Fault(
        "R-7.5-06",
        "path secrets are sealed to leaves that the commit adds",
        Edit(path._recipients, " if x not in new", ""),
    ),
    Fault(
        "R-7.5-07",
        "nodes that a received path filters out keep their keys",
        Edit(path._merged, "{**blanks, **parents,", "{**parents,"),
    ),
    Fault(
        "R-7.5-07",
        "nodes of a path keep their unmerged leaves",
        Edit(
            path._parents_of_path,
            "ParentNode(key, hash_above, ())",
            "ParentNode(key, hash_above, before.unmerged_leaves if (before := tree.parent(node)) else ())",
        ),
    ),
    Fault(
        "R-7.5-09",
        "the root's parent hash is full of zeros",
        Edit(path._parents_of_path, 'hash_above = b""', "hash_above = bytes(suite.hash_length)"),
    ),
    Fault(
        "R-7.5-10",
        "a lone member's commit secret is derived",
        Edit(path.plan_path, "if nodes else CommitSecret(secret.expose())", ""),
    ),
    Fault(
        "R-7.5-10",
        "a lone member's leaf has a parent hash",
        Edit(path._parents_of_path, "return parents, hash_above", "return parents, hash_above or suite.hash(b'')"),
    ),
    Fault(
        "R-7.5-11",
        "a receiver takes the first ciphertext of its node",
        Edit(path._place_of_receiver, "return (index, position), recipient", "return (index, 0), recipient"),
    ),
    Fault(
        "R-7.5-11",
        "a receiver takes its secret for the topmost node's",
        Edit(
            path._place_of_receiver,
            "return (index, position), recipient, node",
            "return (index, position), recipient, tree.filtered_direct_path(sender)[-1][0]",
        ),
    ),
    Fault(
        "R-7.5-12",
        "a receiver opens with its leaf's key only",
        Edit(path._place_of_receiver, "if recipient in private_keys:", "if recipient == node_of(me) and private_keys:"),
    ),
    Fault(
        "R-7.5-12",
        "a receiver opens with a parent's key only",
        Edit(
            path._place_of_receiver,
            "if recipient in private_keys:",
            "if recipient != node_of(me) and recipient in private_keys:",
        ),
    ),
    Fault(
        "R-7.5-13",
        "the topmost secret is not derived",
        Edit(
            path._keys_above,
            "path[path.index(node) :]",
            "path[path.index(node) : max(len(path) - 1, path.index(node) + 1)]",
        ),
    ),
    Fault(
        "R-7.5-15",
        "a receiver keeps the topmost key only",
        Edit(path._keys_above, "derived[x] = pair.private", "derived = {x: pair.private}"),
    ),
    Fault(
        "R-7.5-15",
        "a member forgets the keys that it derived from a path",
        Edit(receive_commit._open_path, "{**kept, **opened.private_keys}", "kept"),
    ),
    Fault(
        "R-7.5-16",
        "a committer keeps its path secrets",
        Edit(create_commit.NewPath.wipe_passing, "self.plan.wipe_path_secrets()", "pass"),
    ),
    Fault(
        "R-7.5-16",
        "a receiver keeps the path secret that it opened",
        Edit(receive_commit._open_path, "opened.path_secret.wipe()", "pass"),
    ),
    Fault(
        "R-7.5-16",
        "node secrets are kept once their key pairs are derived",
        Edit(CipherSuite.derive_node_key_pair, "node_secret.wipe()", "pass"),
    ),
    Fault(
        "R-7.5-17",
        "keys that a path replaced are kept",
        Edit(
            path.surviving_keys,
            "(key := after.encryption_key(x)) is not None and key == before.encryption_key(x)",
            "after.encryption_key(x) is not None",
        ),
    ),
    Fault(
        "R-7.5-17",
        "keys that were replaced are not wiped",
        Edit(merging._wipe_ended, "wipe_states(ended, kept=after.state)", "pass"),
    ),
]
