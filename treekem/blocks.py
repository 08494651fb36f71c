"""The blocks that an array of nodes is cut into: 63 nodes, a perfect subtree of height six, and 64 blocks below it.

A block of the lowest stratum has leaves at its even places and no children. What a block holds is never changed, but
for the tree hashes that it remembers; an edit returns another block, and costs what it changes. `treekem.columns` says
how blocks make an array. RFC 9420 Appendix C.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, overload

from treekem.index import NodeIndex
from treekem.nodes import Content, encode_entry
from treekem.wire import encode_varint

if TYPE_CHECKING:
    from treekem.scanned import ScannedTree

BITS: Final = 6
FAN_OUT: Final = 1 << BITS
"""How many children a block has."""

SLOTS_OF_BLOCK: Final = FAN_OUT - 1
"""How many nodes a block holds."""

BLANK_ENTRY: Final = encode_entry(None)
"""A node that is blank, in a ratchet_tree vector. RFC 9420 §12.4.3.3."""

_LEAVES: Final = sum(1 << slot for slot in range(0, SLOTS_OF_BLOCK, 2))


class Block:
    """63 nodes and, above the lowest stratum, 64 children; never changed, but for the hashes that it remembers.

    The masks have a bit per node (`present`: it is not blank) or per child (`occupied`: it has a node). A bit of
    `leafy` and `roomy` says that a leaf, or a child, holds a member, or has room for one.
    """

    __slots__ = ("children", "digests", "entries", "leafy", "n_members", "nodes", "occupied", "present", "roomy")

    def __init__(
        self,
        nodes: Sequence[Content],
        children: tuple[Block, ...],
        present: int,
        occupied: int,
        leafy: int,
        roomy: int,
        n_members: int,
    ) -> None:
        self.nodes = nodes
        self.children = children
        self.digests: dict[str, Digests] = {}
        self.entries: dict[int, bytes] = {}
        """The nodes that were encoded before, by their places."""
        self.present = present
        self.occupied = occupied
        self.leafy = leafy
        self.roomy = roomy
        self.n_members = n_members

    @classmethod
    def of(cls, nodes: Sequence[Content], children: tuple[Block, ...], present: int) -> Block:
        """Return a block of the lowest stratum, which has no children, or of a higher one, which has 64."""
        if not children:
            leafy = present & _LEAVES
            return cls(nodes, (), present, 0, leafy, ~present & _LEAVES, leafy.bit_count())
        return cls(
            nodes,
            children,
            present,
            occupied=_mask(bool(child.present or child.occupied) for child in children),
            leafy=_mask(bool(child.leafy) for child in children),
            roomy=_mask(bool(child.roomy) for child in children),
            n_members=sum(child.n_members for child in children),
        )

    def digests_for(self, hash_name: str) -> Digests:
        """Return the hashes known under `hash_name`, to read or to add to."""
        known = self.digests.get(hash_name)
        if known is None:
            known = self.digests[hash_name] = Digests()
        return known

    def encoded(self) -> bytes:
        """Return the nodes as a ratchet_tree vector; one at least is not blank.

        RFC 9420 §12.4.3.3.
        """
        body = b"".join(self.encoded_entries()[: self.present.bit_length()])
        return encode_varint(len(body)) + body

    def encoded_entries(self) -> list[bytes]:
        """Return all 63 nodes as entries of a ratchet_tree vector.

        What came in bytes is cut out of them. Above the lowest stratum it is remembered how each other node is encoded:
        those blocks are few, and most commits change a node or two in them. RFC 9420 §12.4.3.3.
        """
        entries = [BLANK_ENTRY] * SLOTS_OF_BLOCK
        fresh: Iterable[int] = positions_of(self.present)
        if isinstance(self.nodes, ScannedNodes):
            entries, fresh = self.nodes.entries(), ()
        elif isinstance(self.nodes, ChangedNodes):
            entries, fresh = self.nodes.scanned.entries(), self.nodes.changes
        known = self.entries if self.children else {}
        for slot in fresh:
            if slot not in known:
                known[slot] = encode_entry(self.nodes[slot])
            entries[slot] = known[slot]
        return entries

    def edited(self, contents: Mapping[int, Content], below: Mapping[int, Block], stale: int) -> Block:
        """Return the block with other contents in some places and other children in some.

        It knows the same hashes, but for the places set in `stale`. What an edit costs follows what it changes.
        """
        nodes = _replaced(self.nodes, contents) if contents else self.nodes
        present = _with_bits(self.present, ((slot, content is not None) for slot, content in contents.items()))
        block = self._with_children(nodes, below, present) if self.children else Block.of(nodes, (), present)
        for hash_name, digests in self.digests.items():
            block.digests[hash_name] = digests.without(stale, below)
        if self.entries:
            block.entries = {slot: entry for slot, entry in self.entries.items() if slot not in contents}
        return block

    def _with_children(self, nodes: Sequence[Content], below: Mapping[int, Block], present: int) -> Block:
        children, n_members = list(self.children), self.n_members
        for number, child in below.items():
            n_members += child.n_members - children[number].n_members
            children[number] = child
        return Block(
            nodes,
            tuple(children),
            present,
            _with_bits(self.occupied, ((each, bool(child.present or child.occupied)) for each, child in below.items())),
            _with_bits(self.leafy, ((each, bool(child.leafy)) for each, child in below.items())),
            _with_bits(self.roomy, ((each, bool(child.roomy)) for each, child in below.items())),
            n_members,
        )


class Digests:
    """What is known under one hash function: the hashes of a block's nodes and of its children that are all blank."""

    __slots__ = ("by_blank_child", "by_slot", "stale", "table")

    def __init__(self) -> None:
        self.table: DigestTable | None = None
        self.stale = 0
        """A bit for each place whose row of the table does not hold any more."""
        self.by_slot: list[bytes | None] = []
        """Those that are not in the table; empty, or one for each place of the block."""
        self.by_blank_child: dict[int, bytes] = {}

    def of_slot(self, slot: int) -> bytes | None:
        """Return the hash of the node in a place, if it is known."""
        known = self.by_slot[slot] if self.by_slot else None
        if known is not None or self.table is None or self.stale >> slot & 1:
            return known
        return self.table.digest(slot)

    def without(self, stale: int, below: Collection[int]) -> Digests:
        """Return what holds of a block with other contents in the places set in `stale` and in the children `below`."""
        kept = Digests()
        kept.table, kept.stale = self.table, self.stale | stale
        kept.by_slot = self.by_slot.copy()
        for slot in positions_of(stale) if self.by_slot else ():
            kept.by_slot[slot] = None
        kept.by_blank_child = {child: known for child, known in self.by_blank_child.items() if child not in below}
        return kept

    def remember(self, slot: int, digest: bytes) -> None:
        """Add the hash of the node in a place."""
        if not self.by_slot:
            self.by_slot = [None] * SLOTS_OF_BLOCK
        self.by_slot[slot] = digest


