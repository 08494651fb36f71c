"""Clients of this engine under a fixed clock and seeded randomness, as the passive kinds and Welcomes need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mls import AcceptAnyone, Client, Group, Identity, MemoryStore, Settings
from mls.crypto import SignaturePrivateKey
from mls.epoch.environment import Environment
from mls.epoch.join import KeyPackageBundle
from mls.store.client_records import KEY_PACKAGES, unpack_bundle
from treekem.suite import Entropy
from vectors.case import NOW

_FOREVER: Final = 2**64 - 1 - NOW


@dataclass(frozen=True, slots=True)
class Actor:
    """A client, its store, and what transitions below the client need to be told."""

    client: Client
    store: MemoryStore
    environment: Environment

    def key_package(self) -> bytes:
        """Return a new key package that never expires, so that it can be read at any time."""
        return self.client.key_package(lifetime=_FOREVER)

    def bundle(self) -> KeyPackageBundle:
        """Return the one key package that is not used up, with its private keys."""
        ((name, record),) = self.store.scan(KEY_PACKAGES)
        return unpack_bundle(name, record)

    def create_group(self) -> Group:
        """Found a group; a first commit gives the founder a leaf that bears no lifetime."""
        group = self.client.create_group()
        group.merge(group.commit())
        return group


def create_actor(
    suite: int,
    name: bytes,
    entropy: Entropy,
    settings: Settings | None = None,
    signature_key: SignaturePrivateKey | None = None,
) -> Actor:
    """Return a new client; a signature key is drawn unless one is given."""
    chosen = Settings.vectors() if settings is None else settings
    store, policy = MemoryStore(), AcceptAnyone()
    identity = Identity.basic(name, suite, signature_key)
    client = Client.create(store, identity, policy=policy, settings=chosen, clock=lambda: float(NOW), entropy=entropy)
    return Actor(client, store, Environment(chosen, policy, NOW, entropy))
