"""Processing a commit that another member or an external joiner sent. RFC 9420 §12.4.2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mls.epoch.effect import effect_of
from mls.epoch.environment import Environment
from mls.epoch.members import verify_members
from mls.epoch.proposals import (
    Applied,
    QueuedProposal,
    apply_proposals,
    is_path_required,
    psks_of,
    verify_external_list,
    verify_joiner,
    verify_list,
    verify_replacement,
    verify_width,
)
from mls.epoch.state import EpochState, GroupState, OwnLeaf
from mls.epoch.transition import (
    Transition,
    derive_next_epoch,
    provisional_context,
    verify_epoch,
)
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidCommit,
    InvalidKey,
    InvalidLeafNode,
    InvalidProposal,
    Refused,
    UnavailableSecret,
)
from mls.identity import Place
from mls.messages import (
    AuthenticatedContent,
    Commit,
    CommitSource,
    ExternalInit,
    InlineProposal,
    LeafNode,
    MemberSender,
    NewMemberCommitSender,
    ProposalRef,
    Remove,
)
from mls.rules import require
from mls.schedule.key_schedule import InitSecret, external_init_secret, external_key_pair, zero_commit_secret
from mls.schedule.transcript import verify_confirmation_tag
from treekem.index import LeafIndex, NodeIndex, node_of
from treekem.nodes import UpdatePath
from treekem.path import apply_path, open_path, surviving_keys
from treekem.suite import CommitSecret, HPKEPrivateKey
from treekem.tree import RatchetTree
from treekem.wire import encode


@dataclass(frozen=True, slots=True)
class Known:
    """What a member holds while an epoch lasts.

    Proposals stand under their references, the private keys of its own Updates under the public ones.
    """

    proposals: Mapping[bytes, QueuedProposal]
    own_updates: Mapping[bytes, HPKEPrivateKey]


@dataclass(frozen=True, slots=True)
class _Merged:
    """The tree after proposals and path, and the leaf that committed."""

    tree: RatchetTree
    committer: LeafIndex
    path: UpdatePath | None


def stage_commit(state: EpochState, content: AuthenticatedContent, known: Known, env: Environment) -> Transition:
    """Check a commit whose signature has verified, and compute the state after it; nothing is changed.

    Raises a subclass of InvalidMessage, UnavailableSecret, WrongEpoch or Refused. RFC 9420 §12.4.2.
    """
    group = state.group
    verify_epoch(group, content)
    commit = content.content.content
    if not isinstance(commit, Commit):
        raise InvalidCommit("the content is no commit")
    proposals = _resolve(commit, content, known)
    external = isinstance(content.content.sender, NewMemberCommitSender)
    _verify_list(proposals, content, env)
    _verify_path_presence(commit, proposals)
    applied = apply_proposals(group, proposals, env)
    merged = _merge_path(group, commit, applied, content, env)
    removed_me = state.own.index in applied.removed
    if removed_me:
        effect = effect_of(group, None, applied, proposals, merged.committer, env, external=external, removed_me=True)
        return Transition(effect, None, frozenset())
    psks = psks_of(applied.psks, env)
    provisional = provisional_context(group, merged.tree, applied)
    own_keys, commit_secret = _open_path(state, merged, applied, known, encode(provisional))
    init_secret = state.secrets.init_secret
    if applied.external_init is not None:
        init_secret = _external_init_secret(state, applied.external_init)
    following = derive_next_epoch(group, merged.tree, provisional, content, init_secret, commit_secret, psks)
    following.wipe_passing()
    if init_secret is not state.secrets.init_secret:
        init_secret.wipe()
    verify_confirmation_tag(
        group.suite,
        following.secrets.confirmation_key,
        following.group.context.confirmed_transcript_hash,
        content.auth.confirmation_tag or b"",
    )
    own = OwnLeaf(state.own.index, state.own.signature_key, own_keys)
    effect = effect_of(group, following.group, applied, proposals, merged.committer, env, external=external)
    changed = applied.changed.union(applied.removed)
    if merged.path is not None:
        changed |= {merged.committer}
    return Transition(effect, EpochState(following.group, following.secrets, own), changed)


def _resolve(commit: Commit, content: AuthenticatedContent, known: Known) -> tuple[QueuedProposal, ...]:
    """§12.4: what stands in the commit is the committer's, what it refers to keeps its own sender."""
    resolved = []
    for index, entry in enumerate(commit.proposals):
        match entry:
            case InlineProposal(proposal=proposal):
                resolved.append(QueuedProposal(proposal, content.content.sender))
            case ProposalRef(reference=reference):
                queued = known.proposals.get(reference)
                if queued is None:
                    raise InvalidCommit(
                        f"proposal {index}: no proposal of this epoch has this reference",
                        rule="R-12.4-11",
                        code=Code.UNKNOWN_PROPOSAL_REF,
                        index=index,
                    )
                resolved.append(queued)
    return tuple(resolved)


