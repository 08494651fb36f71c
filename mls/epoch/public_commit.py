"""The public half of processing a commit: all that those can check who hold no secret. RFC 9420 §12.4.2.

A member goes on from here with its secrets, an observer of the group with what is left to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mls.epoch.admission import verify_return_shown
from mls.epoch.authorization import authorize_commit
from mls.epoch.effect import Effect, effect_of
from mls.epoch.environment import Environment
from mls.epoch.limits import verify_commit_size, verify_width
from mls.epoch.members import verify_members
from mls.epoch.proposals import (
    Applied,
    QueuedProposal,
    apply_proposals,
    is_path_required,
    verify_external_list,
    verify_joiner,
    verify_list,
    verify_replacement,
)
from mls.epoch.state import GroupState
from mls.epoch.transition import provisional_context, verify_epoch
from mls.errors import Code, InvalidCommit, InvalidLeafNode, Refused
from mls.identity import Place
from mls.messages import (
    AuthenticatedContent,
    Commit,
    CommitSource,
    InlineProposal,
    LeafNode,
    MemberSender,
    NewMemberCommitSender,
    ProposalRef,
    Remove,
)
from mls.rules import refuse, require, require_kind, require_present
from mls.schedule.transcript import confirmed_transcript_hash, interim_transcript_hash, verify_tag_length
from treekem.index import LeafIndex
from treekem.nodes import UpdatePath
from treekem.path import apply_path
from treekem.tree import RatchetTree


@dataclass(frozen=True, slots=True)
class PublicCommit:
    """A commit whose public half was checked: the tree after proposals and path, and what led there.

    `committer` is the leaf that committed, as of the new tree.
    """

    tree: RatchetTree
    committer: LeafIndex
    applied: Applied
    proposals: tuple[QueuedProposal, ...]
    path: UpdatePath | None
    external: bool

    @property
    def changed(self) -> frozenset[LeafIndex]:
        """The leaves whose content differs between the two epochs."""
        changed = self.applied.changed.union(self.applied.removed)
        return changed if self.path is None else changed | {self.committer}

    def effect(
        self, before: GroupState, after: GroupState | None, env: Environment, *, removed_me: bool = False
    ) -> Effect:
        """Describe the commit from the states around it; `after` is None when it removes us."""
        return effect_of(
            before,
            after,
            self.applied,
            self.proposals,
            self.committer,
            env,
            external=self.external,
            removed_me=removed_me,
        )


def stage_public_commit(
    group: GroupState, content: AuthenticatedContent, queued: Mapping[bytes, QueuedProposal], env: Environment
) -> PublicCommit:
    """Check of a signed commit what takes no secret, and apply it to a copy of the tree.

    `queued` holds the epoch's proposals by reference. Raises a subclass of InvalidMessage, WrongEpoch or Refused.
    RFC 9420 §12.4.2.
    """
    verify_epoch(group, content)
    commit = require_kind(content.content.content, Commit, InvalidCommit, "R-6-07", "the content is no commit")
    verify_commit_size(commit.proposals, env.settings)
    proposals = _resolve(commit, content, queued)
    external = isinstance(content.content.sender, NewMemberCommitSender)
    _verify_list(group, proposals, content, env)
    if not external:
        # Who joins from outside brings a path whatever it proposes, and is asked for it where its leaf is placed.
        _verify_path_presence(commit, proposals, env)
    applied = apply_proposals(group, proposals, env)
    tree, committer = _merge_path(group, commit.path, applied, content, env)
    return PublicCommit(tree, committer, applied, proposals, commit.path, external)


def public_state_after(group: GroupState, content: AuthenticatedContent, commit: PublicCommit) -> GroupState:
    """Return the public state that a commit leads to. Its confirmation tag is taken on faith: no key is at hand.

    Raises InvalidTag for one that no key could give, and UsageError at the last epoch. RFC 9420 §8.2, §12.4.2.
    """
    suite, tag = group.suite, content.auth.confirmation_tag or b""
    verify_tag_length(suite, tag)
    provisional = provisional_context(group, commit.tree, commit.applied)
    confirmed = confirmed_transcript_hash(suite, group.interim_transcript_hash, content)
    context = replace(provisional, confirmed_transcript_hash=confirmed)
    return GroupState(suite, context, commit.tree, interim_transcript_hash(suite, confirmed, tag), tag)


def _resolve(
    commit: Commit, content: AuthenticatedContent, queued: Mapping[bytes, QueuedProposal]
) -> tuple[QueuedProposal, ...]:
    """§12.4: what stands in the commit is the committer's, what it refers to keeps its own sender."""
    resolved = []
    for index, entry in enumerate(commit.proposals):
        match entry:
            case InlineProposal(proposal=proposal):
                resolved.append(QueuedProposal(proposal, content.content.sender))
            case ProposalRef(reference=reference):
                found, code = queued.get(reference), Code.UNKNOWN_PROPOSAL_REF
                message = f"proposal {index}: no proposal of this epoch has this reference"
                resolved.append(require_present(found, InvalidCommit, "R-12.4-11", message, code=code, index=index))
    return tuple(resolved)


