"""What a client holds of one group, in memory; and the batches that carry each of its changes to the store.

Everything here either returns a batch, for a change that is about to happen, or performs a change whose batch was
written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from mls.epoch.framing import SenderKeys
from mls.epoch.past import PastEpoch
from mls.epoch.queue import PendingProposal
from mls.epoch.state import EpochState
from mls.epoch.transition import Transition
from mls.errors import Code, StorageError
from mls.messages import ReInit
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits, StagedKey
from mls.settings import Settings
from mls.store.candidates import Candidate, pack_candidate, unpack_candidate
from mls.store.codec import pack
from mls.store.group_records import (
    changed_tree_records,
    epoch_key,
    group_prefix,
    pack_past,
    pack_proposal,
    pack_state,
    ratchet_records,
    resumption_key,
    tree_records,
    unpack_past,
    unpack_proposal,
    unpack_state,
)
from mls.store.seam import Store
from treekem.tree import RatchetTree


def limits_of(settings: Settings) -> SecretTreeLimits:
    """Return the secret tree's limits as settings have them."""
    return SecretTreeLimits(
        settings.max_forward_steps,
        settings.max_skipped_keys,
        settings.max_skipped_keys_per_group,
        settings.skipped_key_ttl,
    )


@dataclass(slots=True)
class Standing:
    """A group as one client holds it. `proposals` keeps the order of arrival, `past` that of the epochs."""

    state: EpochState
    secret_tree: SecretTree
    past: list[PastEpoch] = field(default_factory=list)
    proposals: dict[bytes, PendingProposal] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    frozen: ReInit | None = None

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self.state.group.context.group_id

    @property
    def prefix(self) -> str:
        """What the keys of the group's records begin with."""
        return group_prefix(self.group_id)

    @property
    def keys(self) -> SenderKeys:
        """What opens and protects messages of the present epoch."""
        return SenderKeys(self.state.secrets.sender_data, self.secret_tree)

    # Batches.

    def founding_batch(self) -> dict[str, bytes | None]:
        """Return all records of a group that was created or joined just now."""
        return {
            epoch_key(self.group_id): pack_state(self.state, self.frozen),
            **tree_records(self.prefix, self.state.group.tree),
            **ratchet_records(self.prefix, self.state.epoch, self.secret_tree.records()),
            **self._resumption(self.state),
        }

    def key_batch(self, epoch: int, staged: StagedKey) -> dict[str, bytes | None]:
        """Return what consuming a message key of an epoch changes."""
        return ratchet_records(self.prefix, epoch, staged.records)

    def proposal_batch(self, pending: PendingProposal) -> dict[str, bytes | None]:
        """Return what recording a proposal adds: nothing for one that is recorded, as equal ones have one reference."""
        if pending.queued.reference in self.proposals:
            return {}
        return {f"{self.prefix}proposal/{len(self.proposals):08}": pack_proposal(pending)}

    def candidate_batch(self, candidate: Candidate) -> dict[str, bytes | None]:
        """Return what storing a candidate adds."""
        name = f"{self.prefix}candidate/{candidate.name}"
        return {name: pack_candidate(candidate, self.state.group.tree)}

    def forgotten_psks(self, store: Store, settings: Settings) -> Iterator[str]:
        """Name the resumption PSKs that end with the epoch: more than one if settings kept more until now."""
        for epoch in range(self.state.epoch - settings.resumption_psk_epochs, -1, -1):
            key = resumption_key(self.group_id, epoch)
            if store.read(key) is None:
                return
            yield key

    def _resumption(self, state: EpochState) -> dict[str, bytes | None]:
        return {resumption_key(self.group_id, state.epoch): pack(state.secrets.resumption_psk.expose())}

    # Transitions.

    def past_after(self, transition: Transition, now: int) -> PastEpoch:
        """Return what will be left of the present epoch, which ends `now`."""
        tree = self.state.group.tree
        replaced = {
            leaf: (None if leaf >= tree.n_leaves or (slot := tree.leaf(leaf)) is None else slot.encoded)
            for leaf in transition.changed_leaves
        }
        keys = SenderKeys(self.state.secrets.sender_data.copy(), self.secret_tree)
        return PastEpoch(self.state.group.context, keys, tree.n_leaves, replaced, now)

    def merge_batch(self, after: Standing, staged: StagedKey | None) -> dict[str, bytes | None]:
        """Return what moving to the next epoch changes; `after` is the standing in it."""
        batch: dict[str, bytes | None] = dict.fromkeys(self._volatile())
        batch |= self._expired(after)
        left = next((each for each in after.past if each.epoch == self.state.epoch), None)
        if left is not None:
            batch[f"{self.prefix}past/{left.epoch:020}"] = pack_past(left)
            batch |= {} if staged is None else self.key_batch(self.state.epoch, staged)
        return {
            **batch,
            epoch_key(self.group_id): pack_state(after.state, after.frozen),
            **changed_tree_records(self.prefix, after.state.group.tree, self.state.group.tree),
            **ratchet_records(self.prefix, after.state.epoch, after.secret_tree.records()),
            **self._resumption(after.state),
        }

    def _volatile(self) -> Iterator[str]:
        """Name the records that end with the epoch."""
        for number in range(len(self.proposals)):
            yield f"{self.prefix}proposal/{number:08}"
        for name in self.candidates:
            yield f"{self.prefix}candidate/{name}"

    def _expired(self, after: Standing) -> dict[str, bytes | None]:
        kept = {each.epoch for each in after.past}
        batch = self.without_epochs([old for old in self.past if old.epoch not in kept])
        if self.state.epoch not in kept:
            batch |= self._without_ratchets(self.state.epoch, self.secret_tree)
        return batch

    def without_epochs(self, ended: Iterable[PastEpoch]) -> dict[str, bytes | None]:
        """Return what forgetting past epochs changes."""
        batch: dict[str, bytes | None] = {}
        for old in ended:
            batch[f"{self.prefix}past/{old.epoch:020}"] = None
            batch |= self._without_ratchets(old.epoch, old.keys.secret_tree)
        return batch

    def without_expired_keys(self, now: int, past: Iterable[PastEpoch]) -> dict[str, bytes | None]:
        """Return what forgetting skipped keys that have expired changes, in the present epoch and in past ones."""
        trees = {self.state.epoch: self.secret_tree, **{each.epoch: each.keys.secret_tree for each in past}}
        batch: dict[str, bytes | None] = {}
        for epoch, tree in trees.items():
            batch |= ratchet_records(self.prefix, epoch, tree.records_without_expired(now))
        return batch

    def _without_ratchets(self, epoch: int, tree: SecretTree) -> dict[str, bytes | None]:
        return ratchet_records(self.prefix, epoch, dict.fromkeys(tree.records()))

    def wipe(self) -> None:
        """Forget all secrets."""
        self.state.secrets.wipe()
        self.secret_tree.wipe()
        for past in self.past:
            past.wipe()
        wipe_states([self.state, *(each.transition.state for each in self.candidates.values())], kept=None)
        for pending in self.proposals.values():
            for key in pending.own_keys():
                key.wipe()


