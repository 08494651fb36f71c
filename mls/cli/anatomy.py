"""An MLS object as an indented tree: names, types, lengths and hashes, and never a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from rich.text import Text
from rich.tree import Tree

from mls.cli.names import number_text, tag_text
from mls.crypto import cipher_suite
from mls.errors import MalformedMessage, MLSError
from mls.messages import (
    ApplicationID,
    ExtensionType,
    ExternalPub,
    ExternalSenders,
    GroupInfo,
    KeyPackage,
    RatchetTreeExtension,
    RequiredCapabilities,
)
from treekem.tree import RatchetTree
from treekem.wire import Node, decode, describe

EXTENSION_BODIES: Final[dict[int, type]] = {
    ExtensionType.APPLICATION_ID: ApplicationID,
    ExtensionType.RATCHET_TREE: RatchetTreeExtension,
    ExtensionType.REQUIRED_CAPABILITIES: RequiredCapabilities,
    ExtensionType.EXTERNAL_PUB: ExternalPub,
    ExtensionType.EXTERNAL_SENDERS: ExternalSenders,
}

_SECRET: Final = {"joiner_secret", "path_secret", "application_data"}
_SECRET_IN_GROUP_SECRETS: Final = {"psk_id", "psk_nonce", "psk_group_id"}
_TEXTUAL: Final = {"identity", "group_id", "application_id", "psk_id", "psk_group_id", "authenticated_data"}
_SHOWN_WHOLE: Final = 16  # bytes; of longer values the first ones are shown, and a hash
_SHOWN_FIRST: Final = 8
_LIST_LIMIT: Final = 40
_BELOW_ROOT: Final = re.compile(r"[.\[].*")


@dataclass(frozen=True, slots=True)
class Fault:
    """Where an object breaks: the field's path, the byte counted from the start of the input, and why."""

    where: str
    offset: int
    reason: str
    last_read: str = ""


@dataclass(slots=True)
class Anatomy:
    """Takes one object apart, the bodies of its extensions included; `faults` are what was found broken."""

    data: bytes
    full: bool = False
    faults: list[Fault] = field(default_factory=list)

    def tree(self, kind: object) -> Tree:
        """Return the object as a tree, as far as it can be read."""
        description = describe(kind, self.data)
        root, path = description.root, description.root.type_name
        self._note(description.error, root, _Place(path, "", 0), "")
        tree = Tree(Text(path, style="bold"), guide_style="dim")
        self._grow(tree, root, _Place(path, root.type_name, 0))
        return tree

    def _note(self, error: MalformedMessage | None, root: Node, place: _Place, before: str) -> None:
        """Keep an error in the part at `place`; `before` is the last part before that one."""
        if error is None:
            return
        inner = _BELOW_ROOT.search(error.where)
        where = place.path + (inner[0] if inner else "")
        last = _last_read(root, place.path, error.offset) or before
        reason = error.message.removesuffix(f" at {error.where}, byte {error.offset}")
        self.faults.append(Fault(where, place.base + error.offset, f"{reason} [{error.rule}]", last))

    def _grow(self, tree: Tree, node: Node, place: _Place) -> None:
        """Add a node's parts to its branch."""
        hidden = 0 if self.full else max(0, len(node.children) - _LIST_LIMIT)
        for number, child in enumerate(node.children):
            # The last part is shown always: a malformed object breaks there.
            if hidden and _LIST_LIMIT - 1 <= number < len(node.children) - 1:
                if number == _LIST_LIMIT - 1:
                    tree.add(Text(f"… {hidden} more (--full shows them)", style="dim"))
                continue
            self._add(tree, node, child, place.of(child))
        for line in self._derived(node, place):
            tree.add(Text(line, style="italic green"))

    def _add(self, tree: Tree, parent: Node, node: Node, place: _Place) -> None:
        body = _body_of(parent, node)
        if body is not None:
            self._open(tree, node, body, place)
            return
        numbers = _numbers(node)
        value = numbers if numbers is not None else _value_text(node, place)
        if parent.name == "ratchet_tree" and node.children and int(node.name.strip("[]")) % 2 == 0:
            value = f"leaf {int(node.name.strip('[]')) // 2}, {value}"
        branch = tree.add(self._label(node, place, value))
        if numbers is None:
            self._grow(branch, node, place)

    def _open(self, tree: Tree, node: Node, kind: type, place: _Place) -> None:
        """Add an extension's body, read as what its type says."""
        value = node.value if isinstance(node.value, bytes) else b""
        base = place.base + node.offset + node.length - len(value)
        description = describe(kind, value)
        inner = _Place(f"{place.path}.{kind.__name__}", kind.__name__, base)
        self._note(description.error, description.root, inner, place.path.removesuffix("data") + "type")
        branch = tree.add(self._label(node, place, f"{kind.__name__}, {_bytes_count(len(value))}"))
        self._grow(branch, description.root, inner)

    def _label(self, node: Node, place: _Place, value: str) -> Text:
        broken = any(fault.where == place.path for fault in self.faults)
        if broken:
            value = "← breaks here"
        elif any(fault.where.startswith((f"{place.path}.", f"{place.path}[")) for fault in self.faults):
            value += " read"
        offset = f"  @{place.base + node.offset}"
        return Text.assemble((node.name, "cyan"), ": ", (value, "bold red" if broken else ""), (offset, "dim"))

    def _derived(self, node: Node, place: _Place) -> Iterator[str]:
        """Yield what can be computed of an object that is whole."""
        if self.faults or place.base or not node.children:
            return
        encoded = self.data[node.children[0].offset : node.offset + node.length]
        try:
            if node.type_name == "KeyPackage":
                yield _key_package_ref(encoded)
            if node.type_name == "GroupInfo":
                yield from _tree_hash_line(encoded)
        except MLSError as error:
            yield f"= not computed: {error}"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands: its path, the type of the outermost struct, and the byte its offsets count from."""

    path: str
    outermost: str
    base: int

    def of(self, child: Node) -> _Place:
        """Return the place of a part."""
        joint = "" if child.name.startswith("[") else "."
        return _Place(f"{self.path}{joint}{child.name}", self.outermost, self.base)


def _last_read(root: Node, path: str, end: int) -> str:
    """Return the path of the last part that was read whole before byte `end`."""
    pending = [(root, _Place(path, "", 0))]
    while pending:
        node, place = pending.pop()
        if not node.children and node.length and node.offset + node.length <= end:
            return place.path
        pending += [(child, place.of(child)) for child in node.children]
    return ""


def _body_of(parent: Node, node: Node) -> type | None:
    """Return the type of an extension's body, if its type is known and it was read whole."""
    if parent.type_name != "Extension" or node.name != "extension_data" or not isinstance(node.value, bytes):
        return None
    number = parent.children[0].value
    return EXTENSION_BODIES.get(number) if isinstance(number, int) else None


