"""Past epochs, kept a while for messages that arrive late. RFC 9420 §15.3.

A past epoch keeps its sender-data secret, its unconsumed message secrets and, of its tree, only the leaves that differ
from the epoch after it: enough to name and verify a sender.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mls.epoch.framing import SenderKeys
from mls.epoch.leaves import decode_leaf_node
from mls.messages import GroupContext, LeafNode
from mls.settings import Settings
from treekem.index import LeafIndex
from treekem.tree import RatchetTree


@dataclass(frozen=True, slots=True)
class PastEpoch:
    """What is left of an epoch; `replaced` holds leaves that the next epoch changed, encoded, None for a blank one.

    `ended` is when this client left it, in seconds since 1970.
    """

    context: GroupContext
    keys: SenderKeys
    n_leaves: int
    replaced: Mapping[LeafIndex, bytes | None]
    ended: int

    @property
    def epoch(self) -> int:
        """The epoch's number."""
        return self.context.epoch

    def wipe(self) -> None:
        """Forget all secrets."""
        self.keys.sender_data_secret.wipe()
        self.keys.secret_tree.wipe()


def still_read(past: Sequence[PastEpoch], now: int, settings: Settings) -> list[PastEpoch]:
    """Return the epochs whose time for late messages has not passed. RFC 9420 §15.3.

    What is before an epoch that goes, goes too, even if clocks were turned back meanwhile: leaves are found by looking
    through all epochs from theirs on.
    """
    gone = (number for number, each in enumerate(past, 1) if now - each.ended > settings.past_epoch_ttl)
    return list(past[max(gone, default=0) :])


def past_leaf(past: Sequence[PastEpoch], epoch: int, tree: RatchetTree, leaf: LeafIndex) -> LeafNode | None:
    """Return a leaf as it was in a past epoch, None for a blank one; `past` is ordered, `tree` the present one."""
    later = [each for each in past if each.epoch >= epoch]
    if not later or not 0 <= leaf < later[0].n_leaves:
        return None
    for each in later:
        if leaf in each.replaced:
            encoded = each.replaced[leaf]
            return None if encoded is None else decode_leaf_node(encoded)
    slot = tree.leaf(leaf) if leaf < tree.n_leaves else None
    return None if slot is None else decode_leaf_node(slot.encoded)
