"""Key packages of many clients, kept on disk like trees: making one costs more than a group spends on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.synthetic import NOW, Plan, cache_folder, credential, stream
from mls import AcceptAnyone, Settings
from mls.epoch.environment import Environment
from mls.epoch.join import KeyPackageBundle
from mls.key_packages import Signer, create_key_package
from mls.messages import MLSMessage, ProtocolVersion
from treekem.index import LeafIndex
from treekem.wire import encode

_FORMAT: Final = 1
_TOLD_EACH: Final = 10_000


def key_packages(
    suite_id: int, count: int, folder: Path | None = None, say: Callable[[str], object] = str
) -> list[bytes]:
    """Return the key packages of so many clients, as messages."""
    place = cache_folder() if folder is None else folder
    path = place / f"{_FORMAT}-suite{suite_id}-{count}.key-packages"
    if not path.exists():
        made = []
        for number in range(count):
            if number % _TOLD_EACH == 0:
                say(f"making key packages: {number} of {count}")
            made.append(encode(MLSMessage(ProtocolVersion.MLS10, bundle(suite_id, number).key_package)))
        place.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(b"".join(len(each).to_bytes(4, "big") + each for each in made))
        unfinished.replace(path)
    return list(_parts(path.read_bytes()))


def bundle(suite_id: int, number: int) -> KeyPackageBundle:
    """Return the key package of a client with its private keys, the same for the same number."""
    plan = Plan(1, suite_id)
    env = Environment(Settings.large(), AcceptAnyone(), NOW, stream(plan, f"client {number}"))
    signer = Signer(credential(LeafIndex(number), 0), plan.suite, plan.suite.generate_signature_key_pair(env.entropy))
    return create_key_package(signer, None, env, last_resort=False, extensions=())


def _parts(data: bytes) -> Iterator[bytes]:
    offset = 0
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        yield data[offset + 4 : offset + 4 + length]
        offset += 4 + length
