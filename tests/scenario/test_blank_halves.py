"""Trees whose left half is blank: truncation only trims the right, so that the root is on nobody's filtered path.

No published vector has this shape. Members join, commit, remove and return in such trees, and after every step the tree
is judged as a joiner does, by the engine, by its slow twin, and by what verifies vectors of tree validation.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mls import Add, Client, Group, Remove, Update
from tests.support.entropy import DeterministicEntropy
from tests.support.world import World, join
from treekem import reference
from treekem.hashing import verify_parent_hashes, verify_tree_structure
from treekem.index import LeafIndex, NodeIndex, direct_path, node_width, root
from treekem.tree import RatchetTree
from vectors.trees import verify_tree_validation

SHAPES = [
    pytest.param(4, (2, 3), id="a half of four"),
    pytest.param(4, (2,), id="one at the start of a half"),
    pytest.param(8, (5,), id="one within a half"),
    pytest.param(8, (6, 7), id="the last quarter"),
    pytest.param(8, (4, 7), id="a half with a gap"),
    pytest.param(16, (9, 14), id="two far apart"),
]
restarts = pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])


def blanked(world: World, n: int, kept: Sequence[int]) -> list[Group]:
    """Return a group of n of which all but a few are removed by one of those, as these hold it."""
    groups = world.group(n)
    for leaf in kept:
        world.commit(groups[leaf], (), *others(groups, groups[leaf]))
    left = [groups[leaf] for leaf in kept]
    gone = [Remove(leaf) for leaf in range(n) if leaf not in kept]
    world.commit(left[-1], gone, *left[:-1])
    return left


def others(groups: Sequence[Group], *without: Group) -> list[Group]:
    return [group for group in groups if all(group is not each for each in without)]


def judge(world: World, groups: Sequence[Group]) -> RatchetTree:
    """Assert that all agree, on a tree that is sound by all who can tell, and that each knows the keys above it."""
    world.agree(*groups)
    suite = groups[0]._standing.state.suite
    tree = RatchetTree.decode(groups[0].ratchet_tree)
    nodes = reference.nodes_of(tree)
    verify_tree_structure(tree, suite)
    verify_parent_hashes(tree, suite)
    reference.verify_parent_hashes(nodes, suite)
    width = [NodeIndex(x) for x in range(node_width(tree.n_leaves))]
    case = {
        "cipher_suite": suite.id,
        "tree": tree.encode().hex(),
        "group_id": groups[0].group_id.hex(),
        "resolutions": [list(reference.resolution(nodes, x)) for x in width],
        "tree_hashes": [reference.tree_hash(nodes, x, suite).hex() for x in width],
    }
    verify_tree_validation(case, DeterministicEntropy(b"none"))
    assert groups[0].tree_hash == reference.tree_hash(nodes, root(tree.n_leaves), suite)
    for group in groups:
        held = group._standing.state.own.private_keys
        assert held.keys() <= {NodeIndex(2 * group.me.leaf), *direct_path(NodeIndex(2 * group.me.leaf), tree.n_leaves)}
        assert all(suite.hpke_public_key(key) == tree.encryption_key(x) for x, key in held.items())
    return tree


def again(world: World, groups: Sequence[Group], *, restarts: bool) -> list[Group]:
    return [world.restart(group) for group in groups] if restarts else list(groups)


def topmost(tree: RatchetTree, leaf: int) -> NodeIndex | None:
    path = tree.filtered_direct_path(LeafIndex(leaf))
    return path[-1][0] if path else None


@restarts
@pytest.mark.parametrize(("n", "kept"), SHAPES)
@pytest.mark.rfc("B20", "R-7.5-12", "R-7.9-02", "R-7.7-04")
def test_members_commit_where_the_left_half_is_blank(n: int, kept: tuple[int, ...], restarts: bool) -> None:
    world = World()
    groups = blanked(world, n, kept)
    tree = judge(world, groups)
    assert (tree.n_leaves, [group.me.leaf for group in groups]) == (n, list(kept))
    for committer in range(len(groups)):
        groups = again(world, groups, restarts=restarts)
        world.commit(groups[committer], (), *others(groups, groups[committer]))
        tree = judge(world, groups)
        assert tree.is_blank(root(n))
        top = topmost(tree, kept[committer])
        if top is not None:
            # Nothing stands above the topmost node of the path, though it is not the root: its parent hash is empty.
            node = tree.parent(top)
            assert node is not None
            assert (top != root(n), node.parent_hash) == (True, b"")
    for speaker in groups:
        for event in world.deliver(speaker.encrypt(b"still here"), *others(groups, speaker)):
            assert getattr(event, "data", None) == b"still here"


@restarts
@pytest.mark.parametrize(("n", "kept"), SHAPES)
@pytest.mark.rfc("B20", "R-12.1.1-03", "R-12.4.3.1-14", "R-12.4.3.1-21")
def test_clients_join_where_the_left_half_is_blank(n: int, kept: tuple[int, ...], restarts: bool) -> None:
    world = World()
    groups = blanked(world, n, kept)
    # By a path, without one, and two at once; each takes the leftmost leaves, and may commit at once.
    for number, (path, names) in enumerate([(True, ("a",)), (False, ("b",)), (None, ("c", "d"))]):
        groups = again(world, groups, restarts=restarts)
        clients = [world.client(f"{name} {number}") for name in names]
        host = groups[number % len(groups)]
        groups += added(world, host, groups, clients, path=path)
        judge(world, groups)
        newest = groups[-1]
        world.commit(newest, (), *others(groups, newest))
        judge(world, groups)
    free = [leaf for leaf in range(n) if leaf not in kept] + list(range(n, n + 4))
    assert [group.me.leaf for group in groups[len(kept) :]] == free[:4]


def added(
    world: World, host: Group, groups: Sequence[Group], clients: Sequence[Client], *, path: bool | None
) -> list[Group]:
    pending = world.commit(host, [Add(client.key_package()) for client in clients], *others(groups, host), path=path)
    return [join(client, pending) for client in clients]


@restarts
@pytest.mark.parametrize(("n", "kept"), [(8, (4, 5, 6, 7)), (8, (4, 6, 7)), (16, (8, 11, 13, 15))])
@pytest.mark.rfc("B20", "R-12.1.3-03", "R-12.1.3-04", "R-7.7-05", "R-12.4.2-23")
def test_members_go_where_the_left_half_is_blank(n: int, kept: tuple[int, ...], restarts: bool) -> None:
    world = World()
    groups = blanked(world, n, kept)
    # From the left, so that the tree stays as wide, then from the right, until one is left.
    for position in (0, *([-1] * (len(kept) - 2))):
        groups = again(world, groups, restarts=restarts)
        leaver = groups[position]
        rest = others(groups, leaver)
        host = rest[0]
        world.commit(host, [Remove(leaver.me)], leaver, *others(rest, host))
        assert leaver.is_retired
        judge(world, rest)
        for committer in rest:
            world.commit(committer, (), *others(rest, committer))
            judge(world, rest)
        groups = rest
    (last,) = groups
    assert last.me.leaf == kept[1]
    # A sole member anywhere has nobody to seal to; whoever comes next fills the left.
    world.commit(last)
    judge(world, [last])
    newcomer = world.add(last, world.client("newcomer"))
    assert newcomer[0].me.leaf == 0
    world.commit(newcomer[0], (), last)
    judge(world, [last, *newcomer])


@pytest.mark.parametrize("suite", [2, 4])
@pytest.mark.parametrize(("n", "kept"), [(4, (2, 3)), (8, (4, 7))])
@pytest.mark.rfc("B20", "R-12.4.3.2-08", "R-12.1.2-04", "B28")
def test_updates_and_external_commits_where_the_left_half_is_blank(suite: int, n: int, kept: tuple[int, ...]) -> None:
    world = World(suite, external_commits=True, resync=True)
    groups = blanked(world, n, kept)
    sent = groups[0].propose(Update())
    world.deliver(sent.message, groups[1])
    world.commit(groups[1], (), groups[0])
    judge(world, groups)
    # One joins from outside at the leftmost leaf. One who was there replaces its own, but stands further left from then
    # on: its new leaf is chosen as for an Add, once the old one is blank.
    commit = world.client("outsider").join_external(groups[0].group_info())
    world.deliver(commit.message, *groups)
    groups.append(commit.accept())
    judge(world, groups)
    assert groups[-1].me.leaf == 0
    lost = groups[1]
    returning = world.clients[world.name_of(lost)].join_external(groups[0].group_info(), resync=True)
    inside = others(groups, lost)
    world.deliver(returning.message, *inside)
    groups = [*inside, returning.accept()]
    judge(world, groups)
    assert groups[-1].me.leaf == 1
    assert [member.leaf for member in groups[0].members] == [0, 1, kept[0]]
