"""A persistent array of nodes, with the tree hashes that are known for them.

The array is cut into blocks of 63 nodes, each a perfect subtree of height six. A block of the lowest stratum holds 32
leaves and the five levels of parents above them; 64 such blocks hang from one block that holds the next six levels, and
so on. The node that stands between two neighbouring blocks has an index of the form 64 * m + 63, and these `m` number
the nodes of the stratum above in the same way, so that one rule finds every node. A path in a tree with 2^20 leaves
passes through four blocks; an edit copies just these, and the old array and the new one share all others.

Bit masks over the nodes and children of a block answer without a scan: whether a subtree is blank, which leaf is the
first blank one, which member is the last. RFC 9420 Appendix C.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, overload

from treekem.index import LeafIndex, NodeIndex, level, node_width, root
from treekem.nodes import Content, LeafSlot, ParentNode

if TYPE_CHECKING:
    from treekem.scanned import ScannedTree

_BITS: Final = 6
_FAN_OUT: Final = 1 << _BITS
SLOTS_OF_BLOCK: Final = _FAN_OUT - 1
"""How many nodes a block holds."""

_MIDDLE: Final = SLOTS_OF_BLOCK // 2
_LEAVES: Final = sum(1 << slot for slot in range(0, SLOTS_OF_BLOCK, 2))
_STRATA: Final = 6  # Enough for 2^35 leaves, and a leaf index is a uint32.


class NodeColumns:
    """The nodes of a tree with `n_leaves` leaves, a power of two; every edit returns a new value.

    Methods that take a node index expect one below `2 * n_leaves - 1`.
    """

    __slots__ = ("_stratum", "_top", "n_leaves", "scanned")

    def __init__(self, n_leaves: int, top: _Block, scanned: ScannedTree | None = None) -> None:
        self.n_leaves = n_leaves
        self.scanned = scanned
        """The bytes in which the whole array came, until the first edit."""
        self._top = top
        self._stratum = _topmost_stratum(n_leaves)

    @classmethod
    def of(cls, n_leaves: int, nodes: Mapping[NodeIndex, Content]) -> NodeColumns:
        """Return an array that holds `nodes` and is blank elsewhere."""
        return cls(n_leaves, _BLANK[_topmost_stratum(n_leaves)]).replaced(nodes)

    @classmethod
    def of_scanned(cls, scanned: ScannedTree) -> NodeColumns:
        """Return an array whose nodes stay in the bytes in which they came, and are made when somebody looks."""
        below: list[_Block] = []
        for stratum in range(_topmost_stratum(scanned.n_leaves) + 1):
            blocks = []
            for number, present in enumerate(scanned.present_in_blocks(stratum)):
                children = tuple(below[number << _BITS : (number + 1) << _BITS]) if stratum else ()
                missing = len(_BLANK[stratum].children) - len(children)
                blocks.append(
                    _Block(
                        _ScannedNodes(scanned, stratum, number),
                        (*children, *_BLANK[stratum].children[:missing]),
                        present,
                    )
                )
            below = [block if block.present or block.occupied else _BLANK[stratum] for block in blocks]
        return cls(scanned.n_leaves, below[0], scanned)

    def node(self, x: NodeIndex) -> Content:
        """Return what place `x` holds."""
        stratum, number, slot = _place(x)
        return self._block(stratum, number).nodes[slot]

    def items(self) -> Iterator[tuple[NodeIndex, LeafSlot | ParentNode]]:
        """Yield the nodes that are not blank, from left to right."""
        return _items(self._top, self._stratum, 0)

    @property
    def n_members(self) -> int:
        """The number of leaves that are not blank."""
        return self._top.n_members

    def is_subtree_blank(self, x: NodeIndex) -> bool:
        """Whether `x` and every node below it are blank."""
        stratum, number, slot = _place(x)
        block = self._block(stratum, number)
        span = (1 << level(NodeIndex(slot))) - 1
        nodes = ((1 << (2 * span + 1)) - 1) << (slot - span)
        children = ((1 << (2 * span + 2)) - 1) << (slot - span)
        return not block.present & nodes and not block.occupied & children

    def first_blank_leaf(self) -> LeafIndex | None:
        """Return the leftmost blank leaf, or `None` when every leaf has a member."""
        block, number = self._top, 0
        for _ in range(self._stratum):
            if not block.roomy:
                return None
            child = _lowest_bit(block.roomy)
            block, number = block.children[child], number << _BITS | child
        if not block.roomy:
            return None
        leaf = LeafIndex((number << _BITS | _lowest_bit(block.roomy)) >> 1)
        return leaf if leaf < self.n_leaves else None

    def last_member(self) -> LeafIndex | None:
        """Return the rightmost leaf that is not blank, or `None` when all are."""
        block, number = self._top, 0
        if not block.leafy:
            return None
        for _ in range(self._stratum):
            child = block.leafy.bit_length() - 1
            block, number = block.children[child], number << _BITS | child
        return LeafIndex((number << _BITS | (block.leafy.bit_length() - 1)) >> 1)

    def replaced(self, changes: Mapping[NodeIndex, Content]) -> NodeColumns:
        """Return an array that differs at the places of `changes`, and forgets the hashes that depend on them."""
        placed = [(*_place(x), content) for x, content in changes.items()]
        return NodeColumns(self.n_leaves, _edited(self._top, self._stratum, placed))

    def resized(self, n_leaves: int) -> NodeColumns:
        """Return the left end of the array, or the array with blanks to its right. RFC 9420 §7.7."""
        top, stratum = self._top, self._stratum
        while stratum < _topmost_stratum(n_leaves):
            stratum += 1
            top = _block_above(top, stratum)
        while stratum > _topmost_stratum(n_leaves):
            stratum -= 1
            top = top.children[0]
        if n_leaves < self.n_leaves:
            top = _cropped(top, stratum, n_leaves)
        return NodeColumns(n_leaves, top)

    def known_digest(self, x: NodeIndex, hash_name: str) -> bytes | None:
        """Return the tree hash of node `x` if it was remembered."""
        block, slot, blank_child = self._digest_place(x)
        digests = block.digests.get(hash_name)
        if digests is None:
            return None
        return digests.of_slot(slot) if blank_child is None else digests.by_blank_child.get(blank_child)

    def remember_digest(self, x: NodeIndex, hash_name: str, digest: bytes) -> None:
        """Remember the tree hash of node `x`; inside a blank block only that of its top node is kept."""
        block, slot, blank_child = self._digest_place(x)
        if blank_child is not None:
            block.digests_for(hash_name).by_blank_child[blank_child] = digest
        elif block is not _BLANK[_place(x)[0]]:
            block.digests_for(hash_name).remember(slot, digest)

    def remember_digests(self, hash_name: str, digest_length: int, table: memoryview) -> None:
        """Remember the tree hashes of all nodes, which stand in `table` one after another and are not copied."""
        blocks = [(self._top, self._stratum, 0)]
        while blocks:
            block, stratum, number = blocks.pop()
            if block is _BLANK[stratum]:
                continue
            digests = block.digests_for(hash_name)
            digests.table = _DigestTable(table, digest_length, stratum, number)
            for child, below in enumerate(block.children):
                middle = _node_at(stratum - 1, number << _BITS | child, _MIDDLE)
                if below is not _BLANK[stratum - 1]:
                    blocks.append((below, stratum - 1, number << _BITS | child))
                elif middle < node_width(self.n_leaves):
                    place = middle * digest_length
                    digests.by_blank_child[child] = bytes(table[place : place + digest_length])

    def digest_table(self, hash_name: str) -> memoryview | None:
        """Return the table that was given to `remember_digests`, until the first edit."""
        digests = self._top.digests.get(hash_name)
        return None if self.scanned is None or digests is None or digests.table is None else digests.table.table

    def blocks(self) -> Iterator[tuple[NodeIndex, Sequence[Content]]]:
        """Yield the blocks that hold a node: the index of the first place, and the contents of the 63 places."""
        for number, contents in self.changed_blocks(NodeColumns(1, _BLANK[0])):
            if contents is not None:
                yield number, contents

    def changed_blocks(self, old: NodeColumns) -> Iterator[tuple[NodeIndex, Sequence[Content] | None]]:
        """Yield the blocks that `old` does not share, as `blocks` does; `None` for a block that is blank now."""
        ours, theirs, stratum = self._top, old._top, self._stratum
        for missing in range(stratum + 1, old._stratum + 1):
            ours = _block_above(ours, missing)
        for missing in range(old._stratum + 1, stratum + 1):
            theirs = _block_above(theirs, missing)
        return _differences(ours, theirs, max(stratum, old._stratum), 0)

    def _block(self, stratum: int, number: int) -> _Block:
        block = self._top
        for shift in range(_BITS * (self._stratum - stratum - 1), -1, -_BITS):
            block = block.children[number >> shift & SLOTS_OF_BLOCK]
        return block

    def _digest_place(self, x: NodeIndex) -> tuple[_Block, int, int | None]:
        """Return the block and slot of `x`; for the top of a blank block, its parent block and its number there too."""
        stratum, number, slot = _place(x)
        block = self._block(stratum, number)
        if slot == _MIDDLE and stratum < self._stratum and block is _BLANK[stratum]:
            above = self._block(stratum + 1, number >> _BITS)
            if above is not _BLANK[stratum + 1]:
                return above, slot, number & SLOTS_OF_BLOCK
        return block, slot, None


def place_in_block(number: NodeIndex, slot: int) -> NodeIndex:
    """Return the node index of a slot of the block whose first place is `number`."""
    stratum, block, _ = _place(number)
    return _node_at(stratum, block, slot)


class _Digests:
    """What is known under one hash function: the hashes of a block's nodes and of its children that are all blank."""

    __slots__ = ("by_blank_child", "by_slot", "table")

    def __init__(self) -> None:
        self.table: _DigestTable | None = None
        self.by_slot: list[bytes | None] = []
        """Those that are not in the table; empty, or one for each place of the block."""
        self.by_blank_child: dict[int, bytes] = {}

    def of_slot(self, slot: int) -> bytes | None:
        """Return the hash of the node in a place, if it is known."""
        known = self.by_slot[slot] if self.by_slot else None
        return self.table.digest(slot) if known is None and self.table is not None else known

    def remember(self, slot: int, digest: bytes) -> None:
        """Add the hash of the node in a place."""
        if not self.by_slot:
            self.by_slot = [None] * SLOTS_OF_BLOCK
        self.by_slot[slot] = digest


