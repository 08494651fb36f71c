"""Own commits that are not decided yet, in memory and in the store.

A candidate holds all that merging it takes, so that it can be merged after a restart, when its echo arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mls.epoch.transition import Transition
from mls.errors import Code, StorageError
from mls.store.codec import pack, unpack
from mls.store.group_records import effect_fields, effect_from, pack_state, unpack_state
from treekem.index import LeafIndex
from treekem.tree import RatchetTree


@dataclass(frozen=True, slots=True)
class Candidate:
    """An own commit: its message, its Welcome, and the epoch that it leads to; `order` counts those of one epoch."""

    message: bytes
    welcome: bytes | None
    tree_beside: bool
    left_out: tuple[tuple[bytes, str], ...]
    transition: Transition
    order: int

    @property
    def name(self) -> str:
        """The hash by which the commit is recognised when it comes back."""
        return candidate_name(self.message)


def candidate_name(message: bytes) -> str:
    """Return the name of a commit message among candidates."""
    return sha256(message).hexdigest()


def pack_candidate(candidate: Candidate, tree: RatchetTree) -> bytes:
    """Write a candidate; of its tree only what differs from `tree`, the present one."""
    state = candidate.transition.state
    if state is None:
        raise StorageError("an own commit never removes its committer", code=Code.CORRUPT)
    blocks = {int(number): block for number, block in state.group.tree.changed_blocks(tree)}
    return pack(
        candidate.order,
        candidate.message,
        candidate.welcome,
        candidate.tree_beside,
        [list(each) for each in candidate.left_out],
        sorted(int(leaf) for leaf in candidate.transition.changed_leaves),
        effect_fields(candidate.transition.effect),
        pack_state(state, None, is_current=False),
        blocks,
    )


def unpack_candidate(key: str, record: bytes, present: RatchetTree) -> Candidate:
    """Read a candidate; its tree shares with the `present` one what both hold. Raises StorageError."""

    def build(  # noqa: PLR0913, PLR0917  (the fields of the record, in its order)
        order: int,
        message: bytes,
        welcome: bytes | None,
        tree_beside: bool,
        left_out: list[list[Any]],
        changed: list[int],
        effect: list[Any],
        state_record: bytes,
        blocks: dict[int, bytes | None],
    ) -> Candidate:
        state, _ = unpack_state(key, state_record, lambda n_leaves: present.with_blocks(n_leaves, blocks.items()))
        leaves = frozenset(LeafIndex(leaf) for leaf in changed)
        transition = Transition(effect_from(effect), state, leaves)
        reasons = tuple((reference, reason) for reference, reason in left_out)
        return Candidate(message, welcome, tree_beside, reasons, transition, order)

    return unpack(key, record, build)
