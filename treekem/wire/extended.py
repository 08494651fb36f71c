"""Types with more in them than they declare: the bodies that an application adds to the rest of a union.

RFC 9420 §13.2: what is not length-prefixed can be read by those only who know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import TypeVar, assert_never

from treekem.errors import UsageError
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
    shape_of,
)

Bodies = tuple[tuple[int, object], ...]
"""Tags that no member of a union has, each with the annotation of what stands behind it."""

_ShapeT = TypeVar("_ShapeT", bound=Shape)


@cache
def extended_shape(shape: Shape, bodies: Bodies) -> Shape:
    """Return a shape whose unions with a rest know these bodies; the very same one where there is no such union.

    Raises UsageError for a body without a wire format of its own.
    """
    match shape:
        case UIntShape() | EnumShape() | OpaqueShape() | FixedShape():
            return shape
        case VectorShape(element):
            extended = extended_shape(element, bodies)
            return shape if extended is element else VectorShape(extended)
        case OptionalShape(inner) | WhenShape(inner) | EncodedShape(inner) | GivenShape(inner):
            extended = extended_shape(inner, bodies)
            return shape if extended is inner else replace(shape, inner=extended)  # type: ignore[arg-type]  # a struct stays a struct
        case StructShape(kind, fields):
            old = tuple(part for _, part in fields)
            new = _all_extended(old, bodies)
            return (
                shape if new == old else StructShape(kind, tuple(zip((name for name, _ in fields), new, strict=True)))
            )
        case UnionShape(width, members, rest):
            kinds = tuple(kind for _, kind in members)
            structs = _all_extended(kinds, bodies)
            if structs == kinds and rest is None:
                return shape
            known = None if rest is None else replace(rest, bodies=_bodies_of(shape, bodies))
            return UnionShape(width, tuple(zip((tag for tag, _ in members), structs, strict=True)), known)
        case _:
            assert_never(shape)


def _all_extended(shapes: Iterable[_ShapeT], bodies: Bodies) -> tuple[_ShapeT, ...]:
    # A shape stays of its kind.
    return tuple(extended_shape(shape, bodies) for shape in shapes)  # type: ignore[misc]  # as the comment says


def verify_body(annotation: object) -> None:
    """Require that an annotation has a wire format by itself. Raises UsageError."""
    shape = shape_of(annotation)
    if isinstance(shape, StructShape) and shape.has_context:
        raise UsageError(f"{name_of(shape)} depends on its context, which nothing tells here")


def _bodies_of(union: UnionShape, bodies: Bodies) -> tuple[tuple[int, Shape], ...]:
    declared = {tag for tag, _ in union.members}
    for tag, annotation in bodies:
        verify_body(annotation)
        if tag in declared:
            raise UsageError(f"{tag} selects a struct of this union already")
    return tuple((tag, shape_of(annotation)) for tag, annotation in bodies)