class _DigestTable:
    """The hashes of a block's nodes, in a table of those of a whole tree by node index."""

    __slots__ = ("_digest_length", "_number", "_stratum", "table")

    def __init__(self, table: memoryview, digest_length: int, stratum: int, number: int) -> None:
        self.table = table
        self._digest_length = digest_length
        self._stratum = stratum
        self._number = number

    def digest(self, slot: int) -> bytes | None:
        """Return the hash of the node in a place; `None` for a place outside of the tree."""
        start = _node_at(self._stratum, self._number, slot) * self._digest_length
        return bytes(self.table[start : start + self._digest_length]) or None


class _ScannedNodes(Sequence[Content]):
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

    def _content(self, slot: int) -> Content:
        return self._scanned.content(_node_at(self._stratum, self._number, slot))


class _Block:
    """63 nodes and, above the lowest stratum, 64 children; never changed, but for the hashes that it remembers.

    The masks have a bit per node (`present`: it is not blank) or per child (`occupied`: it has a node). A bit of
    `leafy` and `roomy` says that a leaf, or a child, holds a member, or has room for one.
    """

    __slots__ = ("children", "digests", "leafy", "n_members", "nodes", "occupied", "present", "roomy")

    def __init__(self, nodes: Sequence[Content], children: tuple[_Block, ...], present: int | None = None) -> None:
        self.nodes = nodes
        self.children = children
        self.digests: dict[str, _Digests] = {}
        self.present: int = _mask(node is not None for node in nodes) if present is None else present
        self.occupied: int
        self.leafy: int
        self.roomy: int
        self.n_members: int
        if children:
            self.occupied = _mask(bool(child.present or child.occupied) for child in children)
            self.leafy = _mask(bool(child.leafy) for child in children)
            self.roomy = _mask(bool(child.roomy) for child in children)
            self.n_members = sum(child.n_members for child in children)
        else:
            self.occupied = 0
            self.leafy = self.present & _LEAVES
            self.roomy = ~self.present & _LEAVES
            self.n_members = self.leafy.bit_count()

    def digests_for(self, hash_name: str) -> _Digests:
        """Return the hashes known under `hash_name`, to read or to add to."""
        return self.digests.setdefault(hash_name, _Digests())

    def edited(self, nodes: Sequence[Content], children: tuple[_Block, ...], stale: int) -> _Block:
        """Return a block with other contents, which knows the same hashes but for the slots set in `stale`."""
        block = _Block(nodes, children, self.present if nodes is self.nodes else None)
        for hash_name, digests in self.digests.items():
            kept = block.digests_for(hash_name)
            kept.by_slot = [None if stale >> slot & 1 else digests.of_slot(slot) for slot in range(SLOTS_OF_BLOCK)]
            kept.by_blank_child = {
                child: digest
                for child, digest in digests.by_blank_child.items()
                if children[child] is self.children[child]
            }
        return block


