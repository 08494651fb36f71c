"""The signature keys that identities have shown before, for policies that pin them. RFC 9420 §5.3.1."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from mls.epoch.effect import Member
from mls.store.codec import pack, unpack
from mls.store.seam import Store


def known_keys(store: Store, identity: bytes) -> frozenset[bytes]:
    """Return the signature keys that an identity has been accepted with."""
    key = _pin_key(identity)
    record = store.read(key)

    def build(keys: list[bytes]) -> frozenset[bytes]:
        return frozenset(keys)

    return frozenset() if record is None else unpack(key, record, build)


class KnownKeys:
    """What `known_keys` says, for as long as one call of the application lasts: no record is read twice."""

    __slots__ = ("_found", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[bytes, frozenset[bytes]] = {}

    def __call__(self, identity: bytes) -> frozenset[bytes]:
        """Return the signature keys that an identity has been accepted with."""
        if identity not in self._found:
            self._found[identity] = known_keys(self._store, identity)
        return self._found[identity]


def pin_batch(store: Store, members: Iterable[Member]) -> dict[str, bytes | None]:
    """Return what accepting members adds to the pins."""
    found: dict[bytes, set[bytes]] = {}
    for member in members:
        if member.identity not in found:
            found[member.identity] = set(known_keys(store, member.identity))
        found[member.identity].add(member.signature_key)
    return {_pin_key(identity): pack(sorted(keys)) for identity, keys in found.items()}


def _pin_key(identity: bytes) -> str:
    return f"pin/{sha256(identity).hexdigest()}"
