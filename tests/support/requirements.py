"""The requirement IDs that a test may carry.

`mls.rules` lists every requirement of RFC 9420. `N-…` names a check beyond the RFC and `S-…` one that follows from a
setting; of these, tests may carry some that no check of the engine bears. `B01` to `B53` are bugs that other
implementations had, `P01` to `P12` attacks that were published: a test shows that the bug is not here, or what the
attack comes to.
"""

from __future__ import annotations

import ast
import re
from functools import cache

from mls.rules import requirements
from tests.support.modules import Module

MAX_IDS_PER_TEST = 5
_LOOKS_LIKE_AN_ID = re.compile(r"[RNS]-[A-Za-z0-9]\S*")
_BEYOND_THE_RFC = re.compile(r"[NS]-[A-Za-z0-9][A-Za-z0-9_.-]*|B(0[1-9]|[1-4][0-9]|5[0-3])|P(0[1-9]|1[0-2])")


@cache
def requirement_ids() -> frozenset[str]:
    """Return the IDs of all requirements of the RFC."""
    return frozenset(rule for rule in requirements() if rule.startswith("R-"))


def section_of(requirement_id: str) -> str:
    """Return the section that a requirement stands in: "12.4.3.1" of "R-12.4.3.1-07", "C" of "R-C-01"."""
    return requirement_id.removeprefix("R-").rpartition("-")[0]


def is_known(rule: str) -> bool:
    """Whether `rule` is a requirement of the RFC, or has the form of an ID beyond it or of a known bug."""
    return rule in requirement_ids() or _BEYOND_THE_RFC.fullmatch(rule) is not None


def cited_ids(module: Module) -> list[str]:
    """Return the IDs that a module names outside of its text, in order."""
    return [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _LOOKS_LIKE_AN_ID.fullmatch(node.value)
    ]


def faults_of_marks(rules: tuple[object, ...]) -> list[str]:
    """Return what is wrong with the IDs that one test carries; nothing when all is well."""
    unknown = [rule for rule in rules if not (isinstance(rule, str) and is_known(rule))]
    faults = [f"{rule!r} is no requirement ID" for rule in unknown]

    if not rules:
        faults.append("an rfc mark names no requirement")
    if len(rules) > MAX_IDS_PER_TEST:
        faults.append(f"{len(rules)} IDs, where {MAX_IDS_PER_TEST} are the most that one test can show")
    if len(set(map(repr, rules))) < len(rules):
        faults.append("an ID is named twice")
    return faults
