"""What holds for every struct and every input: the wire format loses nothing, and has one reader, twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from operator import or_
from types import GenericAlias
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mls.messages import AuthenticatedContent, Commit, GroupInfo, GroupSecrets, KeyPackage, MLSMessage, Welcome
from treekem.errors import MalformedMessage, UsageError
from treekem.index import LeafIndex
from treekem.leaf_node import LeafNode
from treekem.nodes import Node, UpdatePath
from treekem.wire import (
    Encoded,
    Fixed,
    Given,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    When,
    Width,
    decode,
    decode_prefix,
    describe,
    encode_as,
    struct,
)
from treekem.wire.decoder import REFUSALS, decoder_of
from treekem.wire.shapes import shape_of
from treekem.wire.traced_reader import FaultFinder, TracedReader
from treekem.wire.traced_writer import TracedWriter


class Color(IntEnum):
    RED = 1
    GREEN = 2
    ULTRAVIOLET = 300


@dataclass(frozen=True)
class Kind:
    """An annotation, and the values that it describes."""

    annotation: Any
    values: st.SearchStrategy[Any]


SCALARS = [
    *(
        Kind(annotation, st.integers(0, (1 << bits) - 1))
        for annotation, bits in ((UInt8, 8), (UInt16, 16), (UInt32, 32), (UInt64, 64), (LeafIndex, 32))
    ),
    Kind(Annotated[Color, Width(2)], st.sampled_from(Color)),
    Kind(bytes, st.binary(max_size=6) | st.sampled_from([bytes(63), bytes(64), bytes(65)])),
    Kind(Annotated[bytes, Fixed(4)], st.binary(min_size=4, max_size=4)),
]
ENCODED = Kind(Annotated[bytes, Encoded(tuple[UInt16, ...])], st.sampled_from([b"\0", b"\2ab", b"\4abcd"]))

serial = itertools.count(1)


def struct_of(fields: list[Kind], conditions: list[int]) -> Kind:
    """Return a struct with these fields, each of `conditions` making one depend on a number before them."""
    annotations: dict[str, Any] = {"number": UInt8}
    values = {"number": st.integers(0, 2)}
    for place, (field, condition) in enumerate(zip(fields, conditions, strict=True)):
        annotation = (
            Annotated[field.annotation | None, When("number", condition.__eq__)] if condition else field.annotation
        )
        annotations[f"field_{place}"] = annotation
        values[f"field_{place}"] = field.values
    bare = type("Generated", (), {"__annotations__": annotations, "__module__": __name__})
    made: Callable[..., Any] = struct(tag=next(serial) % 65536, tag_width=2)(bare)

    def build(number: int, **rest: object) -> object:
        chosen = {
            name: value if not condition or condition == number else None
            for (name, value), condition in zip(rest.items(), conditions, strict=True)
        }
        return made(number=number, **chosen)

    return Kind(made, st.builds(build, **values))


def extend(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    vectors = kinds.map(
        lambda kind: Kind(GenericAlias(tuple, (kind.annotation, ...)), st.lists(kind.values, max_size=4).map(tuple))
    )
    optionals = kinds.map(lambda kind: Kind(kind.annotation | None, st.none() | kind.values))
    # `T | None` may stand in `When` once: what is optional by itself stays unconditional.
    fields = st.lists(st.tuples(kinds, st.integers(0, 2)), max_size=4)
    structs = fields.map(
        lambda chosen: struct_of(
            [kind for kind, _ in chosen],
            [0 if type(None) in getattr(kind.annotation, "__args__", ()) else condition for kind, condition in chosen],
        )
    )
    unions = st.lists(structs, min_size=2, max_size=3).map(
        lambda members: Kind(
            reduce(or_, (member.annotation for member in members)), st.one_of([member.values for member in members])
        )
    )
    return vectors | optionals | structs | unions


KINDS = st.recursive(st.sampled_from([*SCALARS, ENCODED]), extend, max_leaves=8)
CHECKED_KINDS = st.recursive(st.sampled_from(SCALARS), extend, max_leaves=8)  # Encoded is written unchecked.
CASES = KINDS.flatmap(lambda kind: st.tuples(st.just(kind.annotation), kind.values))

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete"]),
        st.integers(0, 1 << 16),
        st.sampled_from([0, 1, 2, 3, 4, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xFF]) | st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    buffer = bytearray(data)
    for edit, place, octet in edits:
        at = place % (len(buffer) + 1)
        match edit:
            case "replace":
                buffer[at : at + 1] = bytes([octet])
            case "insert":
                buffer[at:at] = bytes([octet])
            case _:
                del buffer[at : at + 1]
    return bytes(buffer)


def compiled(annotation: object, data: bytes) -> object:
    """Return what the compiled decoder says, `...` for a refusal."""
    try:
        value, end = decoder_of(shape_of(annotation))(data, 0, len(data))
    except REFUSALS:
        return ...
    return value if end == len(data) else ...


def traced(reader: TracedReader, annotation: object) -> object:
    """Return what a traced reader says, `...` for a refusal."""
    try:
        return reader.read_all(shape_of(annotation))
    except MalformedMessage as error:
        refusal = error
    assert refusal.rule
    assert refusal.where
    return ...


def assert_one_verdict(annotation: object, data: bytes) -> None:
    verdict = compiled(annotation, data)
    assert traced(TracedReader(data), annotation) == verdict
    assert traced(FaultFinder(data), annotation) == verdict
    if verdict is not ...:
        assert encode_as(annotation, verdict) == data


@pytest.mark.rfc("B02")
@given(CASES)
def test_values_survive_the_wire(case: tuple[object, object]) -> None:
    annotation, value = case
    data = encode_as(annotation, value)
    assert decode(annotation, data) == value
    assert TracedReader(data).read_all(shape_of(annotation)) == value
    assert decode_prefix(annotation, b"-" + data + b"-", 1) == (value, 1 + len(data))
    assert TracedWriter().measure(shape_of(annotation), value) == len(data)


@given(CASES)
def test_strict_prefixes_and_longer_inputs_are_refused(case: tuple[object, object]) -> None:
    annotation, value = case
    data = encode_as(annotation, value)
    for other in [*(data[:length] for length in range(len(data))), data + b"\0"]:
        with pytest.raises(MalformedMessage) as caught:
            decode(annotation, other)
        assert 0 <= caught.value.offset <= len(other)


@given(CASES, EDITS)
def test_compiled_and_traced_readers_agree(case: tuple[object, object], edits: list[tuple[str, int, int]]) -> None:
    annotation, value = case
    assert_one_verdict(annotation, edited(encode_as(annotation, value), edits))


MESSAGES = [
    AuthenticatedContent,
    Commit,
    GroupInfo,
    GroupSecrets,
    KeyPackage,
    LeafNode,
    MLSMessage,
    UpdatePath,
    Welcome,
    tuple[Node | None, ...],
]


@pytest.mark.rfc("N-C12")
@given(
    st.sampled_from(MESSAGES),
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 0x40, 0xC0]), max_size=120).map(bytes) | st.binary(max_size=80),
)
def test_compiled_and_traced_readers_agree_on_noise(annotation: object, data: bytes) -> None:
    assert_one_verdict(annotation, data)
    assert_one_verdict(annotation, b"\0\1" + data)


@given(CASES, EDITS)
def test_a_description_covers_what_was_read(case: tuple[object, object], edits: list[tuple[str, int, int]]) -> None:
    annotation, value = case
    data = encode_as(annotation, value)
    description = describe(annotation, data)
    assert description.error is None
    assert description.root.length == len(data)

    data = edited(data, edits)
    description = describe(annotation, data)
    assert (description.error is None) == (compiled(annotation, data) is not ...)
    assert 0 <= description.root.length <= len(data)


@given(CHECKED_KINDS, KINDS.flatmap(lambda kind: kind.values))
def test_a_value_of_another_type_is_encoded_well_formed_or_refused(kind: Kind, stranger: object) -> None:
    try:
        data = encode_as(kind.annotation, stranger)
    except UsageError:
        return
    assert encode_as(kind.annotation, decode(kind.annotation, data)) == data


@struct
class Inner:
    always: bytes
    sometimes: Annotated[tuple[UInt16, ...] | None, When()]


@struct
class Outer:
    kind: UInt8
    inner: Annotated[Inner, Given("kind", lambda kind: kind > 1)]


@given(st.binary(max_size=12))
def test_context_is_read_alike(data: bytes) -> None:
    assert_one_verdict(Outer, data)
