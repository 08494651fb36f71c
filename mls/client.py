"""A client: one identity, its key packages, its keys, and the groups that it is in.

Sans-I/O: messages go in and out as bytes, and whoever embeds the client carries them. Everything that must survive a
restart is in the store before a call returns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mls.arguments import suite_of, verify_bytes, verify_message, verify_parts
from mls.drafting import read_key_package
from mls.epoch.authorization import with_roles
from mls.epoch.effect import member_of
from mls.epoch.environment import Environment, Origin
from mls.epoch.join import KeyPackageBundle, create_epoch_zero, join_by_welcome
from mls.epoch.leaves import verify_key_package
from mls.epoch.limits import verify_suite_allowed
from mls.epoch.members import leaf_nodes
from mls.epoch.state import EpochState
from mls.epoch.welcome import read_welcome
from mls.errors import Code, InvalidFraming, InvalidGroupInfo, InvalidWelcome, StorageError, UsageError, WrongGroup
from mls.events import PendingCommit
from mls.group import Group
from mls.header import read_header
from mls.identity import CredentialPolicy, Identity
from mls.identity.roles import EVERYTHING_ALLOWED, RolePolicy
from mls.invitation import Invitation
from mls.joining import (
    Entry,
    ExternalCommit,
    Injected,
    external_join,
    read_group_info,
    tree_beside,
    verify_recent,
    verify_returning,
)
from mls.key_packages import Signer, create_key_package, demands_of_no_group, own_leaf_content
from mls.messages import (
    Extension,
    GroupInfo,
    MLSMessage,
    ProtocolVersion,
    ResumptionPSK,
    WireFormat,
)
from mls.outsider import propose_oneself
from mls.receiving import Received
from mls.registry import NO_REGISTRY, Registry
from mls.rules import require, require_here
from mls.schedule.secret_tree import SecretTree
from mls.settings import Settings
from mls.store.candidates import Candidate
from mls.store.client_records import (
    CLIENT_KEY,
    CONSUMED,
    KEY_PACKAGES,
    addressed_bundle,
    consumption,
    identity_key,
    key_package_key,
    knows_reference,
    not_after,
    pack_bundle,
    pack_identity,
    psk_key,
    stored_psk,
    unpack_bundle,
    unpack_consumed,
    unpack_identity,
)
from mls.store.codec import pack
from mls.store.group_records import epoch_key, group_prefix, is_announced, stored_epoch
from mls.store.pins import KnownKeys, pin_batch
from mls.store.seam import Store
from mls.store.standing import Standing, limits_of, load_standing
from mls.succession import Continuation, create_first_commit, origin_of, plan_branch, plan_successor
from mls.threads import threads_of
from treekem.suite import Entropy, HPKEPrivateKey
from treekem.wire import encode

if TYPE_CHECKING:
    from concurrent.futures import Executor


class Client:
    """One leaf in each of its groups, made by `create` and reopened by `open`; several may share an identity."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        *,
        policy: CredentialPolicy,
        roles: RolePolicy,
        settings: Settings,
        registry: Registry,
        clock: Callable[[], float],
        entropy: Entropy,
    ) -> None:
        self._store = store
        self._identity = identity
        signer = Signer.of(identity)
        self._suite, self._signature_keys = signer.suite, signer.keys
        self._policy = policy
        self._roles = roles
        self._settings = settings
        self._registry = registry
        self._clock = clock
        self._entropy = entropy
        self._groups: dict[bytes, Group] = {}
        # Threads that check many signatures at once, own ones unless lent: not those that the client is called in.
        self.executor: Executor | None = None

    @classmethod
    def create(
        cls,
        store: Store,
        identity: Identity,
        *,
        policy: CredentialPolicy,
        roles: RolePolicy = EVERYTHING_ALLOWED,
        settings: Settings | None = None,
        registry: Registry = NO_REGISTRY,
        clock: Callable[[], float] = time.time,
        entropy: Entropy = os.urandom,
    ) -> Client:
        """Make a new client in an empty store, with a signature key of its own unless `identity` brings one.

        `roles` says who may do what in groups; all their members must use the same. `registry` holds the types that the
        application adds; `open` is told both again. `clock` returns seconds since 1970.
        Raises UsageError if the store holds a client already, or for a suite that settings leave out; Unsupported.
        """
        verify_parts(
            store=store, policy=policy, roles=roles, settings=settings, registry=registry, clock=clock, entropy=entropy
        )
        if store.read(CLIENT_KEY) is not None:
            raise UsageError("the store holds a client already: open it")
        suite, key = suite_of(identity), identity.signature_key
        verify_suite_allowed(suite.id, Settings() if settings is None else settings, own=True)
        if key is None:
            key = suite.generate_signature_key_pair(entropy).private
        store.apply({CLIENT_KEY: pack_identity(identity, key)})
        return cls.open(
            store, policy=policy, roles=roles, settings=settings, registry=registry, clock=clock, entropy=entropy
        )

    @classmethod
    def open(
        cls,
        store: Store,
        *,
        policy: CredentialPolicy,
        roles: RolePolicy = EVERYTHING_ALLOWED,
        settings: Settings | None = None,
        registry: Registry = NO_REGISTRY,
        clock: Callable[[], float] = time.time,
        entropy: Entropy = os.urandom,
    ) -> Client:
        """Return the client that a store holds, as it stood: pending commits and half-used ratchets included.

        Raises StorageError.
        """
        verify_parts(
            store=store, policy=policy, roles=roles, settings=settings, registry=registry, clock=clock, entropy=entropy
        )
        record = store.read(CLIENT_KEY)
        if record is None:
            raise StorageError("the store holds no client: create one")
        identity, given = unpack_identity(record), Settings() if settings is None else settings
        return cls(
            store, identity, policy=policy, roles=roles, settings=given, registry=registry, clock=clock, entropy=entropy
        )

    def __repr__(self) -> str:
        return f"<Client {self._policy.identity(self._identity.credential)!r}, {self._suite.name}>"

    @property
    def identity(self) -> bytes:
        """The identity that this client presents."""
        return self._policy.identity(self._identity.credential)

    @property
    def signature_key(self) -> bytes:
        """The public key that this client signs with."""
        return self._signature_keys.public

    @property
    def groups(self) -> tuple[bytes, ...]:
        """The ids of the groups that this client is in."""
        names = (name.split("/") for name, _ in self._store.scan("group/"))
        return tuple(bytes.fromhex(parts[1]) for parts in names if parts[2] == "epoch")

    # Key packages and pre-shared keys.

    def add_identity(self, identity: Identity) -> None:
        """Keep an identity for a further cipher suite, for key packages of that suite and groups that move to it.

        It gets a signature key of its own unless it brings one. Raises UsageError for a suite that has an identity, and
        Unsupported for an unknown one. RFC 9420 §5.3.
        """
        suite, name = suite_of(identity), identity_key(identity.suite)
        verify_suite_allowed(suite.id, self._settings, own=True)
        if suite.id == self._suite.id or self._store.read(name) is not None:
            raise UsageError(f"this client has an identity for cipher suite {suite.id} already")
        key = identity.signature_key
        if key is None:
            key = suite.generate_signature_key_pair(self._entropy).private
        self._store.apply({name: pack_identity(identity, key)})

    def key_package(
        self,
        *,
        lifetime: int | None = None,
        last_resort: bool = False,
        extensions: tuple[Extension, ...] = (),
        suite: int | None = None,
    ) -> bytes:
        """Return a new key package to publish; its private half is in the store.

        It is valid for `lifetime` seconds, or as long as settings have it; it is used up by the first join, unless it
        is a `last_resort`. `suite` is that of an identity added. Raises UsageError. RFC 9420 §10.
        """
        bundle = self._create_bundle(lifetime, last_resort=last_resort, extensions=extensions, suite=suite)
        self._store.apply({key_package_key(bundle.reference()): pack_bundle(bundle)})
        return encode(MLSMessage(ProtocolVersion.MLS10, bundle.key_package))

    def import_key_package(
        self,
        key_package: bytes,
        init_key: HPKEPrivateKey,
        encryption_key: HPKEPrivateKey,
        *,
        last_resort: bool = False,
    ) -> None:
        """Keep a key package that was made elsewhere with this client's signature key, and its private keys.

        Raises UsageError for keys that are not those of the key package; InvalidKeyPackage, InvalidLeafNode or what
        they are derived from for one that is not valid. RFC 9420 §10.
        """
        package, suite, env = read_key_package(key_package, self._settings), self._suite, self._environment()
        verify_key_package(package, demands_of_no_group(suite), env)
        leaf = package.leaf_node
        held = (suite.hpke_public_key(init_key), suite.hpke_public_key(encryption_key), self._signature_keys.public)
        if held != (package.init_key, leaf.encryption_key, leaf.signature_key):
            raise UsageError("the private keys are not those of the key package", code=Code.BAD_KEY)
        keys = self._signer(None).copied_keys()
        bundle = KeyPackageBundle(package, init_key.copy(), encryption_key.copy(), keys, last_resort)
        self._store.apply({key_package_key(bundle.reference()): pack_bundle(bundle)})

    def forget_expired_key_packages(self) -> int:
        """Delete the key packages whose lifetime is over, and return how many; of used ones the last trace goes.

        RFC 9420 §10.
        """
        now = self._environment().now
        stored = ((name, unpack_bundle(name, record)) for name, record in self._store.scan(KEY_PACKAGES))
        expired = [name for name, bundle in stored if not_after(bundle.key_package) < now]
        used = [name for name, record in self._store.scan(CONSUMED) if unpack_consumed(name, record) < now]
        self._store.apply(dict.fromkeys((*expired, *used)))
        return len(expired)

    def add_psk(self, psk_id: bytes, secret: bytes) -> None:
        """Keep a pre-shared key under a name that the group knows it by; it should have full entropy. RFC 9420 §8.4."""
        verify_bytes(psk_id, "the id of a pre-shared key")
        verify_bytes(secret, "a pre-shared key")
        if not secret:
            raise UsageError("a pre-shared key is not empty")
        self._store.apply({psk_key(psk_id): pack(secret)})

    def forget_psk(self, psk_id: bytes) -> None:
        """Delete a pre-shared key; one that is not held is no error."""
        verify_bytes(psk_id, "the id of a pre-shared key")
        self._store.apply({psk_key(psk_id): None})

    # Groups.

    def create_group(self, group_id: bytes | None = None, extensions: tuple[Extension, ...] = ()) -> Group:
        """Found a group with this client as its only member; the id is Nh random bytes unless given.

        Fetch the key packages of those to be added first, and take the best of the `common_cipher_suites` they list:
        a worse one is what an attacker would have chosen. Raises UsageError for an id in use, and InvalidProposal or
        InvalidLeafNode for extensions that are not supported. RFC 9420 §11.
        """
        env = self._environment()
        name = env.entropy(self._suite.hash_length) if group_id is None else group_id
        self._verify_free(name)
        said = with_roles(extensions, self._identity.credential, env)
        return self._founded(create_epoch_zero(name, self._founding_bundle(), said, env), {})

    def reinitialize(self, group: Group, key_packages: Sequence[bytes]) -> tuple[Group, PendingCommit]:
        """Create the successor of a frozen group, from fresh key packages of all its other members.

        Any member may. Merge the commit once its Welcome is delivered; the commit itself is for nobody. Raises
        UsageError for a group that is not frozen, an id in use, a suite without an identity and key packages of the
        wrong members; Unsupported, and what `commit` does. RFC 9420 §11.2.
        """
        return self._continued(plan_successor(self._standing_of(group), self._policy), key_packages)

    def branch(
        self,
        group: Group,
        key_packages: Sequence[bytes],
        group_id: bytes | None = None,
        extensions: tuple[Extension, ...] = (),
    ) -> tuple[Group, PendingCommit]:
        """Create a group of some members of another one, which is not affected, from their fresh key packages.

        Merge the commit once its Welcome is delivered; the commit itself is for nobody. Raises UsageError for an id in
        use and key packages of others; and what `commit` does. RFC 9420 §11.3.
        """
        standing = self._standing_of(group)
        name = self._entropy(standing.state.suite.hash_length) if group_id is None else group_id
        said = with_roles(extensions, self._identity.credential, self._environment())
        plan = plan_branch(standing, name, said, self._policy)
        return self._continued(plan, key_packages)

    def group(self, group_id: bytes) -> Group:
        """Return a group that this client is in, one object as long as it lasts. Raises WrongGroup or StorageError."""
        verify_bytes(group_id, "a group id")
        group = self._groups.get(group_id)
        if group is None or group.is_retired:
            is_stored = self._store.read(epoch_key(group_id)) is not None
            text = "this client is in no such group"
            require_here(is_stored, WrongGroup, "R-6-10", text, current=None, received=group_id)
            standing = load_standing(self._store, group_id, self._settings)
            group = self._groups[group_id] = Group(standing, self._store, self._environment)
        return group

    def join(self, welcome: bytes, ratchet_tree: bytes | None = None) -> Invitation:
        """Check a Welcome, with its tree where that comes beside it; nothing is stored before it is accepted.

        Raises InvalidWelcome, InvalidGroupInfo, InvalidTree and what they are derived from, UnavailableSecret or
        Refused. RFC 9420 §12.4.3.1.
        """
        verify_message(welcome)
        header = read_header(welcome, self._settings)
        tree = tree_beside(ratchet_tree, self._settings, InvalidWelcome)
        is_welcome, text = header.wire_format is WireFormat.WELCOME, "the message is no Welcome"
        require(is_welcome, InvalidWelcome, "R-6-06", text, code=Code.WRONG_WIRE_FORMAT)
        body = read_welcome(welcome, knows_reference(self._store), self._settings.max_leaves)
        bundle = addressed_bundle(self._store, [entry.new_member for entry in body.secrets])
        try:
            state, inviter = join_by_welcome(body, bundle, tree, self._environment())
        finally:
            bundle.init_key.wipe()
        is_free = self._store.read(epoch_key(state.group.context.group_id)) is None
        require(is_free, InvalidWelcome, "R-12.4.3-06", "this client is in a group of this id", code=Code.GROUP_EXISTS)
        return Invitation(state, inviter, consumption(bundle), self._store, self._environment(), self._founded)

    def join_external(
        self,
        group_info: bytes,
        ratchet_tree: bytes | None = None,
        *,
        psks: Sequence[Injected] = (),
        resync: bool = False,
        authenticated_data: bytes = b"",
    ) -> ExternalCommit:
        """Make an external commit, by which this client enters a group, or with `resync` replaces its leaf there.

        Members must allow it by `Settings.external_commits` and `resync`; nothing is stored before it is accepted.
        Raises InvalidGroupInfo, with code STALE_GROUP_INFO for an epoch before the last one seen, InvalidTree,
        InvalidProposalList and their kinds, UnavailableSecret, Refused or UsageError. RFC 9420 §12.4.3.2.
        """
        tree = tree_beside(ratchet_tree, self._settings, InvalidGroupInfo)
        info, env = read_group_info(group_info, self._settings), self._environment()
        signer = self._signer(info.group_context.cipher_suite)
        keys = self._former_keys(info, signer, resync=resync)
        held = stored_epoch(self._store, info.group_context.group_id)
        leaf = own_leaf_content(signer, env)
        joined = external_join(info, tree, Entry(leaf, psks, keys, authenticated_data, held), env)
        return ExternalCommit(joined, env, partial(self._entered, resync=resync))

    def propose_external_add(
        self, group_id: bytes, epoch: int, *, lifetime: int | None = None, authenticated_data: bytes = b""
    ) -> bytes:
        """Return a proposal to add this client to a group; a new key package is in the store for the Welcome.

        Members must allow it by `Settings.new_member_proposals`. Raises UsageError. RFC 9420 §12.1.8.
        """
        verify_bytes(group_id, "a group id")
        bundle = self._create_bundle(lifetime, last_resort=False, extensions=())
        message = propose_oneself(group_id, epoch, bundle, authenticated_data, self._settings)
        self._store.apply({key_package_key(bundle.reference()): pack_bundle(bundle)})
        return message

    def receive(self, data: bytes) -> Received | Invitation:
        """Route a message by its header: a Welcome becomes an invitation, the rest goes to its group.

        Raises MLSError; nothing has changed then.
        """
        verify_message(data)
        header = read_header(data, self._settings)
        if header.wire_format is WireFormat.WELCOME:
            return self.join(data)
        text = "a GroupInfo or key package is not received, but handed to who uses it"
        require(header.is_framed, InvalidFraming, "R-6-06", text)
        return self.group(header.group_id).receive(data)

    # Inside.

    def _environment(self) -> Environment:
        return Environment(
            settings=self._settings,
            policy=self._policy,
            now=int(self._clock()),
            entropy=self._entropy,
            known_keys=KnownKeys(self._store),
            psk=lambda psk_id: stored_psk(self._store, psk_id),
            origin=self._origin,
            announced=partial(is_announced, self._store),
            roles=self._roles,
            registry=self._registry,
            threads=threads_of(self.executor),
        )

    def _origin(self, link: ResumptionPSK) -> Origin | None:
        if self._store.read(epoch_key(link.psk_group_id)) is None:
            return None
        group = self.group(link.psk_group_id)
        return origin_of(group._standing, link.psk_epoch, self._policy)  # noqa: SLF001  (a group is part of its client)

    def _standing_of(self, group: Group) -> Standing:
        return self.group(group.group_id)._standing  # noqa: SLF001  (likewise)

    def _continued(self, plan: Continuation, key_packages: Sequence[bytes]) -> tuple[Group, PendingCommit]:
        """Store a group that continues another one, in epoch 0, along with the commit that fills it."""
        self._verify_free(plan.group_id)
        env = self._environment()
        bundle = self._founding_bundle(plan.suite.id)
        state = create_epoch_zero(plan.group_id, bundle, plan.extensions, env)
        group = self._founded(state, {}, create_first_commit(plan, state, key_packages, env))
        return group, group.pending[0]

    def _verify_free(self, group_id: bytes) -> None:
        verify_bytes(group_id, "a group id")
        is_free = self._store.read(epoch_key(group_id)) is None
        require(is_free, UsageError, "R-11-10", "this client is in a group of this id", code=Code.GROUP_EXISTS)

    def _founded(self, state: EpochState, batch: dict[str, bytes | None], first: Candidate | None = None) -> Group:
        """Store a group that begins for this client, with its first commit where that is made already."""
        env = self._environment()
        secret = state.secrets.encryption.copy()
        tree = SecretTree(state.suite, state.group.tree.n_leaves, secret, limits_of(self._settings))
        standing = Standing(state, tree)
        if first is not None:
            batch = {**batch, **standing.candidate_batch(first)}
            standing.candidates[first.name] = first
        members = [member_of(index, leaf, env) for index, leaf in leaf_nodes(state.group.tree)]
        self._store.apply({**batch, **standing.founding_batch(), **pin_batch(self._store, members)})
        # Written: until then the state is whole, so that the same invitation can be accepted again.
        state.secrets.encryption.wipe()
        group = self._groups[standing.group_id] = Group(standing, self._store, self._environment)
        return group

    def _former_keys(self, info: GroupInfo, signer: Signer, *, resync: bool) -> frozenset[bytes] | None:
        """Return the signature keys that a former leaf of ours can have; None where none is to be replaced."""
        group_id = info.group_context.group_id
        epoch = stored_epoch(self._store, group_id)
        if epoch is None:
            return frozenset((signer.keys.public,)) if resync else None
        verify_returning(resync=resync)
        verify_recent(info, epoch)
        return frozenset((signer.keys.public, self.group(group_id).me.signature_key))

    def _entered(self, state: EpochState, *, resync: bool) -> Group:
        """Store a group that was entered from outside, in place of what is held of it."""
        group_id = state.group.context.group_id
        epoch = stored_epoch(self._store, group_id)
        if epoch is None:
            return self._founded(state, {})
        verify_returning(resync=resync)
        text = "the group has moved on without this commit"
        require(epoch < state.epoch, UsageError, "R-14-05", text, code=Code.STALE_HANDLE)
        with self.group(group_id)._replaced():  # noqa: SLF001  (a group is part of its client)
            return self._founded(state, dict.fromkeys(name for name, _ in self._store.scan(group_prefix(group_id))))

    def _founding_bundle(self, suite: int | None = None) -> KeyPackageBundle:
        return self._create_bundle(None, last_resort=False, extensions=(), suite=suite)

    def _create_bundle(
        self, lifetime: int | None, *, last_resort: bool, extensions: tuple[Extension, ...], suite: int | None = None
    ) -> KeyPackageBundle:
        signer, env = self._signer(suite), self._environment()
        return create_key_package(signer, lifetime, env, last_resort=last_resort, extensions=extensions)

    def _signer(self, suite: int | None) -> Signer:
        if suite is None or suite == self._suite.id:
            return Signer(self._identity.credential, self._suite, self._signature_keys)
        name = identity_key(suite)
        record = self._store.read(name)
        if record is None:
            raise UsageError(f"this client has no identity for cipher suite {suite}: add one")
        return Signer.of(unpack_identity(record, name))
