"""Encoding and decoding: the compiled functions first, the traced ones when those refuse."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from treekem.errors import Code, MalformedMessage, UsageError
from treekem.rules import require
from treekem.wire import decoder, encoder
from treekem.wire.declaration import declaration_of
from treekem.wire.shapes import StructShape, shape_of

T = TypeVar("T")


def encode(value: object) -> bytes:
    """Return the encoding of a struct, without a tag. Raises UsageError if a field does not hold what its type says.

    RFC 9420 §2.1.
    """
    if declaration_of(type(value)) is None:
        raise UsageError(f"{type(value).__name__} is not a struct")
    return encode_as(type(value), value)


def encode_as(kind: object, value: object) -> bytes:
    """Return the encoding of `value` as any annotation, such as a union, whose tag is then written. Raises UsageError.

    RFC 9420 §2.1.
    """
    shape = shape_of(kind)
    try:
        return encoder.encoder_of(shape)(value)
    except encoder.REFUSALS as error:
        raise UsageError(f"{shape.name} cannot be encoded: {error}") from error


@overload
def decode(kind: type[T], data: bytes | bytearray | memoryview, *, limit: int | None = None) -> T: ...
@overload
def decode(kind: object, data: bytes | bytearray | memoryview, *, limit: int | None = None) -> Any: ...  # noqa: ANN401
def decode(kind: object, data: bytes | bytearray | memoryview, *, limit: int | None = None) -> Any:
    value, end = _decode(kind, bytes(data), 0, None)
    if end != len(data):
        raise MalformedMessage("malformed", code=Code.TRAILING_DATA, rule="R-2.1-08")
    return value


@overload
def decode_prefix(
    kind: type[T], data: bytes | bytearray | memoryview, offset: int = 0, *, given: bool | None = None
) -> tuple[T, int]: ...
@overload
def decode_prefix(
    kind: object, data: bytes | bytearray | memoryview, offset: int = 0, *, given: bool | None = None
) -> tuple[Any, int]: ...
def decode_prefix(
    kind: object, data: bytes | bytearray | memoryview, offset: int = 0, *, given: bool | None = None
) -> tuple[Any, int]:
    return _decode(kind, bytes(data), offset, given)


def _decode(kind: object, data: bytes, offset: int, given: bool | None) -> tuple[Any, int]:
    shape = shape_of(kind)
    arguments: tuple[object, ...] = (data, offset, len(data))
    if isinstance(shape, StructShape) and shape.has_context:
        require(given is not None, UsageError, "", f"{shape.name} depends on its context")
        arguments += (given,)
    try:
        value, end = decoder.decoder_of(shape)(*arguments)
    except decoder.REFUSALS as error:
        raise MalformedMessage("malformed") from error
    if end > len(data):
        raise MalformedMessage("truncated", code=Code.TRUNCATED, rule="R-2.1-07")
    return value, end
