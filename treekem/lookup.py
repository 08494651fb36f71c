"""A persistent table that finds the places which hold a key, such as the nodes with a public key.

It is a trie over Python's keyed hash of bytes, which nobody on the wire can steer: branches of 16, and buckets at the
ends, each a string of entries of ten octets. An entry is a fingerprint of a key and a place; the keys stand in the tree
alone, so that a place that is found is a candidate, which the caller compares with what the tree holds there. An edit
copies the branches on one path and one bucket. The latest changes stand in dictionaries in front, so that a commit does
not pay for branches; after some hundred changes the trie takes them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Final

_HASH_BITS: Final = 40
_BITS: Final = 4
_FAN_OUT: Final = 1 << _BITS
_MAX_DEPTH: Final = 8
_OCTETS: Final = _HASH_BITS // 8
_ENTRY: Final = 2 * _OCTETS
_BUCKET: Final = 128 * _ENTRY
_FEW: Final = 1 << 13
_MOST_PENDING: Final = 512

# A tuple is a branch of 16, bytes a bucket: a fingerprint and a place, and so on.
_Trie = tuple["_Trie", ...] | bytes

_Held = tuple[bytes, int]

_NONE_COME: Final[Mapping[bytes, tuple[int, ...]]] = MappingProxyType({})
_NONE_GONE: Final[Mapping[_Held, None]] = MappingProxyType({})


class Lookup:
    """The places of keys; edits return a new value. A place is an integer below 2^40."""

    __slots__ = ("_come", "_gone", "_trie")

    def __init__(
        self,
        trie: _Trie = b"",
        come: Mapping[bytes, tuple[int, ...]] = _NONE_COME,
        gone: Mapping[_Held, None] = _NONE_GONE,
    ) -> None:
        self._trie = trie
        self._come = come
        """Entries that the trie has still to take up, by their keys,"""
        self._gone = gone
        """and those that it holds and should not."""

    @classmethod
    def of(cls, keys: Iterable[bytes], places: Sequence[int]) -> Lookup:
        """Return the table of `keys`, each at its place. Time is linear in their number, but for sorting numbers."""
        return cls(_built(_sorted(keys, places) if len(places) < _FEW else _sorted_by_numpy(keys, places), 0))

    def candidates(self, key: bytes) -> Iterator[int]:
        """Yield the places that may hold `key`, among them all that do."""
        fingerprint = _fingerprint(key)
        trie, depth = self._trie, 0
        while isinstance(trie, tuple):
            trie, depth = trie[_branch(fingerprint, depth)], depth + 1
        wanted = fingerprint.to_bytes(_OCTETS, "big")
        start = _position(trie, wanted, 0)
        while start >= 0:
            place = int.from_bytes(trie[start + _OCTETS : start + _ENTRY], "big")
            if not self._gone or (key, place) not in self._gone:
                yield place
            start = _position(trie, wanted, start + _ENTRY)
        yield from self._come.get(key, ())

    def replaced(self, removed: Sequence[_Held], added: Sequence[_Held]) -> Lookup:
        """Return the table without the entries of `removed`, keys with their places, and with those of `added`.

        Raises KeyError for one to be removed that is not there.
        """
        if len(self._come) + len(self._gone) > _MOST_PENDING:
            self._settle()
        if len(removed) + len(added) > _MOST_PENDING:
            self._settle()
            return Lookup(_edited(self._trie, removed, added))

        come, gone = dict(self._come), dict(self._gone)
        for entry in removed:
            key, place = entry
            places = come.get(key, ())
            if place not in places:
                if entry in gone or not _holds(self._trie, _fingerprint(key), place):
                    raise KeyError(place)
                gone[entry] = None
            elif len(places) == 1:
                del come[key]
            else:
                come[key] = tuple(each for each in places if each != place)
        for entry in added:
            key, place = entry
            if entry in gone:
                del gone[entry]
            else:
                come[key] = (*come.get(key, ()), place)
        return Lookup(self._trie, come, gone)

    def _settle(self) -> None:
        """Have the trie take up what is pending, which changes nothing of what the table says."""
        added = [(key, place) for key, places in self._come.items() for place in places]
        self._trie = _edited(self._trie, self._gone, added)
        self._come, self._gone = _NONE_COME, _NONE_GONE


def _edited(trie: _Trie, removed: Iterable[_Held], added: Iterable[_Held]) -> _Trie:
    for key, place in removed:
        trie = _without(trie, _fingerprint(key), place, 0)
    for key, place in added:
        trie = _with(trie, _fingerprint(key), place, 0)
    return trie


def _holds(trie: _Trie, fingerprint: int, place: int) -> bool:
    depth = 0
    while isinstance(trie, tuple):
        trie, depth = trie[_branch(fingerprint, depth)], depth + 1
    return _position(trie, _entry(fingerprint, place), 0) >= 0


def _fingerprint(key: bytes) -> int:
    return hash(key) & (1 << _HASH_BITS) - 1


def _entry(fingerprint: int, place: int) -> bytes:
    return (fingerprint << _HASH_BITS | place).to_bytes(_ENTRY, "big")


def _branch(fingerprint: int, depth: int) -> int:
    return fingerprint >> _HASH_BITS - _BITS * (depth + 1) & _FAN_OUT - 1


def _position(bucket: bytes, wanted: bytes, start: int) -> int:
    """Return where the first entry that begins with `wanted` stands from `start` on, or -1."""
    start = bucket.find(wanted, start)
    while start % _ENTRY and start >= 0:
        start = bucket.find(wanted, start + 1)
    return start


def _sorted(keys: Iterable[bytes], places: Iterable[int]) -> bytes:
    pairs = zip(map(_fingerprint, keys), places, strict=True)
    return b"".join(_entry(fingerprint, place) for fingerprint, place in sorted(pairs))


def _sorted_by_numpy(keys: Iterable[bytes], places: Sequence[int]) -> bytes:
    """Return what `_sorted` does; numpy is loaded for many keys alone."""
    import numpy as np  # noqa: PLC0415  (only large trees want it)

    fingerprints = np.fromiter(map(hash, keys), np.int64, len(places)) & (1 << _HASH_BITS) - 1
    order = np.argsort(fingerprints, kind="stable")
    numbers = np.stack([fingerprints[order], np.array(places, np.int64)[order]], axis=1)
    return numbers.astype(">i8").view(np.uint8).reshape(-1, 8)[:, 8 - _OCTETS :].tobytes()


def _built(entries: bytes, depth: int) -> _Trie:
    """Return the trie of entries that are sorted by their fingerprints."""
    if len(entries) <= _BUCKET or depth == _MAX_DEPTH:
        return entries
    first = int.from_bytes(entries[:_OCTETS], "big") >> _HASH_BITS - _BITS * depth << _HASH_BITS - _BITS * depth
    cuts = [0]
    for branch in range(1, _FAN_OUT):
        least = (first | branch << _HASH_BITS - _BITS * (depth + 1)).to_bytes(_OCTETS, "big")
        cuts.append(_first_at_least(entries, least, cuts[-1]))
    cuts.append(len(entries))
    return tuple(_built(entries[start:stop], depth + 1) for start, stop in pairwise(cuts))


def _first_at_least(entries: bytes, least: bytes, start: int) -> int:
    low, high = start // _ENTRY, len(entries) // _ENTRY
    while low < high:
        middle = (low + high) // 2
        if entries[middle * _ENTRY : middle * _ENTRY + _OCTETS] < least:
            low = middle + 1
        else:
            high = middle
    return low * _ENTRY


def _with(trie: _Trie, fingerprint: int, place: int, depth: int) -> _Trie:
    if isinstance(trie, tuple):
        branch = _branch(fingerprint, depth)
        return (*trie[:branch], _with(trie[branch], fingerprint, place, depth + 1), *trie[branch + 1 :])
    bucket = trie + _entry(fingerprint, place)
    if len(bucket) <= _BUCKET or depth == _MAX_DEPTH:
        return bucket
    return _built(b"".join(sorted(bucket[at : at + _ENTRY] for at in range(0, len(bucket), _ENTRY))), depth)


def _without(trie: _Trie, fingerprint: int, place: int, depth: int) -> _Trie:
    if isinstance(trie, tuple):
        branch = _branch(fingerprint, depth)
        return (*trie[:branch], _without(trie[branch], fingerprint, place, depth + 1), *trie[branch + 1 :])
    start = _position(trie, _entry(fingerprint, place), 0)
    if start < 0:
        raise KeyError(place)
    return trie[:start] + trie[start + _ENTRY :]
