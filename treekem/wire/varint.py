"""The length header of a vector: one, two or four bytes, and always the shortest that fits. RFC 9420 §2.1.2."""

from __future__ import annotations

from treekem.errors import Code, MalformedMessage, UsageError
from treekem.rules import require

MAX_LENGTH = (1 << 30) - 1
"""The longest vector that a header can announce, in bytes."""

_SIZES = (1, 2, 4, 1)  # bytes of a header by its top bits; 11 is refused whatever follows
_TWO_BYTES = 1 << 6
_FOUR_BYTES = 1 << 14


def encode_varint(n: int) -> bytes:
    """Return the header for a vector of `n` bytes. Raises UsageError below 0 and above 2^30-1.

    RFC 9420 §2.1.2.
    """
    if 0 <= n < _TWO_BYTES:
        return n.to_bytes(1, "big")
    if 0 <= n < _FOUR_BYTES:
        return (n | 0x4000).to_bytes(2, "big")
    require(0 <= n <= MAX_LENGTH, UsageError, "R-2.1.2-06", f"a vector of {n} bytes has no length header")
    return (n | 0x8000_0000).to_bytes(4, "big")


def decode_varint(data: bytes, offset: int = 0) -> tuple[int, int]:
    """Return the length that the header at `offset` announces, and the offset behind the header.

    Raises MalformedMessage for a header that is cut short, longer than needed, or begins with the bits 11; UsageError
    for a negative offset.

    RFC 9420 §2.1.2.
    """
    if offset < 0:
        raise UsageError(f"offset {offset} lies before the first byte")
    try:
        require(offset < len(data), MalformedMessage, "R-2.1-07", "no length header", code=Code.TRUNCATED)
        size = _SIZES[data[offset] >> 6]
        is_whole = offset + size <= len(data)
        require(is_whole, MalformedMessage, "R-2.1-07", "a length header is cut short", code=Code.TRUNCATED)
        n, end = (data[offset], offset + 1) if data[offset] < _TWO_BYTES else decode_long_varint(data, offset)
    except MalformedMessage as error:
        error.offset = offset
        raise
    return n, end


def decode_long_varint(buf: bytes, pos: int) -> tuple[int, int]:
    """Read a header of two or four bytes that may run past the end of `buf`, which is for the caller to notice.

    Raises MalformedMessage, without place, for the form; generated decoders, which read short headers themselves, call
    it.
    """
    first = buf[pos]
    if first < 0x80:  # noqa: PLR2004  (the bits 01)
        n, end, least = int.from_bytes(buf[pos : pos + 2], "big") & 0x3FFF, pos + 2, _TWO_BYTES
    else:
        require(
            first < 0xC0,  # noqa: PLR2004  (the bits 10)
            MalformedMessage,
            "R-2.1.2-04",
            "a length header begins with the bits 11",
            code=Code.INVALID_VARINT_PREFIX,
        )
        n, end, least = int.from_bytes(buf[pos : pos + 4], "big") & 0x3FFF_FFFF, pos + 4, _FOUR_BYTES
    require(
        n >= least,
        MalformedMessage,
        "R-2.1.2-03",
        f"a length of {n} stands in a header of {end - pos} bytes",
        code=Code.NON_MINIMAL_VARINT,
    )
    return n, end
