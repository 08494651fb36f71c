"""An observer beside the members of a group: what both know, and what both refuse."""

from __future__ import annotations

from typing import Any

import pytest

from mls import AcceptAnyone, Group, ProposalReceived, Settings, StagedCommit
from mls.crypto import SignatureKeyPair
from mls.errors import MLSError
from mls.messages import (
    Proposal,
    ProposalContent,
    Sender,
)
from mls.observer import Observed, ObservedCommit, PublicGroup
from tests.adversarial.insider import PUBLIC, refusal
from tests.support.crafting import Forger
from tests.support.live import reachable
from tests.support.world import NOW, World
from treekem.secrets import Secret

OPEN: dict[str, Any] = {
    "external_commits": True,
    "resync": True,
    "resync_without_psk": True,
    "external_senders": True,
    "new_member_proposals": True,
}

SECRET = frozenset(("R-6.2-03", "R-6.1-15", "R-5.1.3-03", "R-5.1.1-04", "R-12.3-05"))
"""What takes a secret to see: membership tags, confirmation tags, path secrets that do not open, and absent PSKs."""


def follow(group: Group, **settings: Any) -> PublicGroup:  # noqa: ANN401  (fields of Settings)
    """Follow a group from its present epoch on, under settings like its members'."""
    chosen = Settings(**{**OPEN, **settings})
    return PublicGroup.follow(group.group_info(), policy=AcceptAnyone(), settings=chosen, clock=lambda: NOW)


def watch(observer: PublicGroup, message: bytes) -> ObservedCommit:
    """Let an observer see a commit that the group took."""
    event = observer.receive(message)
    assert isinstance(event, ObservedCommit)
    observer.merge(event)
    return event


def agree(observer: PublicGroup, *groups: Group) -> None:
    """Assert that an observer knows what members know, as far as it is public, and holds no secret."""
    for group in groups:
        state = group._standing.state.group
        assert observer._view.group.context == state.context
        assert observer._view.group.interim_transcript_hash == state.interim_transcript_hash
        assert observer.group_context == state.encoded_context()
        assert observer.confirmed_transcript_hash == state.context.confirmed_transcript_hash
        assert observer.extensions == state.extensions
        assert (observer.group_id, observer.epoch) == (group.group_id, group.epoch)
        assert (observer.tree_hash, observer.ratchet_tree) == (group.tree_hash, group.ratchet_tree)
        assert observer.members == group.members
        assert [each.ref for each in observer.proposals] == [each.ref for each in group.proposals]
    assert secrets_in(observer) == []


def secrets_in(*roots: object) -> list[object]:
    return [thing for thing in reachable(*roots) if isinstance(thing, Secret)]


def said_outside(group: Group, world: World, proposal: Proposal, sender: Sender, keys: SignatureKeyPair) -> bytes:
    """Return a proposal of someone who is no member."""
    forger = Forger(world, group)
    framed = forger.framed(ProposalContent(proposal), sender=sender)
    return forger.public(forger.signed(framed, PUBLIC, key=keys.private))


def assert_refused_alike(observer: PublicGroup, member: Group, message: bytes) -> MLSError:
    """Assert that observer and member refuse a message by the same rule, and that nothing came of it."""
    before = observer._view
    with pytest.raises(MLSError) as caught:
        observer.receive(message)
    assert observer._view is before
    seen = caught.value
    refused = refusal(member, message)
    assert type(seen) is type(refused)
    for name in ("rule", "code", "authenticated", "leaf", "index"):
        assert getattr(seen, name) == getattr(refused, name), (seen, refused)
    return seen


def seen(observer: PublicGroup, message: bytes) -> MLSError | Observed:
    """Return the error that a message ends in, or what it was taken for; what it changed is undone."""
    before = observer._view
    try:
        return observer.receive(message)
    except MLSError as error:
        assert observer._view is before
        return error
    finally:
        observer._view = before


def verdict(member: object, observed: object) -> str:
    """Compare what a message came to; assert that a difference is one of secrets."""
    if isinstance(observed, MLSError):
        assert isinstance(member, MLSError), observed
        alike = (type(member), member.rule, member.code) == (type(observed), observed.rule, observed.code)
        assert alike or member.rule == "R-6.2-03", (member, observed)
        return "refused alike" if alike else "refused by both"
    if isinstance(member, MLSError):
        assert member.rule in SECRET, (member, observed)
        return "refused by the member"
    pairs = {ObservedCommit: StagedCommit, ProposalReceived: ProposalReceived}
    assert isinstance(member, pairs[type(observed)])
    return "taken by both"
