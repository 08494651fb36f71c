"""What members owe one another: distinct keys, and support for each other's credentials. RFC 9420 §7.3, §16.7.

These rules are judged on the tree that a commit results in, so that a member's keys may return with its removal only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from mls.crypto import CipherSuite
from mls.epoch.leaves import Demands, decode_leaf_node, verify_demands
from mls.errors import Code, InvalidKey, InvalidLeafNode
from mls.identity import CredentialPolicy
from mls.messages import DEFAULT_EXTENSIONS, DEFAULT_PROPOSALS, Capabilities, Credential, LeafNode
from mls.rules import require
from treekem.hashing import has_distinct_encryption_keys
from treekem.index import LeafIndex, NodeIndex, is_leaf, leaf_of
from treekem.leaf_node import LeafPart, leaf_parts
from treekem.tree import RatchetTree
from treekem.wire import decode

_FEW: Final = 64
_SHARE: Final = 4  # From a quarter of all members on, a question about all of them costs less.


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
    if _are_most(fresh, tree) and has_distinct_encryption_keys(tree, suite):
        return
    for index in sorted(fresh):
        slot = tree.leaf(index)
        if slot is not None:
            holders = tree.nodes_with_encryption_key(slot.encryption_key, suite)
            # Of two fresh leaves, the later one is named.
            others = [x for x in holders if not is_leaf(x) or leaf_of(x) not in fresh or leaf_of(x) < index]
            _verify_holders(others, index)


def _verify_holders(others: Sequence[NodeIndex], index: LeafIndex) -> None:
    message = f"leaf {index}: its encryption key is that of node {others[0]}" if others else ""
    on_leaf, on_parent = any(map(is_leaf, others)), bool(others) and not any(map(is_leaf, others))
    duplicate = Code.DUPLICATE_KEY
    require(not on_leaf, InvalidLeafNode, "R-7.3-14", message, code=duplicate, leaf=index)
    require(not on_parent, InvalidLeafNode, "R-16.7-01", message, code=duplicate, leaf=index)


def verify_signature_keys(tree: RatchetTree, fresh: frozenset[LeafIndex], suite: CipherSuite) -> None:
    """Check that no fresh leaf's signature key is that of another leaf, nor a key of the other kind.

    Raises InvalidLeafNode. RFC 9420 §7.3, §16.7.
    """
    if _are_most(fresh, tree) and has_distinct_signature_keys(tree, suite):
        return
    slots = ((index, tree.leaf(index)) for index in sorted(fresh))
    leaves = [(index, slot, leaf_parts(slot.encoded).signature_key) for index, slot in slots if slot is not None]
    for index, _, key in leaves:
        holders = tree.leaves_with(key, SIGNATURE_KEY)
        # Leaves that were there before come first, so the fresh one is named.
        other = min(holders, key=lambda leaf: (leaf in fresh, leaf))
        message = f"leaf {index}: its signature key is that of leaf {other}"
        require(other == index, InvalidLeafNode, "R-7.3-13", message, code=Code.DUPLICATE_KEY, leaf=index)
    for index, slot, key in leaves:
        crossed = _is_encryption_key(tree, key, suite) or bool(tree.leaves_with(slot.encryption_key, SIGNATURE_KEY))
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
    if not fresh:
        return
    census = tree.census(traits_of)
    in_use = {trait - USED_CREDENTIALS.start for trait in census.traits(USED_CREDENTIALS)}
    if _are_most(fresh, tree) and has_every_member(tree, (CREDENTIALS.start + kind for kind in in_use)):
        return
    for index in sorted(fresh):
        slot = tree.leaf(index)
        if slot is None:
            continue
        parts = leaf_parts(slot.encoded)
        kind = int.from_bytes(parts.credential_type, "big")
        traits = traits_of(parts.credential_type, parts.capabilities)
        message = f"leaf {index}: some member does not support credential type {kind}"
        unsupported = Code.UNSUPPORTED_CAPABILITY
        is_common = census.count(CREDENTIALS.start + kind) == tree.n_members
        require(is_common, InvalidLeafNode, "R-7.3-06", message, code=unsupported, leaf=index)
        missing = sorted(each for each in in_use if CREDENTIALS.start + each not in traits)
        message = f"leaf {index}: it does not support the credential types {missing} of other members"
        require(not missing, InvalidLeafNode, "R-7.3-07", message, code=unsupported, leaf=index)


def verify_all_demands(tree: RatchetTree, demands: Demands) -> None:
    """Check every member against what a changed group context asks for. Raises InvalidLeafNode. RFC 9420 §12.1.7."""
    required = demands.required
    extensions = demands.extension_types.union(required.extension_types) - DEFAULT_EXTENSIONS
    wanted = (
        *(EXTENSIONS.start + each for each in extensions),
        *(PROPOSALS.start + each for each in set(required.proposal_types) - DEFAULT_PROPOSALS),
        *(CREDENTIALS.start + each for each in required.credential_types),
    )
    if has_every_member(tree, wanted):
        return
    for index, leaf in leaf_nodes(tree):
        verify_demands(leaf, demands, index)


def has_every_member(tree: RatchetTree, traits: Iterable[int]) -> bool:
    """Whether all members have all of these traits; they are counted, and nobody is looked at."""
    wanted = frozenset(traits)
    if not wanted:
        return True
    census = tree.census(traits_of)
    return all(census.count(trait) == tree.n_members for trait in wanted)


# One question about a whole tree, where questions about each of many leaves would cost more.


def _are_most(fresh: Sized, tree: RatchetTree) -> bool:
    return len(fresh) > _FEW and _SHARE * len(fresh) >= tree.n_members


def has_distinct_signature_keys(tree: RatchetTree, suite: CipherSuite) -> bool:
    """Whether no two leaves have one signature key, and no such key is an encryption key of any node.

    Raises InvalidKey for an encryption key that is none. RFC 9420 §7.3, §16.7.
    """
    signing = tree.leaf_parts(LeafPart.SIGNATURE_KEY)
    encrypting = [key for _, key in tree.encryption_keys()]
    distinct, canonical = set(signing), set(suite.canonical_public_keys(encrypting))
    is_crossed = not distinct.isdisjoint(encrypting) or not canonical.isdisjoint(_as_encryption_keys(signing, suite))
    return len(distinct) == len(signing) and not is_crossed


def _as_encryption_keys(keys: Sequence[bytes], suite: CipherSuite) -> list[bytes]:
    """Return the canonical form of the signature keys that can be encryption keys: all or none in most suites."""
    try:
        return suite.canonical_public_keys(keys)
    except InvalidKey:
        return [canonical for key in keys for canonical in _canonical_forms(key, suite)]


def _canonical_forms(key: bytes, suite: CipherSuite) -> tuple[bytes, ...]:
    try:
        return (suite.canonical_public_key(key),)
    except InvalidKey:
        return ()


# What is looked up in trees: keys and traits of leaves.

USED_CREDENTIALS: Final = range(0x10000)
"""The traits of leaves: that the credential is of a type,"""

CREDENTIALS: Final = range(0x10000, 0x20000)
"""that a type of credentials is supported,"""

EXTENSIONS: Final = range(0x20000, 0x30000)
"""of extensions,"""

PROPOSALS: Final = range(0x30000, 0x40000)
"""or of proposals."""

_CAPABILITIES_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 512  # In octets: a set takes some 35 times as much.


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """The signature key of a leaf, a key to look it up by."""

    part: ClassVar[LeafPart] = LeafPart.SIGNATURE_KEY

    def __call__(self, part: bytes) -> bytes:
        """Return the key, which is the part of the leaf itself."""
        return part


SIGNATURE_KEY: Final = SignatureKey()
"""What leaves are looked up by when somebody signs."""


def traits_of(credential_type: bytes, encoded_capabilities: bytes) -> frozenset[int]:
    """Return the type of a leaf's credential and the types that it lists, as numbers in the ranges above.

    Members list mostly the same, so that is remembered; but no long lists, since members decide how long theirs are.
    """
    if len(encoded_capabilities) <= _LONGEST_REMEMBERED:
        return _remembered_traits(credential_type, encoded_capabilities)
    return _listed_traits(credential_type, encoded_capabilities)


@lru_cache(maxsize=_CAPABILITIES_REMEMBERED)
def _remembered_traits(credential_type: bytes, encoded_capabilities: bytes) -> frozenset[int]:
    return _listed_traits(credential_type, encoded_capabilities)


def _listed_traits(credential_type: bytes, encoded_capabilities: bytes) -> frozenset[int]:
    capabilities = decode(Capabilities, encoded_capabilities)
    listed = (
        (CREDENTIALS, capabilities.credentials),
        (EXTENSIONS, capabilities.extensions),
        (PROPOSALS, capabilities.proposals),
    )
    supported = (kinds.start + each for kinds, types in listed for each in types)
    return frozenset((USED_CREDENTIALS.start + int.from_bytes(credential_type, "big"), *supported))


@dataclass(frozen=True, slots=True)
class IdentityOf:
    """The identity of a leaf by the application's policy, a key to look it up by. Raises what the policy does."""

    policy: CredentialPolicy
    part: ClassVar[LeafPart] = LeafPart.CREDENTIAL

    def __call__(self, part: bytes) -> bytes:
        """Return the identity that a leaf's credential presents."""
        return self.policy.identity(decode(Credential, part))
