"""How wire structs are declared: a decorator, and the marks that stand in annotations.

A struct is a frozen, slotted dataclass whose annotations are the RFC's syntax:

- `UInt8 … UInt64` for `uint8 … uint64`, `LeafIndex` for a `uint32` that counts leaves;
- `bytes` for `opaque x<V>`, `Annotated[bytes, Fixed(4)]` for `opaque x[4]`;
- `tuple[T, ...]` for `T x<V>`, `T | None` for `optional<T>`, another struct for itself;
- `A | B | C`, structs with tags of one width, for an enum beside the `select` that it governs;
- `Annotated[E, Width(1)]`, E an IntEnum, for a closed enum.

For the few structs whose `select` looks at a tag elsewhere there are `When` and `Given`. RFC 9420 §2.1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, dataclass_transform, overload

T = TypeVar("T")

Predicate = Callable[..., bool]
"""Judges the value of one earlier field; it must be total, for hostile input reaches it."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Marks an int as an unsigned integer of `width` bytes."""

    width: int


UInt8 = Annotated[int, Unsigned(1)]
UInt16 = Annotated[int, Unsigned(2)]
UInt32 = Annotated[int, Unsigned(4)]
UInt64 = Annotated[int, Unsigned(8)]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Marks bytes as `opaque x[length]`, which carries no length header."""

    length: int


@dataclass(frozen=True, slots=True)
class Width:
    """Marks an IntEnum as a closed enum of `width` bytes."""

    width: int


@dataclass(frozen=True, slots=True)
class When:
    """Marks `T | None` as present, without a presence octet, exactly when a condition holds.

    The condition is `predicate(value of the earlier field)`, or, for a bare `When()`, what `Given` says around the
    struct.
    """

    field: str | None = None
    predicate: Predicate | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """Marks a struct with bare `When()` fields: they are there exactly when `predicate(value of the earlier field)`."""

    field: str
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class Encoded:
    """Marks bytes as one `kind`, checked by its grammar when decoded, and kept as encoded.

    They are written as they are, without a length header and unchecked: who holds them has decoded or encoded them.
    """

    kind: object


class Kept:
    """The base of structs that keep their encoding: public ones that are hashed, signed and sent, each as a whole.

    Structs are frozen and the encoding of a value is unique, so that what was decoded, or encoded once, still holds.
    """

    __slots__ = ("_encoding",)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What `@struct` remembers of a class: its tag, or None, the tag's width in bytes, and whether it is the rest."""

    tag: int | None
    tag_width: int
    rest: bool = False


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def struct(cls: type[T], /) -> type[T]: ...
@overload
def struct(*, tag: int, tag_width: int = 2) -> Callable[[type[T]], type[T]]: ...
@overload
def struct(*, rest: bool, tag_width: int = 2) -> Callable[[type[T]], type[T]]: ...
def struct(
    cls: type[T] | None = None, /, *, tag: int | None = None, tag_width: int = 2, rest: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """Declare a wire struct: the class becomes a frozen, slotted dataclass.

    `tag` is the number that selects it in unions, `tag_width` that number's width in bytes. The one that is the `rest`
    of a union stands for all other numbers: it has two fields, the number and the octets behind it, which are read
    where the decoder is told what they are. Annotations are read at
    the first use, so they may name what is declared later in the module. A field that carries a secret says
    `= field(repr=False)`.

    RFC 9420 §2.1.
    """

    def declare(bare: type[T]) -> type[T]:
        declared = dataclass(frozen=True, slots=True)(bare)
        type.__setattr__(declared, _MARK, Declaration(tag, tag_width, rest))
        return declared

    return declare if cls is None else declare(cls)


def declaration_of(kind: object) -> Declaration | None:
    """Return what `@struct` remembered of `kind`, or None for anything else."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return None
    declaration = kind.__dict__.get(_MARK)
    return declaration if isinstance(declaration, Declaration) else None


_MARK = "__wire__"
