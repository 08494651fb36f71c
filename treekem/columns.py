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

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from treekem.blocks import (
    BITS,
    BLANK_ENTRY,
    FAN_OUT,
    SLOTS_OF_BLOCK,
    Block,
    ChangedNodes,
    Digests,
    DigestTable,
    ScannedNodes,
    lowest_bit,
    mask_of,
    node_at,
    place_of,
    positions_of,
)
from treekem.index import LeafIndex, NodeIndex, level, node_width, root
from treekem.leaf_node import LeafPart, leaf_parts
from treekem.nodes import Content, LeafSlot, ParentNode
from treekem.wire import encode_varint

if TYPE_CHECKING:
    from treekem.scanned import ScannedTree

_LEAVES: Final = mask_of(range(0, SLOTS_OF_BLOCK, 2))
_MIDDLE: Final = SLOTS_OF_BLOCK // 2
_ALL_SLOTS: Final = (1 << SLOTS_OF_BLOCK) - 1
_STRATA: Final = 6  # Enough for 2^35 leaves, and a leaf index is a uint32.


class NodeColumns:
    """The nodes of a tree with `n_leaves` leaves, a power of two; every edit returns a new value.

    Methods that take a node index expect one below `2 * n_leaves - 1`.
    """

    __slots__ = ("_origin", "_stratum", "_top", "n_leaves", "scanned")

    def __init__(
        self, n_leaves: int, top: Block, scanned: ScannedTree | None = None, origin: NodeColumns | None = None
    ) -> None:
        self.n_leaves = n_leaves
        self.scanned = scanned
        """The bytes in which the whole array came, until the first edit."""
        self._origin = origin
        self._top = top
        self._stratum = _topmost_stratum(n_leaves)

    @classmethod
    def of(cls, n_leaves: int, nodes: Mapping[NodeIndex, Content]) -> NodeColumns:
        """Return an array that holds `nodes` and is blank elsewhere."""
        return cls(n_leaves, _BLANK[_topmost_stratum(n_leaves)]).replaced(nodes)

    @classmethod
    def of_scanned(cls, scanned: ScannedTree) -> NodeColumns:
        """Return an array whose nodes stay in the bytes in which they came, and are made when somebody looks."""
        below: list[Block] = []
        for stratum in range(_topmost_stratum(scanned.n_leaves) + 1):
            blocks = []
            for number, present in enumerate(scanned.present_in_blocks(stratum)):
                children = tuple(below[number << BITS : (number + 1) << BITS]) if stratum else ()
                missing = len(_BLANK[stratum].children) - len(children)
                blocks.append(
                    Block.of(
                        ScannedNodes(scanned, stratum, number),
                        (*children, *_BLANK[stratum].children[:missing]),
                        present,
                    )
                )
            below = [block if block.present or block.occupied else _BLANK[stratum] for block in blocks]
        return cls(scanned.n_leaves, below[0], scanned)

    def node(self, x: NodeIndex) -> Content:
        """Return what place `x` holds."""
        stratum, number, slot = place_of(x)
        return self._block(stratum, number).nodes[slot]

    def items(self) -> Iterator[tuple[NodeIndex, LeafSlot | ParentNode]]:
        """Yield the nodes that are not blank, from left to right."""
        return _items(self._top, self._stratum, 0)

    def leaves(self) -> Iterator[tuple[NodeIndex, LeafSlot]]:
        """Yield the leaves that are not blank, from left to right; parents are not looked at."""
        places = _items(self._top, self._stratum, 0, among=_LEAVES)
        return ((x, node) for x, node in places if isinstance(node, LeafSlot))

    def encryption_keys(self) -> tuple[list[int], list[bytes]]:
        """Return the indices of the nodes that are not blank, from left to right, and the public key of each."""
        if self.scanned is not None:
            return self.scanned.encryption_keys()
        found = [(int(x), node.encryption_key) for x, node in self.items()]
        return [x for x, _ in found], [key for _, key in found]

    def encoded_leaves(self) -> tuple[list[int], list[bytes]]:
        """Return the indices of the leaves that are not blank, from left to right, and the encoding of each."""
        if self.scanned is not None:
            return self.scanned.leaves()
        found = [(int(x), slot.encoded) for x, slot in self.leaves()]
        return [x for x, _ in found], [encoded for _, encoded in found]

    def leaf_parts(self, part: LeafPart) -> tuple[list[int], list[bytes]]:
        """Return the indices of the leaves that are not blank, from left to right, and a part of each."""
        if self.scanned is not None:
            return self.scanned.leaf_parts(part)
        found, leaves = self.encoded_leaves()
        return found, [leaf_parts(encoded)[part] for encoded in leaves]

    @property
    def origin(self) -> NodeColumns:
        """The array that came in bytes, of which a look at all nodes is cheap, if this one was edited from such a one.

        What is known of the origin, and what changed since, make up what is to be known of this array.
        """
        return self if self._origin is None else self._origin

    @property
    def n_members(self) -> int:
        """The number of leaves that are not blank."""
        return self._top.n_members

    def is_subtree_blank(self, x: NodeIndex) -> bool:
        """Whether `x` and every node below it are blank."""
        stratum, number, slot = place_of(x)
        block = self._block(stratum, number)
        span = (1 << level(NodeIndex(slot))) - 1
        nodes = ((1 << (2 * span + 1)) - 1) << (slot - span)
        children = ((1 << (2 * span + 2)) - 1) << (slot - span)
        return not block.present & nodes and not block.occupied & children

    def leaves_without_parents(self, x: NodeIndex) -> tuple[NodeIndex, ...] | None:
        """Return the leaves below `x` that are not blank, by a look at a mask; None if any parent there is not blank.

        It is None, too, for nodes so high that several blocks lie below.
        """
        stratum, number, slot = place_of(x)
        if stratum:
            return None
        span = (1 << level(NodeIndex(slot))) - 1
        present = self._block(0, number).present & ((1 << (2 * span + 1)) - 1) << (slot - span)
        if present & ~_LEAVES:
            return None
        return tuple([NodeIndex(number << BITS | each) for each in positions_of(present)])

    def first_blank_leaf(self) -> LeafIndex | None:
        """Return the leftmost blank leaf, or `None` when every leaf has a member."""
        block, number = self._top, 0
        for _ in range(self._stratum):
            if not block.roomy:
                return None
            child = lowest_bit(block.roomy)
            block, number = block.children[child], number << BITS | child
        if not block.roomy:
            return None
        leaf = LeafIndex((number << BITS | lowest_bit(block.roomy)) >> 1)
        return leaf if leaf < self.n_leaves else None

    def blank_leaves(self) -> Iterator[LeafIndex]:
        """Yield the blank leaves, from left to right."""
        found = _blank_leaves(self._top, self._stratum, 0)
        return takewhile(lambda leaf: leaf < self.n_leaves, found)

    def last_member(self) -> LeafIndex | None:
        """Return the rightmost leaf that is not blank, or `None` when all are."""
        block, number = self._top, 0
        if not block.leafy:
            return None
        for _ in range(self._stratum):
            child = block.leafy.bit_length() - 1
            block, number = block.children[child], number << BITS | child
        return LeafIndex((number << BITS | (block.leafy.bit_length() - 1)) >> 1)

    def replaced(self, changes: Mapping[NodeIndex, Content]) -> NodeColumns:
        """Return an array that differs at the places of `changes`, and forgets the hashes that depend on them."""
        placed = [(*place_of(x), content) for x, content in changes.items()]
        return NodeColumns(self.n_leaves, _edited(self._top, self._stratum, placed), origin=self._scanned_origin())

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
        return NodeColumns(n_leaves, top, origin=self._scanned_origin())

    def known_digest(self, x: NodeIndex, hash_name: str) -> bytes | None:
        """Return the tree hash of node `x` if it was remembered."""
        block, slot, blank_child = self._digest_place(x)
        digests = block.digests.get(hash_name)
        if digests is None:
            return None
        return digests.of_slot(slot) if blank_child is None else digests.by_blank_child.get(blank_child)

    def unhashed_block(self, x: NodeIndex, hash_name: str) -> Sequence[Content] | None:
        """Return the nodes of the lowest block at whose top `x` stands, if none of their hashes is known; else None."""
        _, number, _ = place_of(x)
        block = self._block(0, number)
        digests = block.digests.get(hash_name)
        is_known = digests is not None and (digests.by_slot or digests.table is not None)
        return None if is_known else [block.nodes[slot] for slot in range(SLOTS_OF_BLOCK)]

    def remember_digest(self, x: NodeIndex, hash_name: str, digest: bytes) -> None:
        """Remember the tree hash of node `x`; inside a blank block only that of its top node is kept."""
        block, slot, blank_child = self._digest_place(x)
        if blank_child is not None:
            block.digests_for(hash_name).by_blank_child[blank_child] = digest
        elif block is not _BLANK[place_of(x)[0]]:
            block.digests_for(hash_name).remember(slot, digest)

    def remember_digests_at(self, hash_name: str, digests: Mapping[NodeIndex, bytes]) -> None:
        """Remember the tree hashes of some nodes, of which a few blocks hold many."""
        held: dict[tuple[int, int], Digests] = {}
        for x, digest in digests.items():
            stratum, number, slot = place_of(x)
            if (stratum, number) not in held:
                held[stratum, number] = self._block(stratum, number).digests_for(hash_name)
            held[stratum, number].remember(slot, digest)

    def remember_digests(self, hash_name: str, digest_length: int, table: memoryview) -> None:
        """Remember the tree hashes of all nodes, which stand in `table` one after another and are not copied."""
        blocks = [(self._top, self._stratum, 0)]
        while blocks:
            block, stratum, number = blocks.pop()
            if block is _BLANK[stratum]:
                continue
            digests = block.digests_for(hash_name)
            digests.table = DigestTable(table, digest_length, stratum, number)
            for child, below in enumerate(block.children):
                middle = node_at(stratum - 1, number << BITS | child, _MIDDLE)
                if below is not _BLANK[stratum - 1]:
                    blocks.append((below, stratum - 1, number << BITS | child))
                elif middle < node_width(self.n_leaves):
                    place = middle * digest_length
                    digests.by_blank_child[child] = bytes(table[place : place + digest_length])

    def digest_table(self, hash_name: str) -> memoryview | None:
        """Return the table that was given to `remember_digests`, until the first edit."""
        digests = self._top.digests.get(hash_name)
        return None if self.scanned is None or digests is None or digests.table is None else digests.table.table

    def records(self) -> Iterator[tuple[NodeIndex, bytes]]:
        """Yield the blocks that hold a node: the index of the first place, and the contents of the 63, encoded."""
        for number, encoded in self.changed_records(NodeColumns(1, _BLANK[0])):
            if encoded is not None:
                yield number, encoded

    def encoded(self) -> bytes:
        """Return the ratchet_tree vector of an array that is not blank; what came in bytes is cut out of them.

        RFC 9420 §12.4.3.3.
        """
        parts: list[bytes] = []
        _collect_entries(self._top, self._stratum, 0, _last_node(self._top, self._stratum, 0) + 1, parts)
        return b"".join([encode_varint(sum(map(len, parts))), *parts])

    def changed_records(self, old: NodeColumns) -> Iterator[tuple[NodeIndex, bytes | None]]:
        """Yield the blocks that `old` does not share, as `records` does; `None` for a block that is blank now."""
        for stratum, number, ours, theirs in self._differences(old):
            if ours.present or theirs.present:
                yield node_at(stratum, number, 0), ours.encoded() if ours.present else None

    def changes_since(self, old: NodeColumns) -> Iterator[tuple[NodeIndex, Content, Content]]:
        """Yield the places whose content may differ from that in `old`: the index, what was there, and what is now.

        Blocks that both share are passed over, so that this costs what the edits between the two did.
        """
        for stratum, number, ours, theirs in self._differences(old):
            for slot in positions_of(_changed_slots(ours, theirs)):
                before, now = theirs.nodes[slot], ours.nodes[slot]
                if before is not now:
                    yield node_at(stratum, number, slot), before, now

    def _differences(self, old: NodeColumns) -> Iterator[_Difference]:
        ours, theirs, stratum = self._top, old._top, self._stratum
        for missing in range(stratum + 1, old._stratum + 1):
            ours = _block_above(ours, missing)
        for missing in range(old._stratum + 1, stratum + 1):
            theirs = _block_above(theirs, missing)
        return _differences(ours, theirs, max(stratum, old._stratum), 0)

    def _scanned_origin(self) -> NodeColumns | None:
        return self if self.scanned is not None else self._origin

    def _block(self, stratum: int, number: int) -> Block:
        block = self._top
        for shift in range(BITS * (self._stratum - stratum - 1), -1, -BITS):
            block = block.children[number >> shift & SLOTS_OF_BLOCK]
        return block

    def _digest_place(self, x: NodeIndex) -> tuple[Block, int, int | None]:
        """Return the block and slot of `x`; for the top of a blank block, its parent block and its number there too."""
        stratum, number, slot = place_of(x)
        block = self._block(stratum, number)
        if slot == _MIDDLE and stratum < self._stratum and block is _BLANK[stratum]:
            above = self._block(stratum + 1, number >> BITS)
            if above is not _BLANK[stratum + 1]:
                return above, slot, number & SLOTS_OF_BLOCK
        return block, slot, None


