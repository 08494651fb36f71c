"""Imports point down only, and each foreign library is used in one place."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.modules import CHECKOUT, ENGINE, Import, Module, imports_of, modules

# From the ground up; a module may import from its own row and from those before it.
LAYERS = (
    ("treekem",),
    ("mls.rules", "mls.settings", "mls.errors"),
    ("mls.crypto",),
    ("mls.messages",),
    ("mls.identity", "mls.schedule", "mls.registry"),
    ("mls.epoch",),
    ("mls.arguments", "mls.events", "mls.extensions", "mls.intents", "mls.header", "mls.store", "mls.threads"),
    (
        "mls.client",
        "mls.group",
        "mls.drafting",
        "mls.key_packages",
        "mls.receiving",
        "mls.merging",
        "mls.succession",
        "mls.invitation",
        "mls.joining",
        "mls.outsider",
    ),
    ("mls.observer",),
    ("mls",),  # the façade: it collects the names of the layers below
    ("mls.cli", "mls.__main__"),
)

# Who may import what from outside. Everything else lives on the standard library.
LIBRARIES = {
    "numpy": ("treekem",),
    "numba": ("treekem.kernels",),
    "llvmlite": ("treekem.kernels",),
    "cryptography": ("mls.crypto.primitives", "mls.identity"),
    "cbor2": ("mls.schedule.canonical",),
    "typer": ("mls.cli",),
    "rich": ("mls.cli",),
}


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def height(name: str) -> int | None:
    """Return the layer of a module; `mls` itself is matched by its exact name, as everything lies within it."""
    for rank, row in enumerate(LAYERS):
        if any(name == package or (package != "mls" and is_within(name, package)) for package in row):
            return rank
    return None


def engine_imports(target_is: str | None = None) -> Iterator[tuple[Module, Import]]:
    for module in modules(*ENGINE):
        for imported in imports_of(module):
            if target_is is None or is_within(imported.target, target_is):
                yield module, imported


def test_every_module_has_a_layer() -> None:
    homeless = [module.path for module in modules(*ENGINE) if height(module.name) is None]
    assert homeless == []


def test_imports_point_down() -> None:
    upward = []
    for module, imported in engine_imports():
        here, there = height(module.name), height(imported.target)
        if here is not None and there is not None and there > here:
            upward.append(f"{module.path}:{imported.line} imports {imported.target}")
    assert upward == []


def test_the_tree_never_imports_the_rest() -> None:
    climbing = [
        f"{module.path}:{found.line}" for module, found in engine_imports("mls") if module.path.startswith("treekem/")
    ]
    assert climbing == []


@pytest.mark.parametrize("outside", ["vectors", "bench", "tests"])
def test_the_wheel_stands_without_the_checkout(outside: str) -> None:
    assert [f"{module.path}:{found.line}" for module, found in engine_imports(outside)] == []


def test_each_library_is_imported_where_it_belongs() -> None:
    strays = []
    for module, imported in engine_imports():
        library = imported.target.partition(".")[0]
        if library in sys.stdlib_module_names or library in ENGINE:
            continue
        if not any(is_within(module.name, home) for home in LIBRARIES.get(library, ())):
            strays.append(f"{module.path}:{imported.line} imports {imported.target}")
    assert strays == []


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        module.name: {found.target for found in imports_of(module) if found.is_at_top} - {module.name}
        for module in modules(*CHECKOUT)
    }
    settled: set[str] = set()
    for name in graph:
        verify_acyclic(name, graph, (), settled)


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c", "elsewhere"}, "c": {"b"}}
    with pytest.raises(AssertionError, match="a → b → c → b"):
        verify_acyclic("a", graph, (), set())


def verify_acyclic(name: str, graph: dict[str, set[str]], trail: tuple[str, ...], settled: set[str]) -> None:
    assert name not in trail, f"a circle of imports: {' → '.join((*trail, name))}"
    if name in settled:
        return
    for target in sorted(graph[name] & graph.keys()):
        verify_acyclic(target, graph, (*trail, name), settled)
    settled.add(name)
