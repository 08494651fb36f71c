"""The secret tree: every message key of an epoch, each used once and deleted. RFC 9420 §9, §15.3.

Only the node secrets that are still needed exist. `stage` derives a key and changes nothing: a forged message must not
cost the genuine one its key. `apply` consumes it: the node secrets on the leaf's path, the ratchet's secrets up to the
generation and the key go; siblings off the path, the ratchet's next secret and the keys of generations passed over
stay.

A change is described by records of a store, so that it can be made durable before it is made: store `staged.records`,
then `apply(staged)`. Both are told against the tree as it stands, even if other keys were applied since the key was
staged. Keys are stored and applied one at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self
from weakref import WeakKeyDictionary

from mls.crypto import CipherSuite
from mls.errors import Code, UsageError
from mls.messages import ContentType
from mls.rules import require
from mls.schedule.hash_ratchet import MessageKey, Ratchet, RatchetSecret, stamp_of, verify_available
from mls.schedule.key_schedule import EncryptionSecret
from mls.schedule.secret_tree_records import (
    RatchetKind,
    RatchetName,
    TreeNodeSecret,
    decode_records,
    encode_node,
    encode_progress,
    encode_ratchet,
    node_key,
    ratchet_key,
)
from treekem.index import LeafIndex, NodeIndex, direct_path, left, node_of, right, root
from treekem.secrets import Secret


@dataclass(frozen=True, slots=True)
class SecretTreeLimits:
    """How many steps a message may move a ratchet ahead, how many skipped keys stay and for how many seconds.

    RFC 9420 §15.3.
    """

    max_forward: int = 1000
    max_skipped: int = 1000
    max_skipped_in_group: int = 10_000
    skipped_ttl: int = 86_400


DEFAULT_LIMITS = SecretTreeLimits()
"""The limits of a tree that is given none."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class StagedKey:
    """A message key that is derived but not consumed. Use it before applying it: it is wiped then.

    The nonce is not yet combined with the reuse guard. `now` is when it was staged, in seconds since 1970.
    """

    tree: SecretTree = field(repr=False)
    leaf: LeafIndex
    kind: RatchetKind
    generation: int
    key: MessageKey
    nonce: bytes
    now: int = 0

    @property
    def records(self) -> dict[str, bytes | None]:
        """What applying the key changes in the store, from the tree as it stands; None deletes.

        Raises UnavailableSecret once the key is consumed.
        """
        return self.tree.records_after(self)


