"""A persistent multiset of the public keys in a tree, to see at once whether a key occurs in it.

It is a trie over Python's keyed hash of bytes, which nobody on the wire can steer: branches of 64, and buckets of a few
keys at the ends. An edit copies the branches on one path. Keys are compared in the suite's canonical encoding. RFC 9420
§12.4.2, §16.7.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from treekem.suite import TreeSuite

_BITS: Final = 6
_FAN_OUT: Final = 1 << _BITS
_MAX_DEPTH: Final = 8
_BUCKET: Final = 16

# A list is a branch of 64, a tuple a bucket; neither is changed once it is reachable from an index.
_Trie = list["_Trie"] | tuple[bytes, ...]


class KeyIndex:
    """The canonical public keys of a tree under one suite; edits return a new value."""

    __slots__ = ("_trie", "suite")

    def __init__(self, suite: TreeSuite, trie: _Trie) -> None:
        self.suite = suite
        self._trie = trie

    @classmethod
    def of(cls, suite: TreeSuite, keys: Iterable[bytes]) -> KeyIndex:
        """Return the index of `keys`. Raises InvalidKey for one that is no public key of the suite."""
        return cls(suite, _built(tuple(map(suite.canonical_public_key, keys)), 0))

    def __contains__(self, key: bytes) -> bool:
        key = self.suite.canonical_public_key(key)
        trie, depth = self._trie, 0
        while isinstance(trie, list):
            trie, depth = trie[_branch(key, depth)], depth + 1
        return key in trie

    def replaced(self, removed: Iterable[bytes], added: Iterable[bytes]) -> KeyIndex:
        """Return the index without one occurrence of each key of `removed`, and with those of `added`."""
        trie = self._trie
        for key in removed:
            trie = _without(trie, self.suite.canonical_public_key(key), 0)
        for key in added:
            trie = _with(trie, self.suite.canonical_public_key(key), 0)
        return KeyIndex(self.suite, trie)


def _branch(key: bytes, depth: int) -> int:
    return hash(key) >> _BITS * depth & (_FAN_OUT - 1)


def _built(keys: tuple[bytes, ...], depth: int) -> _Trie:
    if len(keys) <= _BUCKET or depth == _MAX_DEPTH:
        return keys
    shares: list[list[bytes]] = [[] for _ in range(_FAN_OUT)]
    for key in keys:
        shares[_branch(key, depth)].append(key)
    return [_built(tuple(share), depth + 1) for share in shares]


def _with(trie: _Trie, key: bytes, depth: int) -> _Trie:
    if isinstance(trie, tuple):
        return _built((*trie, key), depth)
    copy = trie.copy()
    branch = _branch(key, depth)
    copy[branch] = _with(trie[branch], key, depth + 1)
    return copy


def _without(trie: _Trie, key: bytes, depth: int) -> _Trie:
    if isinstance(trie, tuple):
        place = trie.index(key)
        return trie[:place] + trie[place + 1 :]
    copy = trie.copy()
    branch = _branch(key, depth)
    copy[branch] = _without(trie[branch], key, depth + 1)
    return copy
