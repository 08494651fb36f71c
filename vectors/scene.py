"""A group of real clients, one of them passive, and the record of what the passive one is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mls import Add, Extension, Group, GroupContextExtensions, PreSharedKey, Settings
from mls.crypto import CipherSuite, SignatureKeyPair, SignaturePrivateKey
from mls.drafting import read_key_package
from mls.epoch.create_commit import CommitOrder, LeafContent, create_commit
from mls.epoch.environment import Environment
from mls.epoch.framing import SenderKeys, sign_content
from mls.epoch.join import join_by_external_commit
from mls.epoch.state import EpochState
from mls.events import ProposalReceived, StagedCommit
from mls.intents import Intent
from mls.key_packages import own_capabilities
from mls.messages import Add as AddProposal
from mls.messages import (
    BasicCredential,
    ExtensionType,
    ExternalPSK,
    ExternalSender,
    ExternalSenderIndex,
    ExternalSenders,
    FramedContent,
    FramedContentAuthData,
    GroupInfo,
    MLSMessage,
    NewMemberProposalSender,
    PreSharedKeyID,
    Proposal,
    ProposalContent,
    ProtocolVersion,
    PublicMessage,
    Sender,
    WireFormat,
)
from mls.schedule.psk import PSK
from mls.schedule.secret_tree import SecretTree
from treekem.index import LeafIndex
from treekem.wire import encode
from vectors.actors import Actor, create_actor
from vectors.case import Case, Mismatch, Recipe, message_body

PSK_ID: Final = b"a pre-shared key"
_INJECTION: Final = PreSharedKey(PSK_ID)


@dataclass(frozen=True, slots=True)
class Outsider:
    """Someone who speaks to the group without being in it."""

    keys: SignatureKeyPair
    credential: BasicCredential


class Scene:
    """Clients in one group.

    Everybody receives everything, and everybody must agree after each commit. `private` tells whether members encrypt
    their handshakes; None for a mixture.
    """

    def __init__(self, recipe: Recipe, n_members: int, *, private: bool | None = None) -> None:
        self.suite: CipherSuite = recipe.suite
        self.entropy = recipe.entropy
        self._private = private
        self._count = 0
        self._psk = recipe.entropy(recipe.suite.hash_length)
        self._is_psk_used = False
        self._proposals: list[bytes] = []
        self._newcomers: list[Actor] = []
        self._follower: Group | None = None
        self._case: Case = {}
        self._epochs: list[Case] = []
        founder = self.create_actor()
        self.rooms: list[Group] = [founder.create_group()]
        self.silent: list[LeafIndex] = []
        self.commit(0, [self.newcomer() for _ in range(n_members - 1)])

    @property
    def size(self) -> int:
        """How many members there are that speak."""
        return len(self.rooms)

    def case(self) -> Case:
        """Return the record, once the passive client is in."""
        psk = {"psk_id": PSK_ID.hex(), "psk": self._psk.hex()}
        return {**self._case, "external_psks": [psk] if self._is_psk_used else [], "epochs": self._epochs}

    # Who takes part.

    def create_actor(self) -> Actor:
        """Return a client who holds the pre-shared key."""
        private = self._count % 2 == 0 if self._private is None else self._private
        settings = replace(Settings.vectors(), private_handshakes=private)
        name = b"client %d" % self._count
        self._count += 1
        actor = create_actor(self.suite.id, name, self.entropy, settings)
        actor.client.add_psk(PSK_ID, self._psk)
        return actor

    def newcomer(self) -> Add:
        """Return what adds somebody new, who joins with the next commit."""
        actor = self.create_actor()
        self._newcomers.append(actor)
        return Add(actor.key_package())

    def invite(self, intents: Sequence[Intent] = (), *, path: bool | None = None, tree: str = "inside") -> None:
        """Let the founder add the passive client, besides committing `intents`."""
        actor = self.create_actor()
        key_package = actor.key_package()
        bundle = actor.bundle()
        commit = self._committed(0, [Add(key_package), *intents], path=path, tree=tree)
        if commit.welcome is None:
            raise Mismatch("an Add made no Welcome")
        self._follower = actor.client.join(commit.welcome, commit.ratchet_tree).accept()
        self._case = {
            "cipher_suite": self.suite.id,
            "external_psks": [],
            "key_package": key_package.hex(),
            "signature_priv": bundle.signature_keys.private.expose().hex(),
            "encryption_priv": bundle.encryption_key.expose().hex(),
            "init_priv": bundle.init_key.expose().hex(),
            "welcome": commit.welcome.hex(),
            "ratchet_tree": None if commit.ratchet_tree is None else commit.ratchet_tree.hex(),
            "initial_epoch_authenticator": self._agreed().hex(),
        }

    # What members do.

    def propose(self, author: int, intent: Intent) -> None:
        """Let a member propose, for the next commit."""
        self._is_psk_used |= intent == _INJECTION
        self._deliver_proposal(self.rooms[author].propose(intent).message, self.rooms[author])

    def commit(self, author: int, intents: Sequence[Intent] = (), *, path: bool | None = None) -> None:
        """Let a member commit what it wants and what was proposed."""
        self._committed(author, intents, path=path)

    # What others do.

    def external_sender(self) -> tuple[Outsider, GroupContextExtensions]:
        """Return an external sender, and what admits it."""
        keys, credential = self.suite.generate_signature_key_pair(self.entropy), BasicCredential(b"a service")
        body = encode(ExternalSenders((ExternalSender(keys.public, credential),)))
        admission = GroupContextExtensions((Extension(ExtensionType.EXTERNAL_SENDERS, body),))
        return Outsider(keys, credential), admission

    def propose_from_outside(self, outsider: Outsider, proposal: Proposal) -> None:
        """Let the external sender propose."""
        self._send_from_outside(proposal, ExternalSenderIndex(0), outsider.keys.private)

    def propose_addition_from_outside(self, outsider: Outsider) -> None:
        """Let the external sender propose to add somebody new."""
        package = read_key_package(self.newcomer().key_package, Settings.vectors())
        self.propose_from_outside(outsider, AddProposal(package))

    def ask_to_be_added(self) -> None:
        """Let somebody new propose its own addition."""
        actor = self.create_actor()
        self._newcomers.append(actor)
        package = read_key_package(actor.key_package(), Settings.vectors())
        key = actor.bundle().signature_keys.private
        self._send_from_outside(AddProposal(package), NewMemberProposalSender(), key)

    def join_from_outside(self, *, psk: bool = False, replaces: int | None = None) -> None:
        """Let somebody join by an external commit, or a member rejoin, and then make a commit of its own."""
        replaced = None if replaces is None else self.rooms[replaces].me
        name = b"joiner %d" % self._count if replaced is None else replaced.identity
        self._count += 1
        keys = self.suite.generate_signature_key_pair(self.entropy)
        leaf = LeafContent(BasicCredential(name), keys, own_capabilities())
        env = self._environment()
        self._is_psk_used |= psk
        psk_id = PreSharedKeyID(ExternalPSK(PSK_ID), self.entropy(self.suite.hash_length))
        joined = join_by_external_commit(
            self._group_info(),
            None,
            leaf,
            env,
            psks=(psk_id,) if psk else (),
            replaces=None if replaced is None else replaced.leaf,
        )
        self._deliver_commit(encode(joined.message), None)
        self._verify_agreement(joined.state)
        self.silent.append(joined.state.own.index)
        self._commit_of_joiner(joined.state, env)

    # Inside.

    def _committed(
        self, author: int, intents: Sequence[Intent], *, path: bool | None = None, tree: str = "inside"
    ) -> _Committed:
        room = self.rooms[author]
        self._is_psk_used |= _INJECTION in intents
        commit = room.commit(intents, path=path, tree=tree)
        room.merge(commit)
        self._deliver_commit(commit.message, room)
        newcomers, self._newcomers = self._newcomers, []
        for actor in newcomers:
            if commit.welcome is None:
                raise Mismatch("an Add made no Welcome")
            self.rooms.append(actor.client.join(commit.welcome, commit.ratchet_tree).accept())
        self._agreed()
        return _Committed(commit.welcome, commit.ratchet_tree)

    def _deliver_proposal(self, message: bytes, author: Group | None) -> None:
        for room in self._receivers(author):
            if not isinstance(room.receive(message), ProposalReceived):
                raise Mismatch("a proposal came to something else")
        if self._follower is not None:
            self._proposals.append(message)

    def _deliver_commit(self, message: bytes, author: Group | None) -> None:
        for room in self._receivers(author):
            staged = room.receive(message)
            if not isinstance(staged, StagedCommit):
                raise Mismatch("a commit came to something else")
            room.merge(staged)
        self.rooms = [room for room in self.rooms if not room.is_retired]
        if self._follower is not None:
            self._epochs.append(
                {
                    "proposals": [proposal.hex() for proposal in self._proposals],
                    "commit": message.hex(),
                    "epoch_authenticator": self._follower.epoch_authenticator.hex(),
                }
            )
            self._proposals = []

    def _receivers(self, author: Group | None) -> list[Group]:
        follower = [] if self._follower is None else [self._follower]
        return [room for room in (*self.rooms, *follower) if room is not author]

    def _agreed(self) -> bytes:
        authenticators = {room.epoch_authenticator for room in self._receivers(None)}
        if len(authenticators) != 1:
            raise Mismatch("the members do not agree on the epoch")
        return authenticators.pop()

    def _verify_agreement(self, state: EpochState) -> None:
        if state.secrets.epoch_authenticator != self._agreed():
            raise Mismatch("a joiner does not agree with the members")

    def _commit_of_joiner(self, state: EpochState, env: Environment) -> None:
        tree = SecretTree(self.suite, state.group.tree.n_leaves, state.secrets.encryption.copy())
        order = CommitOrder(private=env.settings.private_handshakes)
        created = create_commit(state, order, SenderKeys(state.secrets.sender_data, tree), env)
        self._deliver_commit(encode(created.message), None)
        if created.transition.state is not None:
            self._verify_agreement(created.transition.state)

    def _environment(self) -> Environment:
        """Return the environment of a joiner, who holds the one pre-shared key there is."""
        return replace(self.create_actor().environment, psk=lambda _: PSK(self._psk))

    def _group_info(self) -> GroupInfo:
        return message_body(self.rooms[0].group_info(), GroupInfo, "a GroupInfo")

    def _send_from_outside(self, proposal: Proposal, sender: Sender, key: SignaturePrivateKey) -> None:
        context, wire_format = self._group_info().group_context, WireFormat.PUBLIC_MESSAGE
        framed = FramedContent(context.group_id, context.epoch, sender, b"", ProposalContent(proposal))
        signature = sign_content(self.suite, key, framed, wire_format, context)
        public = PublicMessage(framed, FramedContentAuthData(signature, None), None)
        self._deliver_proposal(encode(MLSMessage(ProtocolVersion.MLS10, public)), None)


@dataclass(frozen=True, slots=True)
class _Committed:
    """What a commit means for those it adds."""

    welcome: bytes | None
    ratchet_tree: bytes | None
