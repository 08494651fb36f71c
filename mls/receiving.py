"""Receiving a message of a group: the header decides, then who sent it is verified, then what it says.

RFC 9420 §6, §12, §15.
"""

from __future__ import annotations

from dataclasses import dataclass

from mls.epoch.admission import (
    admit_proposal,
    authenticated,
    verify_group,
    verify_not_frozen,
    verify_public_allowed,
)
from mls.epoch.effect import member_of
from mls.epoch.environment import Environment
from mls.epoch.framing import LeafLookup, SenderKeys, open_private, open_public, open_sender_data
from mls.epoch.past import past_leaf, still_read
from mls.epoch.queue import PendingProposal
from mls.epoch.receive_commit import Known, stage_commit
from mls.errors import (
    Code,
    InvalidFraming,
    UnavailableSecret,
    WrongEpoch,
)
from mls.events import ApplicationMessage, OwnMessage, ProposalReceived, StagedCommit
from mls.header import Header, read_header
from mls.messages import (
    ApplicationData,
    AuthenticatedContent,
    ContentType,
    GroupContext,
    LeafNode,
    MemberSender,
    MLSMessage,
    PrivateMessage,
    ProposalContent,
    PublicMessage,
    Update,
    is_commit,
)
from mls.rules import require, require_here, require_present
from mls.schedule.secret_tree import StagedKey
from mls.store.seam import Store
from mls.store.standing import Standing
from treekem.index import LeafIndex
from treekem.wire import decode


@dataclass(frozen=True, slots=True)
class _Sight:
    """What an epoch offers for opening its messages."""

    context: GroupContext
    keys: SenderKeys
    leaf: LeafLookup


Received = ApplicationMessage | ProposalReceived | StagedCommit | OwnMessage


def receive_message(standing: Standing, data: bytes, store: Store, env: Environment) -> Received:
    """Verify a message, and write what it changes: a consumed key, a recorded proposal.

    Raises MLSError, with nothing changed.
    """
    header = read_header(data, env.settings)
    text = f"a {header.wire_format.name} is not a message to a group"
    require(header.is_framed, InvalidFraming, "R-6-06", text)
    verify_group(standing.group_id, header.group_id)
    sight = _sight(standing, header, env)
    body = decode(MLSMessage, data, bodies=env.registry.bodies).body
    match body:
        case PublicMessage():
            return _receive_public(standing, body, store, env)
        case PrivateMessage():
            return _receive_private(standing, body, sight, store, env)
        case _:
            raise AssertionError("the header said that the message is framed")


def _sight(standing: Standing, header: Header, env: Environment) -> _Sight:
    """§6: handshakes name the present epoch, application messages may name one that is kept."""
    state = standing.state
    if header.epoch == state.epoch:
        return _Sight(state.group.context, standing.keys, state.group.leaf_node)
    past = next((each for each in standing.past if each.epoch == header.epoch), None)
    too_old = header.application and header.epoch < state.epoch
    text = f"the message is for epoch {header.epoch}, the group is in epoch {state.epoch}"
    places = {"current": state.epoch, "received": header.epoch}
    code = Code.TOO_OLD if too_old else Code.WRONG_EPOCH
    require_here(past is not None and header.application, WrongEpoch, "R-6-11", text, code=code, **places)
    if past is None:
        # Only where the rule is let pass: the present epoch is all there is to open it with.
        return _Sight(state.group.context, standing.keys, state.group.leaf_node)
    in_time = any(each.epoch == past.epoch for each in still_read(standing.past, env.now, env.settings))
    require_here(in_time, WrongEpoch, "S-past_epoch_ttl", f"{text}: too late", code=code, **places)

    def leaf(index: LeafIndex) -> LeafNode | None:
        return past_leaf(standing.past, header.epoch, state.group.tree, index)

    return _Sight(past.context, past.keys, leaf)


