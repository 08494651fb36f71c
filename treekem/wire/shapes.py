"""What a declaration means: a small description of each type, read off its annotations once.

Everything else of this package works on these shapes: two code generators, two traced interpreters. RFC 9420 §2.1.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cache
from typing import Annotated, NewType, Union, get_args, get_origin, get_type_hints

from treekem.errors import UsageError
from treekem.index import LeafIndex
from treekem.wire.declaration import Encoded, Fixed, Given, Predicate, Unsigned, When, Width, declaration_of


@dataclass(frozen=True, slots=True, eq=False)
class UIntShape:
    """An unsigned integer in network byte order."""

    width: int


@dataclass(frozen=True, slots=True, eq=False)
class EnumShape:
    """A closed enum."""

    kind: type[IntEnum]
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class OpaqueShape:
    """`opaque x<V>`."""


@dataclass(frozen=True, slots=True, eq=False)
class FixedShape:
    """`opaque x[length]`."""

    length: int


@dataclass(frozen=True, slots=True, eq=False)
class VectorShape:
    """`T x<V>`."""

    element: Shape


@dataclass(frozen=True, slots=True, eq=False)
class OptionalShape:
    """`optional<T>`."""

    inner: Shape


@dataclass(frozen=True, slots=True, eq=False)
class RestShape:
    """What a union holds under other tags than its members': a `kind` of two fields, tag and encoded body.

    `bodies` are the shapes of the bodies that a decoder was told.
    """

    kind: type[object]
    tag: str
    body: str
    bodies: tuple[tuple[int, Shape], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class UnionShape:
    """An enum of `tag_width` bytes, followed by the struct that it selects."""

    tag_width: int
    members: tuple[tuple[int, StructShape], ...]
    rest: RestShape | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WhenShape:
    """A value that is there exactly when `predicate(field)`, or, without them, when the context says so."""

    inner: Shape
    field: str | None
    predicate: Predicate | None


@dataclass(frozen=True, slots=True, eq=False)
class GivenShape:
    """A struct whose context says `predicate(field)`."""

    inner: StructShape
    field: str
    predicate: Predicate


@dataclass(frozen=True, slots=True, eq=False)
class EncodedShape:
    """The bytes of one `inner`."""

    inner: Shape


@dataclass(frozen=True, slots=True, eq=False)
class StructShape:
    """A struct: its fields one after the other."""

    kind: type[object]
    fields: tuple[tuple[str, Shape], ...]

    @property
    def has_context(self) -> bool:
        """Whether some field depends on what `Given` says."""
        return any(isinstance(shape, WhenShape) and shape.field is None for _, shape in self.fields)


Shape = (
    UIntShape
    | EnumShape
    | OpaqueShape
    | FixedShape
    | VectorShape
    | OptionalShape
    | UnionShape
    | WhenShape
    | GivenShape
    | EncodedShape
    | StructShape
)


def shape_of(annotation: object) -> Shape:
    """Return the shape that an annotation describes by itself. Raises UsageError if it describes none."""
    shape = _shape_of(annotation)
    if isinstance(shape, WhenShape | GivenShape):
        raise UsageError(f"{annotation!r} marks a field of a struct, and nothing else")
    return shape


@cache
def _shape_of(annotation: object) -> Shape:
    if annotation is bytes:
        return OpaqueShape()
    if annotation is LeafIndex:
        return UIntShape(4)
    if declaration_of(annotation) is not None:
        return _struct_shape(annotation)
    if isinstance(annotation, NewType):
        return shape_of(annotation.__supertype__)

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated_shape(annotation, arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004  (the element and "...")
        return _vector_shape(arguments[0])
    if origin is Union or origin is types.UnionType:
        return _union_shape(annotation, arguments)
    raise UsageError(f"{annotation!r} has no wire format")


def name_of(shape: Shape) -> str:
    """Return the type's name, as the RFC would write it."""
    match shape:
        case UIntShape(width):
            return f"uint{8 * width}"
        case EnumShape(kind) | StructShape(kind):
            return kind.__name__
        case OpaqueShape():
            return "opaque<V>"
        case FixedShape(length):
            return f"opaque[{length}]"
        case VectorShape(element):
            return f"{name_of(element)}<V>"
        case OptionalShape(inner):
            return f"optional<{name_of(inner)}>"
        case UnionShape(members=members):
            return " | ".join(name_of(member) for _, member in members)
        case WhenShape(inner) | GivenShape(inner) | EncodedShape(inner):
            return name_of(inner)


