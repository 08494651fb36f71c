"""What somebody who seizes a client can derive from it: from every live object and every record, by the key schedule.

A value is *found* when it stands somewhere, or follows from what stands there by labels that the RFC has. The
derivations are those of `naive_schedule`, so that no fault in the engine hides what it left behind. Suites of SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cbor2

from mls import Group
from mls.crypto import CipherSuite
from mls.messages import ContentType
from tests.support.live import contents, engine
from tests.support.naive_schedule import expand_with_label, extract, ratchet_keys
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.suite import PathSecret

HASH = "sha256"
NH = 32
ZEROS = bytes(NH)
_EPOCH_LABELS = (
    *(b"sender data", b"encryption", b"exporter", b"external", b"confirm"),
    *(b"membership", b"resumption", b"authentication", b"init"),
)
_PATH_STEPS = 4


@dataclass(frozen=True)
class MessageKey:
    """The key of a message: where it lies in the secret tree, and the encoded group context of its epoch."""

    key: bytes
    n_leaves: int
    leaf: int
    label: bytes
    generation: int
    group_context: bytes

    @classmethod
    def of(cls, world: World, group: Group, leaf: int, kind: ContentType, generation: int) -> MessageKey:
        """Return a key that a group still holds in its present epoch, as a copy of it derives it."""
        standing = world.twin(group)._standing
        staged = standing.secret_tree.stage(LeafIndex(leaf), kind, generation)
        label = b"application" if kind is ContentType.APPLICATION else b"handshake"
        agreed = standing.state.group
        return cls(staged.key.expose(), agreed.tree.n_leaves, leaf, label, generation, agreed.encoded_context())

    def is_in(self, seized: Iterable[bytes]) -> bool:
        """Whether the key stands in what was seized, or follows from it."""
        held = set(seized)
        return any(self.key in each for each in held) or any(map(self.follows_from, _secret_sized(held)))

    def follows_from(self, secret: bytes) -> bool:
        """Whether a secret derives the key, whichever secret of the schedule it is."""
        return any(self.key == found for found in self._keys_from(secret))

    def _keys_from(self, secret: bytes) -> Iterator[bytes]:
        for first in range(self.generation + 1):
            yield ratchet_keys(secret, range(first, self.generation + 1))[self.generation][0]
        roots = [secret, _derived(secret, b"encryption")]
        joiners = [secret, expand_with_label(HASH, extract(HASH, secret, ZEROS), b"joiner", self.group_context, NH)]
        epochs = [
            expand_with_label(HASH, extract(HASH, each, ZEROS), b"epoch", self.group_context, NH) for each in joiners
        ]
        roots += [_derived(epoch, b"encryption") for epoch in epochs]
        for each in roots:
            yield from self._keys_below(each)

    def _keys_below(self, secret: bytes) -> Iterator[bytes]:
        """Yield the key that a node secret leads to, as that of the root and of every node down to the leaf."""
        for width in _halves(self.n_leaves):
            below, place = secret, self.leaf % width
            for half in _halves(width // 2):
                below = expand_with_label(HASH, below, b"tree", b"right" if place & half else b"left", NH)
            ratchet = expand_with_label(HASH, below, self.label, b"", NH)
            yield ratchet_keys(ratchet, range(self.generation + 1))[self.generation][0]


def found(values: Mapping[str, bytes], seized: Iterable[bytes], suite: CipherSuite) -> set[str]:
    """Return the names of those values that stand in what was seized, or follow from it."""
    held = set(seized)
    derived = {value for secret in _secret_sized(held) for value in _derivable(secret, suite)}
    return {name for name, value in values.items() if value in derived or any(value in each for each in held)}


def _derivable(secret: bytes, suite: CipherSuite) -> Iterator[bytes]:
    """Yield what a secret derives as an epoch secret, and as a path secret."""
    for label in _EPOCH_LABELS:
        yield _derived(secret, label)
    step = secret
    for _ in range(_PATH_STEPS):
        yield suite.derive_node_key_pair(PathSecret(step)).private.expose()
        step = _derived(step, b"path")
        yield step


def seized(world: World, *roots: object) -> set[bytes]:
    """Return what live objects and the engine hold; the world around them, with all that is others', is left out."""
    return contents(*roots, *engine(), but=[world])


def stored(world: World, name: str) -> set[bytes]:
    """Return what a client's records hold: the fields of each, and, where keys are packed, every stretch of them."""
    held: set[bytes] = set()
    for key, record in records(world.stores[name]).items():
        leaves = set(_leaves(cbor2.loads(record)))
        held |= leaves | {record}
        if "/ratchet/" in key:
            held |= {leaf[start : start + NH] for leaf in leaves for start in range(len(leaf) - NH + 1)}
    return held


def _leaves(value: Any) -> Iterator[bytes]:  # noqa: ANN401  (what CBOR holds)
    match value:
        case bytes():
            yield value
            yield from _nested(value)
        case list() | tuple():
            for each in value:
                yield from _leaves(each)
        case dict():
            yield from _leaves([*value.keys(), *value.values()])


def _nested(value: bytes) -> Iterator[bytes]:
    """Yield what a field holds that is a record itself."""
    try:
        inner = cbor2.loads(value)
    except (cbor2.CBORDecodeError, ValueError, TypeError):
        return
    if isinstance(inner, list | dict):
        yield from _leaves(inner)


def _secret_sized(held: Iterable[bytes]) -> set[bytes]:
    return {each for each in held if len(each) == NH}


def _derived(secret: bytes, label: bytes) -> bytes:
    return expand_with_label(HASH, secret, label, b"", NH)


def _halves(width: int) -> Iterator[int]:
    while width:
        yield width
        width //= 2
