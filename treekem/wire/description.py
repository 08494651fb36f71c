"""What stands where in an encoded object, for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from treekem.errors import MalformedMessage, UsageError
from treekem.wire.encoder import octets_of
from treekem.wire.shapes import Shape, StructShape, name_of, shape_of
from treekem.wire.traced_reader import TracedReader


@dataclass(frozen=True, slots=True)
class Node:
    """One part: `length` bytes from `offset` on, length header, tag and presence octet included.

    A struct or a vector has `children` and no value; anything else has a value, None if it is absent.
    """

    name: str
    type_name: str
    offset: int
    length: int
    value: int | bytes | None
    children: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """The parts that could be read, and, where the input is malformed, the error that ended the reading."""

    root: Node
    error: MalformedMessage | None


def describe(kind: object, data: bytes | bytearray | memoryview) -> Description:
    """Return what stands where in `data`, taken as one `kind`, a struct or any annotation that stands by itself.

    Raises UsageError for what no wire format has, or depends on its context; malformed input is part of the answer.

    RFC 9420 §2.1.
    """
    shape, describer = shape_of(kind), _Describer(octets_of(data))
    if isinstance(shape, StructShape) and shape.has_context:
        raise UsageError(f"{name_of(shape)} depends on its context, which nothing tells here")
    error = None
    try:
        describer.read_all(shape)
    except MalformedMessage as refusal:
        error = refusal
    return Description(describer.root, error)


@dataclass(slots=True)
class _Part:
    """A part that has begun."""

    name: str
    type_name: str
    offset: int
    children: list[Node] = field(default_factory=list)

    def close(self, end: int, value: object) -> Node:
        """Return the part as it was read up to `end`."""
        leaf = value if isinstance(value, int | bytes) and not self.children else None
        return Node(self.name, self.type_name, self.offset, end - self.offset, leaf, tuple(self.children))


class _Describer(TracedReader):
    """Keeps every part that begins, finished or not."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._open: list[_Part] = []
        self._root: Node | None = None

    def begin(self, name: str, shape: Shape) -> None:
        self._open.append(_Part(name.removeprefix("."), name_of(shape), self.pos))

    def choose(self, shape: StructShape) -> None:
        self._open[-1].type_name = name_of(shape)

    def finish(self, value: object) -> None:
        node = self._open.pop().close(self.pos, value)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self._root = node

    @property
    def root(self) -> Node:
        """The tree as far as it was read: parts that are still open end where the reader stands."""
        while self._open:
            self.finish(None)
        if self._root is None:
            raise UsageError("nothing was read")
        return self._root
