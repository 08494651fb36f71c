"""`mls inspect`: what an MLS object holds, and where a malformed one breaks."""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from types import UnionType
from typing import Final, get_origin

from rich.console import Console
from rich.text import Text

import mls.messages
from mls.cli.anatomy import Anatomy, Fault
from mls.cli.terminal import FAILED, new_console, show
from mls.errors import MalformedMessage, UsageError
from treekem import nodes
from treekem.wire import decode
from treekem.wire.declaration import declaration_of
from treekem.wire.shapes import StructShape, UnionShape, name_of, shape_of

_OK: Final = 0
_MALFORMED: Final = 1
_NOTHING_TO_SEE: Final = 2

# Where the type is guessed, the first that fits counts: those come first that little else fits.
_GUESSES: Final[Sequence[type]] = (
    mls.messages.MLSMessage,
    mls.messages.KeyPackage,
    mls.messages.GroupInfo,
    mls.messages.Welcome,
    mls.messages.RatchetTreeExtension,
    mls.messages.LeafNode,
    mls.messages.GroupContext,
    mls.messages.GroupSecrets,
    mls.messages.AuthenticatedContent,
    mls.messages.PublicMessage,
    mls.messages.PrivateMessage,
    nodes.UpdatePath,
    mls.messages.Commit,
)
# These begin with 0x0001. Only they are guessed of something malformed, as what begins otherwise may be a secret.
_BEGINNING_WITH_ONE: Final[Sequence[type]] = (
    mls.messages.MLSMessage,
    mls.messages.KeyPackage,
    mls.messages.GroupInfo,
    mls.messages.GroupContext,
    mls.messages.AuthenticatedContent,
)
_ONE: Final = b"\x00\x01"
_HEADSTART: Final = 16  # bytes by which another type must be read further than an MLSMessage to be the better guess
# Where a type that an application may have added is told, by the field's or the union's name.
_OPEN_TYPES: Final = {
    "proposal": "proposal",
    "credential": "credential",
    name_of(shape_of(mls.messages.Proposal)): "proposal",
    name_of(shape_of(mls.messages.Credential)): "credential",
}
_UNKNOWN_TYPE: Final = "R-2.1-13"
_ALIASES: Final = {"ratchettree": "ratchettreeextension"}


def inspect_bytes(raw: bytes, type_name: str | None, *, full: bool) -> int:
    """Print what `raw` holds, binary, hex or base64, and return the exit code."""
    console = new_console()
    try:
        data, notation = read_input(raw)
    except ValueError as error:
        return _refuse(console, str(error))
    if not data:
        return _refuse(console, "there is nothing to look at: the input is empty")
    kind = guess(data) if type_name is None else kinds().get(_folded(type_name))
    if kind is None and type_name is not None:
        return _refuse(console, _unknown_type(type_name))
    if kind is None:
        return _unrecognised(console, data)
    anatomy = Anatomy(data, full=full)
    tree = anatomy.tree(kind)
    guessed = ", type guessed" if type_name is None and kind is not mls.messages.MLSMessage else ""
    digest = sha256(data).hexdigest()
    summary = f"{len(data):,} bytes from {notation}{guessed}"
    if not _holds_secrets(kind):
        summary += f", sha256 {digest[:16]}…"
    show(console, Text(summary, style="dim"))
    show(console, tree)
    for fault in anatomy.faults:
        _print_fault(console, fault, len(data))
    for hint in _hints(anatomy, kind, is_named=type_name is not None):
        show(console, Text(f"  {hint}"))
    return _MALFORMED if anatomy.faults else _OK


def read_input(raw: bytes) -> tuple[bytes, str]:
    r"""Return the object in `raw`, and how it was written: binary, hex or base64. Raises ValueError.

    Text may be quoted and broken by whitespace anywhere; no MLS object is text by itself.

    >>> read_input(b"00 01\n00 05"), read_input(b"AAEABQ==")
    ((b'\x00\x01\x00\x05', 'hex'), (b'\x00\x01\x00\x05', 'base64'))
    """
    text = b"".join(raw.split()).strip(b"\"'").removeprefix(b"0x")
    if text and not text.lower().strip(b"0123456789abcdef"):
        if len(text) % 2:
            raise ValueError(f"{len(text)} hex digits do not make whole bytes")
        return bytes.fromhex(text.decode()), "hex"
    unpadded = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(unpadded + b"=" * (-len(unpadded) % 4), validate=True), "base64"
    except binascii.Error:
        return raw, "binary"


