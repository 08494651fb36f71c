"""What an application hands in: a mistaken type is refused by name, before anything is read, spent or written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from mls.crypto import CipherSuite, SignaturePrivateKey, cipher_suite
from mls.epoch.effect import Member
from mls.errors import UsageError
from mls.identity import Identity
from mls.intents import Intent, NewLeaf, Update
from mls.messages import Capabilities, Credential, Extension
from mls.registry import Registry
from mls.rules import require
from mls.settings import Settings
from treekem.index import LeafIndex


def verify_bytes(value: object, what: str) -> None:
    """Require bytes, for which text is easily taken. Raises UsageError."""
    if not isinstance(value, bytes):
        raise UsageError(f"{what} is bytes, not {type(value).__name__}")


def suite_of(identity: object, who: str = "a client") -> CipherSuite:
    """Return the suite of an Identity, for which its name is easily taken. Raises UsageError or Unsupported."""
    if not isinstance(identity, Identity):
        name = type(identity).__name__
        raise UsageError(f'{who} takes an Identity, such as Identity.basic(b"alice"), not {name}')
    return cipher_suite(identity.suite)


def verify_parts(**parts: object) -> None:
    """Require of what clients, observers and outsiders are made of that it can do its part, for which see `_PARTS`.

    A class is easily taken for its instance. Raises UsageError.
    """
    for name, part in parts.items():
        wanted, has_it = _PARTS[name]
        if not has_it(part):
            given = f"the class {part.__name__}" if isinstance(part, type) else type(part).__name__
            raise UsageError(f"{name} is {wanted}, not {given}")


def _having(*names: str) -> Callable[[object], bool]:
    return lambda part: not isinstance(part, type) and all(hasattr(part, name) for name in names)


_PARTS: Final[Mapping[str, tuple[str, Callable[[object], bool]]]] = MappingProxyType(
    {
        "store": ("a store such as MemoryStore()", _having("read", "scan", "apply")),
        "policy": ("a credential policy such as TrustOnFirstUse()", _having("identity", "same_client", "accept")),
        "roles": (
            "a role policy such as Administrators()",
            _having("extension_types", "founding_extensions", "authorize"),
        ),
        "settings": ("a Settings such as Settings.strict()", lambda part: isinstance(part, Settings | None)),
        "registry": ("a Registry", lambda part: isinstance(part, Registry)),
        "clock": ("a function such as time.time", callable),
        "entropy": ("a function such as os.urandom", callable),
    }
)


def verify_message(data: object) -> None:
    """Require octets; the Welcome of a commit that adds nobody is None. Raises UsageError."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"a message is bytes, not {type(data).__name__}")


def octets_of(data: object, what: str) -> bytes:
    """Return octets as bytes that nobody can change any more. Raises UsageError for anything else."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"{what} is bytes, not {type(data).__name__}")
    return bytes(data)


def intents_of(intents: object) -> tuple[Intent, ...]:
    """Return the intents of a commit, given in a list or a tuple, say, even if it is one. Raises UsageError."""
    if not isinstance(intents, Iterable):
        name = type(intents).__name__
        raise UsageError(f"a commit takes a sequence of intents, such as [{name}(...)], not one {name}")
    wanted = tuple(intents)
    is_for_commits = not any(isinstance(each, Update) for each in wanted)
    text = "leave Update out, or say commit(leaf=NewLeaf(...)); Update is for `propose`"
    require(is_for_commits, UsageError, "R-12.2-03", f"a commit renews its committer's leaf by its path: {text}")
    return wanted


def verify_new_leaf(leaf: object) -> None:
    """Require a NewLeaf of what leaves are made of, with one signature key at most. Raises UsageError."""
    if not isinstance(leaf, NewLeaf):
        raise UsageError(f"a changed leaf is a NewLeaf, not {type(leaf).__name__}")
    fits = {
        "credential": isinstance(leaf.credential, Credential | None),
        "signature_key": isinstance(leaf.signature_key, SignaturePrivateKey | None),
        "extensions": leaf.extensions is None or _are_extensions(leaf.extensions),
        "capabilities": isinstance(leaf.capabilities, Capabilities | None),
    }
    mistaken = [name for name, is_fit in fits.items() if not is_fit]
    if mistaken:
        raise UsageError(f"a NewLeaf's {mistaken[0]} is of another type")
    if leaf.rotate_signature_key and leaf.signature_key is not None:
        raise UsageError("a signature key is either given or drawn afresh, not both")


def _are_extensions(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, Extension) for each in value)


def leaf_to_remove(member: object) -> LeafIndex:
    """Return the leaf of a member, or an index as it is. Raises UsageError."""
    if isinstance(member, Member):
        return member.leaf
    if not isinstance(member, int):
        raise UsageError(f"Remove takes a Member, as in `members`, or a leaf index, not {type(member).__name__}")
    return LeafIndex(member)
