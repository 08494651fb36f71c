"""Secrets that a step merely passes through are overwritten: what nobody holds any more is not left in the clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import pytest

from mls import Add, Group, PreSharedKey, Remove, ResumptionPSK, Update
from mls.crypto import SUITES
from mls.epoch import create_commit, receive_commit
from mls.epoch.create_commit import LeafContent
from mls.epoch.join import join_by_external_commit
from mls.intents import Intent
from mls.messages import GroupInfo, MLSMessage
from mls.schedule.key_schedule import EpochSecret, JoinerSecret, PSKSecret, WelcomeSecret
from tests.support.forensics import found, seized, stored
from tests.support.live import stray_secrets, values_made_in
from tests.support.planting import Edit, Fault
from tests.support.world import World, join
from treekem.suite import CommitSecret, NodeSecret, PathSecret
from treekem.wire import decode, encode

T = TypeVar("T")


def clean(work: Callable[[], T], *roots: object) -> T:
    """Do the work, and assert that every secret that it made is wiped or still held."""
    results: list[T] = []
    strays = stray_secrets(lambda: results.append(work()), results, *roots)
    assert strays == []
    return results[0]


def with_psk(world: World, *groups: Group) -> PreSharedKey:
    for group in groups:
        world.clients[world.name_of(group)].add_psk(b"psk", b"a pre-shared key")
    return PreSharedKey(b"psk")


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.rfc("R-7.5-16", "R-8-10", "R-9.2-07")
def test_a_commit_leaves_nothing_behind(*, private: bool) -> None:
    world = World(private_handshakes=private)
    alice, bob, carol = world.group(3)
    newcomer = world.client("newcomer")
    package = newcomer.key_package()
    newcomer.add_psk(b"psk", b"a pre-shared key")
    psk = with_psk(world, alice, bob, carol)
    every: Sequence[Sequence[Intent]] = [[], [psk, ResumptionPSK(1)], [Remove(carol.me)], [Add(package)]]
    for intents in every:
        pending = clean(partial(alice.commit, intents), alice)
        clean(partial(alice.merge, pending), alice)
        for receiver in (bob, carol):
            if not receiver.is_retired:
                staged = clean(partial(receiver.receive, pending.message), receiver)
                clean(partial(receiver.merge, staged), receiver)  # type: ignore[arg-type]  # it is a staged commit
    assert pending.welcome is not None
    joined = newcomer.join(pending.welcome).accept()
    world.agree(alice, bob, joined)


@pytest.mark.rfc("R-8-10")
def test_a_commit_without_a_path_and_one_of_proposals_leave_nothing_behind() -> None:
    world = World()
    alice, bob = world.group(2)
    psk = with_psk(world, alice, bob)
    for proposal in (clean(partial(bob.propose, psk), bob), clean(partial(bob.propose, Update()), bob)):
        clean(partial(alice.receive, proposal.message), alice)
    pending = clean(alice.commit, alice)
    clean(partial(bob.receive, pending.message), bob)
    world.deliver(pending.message, bob)
    alice.merge(pending)
    pending = clean(partial(alice.commit, [psk], path=False), alice)
    clean(partial(bob.receive, pending.message), bob)


@pytest.mark.rfc("R-7.5-16", "R-8-10", "R-8.3-05", "R-9.2-07", "R-10-15")
def test_joining_leaves_nothing_behind() -> None:
    world = World(external_commits=True)
    alice, bob = world.group(2)
    psk = with_psk(world, alice, bob)
    newcomer = world.client("newcomer")
    newcomer.add_psk(b"psk", b"a pre-shared key")
    pending = world.commit(alice, [Add(newcomer.key_package()), psk], bob)
    assert pending.welcome is not None
    clean(partial(newcomer.join, pending.welcome), newcomer)

    info = decode(MLSMessage, clean(alice.group_info, alice)).body
    assert isinstance(info, GroupInfo)
    client = world.client("external")
    bundle = client._create_bundle(1000, last_resort=False, extensions=())
    leaf = bundle.key_package.leaf_node
    content = LeafContent(leaf.credential, bundle.signature_keys, leaf.capabilities)
    env = client._environment()
    joined = clean(partial(join_by_external_commit, info, None, content, env), content, env)
    clean(partial(bob.receive, encode(joined.message)), bob)


PASSING = (PathSecret, NodeSecret, CommitSecret, JoinerSecret, EpochSecret, PSKSecret, WelcomeSecret)
KEEPERS = {
    "committer": Edit(
        create_commit.own_keys_after,
        "**new.plan.private_keys, ",
        "**new.plan.private_keys, **{NodeIndex(1000 + x): HPKEPrivateKey(each.expose()) for x, each in "
        "new.plan.path_secrets.items()}, ",
    ),
    "receiver": Edit(
        receive_commit._open_path,
        "return {**kept, ",
        "return {**kept, NodeIndex(1000): HPKEPrivateKey(opened.commit_secret.expose()), ",
    ),
}


def passing_through(name: str) -> dict[str, set[str]]:
    """Return what is found of the secrets that two commits and a Welcome merely pass through, with one client."""
    world = World()
    alice, bob = world.group(2)
    newcomer = world.client("newcomer")
    newcomer.add_psk(b"psk", b"a pre-shared key")
    psk, package = with_psk(world, alice, bob), newcomer.key_package()
    joined: list[Group] = []
    handles: list[object] = []

    def work() -> None:
        pending = alice.commit([Add(package)])
        alice.merge(pending)
        handles.extend((pending, bob.receive(pending.message)))
        bob.merge(handles[-1])  # type: ignore[arg-type]  # it is a staged commit
        joined.append(join(newcomer, pending))
        world.commit(alice, [psk], bob, *joined)

    made = values_made_in(work)[1]
    # A commit without PSKs or without a path has zeros for the secret that they would give.
    passing = [(kind, value) for kind, value in made if kind in PASSING and any(value)]
    assert {kind for kind, _ in passing} == set(PASSING)
    values = {f"{kind.__name__} {number}": value for number, (kind, value) in enumerate(passing)}
    client = world.clients[name]
    live = seized(world, client, [client.group(each) for each in client.groups], handles)
    return {"live": found(values, live, SUITES[1]), "stored": found(values, stored(world, name), SUITES[1])}


@pytest.mark.rfc("R-9.2-02", "R-9.2-07", "R-7.5-16", "N-M10", "B40")
@pytest.mark.parametrize("name", ["member-0", "member-1", "newcomer"])
def test_what_an_epoch_grew_from_is_found_nowhere(name: str) -> None:
    assert passing_through(name) == {"live": set(), "stored": set()}


@pytest.mark.rfc("R-9.2-02", "R-7.5-16", "N-M10")
@pytest.mark.parametrize(("name", "keeper"), [("member-0", "committer"), ("member-1", "receiver")])
def test_what_an_epoch_grew_from_is_found_where_it_is_kept(name: str, keeper: str) -> None:
    with Fault("R-9.2-02", keeper, KEEPERS[keeper]).planted():
        places = passing_through(name)
    assert all(places.values())
