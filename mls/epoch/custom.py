"""Proposals of types that the application registered: judged by its rules, and by who supports them.

RFC 9420 §12.2, §13.2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from mls.epoch.authorization import authorize_proposal
from mls.epoch.environment import Environment
from mls.epoch.members import PROPOSALS, leaf_nodes, traits_of
from mls.epoch.state import GroupState
from mls.errors import Code, InvalidProposal, InvalidProposalList, MLSError
from mls.messages import CustomProposal, Extension, ExternalSenderIndex, GroupContextExtensions, Proposal, Sender
from mls.registry import Others, ProposalDefinition, Proposed, asked
from mls.rules import require, require_present
from treekem.index import LeafIndex

Entry = tuple[Sender, Proposal]
"""A proposal of a list, and who sends it."""


def verify_custom(
    group: GroupState, sender: Sender, proposal: CustomProposal, others: Iterable[Entry], env: Environment
) -> None:
    """Check a custom proposal by the rules that its type was registered with; `others` stand in the same commit.

    Raises InvalidProposal, MalformedMessage, or what the application's rule raises. RFC 9420 §13.2.
    """
    definition = definition_of(proposal, env)
    from_outside = isinstance(sender, ExternalSenderIndex)
    text = f"an external sender may not propose type {proposal.proposal_type}"
    require(definition.external or not from_outside, InvalidProposal, "R-12.1.8-05", text)
    value = definition.value(proposal)
    proposed = Proposed(value, sender, others, group.context, group.tree)
    asked(lambda: definition.verify(proposed), InvalidProposal, definition.name)


def definition_of(proposal: CustomProposal, env: Environment) -> ProposalDefinition[object]:
    """Return what the application registered for a type. Raises InvalidProposal where it is not registered any more."""
    kind = proposal.proposal_type
    definition, code = env.registry.proposal(kind), Code.UNSUPPORTED_CAPABILITY
    return require_present(
        definition, InvalidProposal, "R-12.1-05", f"proposal type {kind} is not registered", code=code
    )


def verify_proposal_support(group: GroupState, types: Iterable[int], removed: Collection[LeafIndex]) -> None:
    """Check that all members who are to process a commit list the types of its custom proposals.

    Raises InvalidProposalList. RFC 9420 §12.2, §13.2.
    """
    wanted = frozenset(types)
    if not wanted:
        return
    index, types_missing = _lacking(group, wanted, removed)
    text, code = f"leaf {index} does not support the proposal types {types_missing}", Code.UNSUPPORTED_CAPABILITY
    require(index is None, InvalidProposalList, "R-12.2-14", text, code=code, leaf=index)


def _lacking(
    group: GroupState, wanted: frozenset[int], removed: Collection[LeafIndex]
) -> tuple[LeafIndex | None, list[int]]:
    """Return the first member that stays and does not list all of these types, with those it does not list."""
    leaving = [leaf for index in removed if (leaf := group.leaf_node(index)) is not None]
    n_staying, census = group.tree.n_members - len(leaving), group.tree.census(traits_of)
    for kind in wanted:
        n_leaving = sum(kind in leaf.capabilities.proposals for leaf in leaving)
        if census.count(PROPOSALS.start + kind) - n_leaving != n_staying:
            staying = ((index, leaf) for index, leaf in leaf_nodes(group.tree) if index not in removed)
            missing = ((index, sorted(wanted.difference(leaf.capabilities.proposals))) for index, leaf in staying)
            return next((index, types) for index, types in missing if types)
    return None, []


def custom_types(proposals: Iterable[Proposal]) -> frozenset[int]:
    """Return the types of the custom proposals among others."""
    return frozenset(each.proposal_type for each in proposals if isinstance(each, CustomProposal))


def apply_custom(
    group: GroupState, extensions: tuple[Extension, ...], entries: Sequence[Entry], env: Environment
) -> tuple[Extension, ...]:
    """Check the custom proposals of a list, and return the group context's extensions as they leave them.

    Who sends one that changes the extensions needs the leave to change them, as for a GroupContextExtensions proposal.
    Raises Refused and what `verify_custom` does, with the place of the proposal. RFC 9420 §12.2, §12.3, §13.2.
    """
    for index, (sender, proposal) in enumerate(entries):
        if isinstance(proposal, CustomProposal):
            try:
                verify_custom(group, sender, proposal, Others(entries, index), env)
                authorize_proposal(group, proposal, sender, env)
                extensions = _extensions_after(group, extensions, sender, proposal, env)
            except MLSError as error:
                error.index = index
                raise
    return extensions


def _extensions_after(
    group: GroupState, before: tuple[Extension, ...], sender: Sender, proposal: CustomProposal, env: Environment
) -> tuple[Extension, ...]:
    definition = definition_of(proposal, env)
    value = definition.value(proposal)
    after = asked(lambda: _extensions(definition.apply(value, before)), InvalidProposal, definition.name)
    if after != before:
        authorize_proposal(group, GroupContextExtensions(after), sender, env)
    return after


def _extensions(answer: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Return what an `apply` answers with. Raises TypeError where that is no list of extensions."""
    for each in answer:
        if not isinstance(each, Extension):
            raise TypeError(f"{type(each).__name__} is no extension")
    return tuple(answer)
