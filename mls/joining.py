"""Joining a group by an external commit: what a client judges before, and the handle that it gets.

RFC 9420 §12.4.3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mls.arguments import octets_of, verify_message
from mls.crypto import cipher_suite
from mls.drafting import draft_psk
from mls.epoch.create_commit import LeafContent
from mls.epoch.effect import Member, member_of
from mls.epoch.environment import Environment
from mls.epoch.join import ExternalJoin, create_external_commit, group_of
from mls.epoch.members import leaf_nodes
from mls.epoch.state import EpochState, GroupState
from mls.errors import Code, InvalidGroupInfo, MLSError, UsageError
from mls.group import Group
from mls.header import read_header
from mls.intents import PreSharedKey, ResumptionPSK
from mls.messages import GroupInfo, MLSMessage
from mls.rules import require, require_kind
from mls.settings import Settings
from treekem.index import LeafIndex
from treekem.wire import decode, encode

Injected = PreSharedKey | ResumptionPSK
"""A pre-shared key that a joiner injects. RFC 9420 §8.4."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a client wants to enter a group from outside; `former_keys` is None unless it replaces a leaf of its own.

    `held_epoch` is the epoch of the group that it still holds, if any.
    """

    leaf: LeafContent = field(repr=False)
    psks: Sequence[Injected]
    former_keys: frozenset[bytes] | None
    authenticated_data: bytes
    held_epoch: int | None = None


class ExternalCommit:
    """An external commit: deliver `message`, and accept once the delivery service has taken it.

    Nothing is stored before. A client that is killed between the two is in the group without its keys: it joins again,
    with `resync`. `members` are those of the epoch that the commit leads to, this client among them.
    RFC 9420 §12.4.3.2.
    """

    def __init__(self, joined: ExternalJoin, env: Environment, enter: Callable[[EpochState], Group]) -> None:
        self._state: EpochState | None = joined.state
        self._enter = enter
        self.message = encode(joined.message)
        fits = len(self.message) <= env.settings.max_message_bytes
        text = f"a message of {len(self.message)} bytes, more than max_message_bytes"
        require(fits, UsageError, "S-max_message_bytes", text, code=Code.LIMIT_EXCEEDED)
        group = joined.state.group
        self.group_id = group.context.group_id
        self.epoch = joined.state.epoch
        self.members: tuple[Member, ...] = tuple(member_of(index, leaf, env) for index, leaf in leaf_nodes(group.tree))

    def __repr__(self) -> str:
        return f"<ExternalCommit to {self.group_id.hex()}, {len(self.members)} members>"

    def accept(self) -> Group:
        """Enter the group: in one batch it comes in, and what this client still held of it goes out.

        Raises UsageError the second time, where this client has meanwhile come in otherwise, and where the group has
        moved on without this commit.
        """
        if self._state is None:
            raise UsageError("this external commit was accepted already", code=Code.STALE_HANDLE)
        group = self._enter(self._state)
        self._state = None
        return group


def read_group_info(data: bytes, settings: Settings) -> GroupInfo:
    """Return the GroupInfo in an MLSMessage; it is still to be verified. Raises MalformedMessage or InvalidGroupInfo.

    RFC 9420 §12.4.3.
    """
    verify_message(data)
    read_header(data, settings)
    body, text = decode(MLSMessage, data).body, "the message is no GroupInfo"
    return require_kind(body, GroupInfo, InvalidGroupInfo, "R-6-06", text, code=Code.WRONG_WIRE_FORMAT)


def tree_beside(ratchet_tree: object, settings: Settings, error: type[MLSError]) -> bytes | None:
    """Return the tree that comes beside a message, if it does: it is kept, so a copy of what its owner could change.

    Raises `error` for one that is larger than one may be, and UsageError for what is no bytes.
    """
    if ratchet_tree is None:
        return None
    tree = octets_of(ratchet_tree, "a ratchet tree")
    fits = len(tree) <= settings.max_welcome_bytes
    require(fits, error, "S-max_welcome_bytes", f"a tree of {len(tree)} bytes", code=Code.LIMIT_EXCEEDED)
    return tree


def verify_returning(*, resync: bool) -> None:
    """Require that a client which holds a group says so when it joins it again. Raises UsageError."""
    text = "this client is in a group of this id: it may only return, with resync"
    require(resync, UsageError, "R-12.4.3.2-10", text, code=Code.GROUP_EXISTS)


def verify_recent(info: GroupInfo, epoch: int) -> None:
    """Check that a GroupInfo is not older than what the client has seen of the group. Raises InvalidGroupInfo."""
    offered = info.group_context.epoch
    text = f"the GroupInfo is of epoch {offered}, and this client has seen epoch {epoch}"
    require(offered >= epoch, InvalidGroupInfo, "N-E07", text, code=Code.STALE_GROUP_INFO)


def external_join(info: GroupInfo, ratchet_tree: bytes | None, entry: Entry, env: Environment) -> ExternalJoin:
    """Verify a GroupInfo with its tree, and make an external commit to its group.

    Raises what `group_of` and `create_external_commit` do. RFC 9420 §12.4.3.2.
    """
    context = info.group_context
    group = group_of(info, ratchet_tree, cipher_suite(context.cipher_suite), env)
    replaces = None if entry.former_keys is None else _former_leaf(group, entry.leaf, entry.former_keys, env)
    if not all(isinstance(each, Injected) for each in entry.psks):
        raise UsageError("psks are a sequence of PreSharedKey and ResumptionPSK")
    wanted = (*entry.psks, *_proof_of_membership(entry, env.settings))
    psks = tuple(draft_psk(each, context.group_id, group.suite, env.entropy) for each in wanted)
    return create_external_commit(
        group, info, entry.leaf, env, psks=psks, replaces=replaces, authenticated_data=entry.authenticated_data
    )


def _proof_of_membership(entry: Entry, settings: Settings) -> Iterator[ResumptionPSK]:
    """Yield the resumption PSK that shows a returning client to be the old one, where its application names none."""
    is_shown = any(isinstance(each, ResumptionPSK) and each.group_id is None for each in entry.psks)
    wanted = entry.former_keys is not None and not settings.resync_without_psk
    if wanted and not is_shown and entry.held_epoch is not None:
        yield ResumptionPSK(entry.held_epoch)


def _former_leaf(group: GroupState, own: LeafContent, keys: frozenset[bytes], env: Environment) -> LeafIndex:
    """Return the leaf of our identity that has one of our keys, or else one that the policy holds to be this client."""
    identity = env.policy.identity(own.credential)
    alike = [
        (index, leaf) for index, leaf in leaf_nodes(group.tree) if env.policy.identity(leaf.credential) == identity
    ]
    found = next((index for index, leaf in alike if leaf.signature_key in keys), None)
    if found is None:
        me = env.subject(own.credential, own.signature_keys.public)
        others = ((index, env.subject(leaf.credential, leaf.signature_key)) for index, leaf in alike)
        found = next((index for index, other in others if env.policy.same_client(me, other)), None)
    if found is None:
        raise UsageError("this client has no leaf in the group that it could replace: join without resync")
    return found
