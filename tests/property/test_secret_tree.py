"""Any order of delivery gives the keys of a full derivation, refuses what is consumed, and survives any restart."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from mls.errors import Code, UnavailableSecret
from mls.messages import ContentType
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits, StagedKey
from tests.support.naive_schedule import tree_keys
from tests.support.secret_trees import ROOT, SUITE, new_tree
from treekem.index import LeafIndex

N_LEAVES = 8
N_GENERATIONS = 24
KEYS = tree_keys(ROOT, N_LEAVES, N_GENERATIONS)
ALL = SecretTreeLimits(max_forward=N_GENERATIONS)
TIGHT = SecretTreeLimits(max_forward=6, max_skipped=4, max_skipped_in_group=6)

places = st.tuples(
    st.integers(0, N_LEAVES - 1).map(LeafIndex), st.sampled_from(ContentType), st.integers(0, N_GENERATIONS - 1)
)
few_places = st.tuples(
    st.integers(0, 2).map(LeafIndex), st.sampled_from([ContentType.COMMIT, ContentType.APPLICATION]), st.integers(0, 15)
)
steps = st.tuples(few_places, st.sampled_from(["apply", "drop", "keep", "apply kept", "restart"]))

Place = tuple[LeafIndex, ContentType, int]


def key_of(place: Place) -> tuple[bytes, bytes]:
    leaf, content_type, generation = place
    return KEYS[leaf, kind_of(content_type), generation]


def kind_of(content_type: ContentType) -> str:
    return "application" if content_type == ContentType.APPLICATION else "handshake"


@dataclass
class Model:
    """Which generations a tree with limits still gives, kept as plainly as can be."""

    limits: SecretTreeLimits
    heads: dict[tuple[int, str], int] = field(default_factory=dict)
    evicted: set[tuple[int, str, int]] = field(default_factory=set)
    skipped: list[tuple[int, str, int]] = field(default_factory=list)  # oldest first

    def verdict(self, place: Place) -> set[Code | None]:
        """Return the outcomes that are right for a generation; None stands for its key."""
        ratchet, generation = (place[0], kind_of(place[1])), place[2]
        head = self.heads.get(ratchet, 0)
        if generation >= head:
            return {None if generation - head <= self.limits.max_forward else Code.TOO_FAR_FUTURE}
        if (*ratchet, generation) in self.skipped:
            return {None}
        if (*ratchet, generation) in self.evicted:
            return {Code.TOO_OLD}
        # A consumed generation below an evicted one may be called too old.
        is_hidden = any(other[:2] == ratchet and other[2] > generation for other in self.evicted)
        return {Code.KEY_CONSUMED, Code.TOO_OLD} if is_hidden else {Code.KEY_CONSUMED}

    def consume(self, place: Place) -> None:
        ratchet, generation = (place[0], kind_of(place[1])), place[2]
        head = self.heads.get(ratchet, 0)
        if generation < head:
            self.skipped.remove((*ratchet, generation))
            return
        self.heads[ratchet] = generation + 1
        self.skipped += [(*ratchet, passed) for passed in range(head, generation)]
        mine = [entry for entry in self.skipped if entry[:2] == ratchet]
        self._evict(mine[: max(0, len(mine) - self.limits.max_skipped)])
        self._evict(self.skipped[: max(0, len(self.skipped) - self.limits.max_skipped_in_group)])

    def _evict(self, entries: list[tuple[int, str, int]]) -> None:
        self.evicted.update(entries)
        self.skipped = [entry for entry in self.skipped if entry not in entries]


def outcome(tree: SecretTree, place: Place) -> tuple[StagedKey | None, Code | None]:
    before = tree.fingerprint()
    try:
        staged = tree.stage(*place)
    except UnavailableSecret as error:
        assert tree.fingerprint() == before
        return None, error.code
    return staged, None


@given(st.permutations([(leaf, generation) for leaf in range(4) for generation in range(6)]), st.integers(0, 23))
def test_every_message_arrives_once_in_whatever_order(order: list[tuple[int, int]], restart_at: int) -> None:
    tree = new_tree(ALL, N_LEAVES)
    for number, (leaf, generation) in enumerate(order):
        if number == restart_at:
            tree = SecretTree.restore(SUITE, N_LEAVES, tree.records(), ALL)
        place = (LeafIndex(2 * leaf), ContentType.APPLICATION, generation)
        staged = tree.stage(*place)
        assert (staged.key.expose(), staged.nonce) == key_of(place)
        tree.apply(staged)
        assert outcome(tree, place)[1] == Code.KEY_CONSUMED


@given(st.lists(steps, max_size=40))
def test_the_tree_does_what_the_model_says(script: list[tuple[Place, str]]) -> None:
    tree, model = new_tree(TIGHT, N_LEAVES), Model(TIGHT)
    store = dict(tree.records())
    kept: list[tuple[StagedKey, Place]] = []
    for place, action in script:
        if action == "restart":
            tree, kept = SecretTree.restore(SUITE, N_LEAVES, store, TIGHT), []
        staged, code = outcome(tree, place)
        assert code in model.verdict(place)
        if staged is not None:
            assert (staged.key.expose(), staged.nonce) == key_of(place)
            if action == "keep":
                kept.append((staged, place))
            if action == "apply":
                carry_out(tree, store, staged)
                model.consume(place)
        if action == "apply kept" and kept:
            apply_kept(tree, store, model, *kept.pop(0))
        assert tree.records() == store


def apply_kept(tree: SecretTree, store: dict[str, bytes], model: Model, staged: StagedKey, place: Place) -> None:
    """Apply a key that was staged some steps ago: refused by now, or exactly as if it were staged now."""
    verdict = model.verdict(place)
    try:
        carry_out(tree, store, staged)
    except UnavailableSecret as error:
        assert error.code in verdict  # noqa: PT017  (what is refused is decided by the model)
    else:
        assert verdict == {None}
        model.consume(place)


def carry_out(tree: SecretTree, store: dict[str, bytes], staged: StagedKey) -> None:
    for key, data in staged.records.items():
        if data is None:
            del store[key]
        else:
            store[key] = data
    tree.apply(staged)


@given(st.lists(places, max_size=12), st.lists(places, max_size=12))
def test_a_restored_tree_goes_on_identically(before: list[Place], after: list[Place]) -> None:
    tree = new_tree(TIGHT, N_LEAVES)
    deliver(tree, before)
    twin = SecretTree.restore(SUITE, N_LEAVES, tree.records(), TIGHT)
    assert twin.fingerprint() == tree.fingerprint()
    assert deliver(twin, after) == deliver(tree, after)
    assert twin.fingerprint() == tree.fingerprint()


def deliver(tree: SecretTree, messages: list[Place]) -> list[tuple[bytes, bytes] | Code | None]:
    results: list[tuple[bytes, bytes] | Code | None] = []
    for place in messages:
        staged, code = outcome(tree, place)
        results.append(code if staged is None else (staged.key.expose(), staged.nonce))
        if staged is not None:
            tree.apply(staged)
    return results


@given(st.lists(places, max_size=8), st.lists(places, min_size=1, max_size=8))
def test_staging_without_applying_changes_nothing(before: list[Place], staged_only: list[Place]) -> None:
    tree = new_tree(TIGHT, N_LEAVES)
    deliver(tree, before)
    records, fingerprint = tree.records(), tree.fingerprint()
    held = []
    for place in staged_only:
        staged, _ = outcome(tree, place)
        held.append(staged)
        assert staged is None or staged.records
    assert (tree.records(), tree.fingerprint()) == (records, fingerprint)
