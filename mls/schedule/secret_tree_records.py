"""The secret tree as records of a store: one per node secret, one per ratchet, so that a message touches few bytes.

Records are versioned, canonical CBOR. What is read back is checked for shape and for consistency: the records must
cover every leaf exactly once, or a node secret that was deleted would live on beside what it derived. RFC 9420 §9.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from itertools import chain

from mls.crypto import CipherSuite
from mls.errors import Code, StorageError
from mls.schedule.canonical import read_canonical, write_canonical
from mls.schedule.hash_ratchet import MAX_GENERATION, MessageKey, Ratchet, RatchetSecret, SkippedKey
from treekem.index import LeafIndex, NodeIndex, direct_path, level, node_of, node_width
from treekem.secrets import Secret

_VERSION = 1
_SKIPPED_HEADER = struct.Struct(">IQ")


class TreeNodeSecret(Secret):
    """tree_node_[N]_secret of the secret tree; Nh bytes. RFC 9420 §9."""

    __slots__ = ()


class RatchetKind(StrEnum):
    """The two ratchets of a leaf; the values are the RFC's labels. RFC 9420 §9."""

    HANDSHAKE = "handshake"
    APPLICATION = "application"


RatchetName = tuple[LeafIndex, RatchetKind]


def node_key(x: NodeIndex) -> str:
    """Return the key of a node secret's record."""
    return f"node/{x}"


def ratchet_key(name: RatchetName) -> str:
    """Return the key of a ratchet's record."""
    leaf, kind = name
    return f"ratchet/{leaf}/{kind}"


def encode_node(secret: TreeNodeSecret) -> bytes:
    """Return the record of a node secret."""
    material = secret.expose()
    return _node_head(len(material)) + material


@cache
def _node_head(length: int) -> bytes:
    """Return what stands before the secret in a node's record: a first message writes as many as a path has nodes."""
    return write_canonical({"v": _VERSION, "secret": bytes(length)})[:-length]


def encode_ratchet(ratchet: Ratchet) -> bytes:
    """Return the record of a ratchet."""
    skipped = b"".join(
        _SKIPPED_HEADER.pack(generation, entry.stamp) + entry.key.expose() + entry.nonce
        for generation, entry in ratchet.skipped.items()
    )
    fields = {
        "v": _VERSION,
        "secret": None if ratchet.secret is None else ratchet.secret.expose(),
        "generation": ratchet.generation,
        "floor": ratchet.floor,
        "skipped": skipped,
    }
    return write_canonical(fields)


def encode_progress(name: RatchetName, ratchet: Ratchet) -> bytes:
    """Return which generations of a ratchet are consumed, without any secret; unambiguous when joined."""
    leaf, kind = name
    return write_canonical([leaf, str(kind), ratchet.generation, list(ratchet.skipped)])


def decode_records(
    suite: CipherSuite, n_leaves: int, records: Mapping[str, bytes]
) -> tuple[dict[NodeIndex, TreeNodeSecret], dict[RatchetName, Ratchet]]:
    """Return the node secrets and ratchets of stored records.

    Raises StorageError for records that are damaged, that a later version wrote, or that do not cover each leaf once.
    """
    nodes: dict[NodeIndex, TreeNodeSecret] = {}
    ratchets: dict[RatchetName, Ratchet] = {}
    for key, data in records.items():
        match key.split("/"):
            case ["node", x]:
                nodes[NodeIndex(_index(key, x, node_width(n_leaves)))] = _decode_node(suite, key, data)
            case ["ratchet", leaf, ("handshake" | "application") as kind]:
                name = (LeafIndex(_index(key, leaf, n_leaves)), RatchetKind(kind))
                ratchets[name] = _decode_ratchet(suite, key, data)
            case _:
                raise StorageError(f"{key!r} is no record of a secret tree")
    _verify_coverage(n_leaves, nodes, ratchets)
    return nodes, ratchets


def _verify_coverage(n_leaves: int, nodes: Iterable[NodeIndex], ratchets: Iterable[RatchetName]) -> None:
    heads = set(nodes)
    names = set(ratchets)
    leaves = {leaf for leaf, _ in names}
    _verify(len(names) == 2 * len(leaves), "a leaf lacks one of its two ratchets")

    covered = sum(1 << level(x) for x in heads) + len(leaves)
    _verify(covered == n_leaves, f"the records cover {covered} leaves of {n_leaves}")
    for x in chain(heads, map(node_of, leaves)):
        _verify(heads.isdisjoint(direct_path(x, n_leaves)), f"a node above node {x} is stored though it is consumed")
    _verify(heads.isdisjoint(map(node_of, leaves)), "a leaf's secret is stored though it is consumed")


def _decode_node(suite: CipherSuite, key: str, data: bytes) -> TreeNodeSecret:
    match _fields(key, data):
        case {"secret": bytes(secret)} if len(secret) == suite.hash_length:
            return TreeNodeSecret(secret)
    raise StorageError(f"the record {key} is damaged")


def _decode_ratchet(suite: CipherSuite, key: str, data: bytes) -> Ratchet:
    match _fields(key, data):
        case {
            "secret": bytes() | None as secret,
            "generation": int(generation),
            "floor": int(floor),
            "skipped": bytes(skipped),
        }:
            pass
        case _:
            raise StorageError(f"the record {key} is damaged")

    is_exhausted = generation == MAX_GENERATION + 1
    _verify(0 <= floor <= generation <= MAX_GENERATION + 1, f"{key} counts beyond its end")
    _verify((secret is None) == is_exhausted, f"the secret of {key} does not fit its generation")
    _verify(secret is None or len(secret) == suite.hash_length, f"the secret of {key} has a wrong length")
    entries = _decode_skipped(suite, key, skipped)
    _verify(all(passed < generation for passed in entries), f"{key} holds a skipped key that lies ahead")
    return Ratchet(None if secret is None else RatchetSecret(secret), generation, floor, entries)


def _decode_skipped(suite: CipherSuite, key: str, data: bytes) -> dict[int, SkippedKey]:
    key_end = _SKIPPED_HEADER.size + suite.aead_key_length
    size = key_end + suite.aead_nonce_length
    _verify(len(data) % size == 0, f"the skipped keys of {key} are cut off")
    entries: dict[int, SkippedKey] = {}
    last = -1
    for start in range(0, len(data), size):
        entry = data[start : start + size]
        generation, stamp = _SKIPPED_HEADER.unpack_from(entry)
        _verify(generation > last, f"the skipped keys of {key} are out of order")
        last = generation
        entries[generation] = SkippedKey(MessageKey(entry[_SKIPPED_HEADER.size : key_end]), entry[key_end:], stamp)
    return entries


def _fields(key: str, data: bytes) -> Mapping[object, object]:
    try:
        fields: object = read_canonical(data)
    except ValueError as error:
        raise StorageError(f"the record {key} is damaged") from error
    match fields:
        case {"v": int(version)} if version > _VERSION:
            raise StorageError(f"{key} was written by a later version", code=Code.SCHEMA_TOO_NEW)
        case {"v": int(version), **rest} if version is not True and version == _VERSION:
            return rest
    raise StorageError(f"the record {key} is damaged")


def _index(key: str, text: str, end: int) -> int:
    is_index = (
        text.isascii() and text.isdigit() and len(text) <= len(str(end)) and int(text) < end and text == str(int(text))
    )
    _verify(is_index, f"{key!r} names no place in the tree")
    return int(text)


def _verify(condition: bool, message: str) -> None:
    if not condition:
        raise StorageError(message)