def place_in_block(number: NodeIndex, slot: int) -> NodeIndex:
    """Return the node index of a slot of the block whose first place is `number`."""
    stratum, block, _ = place_of(number)
    return node_at(stratum, block, slot)


def is_block(number: int, n_leaves: int) -> bool:
    """Whether a block of a tree of `n_leaves` leaves can begin with the place `number`."""
    return 0 <= number < node_width(n_leaves) and place_of(NodeIndex(number))[2] == 0


def _blank_blocks() -> tuple[Block, ...]:
    blocks = [Block.of((None,) * SLOTS_OF_BLOCK, (), present=0)]
    for _ in range(1, _STRATA):
        blocks.append(Block.of((None,) * SLOTS_OF_BLOCK, (blocks[-1],) * FAN_OUT, present=0))
    return tuple(blocks)


def _slots_from(slot: int) -> int:
    """Return the bits of a slot and of the slots above it in its block."""
    height = level(NodeIndex(slot))
    above = (slot >> (h + 1) << (h + 1) | ((1 << h) - 1) for h in range(height, BITS))
    return sum(1 << other for other in above)


_BLANK: Final = _blank_blocks()
"""The one block per stratum that stands for every subtree without nodes."""

_STALE: Final = tuple(_slots_from(slot) for slot in range(SLOTS_OF_BLOCK))


