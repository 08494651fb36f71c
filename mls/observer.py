"""A group as an observer follows it: by its GroupInfo and its public handshakes, without a single secret.

That is what a delivery service needs: who is a member, which epoch it is, and whether a handshake is worth passing on.

>>> from mls import AcceptAnyone, Add, Client, Identity, MemoryStore, Settings
>>> public = Settings(private_handshakes=False)
>>> alice = Client.create(MemoryStore(), Identity.basic(b"alice"), policy=AcceptAnyone(), settings=public)
>>> bob = Client.create(MemoryStore(), Identity.basic(b"bob"), policy=AcceptAnyone())
>>> room = alice.create_group()
>>> service = PublicGroup.follow(room.group_info(), policy=AcceptAnyone())
>>> commit = room.commit([Add(bob.key_package())])
>>> observed = service.receive(commit.message)
>>> [member.identity for member in observed.effect.added]
[b'bob']
>>> room.merge(commit)
>>> service.merge(observed)
>>> (service.epoch, service.tree_hash) == (room.epoch, room.tree_hash)
True
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mls.arguments import verify_message, verify_parts
from mls.crypto import cipher_suite
from mls.epoch.admission import (
    admit_proposal,
    authenticated,
    verify_group,
    verify_not_frozen,
    verify_public_allowed,
)
from mls.epoch.effect import Effect, Member, member_of
from mls.epoch.environment import Environment
from mls.epoch.framing import verify_content, verify_sender
from mls.epoch.join import group_of
from mls.epoch.members import leaf_nodes
from mls.epoch.proposals import QueuedProposal
from mls.epoch.public_commit import public_state_after, stage_public_commit
from mls.epoch.state import GroupState
from mls.errors import Code, InvalidFraming, InvalidGroupInfo, InvalidTag, UsageError, WrongEpoch
from mls.events import ProposalReceived
from mls.header import Header, read_header
from mls.identity import CredentialPolicy
from mls.identity.roles import EVERYTHING_ALLOWED, RolePolicy
from mls.joining import read_group_info, tree_beside
from mls.messages import (
    AuthenticatedContent,
    ContentType,
    Extension,
    MLSMessage,
    PrivateMessage,
    ProposalContent,
    PublicMessage,
    ReInit,
    WireFormat,
)
from mls.registry import NO_REGISTRY, Registry
from mls.rules import require, require_here
from mls.settings import Settings
from mls.threads import threads_of
from treekem.wire import decode


@dataclass(frozen=True, slots=True, eq=False)
class ObservedCommit:
    """A commit whose public half was checked, and which changes nothing until it is merged.

    Members may still refuse it, for what they alone can see: an observer cannot tell whether its path opens, whether
    its PSKs are held, and whether its confirmation tag is right. RFC 9420 §12.4.2.
    """

    effect: Effect
    epoch: int
    base: GroupState = field(repr=False)
    after: GroupState = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opaque:
    """A PrivateMessage passed: all that can be told is its content type and epoch, and neither is authenticated.

    If it is a commit and the group takes it, the observer must be told a fresh GroupInfo. RFC 9420 §6.3.
    """

    content_type: ContentType
    epoch: int


Observed = ProposalReceived | ObservedCommit | Opaque

_NO_QUEUE: Mapping[bytes, QueuedProposal] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _View:
    """What an observer knows of an epoch, and the keys that each identity has shown since it began to look."""

    group: GroupState
    queue: Mapping[bytes, QueuedProposal]
    shown: Mapping[bytes, frozenset[bytes]]
    frozen: ReInit | None = None


class PublicGroup:
    """A group as anyone can follow it who sees its handshakes in the clear. Made by `PublicGroup.follow`.

    Membership tags and confirmation tags of the right length are taken on faith, as checking them takes keys of the
    group, and so are the secrets of paths and PSKs; everything else that members check of a public handshake is checked
    here, by the same code. What passes in private is not seen: a commit that covers a proposal sent so cannot be
    followed, as one that was sent so itself, and a fresh GroupInfo must be told. A call either returns or raises and
    leaves the group as it was.
    """

    def __init__(
        self,
        group: GroupState,
        *,
        policy: CredentialPolicy,
        roles: RolePolicy,
        settings: Settings,
        registry: Registry,
        clock: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._roles = roles
        self._settings = settings
        self._registry = registry
        self._clock = clock
        self._view = _View(group, _NO_QUEUE, {})
        self._view = replace(self._view, shown=self._shown(self.members))

    @classmethod
    def follow(
        cls,
        group_info: bytes,
        ratchet_tree: bytes | None = None,
        *,
        policy: CredentialPolicy,
        roles: RolePolicy = EVERYTHING_ALLOWED,
        settings: Settings | None = None,
        registry: Registry = NO_REGISTRY,
        clock: Callable[[], float] = time.time,
    ) -> PublicGroup:
        """Begin to follow a group by a GroupInfo, and its tree where that comes beside it.

        Signature and tree are checked, but they hold of any group that somebody makes up: take a GroupInfo from
        somebody who is known to be a member. Raises InvalidGroupInfo, InvalidTree, InvalidLeafNode, InvalidSignature,
        MalformedMessage, Unsupported or Refused. RFC 9420 §12.4.3.
        """
        verify_parts(policy=policy, roles=roles, settings=settings, registry=registry, clock=clock)
        chosen = Settings() if settings is None else settings
        env = Environment(chosen, policy, int(clock()), _no_entropy, roles=roles, registry=registry)
        group = _told(group_info, ratchet_tree, replace(env, threads=threads_of(None)))
        return cls(group, policy=policy, roles=roles, settings=chosen, registry=registry, clock=clock)

    def __repr__(self) -> str:
        return f"<PublicGroup {self.group_id.hex()}, epoch {self.epoch}>"

    # What can be seen.

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self._view.group.context.group_id

    @property
    def epoch(self) -> int:
        """The present epoch's number."""
        return self._view.group.context.epoch

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in the order of their leaves."""
        env = self._environment()
        return tuple(member_of(index, leaf, env) for index, leaf in leaf_nodes(self._view.group.tree))

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The group context's extensions."""
        return self._view.group.extensions

    @property
    def group_context(self) -> bytes:
        """The encoded GroupContext, on which all members agree. RFC 9420 §8.1."""
        return self._view.group.encoded_context()

    @property
    def tree_hash(self) -> bytes:
        """The hash of the ratchet tree, which all members share."""
        return self._view.group.context.tree_hash

    @property
    def confirmed_transcript_hash(self) -> bytes:
        """The hash of all commits up to this epoch. RFC 9420 §8.2."""
        return self._view.group.context.confirmed_transcript_hash

    @property
    def ratchet_tree(self) -> bytes:
        """The ratchet tree as it is handed to those who join. RFC 9420 §12.4.3.3."""
        return self._view.group.tree.encode()

    @property
    def proposals(self) -> tuple[ProposalReceived, ...]:
        """The proposals that wait for a commit, in the order of their arrival; those sent in private are not seen."""
        queue = self._view.queue.values()
        return tuple(ProposalReceived(each.reference, each.proposal, each.sender) for each in queue)

    @property
    def is_frozen(self) -> bool:
        """Whether a ReInit was committed, after which the group does not move. RFC 9420 §11.2."""
        return self._view.frozen is not None

    # Following.

    def receive(self, data: bytes) -> Observed:
        """Verify a message to the group as far as it can be seen, and return what it comes to.

        A proposal is recorded, a commit is not merged, and of a PrivateMessage only the header is read. Raises MLSError
        by the same rules as members do; nothing has changed then. RFC 9420 §6, §12.
        """
        verify_message(data)
        env = self._environment()
        header = read_header(data, env.settings)
        text = f"a {header.wire_format.name} is not a message to a group"
        require(header.is_framed, InvalidFraming, "R-6-06", text)
        verify_group(self.group_id, header.group_id)
        self._verify_epoch(header)
        body = decode(MLSMessage, data, bodies=env.registry.bodies).body
        match body:
            case PrivateMessage(content_type=content_type, epoch=epoch):
                return Opaque(content_type, epoch)
            case PublicMessage():
                return self._receive_public(body, env)
            case _:
                raise AssertionError("the header said that the message is framed")

    def merge(self, commit: ObservedCommit) -> None:
        """Move to the epoch that a commit leads to: the group took it. Raises UsageError for one of another epoch.

        RFC 9420 §12.4.2, §14.
        """
        is_current = commit.base is self._view.group
        require(is_current, UsageError, "R-14-05", "this commit is of another epoch or group", code=Code.STALE_HANDLE)
        effect = commit.effect
        shown = self._shown((*effect.added, *(new for _, new in effect.updated)))
        self._view = _View(commit.after, _NO_QUEUE, shown, effect.reinit)

    def refresh(self, group_info: bytes, ratchet_tree: bytes | None = None) -> None:
        """Go on from a GroupInfo of a later epoch: the group has taken a commit that could not be seen.

        What `follow` says of its source holds here too. Raises what `follow` does, WrongGroup and WrongEpoch.
        RFC 9420 §12.4.3.
        """
        told = _told(group_info, ratchet_tree, self._environment())
        verify_group(self.group_id, told.context.group_id)
        same = told.suite.id == self._view.group.suite.id
        require(same, InvalidGroupInfo, "R-12.4.3.1-12", "the group would change its cipher suite")
        _require_epoch(told.context.epoch > self.epoch, self.epoch, told.context.epoch)
        before = self._view
        self._view = _View(told, _NO_QUEUE, before.shown)
        self._view = replace(self._view, shown=self._shown(self.members))

    # Inside.

    def _environment(self) -> Environment:
        return Environment(
            self._settings,
            self._policy,
            int(self._clock()),
            _no_entropy,
            self._known_keys,
            roles=self._roles,
            registry=self._registry,
            threads=threads_of(None),
        )

    def _known_keys(self, identity: bytes) -> frozenset[bytes]:
        return self._view.shown.get(identity, frozenset())

    def _shown(self, members: tuple[Member, ...]) -> Mapping[bytes, frozenset[bytes]]:
        shown = dict(self._view.shown)
        for member in members:
            shown[member.identity] = shown.get(member.identity, frozenset()) | {member.signature_key}
        return shown

    def _verify_epoch(self, header: Header) -> None:
        """§6: handshakes name the present epoch; application messages of former ones may still be on their way."""
        late = header.application and header.epoch < self.epoch
        _require_epoch(header.epoch == self.epoch or late, self.epoch, header.epoch)

    def _receive_public(self, message: PublicMessage, env: Environment) -> Observed:
        group, sender = self._view.group, message.content.sender
        verify_public_allowed(sender, env)
        content = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, message.content, message.auth)
        verify_sender(message.content, WireFormat.PUBLIC_MESSAGE)
        tag = message.membership_tag
        fits = tag is None or len(tag) == group.suite.hash_length
        require(fits, InvalidTag, "R-6.2-03", "the membership tag is of another length than the suite's")
        verify_content(group.suite, content, group.context, group.leaf_node)
        with authenticated(sender):
            verify_not_frozen(self._view.frozen)
            inner = content.content.content
            if isinstance(inner, ProposalContent):
                return self._record(admit_proposal(group, content, inner.proposal, self._view.queue, env))
            commit = stage_public_commit(group, content, self._view.queue, env)
            after = public_state_after(group, content, commit)
            return ObservedCommit(commit.effect(group, after, env), self.epoch, group, after)

    def _record(self, queued: QueuedProposal) -> ProposalReceived:
        self._view = replace(self._view, queue={**self._view.queue, queued.reference: queued})
        return ProposalReceived(queued.reference, queued.proposal, queued.sender)


def _told(group_info: bytes, ratchet_tree: bytes | None, env: Environment) -> GroupState:
    """Return the group that a GroupInfo message describes, checked as far as it can be."""
    tree = tree_beside(ratchet_tree, env.settings, InvalidGroupInfo)
    info = read_group_info(group_info, env.settings)
    return group_of(info, tree, cipher_suite(info.group_context.cipher_suite), env)


def _require_epoch(condition: bool, current: int, received: int) -> None:
    message = f"the message is for epoch {received}, the group is in epoch {current}"
    require_here(condition, WrongEpoch, "R-6-11", message, current=current, received=received)


def _no_entropy(length: int) -> bytes:
    raise AssertionError(f"an observer draws {length} random bytes, though it makes nothing")
