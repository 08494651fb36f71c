"""What `rekey` found as a picture: seconds against members, both axes logarithmic, a panel for each operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

_COLUMNS: Final = 4
_STYLES: Final = {"warm": ("#1f5fa8", "o"), "bare": ("#c2571a", "s")}
_PANEL: Final = (3.3, 2.7)
_ROOM_FOR_NOTE: Final = 1.5
_ROOM_BESIDE: Final = 1.6
_LEAST_SPAN: Final = (
    3  # Powers of ten of time that every panel spans at least, so that noise does not look like growth.
)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw a result of `rekey` to a file, whose name says of what kind: .svg, .png."""
    rows = [row for row in result["rows"] if row["seconds"] is not None]
    names = list(dict.fromkeys(row["operation"] for row in rows))
    members = sorted(row["members"] for row in rows)
    n_rows = -(-len(names) // _COLUMNS)
    size = (_PANEL[0] * _COLUMNS, _PANEL[1] * n_rows + 0.9)
    # Text stays text, and the same rows make the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rekey", "font.size": 9}):
        figure = Figure(figsize=size)
        axes = figure.subplots(n_rows, _COLUMNS, squeeze=False, sharex=False)
        panels = list(axes.flat)
        for panel, name in zip(panels, names, strict=False):
            _panel(panel, name, [row for row in rows if row["operation"] == name])
            panel.xaxis.set_major_locator(FixedLocator(sorted(set(members))))
            panel.set_xlim(members[0] / _ROOM_BESIDE, members[-1] * _ROOM_BESIDE)
        for panel in panels[len(names) :]:
            panel.axis("off")
        for below in panels[max(0, len(names) - _COLUMNS) : len(names)]:
            below.set_xlabel("members")
        handles = {
            label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="upper center", ncol=len(handles), frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.45 / size[1]))
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(panel: Axes, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    times: list[float] = []
    for tree in dict.fromkeys(row["tree"] for row in rows):
        colour, marker = _STYLES[tree]
        points = sorted((row for row in rows if row["tree"] == tree), key=lambda row: row["members"])
        members = [row["members"] for row in points]
        panel.plot(members, [row["seconds"] for row in points], color=colour, marker=marker, label=f"{tree} tree")
        floors = [(row["members"], row["floor_seconds"]) for row in points if row["floor_seconds"] is not None]
        if floors:
            panel.plot(*zip(*floors, strict=True), color=colour, linestyle=":", marker=".", label=f"{tree} tree, floor")
        times += [row[key] for row in points for key in ("seconds", "floor_seconds") if row[key] is not None]
        if points[-1]["ratio"] is not None:
            note = f"{points[-1]['ratio']:.1f} times"
            panel.annotate(note, (members[-1], points[-1]["seconds"]), (0, 6), textcoords="offset points", ha="right")
    panel.set_title(name, fontsize=10)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    middle, span = (
        (min(times) * max(times)) ** 0.5,
        max(10 ** (_LEAST_SPAN / 2), 2.5 * (max(times) / min(times)) ** 0.5),
    )
    panel.set_ylim(middle / span, middle * span * _ROOM_FOR_NOTE)
    panel.xaxis.set_major_formatter(FuncFormatter(_members))
    panel.yaxis.set_major_formatter(FuncFormatter(_seconds))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(visible=True, color="#dddddd", linewidth=0.6)


def _members(count: float, _: object = None) -> str:
    power = round(count).bit_length() - 1
    return f"$2^{{{power}}}$"


def _seconds(seconds: float, _: object = None) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale * 0.999:
            return f"{seconds / scale:g} {unit}"
    return f"{seconds / 1e-9:g} ns"
