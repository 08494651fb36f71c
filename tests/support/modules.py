"""The project's own modules, parsed: what the architecture tests look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ("treekem", "mls")
CHECKOUT = (*ENGINE, "vectors", "bench", "tests")


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file: `name` as imported, `path` from the root of the checkout."""

    name: str
    path: str
    source: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether this is an `__init__.py`."""
        return self.path.endswith("/__init__.py")


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module: `target` is its full name, `line` where, `is_at_top` whether it runs with the module."""

    target: str
    line: int
    is_at_top: bool


@cache
def modules(*packages: str) -> tuple[Module, ...]:
    """Return the modules of these packages, in the order of their paths."""
    paths = sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))
    return tuple(_parse(path.relative_to(ROOT)) for path in paths)


def imports_of(module: Module) -> Iterator[Import]:
    """Yield every import, of a whole module or of names in it; relative ones are resolved."""
    at_top = {id(statement) for statement in module.tree.body}
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                targets = [alias.name for alias in names]
            case ast.ImportFrom(module=base, names=names, level=level):
                targets = _targets(module, base or "", [alias.name for alias in names], level)
            case _:
                continue
        yield from (Import(target, node.lineno, id(node) in at_top) for target in targets)


def functions_of(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method, nested ones too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_module(name: str) -> bool:
    """Whether a module or package of the checkout has this name."""
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def _parse(path: Path) -> Module:
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    source = (ROOT / path).read_text(encoding="utf-8")
    return Module(name, path.as_posix(), source, ast.parse(source, filename=str(path)))


def _targets(module: Module, base: str, names: list[str], level: int) -> list[str]:
    if level:
        parts = module.name.split(".")
        depth = len(parts) - level + module.is_package
        base = ".".join([*parts[:depth], *([base] if base else [])])

    # `from package import name` imports a module when the package holds one of that name.
    return [f"{base}.{name}" if is_module(f"{base}.{name}") else base for name in names]
