"""A client's new key packages, and what it signs them with. RFC 9420 §5.3, §10."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from mls.crypto import SUITES, CipherSuite, SignatureKeyPair, SignaturePrivateKey, cipher_suite
from mls.drafting import read_key_package
from mls.epoch.create_commit import LeafContent
from mls.epoch.environment import Environment
from mls.epoch.grease import grease_extensions, greased
from mls.epoch.join import KeyPackageBundle
from mls.epoch.leaves import Demands, verify_key_package
from mls.epoch.limits import verify_suite_allowed
from mls.errors import Code, UsageError
from mls.identity import Identity
from mls.messages import (
    Capabilities,
    Credential,
    CredentialType,
    Extension,
    GroupContext,
    KeyPackage,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    Lifetime,
    ProtocolVersion,
    encode_unsigned,
    leaf_node_tbs,
)
from mls.rules import require
from mls.settings import Settings
from treekem.index import LeafIndex

_POSITIONLESS: Final = LeafPosition(b"", LeafIndex(0))


@dataclass(frozen=True, slots=True)
class Signer:
    """A credential of a client, with the key pair that speaks for it under one cipher suite."""

    credential: Credential
    suite: CipherSuite
    keys: SignatureKeyPair

    @classmethod
    def of(cls, identity: Identity) -> Signer:
        """Return what an identity in use signs with. Raises UsageError for one without a key."""
        suite, key = cipher_suite(identity.suite), identity.signature_key
        if key is None:
            raise UsageError("an identity in use has a signature key")
        return cls(identity.credential, suite, SignatureKeyPair(key, suite.signature_public_key(key)))

    def copied_keys(self) -> SignatureKeyPair:
        """Return the keys for a group to hold, and to wipe when it ends."""
        return SignatureKeyPair(SignaturePrivateKey(self.keys.private.expose()), self.keys.public)


def create_key_package(
    signer: Signer, lifetime: int | None, env: Environment, *, last_resort: bool, extensions: tuple[Extension, ...]
) -> KeyPackageBundle:
    """Return a new key package, valid for `lifetime` seconds; None asks for what settings have as the default.

    Raises UsageError or InvalidKeyPackage. RFC 9420 §10.
    """
    suite, settings = signer.suite, env.settings
    verify_suite_allowed(suite.id, settings, own=True)
    lifetime = min(settings.default_lifetime, settings.max_lifetime) if lifetime is None else lifetime
    allowed = 0 < lifetime <= settings.max_lifetime
    message = f"a lifetime of {lifetime} s, where max_lifetime is {settings.max_lifetime} s"
    require(allowed, UsageError, "R-7.2-13", message, code=Code.LIFETIME_INVALID)
    init_keys, encryption_keys = suite.generate_key_pair(env.entropy), suite.generate_key_pair(env.entropy)
    span = Lifetime(max(0, env.now - settings.clock_skew), env.now + lifetime)
    declared = (*extensions, *grease_extensions(env, extensions))
    leaf = _signed_leaf(signer, encryption_keys.public, span, declared, env)
    unsigned = KeyPackage(ProtocolVersion.MLS10, suite.id, init_keys.public, leaf, declared, b"")
    tbs = encode_unsigned(unsigned)
    package = replace(unsigned, signature=suite.sign_with_label(signer.keys.private, b"KeyPackageTBS", tbs))
    verify_key_package(package, demands_of_no_group(suite), env, strict=True)
    keys = signer.copied_keys()
    return KeyPackageBundle(package, init_keys.private, encryption_keys.private, keys, last_resort)


def _signed_leaf(
    signer: Signer, encryption_key: bytes, lifetime: Lifetime, declared: tuple[Extension, ...], env: Environment
) -> LeafNode:
    extensions = grease_extensions(env)
    unsigned = LeafNode(
        encryption_key=encryption_key,
        signature_key=signer.keys.public,
        credential=signer.credential,
        capabilities=greased(_capabilities_of(env), (*extensions, *declared), env),
        source=KeyPackageSource(lifetime),
        extensions=extensions,
        signature=b"",
    )
    tbs = leaf_node_tbs(unsigned, _POSITIONLESS)
    return replace(unsigned, signature=signer.suite.sign_with_label(signer.keys.private, b"LeafNodeTBS", tbs))


def common_cipher_suites(key_packages: Iterable[bytes], settings: Settings | None = None) -> frozenset[int]:
    """Return the cipher suites of this engine that all of these clients support, for a founder to choose from.

    Whoever carries key packages could hold back the better ones. So look at those that are about to be added, each of
    which lists all suites of its client: choose the best, and where that is another one, fetch key packages for it.
    What they say is verified when they are added. Raises MalformedMessage or InvalidKeyPackage. RFC 9420 §11.
    """
    common, chosen = frozenset(SUITES), Settings() if settings is None else settings
    for each in key_packages:
        capabilities = read_key_package(each, chosen).leaf_node.capabilities
        speaks = ProtocolVersion.MLS10 in capabilities.versions
        common &= frozenset(capabilities.cipher_suites if speaks else ())
    return common


def own_capabilities(extension_types: tuple[int, ...] = (), proposal_types: tuple[int, ...] = ()) -> Capabilities:
    """Return what this engine supports beyond the defaults, with what policies read and the application adds.

    RFC 9420 §7.2.
    """
    versions, credentials = (int(ProtocolVersion.MLS10),), tuple(int(known) for known in CredentialType)
    return Capabilities(versions, tuple(SUITES), extension_types, proposal_types, credentials)


def _capabilities_of(env: Environment) -> Capabilities:
    extension_types = {*env.roles.extension_types, *env.registry.extension_types}
    able = own_capabilities(tuple(sorted(extension_types)), env.registry.proposal_types)
    # What settings leave out is not offered: others might move the group there.
    return replace(able, cipher_suites=tuple(filter(env.settings.cipher_suites.__contains__, able.cipher_suites)))


def own_leaf_content(signer: Signer, env: Environment) -> LeafContent:
    """Return what a client's leaf says in a group that it enters from outside. RFC 9420 §7.2, §12.4.3.2."""
    extensions = grease_extensions(env)
    capabilities = greased(_capabilities_of(env), extensions, env)
    return LeafContent(signer.credential, signer.copied_keys(), capabilities, extensions)


def demands_of_no_group(suite: CipherSuite) -> Demands:
    """Return what no group in particular asks of a key package: the suite, and nothing else."""
    return Demands.of(GroupContext(ProtocolVersion.MLS10, suite.id, b"", 0, b"", b"", ()), suite)
