"""Clients that wait for one message, and mutants of that message which get further the more of it is made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from mls import Add, Client, Group, Invitation, MLSError, Remove, ResumptionPSK, Update
from mls.epoch.join import KeyPackageBundle
from mls.errors import (
    Code,
    InvalidCiphertext,
    InvalidFraming,
    InvalidKey,
    InvalidSignature,
    MalformedMessage,
    UnavailableSecret,
    UsageError,
    WrongEpoch,
    WrongGroup,
)
from mls.intents import Intent
from mls.messages import (
    DEFAULT_EXTENSIONS,
    ApplicationData,
    AuthenticatedContent,
    GroupInfo,
    GroupSecrets,
    MLSMessage,
    ProtocolVersion,
    Welcome,
    WireFormat,
    encode_unsigned,
)
from mls.receiving import Received
from mls.schedule.key_schedule import JoinerSecret, PSKSecret, derive_welcome_secret, welcome_key_and_nonce
from mls.schedule.psk import psk_secret
from mls.store.client_records import KEY_PACKAGES, unpack_bundle
from tests.adversarial.insider import PRIVATE, Insider
from tests.adversarial.mutation import damaged, varied
from tests.support.world import World, copy_of, records
from treekem.nodes import HPKECiphertext
from treekem.wire import decode, encode

Event = Received | Invitation
Mutant = tuple[bytes, object]
"""A message, and what it says if it is accepted; None where it may not be."""


@dataclass
class Target:
    """A client, the message it waits for, and the ways to change that message."""

    name: str
    world: World
    owner: str
    genuine: bytes
    group_id: bytes | None
    ways: dict[str, Callable[[Random], Mutant]]

    def __post_init__(self) -> None:
        self.snapshot = copy_of(self.world.stores[self.owner])
        self.expected = records(self.snapshot)
        self.start()

    def start(self) -> None:
        """Begin again from the snapshot."""
        self.store = copy_of(self.snapshot)
        self.client: Client = self.world.open(self.owner, self.store)
        self.group: Group | None = None if self.group_id is None else self.client.group(self.group_id)
        self.fingerprint = self.group.fingerprint() if self.group is not None else b""

    def refuses(self, message: bytes) -> MLSError | Event:
        """Return the error that a message ends in, or what it was taken for; an error has changed nothing."""
        try:
            return self.client.receive(message)
        except MLSError as error:
            refused = error
        if self.group is not None:
            assert self.group.fingerprint() == self.fingerprint, refused
        assert self.store._records == self.expected, refused
        return refused


# Messages to a group.


def group_targets(suite: int) -> Iterator[Target]:
    """Yield targets for all kinds of messages to a group, in both wire formats."""
    for private in (True, False):
        for name, intents, by_reference in _COMMITS:
            yield _commit(World(suite, private_handshakes=private), name, intents, by_reference=by_reference)
        for name, intent in _PROPOSALS:
            yield _proposal(World(suite, private_handshakes=private), name, intent)
    world = World(suite)
    alice, bob, *_ = world.group(4)
    insider = Insider(world, alice)
    yield _framed("application", world, insider, bob, alice.encrypt(b"hello", authenticated_data=b"data"))


IntentOf = Callable[[World], Intent]
_ADD: IntentOf = lambda world: Add(world.client("newcomer").key_package())  # noqa: E731  (a row of the tables below)
_REMOVE: IntentOf = lambda _: Remove(3)  # noqa: E731  (likewise)
_COMMITS: tuple[tuple[str, tuple[IntentOf, ...], bool], ...] = (
    ("empty commit", (), False),
    ("commit", (_ADD, _REMOVE), False),
    ("commit by reference", (_ADD, _REMOVE), True),
)
_PROPOSALS: tuple[tuple[str, IntentOf], ...] = (
    ("add", _ADD),
    ("remove", _REMOVE),
    ("update", lambda _: Update()),
    ("psk", lambda _: ResumptionPSK(1)),
)


def _commit(world: World, name: str, intents: tuple[IntentOf, ...], *, by_reference: bool) -> Target:
    alice, bob, *_ = world.group(4)
    chosen = [intent(world) for intent in intents]
    if by_reference:
        for intent in chosen:
            world.deliver(alice.propose(intent).message, bob)
        chosen = []
    insider = Insider(world, alice)
    return _framed(name, world, insider, bob, alice.commit(chosen).message)


def _proposal(world: World, name: str, intent: IntentOf) -> Target:
    alice, bob, *_ = world.group(4)
    insider = Insider(world, alice)
    return _framed(name, world, insider, bob, alice.propose(intent(world)).message)


def _framed(name: str, world: World, insider: Insider, victim: Group, genuine: bytes) -> Target:
    said = Insider(world, victim).read(genuine)
    wire_format = WireFormat(said.wire_format)
    header = 4 + 1 + len(victim.group_id) + 8 + (1 if wire_format is PRIVATE else 0)

    def protected(content: AuthenticatedContent) -> bytes:
        return insider.private(content) if wire_format is PRIVATE else insider.public(content)

    def unsigned(random: Random) -> Mutant:
        content = replace(varied(said, random), wire_format=said.wire_format)
        if wire_format is PRIVATE:  # which does not carry its sender
            content = replace(content, content=replace(content.content, sender=said.content.sender))
        return (protected(content), None) if content != said else unsigned(random)

    def signed(random: Random) -> Mutant:
        content = replace(said, content=replace(said.content, content=varied(said.content.content, random)))
        again = insider.resigned(content)
        return protected(again), again.content.content

    kind = "private" if wire_format is PRIVATE else "public"
    is_application = isinstance(said.content.content, ApplicationData)
    ways: dict[str, Callable[[Random], Mutant]] = {
        "bytes": lambda random: (damaged(genuine, random), None),
        "header": lambda random: (damaged(genuine, random, before=header), None),
        "tagged": unsigned,
        "signed": unsigned if is_application else signed,
    }
    title = f"{name}, {kind}, suite {insider.suite.id}"
    return Target(title, world, world.name_of(victim), genuine, victim.group_id, ways)


# Welcomes.


def welcome_targets(suite: int) -> Iterator[Target]:
    """Yield targets for Welcomes, to one new member and to two."""
    for n_new in (1, 2):
        world = World(suite)
        alice, *_ = world.group(3)
        newcomers = [world.client(f"newcomer-{number}") for number in range(n_new)]
        pending = alice.commit([Add(each.key_package()) for each in newcomers])
        alice.merge(pending)
        assert pending.welcome is not None
        yield _welcome(world, Insider(world, alice), "newcomer-0", pending.welcome)


def _welcome(world: World, insider: Insider, owner: str, genuine: bytes) -> Target:
    opened = OpenedWelcome(insider, bundle_of(world, owner), genuine)

    def of_bytes(random: Random) -> Mutant:
        message = damaged(genuine, random)
        return message, "entry" if opened.is_same_for_us(message) else None

    def of_secrets(random: Random) -> Mutant:
        secrets = varied(opened.secrets, random)
        # Members and the joiner alone know the joiner secret, but nobody signs what stands beside it.
        harmless = secrets.path_secret is None and replace(opened.secrets, path_secret=None) == secrets
        return opened.sealed(secrets, opened.info), "no path secret" if harmless else None

    def of_info(random: Random) -> Mutant:
        return opened.sealed(opened.secrets, varied(opened.info, random)), None

    def signed_info(random: Random) -> Mutant:
        info = replace(varied(opened.info, random), signature=opened.info.signature)
        if info == opened.info:
            return signed_info(random)
        tbs = encode_unsigned(info)
        signature = insider.suite.sign_with_label(insider.state.own.signature_key, b"GroupInfoTBS", tbs)
        ignored = opened.understood(info) == opened.understood(opened.info)
        message = opened.sealed(opened.secrets, replace(info, signature=signature))
        return message, "unknown extension" if ignored else None

    ways: dict[str, Callable[[Random], Mutant]]
    ways = {"bytes": of_bytes, "secrets": of_secrets, "info": of_info, "signed": signed_info}
    title = f"welcome to {len(opened.welcome.secrets)}, suite {insider.suite.id}"
    return Target(title, world, owner, genuine, None, ways)


def bundle_of(world: World, owner: str) -> KeyPackageBundle:
    """Return the only key package of a client, with its private keys."""
    ((name, record),) = world.stores[owner].scan(KEY_PACKAGES)
    return unpack_bundle(name, record)


class OpenedWelcome:
    """A Welcome, as whoever wrote it knows it."""

    def __init__(self, insider: Insider, bundle: KeyPackageBundle, message: bytes) -> None:
        body = decode(MLSMessage, message).body
        assert isinstance(body, Welcome)
        self.welcome, self.bundle, self.suite = body, bundle, insider.suite
        self.entropy = insider.group._environment().entropy
        self.entry = next(each for each in body.secrets if each.new_member == bundle.reference())
        sealed = self.entry.encrypted_group_secrets
        context = self.suite.seal_context(b"Welcome", body.encrypted_group_info)
        plain = self.suite.open(bundle.init_key, context, sealed.kem_output, sealed.ciphertext)
        self.secrets = decode(GroupSecrets, plain)
        injected: PSKSecret = psk_secret(self.suite, ())
        secret = derive_welcome_secret(self.suite, JoinerSecret(self.secrets.joiner_secret), injected)
        self.key, self.nonce = welcome_key_and_nonce(self.suite, secret)
        self.info = decode(GroupInfo, self.suite.aead_open(self.key, self.nonce, b"", body.encrypted_group_info))

    def sealed(self, secrets: GroupSecrets, info: GroupInfo) -> bytes:
        """Return a Welcome of other contents."""
        return self.sealed_bytes(encode(secrets), encode(info))

    def sealed_bytes(self, secrets: bytes, info: bytes) -> bytes:
        """Return a Welcome with anything where the encodings of its contents should be."""
        encrypted = self.suite.aead_seal(self.key, self.nonce, b"", info)
        context = self.suite.seal_context(b"Welcome", encrypted)
        sealed = self.suite.seal(self.bundle.key_package.init_key, context, secrets, self.entropy)
        entry = replace(self.entry, encrypted_group_secrets=HPKECiphertext(*sealed))
        body = replace(self.welcome, secrets=(entry,), encrypted_group_info=encrypted)
        return encode(MLSMessage(ProtocolVersion.MLS10, body))

    def understood(self, info: GroupInfo) -> GroupInfo:
        """Return what a joiner looks at of a GroupInfo: extensions that it does not know are signed, and ignored."""
        known = tuple(each for each in info.extensions if each.extension_type in DEFAULT_EXTENSIONS)
        return replace(info, extensions=known, signature=b"")

    def is_same_for_us(self, message: bytes) -> bool:
        """Whether a message differs in nothing but the entries of others, which only they can judge."""
        try:
            body = decode(MLSMessage, message).body
        except MalformedMessage:
            return False
        if not isinstance(body, Welcome):
            return False
        ours = next((each for each in body.secrets if each.new_member == self.entry.new_member), None)
        return ours == self.entry and replace(body, secrets=()) == replace(self.welcome, secrets=())


# How far a mutant came.

STAGES = ("decoding", "header", "tag or AEAD", "signature", "semantics")
_ROUTING = frozenset(("R-6-05", "R-6-06", "R-12.4.3.1-03", "R-12.4.3.1-04", "R-17.1-06"))


def stage_of(error: MLSError) -> str:
    """Return the stage at which a message was refused."""
    if error.authenticated:
        return "semantics"
    if error.rule in _ROUTING or isinstance(
        error, WrongGroup | WrongEpoch | InvalidFraming | UnavailableSecret | UsageError
    ):
        return "header"
    if isinstance(error, MalformedMessage):
        return "decoding"
    if error.code is Code.BAD_MEMBERSHIP_TAG or isinstance(error, InvalidCiphertext | InvalidKey):
        return "tag or AEAD"
    return "signature" if isinstance(error, InvalidSignature) else "semantics"
