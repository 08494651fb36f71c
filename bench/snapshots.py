"""Groups that can be used up: an epoch is kept as it is, and every measurement works on a copy of its own.

A copy has its own secrets, ratchets, store and caches of a client; the tree is shared, as a group shares it from one
commit to the next, tables included. The store holds what changes, not the group's blocks: nothing here reads them.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.synthetic import NOW, write_client
from mls import AcceptAnyone, Client, Group, MemoryStore, Settings, StagedCommit
from mls.epoch.state import EpochState, OwnLeaf
from mls.events import PendingCommit
from mls.schedule.key_schedule import EpochSecrets
from mls.schedule.secret_tree import SecretTree
from mls.store.standing import Standing, limits_of
from treekem.secrets import Secret


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An epoch as one member sees it, at its beginning: nothing was sent or read."""

    state: EpochState
    settings: Settings

    def open(self, executor: Executor | None = None) -> Group:
        """Return the group, whose changes do not touch the snapshot."""
        state = _copied(self.state)
        store = MemoryStore()
        write_client(state, store)
        client = Client.open(store, policy=AcceptAnyone(), settings=self.settings, clock=lambda: NOW)
        client.executor = executor
        tree = SecretTree(
            state.suite, state.group.tree.n_leaves, state.secrets.encryption.copy(), limits_of(self.settings)
        )
        return Group(Standing(state, tree), store, client._environment)  # noqa: SLF001  (what the client would hand it)

    def after(self, group: Group, commit: PendingCommit | StagedCommit) -> Snapshot:
        """Return the epoch that a commit of `group` leads to, without going there."""
        if isinstance(commit, PendingCommit):
            state = group._standing.candidates[commit.candidate].transition.state  # noqa: SLF001  (no copy would do)
        else:
            state = commit.transition.state
        assert state is not None
        return Snapshot(_copied(state), self.settings)


def _copied(state: EpochState) -> EpochState:
    suite, signature_key = state.suite, state.own.signature_key.copy()
    own = OwnLeaf(state.own.index, signature_key, {node: key.copy() for node, key in state.own.private_keys.items()})
    # A member has used its keys before, or made them: what the library makes of them is there.
    suite.signature_public_key(signature_key)
    for key in own.private_keys.values():
        suite.hpke_public_key(key)
    return replace(state, secrets=_copied_secrets(state.secrets), own=own)


def _copied_secrets(secrets: EpochSecrets) -> EpochSecrets:
    held = ((field.name, getattr(secrets, field.name)) for field in fields(secrets))
    copies: dict[str, Any] = {name: each.copy() for name, each in held if isinstance(each, Secret)}
    return replace(secrets, **copies)
