"""Generates one decoder per struct.

A decoder is a function `(buf, pos, size[, given]) -> (value, next pos)` over `buf`, which is `size` bytes long.

What makes it fast is that it does not compare each field with the end of the input. A slice past the end is short, an
index past the end raises IndexError, and positions only grow: so a reader that ran over the end of a vector, or of the
input, is found out where the vector, or the input, ends. Every caller compares there, and nothing is returned before.
Lengths of vectors alone are compared with `size` at once, which bounds loops and allocations by the input.

A decoder says that it refuses (`REFUSALS`), not why: `traced_reader` reads the input again and finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from struct import unpack_from
from typing import Any, Final, assert_never

from treekem.errors import MalformedMessage
from treekem.wire.declaration import Kept
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
from treekem.wire.varint import decode_long_varint

KEEP: Final[Callable[[Kept, bytes], None]] = Kept.__dict__["_encoding"].__set__
"""Has a struct keep its encoding, past the `__setattr__` that refuses all changes."""

REFUSALS = (IndexError, KeyError, MalformedMessage)
"""What a decoder raises on malformed input."""

ARRAY_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""The letters of the standard library's struct module, by width."""


@cache
def decoder_of(shape: Shape) -> Callable[..., tuple[Any, int]]:
    """Return the decoder of a shape."""
    writer = _Writer()
    if isinstance(shape, StructShape):
        value = writer.struct_body(shape)
    else:
        value = writer.source.local()
        writer.read(shape, value, {})
    writer.source.line(f"return {value}, pos")
    given = ", given" if isinstance(shape, StructShape) and shape.has_context else ""
    return writer.source.compile("decode", f"buf, pos, size{given}")


@cache
def _elements_of(shape: Shape) -> Callable[[bytes, int, int, int], Iterator[Any]]:
    """Return a generator of the elements between `pos` and `end`.

    A generator needs no list beside the tuple that collects its elements.
    """
    writer = _Writer()
    source = writer.source
    with source.block("while pos < end:"):
        value = source.local()
        writer.read(shape, value, {})
        source.line(f"yield {value}")
    with source.block("if pos != end:"):
        source.line("raise IndexError")
    return source.compile("elements", "buf, pos, end, size")


def _rest_decoders(rest: RestShape | None) -> dict[int, Callable[..., tuple[Any, int]]]:
    bodies = () if rest is None else rest.bodies
    return {tag: _rest_decoder(rest.kind, tag, decoder_of(body)) for tag, body in bodies if rest is not None}


def _rest_decoder(kind: Callable[[int, bytes], Any], tag: int, body: Callable[..., tuple[Any, int]]) -> Any:  # noqa: ANN401  (a decoder)
    def decode(buf: bytes, pos: int, size: int) -> tuple[Any, int]:
        try:
            _, end = body(buf, pos, size)
        except REFUSALS:
            raise
        except Exception as failure:
            # An application's body may ask functions of the application about what others sent.
            raise MalformedMessage(f"what stands behind {tag} is not read") from failure
        return kind(tag, buf[pos:end]), end

    return decode


