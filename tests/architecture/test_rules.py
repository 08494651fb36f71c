"""Rules and their IDs: those that the engine cites exist, the list is whole, and every check goes through `require`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from mls import errors
from tests.support.modules import ENGINE, modules
from tests.support.requirements import cited_ids, faults_of_marks, is_known, requirement_ids, section_of

# The errors that judge input. An AssertionError is our own fault, a StorageError the disk's, a UsageError the caller's:
# the last two may be raised where they stand, unless they name a rule.
JUDGEMENTS = (
    errors.InvalidMessage,
    errors.MalformedMessage,
    errors.Refused,
    errors.UnavailableSecret,
    errors.Unsupported,
    errors.WrongEpoch,
    errors.WrongGroup,
)
NAMES_OF_JUDGEMENTS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, JUDGEMENTS)
}
RAISES_BY_ITSELF = {
    "treekem/errors.py": "defines the errors, and hands the rule up to their base",
    "treekem/rules.py": "is what all others go through",
    "treekem/wire/": "the generated codec raises by itself, and is compiled without a check to let that pass",
}


def is_relayed(rule: ast.expr) -> bool:
    """Whether a rule is that of another error: it is raised again with its place, and went through `require` before."""
    return isinstance(rule, ast.Attribute) and rule.attr == "rule"


def own_judgements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield where an error that judges input is made or raised, a rule is handed to one, or one is given a rule."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), keywords=keywords):
                rules = [keyword.value for keyword in keywords if keyword.arg == "rule"]
                if any(not is_relayed(rule) for rule in rules) or (name in NAMES_OF_JUDGEMENTS and not rules):
                    yield node
            case ast.Raise(exc=ast.Name(id=name) | ast.Attribute(attr=name)) if name in NAMES_OF_JUDGEMENTS:
                yield node
            case ast.Attribute(attr="rule", ctx=ast.Store()):
                yield node


def test_every_check_goes_through_require() -> None:
    direct = [
        f"{module.path}:{getattr(node, 'lineno', 1)}"
        for module in modules(*ENGINE)
        if not module.path.startswith(tuple(RAISES_BY_ITSELF))
        for node in own_judgements(module.tree)
    ]
    assert direct == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('require(x, InvalidCommit, "R-12.4-08", "no path")', 0),
        ("raise InvalidKey(error.message, code=error.code, rule=error.rule) from error", 0),
        ('raise UsageError("a message is bytes")', 0),
        ("raise", 0),
        ("try:\n    f()\nexcept InvalidKey:\n    g()", 0),
        ('raise InvalidCommit("no path")', 1),
        ("raise errors.WrongEpoch", 1),
        ('error = InvalidCommit("no path", rule="R-12.4-08")', 1),
        ('raise errors.Refused("no")', 1),
        ('raise UsageError("no path", rule="R-12.4-08")', 1),
        ('raise error("no path", rule=rule)', 1),
        ('error.rule = "R-12.4-08"', 1),
    ],
)
def test_a_check_of_its_own_is_found(source: str, found: int) -> None:
    assert len(list(own_judgements(ast.parse(source)))) == found


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
        (("B01", "B53", "P01", "P12"), None),
        (("P13",), "no requirement ID"),
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
