"""RFC 9420 §2.1: the presentation language."""

from __future__ import annotations

import tracemalloc
from typing import Annotated

import pytest

from mls.messages import (
    Commit,
    ContentType,
    MLSMessage,
    PreSharedKeyID,
    PrivateMessage,
    ReInit,
    SenderData,
)
from tests.support.wire import CAPABILITIES, LEAF, Envelope, HugeBytes, Letter, Numbers, Tail, Wide, misuse, refusal
from treekem.errors import Code, MalformedMessage, UsageError
from treekem.index import LeafIndex
from treekem.leaf_node import (
    Capabilities,
    Certificate,
    CommitSource,
    Extension,
    KeyPackageSource,
    LeafNode,
    UpdateSource,
)
from treekem.nodes import Node, ParentNode
from treekem.wire import (
    Fixed,
    UInt8,
    UInt16,
    UInt64,
    decode,
    decode_prefix,
    decode_varint,
    encode,
    encode_as,
    encode_varint,
)


@pytest.mark.rfc("R-2.1-01", "R-2.1-02")
def test_integers_are_fixed_width_in_network_order_and_fields_follow_each_other() -> None:
    numbers = Numbers(1, 0x0203, 0x04050607, 0x08090A0B0C0D0E0F)
    assert encode(numbers) == bytes(range(1, 16))
    assert decode(Numbers, bytes(range(1, 16))) == numbers


@pytest.mark.rfc("R-2.1-02")
def test_a_struct_is_not_written_as_another_one() -> None:
    assert misuse(CommitSource, Certificate(b"the same fields")).rule == "R-2.1-02"
    assert misuse(Extension, CAPABILITIES).rule == "R-2.1-02"


@pytest.mark.rfc("R-2.1-01")
@pytest.mark.parametrize(
    ("field", "value"),
    [("small", 256), ("medium", -1), ("large", 1 << 32), ("huge", 1 << 64), ("small", "1"), ("large", None)],
)
def test_integers_out_of_range_are_not_encoded(field: str, value: object) -> None:
    fields = {"small": 0, "medium": 0, "large": 0, "huge": 0} | {field: value}
    error = misuse(Numbers, Numbers(**fields))  # type: ignore[arg-type]  # the wrong type is what is tested
    assert error.rule == "R-2.1-01"
    assert f"Numbers.{field}" in str(error)


@pytest.mark.rfc("R-2.1-01")
@pytest.mark.parametrize("kind", [tuple[UInt8, ...], tuple[UInt16, ...], tuple[LeafIndex, ...], tuple[UInt64, ...]])
def test_integers_in_vectors_are_held_to_the_same_range(kind: object) -> None:
    assert decode(kind, encode_as(kind, (0, 255))) == (0, 255)
    assert misuse(kind, (0, 1 << 64)).rule == "R-2.1-01"


@pytest.mark.rfc("R-2.1-03")
def test_an_enum_is_as_wide_as_its_ceiling_demands() -> None:
    message = PrivateMessage(b"", 0, ContentType.COMMIT, b"", b"", b"")
    assert encode(message) == bytes(9) + b"\x03" + bytes(3)
    assert encode(Envelope(encode(Extension(1, b"")), Wide.LAST)).endswith(b"\x01\x2c")
    assert misuse(PrivateMessage, PrivateMessage(b"", 0, 300, b"", b"", b"")).rule == "R-2.1-10"  # type: ignore[arg-type]  # an unnamed value


@pytest.mark.rfc("R-2.1-04")
def test_a_select_writes_the_chosen_arm_alone() -> None:
    assert encode(Letter(1, None, Tail(b"b", None))) == b"\x01\x01b"
    assert encode(Letter(2, 7, Tail(b"b", None))) == b"\x02\x00\x07\x01b"
    assert encode(Letter(3, 7, Tail(b"b", b"x"))) == b"\x03\x00\x07\x01b\x01x"
    assert decode(Letter, b"\x03\x00\x07\x01b\x01x") == Letter(3, 7, Tail(b"b", b"x"))
    assert encode_as(Node, ParentNode(b"", b"", ())) == b"\x02" + bytes(3)
    assert encode(ParentNode(b"", b"", ())) == bytes(3)


@pytest.mark.rfc("R-2.1-04")
@pytest.mark.parametrize(
    "letter",
    [
        Letter(1, 7, Tail(b"", None)),
        Letter(2, None, Tail(b"", None)),
        Letter(2, 7, Tail(b"", b"x")),
        Letter(3, 7, Tail(b"", None)),
    ],
)
def test_an_arm_that_is_not_selected_is_not_encoded(letter: Letter) -> None:
    assert misuse(Letter, letter).rule == "R-2.1-04"


