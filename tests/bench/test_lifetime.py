"""A group's lifetime is the same each time but for seconds, and policies differ as they must."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.lifetime import Row, TreeShape, simulate, summary_of
from bench.lifetime_policies import Model, policy_named
from tests.support.tree_group import TreeGroup

SMALL = Model(n_members=9, n_epochs=8, joins=0.7, leaves=0.5, seed=8)
POLICIES = ("never", "changes", "newcomer", "always", "oldest", "every=4", "chance=0.3", "batch=4")


def rows_of(model: Model, *policies: str, suite: int = 1) -> dict[str, list[Row]]:
    rows = simulate(model, {name: policy_named(name) for name in policies}, suite, lambda _: None)
    return {name: [row for row in rows if row.policy == name] for name in policies}


@pytest.fixture(scope="module")
def small() -> dict[str, list[Row]]:
    return rows_of(SMALL, *POLICIES)


def timeless(row: Row) -> Row:
    return replace(row, create=0, process=0, join_seconds=None, unit_seconds=0)


def test_a_seed_gives_everything_but_seconds(small: dict[str, list[Row]]) -> None:
    again = rows_of(SMALL, "chance=0.3")
    assert list(map(timeless, again["chance=0.3"])) == list(map(timeless, small["chance=0.3"]))
    other = rows_of(replace(SMALL, seed=9), "chance=0.3")
    assert list(map(timeless, other["chance=0.3"])) != list(map(timeless, small["chance=0.3"]))


def test_all_policies_see_the_same_members(small: dict[str, list[Row]]) -> None:
    days = list(SMALL.days())
    n_members = SMALL.n_members
    for day in days:
        n_members += len(day.joining) - len(day.leaving)
        for name in set(POLICIES) - {"batch=4"}:
            row = small[name][day.epoch]
            assert (row.members, row.joined, row.left) == (n_members, len(day.joining), len(day.leaving))
    assert small["batch=4"][-1].members == n_members
    assert sum(len(day.joining) for day in days) > 3
    assert sum(len(day.leaving) for day in days) > 2


def test_who_commits_when(small: dict[str, list[Row]]) -> None:
    days = list(SMALL.days())
    for name in ("never", "changes"):
        assert [row.commit_bytes > 0 for row in small[name]] == [bool(day.joining or day.leaving) for day in days]
    for name in ("always", "oldest"):
        assert all(row.commit_bytes > 0 for row in small[name])
    assert [row.epoch for row in small["batch=4"] if row.commit_bytes] == [3, 7]
    assert all(row.updates == 0 for name in POLICIES[:5] for row in small[name])
    assert all((row.proposal_bytes > 0) == (row.updates > 0) for name in POLICIES for row in small[name])
    assert sum(row.updates for row in small["every=4"]) > 6
    assert {
        (row.welcome_bytes > 0) == (row.joined > 0) == (row.join_seconds is not None) for row in small["never"]
    } == {True}


def test_keys_are_as_old_as_the_policy_lets_them_be(small: dict[str, list[Row]]) -> None:
    assert small["never"][-1].max_exposure == SMALL.n_epochs - 1
    assert max(row.max_exposure for row in small["every=4"]) < 4
    for name in ("changes", "always", "oldest", "every=4", "chance=0.3"):
        assert mean(row.median_exposure for row in small[name]) < mean(row.median_exposure for row in small["never"])
    assert all(row.unmerged == 0 or row.joined > 0 for row in small["newcomer"])


def test_a_path_is_left_out_where_nobody_wants_one(small: dict[str, list[Row]]) -> None:
    for row in small["never"]:
        if row.joined and not row.left:
            assert row.encryptions == row.joined
    assert any(row.joined and not row.left for row in small["never"])
    for row in small["changes"]:
        assert row.commit_bytes == 0 or row.encryptions > row.joined


def test_growing_without_paths_makes_later_paths_long() -> None:
    """Newcomers whom nobody merged cost an encryption each, in the bytes of whoever sends a path at last."""
    growing = Model(n_members=9, n_epochs=7, joins=1, leaves=0)
    rows = rows_of(growing, "never", "always")
    merged, unmerged = rows["always"], rows["never"]
    assert [row.unmerged for row in unmerged] == [1, 2, 3, 4, 5, 6, 7]
    assert all(row.unmerged < 3 for row in merged)
    assert unmerged[-1].path_encryptions > 1.5 * merged[-1].path_encryptions
    assert unmerged[-1].welcome_bytes > unmerged[0].welcome_bytes


def test_updates_by_proposal_blank_the_paths_above_them() -> None:
    still = Model(n_members=16, n_epochs=4, joins=0, leaves=0)
    rows = rows_of(still, "never", "always", "every=4")
    assert {row.commit_bytes for row in rows["never"]} == {0}
    assert {row.blank_parents for row in rows["always"]} == {0}
    assert {row.path_encryptions for row in rows["always"]} == {4}
    assert len({row.commit_bytes for row in rows["always"]}) == 1
    for row in rows["every=4"]:
        assert row.updates == 3
        assert row.blank_parents > 0
        assert row.encryptions > 4
        assert row.commit_bytes > rows["always"][0].commit_bytes


def test_what_a_tree_amounts_to_is_what_its_resolutions_say() -> None:
    random = Random(1)
    group = TreeGroup.of_size(11)
    for _ in range(12):
        match random.randrange(3):
            case 0:
                group.add()
            case 1:
                group.remove(random.choice(group.members))
            case _:
                group.commit(random.choice(group.members))
        group.partial_commit()
        tree = group.tree
        paths = [
            sum(len(tree.resolution(beside)) for _, beside in tree.filtered_direct_path(leaf)) for leaf in group.members
        ]
        shape = TreeShape.of(tree)
        assert shape.path_encryptions == mean(paths)
        assert shape.unmerged == sum(len(node.unmerged_leaves) for _, node in tree.parents())


def test_a_group_of_another_suite_and_an_odd_size() -> None:
    (row,) = rows_of(Model(3, 1, joins=2, leaves=1), "always", suite=2)["always"]
    assert (row.members, row.joined, row.left) == (4, 2, 1)


@pytest.mark.parametrize("name", ["", "sometimes", "every", "every=0", "every=x", "chance=0", "chance=2", "never=3"])
def test_what_is_no_policy_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=repr(name)):
        policy_named(name)


def test_the_command(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = tmp_path / "lifetime.json", tmp_path / "lifetime.svg"
    options = ["--members", "5", "--epochs", "6", "--policies", "always,batch=3", "--joins", "1"]
    result = CliRunner().invoke(app, ["lifetime", *options, "--json", str(files[0]), "--plot", str(files[1])])
    assert result.exit_code == 0, result.output
    kept = json.loads(files[0].read_text())
    rows = [Row(**row) for row in kept["rows"]]
    assert [(row.policy, row.epoch) for row in rows] == [(name, e) for name in ("always", "batch=3") for e in range(6)]
    assert summary_of(rows) in result.output
    drawing = files[1].read_text()
    assert all(text in drawing for text in ("always", "batch=3", "median age of members"))
    assert CliRunner().invoke(app, ["lifetime", "--policies", "sometimes"]).exit_code == 2