def _verify_list(
    group: GroupState, proposals: tuple[QueuedProposal, ...], content: AuthenticatedContent, env: Environment
) -> None:
    match content.content.sender:
        case MemberSender(leaf_index=committer):
            verify_list(proposals, committer)
        case NewMemberCommitSender():
            verify_external_list(proposals)
            _verify_external_allowed(group, proposals, env)
        case _:
            refuse(InvalidCommit, "R-6.1-10", "only members and external joiners commit")


def _verify_external_allowed(group: GroupState, proposals: tuple[QueuedProposal, ...], env: Environment) -> None:
    allowed, code = env.settings.external_commits, Code.EXTERNAL_COMMIT_DISABLED
    require(allowed, Refused, "S-external_commits", "external commits are not accepted here", code=code)
    replaces = any(isinstance(each.proposal, Remove) for each in proposals)
    message = "an external commit may not replace a leaf here"
    require(env.settings.resync or not replaces, Refused, "S-resync", message, code=Code.RESYNC_DISABLED)
    verify_return_shown(group, proposals, env.settings)


def _verify_path_presence(commit: Commit, proposals: tuple[QueuedProposal, ...], env: Environment) -> None:
    present = commit.path is not None or not is_path_required(proposals, env.registry)
    message = "the proposals require a path, and there is none"
    require(present, InvalidCommit, "R-12.4-08", message, code=Code.PATH_REQUIRED)


def _merge_path(
    group: GroupState, path: UpdatePath | None, applied: Applied, content: AuthenticatedContent, env: Environment
) -> tuple[RatchetTree, LeafIndex]:
    if isinstance(content.content.sender, MemberSender):
        committer, tree = content.content.sender.leaf_index, applied.tree
        authorize_commit(group, committer, None if path is None else path.leaf_node, env)
        if path is None:
            return tree, committer
        _verify_path_leaf_source(path.leaf_node)
        verify_replacement(group, path.leaf_node, committer, env, applied.demands, Place.COMMIT)
    else:
        tree, committer = applied.tree.with_room()
        verify_width(tree, env.settings)
        message = "an external commit without a path"
        path = require_present(path, InvalidCommit, "R-12.4.3.2-03", message, code=Code.PATH_REQUIRED)
        _verify_path_leaf_source(path.leaf_node)
        verify_joiner(group, path.leaf_node, committer, applied, env)
    tree = apply_path(tree, committer, path, group.suite, applied.new_leaves)
    verify_members(tree, applied.changed | {committer}, group.suite)
    return tree, committer


def _verify_path_leaf_source(leaf: LeafNode) -> None:
    is_committed = isinstance(leaf.source, CommitSource)
    require(is_committed, InvalidLeafNode, "R-12.4.2-09", "a path's leaf has another source than commit")