@pytest.mark.rfc("R-2.1-04")
def test_a_struct_that_a_union_does_not_name_is_not_encoded() -> None:
    assert misuse(Node, CAPABILITIES).rule == "R-2.1-04"


@pytest.mark.rfc("R-2.1-05")
def test_a_fixed_array_and_a_bare_tail_carry_no_length() -> None:
    data = encode(SenderData(LeafIndex(1), 2, b"abcd"))
    assert data == b"\0\0\0\1\0\0\0\2abcd"
    assert decode_prefix(SenderData, data + bytes(9)) == (SenderData(LeafIndex(1), 2, b"abcd"), len(data))
    assert misuse(SenderData, SenderData(LeafIndex(1), 2, b"abc")).rule == "R-2.1-05"


@pytest.mark.rfc("R-2.1-05")
def test_every_fixed_array_of_a_vector_has_its_length() -> None:
    kind = tuple[Annotated[bytes, Fixed(2)], ...]
    assert encode_as(kind, (b"ab", b"cd")) == b"\x04abcd"
    assert misuse(kind, (b"ab", b"cde")).rule == "R-2.1-05"


@pytest.mark.rfc("R-2.1-06", "R-2.1-09")
def test_a_vector_counts_bytes_and_its_elements_fill_it() -> None:
    assert encode_as(tuple[UInt16, ...], (1, 2)) == b"\x04\0\1\0\2"
    assert encode_as(tuple[Extension, ...], (Extension(1, b"xy"),)) == b"\x05\0\1\2xy"
    assert decode(tuple[UInt16, ...], b"\x04\0\1\0\2") == (1, 2)


@pytest.mark.rfc("R-2.1-09", "N-C05")
@pytest.mark.parametrize(
    ("kind", "data", "where"),
    [
        (tuple[UInt16, ...], b"\x03\0\1\0", "uint16<V>[1]"),
        (tuple[Annotated[bytes, Fixed(2)], ...], b"\x03abc", "opaque[2]<V>[1]"),
        (Commit, b"\x04\x01\x00\x03\x00" + bytes(9), "Commit.proposals[0].proposal.removed"),
    ],
)
def test_an_element_that_straddles_the_end_of_its_vector_is_refused(kind: object, data: bytes, where: str) -> None:
    error = refusal(kind, data)
    assert (error.rule, error.code, error.where) == ("R-2.1-09", Code.TRUNCATED, where)


@pytest.mark.rfc("R-2.1-07")
@pytest.mark.parametrize("value", [LEAF, CAPABILITIES, Numbers(1, 2, 3, 4), Letter(3, 7, Tail(b"b", b"x"))])
def test_every_strict_prefix_is_refused(value: object) -> None:
    data = encode(value)
    assert decode(type(value), data) == value
    for length in range(len(data)):
        error = refusal(type(value), data[:length])
        assert error.code == Code.TRUNCATED
        assert error.rule in {"R-2.1-07", "R-2.1-09", "R-2.1.2-05"}


@pytest.mark.rfc("R-2.1-07")
def test_a_refusal_says_where() -> None:
    error = refusal(Numbers, bytes(6))
    assert (error.rule, error.where, error.offset) == ("R-2.1-07", "Numbers.large", 3)
    assert str(error) == "truncated at Numbers.large, byte 3 [R-2.1-07]"

    error = refusal(LeafNode, encode(LEAF)[:83])
    assert (error.rule, error.where, error.offset) == ("R-2.1.2-05", "LeafNode.capabilities.cipher_suites", 77)
    assert refusal(Node, b"\x02" + bytes(2)).where == "ParentNode.unmerged_leaves"
    behind_a_vector = refusal(Commit, b"\0")
    assert (behind_a_vector.rule, behind_a_vector.where) == ("R-2.1-07", "Commit.path")


@pytest.mark.rfc("R-2.1-08", "N-C04")
@pytest.mark.parametrize("value", [LEAF, CAPABILITIES, UpdateSource()])
def test_what_stands_behind_the_object_is_refused(value: object) -> None:
    data = encode(value)
    error = refusal(type(value), data + b"\0")
    assert (error.rule, error.code, error.offset) == ("R-2.1-08", Code.TRAILING_DATA, len(data))
    assert error.where == type(value).__name__
    assert decode_prefix(type(value), data + b"\0") == (value, len(data))


@pytest.mark.rfc("R-2.1-10", "N-C07")
@pytest.mark.parametrize(
    ("kind", "good", "place"),
    [
        (PrivateMessage, bytes(9) + b"\x01" + bytes(3), 9),
        (PreSharedKeyID, b"\x01\0\0", 0),
        (PreSharedKeyID, b"\x02\x01\0" + bytes(8) + b"\0", 1),
        (Node, b"\x02" + bytes(3), 0),
        (KeyPackageSource | UpdateSource | CommitSource, b"\x02", 0),
        (Commit, b"\x02\x02\x00\x00", 1),
    ],
)
def test_closed_enums_refuse_what_is_not_assigned(kind: object, good: bytes, place: int) -> None:
    decode(kind, good)
    for number in (0, 9, 255):
        error = refusal(kind, good[:place] + bytes([number]) + good[place + 1 :])
        assert (error.rule, error.code, error.offset) == ("R-2.1-10", Code.UNKNOWN_ENUM, place)


