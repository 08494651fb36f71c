"""The rules of style that a linter does not know."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

import pytest

from tests.support.modules import CHECKOUT, ENGINE, ROOT, Module, functions_of, imports_of, modules

MAX_LINES_OF_MODULE = 500
MAX_LINES_OF_FUNCTION = 40
MAX_NESTING = 3

# Below the shell time and randomness are arguments, and nothing speaks to the outside.
PURE = ("treekem/", "mls/crypto/", "mls/messages/", "mls/schedule/", "mls/identity/", "mls/epoch/")
IMPURE_MODULES = {"logging", "random", "secrets", "socket", "sqlite3", "tempfile", "time", "uuid", "warnings"}
IMPURE_BUILTINS = {"input", "open", "print"}
IMPURE_CALLS = {
    "generate_private_key",
    "getenv",
    "getrandbits",
    "now",
    "randbytes",
    "read_bytes",
    "read_text",
    "today",
    "token_bytes",
    "urandom",
    "utcnow",
    "write_bytes",
    "write_text",
}

# Spelt apart, so that this file may be searched for them too.
UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|XX" + "X|NotImplemented" + "Error")
MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.])/" + "(work|farm|root|home|tmp|opt)/")

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def places(found: Sequence[tuple[Module, ast.AST]]) -> list[str]:
    return [f"{module.path}:{getattr(node, 'lineno', 1)}" for module, node in found]


def is_pure(module: Module) -> bool:
    return module.path.startswith(PURE)


def calls_of(module: Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                yield name, node


def is_impure(name: str, call: ast.Call) -> bool:
    """Whether a call reaches outside.

    A method called `open` opens a ciphertext, the built-in function a file. A library that generates keys from nothing
    draws its own randomness; what is generated from an argument does not.
    """
    is_builtin = isinstance(call.func, ast.Name) and name in IMPURE_BUILTINS
    is_drawn = name == "generate" and not (call.args or call.keywords)
    return name in IMPURE_CALLS or is_builtin or is_drawn


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function, from its `def` on, without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def nesting_of(statement: ast.AST) -> int:
    """Return how many blocks stand inside one another; `elif` goes on with its `if`, a function starts afresh."""
    deepest = 0
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        is_elif = isinstance(statement, ast.If) and isinstance(child, ast.If) and statement.orelse == [child]
        deepest = max(deepest, nesting_of(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def test_nesting_is_counted_as_meant() -> None:
    source = "def f(x):\n if x:\n  for y in x:\n   pass\n elif y:\n  pass\n elif z:\n  while z:\n   with z: pass"
    function = ast.parse(source).body[0]
    assert nesting_of(function) == 3


def test_modules_are_short() -> None:
    long = [module.path for module in modules(*CHECKOUT) if module.source.count("\n") > MAX_LINES_OF_MODULE]
    assert long == []


def test_functions_are_short() -> None:
    long = [
        f"{module.path}:{function.lineno} {function.name} has {length_of(function)} lines"
        for module in modules(*CHECKOUT)
        for function in functions_of(module)
        if length_of(function) > MAX_LINES_OF_FUNCTION
    ]
    assert long == []


def test_blocks_are_shallow() -> None:
    deep = [
        f"{module.path}:{function.lineno} {function.name} nests {nesting_of(function)} deep"
        for module in modules(*CHECKOUT)
        for function in functions_of(module)
        if nesting_of(function) > MAX_NESTING
    ]
    assert deep == []


def test_only_the_command_line_prints() -> None:
    loud = [
        (module, call)
        for module in modules(*ENGINE)
        for name, call in calls_of(module)
        if name == "print" and not module.path.startswith("mls/cli/")
    ]
    assert places(loud) == []


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE_PATH], ids=["unfinished", "machine-path"])
def test_nothing_is_left_lying_about(pattern: re.Pattern[str]) -> None:
    texts = {module.path: module.source for module in modules(*CHECKOUT)}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), ROOT / ".ci/run")}
    left = [
        f"{path}:{number}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert left == []


def test_time_and_randomness_are_arguments_below_the_shell() -> None:
    imported = [
        f"{module.path}:{found.line} imports {found.target}"
        for module in modules(*ENGINE)
        for found in imports_of(module)
        if is_pure(module) and found.target.partition(".")[0] in IMPURE_MODULES
    ]
    called = [
        f"{module.path}:{call.lineno} calls {name}"
        for module in modules(*ENGINE)
        for name, call in calls_of(module)
        if is_pure(module) and is_impure(name, call)
    ]
    assert imported + called == []


def test_secrets_are_compared_in_one_place() -> None:
    strays = [
        (module, call)
        for module in modules(*ENGINE)
        for name, call in calls_of(module)
        if name in {"compare_digest", "bytes_eq"} and module.path != "treekem/secrets.py"
    ]
    assert places(strays) == []


def test_verifiers_raise_and_return_nothing() -> None:
    answering = [
        (module, function)
        for module in modules(*ENGINE)
        for function in functions_of(module)
        if function.name.startswith("verify_") and any(returns_a_value(node) for node in ast.walk(function))
        if function.name != "verify_mac"  # a predicate: its callers each refuse a wrong tag by a rule of their own
    ]
    assert places(answering) == []


def returns_a_value(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) and node.value is not None
