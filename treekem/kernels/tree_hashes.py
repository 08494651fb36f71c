"""Tree hashes of many nodes, from the bytes of a tree as they were sent. RFC 9420 §7.8, §7.9."""

from __future__ import annotations

from typing import Final

from treekem.kernels.compiled import kernel
from treekem.kernels.places import (
    LENGTH,
    LIST_START,
    N_UNMERGED,
    PREFIX,
    START,
    EncodedTree,
    first_not_below,
    level_of,
    lists,
    unmerged_at,
)
from treekem.kernels.sha2 import Integers, Lanes, Octets, append, finish, flush

_LEAF: Final = 1
_PARENT: Final = 2
_LONG_DIGEST: Final = 64  # It takes a header of two bytes.


@kernel
def hash_nodes(lanes: Lanes, tree: EncodedTree, order: Integers, base: int, digests: Octets) -> None:
    """Compute the tree hashes of the nodes `base + order[i]` into the rows of `digests`, which has one per node.

    The lower of the nodes come first; the hashes of children that are not among them are in `digests` already.
    """
    i = 0
    while i < len(order):
        height = level_of(base + order[i])
        used = 0
        while used < lanes.n_lanes and i < len(order) and level_of(base + order[i]) == height:
            x = base + order[i]
            if height == 0:
                length = _write_leaf(lanes, used, tree, x, tree.places[START, x], tree.places[LENGTH, x])
            else:
                half = 1 << (height - 1)
                lanes.messages[used, 0] = _PARENT
                lanes.messages[used, 1] = tree.places[LENGTH, x] > 0
                length = append(lanes, used, 2, tree.data, tree.places[START, x], tree.places[LENGTH, x])
                length = append_digest(lanes, used, length, digests, x - half)
                length = append_digest(lanes, used, length, digests, x + half)
            finish(lanes, used, length, x)
            used += 1
            i += 1
        flush(lanes, used, digests)


@kernel
def hash_originals(
    lanes: Lanes,
    tree: EncodedTree,
    digests: Octets,
    links: Integers,
    tasks: Integers,
    rows: Octets,
    originals: Octets,
) -> None:
    """Compute, for column `k` of `links`, the tree hash of a node before another's unmerged leaves were added.

    `links` names in its rows the parent with the unmerged leaves, and the child whose original hash goes into
    `originals[k]`. What must be hashed anew are the leaves that were blank then and all nodes above them; level by
    level, for all links at once, these stand in `tasks` (link, node) with their hashes in `rows`. Both have room for
    every unmerged leaf of every link, and are of use to nobody afterwards.
    """
    n_tasks = _find_blank_leaves(tree, digests, links, tasks, originals)
    height = 0
    while n_tasks > 0:
        n_tasks = _hash_level(lanes, tree, digests, links, n_tasks, height, tasks, rows)
        n_tasks = _settle(links, n_tasks, tasks, rows, originals)
        height += 1


@kernel
def append_digest(lanes: Lanes, lane: int, length: int, digests: Octets, row: int) -> int:
    """Append a row of `digests` with its length header; return the new length of the message."""
    if lanes.digest_length < _LONG_DIGEST:
        lanes.messages[lane, length] = lanes.digest_length
        length += 1
    else:
        lanes.messages[lane, length] = 0x40
        lanes.messages[lane, length + 1] = lanes.digest_length
        length += 2
    start = row * digests.shape[1]
    return append(lanes, lane, length, digests, start, lanes.digest_length)


@kernel
def _write_leaf(lanes: Lanes, lane: int, tree: EncodedTree, x: int, start: int, length: int) -> int:
    lanes.messages[lane, 0] = _LEAF
    _write_uint32(lanes, lane, 1, x >> 1)
    lanes.messages[lane, 5] = length > 0
    return append(lanes, lane, 6, tree.data, start, length)


@kernel
def _write_uint32(lanes: Lanes, lane: int, place: int, number: int) -> None:
    for i in range(4):
        lanes.messages[lane, place + i] = number >> (24 - 8 * i) & 0xFF


@kernel
def _find_blank_leaves(tree: EncodedTree, digests: Octets, links: Integers, tasks: Integers, originals: Octets) -> int:
    """Make a task of every leaf to be blanked; a link without any is settled at once. Return the number of tasks."""
    n_tasks = 0
    for k in range(links.shape[1]):
        owner, top = links[0, k], links[1, k]
        span = (1 << level_of(top)) - 1
        first = first_not_below(tree, owner, (top - span) >> 1)
        last = first_not_below(tree, owner, ((top + span) >> 1) + 1)
        for i in range(first, last):
            tasks[0, n_tasks] = k
            tasks[1, n_tasks] = 2 * unmerged_at(tree, owner, i)
            n_tasks += 1
        if first == last:
            _copy_row(digests, top, originals, k)
    return n_tasks


