"""Steps of the secret tree: a sender's first message key, the next, one that leaves others behind. RFC 9420 §9."""

from __future__ import annotations

from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mls.crypto import cipher_suite
from mls.messages import ContentType
from mls.schedule.key_schedule import EncryptionSecret
from mls.schedule.secret_tree import SecretTree
from mls.settings import Settings
from mls.store.standing import limits_of
from treekem.index import LeafIndex

SIZES: Final = (128, 2**20)
LEAF: Final = LeafIndex(77)
_ROUNDS: Final = 100


@pytest.fixture(params=SIZES, ids=lambda size: f"{size} leaves")
def n_leaves(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


def _tree(n_leaves: int) -> SecretTree:
    return SecretTree(cipher_suite(1), n_leaves, EncryptionSecret(bytes(32)), limits_of(Settings()))


def bench_the_first_key_of_a_sender(benchmark: BenchmarkFixture, n_leaves: int) -> None:
    benchmark.pedantic(
        lambda tree: tree.stage(LEAF, ContentType.APPLICATION, 0),
        setup=lambda: ((_tree(n_leaves),), {}),
        rounds=_ROUNDS,
    )


def bench_the_next_key_of_a_sender(benchmark: BenchmarkFixture, n_leaves: int) -> None:
    tree = _tree(n_leaves)

    def step() -> None:
        tree.apply(tree.stage_next(LEAF, ContentType.APPLICATION))

    step()
    benchmark.pedantic(step, rounds=_ROUNDS)


def bench_a_key_that_leaves_a_hundred_behind(benchmark: BenchmarkFixture, n_leaves: int) -> None:
    def ready() -> tuple[tuple[SecretTree], dict[str, object]]:
        tree = _tree(n_leaves)
        tree.apply(tree.stage(LEAF, ContentType.APPLICATION, 0))
        return (tree,), {}

    benchmark.pedantic(lambda tree: tree.stage(LEAF, ContentType.APPLICATION, 101), setup=ready, rounds=20)
