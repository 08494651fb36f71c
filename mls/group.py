"""A group as one member holds it: the shell around the pure transitions of `mls.epoch`.

A call either returns, having written one batch to the store, or raises and leaves group and store as they were. A group
belongs to one thread at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from mls.arguments import intents_of, verify_bytes, verify_message
from mls.drafting import Draft, draft_leaf, draft_proposal, draft_update
from mls.epoch.admission import verify_room
from mls.epoch.create_commit import CommitOrder, CreatedCommit, create_commit, protect, signed_content
from mls.epoch.effect import Member, member_of
from mls.epoch.environment import Environment
from mls.epoch.leaves import Demands
from mls.epoch.members import leaf_nodes
from mls.epoch.proposals import QueuedProposal, verify_proposal
from mls.epoch.queue import PendingProposal, proposal_ref, select_proposals
from mls.epoch.transition import Transition
from mls.epoch.welcome import create_group_info
from mls.errors import Code, UsageError
from mls.events import (
    PendingCommit,
    ProposalReceived,
    SentProposal,
    StagedCommit,
)
from mls.header import read_header
from mls.intents import ALL, Intent, NewLeaf, Update
from mls.merging import drop_expired, merge_transition
from mls.messages import (
    ApplicationData,
    Extension,
    MemberSender,
    MLSMessage,
    ProposalContent,
    ProtocolVersion,
    WireFormat,
)
from mls.receiving import Received, receive_message
from mls.rules import require, require_kind
from mls.schedule.key_schedule import ExportedSecret, export_secret
from mls.schedule.secret_tree import StagedKey
from mls.store.candidates import Candidate, candidate_name
from mls.store.seam import Batch, Store
from mls.store.standing import Standing, wipe_states
from treekem.wire import encode


class Group:
    """One group, in its present epoch. Made by `Client.create_group`, `Client.group` and `Invitation.accept`."""

    def __init__(self, standing: Standing, store: Store, environment: Callable[[], Environment]) -> None:
        self._standing = standing
        self._store = store
        self._environment = environment
        self._lock = threading.Lock()
        self._retired = False

    def __repr__(self) -> str:
        state = ", retired" if self._retired else ""
        return f"<Group {self.group_id.hex()}, epoch {self.epoch}{state}>"

    # What members agree on.

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self._standing.group_id

    @property
    def epoch(self) -> int:
        """The present epoch's number."""
        return self._standing.state.epoch

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in the order of their leaves."""
        env = self._environment()
        return tuple(member_of(index, leaf, env) for index, leaf in leaf_nodes(self._standing.state.group.tree))

    @property
    def me(self) -> Member:
        """This client as a member."""
        own = self._standing.state.own.index
        leaf = self._standing.state.group.leaf_node(own)
        if leaf is None:
            raise UsageError("this client is no member any more", code=Code.GROUP_RETIRED)
        return member_of(own, leaf, self._environment())

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The group context's extensions. RFC 9420 §8.1."""
        return self._standing.state.group.extensions

    @property
    def tree_hash(self) -> bytes:
        """The hash of the ratchet tree, which all members share."""
        return self._standing.state.group.context.tree_hash

    @property
    def ratchet_tree(self) -> bytes:
        """The ratchet tree as it is handed to those who join. RFC 9420 §12.4.3.3."""
        return self._standing.state.group.tree.encode()

    @property
    def epoch_authenticator(self) -> bytes:
        """A value equal among members exactly when they agree on the epoch; compare it out of band. RFC 9420 §8.7."""
        return self._standing.state.secrets.epoch_authenticator

    @property
    def is_frozen(self) -> bool:
        """Whether a ReInit was committed: nothing is sent here any more. RFC 9420 §11.2."""
        return self._standing.frozen is not None

    @property
    def is_retired(self) -> bool:
        """Whether this client was removed, or forgot the group; what was public, such as `members`, still shows."""
        return self._retired

    def export_secret(self, label: str | bytes, context: bytes, length: int) -> ExportedSecret:
        """Return a secret of `length` bytes that all members of this epoch can derive. Raises UsageError.

        RFC 9420 §8.5.
        """
        with self._exclusive():
            self._verify_alive()
            name = label.encode() if isinstance(label, str) else label
            verify_bytes(name, "a label")
            verify_bytes(context, "the context of an export")
            state = self._standing.state
            return export_secret(state.suite, state.secrets.exporter, name, context, length)

    def group_info(self, *, ratchet_tree: bool = True) -> bytes:
        """Return a signed GroupInfo, for clients that join by an external commit. RFC 9420 §12.4.3."""
        with self._exclusive():
            self._verify_alive()
            env = self._environment()
            info = create_group_info(self._standing.state, env, ratchet_tree=ratchet_tree)
            return _sized(encode(MLSMessage(ProtocolVersion.MLS10, info)), env, "max_welcome_bytes")

    def fingerprint(self) -> bytes:
        """Hash what this client holds of the group: the agreed state, and what every ratchet has consumed and kept.

        Lazy derivations do not show; two equal fingerprints mean that nothing was learnt, spent or lost in between.
        """
        standing = self._standing
        digest = sha256()
        parts = [
            standing.state.group.encoded_context(),
            standing.state.group.confirmation_tag,
            standing.state.secrets.epoch_authenticator,
            standing.secret_tree.fingerprint(),
            *(part for past in standing.past for part in (encode(past.context), past.keys.secret_tree.fingerprint())),
            *sorted(standing.proposals),
            *sorted(name.encode() for name in standing.candidates),
        ]
        for part in parts:
            digest.update(len(part).to_bytes(4, "big") + part)
        return digest.digest()

    # Proposing and committing.

    @property
    def proposals(self) -> tuple[ProposalReceived, ...]:
        """The proposals that wait for a commit, in the order of their arrival."""
        return tuple(map(self._waiting, self._standing.proposals))

    @property
    def pending(self) -> tuple[PendingCommit, ...]:
        """Own commits of this epoch that are neither merged nor discarded."""
        return tuple(self._pending_commit(each) for each in self._standing.candidates.values())

    def propose(self, intent: Intent, *, authenticated_data: bytes = b"") -> SentProposal:
        """Make a proposal for anybody to commit. Raises InvalidProposal or what it is derived from. RFC 9420 §12.1."""
        with self._exclusive():
            self._verify_sending()
            env, standing = self._environment(), self._standing
            draft = self._drafted(intent, env)
            private = env.settings.private_handshakes
            wire_format = WireFormat.PRIVATE_MESSAGE if private else WireFormat.PUBLIC_MESSAGE
            content = signed_content(standing.state, ProposalContent(draft.proposal), wire_format, authenticated_data)
            reference = proposal_ref(standing.state.suite, content)
            queued = QueuedProposal(draft.proposal, MemberSender(standing.state.own.index), reference)
            if reference not in standing.proposals:
                verify_room([each.queued.sender for each in standing.proposals.values()], queued.sender, env, own=True)
            demands = Demands.of(standing.state.group.context, standing.state.suite)
            verify_proposal(standing.state.group, queued, env, demands, strict=True)
            message, key = protect(standing.state, content, standing.keys, env, private=private)
            encoded = _sized(encode(message), env)
            pending = PendingProposal(queued, draft.update_key, draft.signature_key)
            self._spend(key, standing.proposal_batch(pending), env)
            standing.proposals.setdefault(reference, pending)
            return SentProposal(encoded, reference)

    def commit(
        self,
        intents: Sequence[Intent] = (),
        *,
        include: object = ALL,
        path: bool | None = None,
        tree: str = "inside",
        leaf: NewLeaf | None = None,
        authenticated_data: bytes = b"",
    ) -> PendingCommit:
        """Make a commit of new proposals and, by default, of all pending ones; it changes nothing until it is merged.

        `include`: ALL, or the references of the pending proposals to cover. `path`: False leaves it out where that is
        allowed. `tree`: "inside" the Welcome or "beside" it. `leaf`: what one's own leaf is to say, where that changes.
        Raises InvalidProposalList and what it is derived from; for a changed leaf InvalidLeafNode, InvalidKey or
        Refused; or UsageError. RFC 9420 §12.4.1.
        """
        with self._exclusive():
            self._verify_sending()
            asked = intents_of(intents)
            if tree not in {"inside", "beside"}:
                raise UsageError(f"tree is 'inside' or 'beside', not {tree!r}")
            env, standing = self._environment(), self._standing
            sender = MemberSender(standing.state.own.index)
            wanted = tuple(QueuedProposal(self._drafted(each, env).proposal, sender) for each in asked)
            selection = select_proposals(standing.state.group, sender.leaf_index, wanted, self._included(include), env)
            order = CommitOrder(
                selection.taken,
                path,
                tree == "inside",
                env.settings.private_handshakes,
                authenticated_data,
                None if leaf is None else draft_leaf(standing.state, leaf, env),
            )
            created = create_commit(standing.state, order, standing.keys, env)
            candidate = Candidate(
                message=_sized(encode(created.message), env),
                welcome=_welcome_of(created, env, beside=tree == "beside"),
                tree_beside=tree == "beside",
                left_out=tuple((queued.reference, reason) for queued, reason in selection.left_out),
                transition=created.transition,
                order=1 + max((each.order for each in standing.candidates.values()), default=-1),
            )
            self._spend(created.key, standing.candidate_batch(candidate), env)
            standing.candidates[candidate.name] = candidate
            return self._pending_commit(candidate)

    def merge(self, commit: PendingCommit | StagedCommit) -> None:
        """Move to the epoch that a commit leads to: the delivery service took it.

        All other commits of the epoch are dropped. A commit that removes this client retires the group and wipes it.
        Raises UsageError for a commit of another epoch. RFC 9420 §12.4.2, §14.
        """
        with self._exclusive():
            self._verify_alive()
            transition, key = self._decided(commit)
            after = merge_transition(self._standing, transition, key, self._store, self._environment())
            if after is None:
                self._retired = True
            else:
                self._standing = after

    def discard(self, commit: PendingCommit) -> None:
        """Forget an own commit that was certainly refused; in doubt, keep it.

        Raises UsageError for one that is not in `pending`; to refuse a commit of others, just do not merge it.
        RFC 9420 §14.
        """
        with self._exclusive():
            self._verify_alive()
            if commit.candidate not in self._standing.candidates:
                raise UsageError("this is no own commit that is pending", code=Code.STALE_HANDLE)
            self._store.apply({f"{self._standing.prefix}candidate/{commit.candidate}": None})
            candidate = self._standing.candidates.pop(commit.candidate)
            wipe_states([candidate.transition.state], kept=self._standing.state)

    def forget(self) -> None:
        """Wipe the group and delete its records: once a successor took its place, or it is of no use any more.

        The other members learn nothing of it; one that they should not count on any more is to be removed.
        """
        with self._exclusive():
            self._verify_alive()
            self._store.apply(dict.fromkeys(name for name, _ in self._store.scan(self._standing.prefix)))
            self._standing.wipe()
            self._retired = True

    def forget_expired_epochs(self) -> int:
        """Wipe past epochs whose messages are not read any more by `Settings.past_epoch_ttl`, and return how many.

        Skipped keys that are older than `Settings.skipped_key_ttl` go as well. Merging a commit wipes such epochs too,
        and reading a message such keys of its epoch; where nothing comes for long, call this from time to time.
        RFC 9420 §15.3.
        """
        with self._exclusive():
            self._verify_alive()
            return drop_expired(self._standing, self._store, self._environment())

    # Talking.

    def encrypt(self, data: bytes, *, authenticated_data: bytes = b"") -> bytes:
        """Return a PrivateMessage of application data; `authenticated_data` is readable on the way.

        Raises UsageError with code MUST_COMMIT_FIRST while proposals are pending. RFC 9420 §15.
        """
        with self._exclusive():
            self._verify_sending()
            env, standing = self._environment(), self._standing
            text = "proposals are pending: commit them first"
            require(not standing.proposals, UsageError, "R-12.4-02", text, code=Code.MUST_COMMIT_FIRST)
            content = signed_content(
                standing.state, ApplicationData(data), WireFormat.PRIVATE_MESSAGE, authenticated_data
            )
            message, key = protect(standing.state, content, standing.keys, env, private=True)
            encoded = _sized(encode(message), env)
            self._spend(key, {}, env)
            return encoded

    def receive(self, data: bytes) -> Received:
        """Verify a message of this group, and return what it comes to.

        A commit is staged, not merged. Raises MLSError; nothing has changed then, and the genuine message still works.
        A proposal that a policy refuses, or for which there is no room, is not recorded: a commit that covers it by
        reference is refused with the code UNKNOWN_PROPOSAL_REF. Once it is allowed, receive the same proposal again,
        then the commit. RFC 9420 §6, §12, §12.4.2.
        """
        with self._exclusive():
            self._verify_alive()
            verify_message(data)
            env = self._environment()
            candidate = self._candidate_in(data, env)
            if candidate is not None:
                return self._own_commit(candidate)
            return receive_message(self._standing, data, self._store, env)

    # Inside.

    def _candidate_in(self, data: bytes, env: Environment) -> Candidate | None:
        """Return the own commit that came back; only what is for this group and epoch is hashed to find it."""
        header, standing = read_header(data, env.settings), self._standing
        if (header.group_id, header.epoch) != (standing.group_id, standing.state.epoch):
            return None
        return standing.candidates.get(candidate_name(data)) if standing.candidates else None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise UsageError("another thread is using this group", code=Code.WRONG_THREAD)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        """Wipe and retire this group once the block has put another in its place."""
        with self._exclusive():
            yield
            self._standing.wipe()
            self._retired = True

    def _verify_alive(self) -> None:
        text = "this client was removed from the group, or forgot it"
        require(not self._retired, UsageError, "R-12.4.2-19", text, code=Code.GROUP_RETIRED)

    def _verify_sending(self) -> None:
        self._verify_alive()
        is_open, text = self._standing.frozen is None, "the group is being reinitialized"
        require(is_open, UsageError, "R-12.4.2-18", text, code=Code.GROUP_RETIRED)

    def _drafted(self, intent: Intent, env: Environment) -> Draft:
        if not isinstance(intent, Intent):
            raise UsageError(f"a {type(intent).__name__} is not something a group can be asked to do")
        if isinstance(intent, Update):
            return draft_update(self._standing.state, intent, env)
        return Draft(draft_proposal(self._standing.state, intent, env))

    def _included(self, include: object) -> list[QueuedProposal]:
        pending = self._standing.proposals
        if include is ALL:
            return [each.queued for each in pending.values()]
        if not isinstance(include, Sequence):
            raise UsageError("include is ALL or a sequence of references")
        unknown = [reference for reference in include if reference not in pending]
        if unknown:
            raise UsageError(f"{len(unknown)} of the references to include are not pending")
        return [pending[reference].queued for reference in include]

    def _spend(self, key: StagedKey | None, batch: Batch, env: Environment) -> None:
        """Write what a call changes, the key it spent included, and only then consume the key."""
        standing = self._standing
        if key is None:
            self._store.apply(batch)
            return
        limit = env.settings.messages_per_epoch
        text = f"the {limit} messages of messages_per_epoch are sent: a commit gives new keys"
        require(key.generation < limit, UsageError, "R-15.2-01", text, code=Code.MUST_REKEY)
        self._store.apply({**batch, **standing.key_batch(standing.state.epoch, key)})
        standing.secret_tree.apply(key)

    def _decided(self, commit: PendingCommit | StagedCommit) -> tuple[Transition, StagedKey | None]:
        """§14: a commit can be merged in the very epoch that it was made or staged in, and in no other."""
        standing = self._standing
        candidate = standing.candidates.get(commit.candidate)
        if candidate is not None:
            return candidate.transition, None
        text, code = "this commit is of another epoch or group", Code.STALE_HANDLE
        staged = require_kind(commit, StagedCommit, UsageError, "R-14-05", text, code=code)
        is_current = not staged.own and staged.base is standing.state
        require(is_current, UsageError, "R-14-05", text, code=code)
        return staged.transition, staged.key

    def _waiting(self, reference: bytes) -> ProposalReceived:
        queued = self._standing.proposals[reference].queued
        return ProposalReceived(reference, queued.proposal, queued.sender)

    def _pending_commit(self, candidate: Candidate) -> PendingCommit:
        state = candidate.transition.state
        beside = candidate.tree_beside and candidate.welcome is not None and state is not None
        return PendingCommit(
            message=candidate.message,
            welcome=candidate.welcome,
            ratchet_tree=state.group.tree.encode() if beside and state is not None else None,
            effect=candidate.transition.effect,
            left_out=tuple((self._waiting(reference), reason) for reference, reason in candidate.left_out),
            epoch=self.epoch,
            candidate=candidate.name,
        )

    def _own_commit(self, candidate: Candidate) -> StagedCommit:
        return StagedCommit(
            own=True,
            effect=candidate.transition.effect,
            epoch=self.epoch,
            base=self._standing.state,
            transition=candidate.transition,
            candidate=candidate.name,
        )


def _welcome_of(created: CreatedCommit, env: Environment, *, beside: bool) -> bytes | None:
    """Return the Welcome of a commit, once those that it is for can take it and the tree that comes with it."""
    state = created.transition.state
    if created.welcome is None or state is None:
        return None
    if beside:
        _sized(state.group.tree.encode(), env, "max_welcome_bytes")
    return _sized(encode(MLSMessage(ProtocolVersion.MLS10, created.welcome)), env, "max_welcome_bytes")


def _sized(message: bytes, env: Environment, setting: str = "max_message_bytes") -> bytes:
    limit: int = getattr(env.settings, setting)
    text = f"a message of {len(message)} bytes, more than {setting}"
    require(len(message) <= limit, UsageError, f"S-{setting}", text, code=Code.LIMIT_EXCEEDED)
    return message
