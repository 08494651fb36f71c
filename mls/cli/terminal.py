"""Printing on whatever terminal, pipe or file there is."""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console, OverflowMethod, RenderableType

PASSED: Final = "✓"
FAILED: Final = "✗"

_PIPE_WIDTH: Final = 160
_PLAIN: Final = str.maketrans(
    {
        PASSED: "y",
        FAILED: "N",
        "●": "*",
        "○": "o",
        "←": "<-",
        "…": "...",
        "┌": ",",
        "└": "`",
        "─": "-",
        "│": "|",
    }
)


def new_console() -> Console:
    """Return the console of standard output: as wide as its terminal, or as COLUMNS says, or wide enough for a pipe.

    rich looks after NO_COLOR, and leaves out colours where no terminal is.
    """
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPE_WIDTH
    return console


def show(console: Console, content: RenderableType, *, is_picture: bool = False) -> None:
    """Print in glyphs that the encoding has; a picture's lines are cut where the terminal ends, not folded.

    Into a pipe or a file goes no blank at the end of a line.
    """
    overflow: OverflowMethod = "ellipsis" if is_picture else "fold"
    if console.is_terminal and not console.options.ascii_only:
        console.print(content, no_wrap=is_picture, overflow=overflow)
        return
    with console.capture() as capture:
        console.print(content, no_wrap=is_picture, overflow=overflow)
    text = capture.get()
    if not console.is_terminal:
        text = "\n".join(line.rstrip(" ") for line in text.split("\n"))
    console.file.write(text.translate(_PLAIN) if console.options.ascii_only else text)
