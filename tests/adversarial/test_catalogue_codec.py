"""Hostile encodings at every place of every kind of message, and trees that only their width makes hostile."""

from __future__ import annotations

import inspect
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from mls import AcceptAnyone, Add, Client, Identity, MemoryStore, intents
from mls.errors import Code, MalformedMessage
from mls.messages import MLSMessage
from tests.support.wire import LEAF
from tests.support.world import NOW, World, join, records
from treekem.errors import InvalidTree
from treekem.nodes import Node as TreeNode
from treekem.nodes import ParentNode
from treekem.tree import RatchetTree
from treekem.wire import Node, decode, decode_varint, describe, encode, encode_as, encode_varint

KINDS = ("commit", "proposal", "addition", "reinit", "application", "welcome", "group info", "key package")


@pytest.fixture(scope="module")
def messages() -> dict[str, bytes]:
    """Return a message of every kind, with vectors and optional values of most kinds in them."""
    world = World(private_handshakes=False, grease=False)
    alice, bob, _ = world.group(3)
    invited = alice.commit([Add(world.client("dora").key_package())])
    return {
        "commit": invited.message,
        "welcome": invited.welcome or b"",
        "application": bob.encrypt(b"hello"),
        "proposal": bob.propose(intents.ResumptionPSK(1)).message,
        "addition": bob.propose(Add(world.client("erin").key_package())).message,
        "reinit": bob.propose(intents.ReInit(b"successor", cipher_suite=1)).message,
        "group info": alice.group_info(),
        "key package": world.client("frank").key_package(),
    }


def parts(node: Node) -> Iterator[Node]:
    """Yield a part of a message and all parts of it."""
    yield node
    for child in node.children:
        yield from parts(child)


def vectors_in(message: bytes) -> list[Node]:
    found = [part for part in parts(describe(MLSMessage, message).root) if part.type_name.endswith("<V>")]
    assert found
    return found


def with_header(message: bytes, vector: Node, header: bytes) -> bytes:
    """Return the message with another length header before a vector."""
    _, start = decode_varint(message, vector.offset)
    return message[: vector.offset] + header + message[start:]


def refusal(message: bytes) -> MalformedMessage:
    with pytest.raises(MalformedMessage) as caught:
        decode(MLSMessage, message)
    return caught.value


@pytest.mark.rfc("N-C01", "R-2.1.2-03", "R-2.1.2-01")
@pytest.mark.parametrize("kind", KINDS)
def test_no_vector_has_a_longer_header_than_it_needs(messages: dict[str, bytes], kind: str) -> None:
    message = messages[kind]
    for vector in vectors_in(message):
        length, _ = decode_varint(message, vector.offset)
        longer = [0x8000_0000 | length] if length >= 1 << 6 else [0x4000 | length, 0x8000_0000 | length]
        for header in longer if length < 1 << 14 else []:
            error = refusal(with_header(message, vector, header.to_bytes(2 if header < 1 << 15 else 4, "big")))
            assert (error.rule, error.code, error.offset) == ("R-2.1.2-03", Code.NON_MINIMAL_VARINT, vector.offset)


@pytest.mark.rfc("N-C02", "N-C03", "R-2.1.2-04", "R-2.1.2-05", "R-2.1-15")
@pytest.mark.parametrize("kind", KINDS)
def test_no_header_is_reserved_or_promises_more_than_there_is(messages: dict[str, bytes], kind: str) -> None:
    message = messages[kind]
    for vector in vectors_in(message):
        for first in (0xC0, 0xFF):
            error = refusal(with_header(message, vector, bytes([first])))
            expected = ("R-2.1.2-04", Code.INVALID_VARINT_PREFIX, vector.offset)
            assert (error.rule, error.code, error.offset) == expected
        huge = with_header(message, vector, b"\xbf\xff\xff\xff")
        tracemalloc.start()
        error = refusal(huge)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (error.rule, error.code, error.offset) == ("R-2.1.2-05", Code.TRUNCATED, vector.offset)
        assert peak < 64 * 1024


