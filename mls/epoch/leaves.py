"""Validation of leaf nodes and key packages. RFC 9420 §7.3, §10.1.

A leaf is judged by itself here; what it must share with the other members, and what it may not, is judged on the
resulting tree, in `mls.epoch.members`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Final

from mls.crypto import CipherSuite, SignaturePrivateKey
from mls.epoch.environment import Environment
from mls.epoch.extensions import NO_REQUIREMENTS, required_capabilities, verify_extensions
from mls.epoch.grease import ungreased
from mls.epoch.limits import verify_extension_count
from mls.errors import Code, InvalidKey, InvalidKeyPackage, InvalidLeafNode, InvalidSignature, MLSError
from mls.messages import (
    DEFAULT_EXTENSIONS,
    DEFAULT_PROPOSALS,
    BasicCredential,
    Credential,
    CredentialType,
    Extension,
    GroupContext,
    KeyPackage,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    Lifetime,
    RequiredCapabilities,
    encode_unsigned,
    leaf_node_tbs,
)
from mls.registry import KEY_PACKAGE, LEAF_NODE
from mls.rules import require
from treekem.index import LeafIndex
from treekem.wire import decode

_SHORT: Final = 512  # Leaves with a basic credential are mostly half as long.
_LARGEST_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Demands:
    """What a group asks of every leaf: its version and suite, required capabilities, and the extensions it uses."""

    version: int
    suite: CipherSuite
    required: RequiredCapabilities
    extension_types: frozenset[int]

    @property
    def are_none(self) -> bool:
        """Whether nothing is asked for that a leaf may lack, but the version and the suite."""
        return self.required == NO_REQUIREMENTS and not self.extension_types

    @classmethod
    def of(cls, context: GroupContext, suite: CipherSuite, extensions: tuple[Extension, ...] | None = None) -> Demands:
        """Return the demands of a group; `extensions` are those in force after the commit, where it changes them."""
        in_force = context.extensions if extensions is None else extensions
        if not in_force:
            return cls(context.version, suite, NO_REQUIREMENTS, frozenset())
        types = frozenset(each.extension_type for each in in_force) - DEFAULT_EXTENSIONS
        required = required_capabilities(in_force)
        # A list may name a type over and over, and every leaf is compared with it.
        once = RequiredCapabilities(*(tuple(sorted(set(getattr(required, each.name)))) for each in fields(required)))
        return cls(context.version, suite, once, types)


def credential_type(credential: Credential) -> CredentialType:
    """Return the type of a credential."""
    return CredentialType.BASIC if isinstance(credential, BasicCredential) else CredentialType.X509


def decode_leaf_node(encoded: bytes) -> LeafNode:
    """Decode a leaf; the same leaves are looked at in every epoch, so recent ones are remembered.

    Members decide how large their leaves are, and a leaf that is little but lists of types takes many times its length:
    so of longer ones fewer are remembered, and of large ones none.
    """
    if len(encoded) <= _SHORT:
        return _remembered_leaf(encoded)
    return _remembered_long_leaf(encoded) if len(encoded) <= _LARGEST_REMEMBERED else decode(LeafNode, encoded)


@lru_cache(maxsize=16_384)
def _remembered_leaf(encoded: bytes) -> LeafNode:
    return decode(LeafNode, encoded)


@lru_cache(maxsize=1_024)
def _remembered_long_leaf(encoded: bytes) -> LeafNode:
    return decode(LeafNode, encoded)


def verify_leaf_node(
    leaf: LeafNode,
    position: LeafPosition | None,
    demands: Demands,
    env: Environment,
    *,
    strict: bool = False,
    signer: SignaturePrivateKey | None = None,
) -> None:
    """Check all that can be judged of a leaf alone; `strict` for leaves that are about to be sent.

    `position` is None for the leaf of a key package, which has no place yet, and whose errors name none. `signer` is
    the key that has signed a leaf of our own just now: it must be the leaf's, and then its signature need not be read.
    Raises InvalidLeafNode, InvalidSignature, InvalidKey or MalformedMessage. RFC 9420 §7.3.
    """
    index = None if position is None else position.leaf_index
    verify_leaf_keys(leaf, demands.suite, index)
    # A leaf from a key package is signed without a position, so any position serves.
    if signer is None:
        tbs = leaf_node_tbs(leaf, LeafPosition(b"", LeafIndex(0)) if position is None else position)
        verify_signature(demands.suite, leaf.signature_key, b"LeafNodeTBS", tbs, leaf.signature, "R-7.3-03", "a leaf's")
    else:
        is_own = demands.suite.signature_public_key(signer) == leaf.signature_key
        require(is_own, InvalidSignature, "R-7.3-03", "a leaf is signed with another key than its own")
    verify_statement(leaf, index, demands, env, strict=strict)
    if isinstance(leaf.source, KeyPackageSource):
        verify_lifetime(leaf.source.lifetime, env, index, strict=strict)


def verify_statement(
    leaf: LeafNode, index: LeafIndex | None, demands: Demands, env: Environment, *, strict: bool = False
) -> None:
    """Check a leaf's extensions and what it says it supports, which follow from what members may say alike.

    Raises InvalidLeafNode or MalformedMessage. RFC 9420 §7.2, §7.3, §13.4.
    """
    verify_extension_count(leaf.extensions, LEAF_NODE, InvalidLeafNode, env.settings, own=strict)
    verify_extensions(leaf.extensions, LEAF_NODE, InvalidLeafNode, env.registry)
    verify_self_description(leaf, index)
    verify_demands(leaf, demands, index)
    if strict or env.settings.require_listed_suite:
        verify_listed_suite(leaf, demands, index)


def verify_leaf_keys(leaf: LeafNode, suite: CipherSuite, index: LeafIndex | None) -> None:
    """Check that a leaf's public keys are keys of the suite. Raises InvalidKey. RFC 9420 §5.1.1, §10."""
    try:
        suite.verify_hpke_key(leaf.encryption_key)
        suite.verify_signature_key(leaf.signature_key)
    except InvalidKey as error:
        error.leaf = index
        raise


