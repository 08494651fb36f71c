"""RFC 9420 §2.1: how structs are declared, what the codecs take, and what `describe` shows."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Annotated

import pytest

from mls.messages import FramedContentAuthData, GroupSecrets, WirePathSecret
from tests.support.wire import CAPABILITIES, LEAF, Envelope, Numbers, Tail, misuse
from treekem.errors import MalformedMessage, UsageError
from treekem.leaf_node import (
    BasicCredential,
    Extension,
    KeyPackageSource,
    LeafNode,
    UpdateSource,
)
from treekem.nodes import ParentNode
from treekem.secrets import Secret
from treekem.wire import (
    Encoded,
    Fixed,
    Given,
    UInt8,
    When,
    Width,
    decode,
    decode_prefix,
    decode_varint,
    describe,
    encode,
    encode_as,
    struct,
)


@struct(tag=9, tag_width=1)
class TaggedTail:
    extra: Annotated[bytes | None, When()]


def test_what_keeps_its_encoding_is_encoded_once_and_anew_where_it_differs() -> None:
    written = encode(LEAF)
    assert encode(LEAF) is written
    read = decode(LeafNode, written)
    assert (read, encode(read)) == (LEAF, written)
    other = replace(read, encryption_key=b"other")
    assert (decode(LeafNode, encode(other)), encode(other) == written) == (other, False)
    with pytest.raises(MalformedMessage):
        decode(LeafNode, written[:-1])


@pytest.mark.parametrize("value", ["text", 7, None, [1, 2]])
def test_what_is_not_bytes_is_not_encoded_as_bytes(value: object) -> None:
    for kind in (bytes, Annotated[bytes, Fixed(2)], Annotated[bytes, Encoded(Extension)]):
        assert "bytes" in str(misuse(kind, value))


@pytest.mark.parametrize("octets", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"a-b-c-d")[::2]])
def test_any_buffer_is_encoded(octets: object) -> None:
    assert encode_as(bytes, octets) == b"\x04abcd"
    assert encode_as(Annotated[bytes, Fixed(4)], octets) == b"abcd"


def test_items_wider_than_a_byte_are_counted_as_bytes_or_refused() -> None:
    wide = array("H", [1, 2])
    assert encode_as(bytes, memoryview(wide)) == b"\x04" + wide.tobytes()
    assert "bytes" in str(misuse(bytes, wide))
    assert misuse(Annotated[bytes, Fixed(2)], memoryview(wide)).rule == "R-2.1-05"
    assert "bytes" in str(misuse(Annotated[bytes, Fixed(2)], wide))


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), "", {}, {1, 2}, {1: 2}])
def test_only_a_sequence_of_elements_is_encoded_as_a_vector(value: object) -> None:
    assert encode_as(tuple[UInt8, ...], [1, 2]) == b"\2\1\2"
    for kind in (tuple[UInt8, ...], tuple[bytes, ...]):
        assert "vector" in str(misuse(kind, value))


def test_a_misplaced_value_is_refused_without_being_shown() -> None:
    for misplaced in (b"hunter2", "hunter2", Secret(b"hunter2"), 10**5000):
        for kind, value in (
            (Numbers, Numbers(misplaced, 0, 0, 0)),  # type: ignore[arg-type]  # the wrong type is what is tested
            (Envelope, Envelope(b"\0\1\0", misplaced)),  # type: ignore[arg-type]  # likewise
        ):
            error = misuse(kind, value)
            assert error.rule in {"R-2.1-01", "R-2.1-10"}
            assert "hunter2" not in str(error)
            assert len(str(error)) < 100


def test_a_struct_of_another_kind_is_not_encoded() -> None:
    assert misuse(tuple[Extension, ...], (CAPABILITIES,)).rule == "R-2.1-02"
    assert misuse(Envelope | None, Numbers(0, 0, 0, 0)).rule == "R-2.1-02"
    assert misuse(UpdateSource, LeafNode).rule == "R-2.1-02"
    assert "vector" in str(misuse(tuple[Extension, ...], 7))
    with pytest.raises(UsageError):
        encode(7)


def test_any_buffer_is_decoded() -> None:
    data = encode(LEAF)
    assert decode(LeafNode, bytearray(data)) == decode(LeafNode, memoryview(data)) == LEAF
    value, end = decode_prefix(LeafNode, memoryview(b"--" + data + b"-"), 2)
    assert (value, end) == (LEAF, 2 + len(data))
    with pytest.raises(UsageError):
        decode(LeafNode, 7)  # type: ignore[call-overload]  # the wrong type is what is tested
    with pytest.raises(UsageError):
        decode_prefix(LeafNode, data, len(data) + 1)
    with pytest.raises(UsageError):
        decode_varint(data, -1)


def test_a_prefix_is_refused_with_offsets_from_the_start_of_the_input() -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_prefix(Numbers, b"--" + bytes(4), 2)
    assert (caught.value.where, caught.value.offset) == ("Numbers.large", 5)


def test_a_struct_that_depends_on_its_context_is_told() -> None:
    with_tag = b"\x01s\x01t"
    assert decode_prefix(FramedContentAuthData, with_tag, given=True) == (FramedContentAuthData(b"s", b"t"), 4)
    assert decode_prefix(FramedContentAuthData, with_tag, given=False) == (FramedContentAuthData(b"s", None), 2)
    with pytest.raises(UsageError):
        decode(FramedContentAuthData, with_tag)
    with pytest.raises(MalformedMessage) as caught:
        decode_prefix(FramedContentAuthData, with_tag[:2], given=True)
    assert caught.value.where == "FramedContentAuthData.confirmation_tag"


def test_a_secret_that_travels_is_not_shown() -> None:
    secrets = GroupSecrets(b"hunter2", WirePathSecret(b"hunter3"), ())
    assert decode(GroupSecrets, encode(secrets)) == secrets
    assert repr(secrets) == "GroupSecrets(path_secret=WirePathSecret(), psks=())"


def test_structs_are_frozen_values() -> None:
    assert hash(LEAF) == hash(decode(LeafNode, encode(LEAF)))
    with pytest.raises(AttributeError):
        LEAF.signature = b""  # type: ignore[misc]  # frozen is what is tested


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        str,
        tuple[UInt8, UInt8],
        list[bytes],
        tuple[UpdateSource, ...],
        ParentNode | Extension,
        LeafNode | UpdateSource | BasicCredential,
        LeafNode | KeyPackageSource,
        ParentNode | BasicCredential,
        UpdateSource | TaggedTail,
        tuple[Tail, ...],
        Annotated[bytes, Width(1)],
        Annotated[Extension, Given("kind", bool)],
        Annotated[bytes, When()],
        Annotated[bytes | None, When("kind")],
        Annotated[bytes | None, When()],
        Annotated[bytes | None, When("kind", bool)] | None,
        Annotated[Tail, Given("kind", bool)],
        Annotated[Tail, Given("kind", bool)] | None,
        tuple[Annotated[Tail, Given("kind", bool)], ...],
    ],
)
def test_annotations_without_a_wire_format_are_refused(annotation: object) -> None:
    with pytest.raises(UsageError):
        decode(annotation, b"")
    with pytest.raises(UsageError):
        encode_as(annotation, None)


def test_a_condition_names_an_earlier_field() -> None:
    @struct
    class Backwards:
        body: Annotated[bytes | None, When("kind", bool)]
        kind: UInt8

    Backwards.__annotations__ |= {"body": Annotated[bytes | None, When("kind", bool)], "kind": UInt8}
    with pytest.raises(UsageError, match="before"):
        encode(Backwards(None, 0))


def test_a_description_shows_every_part() -> None:
    description = describe(LeafNode, encode(LEAF))
    assert description.error is None
    root = description.root
    assert (root.name, root.type_name, root.offset, root.length) == ("LeafNode", "LeafNode", 0, len(encode(LEAF)))
    assert [part.name for part in root.children][:3] == ["encryption_key", "signature_key", "credential"]
    assert sum(part.length for part in root.children) == root.length
    assert (root.children[0].type_name, root.children[0].value) == ("opaque<V>", b"e" * 32)
    assert (root.children[2].type_name, root.children[2].offset) == ("BasicCredential", 66)
    suites = root.children[3].children[1]
    assert [part.value for part in suites.children] == [1, 2, 0x0A0A]
    assert [part.name for part in suites.children] == ["[0]", "[1]", "[2]"]


def test_a_description_takes_what_decode_takes() -> None:
    assert describe(Extension, memoryview(b"\0\1\0")) == describe(Extension, b"\0\1\0")
    for kind, data in ((Extension, 3), (Extension, "abc"), (FramedContentAuthData, b"\0")):
        with pytest.raises(UsageError):
            describe(kind, data)  # type: ignore[arg-type]  # the wrong type is what is tested


def test_a_description_of_malformed_input_ends_where_reading_did() -> None:
    description = describe(LeafNode, encode(LEAF)[:83])
    assert description.error is not None
    assert description.error.where == "LeafNode.capabilities.cipher_suites"
    assert [part.name for part in description.root.children][-1] == "capabilities"
    assert [part.name for part in description.root.children[3].children] == ["versions", "cipher_suites"]

    trailing = describe(Extension, b"\0\1\0\0")
    assert trailing.error is not None
    assert trailing.error.rule == "R-2.1-08"
    assert trailing.root.length == 3