def guess(data: bytes) -> object | None:
    """Return the type that fits the bytes; of malformed ones the type under which most can be read, if that is safe."""
    errors: dict[type, MalformedMessage] = {}
    for kind in _GUESSES:
        try:
            decode(kind, data)
        except MalformedMessage as error:
            errors[kind] = error
        else:
            return kind
    if not data.startswith(_ONE):
        return None
    message = errors[mls.messages.MLSMessage]
    if message.rule == _UNKNOWN_TYPE and _last_name(message.where) in _OPEN_TYPES:
        # All is well up to a type of an application's own, behind which nothing can be read.
        return mls.messages.MLSMessage
    reached = {kind: error.offset for kind, error in errors.items()}
    reached[mls.messages.MLSMessage] += _HEADSTART
    return max(_BEGINNING_WITH_ONE, key=lambda kind: reached[kind])


def kinds() -> dict[str, object]:
    """Return the types that can be named, by their names in lower case."""
    found = {name.lower(): kind for name, kind in _named_types().items()}
    return found | {alias: found[name] for alias, name in _ALIASES.items()}


def _named_types() -> dict[str, object]:
    return {
        name: value
        for module in (nodes, mls.messages)
        for name, value in vars(module).items()
        if not name.startswith("_") and _is_wire_type(value)
    }


def _is_wire_type(value: object) -> bool:
    declaration = declaration_of(value)
    if get_origin(value) is not UnionType and (declaration is None or declaration.rest):
        return False
    try:
        shape = shape_of(value)
    except UsageError:  # A union of the engine's own types, which has no wire format.
        return False
    return isinstance(shape, UnionShape) or (isinstance(shape, StructShape) and not shape.has_context)


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _holds_secrets(kind: object) -> bool:
    return name_of(shape_of(kind)) in {"GroupSecrets", "WirePathSecret"}


def _print_fault(console: Console, fault: Fault, length: int) -> None:
    show(console, Text(f"\n{FAILED} malformed at byte {fault.offset} of {length}: {fault.reason}", style="bold red"))
    show(console, Text(f"  in {fault.where}", style="red"))
    if fault.last_read:
        show(console, Text(f"  after {fault.last_read}, the last part that is whole", style="dim"))


def _hints(anatomy: Anatomy, kind: object, *, is_named: bool) -> Iterator[str]:
    """Yield what else a malformed object may be: another type, or one with parts of an application's own."""
    others = (each for each in _BEGINNING_WITH_ONE if each is not kind and _is_whole(each, anatomy.data))
    other = next(others, None) if is_named and anatomy.faults else None
    if other is not None:
        yield f"These bytes are {_described(other, anatomy.data)}: leave out --as."
        return
    for fault in anatomy.faults:
        what = _OPEN_TYPES.get(_last_name(fault.where))
        if what is not None and fault.reason.endswith(f"[{_UNKNOWN_TYPE}]"):
            number = int.from_bytes(anatomy.data[fault.offset : fault.offset + 2], "big")
            yield f"Unknown {what} type {number:#06x}: inspect knows the RFC's types only."


def _last_name(where: str) -> str:
    return where.rpartition(".")[2]


def _is_whole(kind: type, data: bytes) -> bool:
    try:
        decode(kind, data)
    except MalformedMessage:
        return False
    return True


def _described(kind: type, data: bytes) -> str:
    if kind is mls.messages.MLSMessage:
        return f"an MLSMessage with a {type(decode(mls.messages.MLSMessage, data).body).__name__} in it"
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def _unknown_type(name: str) -> str:
    names = {each.lower(): each for each in _named_types()}
    near = difflib.get_close_matches(_folded(name), names, n=3)
    hint = f"; did you mean {' or '.join(names[key] for key in near)}?" if near else ""
    return f"{name} is no type that is known here{hint}\n  --as takes {', '.join(sorted(names.values()))}."


def _unrecognised(console: Console, data: bytes) -> int:
    """Say that no type fits, and nothing of what the bytes are: they may be a secret."""
    show(
        console, Text(f"{FAILED} {len(data):,} bytes that fit no type which can be told by its bytes", style="bold red")
    )
    show(console, Text("  Name the type, for instance --as LeafNode, to see how far it can be read."))
    return _MALFORMED


def _refuse(console: Console, message: str) -> int:
    show(console, Text(f"{FAILED} {message}", style="bold red"))
    return _NOTHING_TO_SEE
