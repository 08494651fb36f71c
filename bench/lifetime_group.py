"""A real group of which only those are awake who have something to do.

All secrets of all members are known here: one table holds the private keys of the tree's nodes, and a member that is
needed gets those that it would hold. So an epoch costs the work of the members that take part in it, while every
commit, proposal and Welcome is one that the engine made and another member verified and opened.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any, Final, TypeVar

from mls import AcceptAnyone, Add, Client, Group, Identity, MemoryStore, Remove, Settings, StagedCommit, Update
from mls.crypto import CipherSuite, SignaturePrivateKey, cipher_suite
from mls.epoch.environment import Environment
from mls.epoch.join import KeyPackageBundle, create_epoch_zero
from mls.epoch.state import EpochState, OwnLeaf
from mls.key_packages import Signer, create_key_package
from mls.messages import MLSMessage, ProtocolVersion
from mls.schedule.key_schedule import EpochSecrets
from mls.schedule.secret_tree import SecretTree
from mls.settings import no_padding
from mls.store.standing import Standing, limits_of
from treekem.index import LeafIndex, NodeIndex, direct_path, node_of
from treekem.secrets import Secret
from treekem.suite import HPKEPrivateKey
from treekem.tree import RatchetTree
from treekem.wire import encode

NOW: Final = 1_700_000_000
_SEALS_AT_ONCE: Final = 5
_ResultT = TypeVar("_ResultT")


@dataclass(frozen=True, slots=True)
class Work:
    """What one commit took: bytes, HPKE encryptions, and processor seconds of the one thread that does everything.

    HPKE encryptions are those of its path and of its Welcome.
    `unit_seconds` is one HPKE encryption at the same time; `process_seconds` is receiving the proposals and the commit
    and merging it, `join_seconds` is None where nobody joined.
    """

    commit_bytes: int
    welcome_bytes: int
    proposal_bytes: int
    encryptions: int
    has_path: bool
    create_seconds: float
    process_seconds: float
    join_seconds: float | None
    unit_seconds: float


class AwakeGroup:
    """A group in its present epoch, by the secrets of all; members are called by number."""

    def __init__(self, suite_id: int, seed: str) -> None:
        self.suite: CipherSuite = cipher_suite(suite_id)
        self.settings = replace(Settings.large(), padding=no_padding, grease=False)
        self._environment = Environment(self.settings, AcceptAnyone(), NOW, _Stream(seed))
        founder = self._bundle(0)
        state = create_epoch_zero(b"lifetime", founder, (), self._environment)
        self._group, self._secrets = state.group, state.secrets
        self._node_keys: dict[NodeIndex, HPKEPrivateKey] = dict(state.own.private_keys)
        self._signature_keys: dict[int, SignaturePrivateKey] = {0: founder.signature_keys.private}
        self.leaves: dict[int, LeafIndex] = {0: LeafIndex(0)}

    def copy(self, seed: str) -> AwakeGroup:
        """Return a group that goes on from here by itself, with other randomness."""
        other = object.__new__(AwakeGroup)
        other.suite, other.settings = self.suite, self.settings
        other._environment = replace(self._environment, entropy=_Stream(seed))
        other._group, other._secrets = self._group, self._secrets
        other._node_keys, other._signature_keys = dict(self._node_keys), dict(self._signature_keys)
        other.leaves = dict(self.leaves)
        return other

    @property
    def tree(self) -> RatchetTree:
        """The present tree."""
        return self._group.tree

    @property
    def context(self) -> bytes:
        """The present group context, encoded."""
        return self._group.encoded_context()

    def awake(self, member: int) -> Group:
        """Return the group as a member holds it, by itself from here on."""
        return self._group_of(self._standing(member))

    def invited(self, member: int) -> tuple[Client, bytes]:
        """Return a client with a store of its own, and a key package of it. `member` is a number that is not taken."""
        bundle = self._bundle(member)
        return self._client_of(bundle), _sent(bundle)

    def commit(
        self,
        committer: int,
        *,
        joining: Iterable[int] = (),
        leaving: Iterable[int] = (),
        updating: Iterable[int] = (),
        with_path: bool = True,
        witness: int | None = None,
    ) -> Work:
        """Let a member commit what is wanted; those who update propose it before, and `witness` receives it all."""
        joining, leaving = tuple(joining), tuple(leaving)
        bundles = {member: self._bundle(member) for member in joining}
        intents: list[Add | Remove] = [
            *(Remove(self.leaves[each]) for each in leaving),
            *(Add(_sent(each)) for each in bundles.values()),
        ]
        proposed = {member: self._proposed(member) for member in updating}
        proposals = [message for message, _ in proposed.values()]
        awake = self._informed(committer, proposals)
        unit_seconds = self._unit_seconds()
        has_path = with_path or bool(leaving or proposals)
        create_seconds, commit = _timed(lambda: awake.commit(intents, path=has_path))
        messages = [*proposals, commit.message]
        process_seconds, seen = (0.0, None) if witness is None else self._witnessed(witness, messages)
        self._move_on(awake, commit.message)
        self._take_in({member: key for member, (_, key) in proposed.items()}, leaving, bundles)
        assert seen in {None, self._secrets.epoch_authenticator}
        join_seconds = self._joined(bundles[joining[0]], commit.welcome) if commit.welcome else None
        return Work(
            len(commit.message),
            len(commit.welcome or b""),
            sum(map(len, proposals)),
            len(bundles) + (self._path_encryptions(committer, joining) if has_path else 0),
            has_path,
            create_seconds,
            process_seconds,
            join_seconds,
            unit_seconds,
        )

    # Members.

    def _bundle(self, member: int) -> KeyPackageBundle:
        keys = self.suite.generate_signature_key_pair(self._environment.entropy)
        identity = Identity.basic(f"member {member:06}".encode(), self.suite.id, keys.private)
        return create_key_package(Signer.of(identity), None, self._environment, last_resort=False, extensions=())

    def _standing(self, member: int) -> Standing:
        """Return the group as a member holds it that has followed it all the time: hashes and tables are warm.

        It gets copies of all secrets, as it wipes them in the end.
        """
        tree, leaf = self._group.tree, self.leaves[member]
        above = direct_path(node_of(leaf), tree.n_leaves)
        held = [x for x in above if (node := tree.parent(x)) is not None and leaf not in node.unmerged_leaves]
        private_keys = {x: self._node_keys[x].copy() for x in (node_of(leaf), *held)}
        own = OwnLeaf(leaf, self._signature_keys[member].copy(), private_keys)
        state = EpochState(self._group, _copied(self._secrets), own)
        secret = state.secrets.encryption.copy()
        return Standing(state, SecretTree(self.suite, tree.n_leaves, secret, limits_of(self.settings)))

    def _group_of(self, standing: Standing) -> Group:
        return Group(standing, MemoryStore(), lambda: self._environment)

    def _informed(self, member: int, proposals: list[bytes]) -> Group:
        group = self.awake(member)
        for message in proposals:
            group.receive(message)
        return group

    def _proposed(self, member: int) -> tuple[bytes, HPKEPrivateKey]:
        """Let a member propose an Update; return the message, and the key of its next leaf."""
        standing = self._standing(member)
        proposal = self._group_of(standing).propose(Update())
        key = standing.proposals[proposal.ref].update_key
        assert key is not None
        return proposal.message, key

    def _witnessed(self, member: int, messages: list[bytes]) -> tuple[float, bytes]:
        """Let a member receive proposals and their commit; return the seconds, and where it has come to."""
        group = self.awake(member)

        def receive() -> None:
            for message in messages:
                event = group.receive(message)
                if isinstance(event, StagedCommit):
                    group.merge(event)

        return _timed(receive)[0], group.epoch_authenticator

    def _joined(self, bundle: KeyPackageBundle, welcome: bytes) -> float:
        """Let a newcomer join, and check that it has come where the others are; return the seconds of joining."""
        client = self._client_of(bundle)
        seconds, group = _timed(lambda: client.join(welcome).accept())
        assert group.epoch_authenticator == self._secrets.epoch_authenticator
        return seconds

    def _client_of(self, bundle: KeyPackageBundle) -> Client:
        credential, keys = bundle.key_package.leaf_node.credential, bundle.signature_keys
        identity = Identity(credential, self.suite.id, keys.private.copy())
        env = self._environment
        client = Client.create(
            MemoryStore(), identity, policy=env.policy, settings=env.settings, clock=lambda: NOW, entropy=env.entropy
        )
        client.import_key_package(_sent(bundle), bundle.init_key, bundle.encryption_key)
        return client

    def _unit_seconds(self) -> float:
        """Return the seconds of one HPKE encryption of a path secret."""
        suite, entropy = self.suite, self._environment.entropy
        key, secret = self._group.tree.encryption_key(node_of(next(iter(self.leaves.values())))), bytes(32)
        assert key is not None
        return median(
            _timed(lambda: suite.encrypt_with_label(key, b"UpdatePathNode", b"", secret, entropy))[0]
            for _ in range(_SEALS_AT_ONCE)
        )

    # The next epoch.

    def _move_on(self, committer: Group, message: bytes) -> None:
        """Take over what the committer holds after its commit, which it does not merge: so nothing is wiped."""
        staged = committer.receive(message)
        assert isinstance(staged, StagedCommit)
        after = staged.transition.state
        assert after is not None
        self._node_keys |= {x: key.copy() for x, key in after.own.private_keys.items()}
        self._group, self._secrets = after.group, _copied(after.secrets)

    def _take_in(
        self, updated: dict[int, HPKEPrivateKey], leaving: tuple[int, ...], bundles: dict[int, KeyPackageBundle]
    ) -> None:
        """Note the keys of leaves that others replaced, forget those who left, and find the leaves of newcomers."""
        self._node_keys |= {node_of(self.leaves[member]): key.copy() for member, key in updated.items()}
        for member in leaving:
            del self.leaves[member], self._signature_keys[member]
        new = {bundle.key_package.leaf_node.encryption_key: member for member, bundle in bundles.items()}
        for leaf, slot in self.tree.leaves() if new else ():
            newcomer = new.get(slot.encryption_key)
            if newcomer is not None:
                self.leaves[newcomer] = leaf
                self._signature_keys[newcomer] = bundles[newcomer].signature_keys.private
                self._node_keys[node_of(leaf)] = bundles[newcomer].encryption_key.copy()
        assert len(self.leaves) == self.tree.n_members

    def _path_encryptions(self, committer: int, joining: tuple[int, ...]) -> int:
        """Return the ciphertexts in the path that was just sent: new members are told by the Welcome. RFC 9420 §7.6."""
        new = {node_of(self.leaves[member]) for member in joining}
        path = self.tree.filtered_direct_path(self.leaves[committer])
        return sum(x not in new for _, beside in path for x in self.tree.resolution(beside))


class _Stream:
    """Entropy that follows from a seed."""

    def __init__(self, seed: str) -> None:
        self._seed, self._drawn = seed.encode(), 0

    def __call__(self, length: int) -> bytes:
        """Return so many bytes, others at each call."""
        self._drawn += 1
        return hashlib.shake_256(self._drawn.to_bytes(8, "big") + self._seed).digest(length)


def _sent(bundle: KeyPackageBundle) -> bytes:
    return encode(MLSMessage(ProtocolVersion.MLS10, bundle.key_package))


def _copied(secrets: EpochSecrets) -> EpochSecrets:
    copies: dict[str, Any] = {}
    for field in fields(secrets):
        value = getattr(secrets, field.name)
        copies[field.name] = value.copy() if isinstance(value, Secret) else value
    return EpochSecrets(**copies)


def _timed(run: Callable[[], _ResultT]) -> tuple[float, _ResultT]:
    """Return the processor seconds that a call takes, and what it returns."""
    start = time.thread_time()
    result = run()
    return time.thread_time() - start, result
