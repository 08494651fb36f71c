"""Targets with a live client behind them: messages, as bytes or signed by an insider, Welcomes, and GroupInfos.

One of the groups speaks in types that its application added, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from mls import (
    Add,
    Client,
    Group,
    GroupContextExtensions,
    Invitation,
    MLSError,
    PreSharedKey,
    Remove,
    StagedCommit,
    Update,
)
from mls.errors import MalformedMessage
from mls.events import PendingCommit
from mls.extensions import external_senders
from mls.messages import (
    BasicCredential,
    Content,
    ExternalSender,
    ExternalSenderIndex,
    GroupInfo,
    MemberSender,
    MLSMessage,
    NewMemberCommitSender,
    NewMemberProposalSender,
    ProtocolVersion,
    Sender,
    WireFormat,
    encode_unsigned,
)
from mls.registry import NO_REGISTRY, Registry
from tests.adversarial.insider import PRIVATE, PUBLIC, Insider, public_message
from tests.adversarial.targets import OpenedWelcome, bundle_of
from tests.fuzz.target import Target
from tests.support.extending import LUNCH, POLL, REGISTRY, RETITLE, TOPIC, Topic
from tests.support.world import World, copy_of, records
from treekem.index import LeafIndex
from treekem.wire import decode, encode, encode_as, struct

GROUP_ID: Final = b"fuzzed"
SETTINGS: Final[dict[str, Any]] = {
    "external_commits": True,
    "resync": True,
    "external_senders": True,
    "new_member_proposals": True,
    "private_handshakes": False,
}


@dataclass
class Receiver:
    """A client that a store holds; after everything that changed it, it begins again from that store."""

    world: World
    name: str

    def __post_init__(self) -> None:
        self._snapshot = copy_of(self.world.stores[self.name])
        self._expected = records(self._snapshot)
        self._start()

    def _start(self) -> None:
        self._store = copy_of(self._snapshot)
        self._client = self.world.open(self.name, self._store)
        self._groups = [self._client.group(group_id) for group_id in self._client.groups]
        self._fingerprints = [group.fingerprint() for group in self._groups]

    def meet(self, act: Callable[[Client], object]) -> object:
        """Let the client do something: either an MLSError tells of it and nothing has changed, or it worked.

        Return the error or the outcome.
        """
        try:
            outcome = act(self._client)
        except MLSError as error:
            if [group.fingerprint() for group in self._groups] != self._fingerprints:
                raise AssertionError("a refusal changed the group") from error
            if records(self._store) != self._expected:
                raise AssertionError("a refusal changed the store") from error
            return error
        self._settle(outcome)
        self._start()
        return outcome

    def _settle(self, outcome: object) -> None:
        """Go on with what was accepted: that must not fail any more."""
        match outcome:
            case StagedCommit():
                self._groups[0].merge(outcome)
            case Invitation():
                outcome.accept()


class Scene:
    """A group of four in its third epoch, with somebody outside of it, and one member who waits for messages.

    What stands in `registry` all of them know.
    """

    def __init__(self, registry: Registry = NO_REGISTRY) -> None:
        self.world = World(seed=9420, registry=registry, **SETTINGS)
        self.bodies = registry.bodies
        clients = [self.world.client(name) for name in ("alice", "bob", "carol", "dora")]
        self.outside = self.world.client("outside")
        for client in (*clients, self.outside):
            client.add_psk(b"password", b"\x5e" * 32)
        keys = self.outside._signature_keys
        senders = external_senders(ExternalSender(keys.public, BasicCredential(b"outside")))
        self.alice = clients[0].create_group(GROUP_ID, (senders,))
        self.bob, self.carol, self.dora = self.world.add(self.alice, *clients[1:])
        self.world.commit(self.carol, (), self.alice, self.bob, self.dora)
        self.insider = Insider(self.world, self.alice)

    def twin(self, group: Group) -> Group:
        """Return another copy of a member, whose doings are without consequence."""
        return self.world.twin(group)


# Messages.


def receive_target() -> Target:
    """Any bytes, to a client in a group."""
    scene = Scene()
    receiver = Receiver(scene.world, "bob")
    return Target(
        "receive",
        lambda data: receiver.meet(lambda client: client.receive(data)),
        lambda: [scene.twin(scene.alice).encrypt(b"hello", authenticated_data=b"data"), *handshakes(scene)],
    )


def insider_target() -> Target:
    """Any content, in the name of a member or of somebody outside, signed and sealed as it should be."""
    return _receiving("receive-insider", Speech(Scene()))


def registry_target() -> Target:
    """The same in a group whose application added types of extensions and proposals."""
    return _receiving("receive-registry", Speech(Scene(REGISTRY)))


def _receiving(name: str, speech: Speech) -> Target:
    receiver = Receiver(speech.scene.world, "bob")

    def run(data: bytes) -> None:
        message = speech.message(data)
        if message is not None:
            receiver.meet(lambda client: client.receive(message))

    return Target(name, run, speech.seeds)


class Speech:
    """Turns any content into a message of a member, or of somebody outside.

    The first byte chooses the sender and the wire format, the rest is the content, as an AuthenticatedContent has it.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._messages = list(handshakes(scene))
        tags = (public_message(each, scene.bodies).auth.confirmation_tag for each in reversed(self._messages))
        self._tag = next(tag for tag in tags if tag)

    def message(self, data: bytes) -> bytes | None:
        """Return the message, signed and tagged; None where the bytes are no content."""
        try:
            content = decode(Content, data[1:], bodies=self.scene.bodies)
        except MalformedMessage:
            return None
        kind, insider = _SENDERS[data[0] % len(_SENDERS)], self.scene.insider
        wire_format = PRIVATE if data[0] & _PRIVATELY and kind is MemberSender else PUBLIC
        key = None if kind is MemberSender else self.scene.outside._signature_keys.private
        framed = insider.framed(content, sender=_sender(kind, insider.leaf))
        signed = insider.signed(framed, wire_format, tag=self._tag, key=key)
        return insider.private(signed) if wire_format is PRIVATE else insider.public(signed)

    def seeds(self) -> Iterable[bytes]:
        """Yield the contents of genuine messages."""
        for message in self._messages:
            framed = public_message(message, self.scene.bodies).content
            yield bytes([_SENDERS.index(type(framed.sender))]) + encode_as(Content, framed.content)


