"""Faults in key packages. RFC 9420 §10."""

from __future__ import annotations

from mls import key_packages
from mls.client import Client
from mls.epoch import extensions, leaves, proposals
from mls.epoch.join import KeyPackageBundle
from mls.messages import KeyPackage, UpdateSource
from mls.store import client_records
from tests.support.planting import Constant, Edit, Fault, Layout

_VERIFIED = "verify_key_package(key_package, demands, env, strict=strict)"

FAULTS = [
    Fault(
        "R-10-01",
        "a key package has its leaf before its init_key",
        Layout(KeyPackage, ("version", "cipher_suite", "leaf_node", "init_key", "extensions", "signature")),
    ),
    Fault(
        "R-10-02",
        "a key package is signed under the label of leaves",
        Edit(key_packages.create_key_package, 'b"KeyPackageTBS"', 'b"LeafNodeTBS"'),
        Edit(leaves._verify_key_package, 'b"KeyPackageTBS"', 'b"LeafNodeTBS"'),
    ),
    Fault(
        "R-10-02",
        "a key package's signature leaves its version and suite out",
        Edit(key_packages.create_key_package, "tbs = encode_unsigned(unsigned)", "tbs = encode_unsigned(unsigned)[4:]"),
        Edit(leaves._verify_key_package, "encode_unsigned(key_package)", "encode_unsigned(key_package)[4:]"),
    ),
    Fault(
        "R-10-05",
        "any bytes are an init_key",
        Edit(
            leaves._verify_key_package,
            "suite.verify_hpke_key(key_package.init_key)\n"
            "    distinct = suite.canonical_public_key(key_package.init_key)",
            "distinct = key_package.init_key",
        ),
        Edit(proposals._verify_init_keys, "suite.canonical_public_key(key_package.init_key)", "key_package.init_key"),
    ),
    Fault(
        "R-10-06",
        "all key packages have one init_key",
        Edit(
            key_packages.create_key_package,
            "suite.generate_key_pair(env.entropy), ",
            "suite.generate_key_pair(lambda length: b'*' * length), ",
        ),
    ),
    Fault(
        "R-10-08",
        "a key package's leaf says that it comes from an Update",
        Constant(key_packages, "KeyPackageSource", lambda _: UpdateSource()),
        Edit(leaves._verify_key_package, "isinstance(leaf.source, KeyPackageSource)", "True"),
    ),
    Fault(
        "R-10-09",
        "own key packages are judged as leniently as those of others",
        Edit(key_packages.create_key_package, "strict=True", "strict=False"),
    ),
    Fault(
        "R-10-09",
        "a leaf does not list the meaningless extensions of its key package",
        Edit(key_packages._signed_leaf, "(*extensions, *declared)", "extensions"),
        Edit(key_packages.create_key_package, "strict=True", "strict=False"),
    ),
    Fault(
        "R-10-11",
        "a key package with an undeclared extension is refused, whoever it is of",
        Edit(leaves._verify_key_package, "strict or env.settings.require_declared_key_package_extensions", "True"),
    ),
    Fault(
        "R-10-11",
        "an extension that is not known has no place in a key package",
        Edit(extensions.verify_extensions, "_HOMES.get(kind, place) == place", "_HOMES.get(kind) == place"),
    ),
    Fault(
        "R-10-12",
        "a key package holds nothing that is meaningless",
        Edit(key_packages.create_key_package, "*grease_extensions(env, extensions)", ""),
    ),
    Fault(
        "R-10-14",
        "every key package is of the client's first suite",
        Edit(Client._create_bundle, "self._signer(suite)", "self._signer(None)"),
    ),
    Fault(
        "R-10-14",
        "a new key package takes the place of the one before",
        Edit(
            Client.key_package,
            "self._store.apply({key_package_key",
            "self._store.apply({**{name: None for name, _ in self._store.scan(KEY_PACKAGES)}, key_package_key",
        ),
    ),
    Fault(
        "R-10-15",
        "a key package stays when it is used",
        Edit(client_records.consumption, "key_package_key(reference): None, ", ""),
    ),
    Fault(
        "R-10-15",
        "the init key stays in memory when it was used",
        Edit(Client.join, "bundle.init_key.wipe()", "pass"),
    ),
    Fault(
        "R-10-16",
        "a key package is stored without its init key",
        Edit(client_records.pack_bundle, "bundle.init_key.expose()", "bundle.encryption_key.expose()"),
    ),
    Fault(
        "R-10-16",
        "a key package is stored under the hash of its leaf",
        Edit(
            KeyPackageBundle.reference,
            "self.key_package)",
            "self.key_package.leaf_node)",
        ),
    ),
    Fault(
        "R-10.1-01",
        "nobody verifies a key package that is added",
        Edit(proposals._verify_proposal, _VERIFIED, "pass"),
    ),
    Fault(
        "R-10.1-01",
        "who adds a client trusts its key package",
        Edit(proposals._verify_proposal, _VERIFIED, f"strict or {_VERIFIED}"),
    ),
    Fault(
        "R-10.1-01",
        "who receives an Add trusts whoever sent it",
        Edit(proposals._verify_proposal, _VERIFIED, f"strict and {_VERIFIED}"),
    ),
]