def _receive_public(standing: Standing, message: PublicMessage, store: Store, env: Environment) -> Received:
    state = standing.state
    sender = message.content.sender
    verify_public_allowed(sender, env)
    membership_key = state.secrets.membership_key
    content = open_public(state.suite, message, state.group.context, membership_key, state.group.leaf_node)
    if sender == MemberSender(state.own.index):
        with authenticated(sender):
            _verify_not_lost(is_commit(content.content))
        return OwnMessage(None)
    return _receive_handshake(standing, content, None, store, env)


def _receive_private(
    standing: Standing, message: PrivateMessage, sight: _Sight, store: Store, env: Environment
) -> Received:
    state = standing.state
    sender_data = open_sender_data(state.suite, message, sight.keys.sender_data_secret)
    if sender_data.leaf_index == state.own.index:
        _verify_not_lost(message.content_type is ContentType.COMMIT)
        return OwnMessage(sender_data.generation)
    bodies, now = env.registry.bodies, env.now
    opened = open_private(state.suite, message, sender_data, sight.keys, sight.context, sight.leaf, bodies, now)
    inner = opened.content.content.content
    if not isinstance(inner, ApplicationData):
        return _receive_handshake(standing, opened.content, opened.key, store, env)
    found, text = sight.leaf(sender_data.leaf_index), "a blank leaf sends"
    node = require_present(found, InvalidFraming, "R-6.3.2-06", text, code=Code.UNVERIFIED)
    sender = member_of(sender_data.leaf_index, node, env)
    _consume(standing, message.epoch, sight, opened.key, store)
    return ApplicationMessage(
        sender, inner.application_data, message.authenticated_data, message.epoch, sender_data.generation
    )


def _verify_not_lost(is_own_commit: bool) -> None:
    """§12.4.2: an own commit is merged from its candidate; one that has none can be neither merged nor processed."""
    text = "a commit of this client came back, but it holds no such candidate"
    require(not is_own_commit, UnavailableSecret, "R-12.4.2-21", text, code=Code.STALE_HANDLE)


def _consume(standing: Standing, epoch: int, sight: _Sight, key: StagedKey, store: Store) -> None:
    store.apply(standing.key_batch(epoch, key))
    sight.keys.secret_tree.apply(key)


def _receive_handshake(
    standing: Standing, content: AuthenticatedContent, key: StagedKey | None, store: Store, env: Environment
) -> Received:
    inner = content.content.content
    with authenticated(content.content.sender):
        verify_not_frozen(standing.frozen)
        if isinstance(inner, ProposalContent):
            return _record_proposal(standing, content, inner, key, store, env)
        transition = stage_commit(standing.state, content, _known(standing), env)
        return StagedCommit(
            own=False,
            effect=transition.effect,
            epoch=standing.state.epoch,
            base=standing.state,
            transition=transition,
            key=key,
        )


def _known(standing: Standing) -> Known:
    """Return what waits for a commit, and the private keys that wait with it."""
    update_keys, signature_keys = {}, {}
    for each in standing.proposals.values():
        proposal = each.queued.proposal
        if isinstance(proposal, Update) and each.update_key is not None:
            update_keys[proposal.leaf_node.encryption_key] = each.update_key
        if isinstance(proposal, Update) and each.signature_key is not None:
            signature_keys[proposal.leaf_node.signature_key] = each.signature_key
    return Known({ref: each.queued for ref, each in standing.proposals.items()}, update_keys, signature_keys)


def _record_proposal(
    standing: Standing,
    content: AuthenticatedContent,
    inner: ProposalContent,
    key: StagedKey | None,
    store: Store,
    env: Environment,
) -> ProposalReceived:
    waiting = {reference: each.queued for reference, each in standing.proposals.items()}
    queued = admit_proposal(standing.state.group, content, inner.proposal, waiting, env)
    pending = PendingProposal(queued)
    batch = standing.proposal_batch(pending)
    if key is not None:
        batch |= standing.key_batch(standing.state.epoch, key)
    store.apply(batch)
    if key is not None:
        standing.secret_tree.apply(key)
    standing.proposals.setdefault(queued.reference, pending)
    return ProposalReceived(queued.reference, queued.proposal, queued.sender)