_SENDERS: Final = (MemberSender, ExternalSenderIndex, NewMemberProposalSender, NewMemberCommitSender)
_PRIVATELY: Final = 4


def _sender(kind: type, leaf: LeafIndex) -> Sender:
    if kind is MemberSender:
        return MemberSender(leaf)
    if kind is ExternalSenderIndex:
        return ExternalSenderIndex(0)
    return NewMemberProposalSender() if kind is NewMemberProposalSender else NewMemberCommitSender()


def handshakes(scene: Scene) -> Iterable[bytes]:
    """Yield proposals of every kind and sender, and commits; each is the first message of a copy of its sender."""
    add = Add(scene.world.client("newcomer").key_package())
    own = (POLL.proposal(LUNCH), RETITLE.proposal(Topic(b"soup")), _TITLED) if scene.bodies else ()
    intents = (add, Remove(3), Update(), PreSharedKey(b"password"), *own)
    yield from (scene.twin(scene.alice).propose(intent).message for intent in intents)
    yield scene.outside.propose_external_add(GROUP_ID, scene.alice.epoch)
    joined = scene.outside.join_external(scene.alice.group_info())
    yield joined.message
    returning = scene.world.open("dora", copy_of(scene.world.stores["dora"]))
    yield returning.join_external(scene.alice.group_info(), resync=True).message
    for wishes in ((), (add, Remove(3)), (PreSharedKey(b"password"),), *((each,) for each in own)):
        yield scene.twin(scene.alice).commit(wishes).message


_TITLED: Final = GroupContextExtensions((TOPIC.extension(Topic(b"bread")),))


# Joining.


def join_target() -> Target:
    """Any bytes, to a client that waits for a Welcome."""
    scene = Scene()
    _, pending = _invited(scene)
    receiver = Receiver(scene.world, "joiner")
    welcome = pending.welcome or b""
    return Target("join", lambda data: receiver.meet(lambda client: client.receive(data)), lambda: [welcome])


@struct
class Secretly:
    """What a Welcome hides: GroupSecrets and GroupInfo, or any other bytes in their place."""

    secrets: bytes
    info: bytes


def welcome_insider_target() -> Target:
    """Any GroupSecrets and any GroupInfo, signed by a member where it can be, and sealed to the joiner."""
    scene = Scene()
    group, pending = _invited(scene)
    receiver, insider = Receiver(scene.world, "joiner"), Insider(scene.world, group)
    opened = OpenedWelcome(insider, bundle_of(scene.world, "joiner"), pending.welcome or b"")

    def run(data: bytes) -> None:
        try:
            hidden = decode(Secretly, data)
        except MalformedMessage:
            return
        message = opened.sealed_bytes(hidden.secrets, resigned(insider, hidden.info))
        receiver.meet(lambda client: client.receive(message))

    return Target("join-insider", run, lambda: [encode(Secretly(encode(opened.secrets), encode(opened.info)))])


def enter_target() -> Target:
    """Any GroupInfo, signed by a member where it can be, for a client that wants to join by an external commit."""
    scene = Scene()
    receiver = Receiver(scene.world, "outside")
    info = decode(MLSMessage, scene.alice.group_info()).body

    def run(data: bytes) -> None:
        message = GROUP_INFO + resigned(scene.insider, data)
        receiver.meet(lambda client: client.join_external(message).message)

    return Target("enter-insider", run, lambda: [encode(info)])


GROUP_INFO: Final = bytes((0, ProtocolVersion.MLS10, 0, WireFormat.GROUP_INFO))
"""How an MLSMessage begins that is a GroupInfo."""


def _invited(scene: Scene) -> tuple[Group, PendingCommit]:
    joiner = scene.world.client("joiner")
    pending = scene.alice.commit([Add(joiner.key_package())])
    scene.alice.merge(pending)
    return scene.alice, pending


def resigned(insider: Insider, data: bytes) -> bytes:
    """Sign a GroupInfo anew; what is none stays as it is."""
    try:
        info = decode(GroupInfo, data)
    except MalformedMessage:
        return data
    tbs = encode_unsigned(info)
    signature = insider.suite.sign_with_label(insider.state.own.signature_key, b"GroupInfoTBS", tbs)
    return encode(replace(info, signature=signature))