class SecretTree:
    """The keys of one epoch. Its size is that of the epoch's ratchet tree: a power of two, blank leaves included.

    RFC 9420 §9.
    """

    def __init__(
        self,
        suite: CipherSuite,
        n_leaves: int,
        encryption_secret: EncryptionSecret,
        limits: SecretTreeLimits = DEFAULT_LIMITS,
    ) -> None:
        """Grow a tree from its root, and wipe the encryption secret: the tree alone decides how long it lives."""
        _verify_size(n_leaves)
        top = TreeNodeSecret(encryption_secret.expose())
        encryption_secret.wipe()
        self._assign(suite, n_leaves, limits, {root(n_leaves): top}, {})

    @classmethod
    def restore(
        cls, suite: CipherSuite, n_leaves: int, records: Mapping[str, bytes], limits: SecretTreeLimits = DEFAULT_LIMITS
    ) -> Self:
        """Return the tree that the records describe. Raises StorageError for records that describe none."""
        _verify_size(n_leaves)
        nodes, ratchets = decode_records(suite, n_leaves, records)
        tree = cls.__new__(cls)
        tree._assign(suite, n_leaves, limits, nodes, ratchets)  # noqa: SLF001  (the other constructor)
        return tree

    def stage(self, leaf: LeafIndex, content_type: ContentType, generation: int, now: int = 0) -> StagedKey:
        """Return the key and nonce of a sender's generation, changing nothing.

        `now` is in seconds since 1970; where it is not told, no skipped key grows old. Raises UnavailableSecret for a
        generation that is consumed, evicted, expired or too far ahead, before deriving anything; UsageError for a leaf
        outside the tree.

        RFC 9420 §9.1, §15.3.
        """
        name = self._name_of(leaf, content_type)
        known = self._available(name, generation, now)
        split = None if known else self._split(leaf)
        ratchet = known if split is None else split.ratchets[name]
        assert ratchet is not None  # noqa: S101  (a leaf has ratchets, or is split into them)
        key, nonce = ratchet.key_and_nonce(self._suite, generation)
        staged = StagedKey(self, leaf, name[1], generation, key, nonce, now)
        # What else the key leaves behind is derived when it is asked for: a forged message never gets that far.
        self._plans[staged] = split
        return staged

    def stage_next(self, leaf: LeafIndex, content_type: ContentType) -> StagedKey:
        """Return the key and nonce of our next message, changing nothing; `leaf` is our own.

        Encrypt, then apply it, before staging another and before the ciphertext leaves; it stays consumed even if the
        ciphertext is never sent. Raises UsageError with code MUST_REKEY once all 2^32 generations are used.

        RFC 9420 §9.1.
        """
        return self.stage(leaf, content_type, self.next_generation(leaf, content_type))

    def next_generation(self, leaf: LeafIndex, content_type: ContentType) -> int:
        """Return the generation after the highest one consumed; 0 if none is."""
        ratchet = self._ratchets.get(self._name_of(leaf, content_type), _UNTOUCHED)
        return ratchet.generation

    def apply(self, staged: StagedKey) -> None:
        """Consume a key: delete it and everything it was derived from, keep what other keys still need.

        Raises UnavailableSecret if the key was consumed or evicted since it was staged, UsageError if it is of another
        tree; nothing has changed then.

        RFC 9420 §9.2.
        """
        plan = self._current_plan(staged)
        del self._plans[staged]
        for x in plan.consumed_nodes:
            self._nodes.pop(x).wipe()
        self._nodes.update(plan.nodes)
        self._carry_out(plan)
        self._stamp = self._stamp_at(staged.now) + 1
        staged.key.wipe()
        self._wipe_twins(staged)

    def records_without_expired(self, now: int) -> dict[str, bytes | None]:
        """Return what forgetting the skipped keys that have expired changes in the records. RFC 9420 §15.3."""
        ratchets = self._expiry(now).ratchets
        return {ratchet_key(name): encode_ratchet(ratchet) for name, ratchet in ratchets.items()}

    def forget_expired(self, now: int) -> None:
        """Delete the skipped keys that have expired. RFC 9420 §15.3."""
        self._carry_out(self._expiry(now))
        self._stamp = self._stamp_at(now)

    def records(self) -> dict[str, bytes]:
        """Return the records of the whole tree, as `restore` reads them."""
        nodes = {node_key(x): encode_node(secret) for x, secret in self._nodes.items()}
        ratchets = {ratchet_key(name): encode_ratchet(ratchet) for name, ratchet in self._ratchets.items()}
        return nodes | ratchets

    def records_after(self, staged: StagedKey) -> dict[str, bytes | None]:
        """Return what applying the key changes in the records; `staged.records` says the same."""
        plan = self._current_plan(staged)
        changes: dict[str, bytes | None] = {node_key(x): None for x in plan.consumed_nodes}
        changes.update((node_key(x), encode_node(secret)) for x, secret in plan.nodes.items())
        changes.update((ratchet_key(name), encode_ratchet(ratchet)) for name, ratchet in plan.ratchets.items())
        return changes

    def fingerprint(self) -> bytes:
        """Return a hash over what is consumed: of each ratchet that moved, its next generation and the skipped ones.

        A ratchet that was derived and not used counts as one that was not derived.
        """
        moved = sorted(name for name, ratchet in self._ratchets.items() if ratchet.generation > 0)
        return self._suite.hash(b"".join(encode_progress(name, self._ratchets[name]) for name in moved))

    def wipe(self) -> None:
        """Wipe every secret of the tree and every key staged from it; nothing can be staged afterwards."""
        self._forget_plans()
        for staged in self._plans:
            staged.key.wipe()
        for secret in self._nodes.values():
            secret.wipe()
        for ratchet in self._ratchets.values():
            ratchet.wipe()
        self._assign(self._suite, self._n_leaves, self._limits, {}, {})

    def _assign(
        self,
        suite: CipherSuite,
        n_leaves: int,
        limits: SecretTreeLimits,
        nodes: dict[NodeIndex, TreeNodeSecret],
        ratchets: dict[RatchetName, Ratchet],
    ) -> None:
        self._suite = suite
        self._n_leaves = n_leaves
        self._limits = limits
        self._nodes = nodes
        self._ratchets = ratchets
        self._holding = {name for name, ratchet in ratchets.items() if ratchet.skipped}
        self._n_skipped = sum(len(ratchets[name].skipped) for name in self._holding)
        stamps = [entry.stamp for name in self._holding for entry in ratchets[name].skipped.values()]
        self._stamp = max(stamps, default=-1) + 1
        self._oldest = min(stamps, default=self._stamp)  # or older: it is not looked for again after every message
        self._plans: WeakKeyDictionary[StagedKey, _Plan | None] = WeakKeyDictionary()

    def _name_of(self, leaf: LeafIndex, content_type: ContentType) -> RatchetName:
        is_in_tree = 0 <= leaf < self._n_leaves
        require(is_in_tree, UsageError, "R-9-03", f"leaf {leaf} is outside a tree with {self._n_leaves} leaves")
        is_application = content_type == ContentType.APPLICATION
        return leaf, RatchetKind.APPLICATION if is_application else RatchetKind.HANDSHAKE

    def _current_plan(self, staged: StagedKey) -> _Plan:
        if staged.tree is not self:
            raise UsageError("the key was staged from another secret tree", code=Code.STALE_HANDLE)
        plan = self._plans.get(staged)
        if plan is None or not plan.is_whole:
            plan = self._plans[staged] = self._plan(staged, plan)
        return plan

    def _available(self, name: RatchetName, generation: int, now: int) -> Ratchet | None:
        """Return the ratchet that has the generation, or None if it is yet to be split from the tree."""
        known = self._ratchets.get(name)
        verify_available(known or _UNTOUCHED, generation, self._limits.max_forward, self._expired_before(now))
        return known

    def _stamp_at(self, now: int) -> int:
        """Return the next stamp: of `now`, unless a clock that was turned back would have keys grow younger."""
        return max(self._stamp, stamp_of(now))

    def _expired_before(self, now: int) -> int:
        """Return the stamp before which skipped keys have expired."""
        return stamp_of(now - self._limits.skipped_ttl)

    def _plan(self, staged: StagedKey, split: _Plan | None) -> _Plan:
        """Derive what consuming a key leaves behind, without changing the tree; `split` is its leaf's split."""
        name, generation, now = (staged.leaf, staged.kind), staged.generation, staged.now
        known = self._available(name, generation, now)
        plan = split or (_Plan() if known else self._split(name[0]))
        plan.is_whole = True
        ratchet = known or plan.ratchets[name]
        after = ratchet.consume(self._suite, generation, self._stamp_at(now), self._limits.max_skipped)
        plan.ratchets[name] = after.ratchet
        plan.fresh.extend(after.fresh)
        plan.doomed.extend(after.doomed)
        self._expire(plan, now)
        self._evict(plan)
        return plan

    def _expiry(self, now: int) -> _Plan:
        plan = _Plan()
        self._expire(plan, now)
        return plan

    def _expire(self, plan: _Plan, now: int) -> None:
        """Let the plan evict the skipped keys of all ratchets that are kept for too long."""
        oldest = self._expired_before(now)
        if self._oldest >= oldest:
            return
        current = self._held() | plan.ratchets
        for name, ratchet in current.items():
            expired = sum(entry.stamp < oldest for entry in ratchet.skipped.values())
            if expired:
                kept, evicted = ratchet.without_oldest(expired)
                current[name] = plan.ratchets[name] = kept
                plan.doomed.extend(evicted)
        stamps = (_oldest_stamp(ratchet) for ratchet in current.values() if ratchet.skipped)
        plan.oldest = min(stamps, default=self._stamp_at(now))

    def _held(self) -> dict[RatchetName, Ratchet]:
        """Return the ratchets that hold skipped keys."""
        return {name: self._ratchets[name] for name in self._holding}

    def _split(self, leaf: LeafIndex) -> _Plan:
        """Derive a leaf's ratchets from the lowest node secret above it, and the siblings on the way down."""
        path = [node_of(leaf)]
        path.extend(direct_path(path[0], self._n_leaves))
        height = next((height for height, x in enumerate(path) if x in self._nodes), None)
        if height is None:
            raise UsageError("the secret tree was wiped", code=Code.STALE_HANDLE)

        plan = _Plan(consumed_nodes=(path[height],))
        secret = self._nodes[path[height]].copy()
        for above, below in pairwise(reversed(path[: height + 1])):
            children = {left(above): self._child(secret, b"left"), right(above): self._child(secret, b"right")}
            secret.wipe()
            secret = children.pop(below)
            plan.nodes.update(children)
        for kind in RatchetKind:
            first = self._suite.expand_with_label(secret, kind.encode(), b"", self._suite.hash_length, RatchetSecret)
            plan.ratchets[leaf, kind] = Ratchet(first)
            plan.fresh.append(first)
        secret.wipe()
        plan.fresh.extend(plan.nodes.values())
        return plan

    def _child(self, secret: TreeNodeSecret, side: bytes) -> TreeNodeSecret:
        return self._suite.expand_with_label(secret, b"tree", side, self._suite.hash_length, TreeNodeSecret)

    def _evict(self, plan: _Plan) -> None:
        """Let the plan evict the oldest skipped keys of all ratchets, as many as the group holds too many."""
        changed = plan.ratchets.items()
        added = sum(len(new.skipped) - len(self._ratchets.get(name, _UNTOUCHED).skipped) for name, new in changed)
        excess = self._n_skipped + added - self._limits.max_skipped_in_group
        if excess <= 0:
            return

        current = self._held() | plan.ratchets
        oldest = [(_oldest_stamp(ratchet), name) for name, ratchet in current.items() if ratchet.skipped]
        heapq.heapify(oldest)
        while excess > 0:
            stamp, name = heapq.heappop(oldest)
            entries = current[name].skipped.values()
            alike = sum(entry.stamp == stamp for entry in entries)
            ratchet, evicted = current[name].without_oldest(min(alike, excess))
            current[name] = plan.ratchets[name] = ratchet
            plan.doomed.extend(evicted)
            excess -= len(evicted)
            if ratchet.skipped:
                heapq.heappush(oldest, (_oldest_stamp(ratchet), name))

    def _carry_out(self, plan: _Plan) -> None:
        """Put the plan's ratchets in the place of those that were, and wipe what goes with these."""
        for name, ratchet in plan.ratchets.items():
            self._replace(name, ratchet)
        self._oldest = max(self._oldest, plan.oldest)
        for secret in plan.doomed:
            secret.wipe()
        self._forget_plans()

    def _replace(self, name: RatchetName, ratchet: Ratchet) -> None:
        self._n_skipped += len(ratchet.skipped) - len(self._ratchets.get(name, _UNTOUCHED).skipped)
        self._ratchets[name] = ratchet
        if ratchet.skipped:
            self._holding.add(name)
        else:
            self._holding.discard(name)

    def _forget_plans(self) -> None:
        """Wipe what staged keys would have left behind: it may derive keys that are consumed now."""
        for staged, plan in list(self._plans.items()):
            if plan is not None:
                plan.wipe()
            self._plans[staged] = None

    def _wipe_twins(self, consumed: StagedKey) -> None:
        """Wipe copies of a consumed key that were staged besides it."""
        for staged in self._plans:
            if (staged.leaf, staged.kind, staged.generation) == (consumed.leaf, consumed.kind, consumed.generation):
                staged.key.wipe()


