"""What tests of framing share."""

from __future__ import annotations

import pytest

from mls import Group
from tests.support.world import World

EXTERNAL_SENDERS = 5
FRAMES = pytest.mark.parametrize("private", [False, True], ids=["public", "private"])


def public_world() -> tuple[World, Group, Group, Group]:
    world = World(private_handshakes=False)
    alice, bob, carol = world.group(3)
    return world, alice, bob, carol


def flipped(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def varied(message: bytes, at: int, new: bytes) -> bytes:
    return message[:at] + new + message[at + len(new) :]
