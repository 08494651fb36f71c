"""What creating and processing a commit costs, beside the public-key operations that the RFC makes it do.

    python -m pip install -e '.[bench]' && python -m pytest bench

Machines differ and are shared: read the ratio in the extra column, not the seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mls import AcceptAnyone, Add, Client, Group, Identity, MemoryStore, Settings, StagedCommit
from mls.crypto import cipher_suite
from treekem.secrets import Secret

SIZES: Final = (8, 64)
SUITE: Final = cipher_suite(1)
_ROUNDS: Final = 9
_ROOM: Final = Settings(max_message_bytes=2**24, max_welcome_bytes=2**24)


@dataclass(frozen=True)
class Pair:
    """Two members of a group whose every parent was refreshed by a commit of each member below it."""

    committer: Group
    receiver: Group


def _client(name: str) -> Client:
    return Client.create(MemoryStore(), Identity.basic(name.encode()), policy=AcceptAnyone(), settings=_ROOM)


def _warm_pair(size: int) -> Pair:
    """Grow a group by one commit, then let every member commit once, so that no leaf is unmerged."""
    clients = [_client(f"member {index}") for index in range(size)]
    founder = clients[0].create_group()
    added = founder.commit([Add(each.key_package()) for each in clients[1:]])
    founder.merge(added)
    welcome = added.welcome or b""
    groups = [founder, *(each.join(welcome).accept() for each in clients[1:])]
    for committer in groups:
        commit = committer.commit()
        for other in groups:
            if other is not committer:
                _merge(other, commit.message)
        committer.merge(commit)
    return Pair(groups[0], groups[-1])


def _merge(group: Group, message: bytes) -> None:
    staged = group.receive(message)
    assert isinstance(staged, StagedCommit)
    group.merge(staged)


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size} members")
def pair(request: pytest.FixtureRequest) -> Pair:
    return _warm_pair(request.param)


def _seconds(operation: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        operation()
        times.append(time.perf_counter() - start)
    return median(times)


def _floor(path_length: int, *, receiving: bool) -> float:
    """Return the seconds that the public-key operations of a commit on a warm tree take by themselves."""
    seed = Secret(bytes(range(32)))
    keys = SUITE.derive_key_pair(seed)
    derive = _seconds(lambda: SUITE.derive_key_pair(seed))
    signer = SUITE.generate_signature_key_pair(bytes)
    sign = _seconds(lambda: SUITE.sign_with_label(signer.private, b"floor", b""))
    signature = SUITE.sign_with_label(signer.private, b"floor", b"")
    verify = _seconds(lambda: SUITE.verify_with_label(signer.public, b"floor", b"", signature))
    sealed = SUITE.encrypt_with_label(keys.public, b"floor", b"", bytes(32), bytes)
    seal = _seconds(lambda: SUITE.encrypt_with_label(keys.public, b"floor", b"", bytes(32), bytes))
    opened = _seconds(lambda: SUITE.decrypt_with_label(keys.private, b"floor", b"", *sealed))
    if receiving:
        return derive * path_length + opened + 2 * verify
    return derive * (path_length + 1) + seal * path_length + 2 * sign


def _report(benchmark: BenchmarkFixture, floor: float) -> None:
    stats = benchmark.stats
    if stats is not None:
        benchmark.extra_info["ratio to floor"] = round(stats.stats.median / floor, 2)


def _path_length(group: Group) -> int:
    return (len(group.members) - 1).bit_length()


def test_create_commit(benchmark: BenchmarkFixture, pair: Pair) -> None:
    def create() -> None:
        pair.committer.discard(pair.committer.commit())

    benchmark.pedantic(create, rounds=_ROUNDS, warmup_rounds=1)
    _report(benchmark, _floor(_path_length(pair.committer), receiving=False))


def test_stage_commit_from_the_far_half(benchmark: BenchmarkFixture, pair: Pair) -> None:
    commit = pair.committer.commit()
    benchmark.pedantic(pair.receiver.receive, args=(commit.message,), rounds=_ROUNDS, warmup_rounds=1)
    pair.committer.discard(commit)
    _report(benchmark, _floor(_path_length(pair.committer), receiving=True))


def test_encrypt(benchmark: BenchmarkFixture, pair: Pair) -> None:
    benchmark.pedantic(pair.committer.encrypt, args=(bytes(100),), rounds=100, warmup_rounds=1)
