"""A Welcome that was checked in full, and the handle by which its client enters the group. RFC 9420 §12.4.3.1."""

from __future__ import annotations

from collections.abc import Callable

from mls.epoch.effect import Member, member_of
from mls.epoch.environment import Environment
from mls.epoch.members import leaf_nodes
from mls.epoch.state import EpochState
from mls.errors import Code, UsageError
from mls.group import Group
from mls.rules import require
from mls.store.group_records import epoch_key
from mls.store.seam import Store
from treekem.index import LeafIndex


class Invitation:
    """A Welcome that was checked in full. Accept it to enter the group; until then nothing is stored or used up.

    RFC 9420 §12.4.3.1.
    """

    def __init__(
        self,
        state: EpochState,
        inviter: LeafIndex,
        used: dict[str, bytes | None],
        store: Store,
        env: Environment,
        found: Callable[[EpochState, dict[str, bytes | None]], Group],
    ) -> None:
        self._state: EpochState | None = state
        self._used = used
        self._store = store
        self._found = found
        self.group_id = state.group.context.group_id
        self.epoch = state.epoch
        self._tree, self._env = state.group.tree, env
        signer = state.group.leaf_node(inviter)
        if signer is None:
            raise AssertionError(f"leaf {inviter} signed a GroupInfo that was checked, and is blank")
        self.inviter = member_of(inviter, signer, env)

    def __repr__(self) -> str:
        return f"<Invitation to {self.group_id.hex()}, {self._tree.n_members} members>"

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in the order of their leaves."""
        return tuple(member_of(index, leaf, self._env) for index, leaf in leaf_nodes(self._tree))

    def accept(self) -> Group:
        """Enter the group: in one batch it comes in, and the key package goes out.

        Raises UsageError the second time, and once the key package or the group's id is in use.
        """
        if self._state is None:
            raise UsageError("this invitation was accepted already", code=Code.STALE_HANDLE)
        is_free = self._store.read(epoch_key(self.group_id)) is None
        require(is_free, UsageError, "R-12.4.3-06", "this client is in a group of this id", code=Code.GROUP_EXISTS)
        gone = (name for name, value in self._used.items() if value is None)
        is_held = all(self._store.read(name) is not None for name in gone)
        require(is_held, UsageError, "R-10-13", "the key package was used up", code=Code.KEY_PACKAGE_CONSUMED)
        group = self._found(self._state, self._used)
        self._state = None
        return group