def verify_signature(
    suite: CipherSuite, key: bytes, label: bytes, content: bytes, signature: bytes, rule: str, whose: str
) -> None:
    """Check a signature, and name the rule when it fails. Raises InvalidSignature."""
    is_good = _is_signed(suite, key, label, content, signature)
    require(is_good, InvalidSignature, rule, f"{whose} signature does not verify")


def _is_signed(suite: CipherSuite, key: bytes, label: bytes, content: bytes, signature: bytes) -> bool:
    try:
        suite.verify_with_label(key, label, content, signature)
    except InvalidSignature:
        return False
    return True


def verify_self_description(leaf: LeafNode, index: LeafIndex | None) -> None:
    """Check that a leaf lists what it uses itself. Raises InvalidLeafNode. RFC 9420 §7.2, §7.3."""
    used = credential_type(leaf.credential)
    message = f"credential type {used} is used, but not listed"
    _support(used in leaf.capabilities.credentials, "R-7.2-08", message, index)
    listed = DEFAULT_EXTENSIONS.union(leaf.capabilities.extensions)
    for extension in leaf.extensions:
        kind = extension.extension_type
        _support(kind in listed, "R-7.3-10", f"extension {kind} is used, but not listed", index)


def verify_demands(leaf: LeafNode, demands: Demands, index: LeafIndex | None) -> None:
    """Check that a leaf supports what its group requires and uses. Raises InvalidLeafNode. RFC 9420 §7.3, §13.4."""
    if demands.are_none:
        return
    capabilities = leaf.capabilities
    extensions = DEFAULT_EXTENSIONS.union(capabilities.extensions)
    proposals = DEFAULT_PROPOSALS.union(capabilities.proposals)
    wanted = (
        (demands.required.extension_types, extensions, "R-7.3-04", "required extension"),
        (demands.required.proposal_types, proposals, "R-7.3-04", "required proposal"),
        (demands.required.credential_types, capabilities.credentials, "R-7.3-04", "required credential"),
        (demands.extension_types, extensions, "R-7.3-16", "group context extension"),
    )
    for types, supported, rule, what in wanted:
        _verify_supported(types, supported, rule, what, index)


def verify_own_demands(leaf: LeafNode, demands: Demands, index: LeafIndex | None) -> None:
    """Check that we support what a group requires and uses, whatever else our leaf lists. Raises InvalidLeafNode.

    What a leaf lists to no purpose may happen to be asked for. RFC 9420 §13.4, §13.5.
    """
    if demands.are_none:
        return
    verify_demands(replace(leaf, capabilities=ungreased(leaf.capabilities)), demands, index)


def _verify_supported(
    types: Iterable[int], supported: Iterable[int], rule: str, what: str, index: LeafIndex | None
) -> None:
    missing = sorted(set(types).difference(supported))
    _support(not missing, rule, f"{what} types {missing} are not supported", index)


