"""Creating a commit: nothing of the present epoch changes until it is merged. RFC 9420 §12.4.1."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mls.crypto import SignatureKeyPair, SignaturePrivateKey
from mls.epoch.authorization import authorize_commit
from mls.epoch.effect import effect_of
from mls.epoch.environment import Environment
from mls.epoch.framing import SenderKeys, protect_private, protect_public, sign_content
from mls.epoch.limits import verify_commit_size
from mls.epoch.members import verify_members
from mls.epoch.proposals import (
    Applied,
    QueuedProposal,
    apply_proposals,
    is_path_required,
    psks_of,
    verify_list,
    verify_own_support,
    verify_replacement,
)
from mls.epoch.state import EpochState, GroupState, OwnLeaf
from mls.epoch.transition import (
    NextEpoch,
    Transition,
    derive_next_epoch,
    provisional_context,
)
from mls.epoch.welcome import create_welcome
from mls.errors import Code, UsageError
from mls.identity import Place
from mls.messages import (
    AuthenticatedContent,
    Capabilities,
    Commit,
    CommitSource,
    Content,
    Credential,
    Extension,
    FramedContent,
    FramedContentAuthData,
    InlineProposal,
    LeafNode,
    LeafPosition,
    MemberSender,
    MLSMessage,
    ProposalRef,
    ProtocolVersion,
    ResumptionPSKUsage,
    Sender,
    UpdateSource,
    Welcome,
    WireFormat,
    leaf_node_tbs,
)
from mls.rules import require
from mls.schedule.key_schedule import zero_commit_secret
from mls.schedule.secret_tree import StagedKey
from treekem.index import LeafIndex, NodeIndex, node_of
from treekem.nodes import LeafSlot, UpdatePath
from treekem.path import PathPlan, plan_path, seal_path, surviving_keys
from treekem.suite import CommitSecret, HPKEKeyPair, HPKEPrivateKey, PathSecret
from treekem.tree import RatchetTree
from treekem.wire import encode


@dataclass(frozen=True, slots=True)
class LeafContent:
    """What a member says of itself in its leaf, apart from the keys that a path refreshes. RFC 9420 §7.2."""

    credential: Credential
    signature_keys: SignatureKeyPair
    capabilities: Capabilities
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True)
class CommitOrder:
    """What is to be committed and how.

    `path`: None and True for a path, False for none where the RFC allows it. `tree_inside`: whether the Welcome carries
    the ratchet tree. `leaf`: what the committer's new leaf says, where it is to change. `link`: in the first commit of
    a group that continues another one, the usage of the PSK that says so.
    """

    proposals: tuple[QueuedProposal, ...] = ()
    path: bool | None = None
    tree_inside: bool = True
    private: bool = True
    authenticated_data: bytes = b""
    leaf: LeafContent | None = None
    link: ResumptionPSKUsage | None = None


@dataclass(frozen=True, slots=True)
class CreatedCommit:
    """A commit ready to be sent, and what merging it means. `key` is the message key that a PrivateMessage spent."""

    message: MLSMessage
    welcome: Welcome | None
    transition: Transition
    key: StagedKey | None


@dataclass(frozen=True, slots=True)
class NewPath:
    """A path that we made, and what only its maker knows."""

    tree: RatchetTree
    path: UpdatePath | None
    plan: PathPlan | None
    leaf_key: HPKEPrivateKey | None
    commit_secret: CommitSecret

    def wipe_passing(self) -> None:
        """Forget the path's secrets, once they are sealed. RFC 9420 §7.5."""
        self.commit_secret.wipe()
        if self.plan is not None:
            self.plan.wipe_path_secrets()