def _mask(bits: Iterable[bool]) -> int:
    return sum(1 << position for position, bit in enumerate(bits) if bit)


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _blank_blocks() -> tuple[_Block, ...]:
    blocks = [_Block((None,) * SLOTS_OF_BLOCK, ())]
    for _ in range(1, _STRATA):
        blocks.append(_Block((None,) * SLOTS_OF_BLOCK, (blocks[-1],) * _FAN_OUT))
    return tuple(blocks)


def _slots_from(slot: int) -> int:
    """Return the bits of a slot and of the slots above it in its block."""
    height = level(NodeIndex(slot))
    above = (slot >> (h + 1) << (h + 1) | ((1 << h) - 1) for h in range(height, _BITS))
    return sum(1 << other for other in above)


_BLANK: Final = _blank_blocks()
"""The one block per stratum that stands for every subtree without nodes."""

_STALE: Final = tuple(_slots_from(slot) for slot in range(SLOTS_OF_BLOCK))


def _place(x: NodeIndex) -> tuple[int, int, int]:
    """Return the stratum of a node, the number of its block there, and its slot in the block."""
    stratum, number = 0, int(x)
    while number & SLOTS_OF_BLOCK == SLOTS_OF_BLOCK:
        stratum, number = stratum + 1, number >> _BITS
    return stratum, number >> _BITS, number & SLOTS_OF_BLOCK


