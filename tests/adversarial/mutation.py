"""Changes to messages, as bytes and as structures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import IntEnum
from random import Random
from typing import Any, TypeVar

from mls.messages import (
    ExternalSenderIndex,
    MemberSender,
    NewMemberCommitSender,
    NewMemberProposalSender,
    WirePathSecret,
)
from treekem.index import LeafIndex
from treekem.nodes import UpdatePath

T = TypeVar("T")
_SENDERS = (MemberSender, ExternalSenderIndex, NewMemberProposalSender, NewMemberCommitSender)
_OCTETS = (0, 1, 2, 3, 0x40, 0x7F, 0x80, 0xC0, 0xFF)


def damaged(data: bytes, random: Random, *, before: int | None = None) -> bytes:
    """Return other bytes: flipped bits, replaced, cut out, repeated or inserted ones; all of them before an offset."""
    limit = max(1, len(data) if before is None else min(before, len(data)))
    changed = bytearray(data)
    at = random.randrange(limit)
    length = random.choice((1, 1, 2, 4, 16))
    match random.randrange(10):
        case 0 | 1 | 2 | 3:
            changed[at : at + 1] = bytes(each ^ 1 << random.randrange(8) for each in data[at : at + 1])
        case 4 | 5:
            changed[at : at + 1] = bytes([random.choice(_OCTETS)])
        case 6:
            del changed[at : at + length]
        case 7:
            changed[at:at] = data[at : at + length]
        case 8:
            changed[at:at] = random.randbytes(length)
        case _ if before is None:
            del changed[at:]
        case _:
            changed[at : at + length] = random.randbytes(length)
    return bytes(changed) if bytes(changed) != data else damaged(data, random, before=before)


def varied(value: T, random: Random) -> T:
    """Return a structure that differs from this one in one place; it may be one that cannot be encoded."""
    places = list(_places(value))
    while True:
        changed: T = _changed(value, random.choice(places), random)
        if changed != value:
            return changed


def _places(value: object) -> Iterator[tuple[int, ...]]:
    """Yield the way to every field: positions among the fields of structs and the elements of vectors."""
    yield ()
    for position, part in enumerate(_parts(value)):
        yield from ((position, *rest) for rest in _places(part))


def _parts(value: object) -> tuple[object, ...]:
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(getattr(value, field.name) for field in fields(value))
    return value if isinstance(value, tuple) else ()


def _changed(value: Any, place: tuple[int, ...], random: Random) -> Any:  # noqa: ANN401  (any field of any struct)
    if not place:
        return _other(value, random)
    first, *rest = place
    part = _changed(_parts(value)[first], tuple(rest), random)
    if isinstance(value, tuple):
        return (*value[:first], part, *value[first + 1 :])
    return replace(value, **{fields(value)[first].name: part})


def _other(value: Any, random: Random) -> Any:  # noqa: ANN401  (any field of any struct)
    match value:
        case IntEnum():
            return random.choice(list(type(value)))
        case int():
            return random.choice((0, 1, value + 1, max(0, value - 1), value ^ 1 << random.randrange(16), 2**32 - 1))
        case bytes():
            return damaged(value, random) if value else random.randbytes(random.choice((1, 16, 32)))
        case tuple() if value:
            at = random.randrange(len(value))
            shuffled = random.sample(value, len(value))
            return random.choice((value[:at] + value[at + 1 :], (*value, value[at]), tuple(shuffled), ()))
        case _ if isinstance(value, _SENDERS):
            index = random.choice((0, 1, 2, 3, 4, 2**32 - 1))
            outsiders = (ExternalSenderIndex(index), NewMemberProposalSender(), NewMemberCommitSender())
            return random.choice((MemberSender(LeafIndex(index)), *outsiders))
        case UpdatePath() | WirePathSecret():
            return None
        case _:
            return value
