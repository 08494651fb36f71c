"""One target for each decoder: it refuses by MalformedMessage alone, and what it accepts encodes to the same bytes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import Any, Final

import mls.messages
from mls.errors import MalformedMessage
from mls.identity import roles
from mls.messages import CustomProposal, FramedContentAuthData, MLSMessage
from tests.fuzz.target import Target
from tests.support.modules import ROOT
from treekem import nodes
from treekem.wire import decode, encode
from treekem.wire.declaration import declaration_of

_NOT_ALONE: Final = (FramedContentAuthData, CustomProposal)
"""Whether the first bears a confirmation tag stands in what surrounds it, as does where the body of the second ends."""


def decoder_names() -> list[str]:
    """Return the names of the targets, `decode-LeafNode` and so on."""
    return [f"decode-{name}" for name in sorted(_kinds())]


def decoder_target(name: str) -> Target:
    """Return the target of one struct's decoder."""
    kind = _kinds()[name.removeprefix("decode-")]
    return Target(name, partial(_decode, kind), lambda: sorted(_examples()[kind.__name__], key=len))


def _decode(kind: type, data: bytes) -> None:
    try:
        value: object = decode(kind, data)
    except MalformedMessage:
        return
    if encode(value) != data:
        raise AssertionError(f"{kind.__name__} is encoded otherwise than it was read")


@cache
def _kinds() -> Mapping[str, type]:
    known = {**vars(mls.messages), **vars(nodes), **vars(roles)}
    return {
        name: kind
        for name, kind in known.items()
        if declaration_of(kind) is not None and kind not in _NOT_ALONE and not name.startswith("_")
    }


@cache
def _examples() -> Mapping[str, set[bytes]]:
    """Return an encoding of every struct within the messages of our own vectors, by the name of its type."""
    found: dict[str, set[bytes]] = defaultdict(set)
    for file in sorted((ROOT / "vectors" / "data").glob("*.json")):
        for text in _texts(json.loads(file.read_text(encoding="utf-8"))):
            _collect(text, found)
    return found


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401  (JSON is what it is)
    match value:
        case str():
            yield value
        case dict():
            yield from (text for each in value.values() for text in _texts(each))
        case list():
            yield from (text for each in value for text in _texts(each))


def _collect(text: str, found: dict[str, set[bytes]]) -> None:
    try:
        message = decode(MLSMessage, bytes.fromhex(text))
    except (ValueError, MalformedMessage):
        return
    for part in _structs(message):
        found[type(part).__name__].add(encode(part))


def _structs(value: object) -> Iterator[object]:
    """Yield a struct and all structs within it that can stand alone."""
    if isinstance(value, tuple):
        yield from (part for each in value for part in _structs(each))
    if is_dataclass(value) and not isinstance(value, type):
        if declaration_of(type(value)) is not None and not isinstance(value, _NOT_ALONE):
            yield value
        yield from (part for field in fields(value) for part in _structs(getattr(value, field.name)))
