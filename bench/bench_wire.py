"""Encoding and decoding the structs that travel most. RFC 9420 §2.1."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import group_of
from mls import Add
from mls.messages import GroupContext, KeyPackage, LeafNode, MLSMessage
from treekem.index import LeafIndex
from treekem.nodes import ParentNode
from treekem.wire import decode, encode

_NAMES: Final = ("LeafNode", "ParentNode", "GroupContext", "KeyPackage", "PrivateMessage", "Welcome")


@cache
def _samples() -> dict[str, tuple[Any, bytes]]:
    awake = group_of(10)
    _, package = awake.invited(77)
    leaf = awake.tree.leaf(LeafIndex(0))
    assert leaf is not None
    parent = next(node for _, node in awake.tree.parents())
    commit = awake.awake(0).commit([Add(package)])
    content = decode(MLSMessage, package).body
    return {
        "LeafNode": (LeafNode, leaf.encoded),
        "ParentNode": (ParentNode, encode(parent)),
        "GroupContext": (GroupContext, awake.context),
        "KeyPackage": (KeyPackage, encode(content)),
        "PrivateMessage": (MLSMessage, commit.message),
        "Welcome": (MLSMessage, commit.welcome or b""),
    }


@pytest.mark.parametrize("name", _NAMES)
def bench_decode(benchmark: BenchmarkFixture, name: str) -> None:
    kind, data = _samples()[name]
    benchmark(decode, kind, data)


@pytest.mark.parametrize("name", _NAMES)
def bench_encode(benchmark: BenchmarkFixture, name: str) -> None:
    kind, data = _samples()[name]
    value = decode(kind, data)
    # A value that was decoded keeps its encoding; a copy does not, though what stands in it may.
    benchmark.pedantic(encode, setup=lambda: ((replace(value),), {}), rounds=200)
