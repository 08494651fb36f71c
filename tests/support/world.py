"""Clients and groups to tell stories with: seeded randomness, one clock that stands still, and a delivery service.

>>> world = World(seed=7)
>>> alice, bob, carol = world.group(3)
>>> world.commit(alice, (), bob, carol).epoch
1
>>> world.agree(alice, bob, carol)
>>> world.deliver(alice.encrypt(b"hello"), bob, carol)[0].data
b'hello'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mls import (
    AcceptAnyone,
    Add,
    Client,
    CredentialPolicy,
    Extension,
    Group,
    Identity,
    Invitation,
    MemoryStore,
    PendingCommit,
    Settings,
    StagedCommit,
)
from mls.identity.roles import EVERYTHING_ALLOWED, RolePolicy
from mls.intents import Intent
from mls.receiving import Received
from mls.registry import NO_REGISTRY, Registry
from mls.store.seam import Store
from tests.support.entropy import DeterministicEntropy

NOW = 1_750_000_000
ANYONE = AcceptAnyone()


class World:
    """Everybody's clients, under one clock. `settings` hold for every client that is not given others by name.

    A `registry` among them is what every client's application adds to the protocol.
    """

    def __init__(
        self,
        suite: int = 1,
        seed: int = 0,
        **settings: Any,  # noqa: ANN401  (fields of Settings)
    ) -> None:
        self.now = NOW
        self.clients: dict[str, Client] = {}
        self.stores: dict[str, Store] = {}
        self._suite = suite
        self._registries: dict[str, Registry] = {}
        self._registry: Registry = settings.pop("registry", NO_REGISTRY)
        self._seed = seed
        self._settings = settings
        self._own_settings: dict[str, Settings] = {}
        self._roles: dict[str, RolePolicy] = {}
        self._starts = 0

    # Clients.

    def client(
        self,
        name: str,
        *,
        store: Store | None = None,
        policy: CredentialPolicy = ANYONE,
        roles: RolePolicy = EVERYTHING_ALLOWED,
        registry: Registry | None = None,
        **settings: Any,  # noqa: ANN401  (fields of Settings)
    ) -> Client:
        """Make a client; the same seed, name and order of calls give the same keys."""
        self.stores[name] = MemoryStore() if store is None else store
        self._own_settings[name] = Settings(**{**self._settings, **settings})
        self._registries[name] = self._registry if registry is None else registry
        identity = Identity.basic(name.encode(), self._suite)
        created = Client.create(
            self.stores[name],
            identity,
            policy=policy,
            roles=roles,
            settings=self._own_settings[name],
            registry=self._registries[name],
            clock=lambda: self.now,
            entropy=self.entropy(name),
        )
        self._roles[name] = roles
        self.clients[name] = created
        return created

    def entropy(self, name: str) -> DeterministicEntropy:
        """Return fresh repeatable randomness: no two calls return the same stream."""
        self._starts += 1
        return DeterministicEntropy(f"{self._seed}/{name}/{self._starts}".encode())

    def open(self, name: str, store: Store, policy: CredentialPolicy = ANYONE) -> Client:
        """Open the client that a store holds, with the settings of `name`."""
        return Client.open(
            store,
            policy=policy,
            roles=self._roles.get(name, EVERYTHING_ALLOWED),
            settings=self._own_settings[name],
            registry=self._registries.get(name, self._registry),
            clock=lambda: self.now,
            entropy=self.entropy(name),
        )

    def restart(self, group: Group) -> Group:
        """End a group's client and start it again on its store; return the same group of the new client."""
        name = self.name_of(group)
        self.clients[name] = self.open(name, self.stores[name])
        return self.clients[name].group(group.group_id)

    def twin(self, group: Group) -> Group:
        """Return the group as a second client holds it that was started on a copy of the store, as it stands."""
        name = self.name_of(group)
        return self.open(name, copy_of(self.stores[name])).group(group.group_id)

    def name_of(self, group: Group) -> str:
        """Return the name of the client that holds a group."""
        return next(name for name, store in self.stores.items() if store is group._store)

    # Groups.

    def group(
        self,
        n: int,
        *,
        extensions: tuple[Extension, ...] = (),
        names: Sequence[str] | None = None,
        **settings: Any,  # noqa: ANN401  (fields of Settings)
    ) -> list[Group]:
        """Return a group as its n members hold it, in the order of their leaves; the first founded it, in epoch 1."""
        taken = len(self.clients)
        chosen = names if names is not None else [f"member-{taken + i}" for i in range(n)]
        clients = [self.client(name, **settings) for name in chosen]
        founder = clients[0].create_group(extensions=extensions)
        return [founder, *self.add(founder, *clients[1:])]

    def add(self, committer: Group, *clients: Client, others: Iterable[Group] = ()) -> list[Group]:
        """Add clients by one commit, which `others` receive; return the group as the new members hold it."""
        if not clients:
            return []
        pending = self.commit(committer, [Add(client.key_package()) for client in clients], *others)
        return [join(client, pending) for client in clients]

    def commit(
        self,
        committer: Group,
        intents: Sequence[Intent] = (),
        *others: Group,
        **options: Any,  # noqa: ANN401  (options of Group.commit)
    ) -> PendingCommit:
        """Commit, merge, and deliver to the other members, who merge too."""
        pending = committer.commit(intents, **options)
        committer.merge(pending)
        self.deliver(pending.message, *others)
        return pending

    def deliver(self, message: bytes, *groups: Group) -> list[Received]:
        """Let everybody receive a message, and merge what is a commit; return what each came to."""
        received = []
        for group in groups:
            event = group.receive(message)
            if isinstance(event, StagedCommit):
                group.merge(event)
            received.append(event)
        return received

    def agree(self, *groups: Group) -> None:
        """Assert that all hold the same epoch, tree, authenticator and members."""
        first = groups[0]
        for other in groups[1:]:
            assert other.group_id == first.group_id
            assert other.epoch == first.epoch
            assert other.tree_hash == first.tree_hash
            assert other.epoch_authenticator == first.epoch_authenticator
            assert other.members == first.members


def join(client: Client, pending: PendingCommit) -> Group:
    """Accept the invitation that a commit holds for a client."""
    assert pending.welcome is not None
    if pending.ratchet_tree is not None:
        return client.join(pending.welcome, pending.ratchet_tree).accept()
    invitation = client.receive(pending.welcome)
    assert isinstance(invitation, Invitation)
    return invitation.accept()


def records(store: Store) -> dict[str, bytes]:
    """Return everything that a store holds."""
    return dict(store.scan(""))


def copy_of(store: Store) -> MemoryStore:
    """Return an independent store with the same records."""
    copied = MemoryStore()
    copied.apply(records(store))
    return copied