@kernel
def _hash_level(
    lanes: Lanes,
    tree: EncodedTree,
    digests: Octets,
    links: Integers,
    n_tasks: int,
    height: int,
    tasks: Integers,
    rows: Octets,
) -> int:
    """Hash the leaves that are tasks, or replace tasks by their parents, of this height; return how many there are now.

    A message is complete before the row of its children can be overwritten, as there are no more parents than children.
    """
    i, n_done = 0, 0
    while i < n_tasks:
        used = 0
        while used < lanes.n_lanes and i < n_tasks:
            k, x = tasks[0, i], tasks[1, i]
            if height == 0:
                length = _write_leaf(lanes, used, tree, x, 0, 0)
            else:
                bit = 1 << (height - 1)
                below = x
                x = (x | bit) & ~(bit << 1)
                length = _write_original(lanes, used, tree, x, links[0, k])
                is_left, is_pair = below < x, i + 1 < n_tasks and tasks[0, i + 1] == k and tasks[1, i + 1] == x + bit
                length = _append_one_of(lanes, used, length, rows, i, digests, x - bit, is_left)
                i += is_pair
                length = _append_one_of(lanes, used, length, rows, i, digests, x + bit, is_pair or not is_left)
            finish(lanes, used, length, n_done)
            tasks[0, n_done] = k
            tasks[1, n_done] = x
            n_done += 1
            used += 1
            i += 1
        flush(lanes, used, rows)
    return n_done


@kernel
def _append_one_of(
    lanes: Lanes, lane: int, length: int, rows: Octets, i: int, digests: Octets, x: int, is_anew: bool
) -> int:
    """Append row `i` of `rows`, the hash of `x` made anew, or the one of `digests`."""
    if is_anew:
        return append_digest(lanes, lane, length, rows, i)
    return append_digest(lanes, lane, length, digests, x)


@kernel
def _settle(links: Integers, n_tasks: int, tasks: Integers, rows: Octets, originals: Octets) -> int:
    """Hand out the hashes that have reached the top of their link; return the number of tasks that are left."""
    kept = 0
    for i in range(n_tasks):
        k = tasks[0, i]
        if tasks[1, i] == links[1, k]:
            _copy_row(rows, i, originals, k)
            continue
        tasks[0, kept] = k
        tasks[1, kept] = tasks[1, i]
        _copy_row(rows, i, rows, kept)
        kept += 1
    return kept


@kernel
def _write_original(lanes: Lanes, lane: int, tree: EncodedTree, x: int, owner: int) -> int:
    """Begin the hash input of parent `x` without the leaves that `owner` lists; return its length so far."""
    lanes.messages[lane, 0] = _PARENT
    lanes.messages[lane, 1] = tree.places[LENGTH, x] > 0
    if tree.places[LENGTH, x] == 0:
        return 2
    n_kept = 0
    for i in range(tree.places[N_UNMERGED, x]):
        n_kept += not lists(tree, owner, unmerged_at(tree, x, i))
    length = append(lanes, lane, 2, tree.data, tree.places[START, x], tree.places[PREFIX, x])
    length = _append_length(lanes, lane, length, 4 * n_kept)
    for i in range(tree.places[N_UNMERGED, x]):
        if not lists(tree, owner, unmerged_at(tree, x, i)):
            length = append(lanes, lane, length, tree.data, tree.places[LIST_START, x] + 4 * i, 4)
    return length


@kernel
def _append_length(lanes: Lanes, lane: int, length: int, n: int) -> int:
    """Append a length header."""
    if n < 1 << 6:
        lanes.messages[lane, length] = n
        return length + 1
    if n < 1 << 14:
        lanes.messages[lane, length] = 0x40 | n >> 8
        lanes.messages[lane, length + 1] = n & 0xFF
        return length + 2
    _write_uint32(lanes, lane, length, 0x8000_0000 | n)
    return length + 4


@kernel
def _copy_row(source: Octets, source_row: int, to: Octets, row: int) -> None:
    for i in range(source.shape[1]):
        to[row, i] = source[source_row, i]
