"""Targets with an observer of a group: it refuses nothing but what members refuse, and all of that that can be seen."""

from __future__ import annotations

from mls import AcceptAnyone, MLSError
from mls.messages import MLSMessage
from mls.observer import Opaque, PublicGroup
from mls.registry import NO_REGISTRY, Registry
from mls.settings import Settings
from tests.fuzz.groups import GROUP_ID, GROUP_INFO, SETTINGS, Receiver, Scene, Speech, handshakes, resigned
from tests.fuzz.target import Target
from tests.support.extending import REGISTRY
from tests.support.observing import seen, verdict
from tests.support.world import NOW
from treekem.wire import decode, encode


def observe_target() -> Target:
    """Any bytes, to an observer and to a member."""
    scene = Scene()
    onlookers = _Onlookers(scene)
    return Target("observe", onlookers.judge, lambda: handshakes(scene))


def observed_insider_target() -> Target:
    """Any content, signed and tagged as it should be, in a group whose application added types of its own."""
    speech = Speech(Scene(REGISTRY))
    onlookers = _Onlookers(speech.scene, REGISTRY)

    def run(data: bytes) -> None:
        message = speech.message(data)
        if message is not None:
            onlookers.judge(message)

    return Target("observe-insider", run, speech.seeds)


class _Onlookers:
    """A member and an observer, who hear the same messages and forget each of them."""

    def __init__(self, scene: Scene, registry: Registry = NO_REGISTRY) -> None:
        self._member = Receiver(scene.world, "bob")
        self._observer = _follow(scene.alice.group_info(), registry)

    def judge(self, message: bytes) -> None:
        """Let both hear a message, and compare what it comes to."""
        observed = seen(self._observer, message)
        judged = self._member.meet(lambda client: client.group(GROUP_ID).receive(message))
        if not isinstance(observed, Opaque):
            verdict(judged, observed)


def follow_target() -> Target:
    """Any GroupInfo, signed by a member where it can be, to an observer and to a client that wants to join."""
    scene = Scene()
    joiner = Receiver(scene.world, "outside")
    info = decode(MLSMessage, scene.alice.group_info()).body

    def run(data: bytes) -> None:
        message = GROUP_INFO + resigned(scene.insider, data)
        judged = joiner.meet(lambda client: client.join_external(message).message)
        try:
            _follow(message)
        except MLSError as error:
            is_alike = isinstance(judged, MLSError)
            if not is_alike:
                raise AssertionError("a joiner took what an observer refused") from error

    return Target("follow-insider", run, lambda: [encode(info)])


def _follow(group_info: bytes, registry: Registry = NO_REGISTRY) -> PublicGroup:
    chosen = Settings(**SETTINGS)
    return PublicGroup.follow(group_info, policy=AcceptAnyone(), settings=chosen, registry=registry, clock=lambda: NOW)