def _verify_list(proposals: tuple[QueuedProposal, ...], content: AuthenticatedContent, env: Environment) -> None:
    match content.content.sender:
        case MemberSender(leaf_index=committer):
            verify_list(proposals, committer)
        case NewMemberCommitSender():
            verify_external_list(proposals)
            _verify_external_allowed(proposals, env)
        case _:
            raise InvalidCommit("only members and external joiners commit", rule="R-6.1-10")


def _verify_external_allowed(proposals: tuple[QueuedProposal, ...], env: Environment) -> None:
    allowed, code = env.settings.external_commits, Code.EXTERNAL_COMMIT_DISABLED
    require(allowed, Refused, "S-external_commits", "external commits are not accepted here", code=code)
    replaces = any(isinstance(each.proposal, Remove) for each in proposals)
    message = "an external commit may not replace a leaf here"
    require(env.settings.resync or not replaces, Refused, "S-resync", message, code=Code.RESYNC_DISABLED)


def _verify_path_presence(commit: Commit, proposals: tuple[QueuedProposal, ...]) -> None:
    present = commit.path is not None or not is_path_required(proposals)
    message = "the proposals require a path, and there is none"
    require(present, InvalidCommit, "R-12.4-08", message, code=Code.PATH_REQUIRED)


def _merge_path(
    group: GroupState, commit: Commit, applied: Applied, content: AuthenticatedContent, env: Environment
) -> _Merged:
    path = commit.path
    if isinstance(content.content.sender, MemberSender):
        committer, tree = content.content.sender.leaf_index, applied.tree
        if path is None:
            return _Merged(tree, committer, None)
        _verify_path_leaf_source(path.leaf_node)
        verify_replacement(group, path.leaf_node, committer, env, applied.demands, Place.COMMIT)
    else:
        tree, committer = applied.tree.with_room()
        verify_width(tree, env)
        if path is None:
            raise InvalidCommit("an external commit without a path", rule="R-12.4.3.2-03", code=Code.PATH_REQUIRED)
        _verify_path_leaf_source(path.leaf_node)
        verify_joiner(group, path.leaf_node, committer, applied, env)
    tree = apply_path(tree, committer, path, group.suite, applied.new_leaves)
    verify_members(tree, applied.changed | {committer}, group.suite)
    return _Merged(tree, committer, path)


def _verify_path_leaf_source(leaf: LeafNode) -> None:
    is_committed = isinstance(leaf.source, CommitSource)
    require(is_committed, InvalidLeafNode, "R-12.4.2-09", "a path's leaf has another source than commit")


def _open_path(
    state: EpochState, merged: _Merged, applied: Applied, known: Known, context: bytes
) -> tuple[dict[NodeIndex, HPKEPrivateKey], CommitSecret]:
    suite = state.suite
    keys = surviving_keys(state.group.tree, applied.tree, state.own.private_keys)
    for index, leaf in applied.updated:
        if index == state.own.index:
            keys[node_of(index)] = _own_update_key(leaf, known)
    if merged.path is None:
        return keys, zero_commit_secret(suite)
    opened = open_path(
        merged.tree,
        merged.committer,
        state.own.index,
        merged.path,
        suite,
        keys,
        context,
        applied.new_leaves,
    )
    opened.path_secret.wipe()
    kept = surviving_keys(applied.tree, merged.tree, keys)
    return {**kept, **opened.private_keys}, opened.commit_secret


def _external_init_secret(state: EpochState, init: ExternalInit) -> InitSecret:
    pair = external_key_pair(state.suite, state.secrets.external)
    try:
        return external_init_secret(state.suite, pair.private, init.kem_output)
    except (InvalidKey, InvalidCiphertext) as error:
        raise InvalidProposal(f"kem_output: {error.message}", rule="R-8.3-04", code=error.code) from error
    finally:
        pair.private.wipe()


def _own_update_key(leaf: LeafNode, known: Known) -> HPKEPrivateKey:
    """§12.1.2: a commit that covers our Update seals its path to the Update's key."""
    key = known.own_updates.get(leaf.encryption_key)
    if key is None:
        raise UnavailableSecret("the private key of an own Update is gone", rule="R-12.4.2-22")
    return key
