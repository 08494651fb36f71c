"""What members do: commit, follow, join and talk, in groups whose every parent is filled. RFC 9420 §10, §12.4, §15."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import group_of
from bench.lifetime_group import AwakeGroup
from mls import Add, Client, Group, Invitation, PendingCommit, Remove

SIZES: Final = (10, 100)
_ROUNDS: Final = 25
_DATA: Final = bytes(100)
_NEWCOMER: Final = 1_000

Prepared = tuple[tuple[object, ...], dict[str, object]]


@pytest.fixture(params=SIZES, ids=lambda size: f"{size} members")
def awake(request: pytest.FixtureRequest) -> AwakeGroup:
    return group_of(request.param)


def _ready(*arguments: Callable[[], object]) -> Callable[[], Prepared]:
    """Return what makes arguments anew before each round."""
    return lambda: (tuple(make() for make in arguments), {})


def bench_create_commit(benchmark: BenchmarkFixture, awake: AwakeGroup) -> None:
    benchmark.pedantic(Group.commit, setup=_ready(lambda: awake.awake(0)), rounds=_ROUNDS, warmup_rounds=1)


def bench_create_commit_that_adds_one(benchmark: BenchmarkFixture, awake: AwakeGroup) -> None:
    _, package = awake.invited(_NEWCOMER)
    setup = _ready(lambda: awake.awake(0), lambda: [Add(package)])
    benchmark.pedantic(Group.commit, setup=setup, rounds=_ROUNDS, warmup_rounds=1)


def bench_create_commit_that_removes_one(benchmark: BenchmarkFixture, awake: AwakeGroup) -> None:
    setup = _ready(lambda: awake.awake(0), lambda: [Remove(awake.leaves[3])])
    benchmark.pedantic(Group.commit, setup=setup, rounds=_ROUNDS, warmup_rounds=1)


@pytest.mark.parametrize("receiver", [1, -1], ids=["sibling", "far half"])
def bench_stage_commit(benchmark: BenchmarkFixture, awake: AwakeGroup, receiver: int) -> None:
    commit = awake.awake(0).commit()
    setup = _ready(lambda: awake.awake(receiver % len(awake.leaves)), lambda: commit.message)
    benchmark.pedantic(Group.receive, setup=setup, rounds=_ROUNDS, warmup_rounds=1)


def bench_merge_own_commit(benchmark: BenchmarkFixture, awake: AwakeGroup) -> None:
    def committed() -> tuple[tuple[Group, PendingCommit], dict[str, object]]:
        group = awake.awake(0)
        return (group, group.commit()), {}

    benchmark.pedantic(Group.merge, setup=committed, rounds=_ROUNDS, warmup_rounds=1)


def bench_create_key_package(benchmark: BenchmarkFixture) -> None:
    client, _ = group_of(SIZES[0]).invited(_NEWCOMER)
    benchmark(client.key_package)


def bench_join(benchmark: BenchmarkFixture, awake: AwakeGroup) -> None:
    client, package = awake.invited(_NEWCOMER)
    commit = awake.awake(0).commit([Add(package)])
    invitation = benchmark.pedantic(Client.join, args=(client, commit.welcome), rounds=_ROUNDS, warmup_rounds=1)
    assert isinstance(invitation, Invitation)


def bench_encrypt(benchmark: BenchmarkFixture, awake: AwakeGroup) -> None:
    group = awake.awake(0)
    benchmark.pedantic(group.encrypt, args=(_DATA,), rounds=200, warmup_rounds=1)


def bench_decrypt(benchmark: BenchmarkFixture, awake: AwakeGroup) -> None:
    sender, receiver = awake.awake(0), awake.awake(1)
    setup = _ready(lambda: sender.encrypt(_DATA))
    benchmark.pedantic(receiver.receive, setup=setup, rounds=200, warmup_rounds=1)