def _numbers(node: Node) -> str | None:
    """Return a list of numbers in one line, or None for anything else."""
    values = [child.value for child in node.children if isinstance(child.value, int)]
    if not (node.children and node.type_name.endswith("<V>")) or len(values) < len(node.children):
        return None
    return ", ".join(number_text(node.name, value) for value in values)


def _value_text(node: Node, place: _Place) -> str:
    """Return what stands after a part's name."""
    if isinstance(node.value, bytes):
        return _bytes_text(node.name, node.value, place)
    if isinstance(node.value, int):
        return number_text(node.name, node.value)
    if node.type_name.endswith("<V>"):
        kind = node.type_name.removesuffix("<V>")
        return f"{len(node.children)} of {kind}, {_bytes_count(node.length)}" if node.children else "none"
    if not node.children and (node.length == 0 or node.type_name.startswith("optional<")):
        return "absent"
    if not node.children and "|" in node.type_name and node.length == 1:
        return "blank" if "ParentNode" in node.type_name else "absent"
    tag = tag_text(node.name, node.type_name)
    kind = node.type_name.removeprefix("optional<").removesuffix(">")
    return f"{kind}{f', {tag}' if tag else ''}, {_bytes_count(node.length)}"


def _bytes_text(name: str, value: bytes, place: _Place) -> str:
    """Return a text, the bytes, or the first of them and a hash; of a secret the length alone."""
    length = _bytes_count(len(value))
    if name in _SECRET or (place.outermost == "GroupSecrets" and name in _SECRET_IN_GROUP_SECRETS):
        return f"{length}, not shown"
    if not value:
        return "empty"
    if name in _TEXTUAL and (text := _printable(value)):
        return f'"{text}", {length}'
    if len(value) <= _SHOWN_WHOLE:
        return f"{value.hex()}, {length}"
    return f"{value[:_SHOWN_FIRST].hex()}…, {length}, sha256 {sha256(value).hexdigest()[:8]}…"


def _printable(value: bytes) -> str:
    """Return a value that is text without control characters, or nothing."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _bytes_count(number: int) -> str:
    return f"{number:,} byte{'' if number == 1 else 's'}"


def _key_package_ref(encoded: bytes) -> str:
    suite = cipher_suite(decode(KeyPackage, encoded).cipher_suite)
    return f"= KeyPackageRef {suite.ref_hash(b'MLS 1.0 KeyPackage Reference', encoded).hex()}"


def _tree_hash_line(encoded: bytes) -> Sequence[str]:
    """Say whether the tree in a GroupInfo has the hash that its context names."""
    info = decode(GroupInfo, encoded)
    bodies = [each.extension_data for each in info.extensions if each.extension_type == ExtensionType.RATCHET_TREE]
    if not bodies:
        return []
    tree = RatchetTree.decode(bodies[0])
    agrees = tree.tree_hash(cipher_suite(info.group_context.cipher_suite)) == info.group_context.tree_hash
    return [f"= the ratchet_tree {'has' if agrees else 'does not have'} the tree_hash of the group_context"]