def create_commit(state: EpochState, order: CommitOrder, keys: SenderKeys, env: Environment) -> CreatedCommit:
    """Create a commit of a member.

    Raises InvalidProposalList and what it is derived from, UnavailableSecret for an unknown PSK, or UsageError.
    RFC 9420 §12.4.1.
    """
    group, own = state.group, state.own
    applied = _applied(group, order, own.index, env)
    psks = psks_of(applied.psks, env)
    leaf = order.leaf if order.leaf is not None else own_leaf_content(state)
    wants_path = _wants_path(order, env)
    if wants_path:
        new = create_path(group, applied, applied.tree, own.index, leaf, env)
        _verify_own_path(group, new, own.index, applied, leaf.signature_keys.private, env)
    else:
        new = NewPath(applied.tree, None, None, None, zero_commit_secret(group.suite))
    if order.link is None:
        authorize_commit(group, own.index, None if new.path is None else new.path.leaf_node, env)
    commit = Commit(tuple(map(_reference, order.proposals)), new.path)
    wire_format = WireFormat.PRIVATE_MESSAGE if order.private else WireFormat.PUBLIC_MESSAGE
    content = signed_content(state, commit, wire_format, order.authenticated_data)
    following = derive_next_epoch(
        group,
        new.tree,
        provisional_context(group, new.tree, applied),
        content,
        state.secrets.init_secret,
        new.commit_secret,
        psks,
    )
    signature_key = leaf.signature_keys.private if wants_path else own.signature_key
    after = EpochState(
        following.group,
        following.secrets,
        OwnLeaf(own.index, signature_key, own_keys_after(group, applied, own, new)),
    )
    message, key = protect(state, with_tag(content, following), keys, env, private=order.private)
    welcome = create_welcome(after, following, applied, new.plan, env, tree_inside=order.tree_inside)
    new.wipe_passing()
    following.wipe_passing()
    effect = effect_of(group, following.group, applied, order.proposals, own.index, env)
    changed = applied.changed.union(applied.removed, {own.index} if wants_path else ())
    return CreatedCommit(message, welcome, Transition(effect, after, changed), key)


def _applied(group: GroupState, order: CommitOrder, own: LeafIndex, env: Environment) -> Applied:
    verify_commit_size(order.proposals, env.settings, own=True)
    verify_list(order.proposals, own)
    applied = apply_proposals(group, order.proposals, env, strict=True, link=order.link)
    verify_own_support(applied, own)
    return applied


def own_leaf_content(state: EpochState) -> LeafContent:
    """Return what our present leaf says of us."""
    leaf = state.group.leaf_node(state.own.index)
    if leaf is None:
        raise UsageError("this client is no member any more", code=Code.GROUP_RETIRED)
    keys = SignatureKeyPair(state.own.signature_key, leaf.signature_key)
    return LeafContent(leaf.credential, keys, leaf.capabilities, leaf.extensions)


def _wants_path(order: CommitOrder, env: Environment) -> bool:
    required = is_path_required(order.proposals, env.registry)
    allowed = not required or order.path is not False
    require(allowed, UsageError, "R-12.4-08", "these proposals require a path", code=Code.PATH_REQUIRED)
    if order.leaf is not None and order.path is False:
        raise UsageError("a changed leaf travels in a path", code=Code.PATH_REQUIRED)
    return required or order.path is not False


def _reference(queued: QueuedProposal) -> InlineProposal | ProposalRef:
    return ProposalRef(queued.reference) if queued.reference else InlineProposal(queued.proposal)


def _verify_own_path(
    group: GroupState, new: NewPath, index: LeafIndex, applied: Applied, signer: SignaturePrivateKey, env: Environment
) -> None:
    """§12.2: a committer judges its own leaf as everybody else will."""
    if new.path is not None:
        leaf = new.path.leaf_node
        verify_replacement(group, leaf, index, env, applied.demands, Place.COMMIT, strict=True, signer=signer)
        verify_members(new.tree, applied.changed | {index}, group.suite)


