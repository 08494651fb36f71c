"""Faults in the registries: cipher suites, code points, labels. RFC 9420 §17."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mls import key_packages
from mls.crypto import SUITES, suites
from mls.crypto.kdf import KDF
from mls.epoch import create_commit, extensions, framing, join, leaves, proposals, welcome
from mls.messages import ProposalType
from mls.registry import LEAF_NODE
from tests.support.planting import Constant, Edit, Fault, Item
from treekem import path
from treekem.wire import encoder


def other_suite(suite: int, **parts: Any) -> Constant:  # noqa: ANN401  (parts of an HPKE suite)
    """Give a cipher suite another KEM, KDF or AEAD."""
    changed = replace(SUITES[suite], hpke=replace(SUITES[suite].hpke, **parts))
    return Constant(suites, "SUITES", {**SUITES, suite: changed})


SUITE_TABLE = [
    Fault("R-17.1-01", "suite 1 has the AEAD of suite 3", other_suite(1, aead=SUITES[3].aead)),
    Fault("R-17.1-02", "suite 2 has the KEM of suite 1", other_suite(2, kem=SUITES[1].hpke.kem)),
    Fault("R-17.1-02", "suite 3 has the AEAD of suite 1", other_suite(3, aead=SUITES[1].aead)),
    Fault("R-17.1-03", "suite 4 has the KDF of suite 7", other_suite(4, kdf=SUITES[7].kdf)),
    Fault("R-17.1-03", "suite 6 has the AEAD of suite 4", other_suite(6, aead=SUITES[4].aead)),
    Fault("R-17.1-04", "suite 5 has the KEM of suite 7", other_suite(5, kem=SUITES[7].hpke.kem)),
    Fault("R-17.1-04", "suite 7 has the KDF of suite 5", other_suite(7, kdf=SUITES[5].kdf)),
    Fault(
        "R-17.1-05",
        "a MAC is the hash of key and data",
        Edit(KDF.mac, "hmac.digest(key, data, self.hash_name)", "self.hash(key + data)"),
    ),
    Fault("R-17.1-05", "every MAC is made with SHA-256", Edit(KDF.mac, "self.hash_name", '"sha256"')),
]

CODE_POINTS = [
    Fault(
        "R-17.2-01",
        "a GroupInfo has the number of a KeyPackage",
        Edit(encoder._encoders_by_kind, "(tag.to_bytes(width", "({4: 5, 5: 4}.get(tag, tag).to_bytes(width"),
    ),
    Fault(
        "R-17.3-01",
        "external_pub has another number",
        Edit(welcome.create_group_info, "ExtensionType.EXTERNAL_PUB, encode", "6, encode"),
    ),
    Fault("R-17.3-01", "required_capabilities stands in leaves", Item(extensions._HOMES, 3, LEAF_NODE)),
    Fault(
        "R-17.4-01",
        "external senders may not propose a ReInit",
        Constant(framing, "EXTERNAL_PROPOSALS", framing.EXTERNAL_PROPOSALS - {ProposalType.REINIT}),
    ),
    Fault(
        "R-17.4-01",
        "external senders may propose an Update",
        Constant(framing, "EXTERNAL_PROPOSALS", framing.EXTERNAL_PROPOSALS | {ProposalType.UPDATE}),
    ),
    Fault(
        "R-17.4-01",
        "a ReInit takes a path",
        Edit(proposals._goes_without_path, "Add | PreSharedKey | ReInit", "Add | PreSharedKey"),
    ),
    Fault(
        "R-17.4-01",
        "a GroupContextExtensions takes no path",
        Edit(
            proposals._goes_without_path,
            "Add | PreSharedKey | ReInit",
            "Add | PreSharedKey | ReInit | GroupContextExtensions",
        ),
    ),
    Fault(
        "R-17.5-01",
        "the numbers of the types of credentials are swapped",
        Edit(
            leaves.credential_type,
            "CredentialType.BASIC if isinstance(credential, BasicCredential) else CredentialType.X509",
            "CredentialType.X509 if isinstance(credential, BasicCredential) else CredentialType.BASIC",
        ),
    ),
    Fault(
        "R-17.5-01",
        "the tags of the credentials are swapped",
        Edit(encoder._encoders_by_kind, "(tag.to_bytes(width", "({1: 2, 2: 1}.get(tag, tag).to_bytes(width"),
    ),
]

LABELS = [
    Fault(
        "R-17.6-01",
        "messages are signed under another label",
        Edit(framing.sign_content, 'b"FramedContentTBS"', 'b"FramedContent"'),
        Edit(framing.verify_content, 'b"FramedContentTBS"', 'b"FramedContent"'),
    ),
    Fault(
        "R-17.6-01",
        "leaves are signed under another label",
        Edit(key_packages._signed_leaf, 'b"LeafNodeTBS"', 'b"LeafNode"'),
        Edit(create_commit.sign_leaf, 'b"LeafNodeTBS"', 'b"LeafNode"'),
        Edit(leaves.verify_leaf_node, 'b"LeafNodeTBS"', 'b"LeafNode"'),
    ),
    Fault(
        "R-17.6-01",
        "key packages are signed under another label",
        Edit(key_packages.create_key_package, 'b"KeyPackageTBS"', 'b"KeyPackage"'),
        Edit(leaves._verify_key_package, 'b"KeyPackageTBS"', 'b"KeyPackage"'),
    ),
    Fault(
        "R-17.6-01",
        "a GroupInfo is signed under another label",
        Edit(welcome.create_group_info, 'b"GroupInfoTBS"', 'b"GroupInfo"'),
        Edit(join.group_of, 'b"GroupInfoTBS"', 'b"GroupInfo"'),
    ),
    Fault("R-17.7-01", "path secrets are sealed under another label", Constant(path, "_LABEL", b"UpdatePath")),
    Fault(
        "R-17.7-01",
        "what a Welcome tells each joiner is sealed under another label",
        Edit(welcome.create_welcome, 'b"Welcome"', 'b"GroupSecrets"'),
        Edit(welcome.open_group_secrets, 'b"Welcome"', 'b"GroupSecrets"'),
    ),
]

FAULTS = [*SUITE_TABLE, *CODE_POINTS, *LABELS]
