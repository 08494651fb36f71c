"""What an application hands in: a mistaken type is refused by name, before anything is read, spent or written."""

from __future__ import annotations

from collections.abc import Iterable

from mls.crypto import CipherSuite, SignaturePrivateKey, cipher_suite
from mls.epoch.effect import Member
from mls.errors import UsageError
from mls.identity import Identity
from mls.intents import NewLeaf
from mls.messages import Capabilities, Credential, Extension
from treekem.index import LeafIndex


def verify_bytes(value: object, what: str) -> None:
    """Require bytes, for which text is easily taken. Raises UsageError."""
    if not isinstance(value, bytes):
        raise UsageError(f"{what} is bytes, not {type(value).__name__}")


def suite_of(identity: object) -> CipherSuite:
    """Return the suite of an Identity, for which its name is easily taken. Raises UsageError or Unsupported."""
    if not isinstance(identity, Identity):
        name = type(identity).__name__
        raise UsageError(f'a client takes an Identity, such as Identity.basic(b"alice"), not {name}')
    return cipher_suite(identity.suite)


def verify_message(data: object) -> None:
    """Require octets; the Welcome of a commit that adds nobody is None. Raises UsageError."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"a message is bytes, not {type(data).__name__}")


def octets_of(data: object, what: str) -> bytes:
    """Return octets as bytes that nobody can change any more. Raises UsageError for anything else."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"{what} is bytes, not {type(data).__name__}")
    return bytes(data)


def verify_intents(intents: object) -> None:
    """Require a list or a tuple, say, of intents, even of one. Raises UsageError."""
    if not isinstance(intents, Iterable):
        name = type(intents).__name__
        raise UsageError(f"a commit takes a sequence of intents, such as [{name}(...)], not one {name}")


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