def _node_at(stratum: int, number: int, slot: int) -> NodeIndex:
    x = number << _BITS | slot
    for _ in range(stratum):
        x = x << _BITS | SLOTS_OF_BLOCK
    return NodeIndex(x)


def _block_above(block: _Block, stratum: int) -> _Block:
    """Return a block of `stratum` that holds nothing but `block`, as its first child."""
    blank = _BLANK[stratum]
    return _Block(blank.nodes, (block, *blank.children[1:]))


def _topmost_stratum(n_leaves: int) -> int:
    return level(root(n_leaves)) // _BITS


_Placed = tuple[int, int, int, Content]


def _edited(block: _Block, stratum: int, changes: list[_Placed]) -> _Block:
    """Return `block` with the changes that lie in it and below it."""
    nodes, children, stale = block.nodes, block.children, 0
    below: dict[int, list[_Placed]] = {}
    own: dict[int, Content] = {}
    for change in changes:
        its_stratum, number, slot, content = change
        if its_stratum == stratum:
            own[slot] = content
        else:
            below.setdefault(number >> _BITS * (stratum - its_stratum - 1) & SLOTS_OF_BLOCK, []).append(change)

    if own:
        nodes = tuple(own.get(slot, node) for slot, node in enumerate(nodes))
    if below:
        children = tuple(
            _edited(child, stratum - 1, below[number]) if number in below else child
            for number, child in enumerate(children)
        )
    for slot in (*own, *(number & ~1 for number in below)):
        stale |= _STALE[slot]
    edited = block.edited(nodes, children, stale)
    return edited if edited.present or edited.occupied else _BLANK[stratum]


def _cropped(top: _Block, stratum: int, n_leaves: int) -> _Block:
    """Return the topmost block with nothing beyond the last place of a tree of `n_leaves` leaves."""
    n_slots = node_width(n_leaves) >> _BITS * stratum
    blank = _BLANK[stratum]
    nodes = (*top.nodes[:n_slots], *blank.nodes[n_slots:])
    children = top.children[: n_slots + 1] + blank.children[n_slots + 1 :]
    # The hashes of the subtrees that stay do not change, and those of the others are unknown from now on.
    return top.edited(nodes, children, ~((1 << n_slots) - 1))


def _items(block: _Block, stratum: int, number: int) -> Iterator[tuple[NodeIndex, LeafSlot | ParentNode]]:
    for slot in range(_FAN_OUT):
        if block.occupied >> slot & 1:
            yield from _items(block.children[slot], stratum - 1, number << _BITS | slot)
        if block.present >> slot & 1:
            node = block.nodes[slot]
            if node is not None:
                yield _node_at(stratum, number, slot), node


def _differences(
    ours: _Block, theirs: _Block, stratum: int, number: int
) -> Iterator[tuple[NodeIndex, Sequence[Content] | None]]:
    if ours is theirs:
        return
    if ours.nodes is not theirs.nodes and (ours.present or theirs.present):
        yield _node_at(stratum, number, 0), ours.nodes if ours.present else None
    for child, (our_child, their_child) in enumerate(zip(ours.children, theirs.children, strict=True)):
        yield from _differences(our_child, their_child, stratum - 1, number << _BITS | child)
