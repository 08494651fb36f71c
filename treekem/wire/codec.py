"""Encoding and decoding: compiled functions first, and traced ones to say what was wrong."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, TypeVar, overload

from treekem.errors import Code, MalformedMessage, UsageError
from treekem.rules import require
from treekem.wire import decoder, encoder
from treekem.wire.declaration import declaration_of
from treekem.wire.extended import Bodies, extended_shape
from treekem.wire.shapes import Shape, StructShape, name_of, shape_of
from treekem.wire.traced_reader import FaultFinder
from treekem.wire.traced_writer import TracedWriter

T = TypeVar("T")

Octets = bytes | bytearray | memoryview


def encode(value: object) -> bytes:
    """Return the encoding of a struct, without a tag. Raises UsageError if a field does not hold what its type says.

    RFC 9420 §2.1.
    """
    write = _encoder_of_struct(type(value))  # type: ignore[arg-type]  # every class is hashable
    if write is None:
        raise UsageError(f"a {type(value).__name__} is not a struct")
    try:
        return write(value)
    except encoder.REFUSALS as refusal:
        raise _unencodable(type(value), value) from refusal


def encode_as(kind: object, value: object) -> bytes:
    """Return the encoding of `value` as any annotation, such as a union, whose tag is then written. Raises UsageError.

    RFC 9420 §2.1.
    """
    write = encoder.encoder_of(shape_of(kind))
    try:
        return write(value)
    except encoder.REFUSALS as refusal:
        raise _unencodable(kind, value) from refusal


@cache
def _encoder_of_struct(kind: Hashable) -> Callable[..., bytes] | None:
    return None if declaration_of(kind) is None else encoder.encoder_of(shape_of(kind))


def _unencodable(kind: object, value: object) -> UsageError:
    """Return the refusal of a value that its encoder does not take, unless the traced writer raises a better one."""
    shape = shape_of(kind)
    TracedWriter().measure(shape, value)
    return UsageError(f"this {name_of(shape)} has no encoding")


@overload
def decode(kind: type[T], data: Octets, *, limit: int | None = None, bodies: Bodies = ()) -> T: ...
@overload
def decode(kind: object, data: Octets, *, limit: int | None = None, bodies: Bodies = ()) -> Any: ...  # noqa: ANN401  (no type says "a union")
def decode(kind: object, data: Octets, *, limit: int | None = None, bodies: Bodies = ()) -> object:
    """Return the value that `data`, to its last byte, encodes.

    `kind` is a struct, or any annotation of a field: of a union say `node: Node = decode(Node, data)`. `bodies` are
    what else may stand in a union that has a rest. Raises MalformedMessage, which names the rule, the field and the
    offset; for more than `limit` bytes, before reading any.

    RFC 9420 §2.1.
    """
    data = encoder.octets_of(data)
    if limit is not None:
        message = f"{len(data)} bytes where {limit} are allowed"
        require(len(data) <= limit, MalformedMessage, "R-2.1.2-07", message, code=Code.LIMIT_EXCEEDED)
    read, has_context = _decoder_of(kind, bodies)
    context = _context(kind, None) if has_context else ()
    try:
        value, end = read(data, 0, len(data), *context)
    except decoder.REFUSALS:
        end = -1
    if end == len(data):
        return value
    shape = _extended(kind, bodies)
    FaultFinder(data).read_all(shape)
    raise _unexplained(shape)


@overload
def decode_prefix(
    kind: type[T], data: Octets, offset: int = 0, *, given: bool | None = None, bodies: Bodies = ()
) -> tuple[T, int]: ...
@overload
def decode_prefix(
    kind: object, data: Octets, offset: int = 0, *, given: bool | None = None, bodies: Bodies = ()
) -> tuple[Any, int]: ...
def decode_prefix(
    kind: object, data: Octets, offset: int = 0, *, given: bool | None = None, bodies: Bodies = ()
) -> tuple[object, int]:
    """Return the value that begins at `offset`, and the offset behind it.

    `given` is what `Given` would say of the struct, `bodies` are as for `decode`. Raises MalformedMessage like
    `decode`; offsets count from the start of `data`.

    RFC 9420 §2.1.
    """
    data = encoder.octets_of(data)
    if not 0 <= offset <= len(data):
        raise UsageError(f"offset {offset} lies outside of {len(data)} bytes")
    read, has_context = _decoder_of(kind, bodies)
    context = _context(kind, given) if has_context else ()
    try:
        value, end = read(data, offset, len(data), *context)
    except decoder.REFUSALS:
        end = len(data) + 1
    if end <= len(data):
        return value, end
    shape = _extended(kind, bodies)
    FaultFinder(data, offset).read(shape, given=bool(given))
    raise _unexplained(shape)


def _extended(kind: object, bodies: Bodies) -> Shape:
    shape = shape_of(kind)
    return extended_shape(shape, bodies) if bodies else shape


@cache
def _decoder_of(kind: object, bodies: Bodies) -> tuple[Callable[..., tuple[Any, int]], bool]:
    """Return a decoder, and whether it takes one more argument, as its struct depends on its context."""
    shape = _extended(kind, bodies)
    return decoder.decoder_of(shape), isinstance(shape, StructShape) and shape.has_context


def _context(kind: object, given: bool | None) -> tuple[bool, ...]:
    """Return the last argument of a decoder whose struct depends on its context."""
    if given is None:
        raise UsageError(f"{name_of(shape_of(kind))} depends on its context: decode_prefix takes it as `given`")
    return (given,)


def _unexplained(shape: Shape) -> MalformedMessage:
    """Refuse what the compiled decoder refused and the fault finder read: the stricter of the two counts."""
    return MalformedMessage(f"this {name_of(shape)} is malformed")