@pytest.mark.rfc("R-2.1-11", "R-2.1-12", "N-C07")
def test_registered_numbers_are_kept_whether_known_or_not() -> None:
    capabilities = Capabilities((1, 2, 0xFFFF), (0, 0x0A0A), (0xF000,), (0,), (0x1234,))
    assert decode(Capabilities, encode(capabilities)) == capabilities
    re_init = ReInit(b"g", 2, 0xF123, ())
    assert decode(ReInit, encode(re_init)) == re_init
    assert misuse(Capabilities, Capabilities((1 << 16,), (), (), (), ())).rule == "R-2.1-01"


@pytest.mark.rfc("R-2.1-13")
def test_a_body_of_an_unknown_type_is_refused() -> None:
    private_message = b"\0\1\0\2" + bytes(9) + b"\x01" + bytes(3)
    assert isinstance(decode(MLSMessage, private_message).body, PrivateMessage)
    error = refusal(MLSMessage, private_message.replace(b"\0\1\0\2", b"\0\1\xf1\x23"))
    assert (error.rule, error.code, error.where) == ("R-2.1-13", Code.UNKNOWN_ENUM, "MLSMessage.body")
    assert refusal(Commit, b"\x03\x01\x00\x63\x00").rule == "R-2.1-13"


@pytest.mark.rfc("R-2.1-14", "B02")
def test_what_is_decoded_encodes_to_the_same_bytes() -> None:
    data = encode(LEAF)
    assert encode(decode(LeafNode, data)) == data
    sealed = encode(Envelope(encode(LEAF.extensions[0]), Wide.FIRST))
    assert decode(Envelope, sealed).sealed == encode(LEAF.extensions[0])
    assert refusal(Envelope, b"\0\1\x40\x01x\0\1").rule == "R-2.1.2-03"


@pytest.mark.rfc("R-2.1-15", "N-C10")
@pytest.mark.parametrize("kind", [tuple[Node | None, ...], tuple[bytes, ...], tuple[UInt8, ...]])
@pytest.mark.parametrize("last", [b"\0", b"\xff"])
def test_memory_is_bounded_by_the_input(kind: object, last: bytes) -> None:
    length = 1 << (20 if last == b"\0" else 18)
    data = encode_varint(length) + bytes(length - 1) + last
    tracemalloc.start()
    try:
        elements: tuple[object, ...] = decode(kind, data)
        assert len(elements) == length
    except MalformedMessage as error:
        assert last == b"\xff", error  # noqa: PT017  (which of the two inputs it was is the point)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 * len(data)


@pytest.mark.rfc("R-2.1-15", "N-C03")
def test_an_announced_length_costs_nothing() -> None:
    tracemalloc.start()
    error = refusal(tuple[Node | None, ...], b"\xbf\xff\xff\xff")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.rule == "R-2.1.2-05"
    assert peak < 1 << 20


@pytest.mark.rfc("R-2.1.1-01")
def test_an_optional_is_one_octet_and_then_perhaps_a_value() -> None:
    assert encode_as(UInt16 | None, None) == b"\0"
    assert encode_as(UInt16 | None, 7) == b"\1\0\7"
    assert decode(UInt16 | None, b"\0") is None
    assert decode(UInt16 | None, b"\1\0\7") == 7
    assert misuse(UInt16 | None, 1 << 16).rule == "R-2.1-01"


@pytest.mark.rfc("R-2.1.1-02", "N-C06")
@pytest.mark.parametrize("octet", [2, 0x80, 0xFF])
def test_other_presence_octets_are_refused(octet: int) -> None:
    assert decode(Commit, b"\0\0") == Commit((), None)
    error = refusal(Commit, bytes([0, octet]))
    assert (error.rule, error.code) == ("R-2.1.1-02", Code.BAD_PRESENCE_OCTET)
    assert (error.where, error.offset) == ("Commit.path", 1)
    assert refusal(tuple[Node | None, ...], bytes([1, octet])).rule == "R-2.1.1-02"


HEADERS = [
    (0, "00"),
    (37, "25"),
    (63, "3f"),
    (64, "4040"),
    (15293, "7bbd"),
    (16383, "7fff"),
    (16384, "80004000"),
    (494878333, "9d7f3e7d"),
    ((1 << 30) - 1, "bfffffff"),
]


