"""From one epoch's state to the next: what committing, receiving a commit and joining externally share.

Three group contexts play a part in a commit, and are never mixed up: the old one is signed, the provisional one (new
tree, old transcript) seals path secrets, the new one enters the key schedule. RFC 9420 §8, §12.4.1, §12.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mls.epoch.effect import Effect
from mls.epoch.proposals import Applied
from mls.epoch.state import EpochState, GroupState
from mls.errors import Code, UsageError, WrongEpoch
from mls.messages import AuthenticatedContent, GroupContext, PreSharedKeyID
from mls.rules import require, require_here
from mls.schedule.key_schedule import (
    EpochSecrets,
    InitSecret,
    JoinerSecret,
    PSKSecret,
    derive_epoch_secrets,
    derive_joiner_secret,
)
from mls.schedule.psk import PSK, psk_secret
from mls.schedule.transcript import confirmation_tag, confirmed_transcript_hash, interim_transcript_hash
from treekem.index import LeafIndex
from treekem.suite import CommitSecret
from treekem.tree import RatchetTree
from treekem.wire import encode

_LAST_EPOCH: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Transition:
    """A commit that was checked in full: its effect, and the state after it, which is None when it removes us.

    `changed_leaves` are the leaves whose content differs between the two epochs.
    """

    effect: Effect
    state: EpochState | None
    changed_leaves: frozenset[LeafIndex]


@dataclass(frozen=True, slots=True)
class NextEpoch:
    """What the key schedule yields for the next epoch; `psk_secret` and `joiner_secret` are told to new members."""

    group: GroupState
    secrets: EpochSecrets
    joiner_secret: JoinerSecret
    psk_secret: PSKSecret

    def wipe_passing(self) -> None:
        """Forget what the epoch grew from, once new members have been told. RFC 9420 §9.2."""
        self.joiner_secret.wipe()
        self.psk_secret.wipe()


def provisional_context(group: GroupState, tree: RatchetTree, applied: Applied) -> GroupContext:
    """Return the context that path secrets are sealed under: all new but the transcript. RFC 9420 §12.4.1."""
    is_left = group.context.epoch < _LAST_EPOCH
    require(is_left, UsageError, "R-8.1-03", "the epoch counter is exhausted", code=Code.EPOCH_EXHAUSTED)
    return replace(
        group.context,
        epoch=group.context.epoch + 1,
        tree_hash=tree.tree_hash(group.suite),
        extensions=applied.extensions,
    )


def derive_next_epoch(
    group: GroupState,
    tree: RatchetTree,
    provisional: GroupContext,
    content: AuthenticatedContent,
    init_secret: InitSecret,
    commit_secret: CommitSecret,
    psks: Sequence[tuple[PreSharedKeyID, PSK]],
) -> NextEpoch:
    """Run transcript and key schedule for a signed commit; commit secret and PSKs are used up. RFC 9420 §8, §8.2."""
    suite = group.suite
    confirmed = confirmed_transcript_hash(suite, group.interim_transcript_hash, content)
    context = replace(provisional, confirmed_transcript_hash=confirmed)
    encoded = encode(context)
    injected = psk_secret(suite, psks)
    joiner_secret = derive_joiner_secret(suite, init_secret, commit_secret, encoded)
    secrets = derive_epoch_secrets(suite, joiner_secret, injected, encoded)
    tag = confirmation_tag(suite, secrets.confirmation_key, confirmed)
    interim = interim_transcript_hash(suite, confirmed, tag)
    commit_secret.wipe()
    for _, psk in psks:
        psk.wipe()
    return NextEpoch(GroupState(suite, context, tree, interim, tag), secrets, joiner_secret, injected)


def verify_epoch(group: GroupState, content: AuthenticatedContent) -> None:
    """Check that a handshake message is for the present epoch. Raises WrongEpoch. RFC 9420 §6, §12.4.2."""
    received, current = content.content.epoch, group.context.epoch
    message = f"the message is for epoch {received}, the group is in epoch {current}"
    require_here(received == current, WrongEpoch, "R-12.4.2-01", message, current=current, received=received)