def verify_listed_suite(leaf: LeafNode, demands: Demands, index: LeafIndex | None) -> None:
    """Check that a leaf lists the group's version and cipher suite. Raises InvalidLeafNode. RFC 9420 §7.3."""
    listed = demands.suite.id in leaf.capabilities.cipher_suites and demands.version in leaf.capabilities.versions
    _support(listed, "R-7.3-05", "the group's version or cipher suite is not listed", index)


def _name(index: LeafIndex | None) -> str:
    return "a key package's leaf" if index is None else f"leaf {index}"


def _support(condition: bool, rule: str, message: str, index: LeafIndex | None) -> None:
    text = f"{_name(index)}: {message}"
    require(condition, InvalidLeafNode, rule, text, code=Code.UNSUPPORTED_CAPABILITY, leaf=index)


def verify_lifetime(lifetime: Lifetime, env: Environment, index: LeafIndex | None, *, strict: bool = False) -> None:
    """Check a key package leaf's lifetime: its length always, the clock by setting. Raises InvalidLeafNode.

    RFC 9420 §7.2, §7.3.
    """
    settings = env.settings
    length = lifetime.not_after - lifetime.not_before
    _last(length >= 0, "R-7.2-14", "ends before it begins", index)
    # The setting bounds what is promised; the back-dating that clocks need comes on top.
    _last(length <= settings.max_lifetime + settings.clock_skew, "R-7.2-13", "is longer than allowed", index)
    if strict:
        is_current = lifetime.not_before <= env.now <= lifetime.not_after
        _last(is_current, "R-7.3-08", "does not include the present", index)
    elif settings.check_peer_lifetimes:
        skew = settings.clock_skew
        is_current = lifetime.not_before - skew <= env.now <= lifetime.not_after + skew
        _last(is_current, "R-7.3-09", "does not include the present", index)


def _last(condition: bool, rule: str, message: str, index: LeafIndex | None) -> None:
    text = f"{_name(index)}: its lifetime {message}"
    require(condition, InvalidLeafNode, rule, text, code=Code.LIFETIME_INVALID, leaf=index)


# Key packages, §10.1.


def verify_key_package(
    key_package: KeyPackage, demands: Demands, env: Environment, *, index: int | None = None, strict: bool = False
) -> None:
    """Check a key package for a group; `index` is its place in a list of them, for the error.

    Raises InvalidKeyPackage, InvalidLeafNode, InvalidSignature, InvalidKey or MalformedMessage. RFC 9420 §10.1.
    """
    try:
        _verify_key_package(key_package, demands, env, strict=strict)
    except MLSError as error:
        error.index = index
        raise


def _verify_key_package(key_package: KeyPackage, demands: Demands, env: Environment, *, strict: bool) -> None:
    suite, leaf = demands.suite, key_package.leaf_node
    fits = key_package.version == demands.version and key_package.cipher_suite == suite.id
    require(fits, InvalidKeyPackage, "R-10.1-02", "the key package is for another version or cipher suite")
    is_offered = isinstance(leaf.source, KeyPackageSource)
    require(is_offered, InvalidLeafNode, "R-7.3-11", "a key package's leaf has another source")
    suite.verify_hpke_key(key_package.init_key)
    distinct = suite.canonical_public_key(key_package.init_key) != suite.canonical_public_key(leaf.encryption_key)
    require(distinct, InvalidKeyPackage, "R-10.1-05", "init_key and encryption_key are the same")
    verify_extension_count(key_package.extensions, KEY_PACKAGE, InvalidKeyPackage, env.settings, own=strict)
    verify_extensions(key_package.extensions, KEY_PACKAGE, InvalidKeyPackage, env.registry)
    if strict or env.settings.require_declared_key_package_extensions:
        _verify_declared(key_package)
    verify_leaf_node(leaf, None, demands, env, strict=strict)
    verify_signature(
        suite,
        leaf.signature_key,
        b"KeyPackageTBS",
        encode_unsigned(key_package),
        key_package.signature,
        "R-10-03",
        "a key package's",
    )


def _verify_declared(key_package: KeyPackage) -> None:
    listed = DEFAULT_EXTENSIONS.union(key_package.leaf_node.capabilities.extensions)
    for extension in key_package.extensions:
        kind = extension.extension_type
        message = f"key package extension {kind} is not listed in the leaf's capabilities"
        require(kind in listed, InvalidKeyPackage, "R-10-10", message, code=Code.UNSUPPORTED_CAPABILITY)