@pytest.mark.rfc("R-2.1.2-01", "R-2.1.2-02", "B09")
@pytest.mark.parametrize(("length", "header"), HEADERS)
def test_length_headers_are_the_shortest(length: int, header: str) -> None:
    assert encode_varint(length).hex() == header
    assert decode_varint(b"x" + bytes.fromhex(header) + b"y", 1) == (length, 1 + len(header) // 2)
    if length < 1 << 15:
        assert encode_as(bytes, bytes(length)) == bytes.fromhex(header) + bytes(length)


@pytest.mark.rfc("R-2.1.2-03", "N-C01")
@pytest.mark.parametrize("header", ["4000", "4025", "403f", "80000000", "80000040", "80003fff"])
def test_longer_headers_than_needed_are_refused(header: str) -> None:
    data = bytes.fromhex(header) + bytes(1 << 14)
    assert refusal(bytes, data).rule == "R-2.1.2-03"
    assert refusal(Extension, b"\0\1" + data).code == Code.NON_MINIMAL_VARINT
    assert refusal(tuple[UInt16, ...], data).offset == 0
    with pytest.raises(MalformedMessage) as caught:
        decode_varint(data)
    assert caught.value.rule == "R-2.1.2-03"


@pytest.mark.rfc("R-2.1-07")
@pytest.mark.parametrize("header", ["", "40", "7f", "80", "8000", "800000", "bf", "bfffff"])
def test_a_header_that_is_cut_short_is_truncated_whatever_its_beginning_says(header: str) -> None:
    data = bytes.fromhex(header)
    assert (refusal(bytes, data).rule, refusal(bytes, data).code) == ("R-2.1-07", Code.TRUNCATED)
    with pytest.raises(MalformedMessage) as caught:
        decode_varint(b"x" + data, 1)
    assert (caught.value.rule, caught.value.code, caught.value.offset) == ("R-2.1-07", Code.TRUNCATED, 1)


@pytest.mark.rfc("R-2.1.2-04", "N-C02")
@pytest.mark.parametrize("header", ["c0", "ff", "c000000000000001"])
def test_headers_with_the_bits_11_are_refused(header: str) -> None:
    data = bytes.fromhex(header)
    error = refusal(Extension, b"\0\1" + data)
    assert (error.rule, error.code) == ("R-2.1.2-04", Code.INVALID_VARINT_PREFIX)
    assert (error.where, error.offset) == ("Extension.extension_data", 2)
    with pytest.raises(MalformedMessage) as caught:
        decode_varint(b"\0" + data, 1)
    assert (caught.value.rule, caught.value.offset) == ("R-2.1.2-04", 1)


@pytest.mark.rfc("R-2.1.2-05", "N-C05")
@pytest.mark.parametrize(
    ("kind", "data", "offset"),
    [
        (bytes, b"\xbf\xff\xff\xff", 0),
        (bytes, b"\x02a", 0),
        (tuple[bytes, ...], b"\x02\x02aa", 1),
        (tuple[tuple[UInt8, ...], ...], b"\x02\x02aa", 1),
    ],
)
def test_a_length_that_exceeds_what_encloses_it_is_refused(kind: object, data: bytes, offset: int) -> None:
    error = refusal(kind, data)
    assert (error.rule, error.code, error.offset) == ("R-2.1.2-05", Code.TRUNCATED, offset)


@pytest.mark.rfc("R-2.1.2-06")
def test_no_vector_exceeds_two_to_the_thirtieth() -> None:
    for kind, value in ((bytes, HugeBytes()), (Extension, Extension(1, HugeBytes()))):
        assert misuse(kind, value).rule == "R-2.1.2-06"
    for length in (1 << 30, -1):
        with pytest.raises(UsageError) as caught:
            encode_varint(length)
        assert caught.value.rule == "R-2.1.2-06"


@pytest.mark.rfc("R-2.1.2-07")
def test_what_is_as_long_as_the_limit_is_read() -> None:
    data = encode(LEAF)
    assert decode(LeafNode, data, limit=len(data)) == LEAF


@pytest.mark.rfc("R-2.1.2-07")
def test_a_limit_is_an_error_of_its_own() -> None:
    data = encode(LEAF)
    with pytest.raises(MalformedMessage) as caught:
        decode(LeafNode, data, limit=len(data) - 1)
    assert (caught.value.rule, caught.value.code) == ("R-2.1.2-07", Code.LIMIT_EXCEEDED)


@pytest.mark.rfc("R-2.1.2-08")
@pytest.mark.parametrize(
    ("kind", "empty"), [(bytes, b""), (tuple[UInt16, ...], ()), (tuple[Extension, ...], ()), (tuple[bytes, ...], ())]
)
def test_an_empty_vector_is_one_zero_octet(kind: object, empty: object) -> None:
    assert encode_as(kind, empty) == b"\0"
    assert decode(kind, b"\0") == empty
