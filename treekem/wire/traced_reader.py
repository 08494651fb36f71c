"""Reads input slowly, knowing at every moment where it stands.

`FaultFinder` runs after a decoder has refused, to find the rule, the field and the offset; `describe` wants to see
every step. A property test holds the reader equal to the decoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import assert_never

from treekem.errors import Code, MalformedMessage, MLSError
from treekem.rules import require
from treekem.wire.decoder import REFUSALS, decoder_of
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
    name_of,
)

_HEADERS = {0b00: (1, 0), 0b01: (2, 1 << 6), 0b10: (4, 1 << 14)}  # top bits: bytes of a length header, its least length


class TracedReader:
    """Reads one value; `pos` says how far it came. Subclasses may watch every part begin and end."""

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self.pos = offset
        self._data = data
        self._end = len(data)
        self._path: list[str] = []
        self._vectors = 0

    def read(self, shape: Shape, *, given: bool = False) -> object:
        """Return the value at `pos`. Raises MalformedMessage with code, rule, where and offset."""
        return self._read_part(name_of(shape), shape, {}, given=given)

    def read_all(self, shape: Shape, *, given: bool = False) -> object:
        """Return the value that fills the input. Raises MalformedMessage, also for what stands behind the value."""
        value = self.read(shape, given=given)
        left = len(self._data) - self.pos
        self._path = [name_of(shape)]
        self._require(left == 0, "R-2.1-08", Code.TRAILING_DATA, f"{left} bytes too many", self.pos)
        return value

    def begin(self, name: str, shape: Shape) -> None:
        """Note that a part begins."""

    def choose(self, shape: StructShape) -> None:
        """Note which struct of a union the part is."""

    def finish(self, value: object) -> None:
        """Note that the part which began last has been read."""

    def _read_part(self, name: str, shape: Shape, fields: Mapping[str, object], *, given: bool) -> object:
        self._path.append(name)
        self.begin(name, shape)
        value = self._read(shape, fields, given=given)
        self.finish(value)
        self._path.pop()
        return value

    def _read(self, shape: Shape, fields: Mapping[str, object], *, given: bool) -> object:
        match shape:
            case UIntShape(width):
                return self._read_uint(width)
            case EnumShape():
                return self._read_enum(shape)
            case OpaqueShape():
                return self._take(self._read_length())
            case FixedShape(length):
                return self._take(length)
            case VectorShape(element):
                return self._read_vector(element)
            case OptionalShape(inner):
                return self._read(inner, fields, given=given) if self._read_presence() else None
            case UnionShape():
                return self._read_union(shape)
            case WhenShape(inner, field, predicate):
                present = given if field is None or predicate is None else predicate(fields[field])
                return self._read(inner, fields, given=given) if present else None
            case GivenShape(inner, field, predicate):
                return self._read_struct(inner, given=predicate(fields[field]))
            case EncodedShape(inner):
                start = self.pos
                self._read(inner, {}, given=False)
                return self._data[start : self.pos]
            case StructShape():
                return self._read_struct(shape, given=given)
            case _:
                assert_never(shape)

    def _read_struct(self, shape: StructShape, *, given: bool) -> object:
        fields: dict[str, object] = {}
        for name, field in shape.fields:
            fields[name] = self._read_part(f".{name}", field, fields, given=given)
        return shape.kind(**fields)

    def _read_vector(self, element: Shape) -> tuple[object, ...]:
        length = self._read_length()
        outer, self._end = self._end, self.pos + length
        self._vectors += 1
        elements = tuple(self._elements(element))
        self._vectors -= 1
        self._end = outer
        return elements

    def _elements(self, element: Shape) -> Iterator[object]:
        index = 0
        while self.pos < self._end:
            yield self._read_element(f"[{index}]", element)
            index += 1

    def _read_element(self, name: str, element: Shape) -> object:
        return self._read_part(name, element, {}, given=False)

    def _read_union(self, shape: UnionShape) -> object:
        start = self.pos
        tag = self._read_uint(shape.tag_width)
        members = dict(shape.members)
        if shape.rest is not None and tag in dict(shape.rest.bodies):
            return self._read_body(shape.rest, tag)
        rule = "R-2.1-10" if shape.tag_width == 1 else "R-2.1-13"
        self._require(tag in members, rule, Code.UNKNOWN_ENUM, f"{tag} selects nothing", start)
        if len(self._path) == 1:
            self._path[0] = name_of(members[tag])
        self.choose(members[tag])
        return self._read_struct(members[tag], given=False)

    def _read_body(self, rest: RestShape, tag: int) -> object:
        start = self.pos
        try:
            self._read_part(f".{rest.body}", dict(rest.bodies)[tag], {}, given=False)
        except MLSError:
            raise
        except Exception as failure:
            # It is the application's, and may ask functions of the application about what others sent.
            message = f"what is registered for {tag:#06x} fails with {type(failure).__name__}"
            self._require(False, "S-registry", Code.MALFORMED, message, self.pos)  # noqa: FBT003  (as in `refuse`)
            raise
        return rest.kind(tag, self._data[start : self.pos])  # type: ignore[call-arg]  # its two fields

    def _read_enum(self, shape: EnumShape) -> object:
        start = self.pos
        number = self._read_uint(shape.width)
        members = {member.value: member for member in shape.kind}
        self._require(number in members, "R-2.1-10", Code.UNKNOWN_ENUM, f"{number} is no {name_of(shape)}", start)
        return members[number]

    def _read_presence(self) -> bool:
        start = self.pos
        octet = self._read_uint(1)
        self._require(octet <= 1, "R-2.1.1-02", Code.BAD_PRESENCE_OCTET, f"a presence octet of {octet}", start)
        return octet != 0

    def _read_length(self) -> int:
        start = self.pos
        first = self._read_uint(1)
        prefix = first >> 6
        self._require(
            prefix in _HEADERS, "R-2.1.2-04", Code.INVALID_VARINT_PREFIX, "a length header with top bits 11", start
        )
        size, least = _HEADERS[prefix]
        length = (first & 0x3F) << 8 * (size - 1) | int.from_bytes(self._take(size - 1), "big")
        self._require(
            length >= least, "R-2.1.2-03", Code.NON_MINIMAL_VARINT, f"a length of {length} in {size} bytes", start
        )
        left = self._end - self.pos
        self._require(
            length <= left, "R-2.1.2-05", Code.TRUNCATED, f"a length of {length} where {left} bytes are left", start
        )
        return length

    def _read_uint(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def _take(self, length: int) -> bytes:
        start, self.pos = self.pos, self.pos + length
        rule = "R-2.1-09" if self._vectors else "R-2.1-07"
        self._require(self.pos <= self._end, rule, Code.TRUNCATED, "truncated", start)
        return self._data[start : self.pos]

    def _require(self, condition: bool, rule: str, code: Code, message: str, offset: int) -> None:
        if condition:
            return
        where = "".join(self._path)
        try:
            require(condition, MalformedMessage, rule, f"{message} at {where}, byte {offset}", code=code)
        except MalformedMessage as error:
            error.where = where
            error.offset = self.pos = offset
            raise


class FaultFinder(TracedReader):
    """Reads in order to fail: elements that the compiled decoder accepts are not traced.

    So a long vector with one bad element costs little more than reading it did, whoever sent it.
    """

    def _read_element(self, name: str, element: Shape) -> object:
        try:
            value, end = decoder_of(element)(self._data, self.pos, self._end)
        except REFUSALS:
            return super()._read_element(name, element)
        if end > self._end:
            return super()._read_element(name, element)
        self.pos = end
        return value