def create_path(
    group: GroupState, applied: Applied, tree: RatchetTree, index: LeafIndex, leaf: LeafContent, env: Environment
) -> NewPath:
    """Refresh the path of leaf `index` of `tree`, the tree after all proposals; the new leaf is still to be judged.

    The tree is complete, and hashed, before the first path secret is sealed: the seals are bound to its hash.
    RFC 9420 §7.5, §7.6.
    """
    suite = group.suite
    leaf_keys = suite.generate_key_pair(env.entropy)
    path_secret = PathSecret(env.entropy(suite.hash_length))
    plan = plan_path(tree, index, suite, path_secret, leaf_keys.public)
    path_secret.wipe()
    leaf_node = sign_leaf(group, leaf, leaf_keys, CommitSource(plan.leaf_parent_hash), index)
    after = plan.install(LeafSlot.of(leaf_node))
    context = encode(provisional_context(group, after, applied))
    path = seal_path(plan, after, leaf_node, suite, context, env.entropy, applied.new_leaves)
    return NewPath(after, path, plan, leaf_keys.private, plan.commit_secret)


def sign_leaf(
    group: GroupState, leaf: LeafContent, keys: HPKEKeyPair, source: UpdateSource | CommitSource, index: LeafIndex
) -> LeafNode:
    """Return a signed leaf for a place in a group. RFC 9420 §7.2."""
    unsigned = LeafNode(
        encryption_key=keys.public,
        signature_key=leaf.signature_keys.public,
        credential=leaf.credential,
        capabilities=leaf.capabilities,
        source=source,
        extensions=leaf.extensions,
        signature=b"",
    )
    tbs = leaf_node_tbs(unsigned, LeafPosition(group.context.group_id, index))
    signature = group.suite.sign_with_label(leaf.signature_keys.private, b"LeafNodeTBS", tbs)
    return replace(unsigned, signature=signature)


def signed_content(
    state: EpochState, content: Content, wire_format: WireFormat, authenticated_data: bytes
) -> AuthenticatedContent:
    """Sign what a member says in the present epoch; a commit's confirmation tag comes later. RFC 9420 §6.1."""
    context = state.group.context
    sender: Sender = MemberSender(state.own.index)
    framed = FramedContent(context.group_id, context.epoch, sender, authenticated_data, content)
    signature = sign_content(state.suite, state.own.signature_key, framed, wire_format, context)
    tag = b"" if isinstance(content, Commit) else None
    return AuthenticatedContent(wire_format, framed, FramedContentAuthData(signature, tag))


def with_tag(content: AuthenticatedContent, following: NextEpoch) -> AuthenticatedContent:
    """Complete a commit's authentication with the new epoch's confirmation tag. RFC 9420 §6.1."""
    auth = FramedContentAuthData(content.auth.signature, following.group.confirmation_tag)
    return replace(content, auth=auth)


def own_keys_after(group: GroupState, applied: Applied, own: OwnLeaf, new: NewPath) -> dict[NodeIndex, HPKEPrivateKey]:
    """Return the committer's private keys in the new epoch. RFC 9420 §7.5."""
    keys = surviving_keys(group.tree, applied.tree, own.private_keys)
    if new.plan is None or new.leaf_key is None:
        return keys
    kept = surviving_keys(applied.tree, new.tree, keys)
    return {**kept, **new.plan.private_keys, node_of(own.index): new.leaf_key}


def protect(
    state: EpochState, content: AuthenticatedContent, keys: SenderKeys, env: Environment, *, private: bool
) -> tuple[MLSMessage, StagedKey | None]:
    """Frame a member's signed content, and return the key that this spends, if any. RFC 9420 §6."""
    suite, context = state.suite, state.group.context
    if private:
        padding, limit = env.settings.padding, env.settings.max_message_bytes
        body, key = protect_private(suite, content, keys, padding=padding, entropy=env.entropy, limit=limit)
        return MLSMessage(ProtocolVersion.MLS10, body), key
    public = protect_public(suite, content, context, state.secrets.membership_key)
    return MLSMessage(ProtocolVersion.MLS10, public), None
