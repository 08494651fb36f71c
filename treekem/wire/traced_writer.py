"""Finds out why a value cannot be encoded; it runs after an encoder has refused."""

from __future__ import annotations

from typing import assert_never

from treekem.errors import UsageError
from treekem.rules import require
from treekem.wire.shapes import (
    EncodedShape,
    EnumShape,
    FixedShape,
    GivenShape,
    OpaqueShape,
    OptionalShape,
    Shape,
    StructShape,
    UIntShape,
    UnionShape,
    VectorShape,
    WhenShape,
    name_of,
)
from treekem.wire.varint import MAX_LENGTH, encode_varint

_SHOWN_BITS = 128


class TracedWriter:
    """Measures what a value's encoding would take, and names the first part that has none."""

    def __init__(self) -> None:
        self._path: list[str] = []

    def measure(self, shape: Shape, value: object) -> int:
        """Return the size of the encoding, in bytes. Raises UsageError that says what and where."""
        return self._measure_part(name_of(shape), shape, value, None, given=None)

    def _measure_part(self, name: str, shape: Shape, value: object, around: object, *, given: bool | None) -> int:
        self._path.append(name)
        size = self._measure(shape, value, around, given=given)
        self._path.pop()
        return size

    def _measure(self, shape: Shape, value: object, around: object, *, given: bool | None) -> int:
        match shape:
            case UIntShape(width):
                fits = isinstance(value, int) and 0 <= value < 1 << 8 * width
                self._require(fits, "R-2.1-01", f"{_shown(value)} is no {name_of(shape)}")
                return width
            case EnumShape(kind, width):
                named = isinstance(value, int) and value in list(kind)
                self._require(named, "R-2.1-10", f"{_shown(value)} is no {name_of(shape)}")
                return width
            case OpaqueShape():
                return self._measure_vector(self._measure_bytes(value))
            case FixedShape(length):
                size = self._measure_bytes(value)
                self._require(size == length, "R-2.1-05", f"{size} bytes instead of {length}")
                return length
            case VectorShape(element):
                return self._measure_vector(self._measure_elements(element, value))
            case OptionalShape(inner):
                return 1 if value is None else 1 + self._measure(inner, value, None, given=None)
            case UnionShape():
                return self._measure_union(shape, value)
            case WhenShape():
                return self._measure_when(shape, value, around, given=given)
            case GivenShape(inner, field, predicate):
                return self._measure_struct(inner, value, given=predicate(getattr(around, field)))
            case EncodedShape():
                return self._measure_bytes(value)
            case StructShape():
                return self._measure_struct(shape, value, given=given)
            case _:
                assert_never(shape)

    def _measure_struct(self, shape: StructShape, value: object, *, given: bool | None) -> int:
        self._require(type(value) is shape.kind, "R-2.1-02", f"a {type(value).__name__} is no {name_of(shape)}")
        return sum(
            self._measure_part(f".{name}", field, getattr(value, name), value, given=given)
            for name, field in shape.fields
        )

    def _measure_union(self, shape: UnionShape, value: object) -> int:
        for _, member in shape.members:
            if type(value) is member.kind:
                return shape.tag_width + self._measure_struct(member, value, given=None)
        if shape.rest is not None and type(value) is shape.rest.kind:
            tag = getattr(value, shape.rest.tag)
            self._require(tag not in dict(shape.members), "R-2.1-04", f"{_shown(tag)} selects another struct")
            size = self._measure(UIntShape(shape.tag_width), tag, None, given=None)
            return size + self._measure_bytes(getattr(value, shape.rest.body))
        self._require(False, "R-2.1-04", f"a {type(value).__name__} is no {name_of(shape)}")  # noqa: FBT003  (none fits)
        return 0

    def _measure_when(self, shape: WhenShape, value: object, around: object, *, given: bool | None) -> int:
        if shape.field is not None and shape.predicate is not None:
            given = bool(shape.predicate(getattr(around, shape.field)))
        allowed = given is None or given == (value is not None)
        self._require(allowed, "R-2.1-04", "absent but selected" if given else "present but not selected")
        return 0 if value is None else self._measure(shape.inner, value, None, given=None)

    def _measure_elements(self, element: Shape, value: object) -> int:
        if not isinstance(value, tuple | list):
            raise UsageError(f"a {type(value).__name__} is no vector at {''.join(self._path)}")
        return sum(self._measure_part(f"[{n}]", element, item, None, given=None) for n, item in enumerate(value))

    def _measure_bytes(self, value: object) -> int:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise UsageError(f"a {type(value).__name__} is not bytes at {''.join(self._path)}")
        return value.nbytes if isinstance(value, memoryview) else len(value)

    def _measure_vector(self, size: int) -> int:
        self._require(size <= MAX_LENGTH, "R-2.1.2-06", f"a vector of {size} bytes has no length header")
        return len(encode_varint(size)) + size

    def _require(self, condition: bool, rule: str, message: str) -> None:
        require(condition, UsageError, rule, f"{message} at {''.join(self._path)}")


def _shown(value: object) -> str:
    """Return an integer of bearable size as it is; of anything else the type, for a misplaced value may be secret."""
    if isinstance(value, int) and value.bit_length() <= _SHOWN_BITS:
        return str(int(value))
    return f"a {type(value).__name__}"
