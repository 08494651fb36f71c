"""Budgets are those that were set, each is held against a measurement, and one exceeded is the end of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.check import BUDGETS, Budget, line, read_budgets
from bench.importing import import_ratio, needed_imports
from treekem.kernels import sha2_instructions

SMALL = """
[[budget]]
what = "encrypt"
measure = "ratio"
operation = "encrypt 100 bytes"
members = 2
at_most = {ratio}

[[budget]]
what = "create"
measure = "growth"
operation = "create commit"
members = 32
than = 16
at_most = {growth}
"""


def run(path: Path, text: str) -> tuple[int, str, dict[str, object]]:
    path.joinpath("budgets.toml").write_text(text, encoding="utf-8")
    options = ["--budgets", str(path / "budgets.toml"), "--cache", str(path), "--json", str(path / "found.json")]
    ran = CliRunner().invoke(app, ["check", *options])
    return ran.exit_code, ran.output, json.loads((path / "found.json").read_text())


@pytest.mark.slow
def test_budgets_that_are_met_are_reported(tmp_path: Path) -> None:
    code, output, found = run(tmp_path, SMALL.format(ratio=1000, growth=1000))
    assert code == 0, output
    assert "2 budgets, all met" in output
    assert isinstance(found["budgets"], list)
    assert all(each["met"] and each["found"] > 0 for each in found["budgets"])


def test_one_budget_exceeded_fails_the_command(tmp_path: Path) -> None:
    code, output, found = run(tmp_path, SMALL.format(ratio=1000, growth=0.001))
    assert code == 1
    assert "2 budgets, 1 exceeded" in output
    assert output.count("EXCEEDED") == 1
    assert isinstance(found["budgets"], list)
    assert [each["met"] for each in found["budgets"]] == [True, False]


def test_budgets_are_those_that_were_set() -> None:
    budgets = {(each.measure, each.operation, each.tree, each.members): each for each in read_budgets(BUDGETS)}
    most = {key: budget.at_most for key, budget in budgets.items() if budget.at_most is not None}
    million = 2**20
    assert most == {
        ("ratio", "create commit", "warm", million): 1.4,
        ("growth", "create commit", "warm", million): 2.5,
        ("ratio", "process commit (sibling)", "warm", million): 1.6,
        ("growth", "process commit (sibling)", "warm", million): 2.5,
        ("ratio", "process commit (far)", "warm", million): 2.0,
        ("growth", "process commit (far)", "warm", million): 2.5,
        ("ratio", "create commit", "bare", 10_000): 1.25,
        ("workers", "create commit", "bare", 10_000): 0.9,
        ("ratio", "bulk add", "warm", 10_001): 1.5,
        ("growth", "bulk add", "warm", 20_001): 2.2,
        ("ratio", "join (tree inside)", "warm", 10_000): 1.3,
        ("ratio", "join (tree inside)", "warm", 100_000): 1.3,
        ("growth", "join (tree inside)", "warm", 100_000): 11,
        ("hashing", "bare hashlib calls", "warm", 131_072): 1.2,
        ("ratio", "encrypt 100 bytes", "warm", 2): 1.8,
        ("ratio", "encrypt 100 bytes", "warm", million): 1.8,
        ("ratio", "decrypt 100 bytes", "warm", 2): 1.5,
        ("ratio", "decrypt 100 bytes", "warm", million): 1.5,
        ("memory", "", "warm", million): 700,
        ("import", "", "warm", 0): 2.5,
    }
    least = {key[1]: budget.at_least for key, budget in budgets.items() if budget.at_least is not None}
    assert least == {"kernel, one core": 3, "kernel, 2 cores": 1.7}


@pytest.mark.parametrize(("value", "met"), [(1.4, True), (1.41, False)])
def test_a_budget_is_the_most(value: float, met: bool) -> None:
    budget = Budget("a commit", "ratio", at_most=1.4)
    assert budget.is_met(value) is met
    assert line(budget, value).endswith("ok" if met else "EXCEEDED")


@pytest.mark.parametrize(("instructions", "met"), [(True, False), (False, True)])
def test_what_counts_on_instructions_asks_for_less_without(
    instructions: bool, met: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sha2_instructions, "HAS_SHA_INSTRUCTIONS", instructions)
    assert Budget("hash", "hashing", at_least=3, at_least_without_instructions=1).is_met(2.0) is met


def test_importing_is_compared_with_what_is_needed() -> None:
    assert needed_imports().startswith("import dataclasses; from cryptography.exceptions import ")
    assert "AESGCM" in needed_imports()
    assert import_ratio(pairs=1) > 1
