"""Many key packages at once, and joining many members: in whosever threads, the same is taken and refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

import pytest

from mls import Add
from mls.epoch.join import verify_joined_tree
from mls.errors import InvalidSignature
from mls.messages import KeyPackage
from tests.support.crafting import message_of, package_of
from tests.support.world import World, records
from treekem.index import LeafIndex
from treekem.nodes import LeafSlot

N_ADDED = 70  # More than threads are asked for, and no multiple of what they take at once.


@pytest.fixture(params=[0, 2], ids=["own threads", "lent threads"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor | None]:
    if not request.param:
        yield None
        return
    with ThreadPoolExecutor(request.param) as pool:
        yield pool


def damaged(package: KeyPackage) -> bytes:
    return message_of(replace(package, signature=bytes(len(package.signature))))


@pytest.mark.rfc("R-10-03", "R-10.1-01")
def test_every_bad_key_package_is_reported_by_its_position(executor: Executor | None) -> None:
    world = World()
    alice = world.client("alice")
    alice.executor = executor
    group = alice.create_group()
    packages = [world.client(f"member {number}").key_package() for number in range(N_ADDED)]
    bad = (3, 31, 32, 69)
    offered = [damaged(package_of(each)) if number in bad else each for number, each in enumerate(packages)]
    before, stored = group.fingerprint(), records(world.stores["alice"])

    with pytest.raises(InvalidSignature) as caught:
        group.commit([Add(each) for each in offered])
    assert (caught.value.rule, caught.value.index, caught.value.indexes) == ("R-10-03", 3, bad)
    assert (group.fingerprint(), records(world.stores["alice"])) == (before, stored)

    group.merge(group.commit([Add(each) for each in packages]))
    assert len(group.members) == N_ADDED + 1


@pytest.mark.rfc("R-10-03", "R-10.1-01")
def test_threads_that_have_ended_are_no_reason_to_refuse() -> None:
    world = World()
    alice = world.client("alice")
    group = alice.create_group()
    offered = [world.client(f"member {number}").key_package() for number in range(40)]
    with ThreadPoolExecutor(1) as pool:
        alice.executor = pool
    with pytest.raises(InvalidSignature) as caught:
        group.commit([Add(each) for each in (*offered, damaged(package_of(world.client("mallory").key_package())))])
    assert (caught.value.rule, caught.value.indexes) == ("R-10-03", (40,))
    group.merge(group.commit([Add(each) for each in offered]))
    assert len(group.members) == 41


@pytest.mark.rfc("R-7.3-03")
def test_a_large_group_is_joined_if_all_signatures_hold(executor: Executor | None) -> None:
    world = World()
    alice, bob = world.client("alice"), world.client("bob")
    bob.executor = executor
    group = alice.create_group()
    others = [world.client(f"member {number}").key_package() for number in range(N_ADDED)]
    pending = group.commit([Add(each) for each in (bob.key_package(), *others)])
    group.merge(pending)
    joined = bob.join(pending.welcome or b"").accept()
    assert joined.epoch_authenticator == group.epoch_authenticator
    assert len(joined.members) == N_ADDED + 2

    state = group._standing.state.group
    for index in (LeafIndex(40), LeafIndex(7)):
        leaf = state.leaf_node(index)
        assert leaf is not None
        tree = state.tree.update_leaf(index, LeafSlot.of(replace(leaf, signature=bytes(len(leaf.signature)))))
        state = replace(state, tree=tree)
        with pytest.raises(InvalidSignature) as caught:
            verify_joined_tree(state, bob._environment())
        assert caught.value.rule == "R-7.3-03"
