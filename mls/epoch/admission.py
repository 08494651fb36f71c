"""What a group listens to before it looks at what is said: the right group, an open one, senders that settings allow.

Members and observers of a group share these checks. RFC 9420 §6, §12.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from mls.epoch.environment import Environment
from mls.epoch.leaves import Demands
from mls.epoch.limits import require_within
from mls.epoch.proposals import QueuedProposal, verify_proposal
from mls.epoch.queue import proposal_ref
from mls.epoch.state import GroupState
from mls.errors import Code, InvalidMessage, InvalidProposal, MLSError, Refused, UsageError, WrongGroup
from mls.messages import (
    AuthenticatedContent,
    ExternalSenderIndex,
    MemberSender,
    NewMemberProposalSender,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    ResumptionPSK,
    Sender,
)
from mls.rules import require, require_here
from mls.settings import Settings


def verify_group(current: bytes, received: bytes) -> None:
    """Check that a message is for this group. Raises WrongGroup. RFC 9420 §6."""
    text = "the message is for another group"
    require_here(received == current, WrongGroup, "R-6-10", text, current=current, received=received)


def verify_public_allowed(sender: Sender, env: Environment) -> None:
    """Check that a sender's handshake may come in the clear. Raises Refused. RFC 9420 §6."""
    if isinstance(sender, MemberSender):
        allowed = env.settings.accept_public_handshakes
        text = "members' handshakes in the clear are not accepted here"
        require(allowed, Refused, "S-accept_public_handshakes", text)


def verify_not_frozen(reinit: ReInit | None) -> None:
    """Check that the group is not being reinitialized: then it does not move any more, whoever asks.

    Raises InvalidMessage. RFC 9420 §11.2.
    """
    text = "the group is being reinitialized"
    require(reinit is None, InvalidMessage, "R-12.4.2-18", text, code=Code.GROUP_RETIRED)


@contextmanager
def authenticated(sender: Sender) -> Iterator[None]:
    """Mark what is refused from here on: a member has been proven to say it, and can be named.

    Who comes from outside signs by a key that the message brings along, or that is no member's.
    """
    try:
        yield
    except MLSError as error:
        if isinstance(sender, MemberSender):
            error.authenticated = True
            error.leaf = sender.leaf_index if error.leaf is None else error.leaf
        raise


def admit_proposal(
    group: GroupState,
    content: AuthenticatedContent,
    proposal: Proposal,
    waiting: Mapping[bytes, QueuedProposal],
    env: Environment,
) -> QueuedProposal:
    """Return the proposal of a signed message as it waits for a commit, once it has been checked by itself.

    What a policy or a setting of this client refuses does not wait, as what is invalid does not: to this client it was
    never sent, and a commit that covers it by reference ends in R-12.4-11 until it has come again and found acceptance.
    `waiting` holds the epoch's proposals by reference. Raises a subclass of InvalidMessage, or Refused.
    RFC 9420 §5.3.1, §12.1, §12.4.2.
    """
    sender = content.content.sender
    _verify_sender_allowed(sender, env)
    queued = QueuedProposal(proposal, sender, proposal_ref(group.suite, content))
    if queued.reference not in waiting:
        verify_room([each.sender for each in waiting.values()], sender, env)
        verify_proposal(group, queued, env, Demands.of(group.context, group.suite))
    return queued


def _verify_sender_allowed(sender: Sender, env: Environment) -> None:
    disabled = Code.EXTERNAL_SENDERS_DISABLED
    if isinstance(sender, ExternalSenderIndex):
        allowed = env.settings.external_senders
        require(allowed, Refused, "S-external_senders", "external senders are not heard here", code=disabled)
    if isinstance(sender, NewMemberProposalSender):
        allowed = env.settings.new_member_proposals
        require(allowed, Refused, "R-12.1.8-02", "clients may not propose themselves here", code=disabled)


def verify_room(held: Collection[Sender], sender: Sender, env: Environment, *, own: bool = False) -> None:
    """Check that another proposal of a sender may wait beside those of the senders `held`.

    It holds for our `own` as well: a commit that covers what others did not keep splits the group. Raises
    InvalidProposal or UsageError.
    """
    settings, count = env.settings, sum(each == sender for each in held)
    text, fits = "as many proposals are pending as {} allows", len(held) < settings.max_pending_proposals
    name = "max_pending_proposals"
    require_within(fits, InvalidProposal, "S-max_pending_proposals", text.format(name), own=own)
    fits, name = count < settings.max_pending_proposals_per_sender, "max_pending_proposals_per_sender"
    require_within(fits, InvalidProposal, "S-max_pending_proposals_per_sender", text.format(name), own=own)


def verify_return_shown(
    group: GroupState, proposals: Sequence[QueuedProposal], settings: Settings, *, own: bool = False
) -> None:
    """Check that who replaces a leaf from outside shows that it was a member, by a resumption PSK of the group.

    A signature key alone, which many groups may share, does not do unless settings say so. Raises Refused, or
    UsageError for an external commit of our `own`. RFC 9420 §12.4.3.2.
    """
    names = (each.proposal.psk.psk for each in proposals if isinstance(each.proposal, PreSharedKey))
    is_shown = any(isinstance(psk, ResumptionPSK) and psk.psk_group_id == group.context.group_id for psk in names)
    returns = any(isinstance(each.proposal, Remove) for each in proposals)
    fits = is_shown or settings.resync_without_psk or not returns
    text = "a leaf is replaced from outside without a resumption PSK of the group"
    require(fits, UsageError if own else Refused, "N-E06", text, code=Code.RESYNC_DISABLED)