_UNTOUCHED = Ratchet(None)


@dataclass(slots=True, eq=False)
class _Plan:
    """What consuming a key changes: nodes that go and come, ratchets that are replaced.

    Until it `is_whole`, it says what splitting the tree down to the key's leaf changes, and nothing of the key itself.
    `fresh` are the secrets that exist for this plan alone, to be wiped if it is dropped; `doomed` those to be wiped
    when it is carried out. No skipped key that the plan leaves is older than the stamp `oldest`.
    """

    consumed_nodes: tuple[NodeIndex, ...] = ()
    nodes: dict[NodeIndex, TreeNodeSecret] = field(default_factory=dict)
    ratchets: dict[RatchetName, Ratchet] = field(default_factory=dict)
    fresh: list[Secret] = field(default_factory=list)
    doomed: list[Secret] = field(default_factory=list)
    is_whole: bool = False
    oldest: int = 0

    def wipe(self) -> None:
        """Wipe what exists for this plan alone."""
        for secret in self.fresh:
            secret.wipe()


def _oldest_stamp(ratchet: Ratchet) -> int:
    return next(iter(ratchet.skipped.values())).stamp


def _verify_size(n_leaves: int) -> None:
    is_full_width = n_leaves > 0 and n_leaves & (n_leaves - 1) == 0
    require(is_full_width, UsageError, "R-9-03", f"a tree with {n_leaves} leaves, which is no power of two")
