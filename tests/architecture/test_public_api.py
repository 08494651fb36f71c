"""What `from mls import …` offers: few names, each explained."""

from __future__ import annotations

import dataclasses
import inspect
import types

import pytest

import mls
from tests.support.modules import ROOT, is_module

MAX_NAMES = 30
EXPORTED: list[str] = list(getattr(mls, "__all__", []))


def test_the_facade_is_small() -> None:
    assert len(EXPORTED) <= MAX_NAMES


def test_names_are_sorted_and_unique() -> None:
    assert sorted(set(EXPORTED)) == sorted(EXPORTED)
    assert [name for name in EXPORTED if name.startswith("_") and name != "__version__"] == []


@pytest.mark.parametrize(
    ("module", "name"), [("mls.client", "Client"), ("mls.group", "Group"), ("mls.errors", "MLSError")]
)
def test_the_shell_is_exported(module: str, name: str) -> None:
    has_facade = (ROOT / "mls/__init__.py").is_file()
    assert (name in EXPORTED) == (has_facade and is_module(module))


def test_nothing_public_is_left_out() -> None:
    public = {
        name
        for name, value in vars(mls).items()
        if not (name.startswith("_") or isinstance(value, types.ModuleType) or name == "annotations")
    }
    assert public - set(EXPORTED) == set()


def test_each_name_is_explained() -> None:
    assert [name for name in EXPORTED if not is_explained(getattr(mls, name))] == []


def is_explained(value: object) -> bool:
    """Whether a class or function has a docstring of its own; a constant is explained where it stands."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return True
    doc = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    if dataclasses.is_dataclass(value) and doc is not None:
        return not doc.startswith(f"{getattr(value, '__name__', '')}(")  # what @dataclass writes when there is none
    return bool(doc)


def test_each_method_of_the_shell_is_explained() -> None:
    silent = [
        f"{name}.{method}"
        for name in EXPORTED
        if inspect.isclass(getattr(mls, name))
        for method, value in vars(getattr(mls, name)).items()
        if inspect.isroutine(value) and not method.startswith("_") and not value.__doc__
    ]
    assert silent == []
