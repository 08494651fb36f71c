"""Asking the role policy: who acts, what for, and on whom, as the group stands before. RFC 9420 §12.2.

Creating and receiving pass here alike, so that nobody sends what others refuse.
"""

from __future__ import annotations

from mls.epoch.environment import Environment
from mls.epoch.extensions import external_senders
from mls.epoch.state import GroupState
from mls.errors import Code, InvalidProposal, Refused
from mls.identity.roles import EVERYTHING_ALLOWED, Action, Party, Relation, Target
from mls.messages import (
    Add,
    Credential,
    Extension,
    ExternalSenderIndex,
    GroupContextExtensions,
    LeafNode,
    MemberSender,
    NewMemberProposalSender,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    Remove,
    Sender,
    Update,
)
from mls.rules import require, require_present
from treekem.index import LeafIndex


def authorize_proposal(group: GroupState, proposal: Proposal, sender: Sender, env: Environment) -> None:
    """Ask about a proposal that was found valid; those of an external commit are judged with its joiner.

    Raises Refused.
    """
    if env.roles == EVERYTHING_ALLOWED:
        return
    actor = _actor(group, proposal, sender, env)
    if actor is not None:
        _authorize(
            actor, _ACTIONS.get(type(proposal), Action.PROPOSE_OTHERWISE), _target(group, proposal, actor, env), env
        )


def authorize_commit(group: GroupState, committer: LeafIndex, leaf: LeafNode | None, env: Environment) -> None:
    """Ask about a member's commit; `leaf` is the one that its path brings, if it has one. Raises Refused."""
    if env.roles == EVERYTHING_ALLOWED:
        return
    actor = _member(group, committer, env)
    new = None if leaf is None else _party(Relation.MEMBER, leaf, env, committer)
    _authorize(actor, Action.COMMIT, Target(group.context, new), env)


def authorize_joiner(
    group: GroupState,
    leaf: LeafNode,
    index: LeafIndex,
    removed: tuple[LeafIndex, ...],
    psks: tuple[PreSharedKeyID, ...],
    env: Environment,
) -> None:
    """Ask about an external commit: the actor joins with a leaf, or returns as who it was. Raises Refused."""
    if env.roles == EVERYTHING_ALLOWED:
        return
    joiner = _party(Relation.OUTSIDER, leaf, env)
    if removed:
        actor, action = _member(group, removed[0], env), Action.RETURN
        new = _party(Relation.MEMBER, leaf, env, index)
    else:
        actor, action, new = joiner, Action.JOIN, None
    _authorize(actor, action, Target(group.context, new), env)
    for psk in psks:
        _authorize(joiner, Action.INJECT_PSK, Target(group.context, None, PreSharedKey(psk)), env)


def authorize_entry(group: GroupState, signer: LeafIndex, env: Environment) -> None:
    """Ask about a group that we are about to enter or to follow, as `signer` told of it. Raises Refused."""
    if env.roles != EVERYTHING_ALLOWED:
        _authorize(_member(group, signer, env), Action.LEAD_INTO, Target(group.context), env)


def with_roles(extensions: tuple[Extension, ...], founder: Credential, env: Environment) -> tuple[Extension, ...]:
    """Return the extensions of a new group, completed by what the role policy writes where they do not say it."""
    present = {each.extension_type for each in extensions}
    roles = env.roles.founding_extensions(env.policy.identity(founder))
    return (*extensions, *(each for each in roles if each.extension_type not in present))


_ACTIONS: dict[type[Proposal], Action] = {
    Add: Action.ADD,
    Remove: Action.REMOVE,
    Update: Action.UPDATE,
    PreSharedKey: Action.INJECT_PSK,
    GroupContextExtensions: Action.CHANGE_EXTENSIONS,
    ReInit: Action.REINITIALIZE,
}


def _authorize(actor: Party, action: Action, target: Target, env: Environment) -> None:
    refusal = _refusal(actor, action, target, env)
    rule, text = "S-roles", ""
    if refusal is not None:
        rule, text = refusal.rule or rule, f"{actor} may not {action} {target}: {refusal.message}"
    require(refusal is None, Refused, rule, text, code=Code.NOT_PERMITTED)


def _refusal(actor: Party, action: Action, target: Target, env: Environment) -> Refused | None:
    try:
        env.roles.authorize(actor, action, target)
    except Refused as refusal:
        return refusal
    return None


def _actor(group: GroupState, proposal: Proposal, sender: Sender, env: Environment) -> Party | None:
    match sender:
        case MemberSender(leaf_index=leaf):
            return _member(group, leaf, env)
        case ExternalSenderIndex(sender_index=number):
            named = external_senders(group.extensions)
            listed = () if named is None else named.external_senders
            speaker = require_present(
                listed[number] if number < len(listed) else None,
                InvalidProposal,
                "R-12.1.8-01",
                f"the group does not name external sender {number}",
            )
            identity = env.policy.identity(speaker.credential)
            return Party(Relation.EXTERNAL_SENDER, identity, speaker.signature_key, speaker.credential)
        case NewMemberProposalSender() if isinstance(proposal, Add):
            return _party(Relation.OUTSIDER, proposal.key_package.leaf_node, env)
        case _:
            return None


def _target(group: GroupState, proposal: Proposal, actor: Party, env: Environment) -> Target:
    party = None
    match proposal:
        case Add(key_package=key_package):
            party = _party(Relation.OUTSIDER, key_package.leaf_node, env)
        case Update(leaf_node=leaf):
            party = _party(Relation.MEMBER, leaf, env, actor.leaf)
        case Remove(removed=removed):
            party = _member(group, removed, env)
        case _:
            pass
    return Target(group.context, party, proposal)


def _member(group: GroupState, leaf: LeafIndex, env: Environment) -> Party:
    node = require_present(group.leaf_node(leaf), InvalidProposal, "R-12.1.3-02", f"leaf {leaf} is blank")
    return _party(Relation.MEMBER, node, env, leaf)


def _party(relation: Relation, leaf: LeafNode, env: Environment, index: LeafIndex | None = None) -> Party:
    return Party(relation, env.policy.identity(leaf.credential), leaf.signature_key, leaf.credential, index)