def _block_above(block: Block, stratum: int) -> Block:
    """Return a block of `stratum` that holds nothing but `block`, as its first child."""
    return _BLANK[stratum].edited({}, {0: block}, stale=0)


def _topmost_stratum(n_leaves: int) -> int:
    return level(root(n_leaves)) // BITS


_Placed = tuple[int, int, int, Content]


def _edited(block: Block, stratum: int, changes: list[_Placed]) -> Block:
    """Return `block` with the changes that lie in it and below it."""
    contents: dict[int, Content] = {}
    placed_below: dict[int, list[_Placed]] = {}
    for change in changes:
        its_stratum, number, slot, content = change
        if its_stratum == stratum:
            contents[slot] = content
        else:
            number >>= BITS * (stratum - its_stratum - 1)
            placed_below.setdefault(number & SLOTS_OF_BLOCK, []).append(change)

    below = {each: _edited(block.children[each], stratum - 1, placed) for each, placed in placed_below.items()}
    stale = 0
    for slot in contents:
        stale |= _STALE[slot]
    for number in below:
        stale |= _STALE[number & ~1]
    edited = block.edited(contents, below, stale)
    return edited if edited.present or edited.occupied else _BLANK[stratum]


def _cropped(top: Block, stratum: int, n_leaves: int) -> Block:
    """Return the topmost block with nothing beyond the last place of a tree of `n_leaves` leaves."""
    n_slots, blank = node_width(n_leaves) >> BITS * stratum, _BLANK[stratum]
    beyond = _ALL_SLOTS >> n_slots << n_slots
    below = {} if stratum == 0 else dict.fromkeys(range(n_slots + 1, FAN_OUT), blank.children[0])
    # The hashes of the subtrees that stay do not change, and those of the others are unknown from now on.
    return top.edited(dict.fromkeys(positions_of(top.present & beyond)), below, beyond)


