"""Faults in founding, continuing and branching groups. RFC 9420 §11."""

from __future__ import annotations

from mls import succession
from mls.client import Client
from mls.epoch import extensions, join, leaves, proposals, welcome
from mls.messages import ExtensionType, RequiredCapabilities, leaf_node
from mls.registry import LEAF_NODE
from tests.support.planting import Edit, Fault, Item, Layout

FAULTS = [
    Fault(
        "R-11-01",
        "a new group is in epoch 1",
        Edit(join.create_epoch_zero, "suite.id, group_id, 0, tree", "suite.id, group_id, 1, tree"),
    ),
    Fault(
        "R-11-01",
        "all groups begin with the same epoch secret",
        Edit(join.create_epoch_zero, "env.entropy(suite.hash_length)", "bytes(suite.hash_length)"),
    ),
    Fault(
        "R-11-01",
        "a new group's epoch secret has 32 bytes in every suite",
        Edit(join.create_epoch_zero, "env.entropy(suite.hash_length)", "env.entropy(32)"),
    ),
    Fault(
        "R-11-01",
        "a new group's transcript begins with zeros",
        Edit(
            join.create_epoch_zero,
            'tree.tree_hash(suite), b"", extensions',
            "tree.tree_hash(suite), bytes(suite.hash_length), extensions",
        ),
    ),
    Fault(
        "R-11-02",
        "a new group's tree hash is empty",
        Edit(join.create_epoch_zero, "tree.tree_hash(suite)", 'b""'),
    ),
    Fault(
        "R-11-03",
        "the tag of epoch 0 is over zeros",
        Edit(
            join.create_epoch_zero,
            'secrets.confirmation_key, b""',
            "secrets.confirmation_key, bytes(suite.hash_length)",
        ),
    ),
    Fault(
        "R-11-03",
        "the interim hash of epoch 0 is over an empty tag",
        Edit(
            join.create_epoch_zero,
            '_transcript_hash(suite, b"", tag)',
            '_transcript_hash(suite, b"", b"")',
        ),
    ),
    Fault(
        "R-11-04",
        "the leaf of a key package is signed for a place in a group",
        Edit(leaf_node.leaf_node_tbs, "            return fields\n", "            return fields + encode(position)\n"),
    ),
    Fault(
        "R-11-08",
        "all groups have the same id unless they are named",
        Edit(Client.create_group, "env.entropy(", "bytes("),
    ),
    Fault(
        "R-11-08",
        "a group's id is random even if it is named",
        Edit(Client.create_group, "if group_id is None", "if group_id is None or group_id"),
    ),
    Fault(
        "R-11-09",
        "the GroupInfo of epoch 0 has no key for those outside",
        Edit(welcome.create_group_info, "if external_pub:", "if external_pub and state.epoch:"),
    ),
    Fault(
        "R-11.1-01",
        "required proposals stand before required extensions",
        Layout(RequiredCapabilities, ("proposal_types", "extension_types", "credential_types")),
    ),
    Fault(
        "R-11.1-01",
        "leaves are where required capabilities belong",
        Item(extensions._HOMES, ExtensionType.REQUIRED_CAPABILITIES, LEAF_NODE),
    ),
    Fault(
        "R-11.1-02",
        "extension types of the RFC are to be listed",
        Edit(leaves.verify_demands, "DEFAULT_EXTENSIONS.union(capabilities.extensions)", "capabilities.extensions"),
    ),
    Fault(
        "R-11.1-02",
        "proposal types of the RFC are to be listed",
        Edit(leaves.verify_demands, "DEFAULT_PROPOSALS.union(capabilities.proposals)", "capabilities.proposals"),
    ),
    Fault(
        "R-11.1-02",
        "basic credentials need not be listed",
        Edit(leaves.verify_self_description, "used in leaf.capabilities.credentials", "used == 1"),
    ),
    Fault(
        "R-11.1-03",
        "an Add is judged under the extensions that a commit replaces",
        Edit(proposals.apply_proposals, "group.suite, extensions)", "group.suite)"),
    ),
    Fault(
        "R-11.2-05",
        "only the founder of a group creates its successor",
        Edit(
            succession.plan_successor,
            "    is_known =",
            '    require(standing.state.own.index == 0, UsageError, "R-11.2-05", "another member")\n    is_known =',
        ),
    ),
    Fault(
        "R-11.2-06",
        "a PSK of usage reinit is taken anywhere",
        Edit(
            proposals.verify_psk_id,
            "usage is ResumptionPSKUsage.REINIT and link is not usage",
            "False",
        ),
    ),
    Fault(
        "R-11.3-01",
        "nothing ties a branch to its group",
        Edit(succession.create_first_commit, "for each in key_packages), psk]", "for each in key_packages)]"),
    ),
    Fault(
        "R-11.3-01",
        "a branch names its PSK as a successor does",
        Edit(succession.plan_branch, "ResumptionPSKUsage.BRANCH", "ResumptionPSKUsage.REINIT"),
    ),
    Fault(
        "R-11.3-02",
        "all branches have the same nonce",
        Edit(succession.create_first_commit, "env.entropy(plan.suite.hash_length)", "bytes(plan.suite.hash_length)"),
    ),
    Fault(
        "R-11.3-06",
        "a PSK of usage branch is taken anywhere",
        Edit(
            proposals.verify_psk_id,
            "usage is ResumptionPSKUsage.BRANCH and link is not usage",
            "False",
        ),
    ),
]
