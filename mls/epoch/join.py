"""Entering a group: founding it, or joining it by a Welcome or an external commit.

RFC 9420 §11, §12.4.3.1, §12.4.3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mls.crypto import CipherSuite, SignatureKeyPair, cipher_suite
from mls.epoch.admission import verify_return_shown
from mls.epoch.authorization import authorize_entry
from mls.epoch.create_commit import LeafContent, NewPath, create_path, with_tag
from mls.epoch.environment import Environment
from mls.epoch.extensions import (
    extension_data,
    external_pub,
    verify_extensions,
)
from mls.epoch.framing import sign_content
from mls.epoch.group_extensions import verify_external_senders, verify_group_context_extensions
from mls.epoch.leaves import (
    Demands,
    decode_leaf_node,
    verify_leaf_node,
    verify_own_demands,
    verify_signature,
)
from mls.epoch.limits import verify_commit_size, verify_extension_count, verify_suite_allowed, verify_width
from mls.epoch.many_leaves import LeafExaminer
from mls.epoch.members import leaf_nodes, verify_credential_support, verify_members, verify_signature_keys
from mls.epoch.proposals import (
    QueuedProposal,
    apply_proposals,
    psks_of,
    verify_external_list,
    verify_joiner,
    verify_psk_id,
)
from mls.epoch.state import EpochState, GroupState, OwnLeaf
from mls.epoch.succession import link_of, verify_awaited, verify_succession
from mls.epoch.transition import derive_next_epoch, provisional_context
from mls.epoch.welcome import OpenedSecrets, key_package_ref, open_group_info, open_group_secrets
from mls.errors import (
    Code,
    InvalidGroupInfo,
    InvalidProposal,
    InvalidTree,
    InvalidWelcome,
    Unsupported,
    UsageError,
)
from mls.identity import Place
from mls.messages import (
    AuthenticatedContent,
    Commit,
    Extension,
    ExtensionType,
    ExternalInit,
    FramedContent,
    FramedContentAuthData,
    GroupContext,
    GroupInfo,
    InlineProposal,
    KeyPackage,
    LeafPosition,
    MLSMessage,
    NewMemberCommitSender,
    PreSharedKey,
    PreSharedKeyID,
    ProtocolVersion,
    PublicMessage,
    Remove,
    ResumptionPSK,
    Welcome,
    WireFormat,
    encode_unsigned,
)
from mls.registry import GROUP_CONTEXT, GROUP_INFO
from mls.rules import refuse, require, require_present
from mls.schedule.key_schedule import (
    EpochSecret,
    create_external_init,
    derive_epoch_secrets,
    epoch_secrets_of,
)
from mls.schedule.psk import PSK, psk_secret
from mls.schedule.transcript import (
    confirmation_tag,
    interim_transcript_hash,
    verify_confirmation_tag,
    verify_tag_length,
)
from treekem.hashing import verify_tree_structure
from treekem.index import LeafIndex, NodeIndex, common_ancestor, direct_path, node_of
from treekem.nodes import LeafSlot, UpdatePath
from treekem.path import PathPlan, path_keys_from
from treekem.suite import HPKEPrivateKey
from treekem.tree import RatchetTree
from treekem.wire import encode


@dataclass(frozen=True, slots=True)
class KeyPackageBundle:
    """A key package with the private keys behind it. RFC 9420 §10."""

    key_package: KeyPackage
    init_key: HPKEPrivateKey
    encryption_key: HPKEPrivateKey
    signature_keys: SignatureKeyPair
    last_resort: bool = False

    def reference(self) -> bytes:
        """Return the hash that a Welcome names this key package by. RFC 9420 §5.2."""
        return key_package_ref(cipher_suite(self.key_package.cipher_suite), self.key_package)


@dataclass(frozen=True, slots=True)
class ExternalJoin:
    """An external commit ready to be sent, and the state that holds once the group has taken it."""

    message: MLSMessage
    state: EpochState


# Founding, §11.


def create_epoch_zero(
    group_id: bytes, bundle: KeyPackageBundle, extensions: tuple[Extension, ...], env: Environment
) -> EpochState:
    """Return a group of one. Raises InvalidProposal or InvalidLeafNode for extensions we do not support.

    RFC 9420 §11.
    """
    suite = cipher_suite(bundle.key_package.cipher_suite)
    leaf = bundle.key_package.leaf_node
    tree = RatchetTree.of_leaf(LeafSlot.of(leaf))
    context = GroupContext(ProtocolVersion.MLS10, suite.id, group_id, 0, tree.tree_hash(suite), b"", extensions)
    secrets = epoch_secrets_of(suite, EpochSecret(env.entropy(suite.hash_length)))
    tag = confirmation_tag(suite, secrets.confirmation_key, b"")
    group = GroupState(suite, context, tree, interim_transcript_hash(suite, b"", tag), tag)
    # The lists are judged as if they replaced an empty one, so that new external senders are put to the policy.
    blank = replace(group, context=replace(context, extensions=()))
    verify_group_context_extensions(blank, extensions, env, strict=True)
    demands = Demands.of(context, suite)
    verify_leaf_node(leaf, LeafPosition(group_id, LeafIndex(0)), demands, env, strict=True)
    verify_own_demands(leaf, demands, LeafIndex(0))
    own = OwnLeaf(LeafIndex(0), bundle.signature_keys.private, {NodeIndex(0): bundle.encryption_key})
    return EpochState(group, secrets, own)


# Joining by a Welcome, §12.4.3.1.


def join_by_welcome(
    welcome: Welcome, bundle: KeyPackageBundle, ratchet_tree: bytes | None, env: Environment
) -> tuple[EpochState, LeafIndex]:
    """Return the state a Welcome leads to, and the member that invited; nothing is consumed.

    Raises InvalidWelcome, InvalidGroupInfo, InvalidTree, InvalidTag and what they are derived from, UnavailableSecret
    for an unknown PSK, Unsupported or Refused. RFC 9420 §12.4.3.1.
    """
    suite = cipher_suite(welcome.cipher_suite)
    package = bundle.key_package
    same_suite = package.cipher_suite == suite.id
    require(same_suite, InvalidWelcome, "R-12.4.3.1-04", "the key package is of another cipher suite")
    secrets = open_group_secrets(suite, welcome, bundle.reference(), bundle.init_key)
    link = link_of(secrets.psks)
    psks = _psks(secrets, suite, link, env)
    injected = psk_secret(suite, psks)
    for _, psk in psks:
        psk.wipe()
    info = open_group_info(suite, welcome, secrets.joiner_secret, injected)
    group = group_of(info, ratchet_tree, suite, env)
    fits = info.group_context.version == package.version
    require(fits, InvalidGroupInfo, "R-12.4.3.1-12", "the group is of another version", code=Code.BAD_KEY_PACKAGE)
    if link is not None:
        identities = [env.policy.identity(leaf.credential) for _, leaf in leaf_nodes(group.tree)]
        verify_succession(link, env.origin(link), group.context, identities)
    verify_awaited(link, group.context.group_id, env.announced)
    index = _own_index(group.tree, package)
    verify_own_demands(package.leaf_node, Demands.of(group.context, suite), index)
    keys = _own_keys(group, info.signer, index, bundle, secrets)
    epoch_secrets = derive_epoch_secrets(suite, secrets.joiner_secret, injected, group.encoded_context())
    secrets.joiner_secret.wipe()
    injected.wipe()
    confirmed = group.context.confirmed_transcript_hash
    verify_confirmation_tag(suite, epoch_secrets.confirmation_key, confirmed, info.confirmation_tag)
    own = OwnLeaf(index, bundle.signature_keys.private, keys)
    return EpochState(group, epoch_secrets, own), info.signer


def _psks(
    secrets: OpenedSecrets, suite: CipherSuite, link: ResumptionPSK | None, env: Environment
) -> list[tuple[PreSharedKeyID, PSK]]:
    usage = None if link is None else link.usage
    for index, psk_id in enumerate(secrets.psks):
        try:
            verify_psk_id(psk_id, suite, usage)
        except InvalidProposal as error:
            refuse(InvalidWelcome, "R-12.4.3.1-07", error.message, code=error.code, index=index)
    distinct = len(set(secrets.psks)) == len(secrets.psks)
    require(distinct, InvalidWelcome, "R-12.2-09", "a PreSharedKeyID twice", code=Code.PSK_INVALID)
    return psks_of(secrets.psks, env)


def _own_index(tree: RatchetTree, package: KeyPackage) -> LeafIndex:
    encoded = encode(package.leaf_node)
    own = next((index for index, leaf in tree.encoded_leaves() if leaf == encoded), None)
    message = "no leaf of the tree is this key package's"
    return require_present(own, InvalidWelcome, "R-12.4.3.1-19", message, code=Code.BAD_LEAF)


def _own_keys(
    group: GroupState, signer: LeafIndex, index: LeafIndex, bundle: KeyPackageBundle, secrets: OpenedSecrets
) -> dict[NodeIndex, HPKEPrivateKey]:
    keys = {node_of(index): bundle.encryption_key}
    if secrets.path_secret is not None:
        require(signer != index, InvalidWelcome, "R-12.4.3.1-22", "a path secret from ourselves")
        ancestor = common_ancestor(node_of(index), node_of(signer))
        held, mismatch = not group.tree.is_blank(ancestor), Code.PATH_SECRET_MISMATCH
        message = f"a path secret for node {ancestor}, which is blank"
        require(held, InvalidWelcome, "R-12.4.3.1-22", message, code=mismatch)
        keys.update(path_keys_from(group.tree, signer, ancestor, secrets.path_secret, group.suite))
        secrets.path_secret.wipe()
    _verify_keys_above(group.tree, index, keys)
    return keys


def _verify_keys_above(tree: RatchetTree, index: LeafIndex, keys: Mapping[NodeIndex, HPKEPrivateKey]) -> None:
    """§4.2: for every parent above it, a member holds the private key or is unmerged; or later paths would not open."""
    for x in direct_path(node_of(index), tree.n_leaves):
        parent = tree.parent(x)
        reached = parent is None or x in keys or index in parent.unmerged_leaves
        message = f"the key of node {x} is neither told nor marked as unknown to us"
        require(reached, InvalidWelcome, "N-W08", message, code=Code.PATH_SECRET_MISMATCH)


# What a GroupInfo promises, for both ways of joining.


def group_of(info: GroupInfo, ratchet_tree: bytes | None, suite: CipherSuite, env: Environment) -> GroupState:
    """Return the group that a GroupInfo and its tree describe, once both have been checked.

    Of the confirmation tag the length alone is checked: the rest takes the epoch's secrets. Raises InvalidGroupInfo,
    InvalidTree, InvalidLeafNode, InvalidSignature, InvalidTag, Unsupported or Refused. RFC 9420 §12.4.3.1.
    """
    context = info.group_context
    fits = context.cipher_suite == suite.id
    message = f"the group is of cipher suite {context.cipher_suite}"
    require(fits, InvalidGroupInfo, "R-12.4.3.1-12", message, code=Code.BAD_KEY_PACKAGE)
    is_known = context.version == ProtocolVersion.MLS10
    require(is_known, Unsupported, "R-6-05", f"the group is of version {context.version}")
    verify_suite_allowed(suite.id, env.settings)
    verify_extension_count(info.extensions, GROUP_INFO, InvalidGroupInfo, env.settings)
    verify_extension_count(context.extensions, GROUP_CONTEXT, InvalidGroupInfo, env.settings)
    verify_tag_length(suite, info.confirmation_tag)
    verify_extensions(info.extensions, GROUP_INFO, InvalidGroupInfo, env.registry)
    verify_extensions(context.extensions, GROUP_CONTEXT, InvalidGroupInfo, env.registry)
    tree = _tree_of(info, ratchet_tree, env)
    matches = tree.tree_hash(suite) == context.tree_hash
    message = "the tree is not the one that the group agreed on"
    require(matches, InvalidTree, "R-12.4.3.1-13", message, code=Code.TREE_HASH_MISMATCH)
    confirmed = interim_transcript_hash(suite, context.confirmed_transcript_hash, info.confirmation_tag)
    group = GroupState(suite, context, tree, confirmed, info.confirmation_tag)
    found, message = group.leaf_node(info.signer), f"leaf {info.signer} signs, but it is blank"
    signer = require_present(found, InvalidGroupInfo, "R-12.4.3-07", message, code=Code.BAD_SIGNATURE)
    tbs = encode_unsigned(info)
    verify_signature(
        suite, signer.signature_key, b"GroupInfoTBS", tbs, info.signature, "R-12.4.3.1-11", "the GroupInfo's"
    )
    verify_joined_tree(group, env)
    authorize_entry(group, info.signer, env)
    return group


def _tree_of(info: GroupInfo, ratchet_tree: bytes | None, env: Environment) -> RatchetTree:
    inside = extension_data(info.extensions, ExtensionType.RATCHET_TREE)
    message = "the ratchet tree is neither inside nor beside the message"
    offered = inside if inside is not None else ratchet_tree
    data = require_present(offered, InvalidWelcome, "R-12.4.3.1-10", message)
    tree = RatchetTree.decode(data, env.settings.max_leaves)
    verify_width(tree, env.settings)
    return tree


def verify_joined_tree(group: GroupState, env: Environment) -> None:
    """Check a whole tree that a stranger handed over. Raises InvalidTree, InvalidLeafNode or Refused.

    RFC 9420 §12.4.3.1.
    """
    verify_tree_structure(group.tree, group.suite)
    verify_external_senders(group.extensions, (), group.suite, env)
    demands = Demands.of(group.context, group.suite)
    settings = replace(env.settings, check_peer_lifetimes=env.settings.check_joined_lifetimes)
    lenient = replace(env, settings=settings)
    leaves = group.tree.encoded_leaves()
    examiner = LeafExaminer(group.suite, group.context.group_id, demands, lenient)
    for (index, encoded), speaker in zip(leaves, env.findings(examiner.examine, leaves), strict=True):
        if speaker is not None:
            env.accept(speaker.credential, speaker.signature_key, Place.JOIN, leaf=index)
            continue
        leaf = decode_leaf_node(encoded)
        verify_leaf_node(leaf, LeafPosition(group.context.group_id, index), demands, lenient)
        env.accept(leaf.credential, leaf.signature_key, Place.JOIN, leaf=index)
    everyone = frozenset(index for index, _ in leaves)
    # Encryption keys were compared with the rest of the tree's structure.
    verify_signature_keys(group.tree, everyone, group.suite)
    verify_credential_support(group.tree, everyone)


# Joining by an external commit, §12.4.3.2.


def join_by_external_commit(
    info: GroupInfo,
    ratchet_tree: bytes | None,
    leaf: LeafContent,
    env: Environment,
    *,
    psks: tuple[PreSharedKeyID, ...] = (),
    replaces: LeafIndex | None = None,
    authenticated_data: bytes = b"",
) -> ExternalJoin:
    """Create an external commit; `replaces` names our former leaf when we resynchronize.

    Raises what `group_of` does, and UsageError. RFC 9420 §12.4.3.2.
    """
    group = group_of(info, ratchet_tree, cipher_suite(info.group_context.cipher_suite), env)
    return create_external_commit(
        group, info, leaf, env, psks=psks, replaces=replaces, authenticated_data=authenticated_data
    )


def create_external_commit(
    group: GroupState,
    info: GroupInfo,
    leaf: LeafContent,
    env: Environment,
    *,
    psks: tuple[PreSharedKeyID, ...] = (),
    replaces: LeafIndex | None = None,
    authenticated_data: bytes = b"",
) -> ExternalJoin:
    """Create an external commit to the group that a GroupInfo was found to describe.

    Raises InvalidGroupInfo, InvalidProposalList and what they are derived from, UnavailableSecret, Refused or
    UsageError. RFC 9420 §12.4.3.2.
    """
    suite = group.suite
    kem_output, init_secret = create_external_init(suite, _external_pub(info), env.entropy)
    proposals = _external_proposals(kem_output, replaces, psks)
    verify_commit_size(proposals, env.settings, own=True)
    verify_external_list(proposals)
    verify_return_shown(group, proposals, env.settings, own=True)
    applied = apply_proposals(group, proposals, env, strict=True)
    tree, index = applied.tree.with_room()
    verify_width(tree, env.settings, own=True)
    new = create_path(group, applied, tree, index, leaf, env)
    path, plan, leaf_key = _parts_of_path(new)
    verify_joiner(group, path.leaf_node, index, applied, env, strict=True)
    verify_members(new.tree, (index,), suite)
    content = _signed_from_outside(group, proposals, path, leaf, authenticated_data)
    following = derive_next_epoch(
        group,
        new.tree,
        provisional_context(group, new.tree, applied),
        content,
        init_secret,
        new.commit_secret,
        psks_of(applied.psks, env),
    )
    signed = with_tag(content, following)
    new.wipe_passing()
    following.wipe_passing()
    init_secret.wipe()
    message = MLSMessage(ProtocolVersion.MLS10, PublicMessage(signed.content, signed.auth, None))
    own = OwnLeaf(index, leaf.signature_keys.private, {**plan.private_keys, node_of(index): leaf_key})
    return ExternalJoin(message, EpochState(following.group, following.secrets, own))


def _parts_of_path(new: NewPath) -> tuple[UpdatePath, PathPlan, HPKEPrivateKey]:
    rule, message = "R-12.4.3.2-03", "an external commit carries a path"
    path = require_present(new.path, UsageError, rule, message)
    plan = require_present(new.plan, UsageError, rule, message)
    return path, plan, require_present(new.leaf_key, UsageError, rule, message)


def _external_pub(info: GroupInfo) -> bytes:
    message = "the GroupInfo has no external_pub"
    return require_present(external_pub(info.extensions), InvalidGroupInfo, "R-12.4.3.2-02", message)


def _external_proposals(
    kem_output: bytes, replaces: LeafIndex | None, psks: tuple[PreSharedKeyID, ...]
) -> tuple[QueuedProposal, ...]:
    removes = () if replaces is None else (Remove(replaces),)
    wanted = (ExternalInit(kem_output), *removes, *map(PreSharedKey, psks))
    return tuple(QueuedProposal(each, NewMemberCommitSender()) for each in wanted)


def _signed_from_outside(
    group: GroupState,
    proposals: tuple[QueuedProposal, ...],
    path: UpdatePath,
    leaf: LeafContent,
    authenticated_data: bytes,
) -> AuthenticatedContent:
    """§12.4.3.2: the joiner signs with the key of its new leaf, under the context of the epoch that it finds."""
    context, key = group.context, leaf.signature_keys.private
    commit = Commit(tuple(InlineProposal(each.proposal) for each in proposals), path)
    framed = FramedContent(context.group_id, context.epoch, NewMemberCommitSender(), authenticated_data, commit)
    signature = sign_content(group.suite, key, framed, WireFormat.PUBLIC_MESSAGE, context)
    return AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, framed, FramedContentAuthData(signature, b""))
