"""SHA-256, SHA-384 and SHA-512 of many messages: the frame around `sha2_instructions`.

A message is written into the row of a lane, padded, and hashed together with the other lanes once all are filled.
FIPS 180-4 §5, §6.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treekem.kernels.compiled import kernel
from treekem.kernels.sha2_instructions import (
    HAS_SHA_INSTRUCTIONS,
    LANES_256,
    LANES_512,
    PAIR,
    copy_octets,
    initial_words,
    pad_octets,
    sha256_lanes,
    sha256_pair,
    sha512_lanes,
)

Octets = NDArray[np.uint8]
Integers = NDArray[np.int32]

_SHA256_PAIR: Final = 0
_SHA256_LANES: Final = 1
_SHA512_LANES: Final = 2
_MOST_LANES: Final = max(PAIR, LANES_256, LANES_512)
_ROOM_FOR_PADDING: Final = 256


class Lanes(NamedTuple):
    """The messages that are being written, and all that hashing them takes; one thread's own."""

    algorithm: int
    n_lanes: int
    digest_length: int
    initial: Octets
    messages: Octets
    n_blocks: NDArray[np.int64]
    digests: Octets
    rows: NDArray[np.int64]


def lanes_for(hash_name: str, longest: int, *, instructions: bool = HAS_SHA_INSTRUCTIONS) -> Lanes:
    """Return lanes for messages of at most `longest` bytes.

    `instructions`: whether SHA-256 uses those of x86-64 rather than the vectors of any processor.
    """
    bits = 32 if hash_name == "sha256" else 64
    if hash_name == "sha256":
        algorithm, n_lanes = (_SHA256_PAIR, PAIR) if instructions else (_SHA256_LANES, LANES_256)
    else:
        algorithm, n_lanes = _SHA512_LANES, LANES_512
    first, length = {"sha256": (0, 32), "sha384": (8, 48), "sha512": (0, 64)}[hash_name]
    initial = np.array(initial_words(bits, first=first), np.uint32 if bits == 32 else np.uint64)  # noqa: PLR2004  (bits)
    return Lanes(
        algorithm,
        n_lanes,
        length,
        initial.view(np.uint8),
        np.zeros((_MOST_LANES, longest + _ROOM_FOR_PADDING), np.uint8),
        np.zeros(_MOST_LANES, np.int64),
        np.zeros((_MOST_LANES, 64), np.uint8),
        np.zeros(_MOST_LANES, np.int64),
    )


@kernel
def hash_messages(lanes: Lanes, data: Octets, starts: Integers, lengths: Integers, out: Octets) -> None:
    """Hash `data[starts[i] : starts[i] + lengths[i]]` into `out[i]`; `data` is read-only, the others are not."""
    used = 0
    for i in range(len(starts)):
        length = append(lanes, used, 0, data, starts[i], lengths[i])
        finish(lanes, used, length, i)
        used += 1
        if used == lanes.n_lanes or i == len(starts) - 1:
            flush(lanes, used, out)
            used = 0


@kernel
def append(lanes: Lanes, lane: int, length: int, source: Octets, start: int, count: int) -> int:
    """Append `count` bytes to the message of a lane, which has `length` so far; return its new length."""
    place = lanes.messages.ctypes.data + np.uint64(lane * lanes.messages.shape[1] + length)
    copy_octets(place, source.ctypes.data + np.uint64(start), np.uint64(count))
    return length + count


@kernel
def finish(lanes: Lanes, lane: int, length: int, row: int) -> None:
    """Pad the message of a lane, which will be hashed into row `row` of what `flush` fills."""
    block = 128 if lanes.algorithm == _SHA512_LANES else 64
    end = (length + 1 + block // 8 + block - 1) // block * block
    place = lanes.messages.ctypes.data + np.uint64(lane * lanes.messages.shape[1])
    pad_octets(place + np.uint64(length), np.uint64(end - length), np.uint64(8 * length))
    lanes.n_blocks[lane] = end // block
    lanes.rows[lane] = row


@kernel
def flush(lanes: Lanes, used: int, out: Octets) -> None:
    """Hash the first `used` lanes, each into its row of `out`."""
    for lane in range(used, lanes.n_lanes):
        lanes.n_blocks[lane] = 0
    digests, messages, stride = lanes.digests.ctypes.data, lanes.messages.ctypes.data, lanes.messages.shape[1]
    n_blocks, initial = lanes.n_blocks.ctypes.data, lanes.initial.ctypes.data
    if lanes.algorithm == _SHA256_PAIR:
        sha256_pair(digests, messages, np.uint64(stride), n_blocks, initial)
    elif lanes.algorithm == _SHA256_LANES:
        sha256_lanes(digests, messages, np.uint64(stride), n_blocks, initial)
    else:
        sha512_lanes(digests, messages, np.uint64(stride), n_blocks, initial)
    for lane in range(used):
        place = out.ctypes.data + np.uint64(lanes.rows[lane] * out.shape[1])
        copy_octets(place, digests + np.uint64(lane * lanes.digests.shape[1]), np.uint64(lanes.digest_length))