def _items(
    block: Block, stratum: int, number: int, among: int = -1
) -> Iterator[tuple[NodeIndex, LeafSlot | ParentNode]]:
    """Yield what a block and those below hold; `among` has a bit for each place to look at in the lowest stratum."""
    present = block.present & (0 if stratum and among >= 0 else among)
    for slot in positions_of(present | block.occupied):
        if block.occupied >> slot & 1:
            yield from _items(block.children[slot], stratum - 1, number << BITS | slot, among)
        if present >> slot & 1:
            node = block.nodes[slot]
            if node is not None:
                yield node_at(stratum, number, slot), node


def _blank_leaves(block: Block, stratum: int, number: int) -> Iterator[LeafIndex]:
    for position in positions_of(block.roomy):
        place = number << BITS | position
        if stratum:
            yield from _blank_leaves(block.children[position], stratum - 1, place)
        else:
            yield LeafIndex(place >> 1)


def _collect_entries(block: Block, stratum: int, number: int, width: int, parts: list[bytes]) -> None:
    """Add what a block and those below hold, as entries of a ratchet_tree vector, up to the place `width`."""
    first = (number << BITS) * FAN_OUT**stratum
    if not block.present and not block.occupied:
        parts.append(BLANK_ENTRY * (min(first + FAN_OUT ** (stratum + 1) - 1, width) - first))
        return
    entries = block.encoded_entries()
    if not stratum:
        parts.append(b"".join(entries[: width - first]))
        return
    for slot, child in enumerate(block.children):
        if first + slot * FAN_OUT**stratum >= width:
            break
        _collect_entries(child, stratum - 1, number << BITS | slot, width, parts)
        if slot < SLOTS_OF_BLOCK and node_at(stratum, number, slot) < width:
            parts.append(entries[slot])


