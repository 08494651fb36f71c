"""Faults in welcoming members, and in joining by a Welcome or an external commit. RFC 9420 §12.4.3."""

from __future__ import annotations

from mls.client import Client
from mls.epoch import admission, extensions, join, proposals, public_commit, receive_commit, welcome
from mls.epoch.leaves import Demands
from mls.messages import GroupInfo, GroupSecrets, Welcome
from tests.support.planting import Edit, Fault, Layout
from treekem import nodes
from treekem.tree import RatchetTree

GROUP_INFOS = [
    Fault(
        "R-12.4.3-01",
        "the signer stands before the confirmation tag",
        Layout(GroupInfo, order=("group_context", "extensions", "signer", "confirmation_tag", "signature")),
    ),
    Fault(
        "R-12.4.3-02",
        "a GroupInfo is signed under another label",
        Edit(welcome.create_group_info, 'b"GroupInfoTBS"', 'b"GroupInfo"'),
        Edit(join.group_of, 'b"GroupInfoTBS"', 'b"GroupInfo"'),
    ),
    Fault(
        "R-12.4.3-03",
        "an extension that is not known has no place anywhere",
        Edit(
            extensions.verify_extensions,
            "_HOMES.get(kind, place) == place",
            "_HOMES.get(kind, place) == place and (kind in _HOMES or place != GROUP_INFO)",
        ),
    ),
    Fault(
        "R-12.4.3-04",
        "a GroupInfo says nothing that means nothing",
        Edit(welcome.create_group_info, "extensions.extend(grease_extensions(env, extensions))", "pass"),
    ),
    Fault(
        "R-12.4.3-05",
        "a group's use of extensions asks nothing of its members",
        Edit(Demands.of, "frozenset(each.extension_type for each in in_force) - DEFAULT_EXTENSIONS", "frozenset()"),
    ),
]

WELCOMES = [
    Fault(
        "R-12.4.3.1-01",
        "the encrypted GroupInfo stands before the secrets",
        Layout(Welcome, order=("cipher_suite", "encrypted_group_info", "secrets")),
    ),
    Fault(
        "R-12.4.3.1-02",
        "the path secret stands behind the pre-shared keys",
        Layout(GroupSecrets, order=("joiner_secret", "psks", "path_secret")),
    ),
    Fault(
        "R-12.4.3.1-20",
        "a joiner takes the init key for that of its leaf",
        Edit(join._own_keys, "bundle.encryption_key", "bundle.init_key.copy()"),
    ),
    Fault(
        "R-12.4.3.1-20",
        "a joiner forgets what the path secret leads to",
        Edit(join._own_keys, "keys.update(", "dict("),
    ),
    Fault(
        "R-12.4.3.1-23",
        "a joiner's epoch has no pre-shared keys",
        Edit(
            join.join_by_welcome,
            "derive_epoch_secrets(suite, secrets.joiner_secret, injected,",
            "derive_epoch_secrets(suite, secrets.joiner_secret, psk_secret(suite, ()),",
        ),
    ),
    Fault(
        "R-12.4.3.1-23",
        "a joiner's epoch is of another context",
        Edit(
            join.join_by_welcome,
            "injected, group.encoded_context())",
            "injected, encode(replace(group.context, confirmed_transcript_hash=b'')))",
        ),
    ),
    Fault(
        "R-12.4.3.1-25",
        "a joiner takes the confirmed transcript hash for the interim one",
        Edit(
            join.group_of,
            "interim_transcript_hash(suite, context.confirmed_transcript_hash, info.confirmation_tag)",
            "context.confirmed_transcript_hash",
        ),
    ),
    Fault(
        "R-12.4.3.1-29",
        "a key package is used up by the first look at a Welcome",
        Edit(Client.join, "return Invitation(", "self._store.apply(consumption(bundle)); return Invitation("),
    ),
    Fault(
        "R-12.4.3.1-29",
        "a key package is used up before the group is written",
        Edit(
            Client._founded,
            "self._store.apply({**batch, **standing",
            "self._store.apply(batch); self._store.apply({**standing",
        ),
    ),
]

EXTERNAL_COMMITS = [
    Fault(
        "R-12.4.3.2-01",
        "external_pub is a key without its length",
        Edit(welcome.create_group_info, "encode(ExternalPub(pair.public))", "pair.public"),
    ),
    Fault(
        "R-12.4.3.2-06",
        "members go on from the init secret of their epoch",
        Edit(receive_commit.stage_commit, "if seen.applied.external_init is not None:", "if False:"),
    ),
    Fault(
        "R-12.4.3.2-07",
        "a joiner's transcript goes on from the confirmed hash alone",
        Edit(
            join.group_of,
            "interim_transcript_hash(suite, context.confirmed_transcript_hash, info.confirmation_tag)",
            "context.confirmed_transcript_hash",
        ),
    ),
    Fault(
        "R-12.4.3.2-08",
        "a joiner signs for the leaf that was free before it replaced its former one",
        Edit(
            join.create_external_commit,
            "create_path(group, applied, tree, index, leaf, env)",
            "create_path(group, applied, *group.tree.with_room(), leaf, env)",
        ),
    ),
    Fault(
        "R-12.4.3.2-11",
        "former leaves are replaced whatever a setting says",
        Edit(public_commit._verify_external_allowed, "env.settings.resync or not replaces", "True"),
    ),
    Fault(
        "R-12.4.3.2-11",
        "who returns need not show that it was there",
        Edit(admission.verify_return_shown, "is_shown or settings.resync_without_psk or not returns", "True"),
    ),
    Fault(
        "R-12.4.3.2-12",
        "external commits are accepted unasked",
        Edit(public_commit._verify_external_allowed, "env.settings.external_commits,", "True,"),
    ),
    Fault(
        "R-12.4.3.2-12",
        "roles are not asked about who joins from outside",
        Edit(
            proposals.verify_joiner,
            "authorize_joiner(group, leaf, index, applied.removed, applied.psks, env)",
            "pass",
        ),
    ),
    Fault(
        "R-12.4.3.2-12",
        "the credential policy is not asked about who joins from outside",
        Edit(
            proposals.verify_joiner,
            "env.accept(leaf.credential, leaf.signature_key, Place.EXTERNAL_JOIN, replaces=replaced)",
            "pass",
        ),
    ),
]

RATCHET_TREES = [
    Fault(
        "R-12.4.3.3-01",
        "nodes stand without their blanks",
        Edit(nodes.encode_ratchet_tree, "blank * (x - n_entries)", 'b""'),
    ),
    Fault(
        "R-12.4.3.3-02",
        "the vector goes on with a blank",
        Edit(nodes.encode_ratchet_tree, 'b"".join(entries)', 'b"".join(entries) + blank'),
    ),
    Fault(
        "R-12.4.3.3-04",
        "a tree is padded to one size more",
        Edit(RatchetTree.decode, "1 << (n_entries // 2).bit_length()", "2 << (n_entries // 2).bit_length()"),
    ),
    Fault(
        "R-12.4.3.3-04",
        "a tree is as large as its vector",
        Edit(RatchetTree.decode, "1 << (n_entries // 2).bit_length()", "n_entries // 2 + 1"),
    ),
    Fault(
        "R-12.4.3.3-06",
        "the ratchet tree enters the group context",
        Edit(
            welcome.create_group_info,
            "GroupInfo(group.context,",
            "GroupInfo(replace(group.context, extensions=(*group.extensions, *extensions)),",
        ),
    ),
]

FAULTS = [*GROUP_INFOS, *WELCOMES, *EXTERNAL_COMMITS, *RATCHET_TREES]
