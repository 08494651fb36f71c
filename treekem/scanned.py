"""A whole tree in the bytes in which it came, with the place of every node: what the kernels work on.

Loads numpy and numba, and is imported on first use. RFC 9420 §7.8, §7.9, §12.4.3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from treekem.blocks import SLOTS_OF_BLOCK
from treekem.index import NodeIndex, is_leaf, node_width
from treekem.kernels import parent_hashes, places, scan, tree_hashes
from treekem.kernels.places import EncodedTree
from treekem.kernels.sha2 import Integers, Octets, lanes_for
from treekem.leaf_node import LeafPart
from treekem.nodes import Content, LeafSlot, ParentNode
from treekem.wire import decode

_ROOM_AROUND_NODE: Final = 160  # The octets of a hash input beside its node: at most two digests with their headers.
_HEIGHT_OF_PIECE: Final = 10  # A piece of 1024 leaves stays in a core's own cache.
_PIECES_IN_A_TURN: Final = 16
_TASKS_AT_ONCE: Final = 1 << 16
_FEW_ENTRIES: Final = 1 << 16
_LEAST_BYTES_PER_ENTRY: Final = 16
_LARGEST: Final = 2**31 - 1  # Places are int32.

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class ScannedTree:
    """A tree of `n_leaves` leaves: `places` has a column per node (see `kernels.places`) with offsets into `data`."""

    data: bytes
    n_leaves: int
    places: Integers

    @classmethod
    def of(cls, data: bytes, start: int, max_entries: int | None = None) -> ScannedTree | None:
        """Return the tree of a ratchet_tree vector whose entries begin at `start`; None if the decoder must look at it.

        That is so for whatever it refuses: what is wrong is for it to say. It also takes trees that are little but
        blanks, as places are kept for every node, and a sender gets a blank one for a byte. RFC 9420 §12.4.3.3.
        """
        octets = np.frombuffer(data, np.uint8)
        limit = len(data) if max_entries is None else min(max_entries, len(data))
        n_entries = scan.scan(octets, start, np.zeros((places.N_FIELDS, 0), np.int32), limit)
        if n_entries == scan.REFUSED or n_entries > max(_FEW_ENTRIES, len(data) // _LEAST_BYTES_PER_ENTRY):
            return None
        n_leaves = 1 << (n_entries // 2).bit_length()
        found = np.zeros((places.N_FIELDS, node_width(n_leaves)), np.int32)
        scan.scan(octets, start, found, limit)
        return cls(data, n_leaves, found)

    @classmethod
    def of_pieces(cls, n_leaves: int, data: bytes, pieces: Sequence[tuple[int, int, int, int]]) -> ScannedTree | None:
        """Return the tree of `n_leaves` leaves whose pieces stand in `data`; None as for `of`.

        Of each piece it is given where its entries start and stop, the node of the first, and the step to the next.
        """
        width = node_width(n_leaves)
        if len(data) > _LARGEST or width > max(_FEW_ENTRIES, len(data) // _LEAST_BYTES_PER_ENTRY):
            return None
        columns = np.ascontiguousarray(np.array(pieces, np.int32).reshape(-1, 4).T)
        found = np.zeros((places.N_FIELDS, width), np.int32)
        n_entries = scan.scan_pieces(np.frombuffer(data, np.uint8), columns, found, SLOTS_OF_BLOCK)
        return None if n_entries == scan.REFUSED else cls(data, n_leaves, found)

    def content(self, x: NodeIndex) -> Content:
        """Return what node `x` holds, made anew; nothing beyond the edge, where a tree may have grown since."""
        if x >= self.places.shape[1]:
            return None
        field = self.places[:, x].tolist()
        start, length = field[places.START], field[places.LENGTH]
        if length == 0:
            return None
        if not is_leaf(x):
            return decode(ParentNode, self.data[start : start + length])
        key, claimed = field[places.KEY_START], field[places.HASH_START]
        return LeafSlot(
            self.data[start : start + length],
            self.data[key : key + field[places.KEY_LENGTH]],
            None if field[places.HASH_LENGTH] < 0 else self.data[claimed : claimed + field[places.HASH_LENGTH]],
        )

    def entries(self, first: NodeIndex, step: int, count: int) -> list[bytes]:
        """Return how `count` nodes are encoded in a ratchet_tree vector: that of `first`, and others by steps.

        They are cut out of the bytes in which they came. What lies beyond the edge is blank. RFC 9420 §12.4.3.3.
        """
        starts, lengths = self.places[: places.LENGTH + 1, first : first + count * step : step].tolist()
        data = self.data
        # An entry that is not blank begins with the octets of its presence and its type.
        found = [
            data[start - 2 : start + length] if length else b"\0" for start, length in zip(starts, lengths, strict=True)
        ]
        return found + [b"\0"] * (count - len(found))

    def encryption_keys(self) -> tuple[list[int], list[bytes]]:
        """Return the indices of the nodes that are not blank, from left to right, and the public key of each."""
        present = np.flatnonzero(self.places[places.LENGTH] > 0)
        starts = self.places[places.KEY_START][present]
        return present.tolist(), self._slices(starts, starts + self.places[places.KEY_LENGTH][present])

    def leaf_parts(self, part: LeafPart) -> tuple[list[int], list[bytes]]:
        """Return the indices of the leaves that are not blank, from left to right, and a part of each."""
        present = 2 * np.flatnonzero(self.places[places.LENGTH, ::2] > 0)
        cuts = np.zeros((4, len(present)), np.int32)
        scan.cut_leaves(np.frombuffer(self.data, np.uint8), self.places[places.START][present], cuts)
        match part:
            case LeafPart.SIGNATURE_KEY:
                starts, stops = cuts[0], cuts[1]
            case LeafPart.CREDENTIAL_TYPE:
                starts, stops = cuts[1], cuts[1] + 2
            case LeafPart.CREDENTIAL:
                starts, stops = cuts[1], cuts[2]
            case LeafPart.CAPABILITIES:
                starts, stops = cuts[2], cuts[3]
            case _:
                assert_never(part)
        return present.tolist(), self._slices(starts, stops)

    def leaves(self) -> tuple[list[int], list[bytes]]:
        """Return the indices of the leaves that are not blank, from left to right, and the encoding of each."""
        present = 2 * np.flatnonzero(self.places[places.LENGTH, ::2] > 0)
        starts = self.places[places.START][present]
        return present.tolist(), self._slices(starts, starts + self.places[places.LENGTH][present])

    def present_in_blocks(self, stratum: int) -> list[int]:
        """Return a mask per block of a stratum of `treekem.columns`, with a bit for each node that is not blank."""
        step = 64**stratum
        present = self.places[places.LENGTH, step - 1 :: step] > 0
        padded = np.zeros((-(-len(present) // 64), 64), np.bool_)
        padded.reshape(-1)[: len(present)] = present
        padded[:, -1] = False
        return np.packbits(padded, axis=1, bitorder="little").view("<u8").ravel().tolist()

    def tree_hashes(self, hash_name: str, executor: Executor | None = None) -> Octets:
        """Return the tree hashes of all nodes, one per row; pieces are spread over the threads of an executor.

        RFC 9420 §7.8.
        """
        digests = np.zeros((node_width(self.n_leaves), lanes_for(hash_name, 0).digest_length), np.uint8)
        height = min(_HEIGHT_OF_PIECE, self.n_leaves.bit_length() - 1)
        longest, tree = self._longest(), self._encoded()

        def hash_nodes(order: Integers, bases: Iterable[int]) -> None:
            lanes = lanes_for(hash_name, longest)
            for base in bases:
                tree_hashes.hash_nodes(lanes, tree, order, base, digests)

        bases = range(0, node_width(self.n_leaves), 2 << height)
        turns = [bases[first : first + _PIECES_IN_A_TURN] for first in range(0, len(bases), _PIECES_IN_A_TURN)]
        _spread(executor, partial(hash_nodes, _from_below(height)), turns)
        hash_nodes(_from_below(self.n_leaves.bit_length() - 1, above=height), [0])
        return digests

    def has_sound_lists(self) -> bool:
        """Whether lists of unmerged leaves are in order, of members below, and repeated down. RFC 9420 §12.4.3.1."""
        return parent_hashes.check_lists(self._encoded()) == parent_hashes.SOUND

    def unlinked_parents(
        self, hash_name: str, table: memoryview, executor: Executor | None = None
    ) -> Iterator[tuple[NodeIndex, int]]:
        """Yield the parents that have not just one descendant with a valid parent hash, and how many they have.

        `table` holds all tree hashes. The lists of unmerged leaves must be sound. RFC 9420 §7.9.2.
        """
        digests = np.frombuffer(table, np.uint8).reshape(node_width(self.n_leaves), -1)
        is_parent = self.places[places.LENGTH] > 0
        is_parent[::2] = False
        links = np.zeros((4, 2 * int(is_parent.sum())), np.int32)
        sizes = np.zeros(len(is_parent), np.int32)
        n_links = parent_hashes.find_links(self._encoded(), digests.shape[1], sizes, links)
        n_valid = np.zeros(len(is_parent), np.int32)
        counts = _spread(
            executor,
            lambda piece: self._valid_links(hash_name, digests, links[:, piece.start : piece.stop]),
            _pieces_of(links[3, :n_links]),
        )
        for owners, valid in counts:
            np.add.at(n_valid, owners, valid)
        wrong = np.flatnonzero(is_parent & (n_valid != 1))
        return ((NodeIndex(int(x)), int(n_valid[x])) for x in wrong)

    def _valid_links(self, hash_name: str, digests: Octets, piece: Integers) -> tuple[Integers, NDArray[np.bool_]]:
        links = np.ascontiguousarray(piece)
        n_links, n_tasks = links.shape[1], int(links[3].sum())
        lanes = lanes_for(hash_name, self._longest())
        rows, originals, hashes = (np.zeros((n, digests.shape[1]), np.uint8) for n in (n_tasks, n_links, n_links))
        tasks = np.zeros((2, n_tasks), np.int32)
        tree = self._encoded()
        tree_hashes.hash_originals(lanes, tree, digests, links, tasks, rows, originals)
        valid = np.zeros(n_links, np.bool_)
        parent_hashes.check_links(lanes, tree, links, originals, hashes, valid)
        return links[0], valid

    def _slices(self, starts: Integers, stops: Integers) -> list[bytes]:
        data = self.data
        return [data[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]

    def _encoded(self) -> EncodedTree:
        return EncodedTree(np.frombuffer(self.data, np.uint8), self.places)

    def _longest(self) -> int:
        return int(self.places[places.LENGTH].max()) + _ROOM_AROUND_NODE


def _from_below(height: int, above: int = -1) -> Integers:
    """Return the nodes of a perfect tree of a height that are higher than `above`, the lower ones first."""
    rows = (range((1 << h) - 1, (2 << height) - 1, 2 << h) for h in range(above + 1, height + 1))
    return np.concatenate([np.zeros(0, np.int32), *(np.array(row, np.int32) for row in rows)])


def _pieces_of(weights: Integers) -> list[range]:
    """Cut a row of links so that each piece has some, and not many more tasks than are taken at once."""
    if not len(weights):
        return []
    numbers = (np.cumsum(weights.astype(np.int64) + 1) - 1) // _TASKS_AT_ONCE
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(weights)]
    return [range(start, stop) for start, stop in pairwise(cuts)]


def _spread(executor: Executor | None, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    return list(map(work, items) if executor is None else executor.map(work, items))