class _Writer:
    """Writes the statements that read a shape at `pos` into a local variable."""

    def __init__(self) -> None:
        self.source = Source()

    def struct_body(self, shape: StructShape) -> str:
        """Read every field, then make the object as its own `__init__` would, through its slots."""
        source = self.source
        start, keeps = source.local(), issubclass(shape.kind, Kept)
        if keeps:
            source.line(f"{start} = pos")
        names: dict[str, str] = {}
        for name, field in shape.fields:
            names[name] = source.local()
            self.read(field, names[name], names)
        value = source.local()
        source.line(f"{value} = {source.bind(object.__new__)}({source.bind(shape.kind)})")
        for name, variable in names.items():
            source.line(f"{source.bind(shape.kind.__dict__[name].__set__)}({value}, {variable})")
        if keeps:
            source.line(f"{source.bind(KEEP)}({value}, buf[{start}:pos])")
        return value

    def read(self, shape: Shape, target: str, names: dict[str, str]) -> None:
        """Read `shape` into `target`; `names` are the variables of the fields before it."""
        line, bind = self.source.line, self.source.bind
        match shape:
            case UIntShape(width):
                self._read_uint(width, target)
            case EnumShape(kind, width):
                self._read_uint(width, target)
                line(f"{target} = {bind({member.value: member for member in kind})}[{target}]")
            case OpaqueShape():
                start = self._read_length()
                line(f"{target} = buf[{start}:pos]")
            case FixedShape(length):
                line(f"{target} = buf[pos:pos + {length}]; pos += {length}")
            case VectorShape(element):
                self._read_vector(element, target)
            case OptionalShape(inner):
                self._read_optional(inner, target)
            case UnionShape(tag_width, members, rest):
                self._read_uint(tag_width, target)
                decoders = bind({**_rest_decoders(rest), **{tag: decoder_of(member) for tag, member in members}})
                line(f"{target}, pos = {decoders}[{target}](buf, pos, size)")
            case WhenShape(inner, field, predicate):
                condition = "given" if field is None else f"{bind(predicate)}({names[field]})"
                line(f"{target} = None")
                with self.source.block(f"if {condition}:"):
                    self.read(inner, target, names)
            case GivenShape(inner, field, predicate):
                condition = f"{bind(predicate)}({names[field]})"
                line(f"{target}, pos = {bind(decoder_of(inner))}(buf, pos, size, {condition})")
            case EncodedShape(inner):
                start = self.source.local()
                line(f"{start} = pos")
                self.read(inner, target, names)
                line(f"{target} = buf[{start}:pos]")
            case StructShape():
                line(f"{target}, pos = {bind(decoder_of(shape))}(buf, pos, size)")
            case _:
                assert_never(shape)

    def _read_uint(self, width: int, target: str) -> None:
        if width == 1:
            self.source.line(f"{target} = buf[pos]; pos += 1")
        elif width == 2:  # noqa: PLR2004  (two bytes are read faster one by one)
            self.source.line(f"{target} = buf[pos] << 8 | buf[pos + 1]; pos += 2")
        else:
            read = self.source.bind(int.from_bytes)
            self.source.line(f'{target} = {read}(buf[pos:pos + {width}], "big"); pos += {width}')

    def _read_length(self) -> str:
        """Read a length header; `pos` moves to the end of the vector, the variable returned says where it starts."""
        source, start = self.source, self.source.local()
        source.line(f"{start} = pos + 1; pos = buf[pos]")
        with source.block("if pos >= 64:"):
            source.line(f"pos, {start} = {source.bind(decode_long_varint)}(buf, {start} - 1)")
        source.line(f"pos += {start}")
        return start

    def _read_vector(self, element: Shape, target: str) -> None:
        source = self.source
        start = self._read_length()
        with source.block("if pos > size:"):
            source.line("raise IndexError")
        if isinstance(element, UIntShape):
            width, code = element.width, ARRAY_CODES[element.width]
            if width > 1:
                with source.block(f"if (pos - {start}) % {width}:"):
                    source.line("raise IndexError")
            source.line(
                f'{target} = {source.bind(unpack_from)}(f">{{(pos - {start}) // {width}}}{code}", buf, {start})'
            )
        else:
            source.line(f"{target} = tuple({source.bind(_elements_of(element))}(buf, {start}, pos, size))")

    def _read_optional(self, inner: Shape, target: str) -> None:
        source = self.source
        source.line(f"{target} = buf[pos]; pos += 1")
        with source.block(f"if {target} == 1:"):
            self.read(inner, target, {})
        with source.block(f"elif {target} == 0:"):
            source.line(f"{target} = None")
        with source.block("else:"):
            source.line("raise IndexError")
