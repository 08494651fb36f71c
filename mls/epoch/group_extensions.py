"""The extensions of a group context: judged by themselves, and as a list of proposals leaves them. RFC 9420 §12.1.7."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mls.crypto import CipherSuite
from mls.epoch.custom import Entry, apply_custom, custom_types, verify_proposal_support
from mls.epoch.environment import Environment
from mls.epoch.extensions import external_senders, verify_extensions
from mls.epoch.limits import verify_extension_count
from mls.epoch.state import GroupState
from mls.errors import InvalidProposal
from mls.identity import Place
from mls.messages import Extension, GroupContextExtensions, Remove
from mls.registry import GROUP_CONTEXT


def extensions_after(group: GroupState, entries: Sequence[Entry], env: Environment) -> tuple[Extension, ...]:
    """Return the extensions that a list of proposals leaves behind, once all that changes them has been checked.

    Raises InvalidProposalList, and what checking a custom proposal and the extensions does. RFC 9420 §12.1.7, §13.2.
    """
    changes = (proposal.extensions for _, proposal in entries if isinstance(proposal, GroupContextExtensions))
    told = next(changes, group.extensions)
    removed = {proposal.removed for _, proposal in entries if isinstance(proposal, Remove)}
    verify_proposal_support(group, custom_types(proposal for _, proposal in entries), removed)
    extensions = apply_custom(group, told, entries, env)
    if extensions != told:
        verify_group_context_extensions(group, extensions, env)
    return extensions


def verify_group_context_extensions(
    group: GroupState, extensions: tuple[Extension, ...], env: Environment, *, strict: bool = False
) -> None:
    """Check a new list of group context extensions by itself. RFC 9420 §12.1.7, §12.1.8.1."""
    verify_extension_count(extensions, GROUP_CONTEXT, InvalidProposal, env.settings, own=strict)
    verify_extensions(extensions, GROUP_CONTEXT, InvalidProposal, env.registry)
    verify_external_senders(extensions, group.extensions, group.suite, env)


def verify_external_senders(
    extensions: Iterable[Extension], before: Iterable[Extension], suite: CipherSuite, env: Environment
) -> None:
    """Check the external senders of a group, and put those that are new to the policy. Raises InvalidKey or Refused.

    RFC 9420 §5.3.1, §12.1.8.1.
    """
    senders, known = external_senders(extensions), external_senders(before)
    old = frozenset(() if known is None else known.external_senders)
    for sender in () if senders is None else senders.external_senders:
        suite.verify_signature_key(sender.signature_key)
        if sender not in old:
            env.accept(sender.credential, sender.signature_key, Place.EXTERNAL_SENDER)