class DigestTable:
    """The hashes of a block's nodes, in a table of those of a whole tree by node index."""

    __slots__ = ("_digest_length", "_number", "_stratum", "table")

    def __init__(self, table: memoryview, digest_length: int, stratum: int, number: int) -> None:
        self.table = table
        self._digest_length = digest_length
        self._stratum = stratum
        self._number = number

    def digest(self, slot: int) -> bytes | None:
        """Return the hash of the node in a place; `None` for a place outside of the tree."""
        start = node_at(self._stratum, self._number, slot) * self._digest_length
        return bytes(self.table[start : start + self._digest_length]) or None


class ScannedNodes(Sequence[Content]):
    """The nodes of a block, made out of bytes whenever somebody looks."""

    __slots__ = ("_number", "_scanned", "_stratum")

    def __init__(self, scanned: ScannedTree, stratum: int, number: int) -> None:
        self._scanned = scanned
        self._stratum = stratum
        self._number = number

    def __len__(self) -> int:
        return SLOTS_OF_BLOCK

    @overload
    def __getitem__(self, slot: int) -> Content: ...
    @overload
    def __getitem__(self, slot: slice) -> tuple[Content, ...]: ...
    def __getitem__(self, slot: int | slice) -> Content | tuple[Content, ...]:
        if isinstance(slot, slice):
            return tuple(map(self._content, range(SLOTS_OF_BLOCK)[slot]))
        return self._content(range(SLOTS_OF_BLOCK)[slot])

    def entries(self) -> list[bytes]:
        """Return all nodes as entries of a ratchet_tree vector. RFC 9420 §12.4.3.3."""
        first, step = node_at(self._stratum, self._number, 0), FAN_OUT**self._stratum
        return self._scanned.entries(first, step, SLOTS_OF_BLOCK)

    def _content(self, slot: int) -> Content:
        return self._scanned.content(node_at(self._stratum, self._number, slot))


