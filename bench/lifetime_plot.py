"""Draws what `python -m bench lifetime` measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bench.lifetime import Row

_MARKERS = "os^vD<>PX*hp"


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw six panels: what epochs cost, what becomes of the tree and the keys, and what is traded for what."""
    by_policy: dict[str, list[Row]] = {}
    for row in rows:
        by_policy.setdefault(row.policy, []).append(row)
    # Text stays text, and the same rows make the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lifetime", "font.size": 9}):
        figure = Figure(figsize=(15, 8.5), layout="constrained")
        panels = figure.subplots(2, 3)
        costs: tuple[tuple[str, Callable[[Row], float]], ...] = (
            ("bytes sent to each member in an epoch", _bytes),
            ("creating a commit, in HPKE encryptions", _create),
            ("receiving it and its proposals, in HPKE encryptions", _process),
        )
        for axes, (text, value) in zip(panels[0], costs, strict=True):
            _curves(axes, text, {name: _smooth(its, value) for name, its in by_policy.items()})
            _logarithmic(axes)
        paths = {name: [(row.epoch, row.path_encryptions) for row in its] for name, its in by_policy.items()}
        _curves(panels[1, 0], "encryptions that a path of an average member takes", paths)
        _logarithmic(panels[1, 0])
        ages = {name: [(row.epoch, row.median_exposure) for row in its] for name, its in by_policy.items()}
        _curves(panels[1, 1], "median age of members' keys, in epochs", ages)
        _trade(panels[1, 2], by_policy)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        figure.suptitle(title)
        figure.savefig(path, metadata={"Date": None})


_Points = Sequence[tuple[int, float]]


def _curves(axes: Axes, title: str, curves: Mapping[str, _Points]) -> None:
    for name, points in curves.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name, linewidth=1.3)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3, which="both")


def _smooth(rows: Sequence[Row], value: Callable[[Row], float]) -> _Points:
    """Return for each epoch the mean over the tenth of all epochs around it, without those that nobody committed."""
    span = max(1, len(rows) // 20)
    points = []
    for place, row in enumerate(rows):
        around = rows[max(0, place - span) : place + span + 1]
        counted = [value(each) for each in around if each.commit_bytes or value is _bytes]
        if any(counted):
            points.append((row.epoch, mean(counted)))
    return points


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(LogFormatter(minor_thresholds=(2, 0.7)))


def _trade(axes: Axes, by_policy: dict[str, list[Row]]) -> None:
    """Draw a point for each policy: what it costs, and how long a stolen key is of use."""
    for place, (name, rows) in enumerate(by_policy.items()):
        late = rows[len(rows) // 2 :]
        x, y = mean(row.median_exposure for row in late), mean(map(_bytes, late))
        axes.plot([x], [y], _MARKERS[place % len(_MARKERS)], markersize=8)
        axes.annotate(name, (x, y), xytext=(8, -4 if place % 2 else 5), textcoords="offset points")
    axes.set_title("what is traded for what: means of the second half", fontsize=10)
    axes.set_xlabel("median age of members' keys, in epochs")
    axes.set_ylabel("bytes sent to each member in an epoch")
    _logarithmic(axes)
    axes.margins(y=0.1)
    axes.set_xlim(0, 1.25 * max(1.0, axes.get_xlim()[1]))
    axes.grid(alpha=0.3, which="both")


def _bytes(row: Row) -> float:
    return row.bytes_to_members


def _create(row: Row) -> float:
    return row.create


def _process(row: Row) -> float:
    return row.process
