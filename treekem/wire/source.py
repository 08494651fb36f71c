"""Functions written as text, then compiled once: the way dataclasses makes `__init__`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """The lines of one function, and the objects that it refers to."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 1
        self._locals = 0
        self._globals: dict[str, object] = {}

    def line(self, text: str) -> None:
        """Append a line."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Append a line and indent what follows."""
        self.line(header)
        self._depth += 1
        yield
        self._depth -= 1

    def local(self) -> str:
        """Return a name that no other line uses."""
        self._locals += 1
        return f"v{self._locals}"

    def bind(self, value: object) -> str:
        """Return the name by which lines refer to `value`."""
        name = f"g{len(self._globals)}"
        self._globals[name] = value
        return name

    def compile(self, name: str, parameters: str) -> Callable[..., Any]:
        """Return the function."""
        text = "\n".join([f"def {name}({parameters}):", *self._lines, ""])
        code = compile(text, f"<treekem.wire {name}>", "exec")
        exec(code, self._globals)  # noqa: S102  (the text is made of declarations alone, never of input)
        function: Callable[..., Any] = self._globals[name]  # type: ignore[assignment]  # exec put it there
        return function