def _last_node(block: Block, stratum: int, number: int) -> NodeIndex:
    """Return the last place of a block, or of those below, that is not blank; there is one."""
    slot, child = block.present.bit_length() - 1, block.occupied.bit_length() - 1
    if child > slot:
        return _last_node(block.children[child], stratum - 1, number << BITS | child)
    return node_at(stratum, number, slot)


_Difference = tuple[int, int, Block, Block]
"""Two blocks with other nodes at the same place: its stratum, its number there, the block as it is and as it was."""


def _differences(ours: Block, theirs: Block, stratum: int, number: int) -> Iterator[_Difference]:
    if ours is theirs:
        return
    if ours.nodes is not theirs.nodes:
        yield stratum, number, ours, theirs
    if ours.children is theirs.children:
        return
    for child, (our_child, their_child) in enumerate(zip(ours.children, theirs.children, strict=True)):
        if our_child is not their_child:
            yield from _differences(our_child, their_child, stratum - 1, number << BITS | child)


def _changed_slots(ours: Block, theirs: Block) -> int:
    """Return the bits of the places that can differ; of two that share what stays in bytes, those that were edited."""
    scanned = [each.nodes.scanned if isinstance(each.nodes, ChangedNodes) else each.nodes for each in (ours, theirs)]
    if scanned[0] is not scanned[1]:
        return ours.present | theirs.present
    changes = (each.nodes.changes for each in (ours, theirs) if isinstance(each.nodes, ChangedNodes))
    return mask_of(slot for each in changes for slot in each)
