"""Faults in extensibility: registries, extensions, custom proposals, values that mean nothing. RFC 9420 §13."""

from __future__ import annotations

from mls import drafting, key_packages, registry
from mls.crypto import CipherSuite
from mls.epoch import custom, extensions, grease, leaves, proposals, welcome
from mls.registry import Registry
from mls.settings import Settings
from tests.support.planting import Constant, Default, Edit, Fault, Layout
from treekem.leaf_node import Extension

BEYOND_THE_RFC = [
    Fault(
        "R-13-01",
        "an extension of a type that nobody knows is misplaced everywhere",
        Edit(extensions.verify_extensions, "_HOMES.get(kind, place) == place", "_HOMES.get(kind) == place"),
    ),
    Fault(
        "R-13.1-01",
        "the protocol knows how long the hash of each suite is",
        Edit(
            CipherSuite.hash_length,
            "self.hpke.kdf.hash_length",
            "{1: 32, 2: 32, 3: 32, 4: 64, 5: 64, 6: 64, 7: 48}[self.id]",
        ),
    ),
    Fault(
        "R-13.2-02",
        "what stands behind a registered type is not read",
        Edit(Registry.bodies, "return tuple((each.proposal_type, each.body) for each in self.proposals)", "return ()"),
    ),
    Fault(
        "R-13.2-02",
        "every registered type goes without a path",
        Edit(proposals._goes_without_path, "and not definition.needs_path", ""),
    ),
    Fault(
        "R-13.2-02",
        "a registered type changes nothing",
        Edit(
            custom._extensions_after,
            "definition.apply(value, before)",
            "before",
        ),
    ),
    Fault(
        "R-13.2-02",
        "roles are not asked about what a registered type changes",
        Edit(custom._extensions_after, "if after != before:", "if not after:"),
    ),
    Fault(
        "R-13.2-02",
        "the rule of a registered type is not asked",
        Edit(
            custom.verify_custom,
            "definition.verify(proposed)",
            "proposed",
        ),
    ),
    Fault(
        "R-13.3-02",
        "a member's capabilities stay those of its key package",
        Edit(drafting.draft_leaf, '("credential", "capabilities", "extensions")', '("credential", "extensions")'),
    ),
]

EXTENSIONS = [
    Fault(
        "R-13.4-01",
        "an extension's data stands before its type",
        Layout(Extension, order=("extension_data", "extension_type")),
    ),
    Fault(
        "R-13.4-02",
        "a type of proposals is listed that nobody can read",
        Edit(key_packages._capabilities_of, "env.registry.proposal_types)", "(*env.registry.proposal_types, 0xF0F0))"),
    ),
    Fault(
        "R-13.4-02",
        "a version is listed that nobody speaks",
        Edit(key_packages.own_capabilities, "(int(ProtocolVersion.MLS10),)", "(int(ProtocolVersion.MLS10), 2)"),
    ),
    Fault(
        "R-13.4-03",
        "a leaf lists only types of credentials that we know",
        Edit(
            leaves.verify_self_description,
            "used in leaf.capabilities.credentials",
            "{used} <= set(leaf.capabilities.credentials) <= {1, 2}",
        ),
    ),
    Fault(
        "R-13.4-03",
        "a leaf holds only extensions that we know, though it lists others",
        Edit(leaves.verify_self_description, "DEFAULT_EXTENSIONS.union(leaf.capabilities.extensions)", "{1}"),
    ),
    Fault(
        "R-13.4-04",
        "a GroupInfo holds only extensions that we know",
        Edit(
            extensions.verify_extensions,
            "_HOMES.get(kind, place) == place",
            "_HOMES.get(kind, place if place != GROUP_INFO else '') == place",
        ),
    ),
]

GREASE = [
    Fault(
        "R-13.5-01",
        "nothing is put into the types of credentials",
        Constant(grease, "_LISTS", ("cipher_suites", "extensions", "proposals")),
    ),
    Fault(
        "R-13.5-01",
        "a GroupInfo gets no extension that means nothing",
        Edit(welcome.create_group_info, "extensions.extend(grease_extensions(env, extensions))", "pass"),
    ),
    Fault(
        "R-13.5-01",
        "a key package gets no extension that means nothing",
        Edit(
            key_packages.create_key_package,
            "(*extensions, *grease_extensions(env, extensions))",
            "tuple(extensions)",
        ),
    ),
    Fault(
        "R-13.5-01",
        "values that mean nothing must be asked for",
        Default(Settings, "grease", False),  # noqa: FBT003  (the default of a setting)
    ),
    Fault(
        "R-13.5-02",
        "extensions that mean nothing are empty",
        Edit(grease.grease_extensions, "env.entropy(1 + _below(_MOST_DATA, env.entropy))", 'b""'),
    ),
    Fault(
        "R-13.5-03",
        "what is listed to no purpose is not what is used to none",
        Edit(grease.greased, '(used if name == "extensions" else ()) or _drawn(', "_drawn("),
    ),
    Fault(
        "R-13.5-04",
        "versions that mean nothing are listed",
        Constant(grease, "_LISTS", ("versions", "cipher_suites", "extensions", "proposals", "credentials")),
    ),
    Fault(
        "R-13.5-04",
        "a type of proposals may mean nothing",
        Edit(registry._verify_type, " and number not in GREASE", ""),
    ),
    Fault(
        "R-13.5-05",
        "extensions that mean nothing are not looked at, and so may stand twice",
        Edit(
            extensions.verify_extensions,
            "duplicate = kind in seen",
            "duplicate = kind in seen and kind & 0xF0F != 0xA0A",
        ),
    ),
    Fault(
        "R-13.5-05",
        "a group uses an extension that means nothing, whoever lists it",
        Edit(
            leaves.verify_demands,
            "(demands.extension_types, extensions,",
            "({each for each in demands.extension_types if each & 0xF0F != 0xA0A}, extensions,",
        ),
    ),
    Fault(
        "R-13.5-06",
        "what we list to no purpose counts as what we support",
        Edit(leaves.verify_own_demands, "capabilities=ungreased(leaf.capabilities)", "capabilities=leaf.capabilities"),
    ),
    Fault(
        "R-13.5-07",
        "what both sides list to no purpose is used",
        Edit(grease._plain, "value not in GREASE", "value not in GREASE[1:]"),
    ),
]

FAULTS = [*BEYOND_THE_RFC, *EXTENSIONS, *GREASE]
