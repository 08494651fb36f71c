"""Faults that can be planted in the engine while a test runs, and dug up again.

A fault says which requirement it breaks, in a line how, and by which changes:

    Fault("R-8.1-02", "the joiner secret has another label", Edit(derive_secret, 'b"joiner"', 'b"other"'))

An `Edit` replaces text in the source of one function and swaps the function's code in place, so that it works whoever
has imported the name, and production code contains nothing for it. A change that fits no more raises `Stale`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from mls.epoch import leaves
from treekem.wire import codec, decoder, encoder, shapes


class Stale(Exception):
    """A change that does not fit the engine any more."""


class Change(Protocol):
    """One thing that is broken within a `with` statement."""

    def planted(self) -> AbstractContextManager[None]:
        """Break it, then mend it."""


@dataclass(frozen=True, init=False)
class Fault:
    """Breaks what `rules` ask for, in the way that `what` tells."""

    rules: tuple[str, ...]
    what: str
    changes: tuple[Change, ...]

    def __init__(self, rules: str | tuple[str, ...], what: str, *changes: Change) -> None:
        object.__setattr__(self, "rules", (rules,) if isinstance(rules, str) else rules)
        object.__setattr__(self, "what", what)
        object.__setattr__(self, "changes", changes)

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Break the engine, then mend it. Raises Stale."""
        if any(isinstance(change, Fault) for change in self.changes):
            # A fault can be planted like a change, but its own rules would be forgotten.
            raise Stale(f"{self.what}: another fault stands within it")
        edited = [function_behind(change.target) for change in self.changes if isinstance(change, Edit)]
        if len(set(edited)) < len(edited):
            # Each edit starts from the source, so that the second one would undo the first.
            raise Stale(f"{self.what}: two edits of one function")
        with ExitStack() as stack:
            for change in self.changes:
                stack.enter_context(change.planted())
            stack.enter_context(_forgotten_codec())
            yield


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which stands in the source of `target` exactly once, by `new`.

    `target` is a function, or what stands for one: a method, class method, property or cached function.
    """

    target: object
    old: str
    new: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        function = function_behind(self.target)
        source = source_of(function)
        count = source.count(self.old)
        if count != 1:
            raise Stale(f"{function.__qualname__} contains {self.old!r} {count} times")
        module = ast.parse(source.replace(self.old, self.new))
        if _body(module) == _body(ast.parse(source)):
            raise Stale(f"{function.__qualname__}: the edit of {self.old!r} changes nothing that runs")
        changed = compiled(function, module)
        with swapped(self.target, changed):
            yield


@dataclass(frozen=True)
class Constant:
    """Gives a name of a module or a class another value; whoever has imported the name keeps the old one."""

    owner: Any
    name: str
    value: object

    @contextmanager
    def planted(self) -> Iterator[None]:
        if self.name not in vars(self.owner):
            raise Stale(f"{self.owner} has no {self.name}")
        before = vars(self.owner)[self.name]
        setattr(self.owner, self.name, self.value)
        try:
            yield
        finally:
            setattr(self.owner, self.name, before)


@dataclass(frozen=True)
class Item:
    """Gives a key of a table another value."""

    table: Any
    key: object
    value: object

    @contextmanager
    def planted(self) -> Iterator[None]:
        if self.key not in self.table:
            raise Stale(f"the table has no {self.key!r}")
        before = self.table[self.key]
        self.table[self.key] = self.value
        try:
            yield
        finally:
            self.table[self.key] = before


@dataclass(frozen=True)
class Default:
    """Gives a parameter of a function, or a field of a dataclass, another default."""

    target: object
    name: str
    value: object

    @contextmanager
    def planted(self) -> Iterator[None]:
        initialiser = vars(self.target)["__init__"] if isinstance(self.target, type) else self.target
        function = function_behind(initialiser)
        parameter = inspect.signature(function).parameters.get(self.name)
        if parameter is None or parameter.default is inspect.Parameter.empty:
            raise Stale(f"{function.__qualname__} has no default of {self.name}")
        named, placed = function.__kwdefaults__, function.__defaults__
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            function.__kwdefaults__ = {**(named or {}), self.name: self.value}
        else:
            with_default = [p.name for p in inspect.signature(function).parameters.values() if _is_placed_default(p)]
            values = dict(zip(with_default, placed or (), strict=True)) | {self.name: self.value}
            function.__defaults__ = tuple(values.values())
        try:
            yield
        finally:
            function.__kwdefaults__, function.__defaults__ = named, placed


@dataclass(frozen=True)
class Layout:
    """Gives the fields of a wire struct another order, a subset of them, or other types."""

    kind: type
    order: tuple[str, ...] = ()
    types: tuple[tuple[str, object], ...] = ()

    @contextmanager
    def planted(self) -> Iterator[None]:
        shape = shapes.shape_of(self.kind)
        if not isinstance(shape, shapes.StructShape):
            raise Stale(f"{self.kind.__name__} is no struct")
        before = shape.fields
        fields = dict(before)
        strangers = [name for name in (*self.order, *dict(self.types)) if name not in fields]
        if strangers:
            raise Stale(f"{self.kind.__name__} has no {strangers}")
        fields |= {name: shapes.shape_of(annotation) for name, annotation in self.types}
        order = self.order or tuple(fields)
        object.__setattr__(shape, "fields", tuple((name, fields[name]) for name in order))
        try:
            yield
        finally:
            object.__setattr__(shape, "fields", before)


def function_behind(target: object) -> types.FunctionType:
    """Return the function whose code runs when `target` is called or read. Raises Stale."""
    if isinstance(target, property):
        target = target.fget
    elif isinstance(target, cached_property):
        target = target.func
    target = inspect.unwrap(target) if callable(target) else target
    target = getattr(target, "__func__", target)
    if not isinstance(target, types.FunctionType):
        raise Stale(f"{target!r} is no function")
    return target


def source_of(function: types.FunctionType) -> str:
    """Return the text of a function, without the indentation of where it stands."""
    return textwrap.dedent(inspect.getsource(function))


def compiled(function: types.FunctionType, module: ast.Module) -> types.CodeType:
    """Return the code of the one function that `module` defines, fit to replace that of `function`. Raises Stale."""
    (definition,) = module.body
    if not isinstance(definition, ast.FunctionDef):
        raise Stale(f"{function.__qualname__} is no plain function")
    definition.decorator_list = []
    # Under a name of its own a function that calls itself goes on finding itself in its module.
    definition.name = "changed"
    ast.increment_lineno(definition, function.__code__.co_firstlineno - 1)

    # A closure keeps its cells, so that the names of its cells must be free in the new code as well.
    free = function.__code__.co_freevars
    names = ast.arguments(
        posonlyargs=[], args=[ast.arg(arg=name) for name in free], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    around = ast.FunctionDef(name="around", args=names, body=[definition], decorator_list=[])
    whole = ast.fix_missing_locations(ast.Module(body=[around], type_ignores=[]))
    code = _inner(_inner(compile(whole, function.__code__.co_filename, "exec", dont_inherit=True), "around"), None)
    if code.co_freevars != free:
        raise Stale(f"{function.__qualname__} sees {free}, the changed code {code.co_freevars}")
    return code.replace(co_name=function.__code__.co_name, co_qualname=function.__code__.co_qualname)


@contextmanager
def swapped(target: object, code: types.CodeType) -> Iterator[None]:
    """Run `target` with other code; what it remembers of former calls is forgotten before and after."""
    function = function_behind(target)
    before = function.__code__
    function.__code__ = code
    _forget(target)
    try:
        yield
    finally:
        function.__code__ = before
        _forget(target)


@contextmanager
def _forgotten_codec() -> Iterator[None]:
    """Have decoders and encoders generated anew, within and after, and what they decoded forgotten."""
    generated = (
        *(decoder.decoder_of, decoder._elements_of, encoder.encoder_of),
        *(codec._decoder_of, codec._encoder_of_struct),
        *(leaves._remembered_leaf, leaves._remembered_long_leaf),
    )
    for function in generated:
        function.cache_clear()
    try:
        yield
    finally:
        for function in generated:
            function.cache_clear()


def _forget(target: object) -> None:
    clear: Callable[[], None] | None = getattr(target, "cache_clear", None)
    if clear is not None:
        clear()


def _inner(code: types.CodeType, name: str | None) -> types.CodeType:
    found = [each for each in code.co_consts if isinstance(each, types.CodeType) and name in {None, each.co_name}]
    return found[0]


def _body(module: ast.Module) -> str:
    """Return what a function does, without its signature, which code does not contain, and its docstring."""
    (definition,) = module.body
    body = definition.body if isinstance(definition, ast.FunctionDef) else []
    return "".join(map(ast.dump, body[1:] if ast.get_docstring(definition) else body))  # type: ignore[arg-type]  # a def


def _is_placed_default(parameter: inspect.Parameter) -> bool:
    return parameter.kind is not inspect.Parameter.KEYWORD_ONLY and parameter.default is not inspect.Parameter.empty
