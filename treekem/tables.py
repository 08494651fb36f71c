"""What a tree knows of all its nodes at once: who holds a key, and how many leaves have a trait.

A table describes one array of nodes. It is made at the first question, by a look at every node; a tree that was edited
brings the table of the one that it came from up to date with what differs between their arrays, which costs the change
and not the size. RFC 9420 §7.3, §12.4.2, §16.7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

from treekem.columns import NodeColumns
from treekem.index import NodeIndex
from treekem.leaf_node import LeafPart, leaf_parts
from treekem.lookup import Lookup
from treekem.nodes import Content, LeafSlot, ParentNode
from treekem.suite import TreeSuite

LeafTraits = Callable[[bytes, bytes], frozenset[int]]
"""The traits of a leaf, such as the types that it supports, by the type of its credential and its capabilities.

Both are as encoded; equal functions make equal tables.
"""

Change = tuple[NodeIndex, Content, Content]
"""A place, what was there, and what is there now."""

_Value = TypeVar("_Value")
_PAGE_BITS: Final = 8


class LeafKey(Protocol):
    """A key of a leaf, such as its signature key or its identity; equal ones make equal tables."""

    @property
    def part(self) -> LeafPart:
        """The part of the leaf on which alone the key depends."""

    def __call__(self, part: bytes) -> bytes:
        """Return the key that this part of a leaf has or names."""


class Source(Protocol[_Value]):
    """How a table is made of an array of nodes, and how it follows from that of another one."""

    def of(self, columns: NodeColumns) -> _Value:
        """Look at every node."""

    def moved(self, value: _Value, changes: Iterable[Change]) -> _Value:
        """Look at what changed."""


@dataclass(frozen=True, slots=True)
class Table(Generic[_Value]):
    """What a source says of `columns`."""

    source: Source[_Value]
    columns: NodeColumns
    value: _Value

    @classmethod
    def of(cls, source: Source[_Value], columns: NodeColumns) -> Table[_Value]:
        """Look at every node of an array. Raises what the source does."""
        return cls(source, columns, source.of(columns))

    def at(self, columns: NodeColumns, changes: Iterable[Change]) -> Table[_Value]:
        """Return the table of another array, which differs from this one by `changes`. Raises what the source does."""
        return Table(self.source, columns, self.source.moved(self.value, changes))


class Shelf:
    """The tables that a tree shares with all that are edited from it, the one asked last in front.

    A table is brought up to date in either direction, so that one which was made for a commit that is then dropped
    serves the next one, and the tree that both were made from.
    """

    __slots__ = ("tables",)

    def __init__(self) -> None:
        self.tables: tuple[Table[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class EncryptionKeys:
    """The nodes by their encryption keys, in the suite's canonical encoding. Raises InvalidKey. RFC 9420 §16.7."""

    suite: TreeSuite

    def of(self, columns: NodeColumns) -> Lookup:
        """Look at every node."""
        places, keys = columns.encryption_keys()
        return Lookup.of(self.suite.canonical_public_keys(keys), places)

    def moved(self, value: Lookup, changes: Iterable[Change]) -> Lookup:
        """Look at the nodes whose key changed."""
        return _moved(value, changes, lambda node: self.suite.canonical_public_key(node.encryption_key))


@dataclass(frozen=True, slots=True)
class LeafKeys:
    """The leaves by a key of each."""

    key_of: LeafKey

    def of(self, columns: NodeColumns) -> Lookup:
        """Look at every leaf."""
        places, parts = columns.leaf_parts(self.key_of.part)
        return Lookup.of(map(self.key_of, parts), places)

    def moved(self, value: Lookup, changes: Iterable[Change]) -> Lookup:
        """Look at the leaves that changed."""
        leaves = _of_leaves(changes)
        return _moved(value, leaves, lambda node: key_of_slot(node, self.key_of) if isinstance(node, LeafSlot) else b"")


class Census:
    """How many leaves have each trait; an edit copies the pages of 256 traits that it touches."""

    __slots__ = ("_pages",)

    def __init__(self, pages: Mapping[int, Mapping[int, int]] = MappingProxyType({})) -> None:
        self._pages = pages

    def count(self, trait: int) -> int:
        """Return how many leaves have a trait."""
        return self._pages.get(trait >> _PAGE_BITS, {}).get(trait, 0)

    def traits(self, among: range) -> Iterator[int]:
        """Yield those traits of a range that some leaf has."""
        numbers = range(among.start >> _PAGE_BITS, (among.stop - 1 >> _PAGE_BITS) + 1)
        for number, page in self._pages.items():
            if number in numbers:
                yield from (trait for trait in page if trait in among)

    def changed(self, differences: Mapping[int, int]) -> Census:
        """Return the counts with these differences."""
        pages: dict[int, Mapping[int, int]] = dict(self._pages)
        touched: dict[int, dict[int, int]] = {}
        for trait, difference in differences.items():
            number = trait >> _PAGE_BITS
            page = touched.setdefault(number, dict(pages.get(number, {})))
            page[trait] = page.get(trait, 0) + difference
            if not page[trait]:
                del page[trait]
        return Census({**pages, **touched})


@dataclass(frozen=True, slots=True)
class LeafCensus:
    """The number of leaves that have each trait."""

    traits_of: LeafTraits

    def of(self, columns: NodeColumns) -> Census:
        """Look at every leaf; members have few different sets of traits, so that those are counted."""
        _, kinds = columns.leaf_parts(LeafPart.CREDENTIAL_TYPE)
        _, capabilities = columns.leaf_parts(LeafPart.CAPABILITIES)
        counts: Counter[int] = Counter()
        for parts, count in Counter(zip(kinds, capabilities, strict=True)).items():
            traits = self.traits_of(*parts)
            # A set is counted without a loop in Python; most sets occur once, or there are few of them.
            counts.update(traits if count == 1 else dict.fromkeys(traits, count))
        return Census().changed(counts)

    def moved(self, value: Census, changes: Iterable[Change]) -> Census:
        """Look at the leaves that changed."""
        differences: Counter[int] = Counter()
        for _, before, now in _of_leaves(changes):
            gone = traits_of_slot(before, self.traits_of) if isinstance(before, LeafSlot) else frozenset()
            come = traits_of_slot(now, self.traits_of) if isinstance(now, LeafSlot) else frozenset()
            differences.update(come - gone)
            differences.subtract(gone - come)
        return value.changed({trait: difference for trait, difference in differences.items() if difference})


def key_of_slot(slot: LeafSlot, key_of: LeafKey) -> bytes:
    """Return a key of a leaf. Raises what `key_of` does."""
    return key_of(leaf_parts(slot.encoded)[key_of.part])


def traits_of_slot(slot: LeafSlot, traits_of: LeafTraits) -> frozenset[int]:
    """Return the traits of a leaf. Raises what `traits_of` does."""
    parts = leaf_parts(slot.encoded)
    return traits_of(parts.credential_type, parts.capabilities)


def _of_leaves(changes: Iterable[Change]) -> Iterator[Change]:
    return (each for each in changes if isinstance(each[1], LeafSlot) or isinstance(each[2], LeafSlot))


def _moved(value: Lookup, changes: Iterable[Change], key_of: Callable[[LeafSlot | ParentNode], bytes]) -> Lookup:
    removed, added = [], []
    for x, before, now in changes:
        old = None if before is None else key_of(before)
        new = None if now is None else key_of(now)
        if old == new:
            continue
        if old is not None:
            removed.append((old, int(x)))
        if new is not None:
            added.append((new, int(x)))
    return value.replaced(removed, added)
