"""Reading a ratchet_tree vector into places, without an object per node. RFC 9420 §7.1, §7.2, §12.4.3.3."""

from __future__ import annotations

from typing import Final

from treekem.kernels.compiled import kernel
from treekem.kernels.places import (
    HASH_LENGTH,
    HASH_START,
    KEY_LENGTH,
    KEY_START,
    LENGTH,
    LIST_START,
    N_UNMERGED,
    PREFIX,
    START,
)
from treekem.kernels.sha2 import Integers, Octets

REFUSED: Final = -1
"""What `scan` says of a vector that the decoder has to look at, to say what is wrong with it."""

_BASIC: Final = 1
_X509: Final = 2
_PUBLISHED: Final = 1
_UPDATED: Final = 2
_COMMITTED: Final = 3
_LIFETIME: Final = 16
_N_CAPABILITIES: Final = 5
_LONGEST_HEADER: Final = 4


@kernel
def scan(data: Octets, start: int, places: Integers, max_entries: int) -> int:
    """Read the entries from `start` to the end of `data`; return their number, or REFUSED.

    `places`, zero throughout, gets a column per entry; with no columns, entries are checked and counted alone.
    """
    return _scan_entries(data, start, len(data), places, 0, 1, max_entries)


@kernel
def scan_pieces(data: Octets, pieces: Integers, places: Integers, max_entries: int) -> int:
    """Read pieces of a tree that stand one after another; return the number of their entries, or REFUSED.

    `pieces` has a column for each: where its entries start and stop, the node of its first entry, and the step from
    there to the node of the next one. No piece has more than `max_entries` entries, nor one beyond the last column of
    `places`.
    """
    n_entries = 0
    for piece in range(pieces.shape[1]):
        start, stop, first, step = pieces[0, piece], pieces[1, piece], pieces[2, piece], pieces[3, piece]
        found = _scan_entries(data, start, stop, places, first, step, max_entries)
        if found == REFUSED or first + (found - 1) * step >= places.shape[1]:
            return REFUSED
        n_entries += found
    return n_entries


@kernel
def _scan_entries(data: Octets, start: int, end: int, places: Integers, first: int, step: int, max_entries: int) -> int:
    n_entries, ends_in_blank = 0, True
    while start < end:
        if n_entries >= max_entries:
            return REFUSED
        x = first + n_entries * step
        ends_in_blank = data[start] == 0
        if ends_in_blank:
            start += 1
        elif data[start] != 1 or start + 1 >= end or data[start + 1] != 1 + (x & 1):
            return REFUSED
        else:
            begin = start + 2
            start = _scan_leaf(data, begin, end, places, x) if x & 1 == 0 else _scan_parent(data, begin, end, places, x)
            if start < 0:
                return REFUSED
            _record(places, x, START, begin)
            _record(places, x, LENGTH, start - begin)
        n_entries += 1
    return REFUSED if ends_in_blank else n_entries


@kernel
def cut_leaves(data: Octets, starts: Integers, cuts: Integers) -> None:
    """Write where the parts in front of each LeafNode begin and stop; the leaves at `starts` were scanned before.

    The rows of `cuts` are the beginning of the signature key, behind its header, and the ends of the signature key, the
    credential and the capabilities. RFC 9420 §7.2.
    """
    end = len(data)
    for i in range(len(starts)):
        cuts[0, i], start = _vector(data, _vector(data, starts[i], end)[1], end)
        cuts[1, i] = start
        start = _vector(data, start + 2, end)[1]
        cuts[2, i] = start
        for _ in range(_N_CAPABILITIES):
            start = _vector(data, start, end)[1]
        cuts[3, i] = start


@kernel
def _record(places: Integers, x: int, field: int, value: int) -> None:
    if x < places.shape[1]:
        places[field, x] = value


@kernel
def _vector(data: Octets, start: int, end: int) -> tuple[int, int]:
    """Return where the vector at `start` has its content and where it stops; it stops at REFUSED if it is none.

    What begins at REFUSED stops there too, so that it is enough to ask at the end of a struct.
    """
    if start < 0 or start >= end:
        return 0, REFUSED
    first = int(data[start])
    size = 1 << (first >> 6)
    if size > _LONGEST_HEADER or start + size > end:
        return 0, REFUSED
    length = first & 0x3F
    for i in range(1, size):
        length = length << 8 | data[start + i]
    least = 0 if size == 1 else 1 << (4 * size - 2)
    content = start + size
    if length < least or length > end - content:
        return 0, REFUSED
    return content, content + length


@kernel
def _scan_leaf(data: Octets, start: int, end: int, places: Integers, x: int) -> int:
    """Return where the LeafNode at `start` stops, or REFUSED. RFC 9420 §7.2."""
    key, start = _vector(data, start, end)
    _record(places, x, KEY_START, key)
    _record(places, x, KEY_LENGTH, start - key)
    _, start = _vector(data, start, end)
    start = _skip_credential(data, start, end)
    for _ in range(_N_CAPABILITIES):
        content, start = _vector(data, start, end)
        start = REFUSED if (start - content) & 1 else start
    start = _scan_source(data, start, end, places, x)
    start = _skip_extensions(data, start, end)
    return _vector(data, start, end)[1]


@kernel
def _skip_credential(data: Octets, start: int, end: int) -> int:
    if start < 0 or start + 2 > end or data[start] != 0:
        return REFUSED
    kind = data[start + 1]
    content, stop = _vector(data, start + 2, end)
    if kind == _X509:
        while stop >= 0 and content < stop:
            _, content = _vector(data, content, stop)
            stop = REFUSED if content < 0 else stop
    elif kind != _BASIC:
        return REFUSED
    return stop


@kernel
def _scan_source(data: Octets, start: int, end: int, places: Integers, x: int) -> int:
    if start < 0 or start >= end:
        return REFUSED
    _record(places, x, HASH_LENGTH, -1)
    kind = data[start]
    if kind == _COMMITTED:
        content, stop = _vector(data, start + 1, end)
        _record(places, x, HASH_START, content)
        _record(places, x, HASH_LENGTH, stop - content)
        return stop
    if kind == _UPDATED:
        return start + 1
    return start + 1 + _LIFETIME if kind == _PUBLISHED else REFUSED


@kernel
def _skip_extensions(data: Octets, start: int, end: int) -> int:
    content, stop = _vector(data, start, end)
    while stop >= 0 and content < stop:
        _, content = _vector(data, content + 2, stop)
        stop = REFUSED if content < 0 else stop
    return stop


@kernel
def _scan_parent(data: Octets, start: int, end: int, places: Integers, x: int) -> int:
    """Return where the ParentNode at `start` stops, or REFUSED. RFC 9420 §7.1."""
    key, after_key = _vector(data, start, end)
    parent_hash, after_hash = _vector(data, after_key, end)
    content, stop = _vector(data, after_hash, end)
    _record(places, x, KEY_START, key)
    _record(places, x, KEY_LENGTH, after_key - key)
    _record(places, x, HASH_START, parent_hash)
    _record(places, x, HASH_LENGTH, after_hash - parent_hash)
    _record(places, x, LIST_START, content)
    _record(places, x, N_UNMERGED, (stop - content) >> 2)
    _record(places, x, PREFIX, after_hash - start)
    return REFUSED if (stop - content) & 3 else stop