class ChangedNodes(Sequence[Content]):
    """The nodes of a block that stay in bytes, but for some that an edit has put in their place."""

    __slots__ = ("changes", "scanned")

    def __init__(self, scanned: ScannedNodes, changes: Mapping[int, Content]) -> None:
        self.scanned = scanned
        self.changes = changes

    def __len__(self) -> int:
        return SLOTS_OF_BLOCK

    @overload
    def __getitem__(self, slot: int) -> Content: ...
    @overload
    def __getitem__(self, slot: slice) -> tuple[Content, ...]: ...
    def __getitem__(self, slot: int | slice) -> Content | tuple[Content, ...]:
        if isinstance(slot, slice):
            return tuple(self[each] for each in range(SLOTS_OF_BLOCK)[slot])
        return self.changes[slot] if slot in self.changes else self.scanned[slot]


def _replaced(nodes: Sequence[Content], changes: Mapping[int, Content]) -> Sequence[Content]:
    """Return the nodes of a block with others in some places; what stays in bytes is not looked at."""
    if isinstance(nodes, ScannedNodes):
        return ChangedNodes(nodes, changes)
    if isinstance(nodes, ChangedNodes):
        return ChangedNodes(nodes.scanned, {**nodes.changes, **changes})
    copy = list(nodes)
    for slot, content in changes.items():
        copy[slot] = content
    return tuple(copy)


def place_of(x: NodeIndex) -> tuple[int, int, int]:
    """Return the stratum of a node, the number of its block there, and its slot in the block."""
    if x & SLOTS_OF_BLOCK != SLOTS_OF_BLOCK:  # Nearly all nodes stand in the lowest stratum.
        return 0, x >> BITS, x & SLOTS_OF_BLOCK
    stratum, number = 0, int(x)
    while number & SLOTS_OF_BLOCK == SLOTS_OF_BLOCK:
        stratum, number = stratum + 1, number >> BITS
    return stratum, number >> BITS, number & SLOTS_OF_BLOCK


def node_at(stratum: int, number: int, slot: int) -> NodeIndex:
    """Return the index of the node in a slot of a block."""
    x = number << BITS | slot
    for _ in range(stratum):
        x = x << BITS | SLOTS_OF_BLOCK
    return NodeIndex(x)


def _mask(bits: Iterable[bool]) -> int:
    return mask_of(position for position, bit in enumerate(bits) if bit)


def mask_of(positions: Iterable[int]) -> int:
    """Return a mask with these bits set."""
    mask = 0
    for position in positions:
        mask |= 1 << position
    return mask


def _with_bits(mask: int, changes: Iterable[tuple[int, bool]]) -> int:
    """Return a mask with some bits set to what they are now."""
    for position, bit in changes:
        mask = mask & ~(1 << position) | bit << position
    return mask


def positions_of(mask: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, the lowest first."""
    while mask:
        position = lowest_bit(mask)
        yield position
        mask &= mask - 1


def lowest_bit(mask: int) -> int:
    """Return the position of the lowest bit of a mask that is not zero."""
    return (mask & -mask).bit_length() - 1
