"""What a commit does to a group, in words that an application can show."""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.epoch.environment import Environment
from mls.epoch.proposals import Applied, QueuedProposal
from mls.epoch.state import GroupState
from mls.messages import Credential, CustomProposal, GroupContextExtensions, LeafNode, ReInit, Sender
from treekem.index import LeafIndex


@dataclass(frozen=True, slots=True)
class Member:
    """A member as of one epoch; leaf indices are used again, so `leaf` says nothing about another epoch.

    RFC 9420 §5.3.3.
    """

    leaf: LeafIndex
    identity: bytes
    credential: Credential = field(repr=False)
    signature_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CustomEffect:
    """A proposal of a type that the application registered, which says what it means. RFC 9420 §13.2."""

    sender: Sender
    proposal: CustomProposal


@dataclass(frozen=True, slots=True)
class Effect:
    """What merging a commit changes.

    `committer` is the member that sent it, as of the new epoch; None where the commit removes us, as the tree after it
    is not ours to know. `updated` pairs members before and after. `new_devices` are members whose identity was known,
    but not their key. `custom` are the proposals of the application's own types, in the order of the commit.
    """

    epoch: int
    committer: Member | None
    added: tuple[Member, ...] = ()
    removed: tuple[Member, ...] = ()
    updated: tuple[tuple[Member, Member], ...] = ()
    new_devices: tuple[Member, ...] = ()
    psks: int = 0
    extensions_changed: bool = False
    removed_me: bool = False
    external: bool = False
    reinit: ReInit | None = None
    custom: tuple[CustomEffect, ...] = ()


def member_of(leaf: LeafIndex, node: LeafNode, env: Environment) -> Member:
    """Describe a leaf as a member."""
    return Member(leaf, env.policy.identity(node.credential), node.credential, node.signature_key)


def effect_of(
    before: GroupState,
    after: GroupState | None,
    applied: Applied,
    proposals: tuple[QueuedProposal, ...],
    committer: LeafIndex,
    env: Environment,
    *,
    external: bool = False,
    removed_me: bool = False,
) -> Effect:
    """Describe a commit from the states around it; `after` is None when it removes us."""

    def member(group: GroupState, leaf: LeafIndex) -> Member:
        node = group.leaf_node(leaf)
        if node is None:
            raise AssertionError(f"leaf {leaf} is blank in an epoch that was checked")
        return member_of(leaf, node, env)

    added = tuple(member_of(index, package.leaf_node, env) for index, package in applied.added)
    author = None if after is None else member(after, committer)
    if external and author is not None:
        added = (*added, author)
    updated = [(member(before, index), member_of(index, leaf, env)) for index, leaf in applied.updated]
    if author is not None and not external and (old := member(before, committer)) != author:
        updated.append((old, author))
    changed = (*added, *(new for _, new in updated))
    return Effect(
        epoch=before.context.epoch + 1,
        committer=author,
        added=added,
        removed=tuple(member(before, leaf) for leaf in applied.removed),
        updated=tuple(updated),
        new_devices=tuple(each for each in changed if _is_new_device(each, env)),
        psks=len(applied.psks),
        extensions_changed=_is_told(proposals) or applied.extensions != before.extensions,
        removed_me=removed_me,
        external=external,
        reinit=applied.reinit,
        custom=_custom_effects(proposals),
    )


def _is_told(proposals: tuple[QueuedProposal, ...]) -> bool:
    return any(isinstance(each.proposal, GroupContextExtensions) for each in proposals)


def _custom_effects(proposals: tuple[QueuedProposal, ...]) -> tuple[CustomEffect, ...]:
    pairs = ((each.sender, each.proposal) for each in proposals)
    return tuple(CustomEffect(sender, proposal) for sender, proposal in pairs if isinstance(proposal, CustomProposal))


def _is_new_device(member: Member, env: Environment) -> bool:
    known = env.known_keys(member.identity)
    return bool(known) and member.signature_key not in known
