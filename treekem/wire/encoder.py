"""Generates one encoder per struct.

An encoder is a function `(value[, given]) -> bytes`. It says that it refuses a value (`REFUSALS`), not why:
`traced_writer` looks at the value again and finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from struct import error as packing_error
from struct import pack
from typing import Any, assert_never

from treekem.errors import UsageError
from treekem.wire.declaration import Kept
from treekem.wire.decoder import ARRAY_CODES, KEEP
from treekem.wire.shapes import (
    EncodedShape,
    EnumShape,
    FixedShape,
    GivenShape,
    OpaqueShape,
    OptionalShape,
    RestShape,
    Shape,
    StructShape,
    UIntShape,
    UnionShape,
    VectorShape,
    WhenShape,
)
from treekem.wire.source import Source
from treekem.wire.varint import encode_varint

_MOST_PIECES = 4096
"""How many elements are joined at once: each costs an object of some 40 bytes until then, and may itself be of one."""

REFUSALS = (AttributeError, KeyError, OverflowError, TypeError, ValueError, packing_error, UsageError)
"""What an encoder raises on a value that its shape does not hold."""


def octets_of(value: object) -> bytes:
    """Return what a buffer holds, as bytes. Raises UsageError for anything else."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise UsageError(f"a {type(value).__name__} is not bytes")


@cache
def encoder_of(shape: Shape) -> Callable[..., bytes]:
    """Return the encoder of a shape."""
    writer = _Writer()
    if isinstance(shape, StructShape) and issubclass(shape.kind, Kept):
        writer.keep(shape)
    else:
        parts = writer.struct_parts(shape) if isinstance(shape, StructShape) else writer.parts(shape, "value")
        writer.source.line(f"return {writer.joined(parts)}")
    given = ", given=None" if isinstance(shape, StructShape) and shape.has_context else ""
    return writer.source.compile("encode", f"value{given}")


def _join_long(encode: Callable[[Any], bytes], elements: Sequence[Any]) -> bytes:
    starts = range(0, len(elements), _MOST_PIECES)
    return b"".join([b"".join(map(encode, elements[start : start + _MOST_PIECES])) for start in starts])


def _encoders_by_kind(union: UnionShape) -> dict[type[object], tuple[bytes, Callable[..., bytes]]]:
    width, rest = union.tag_width, union.rest
    table = {member.kind: (tag.to_bytes(width, "big"), encoder_of(member)) for tag, member in union.members}
    if rest is not None:
        table[rest.kind] = b"", _rest_encoder(rest, width, frozenset(tag for tag, _ in union.members))
    return table


def _rest_encoder(rest: RestShape, width: int, taken: frozenset[int]) -> Callable[..., bytes]:
    def encode(value: object) -> bytes:
        tag: int = getattr(value, rest.tag)
        if tag in taken:
            raise ValueError
        return tag.to_bytes(width, "big") + octets_of(getattr(value, rest.body))

    return encode


