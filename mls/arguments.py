"""What an application hands in: a mistaken type is refused by name, before anything is read, spent or written."""

from __future__ import annotations

from collections.abc import Iterable

from mls.epoch.effect import Member
from mls.errors import UsageError
from treekem.index import LeafIndex


def verify_bytes(value: object, what: str) -> None:
    """Require bytes, for which text is easily taken. Raises UsageError."""
    if not isinstance(value, bytes):
        raise UsageError(f"{what} is bytes, not {type(value).__name__}")


def verify_message(data: object) -> None:
    """Require octets; the Welcome of a commit that adds nobody is None. Raises UsageError."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"a message is bytes, not {type(data).__name__}")


def verify_intents(intents: object) -> None:
    """Require a list or a tuple, say, of intents, even of one. Raises UsageError."""
    if not isinstance(intents, Iterable):
        name = type(intents).__name__
        raise UsageError(f"a commit takes a sequence of intents, such as [{name}(...)], not one {name}")


def leaf_to_remove(member: object) -> LeafIndex:
    """Return the leaf of a member, or an index as it is. Raises UsageError."""
    if isinstance(member, Member):
        return member.leaf
    if not isinstance(member, int):
        raise UsageError(f"Remove takes a Member, as in `members`, or a leaf index, not {type(member).__name__}")
    return LeafIndex(member)