@pytest.mark.rfc("N-C03", "R-2.1.2-05")
@pytest.mark.parametrize("wire_format", [1, 2, 3, 4, 5])
def test_twenty_bytes_that_announce_a_gibibyte_cost_nothing(wire_format: int) -> None:
    world = World()
    alice, client = world.group(1)[0], world.client("client")
    head = {1: b"", 2: b"", 3: b"\0\1"}.get(wire_format, b"\0\1\0\1")
    data = (b"\0\1" + wire_format.to_bytes(2, "big") + head + b"\xbf\xff\xff\xff").ljust(20, b"\0")
    doors: dict[int, Callable[[bytes], object]] = {
        3: client.join,
        4: client.join_external,
        5: lambda package: alice.commit([Add(package)]),
    }
    receive = doors.get(wire_format, alice.receive)
    before, stored = alice.fingerprint(), records(client._store)
    tracemalloc.start()
    with pytest.raises(MalformedMessage) as caught:
        receive(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is Code.TRUNCATED
    assert peak < 64 * 1024
    assert (alice.fingerprint(), records(client._store)) == (before, stored)


@pytest.mark.rfc("N-C06", "R-2.1.1-02")
def test_no_optional_value_has_another_presence_octet(messages: dict[str, bytes]) -> None:
    seen = 0
    for kind in KINDS:
        message = messages[kind]
        for part in parts(describe(MLSMessage, message).root):
            for octet in (2, 0x80, 0xFF) if part.type_name.startswith("optional") else ():
                changed = message[: part.offset] + bytes([octet]) + message[part.offset + 1 :]
                error = refusal(changed)
                assert (error.rule, error.code, error.offset) == ("R-2.1.1-02", Code.BAD_PRESENCE_OCTET, part.offset)
                seen += 1
    assert seen


@pytest.mark.rfc("N-C04", "R-2.1-08", "R-2.1-07", "B02")
@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_read_to_its_last_byte_and_written_as_it_was(messages: dict[str, bytes], kind: str) -> None:
    message = messages[kind]
    assert encode(decode(MLSMessage, message)) == message
    error = refusal(message + b"\0")
    assert (error.rule, error.code, error.offset) == ("R-2.1-08", Code.TRAILING_DATA, len(message))
    for end in range(0, len(message), 7):
        assert refusal(message[:end]).code is Code.TRUNCATED


@pytest.mark.rfc("B09", "R-2.1.2-01", "R-2.1.2-03")
@pytest.mark.parametrize("edge", [1 << 6, 1 << 14])
def test_lengths_around_the_edges_of_their_headers(edge: int) -> None:
    for length in range(edge - 2, edge + 3):
        data = encode_as(bytes, bytes(length))
        assert len(data) == length + (1 if length < 1 << 6 else 2 if length < 1 << 14 else 4)
        assert decode(bytes, data) == bytes(length)
    assert [len(encode_varint(n)) for n in ((1 << 30) - 2, (1 << 30) - 1)] == [4, 4]


@pytest.mark.rfc("N-C11", "R-12.4.3.3-02", "N-C09")
def test_a_tree_of_a_million_leaves_is_read_without_recursion() -> None:
    n_entries = 2 * (1 << 20) - 1
    member = encode_as(TreeNode | None, LEAF)
    body = bytes(n_entries - 1) + member
    limit, depth = sys.getrecursionlimit(), len(inspect.stack(0))
    sys.setrecursionlimit(depth + 60)
    try:
        tree = RatchetTree.decode(encode_varint(len(body)) + body)
    finally:
        sys.setrecursionlimit(limit)
    assert (tree.n_leaves, tree.n_members) == (1 << 20, 1)
    parent = encode_as(TreeNode | None, ParentNode(b"k" * 32, b"", ()))
    for bad, rule, code in (
        (bytes(n_entries - 1) + parent, "R-12.4.3.3-05", Code.MALFORMED_TREE),
        (bytes(n_entries) + member, "S-max_leaves", Code.LIMIT_EXCEEDED),
        (bytes(n_entries), "R-12.4.3.3-03", Code.MALFORMED_TREE),
    ):
        with pytest.raises(InvalidTree) as caught:
            RatchetTree.decode(encode_varint(len(bad)) + bad, 1 << 20)
        assert (caught.value.rule, caught.value.code) == (rule, code)


@pytest.mark.rfc("N-C13")
def test_names_are_bytes_and_need_not_be_text() -> None:
    # The row asks for a refusal of what is not UTF-8. RFC 9420 has no text on the wire: identities are opaque.
    world = World()
    alice, name = world.group(1)[0], b"\xff\xfe\x80"
    identity = Identity.basic(name)
    client = Client.create(MemoryStore(), identity, policy=AcceptAnyone(), clock=lambda: NOW)
    joined = join(client, world.commit(alice, [Add(client.key_package())]))
    assert [member.identity for member in joined.members] == [b"member-0", name]
    world.agree(alice, joined)