def least_size(shape: Shape) -> int:
    """Return the size of the shortest encoding, in bytes."""
    match shape:
        case UIntShape(width) | EnumShape(_, width):
            return width
        case FixedShape(length):
            return length
        case UnionShape(width, members, rest):
            return width + (0 if rest is not None else min(least_size(member) for _, member in members))
        case GivenShape(inner) | EncodedShape(inner):
            return least_size(inner)
        case StructShape(_, members):
            return sum(least_size(member) for _, member in members)
        case WhenShape():
            return 0
        case OpaqueShape() | VectorShape() | OptionalShape():
            return 1


def _nested_shape(annotation: object) -> Shape:
    return _told(shape_of(annotation))


def _told(shape: Shape) -> Shape:
    if isinstance(shape, StructShape) and shape.has_context:
        raise UsageError(f"{name_of(shape)} depends on its context, which Given tells")
    return shape


def _struct_shape(kind: object) -> StructShape:
    if not isinstance(kind, type):
        raise UsageError(f"{kind!r} is not a struct")
    hints = get_type_hints(kind, include_extras=True)
    members: dict[str, Shape] = {}
    for field in fields(kind):
        shape = _told(_shape_of(hints[field.name]))
        if isinstance(shape, WhenShape | GivenShape) and shape.field is not None and shape.field not in members:
            raise UsageError(f"{kind.__name__}.{field.name} depends on {shape.field}, which does not stand before it")
        members[field.name] = shape
    return StructShape(kind, tuple(members.items()))


def _annotated_shape(annotation: object, arguments: tuple[object, ...]) -> Shape:
    base, *outer, mark = arguments
    if outer:
        base = Annotated[(base, *outer)]
    match mark:
        case Unsigned(width) if base is int:
            return UIntShape(width)
        case Fixed(length) if base is bytes:
            return FixedShape(length)
        case Width(width) if isinstance(base, type) and issubclass(base, IntEnum):
            return EnumShape(base, width)
        case Encoded(kind) if base is bytes:
            return EncodedShape(_nested_shape(kind))
        case When(field, predicate):
            return _when_shape(base, field, predicate)
        case Given(field, predicate):
            inner = shape_of(base)
            if isinstance(inner, StructShape) and inner.has_context:
                return GivenShape(inner, field, predicate)
    raise UsageError(f"{annotation!r} has no wire format")


def _when_shape(base: object, field: str | None, predicate: Predicate | None) -> WhenShape:
    optional = shape_of(base)
    if not isinstance(optional, OptionalShape) or (field is None) != (predicate is None):
        raise UsageError(f"When marks `T | None`, with a field and a predicate or with neither, not {base!r}")
    return WhenShape(optional.inner, field, predicate)


def _vector_shape(element: object) -> VectorShape:
    shape = _nested_shape(element)
    if least_size(shape) == 0:
        raise UsageError(f"a vector of {element!r}, which may be empty, has no end")
    return VectorShape(shape)


def _union_shape(annotation: object, arguments: tuple[object, ...]) -> Shape:
    kinds = [kind for kind in arguments if kind is not type(None)]
    if len(kinds) < len(arguments):
        inner = _nested_shape(kinds[0]) if len(kinds) == 1 else _union_shape(annotation, tuple(kinds))
        return OptionalShape(inner)

    members: dict[int, StructShape] = {}
    widths = set()
    others = [kind for kind in kinds if is_rest(kind)]
    for kind in (kind for kind in kinds if kind not in others):
        declaration, shape = declaration_of(kind), shape_of(kind)
        if declaration is None or declaration.tag is None or not isinstance(shape, StructShape) or shape.has_context:
            raise UsageError(f"{kind!r} has no tag, which a union needs")
        members[declaration.tag] = shape
        widths.add(declaration.tag_width)
    widths.update(declaration.tag_width for declaration in map(declaration_of, others) if declaration is not None)
    if len(widths) != 1 or len(members) + len(others) != len(kinds):
        raise UsageError(f"the tags of {annotation!r} differ in width or coincide")
    return UnionShape(widths.pop(), tuple(members.items()), _rest_shape(annotation, others))


def is_rest(kind: object) -> bool:
    """Whether a struct stands for the tags that no other member of its union has."""
    declaration = declaration_of(kind)
    return declaration is not None and declaration.rest


def _rest_shape(annotation: object, kinds: list[object]) -> RestShape | None:
    if not kinds:
        return None
    shape = shape_of(kinds[0])
    match shape.fields if isinstance(shape, StructShape) and len(kinds) == 1 else ():
        case ((str(tag), UIntShape()), (str(body), OpaqueShape())) if isinstance(shape, StructShape):
            return RestShape(shape.kind, tag, body)
    raise UsageError(f"the rest of {annotation!r} is one struct of a tag and the octets behind it")
