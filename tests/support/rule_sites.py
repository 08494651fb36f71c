"""Watches the engine's rules: which of them hold, and which are let pass.

Every rule goes through `require`, and all that the codec finds out through the traced reader's own, so these two have
their code swapped while a watch lasts: production code knows nothing of it. `refuse` stands where a rule is known to be
broken, so a rule that is named there held when the function around it returns.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import types
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from tests.support.modules import ENGINE, Module, modules
from tests.support.planting import Edit, compiled, function_behind, source_of, swapped
from treekem.rules import require
from treekem.wire.traced_reader import TracedReader

T = TypeVar("T")

_NAME = "_watched_rules"
_NOTED_REQUIRE = (
    "    if not condition:",
    f"    if condition:\n        {_NAME}.held.add(rule)\n    elif rule not in {_NAME}.passing:",
)
_NOTED_READER = (
    "    if condition:\n",
    f"    if condition:\n        {_NAME}.held.add(rule)\n",
)


@dataclass
class Watch:
    """What has become of the rules since `held` was last cleared, and the rules that refuse nothing."""

    held: set[str] = field(default_factory=set)
    passing: frozenset[str] = frozenset()

    def returned(self, value: T, *rules: str) -> T:
        """Note rules that held, for a function returns."""
        self.held.update(rules)
        return value


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Tell `watch` of rules that hold, and let pass what it lets pass, within the `with` statement."""
    with ExitStack() as stack:
        stack.enter_context(_known_to_the_engine(watch))
        stack.enter_context(Edit(require, *_NOTED_REQUIRE).planted())
        stack.enter_context(Edit(TracedReader._require, *_NOTED_READER).planted())
        for target in refusing_functions():
            stack.enter_context(swapped(target, _noting(target)))
        yield


@cache
def refusing_functions() -> tuple[types.FunctionType, ...]:
    """Return the functions of the engine that call `refuse`."""
    return tuple(function for module in modules(*ENGINE) for function in _refusing_in(module))


def _refusing_in(module: Module) -> Iterator[types.FunctionType]:
    if module.name == require.__module__ or not _refused_rules(module.tree):
        return
    yield from _refusing_among(module.tree.body, vars(importlib.import_module(module.name)))


def _refusing_among(body: list[ast.stmt], members: Mapping[str, object]) -> Iterator[types.FunctionType]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef) and _refused_rules(statement):
            yield function_behind(members[statement.name])
        elif isinstance(statement, ast.ClassDef):
            yield from _refusing_among(statement.body, vars(members[statement.name]))


def _refused_rules(tree: ast.AST) -> list[str]:
    """Return the rules that calls of `refuse` name."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [node.args for node in calls if isinstance(node.func, ast.Name) and node.func.id == "refuse"]
    return [str(arguments[1].value) for arguments in named if isinstance(arguments[1], ast.Constant)]


@cache
def _noting(function: types.FunctionType) -> types.CodeType:
    module = ast.parse(source_of(function))
    rules = _refused_rules(module)
    _Returns(rules).visit(module)
    (definition,) = module.body
    if not isinstance(definition, ast.FunctionDef):
        raise TypeError(f"{function.__qualname__} is no plain function")
    definition.body.append(ast.Return(value=_note(ast.Constant(value=None), rules)))
    return compiled(function, module)


class _Returns(ast.NodeTransformer):
    """Has every `return` note rules on its way."""

    def __init__(self, rules: list[str]) -> None:
        self._rules = rules

    def visit_Return(self, node: ast.Return) -> ast.Return:
        value = node.value or ast.Constant(value=None)
        return ast.copy_location(ast.Return(value=_note(value, self._rules)), node)


def _note(value: ast.expr, rules: list[str]) -> ast.Call:
    function = ast.parse(f"{_NAME}.returned", mode="eval").body
    return ast.Call(func=function, args=[value, *(ast.Constant(value=rule) for rule in rules)], keywords=[])


@contextmanager
def _known_to_the_engine(watch: Watch) -> Iterator[None]:
    before = vars(builtins).get(_NAME)
    setattr(builtins, _NAME, watch)
    try:
        yield
    finally:
        if before is None:
            delattr(builtins, _NAME)
        else:
            setattr(builtins, _NAME, before)
