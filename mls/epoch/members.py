"""What members owe one another: distinct keys, and support for each other's credentials. RFC 9420 §7.3, §16.7.

These rules are judged on the tree that a commit results in, so that a member's keys may return with its removal only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mls.crypto import CipherSuite
from mls.epoch.leaves import Demands, credential_type, decode_leaf_node, verify_demands
from mls.errors import Code, InvalidKey, InvalidLeafNode
from mls.messages import LeafNode
from mls.rules import require
from treekem.index import LeafIndex, is_leaf, node_of
from treekem.tree import RatchetTree


def leaf_nodes(tree: RatchetTree) -> Iterator[tuple[LeafIndex, LeafNode]]:
    """Iterate over the leaves that are not blank, decoded."""
    for index, slot in tree.leaves():
        yield index, decode_leaf_node(slot.encoded)


def verify_members(tree: RatchetTree, changed: Iterable[LeafIndex], suite: CipherSuite) -> None:
    """Check the leaves that a commit changed against all members. Raises InvalidLeafNode. RFC 9420 §7.3.

    Only what changed is compared, because the rest held before.
    """
    fresh = frozenset(changed)
    if not fresh:
        return
    verify_encryption_keys(tree, fresh, suite)
    verify_signature_keys(tree, fresh, suite)
    verify_credential_support(tree, fresh)


def verify_encryption_keys(tree: RatchetTree, fresh: frozenset[LeafIndex], suite: CipherSuite) -> None:
    """Check that no fresh leaf's encryption key is that of another node. Raises InvalidLeafNode.

    RFC 9420 §7.3, §16.7.
    """
    leaves = [(index, slot) for index in sorted(fresh) if (slot := tree.leaf(index)) is not None]
    # Once asked, a tree remembers its keys, and so do the trees that are edited from it.
    for _, slot in leaves[:1]:
        tree.has_encryption_key(slot.encryption_key, suite)
    others = tree.with_nodes(dict.fromkeys(map(node_of, fresh)))
    for index, slot in leaves:
        if others.has_encryption_key(slot.encryption_key, suite):
            _verify_holder(others, slot.encryption_key, index, suite)
        others = others.with_nodes({node_of(index): slot})


def _verify_holder(tree: RatchetTree, key: bytes, index: LeafIndex, suite: CipherSuite) -> None:
    canonical = suite.canonical_public_key
    holders = [x for x, held in tree.encryption_keys() if canonical(held) == canonical(key)]
    message = f"leaf {index}: its encryption key is that of node {holders[0]}"
    among_leaves, duplicate = any(map(is_leaf, holders)), Code.DUPLICATE_KEY
    require(not among_leaves, InvalidLeafNode, "R-7.3-14", message, code=duplicate, leaf=index)
    require(among_leaves, InvalidLeafNode, "R-16.7-01", message, code=duplicate, leaf=index)


def verify_signature_keys(tree: RatchetTree, fresh: frozenset[LeafIndex], suite: CipherSuite) -> None:
    """Check that no fresh leaf's signature key is that of another leaf, nor a key of the other kind.

    Raises InvalidLeafNode. RFC 9420 §7.3, §16.7.
    """
    holders: dict[bytes, LeafIndex] = {}
    # Leaves that were there before come first, so the fresh one is named.
    ordered = sorted(leaf_nodes(tree), key=lambda pair: pair[0] in fresh)
    for index, leaf in ordered:
        other = holders.setdefault(leaf.signature_key, index)
        message = f"leaf {index}: its signature key is that of leaf {other}"
        require(other == index, InvalidLeafNode, "R-7.3-13", message, code=Code.DUPLICATE_KEY, leaf=index)
    for index, leaf in ordered:
        if index in fresh:
            crossed = leaf.encryption_key in holders or _is_encryption_key(tree, leaf.signature_key, suite)
            message = f"leaf {index}: a key signs and encrypts at once"
            require(not crossed, InvalidLeafNode, "R-16.7-01", message, code=Code.DUPLICATE_KEY, leaf=index)


def _is_encryption_key(tree: RatchetTree, key: bytes, suite: CipherSuite) -> bool:
    try:
        return tree.has_encryption_key(key, suite)
    except InvalidKey:
        return False


def verify_credential_support(tree: RatchetTree, fresh: frozenset[LeafIndex]) -> None:
    """Check that fresh leaves and all others can read each other's credentials. Raises InvalidLeafNode.

    RFC 9420 §7.3.
    """
    in_use: set[int] = set()
    common: set[int] | None = None
    for _, leaf in leaf_nodes(tree):
        in_use.add(credential_type(leaf.credential))
        supported = leaf.capabilities.credentials
        common = set(supported) if common is None else common.intersection(supported)
    for index, leaf in leaf_nodes(tree):
        if index not in fresh:
            continue
        kind = credential_type(leaf.credential)
        message = f"leaf {index}: some member does not support credential type {kind}"
        unsupported = Code.UNSUPPORTED_CAPABILITY
        require(kind in (common or ()), InvalidLeafNode, "R-7.3-06", message, code=unsupported, leaf=index)
        missing = in_use.difference(leaf.capabilities.credentials)
        message = f"leaf {index}: it does not support the credential types {sorted(missing)} of other members"
        require(not missing, InvalidLeafNode, "R-7.3-07", message, code=unsupported, leaf=index)


def verify_all_demands(tree: RatchetTree, demands: Demands) -> None:
    """Check every member against what a changed group context asks for. Raises InvalidLeafNode. RFC 9420 §12.1.7."""
    for index, leaf in leaf_nodes(tree):
        verify_demands(leaf, demands, index)