def wipe_states(states: list[EpochState | None], kept: EpochState | None) -> None:
    """Wipe the secrets of states that ended, but for private keys that `kept` still holds."""
    held = set() if kept is None else {id(key) for key in kept.own.secrets()}
    for state in states:
        if state is None or state is kept:
            continue
        state.secrets.wipe()
        for key in state.own.secrets():
            if id(key) not in held:
                key.wipe()


def load_standing(store: Store, group_id: bytes, settings: Settings) -> Standing:
    """Read a group back. Raises StorageError."""
    prefix, key = group_prefix(group_id), epoch_key(group_id)
    record = store.read(key)
    if record is None:
        raise StorageError("the group has no epoch record", code=Code.CORRUPT)
    blocks = {_number(name): block for name, block in store.scan(f"{prefix}tree/")}
    state, frozen = unpack_state(key, record, partial(RatchetTree.from_blocks, blocks=blocks.items()))
    limits = limits_of(settings)
    ratchets = _ratchets(store, prefix, state.epoch)
    tree = SecretTree.restore(state.suite, state.group.tree.n_leaves, ratchets, limits)
    standing = Standing(state, tree, frozen=frozen)
    for name, past in store.scan(f"{prefix}past/"):
        old = _ratchets(store, prefix, _number(name))
        standing.past.append(unpack_past(name, past, old, limits))
    for name, proposal in store.scan(f"{prefix}proposal/"):
        pending = unpack_proposal(name, proposal)
        standing.proposals[pending.queued.reference] = pending
    present = state.group.tree
    candidates = [unpack_candidate(name, packed, present) for name, packed in store.scan(f"{prefix}candidate/")]
    standing.candidates = {each.name: each for each in sorted(candidates, key=lambda each: each.order)}
    return standing


def _number(key: str) -> int:
    number = key.rpartition("/")[2]
    if not (number.isascii() and number.isdecimal()):
        raise StorageError(f"record {key} has no number", code=Code.CORRUPT)
    return int(number)


def _ratchets(store: Store, prefix: str, epoch: int) -> dict[str, bytes]:
    place = f"{prefix}ratchet/{epoch:020}/"
    return {name.removeprefix(place): record for name, record in store.scan(place)}
