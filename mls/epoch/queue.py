"""Proposals that wait for a commit, and which of them go into one. RFC 9420 §12.1, §12.2, §12.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mls.crypto import CipherSuite, SignaturePrivateKey
from mls.epoch.environment import Environment
from mls.epoch.limits import verify_commit_size
from mls.epoch.proposals import QueuedProposal, apply_proposals, psks_of, verify_list
from mls.epoch.state import GroupState
from mls.errors import MLSError
from mls.messages import AuthenticatedContent, MemberSender, ReInit, Remove, Update
from treekem.index import LeafIndex
from treekem.secrets import Secret
from treekem.suite import HPKEPrivateKey
from treekem.wire import encode


@dataclass(frozen=True, slots=True)
class PendingProposal:
    """A proposal of this epoch.

    `update_key` is the private key behind an Update of our own, `signature_key` the new one that it brings, if any.
    """

    queued: QueuedProposal
    update_key: HPKEPrivateKey | None = None
    signature_key: SignaturePrivateKey | None = None

    def own_keys(self) -> Iterator[Secret]:
        """Iterate over the private keys that wait with the proposal. RFC 9420 §12.1.2."""
        yield from (key for key in (self.update_key, self.signature_key) if key is not None)


@dataclass(frozen=True, slots=True)
class Selection:
    """The proposals that a commit takes, and those it leaves out with the reason."""

    taken: tuple[QueuedProposal, ...]
    left_out: tuple[tuple[QueuedProposal, str], ...]


def proposal_ref(suite: CipherSuite, content: AuthenticatedContent) -> bytes:
    """Return the reference of a proposal that was sent. RFC 9420 §5.2."""
    return suite.ref_hash(b"MLS 1.0 Proposal Reference", encode(content))


def select_proposals(
    group: GroupState,
    committer: LeafIndex,
    wanted: Sequence[QueuedProposal],
    pending: Sequence[QueuedProposal],
    env: Environment,
) -> Selection:
    """Choose the proposals of a commit: all that is wanted, and of what is pending all that goes with it.

    Where pending proposals exclude each other, a Remove wins over an Update, a later Update over an earlier one, and
    anything over a ReInit. RFC 9420 §12.2, §12.4.
    """
    candidates, left_out = _preferred(committer, wanted, pending)
    taken: list[QueuedProposal] = []
    # Halves are tried before single ones: each trial judges everything that is wanted, and few do not go with it.
    chunks = [candidates] if candidates else []
    while chunks:
        chunk = chunks.pop()
        refusal = _refusal(group, committer, (*taken, *chunk, *wanted), env)
        middle = len(chunk) // 2
        if refusal is None:
            taken.extend(chunk)
        elif middle:
            chunks.extend((chunk[middle:], chunk[:middle]))
        else:
            left_out.extend((queued, str(refusal)) for queued in chunk)
    return Selection((*taken, *wanted), tuple(left_out))


def _preferred(
    committer: LeafIndex, wanted: Sequence[QueuedProposal], pending: Sequence[QueuedProposal]
) -> tuple[list[QueuedProposal], list[tuple[QueuedProposal, str]]]:
    removed = {each.proposal.removed for each in (*pending, *wanted) if isinstance(each.proposal, Remove)}
    others = any(not isinstance(each.proposal, ReInit) for each in (*pending, *wanted))
    latest: dict[LeafIndex, QueuedProposal] = {}
    for queued in pending:
        if isinstance(queued.proposal, Update) and isinstance(queued.sender, MemberSender):
            latest[queued.sender.leaf_index] = queued
    chosen: list[QueuedProposal] = []
    left_out: list[tuple[QueuedProposal, str]] = []
    for queued in pending:
        reason = _objection(queued, committer, removed, latest, others=others)
        if reason:
            left_out.append((queued, reason))
        else:
            chosen.append(queued)
    return chosen, left_out


def _objection(
    queued: QueuedProposal,
    committer: LeafIndex,
    removed: Iterable[LeafIndex],
    latest: dict[LeafIndex, QueuedProposal],
    *,
    others: bool,
) -> str:
    match queued.proposal, queued.sender:
        case Update(), MemberSender(leaf_index=sender):
            if sender == committer:
                return "a committer refreshes its leaf by the path, not by its own Update"
            if sender in removed:
                return "the member is removed"
            return "" if latest[sender] is queued else "a later Update of the same member is taken"
        case Remove(removed=leaf), _ if leaf == committer:
            return "a committer cannot remove itself"
        case ReInit(), _ if others:
            return "other proposals go before a ReInit"
        case _:
            return ""


def _refusal(
    group: GroupState, committer: LeafIndex, proposals: Sequence[QueuedProposal], env: Environment
) -> MLSError | None:
    try:
        verify_commit_size(proposals, env.settings, own=True)
        verify_list(proposals, committer)
        for _, psk in psks_of(apply_proposals(group, proposals, env, strict=True).psks, env):
            psk.wipe()
    except MLSError as error:
        return error
    return None
