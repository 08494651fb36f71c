"""Lists of unmerged leaves and parent hashes of a whole tree. RFC 9420 §7.9, §7.9.2, §12.4.3.1."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from treekem.kernels.compiled import kernel
from treekem.kernels.places import (
    HASH_LENGTH,
    HASH_START,
    LENGTH,
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
from treekem.kernels.tree_hashes import append_digest

SOUND: Final = 0
"""What `check_lists` says of lists that are in order, of members below, and repeated all the way down."""

UNSOUND: Final = 1
"""What it says of others."""


@kernel
def check_lists(tree: EncodedTree) -> int:
    """Say whether all lists of unmerged leaves are sound."""
    for x in range(1, tree.places.shape[1], 2):
        if not _is_sound(tree, x):
            return UNSOUND
    return SOUND


@kernel
def find_links(tree: EncodedTree, digest_length: int, sizes: Integers, links: Integers) -> int:
    """Find, for every parent, the nodes below it that may have been set with it; return how many in all.

    `links` has room for two columns per parent, and gets in its rows: the parent, the child on the other side from the
    node, that node, and how many unmerged leaves of the parent are below the child. `sizes` has room for one number
    per node. The lists of unmerged leaves must be sound.
    """
    _measure_resolutions(tree, sizes)
    n_links = 0
    for x in range(1, tree.places.shape[1], 2):
        if tree.places[LENGTH, x] == 0:
            continue
        half = 1 << (level_of(x) - 1)
        middle = first_not_below(tree, x, (x + 1) >> 1)
        for side in range(2):
            child, sibling = (x - half, x + half) if side == 0 else (x + half, x - half)
            first, last = (0, middle) if side == 0 else (middle, tree.places[N_UNMERGED, x])
            # As the lists are sound, one node of the resolution is left over when there is one more than listed.
            if sizes[child] != last - first + 1:
                continue
            found = _left_over(tree, sizes, x, child)
            if found >= 0 and tree.places[HASH_LENGTH, found] == digest_length:
                links[0, n_links] = x
                links[1, n_links] = sibling
                links[2, n_links] = found
                links[3, n_links] = tree.places[N_UNMERGED, x] - (last - first)
                n_links += 1
    return n_links


@kernel
def check_links(
    lanes: Lanes,
    tree: EncodedTree,
    links: Integers,
    originals: Octets,
    hashes: Octets,
    valid: NDArray[np.bool_],
) -> None:
    """Compute the parent hash of each link into `hashes`, and say in `valid` whether the node below claims it."""
    k = 0
    while k < links.shape[1]:
        used = 0
        while used < lanes.n_lanes and k < links.shape[1]:
            x = links[0, k]
            length = append(lanes, used, 0, tree.data, tree.places[START, x], tree.places[PREFIX, x])
            length = append_digest(lanes, used, length, originals, k)
            finish(lanes, used, length, k)
            used += 1
            k += 1
        flush(lanes, used, hashes)
    for link in range(links.shape[1]):
        start = tree.places[HASH_START, links[2, link]]
        equal = True
        for i in range(lanes.digest_length):
            equal = equal and tree.data[start + i] == hashes[link, i]
        valid[link] = equal


@kernel
def _is_sound(tree: EncodedTree, x: int) -> bool:
    span = (1 << level_of(x)) - 1
    before = -1
    for i in range(tree.places[N_UNMERGED, x]):
        leaf = unmerged_at(tree, x, i)
        below = x - span <= 2 * leaf <= x + span
        if leaf <= before or not below or tree.places[LENGTH, 2 * leaf] == 0 or not _is_repeated(tree, x, leaf):
            return False
        before = leaf
    return True


@kernel
def _is_repeated(tree: EncodedTree, x: int, leaf: int) -> bool:
    """Whether the next parent from `x` towards an unmerged leaf lists it too."""
    height = level_of(x)
    while height > 1:
        half = 1 << (height - 1)
        x = x + half if 2 * leaf > x else x - half
        height -= 1
        if tree.places[LENGTH, x] > 0:
            return lists(tree, x, leaf)
    return True


@kernel
def _measure_resolutions(tree: EncodedTree, sizes: Integers) -> None:
    """Compute the size of the resolution of every node. RFC 9420 §4.1.1."""
    for x in range(0, tree.places.shape[1], 2):
        sizes[x] = tree.places[LENGTH, x] > 0
    half = 1
    while 2 * half <= tree.places.shape[1]:
        for x in range(2 * half - 1, tree.places.shape[1], 4 * half):
            if tree.places[LENGTH, x] > 0:
                sizes[x] = 1 + tree.places[N_UNMERGED, x]
            else:
                sizes[x] = sizes[x - half] + sizes[x + half]
        half *= 2


@kernel
def _left_over(tree: EncodedTree, sizes: Integers, owner: int, child: int) -> int:
    """Return the one node of the child's resolution that `owner` does not list; -1 when there are several.

    A parent is never listed, so that it is the one, and those unmerged at it must be listed. The walk skips what is
    blank and goes no further than the resolution.
    """
    found, n_seen = -1, 0
    top = child + (1 << level_of(child)) - 1
    x = child
    while n_seen < sizes[child]:
        height = level_of(x)
        if tree.places[LENGTH, x] == 0 and sizes[x] > 0:
            x -= 1 << (height - 1)
            continue
        if sizes[x] > 0:
            listed = height == 0 and lists(tree, owner, x >> 1)
            if (not listed and found >= 0) or not _lists_all(tree, owner, x):
                return -1
            found = found if listed else x
            n_seen += sizes[x]
        # What follows the subtree of x to its right: the node whose left end comes next, and is as high as can be.
        following = x + (1 << height)
        if following > top:
            break
        x = _highest_beginning_at(following + 1, child)
    return found


@kernel
def _lists_all(tree: EncodedTree, owner: int, x: int) -> bool:
    """Whether `owner` lists every leaf that is unmerged at `x`."""
    n_listed = 0
    for i in range(tree.places[N_UNMERGED, x]):
        n_listed += lists(tree, owner, unmerged_at(tree, x, i))
    return bool(n_listed == tree.places[N_UNMERGED, x])


@kernel
def _highest_beginning_at(first: int, within: int) -> int:
    """Return the highest node at or below `within` whose leftmost leaf is node `first`."""
    height = 0
    limit = level_of(within)
    low = within - (1 << limit) + 1
    while height < limit and (first - low) & ((1 << (height + 2)) - 1) == 0:
        height += 1
    return first + (1 << height) - 1
