"""The IDs of rules: those that the engine cites exist, and the list of them is what it is said to be."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.modules import ENGINE, Module, modules
from tests.support.requirements import faults_of_marks, is_known, requirement_ids, section_of

LOOKS_LIKE_AN_ID = re.compile(r"[RNS]-[A-Z0-9]\S*")


def cited_ids(module: Module) -> list[str]:
    return [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and LOOKS_LIKE_AN_ID.fullmatch(node.value)
    ]


def test_the_list_is_whole() -> None:
    assert len(requirement_ids()) == 639
    assert {section_of(rule) for rule in ("R-2-01", "R-12.4.3.3-01", "R-C-01")} == {"2", "12.4.3.3", "C"}


def test_the_engine_cites_known_rules() -> None:
    unknown = [
        f"{module.path}: {rule}" for module in modules(*ENGINE) for rule in cited_ids(module) if not is_known(rule)
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        (("R-2.1-01", "N-M01a", "S-max_leaves"), None),
        (("B01", "B53"), None),
        (("B54",), "no requirement ID"),
        (("R-2.1-99",), "no requirement ID"),
        (("12.2",), "no requirement ID"),
        ((7,), "no requirement ID"),
        ((), "names no requirement"),
        (tuple(f"R-2.1-0{i}" for i in range(1, 7)), "6 IDs"),
        (("R-2.1-01", "R-2.1-01"), "twice"),
    ],
)
def test_marks_are_checked(rules: tuple[object, ...], fault: str | None) -> None:
    faults = faults_of_marks(rules)
    if fault is None:
        assert faults == []
    else:
        assert len(faults) == 1
        assert fault in faults[0]
