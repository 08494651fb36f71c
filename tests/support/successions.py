"""Groups that continue others in ways that no honest client makes, and what becomes of those who are invited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mls import AcceptAnyone, Client, Extension, Group
from mls.crypto import SUITES
from mls.epoch.create_commit import CommitOrder, create_commit
from mls.epoch.framing import SenderKeys
from mls.epoch.join import create_epoch_zero
from mls.epoch.proposals import QueuedProposal
from mls.errors import MLSError
from mls.messages import (
    Add,
    Credential,
    ExtensionType,
    GroupSecrets,
    MemberSender,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProtocolVersion,
    RequiredCapabilities,
    ResumptionPSK,
    ResumptionPSKUsage,
    Welcome,
)
from mls.schedule.secret_tree import SecretTree
from mls.store.client_records import key_package_key, unpack_bundle
from mls.store.standing import limits_of
from tests.support.crafting import package_of
from tests.support.welcomes import assert_join_refused
from tests.support.world import World, join
from treekem.nodes import HPKECiphertext
from treekem.wire import decode, encode

REINIT = ResumptionPSKUsage.REINIT
BRANCH = ResumptionPSKUsage.BRANCH
NEXT = b"the next one"
ASKS_NOTHING = Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(RequiredCapabilities((), (), ())))


@dataclass(frozen=True, slots=True)
class OneOfMany(AcceptAnyone):
    """Takes what stands before a slash for the identity: "alice/phone" and "alice/laptop" are two clients of alice."""

    def identity(self, credential: Credential) -> bytes:
        """Return the name before the slash."""
        return AcceptAnyone().identity(credential).partition(b"/")[0]


def client_of(world: World, group: Group) -> Client:
    """Return the client that holds a group, as it runs now."""
    return world.clients[world.name_of(group)]


def packages(world: World, groups: Sequence[Group], suite: int = 1) -> list[bytes]:
    """Return fresh key packages of members."""
    return [client_of(world, group).key_package(suite=suite) for group in groups]


@dataclass(frozen=True)
class Founder:
    """A member of an old group that invites to a new one, and makes of it what it likes."""

    world: World
    group: Group

    def welcome(
        self,
        joiners: Sequence[Client],
        usage: ResumptionPSKUsage,
        *,
        epoch: int | None = None,
        suite: int = 1,
        group_id: bytes = NEXT,
        extensions: tuple[Extension, ...] = (),
        late: bool = False,
    ) -> bytes:
        """Return the Welcome of a group that names `epoch` of the old one; a `late` one is filled in epoch 2."""
        client = client_of(self.world, self.group)
        env = client._environment()
        state = create_epoch_zero(group_id, client._founding_bundle(suite), extensions, env)
        tree = SecretTree(state.suite, 1, state.secrets.encryption.copy(), limits_of(env.settings))
        keys = SenderKeys(state.secrets.sender_data, tree)
        if late:
            after = create_commit(state, CommitOrder(private=False), keys, env).transition.state
            assert after is not None
            state = after
        link = ResumptionPSK(usage, self.group.group_id, self.group.epoch if epoch is None else epoch)
        psk = PreSharedKey(PreSharedKeyID(link, env.entropy(SUITES[suite].hash_length)))
        proposals: list[Proposal] = [Add(package_of(each.key_package(suite=suite))) for each in joiners]
        queued = tuple(QueuedProposal(each, MemberSender(state.own.index)) for each in (*proposals, psk))
        created = create_commit(state, CommitOrder(queued, private=False, link=usage), keys, env)
        assert created.welcome is not None
        return encode(MLSMessage(ProtocolVersion.MLS10, created.welcome))


def assert_refused_by(clients: Sequence[Client], message: bytes, error: type[MLSError], rule: str, code: str) -> None:
    """Assert that a Welcome is refused by every client that it invites, at no cost to them."""
    for client in clients:
        assert_join_refused(client, partial(client.join, message), (error, rule, code))


def enter_all(world: World, new: Group, others: Sequence[Group]) -> list[Group]:
    """Merge the first commit of a group, and let members of the old one join it; return it as all hold it."""
    (pending,) = new.pending
    new.merge(pending)
    joined = [join(client_of(world, group), pending) for group in others]
    world.agree(new, *joined)
    return [new, *joined]


def with_nonce(message: bytes, joiner: Client, nonce: bytes) -> bytes:
    """Return a Welcome that names its PSK with another nonce."""
    return with_psks(message, joiner, lambda psk: (replace(psk, psk_nonce=nonce),))


def with_further(message: bytes, joiner: Client, further: PreSharedKeyID, *, first: bool = False) -> bytes:
    """Return a Welcome that names another PSK besides its own."""
    return with_psks(message, joiner, lambda psk: (further, psk) if first else (psk, further))


def nonce_of(message: bytes, joiner: Client) -> bytes:
    """Return the nonce of the PSK that a Welcome names."""
    named: list[PreSharedKeyID] = []

    def look(psk: PreSharedKeyID) -> tuple[PreSharedKeyID, ...]:
        named.append(psk)
        return (psk,)

    with_psks(message, joiner, look)
    return named[0].psk_nonce


def with_psks(message: bytes, joiner: Client, psks: Callable[[PreSharedKeyID], Sequence[PreSharedKeyID]]) -> bytes:
    """Return a Welcome that tells a client of other PSKs than the one that it names."""
    welcome = decode(MLSMessage, message).body
    assert isinstance(welcome, Welcome)
    suite = SUITES[welcome.cipher_suite]
    for entry in welcome.secrets:
        name = key_package_key(entry.new_member)
        record = joiner._store.read(name)
        if record is None:
            continue
        bundle, sealed = unpack_bundle(name, record), entry.encrypted_group_secrets
        context = suite.seal_context(b"Welcome", welcome.encrypted_group_info)
        secrets = decode(GroupSecrets, suite.open(bundle.init_key, context, sealed.kem_output, sealed.ciphertext))
        told = encode(replace(secrets, psks=tuple(psks(secrets.psks[0]))))
        again = HPKECiphertext(*suite.seal(bundle.key_package.init_key, context, told, joiner._entropy))
        entries = (replace(entry, encrypted_group_secrets=again),)
        return encode(MLSMessage(ProtocolVersion.MLS10, replace(welcome, secrets=entries)))
    raise AssertionError("the Welcome is for others")