class _Writer:
    """Writes the expressions whose values, joined, are the encoding of a shape, and the statements that they need."""

    def __init__(self) -> None:
        self.source = Source()

    def joined(self, parts: list[str]) -> str:
        """Return one expression for all parts."""
        return f'b"".join(({", ".join(parts)},))' if parts else 'b""'

    def keep(self, shape: StructShape) -> None:
        """Return what the value has kept, or encode it and have the value keep that."""
        known = self.source.local()
        self.source.line(f'{known} = getattr(value, "_encoding", None)')
        with self.source.block(f"if {known} is None or type(value) is not {self.source.bind(shape.kind)}:"):
            self.source.line(f"{known} = {self.joined(self.struct_parts(shape))}")
            self.source.line(f"{self.source.bind(KEEP)}(value, {known})")
        self.source.line(f"return {known}")

    def struct_parts(self, shape: StructShape) -> list[str]:
        """Return the parts of every field; another struct with the same fields is still another struct."""
        self._refuse_if(f"type(value) is not {self.source.bind(shape.kind)}")
        parts: list[str] = []
        for name, field in shape.fields:
            variable = self.source.local()
            self.source.line(f"{variable} = value.{name}")
            parts += self.parts(field, variable)
        return parts

    def parts(self, shape: Shape, value: str) -> list[str]:
        """Return the parts of the value that the expression `value` names."""
        bind = self.source.bind
        match shape:
            case UIntShape(width):
                return [f'{value}.to_bytes({width}, "big")']
            case EnumShape(kind, width):
                return [f"{bind({member: member.to_bytes(width, 'big') for member in kind})}[{value}]"]
            case OpaqueShape():
                self._take_octets(value)
                return [self._header(f"len({value})"), value]
            case FixedShape(length):
                self._take_octets(value)
                self._refuse_if(f"len({value}) != {length}")
                return [value]
            case VectorShape(element):
                return self._vector_parts(element, value)
            case OptionalShape(inner):
                return [self._optional_part(inner, value)]
            case UnionShape():
                tag, encode = self.source.local(), self.source.local()
                self.source.line(f"{tag}, {encode} = {bind(_encoders_by_kind(shape))}[type({value})]")
                return [tag, f"{encode}({value})"]
            case WhenShape():
                return [self._when_part(shape, value)]
            case GivenShape(inner, field, predicate):
                return [f"{bind(encoder_of(inner))}({value}, bool({bind(predicate)}(value.{field})))"]
            case EncodedShape():
                self._take_octets(value)
                return [value]
            case StructShape():
                return [f"{bind(encoder_of(shape))}({value})"]
            case _:
                assert_never(shape)

    def _header(self, length: str) -> str:
        variable = self.source.local()
        self.source.line(f"{variable} = {length}")
        short = self.source.bind([bytes((n,)) for n in range(64)])
        return f"({short}[{variable}] if {variable} < 64 else {self.source.bind(encode_varint)}({variable}))"

    def _take_octets(self, value: str) -> None:
        with self.source.block(f"if type({value}) is not bytes:"):
            self.source.line(f"{value} = {self.source.bind(octets_of)}({value})")

    def _refuse_if(self, condition: str) -> None:
        with self.source.block(f"if {condition}:"):
            self.source.line("raise ValueError")

    def _vector_parts(self, element: Shape, value: str) -> list[str]:
        content = self.source.local()
        self._refuse_if(f"not isinstance({value}, {self.source.bind((tuple, list))})")
        if isinstance(element, UIntShape):
            code = ARRAY_CODES[element.width]
            self.source.line(f'{content} = {self.source.bind(pack)}(f">{{len({value})}}{code}", *{value})')
        else:
            encode, join = self.source.bind(encoder_of(element)), self.source.bind(_join_long)
            self.source.line(f'{content} = b"".join(map({encode}, {value})) if len({value}) <= {_MOST_PIECES} else \\')
            self.source.line(f"    {join}({encode}, {value})")
        return [self._header(f"len({content})"), content]

    def _optional_part(self, inner: Shape, value: str) -> str:
        content = self.source.local()
        with self.source.block(f"if {value} is None:"):
            self.source.line(f'{content} = b"\\0"')
        with self.source.block("else:"):
            self.source.line(f"{content} = {self.joined(['b' + repr(chr(1)), *self.parts(inner, value)])}")
        return content

    def _when_part(self, shape: WhenShape, value: str) -> str:
        if shape.field is None:
            self._refuse_if(f"given is not None and given == ({value} is None)")
        else:
            self._refuse_if(f"bool({self.source.bind(shape.predicate)}(value.{shape.field})) == ({value} is None)")
        content = self.source.local()
        self.source.line(f'{content} = b""')
        with self.source.block(f"if {value} is not None:"):
            self.source.line(f"{content} = {self.joined(self.parts(shape.inner, value))}")
        return content
