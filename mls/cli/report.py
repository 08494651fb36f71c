"""How `mls demo` shows what it played: a table for people, a mapping for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mls.cli.story import ACTS, Step
from mls.cli.terminal import FAILED, PASSED, show
from mls.cli.tree_picture import BLANK, FILLED, LEGEND, draw_tree, rows
from mls.crypto import SUITES
from treekem.tree import RatchetTree

_KILO: Final = 1_000


@dataclass(frozen=True, slots=True)
class Performance:
    """A play under one suite, and the ratchet tree that it ended with."""

    suite: int
    steps: tuple[Step, ...]
    tree: RatchetTree

    @property
    def passed(self) -> bool:
        """Whether the play came to its end and every check held."""
        return len(self.steps) == len(ACTS) and all(step.passed for step in self.steps)


# For people.


def print_story(console: Console, performance: Performance, *, members: int) -> None:
    """Print one play step by step, and the tree at its end."""
    suite = SUITES[performance.suite]
    show(console, Text(f"\n{members} members under suite {suite.id}, {suite.name}\n", style="bold"))
    show(console, _story_table(performance.steps))
    print_failures(console, [performance])
    print_tree(console, performance.tree)
    show(console, _verdict([performance]))


def print_comparison(console: Console, performances: Sequence[Performance], *, members: int) -> None:
    """Print several plays side by side, bytes per step, and the tree at the end of the first."""
    show(console, Text(f"\n{members} members under each of {len(performances)} suites\n", style="bold"))
    show(console, _comparison_table(performances))
    show(console, Text())
    for performance in performances:
        show(console, Text(f"  {performance.suite}  {SUITES[performance.suite].name}", style="dim"))
    print_failures(console, performances)
    print_tree(console, performances[0].tree)
    show(console, _verdict(performances))


def print_failures(console: Console, performances: Iterable[Performance]) -> None:
    """Print every check that did not hold."""
    for performance in performances:
        failed = [(step, check) for step in performance.steps for check in step.checks if not check.passed]
        for step, check in failed:
            where = f"{FAILED} suite {performance.suite}, {step.title}: "
            show(console, Text(where + check.name, style="bold red"))


def print_tree(console: Console, tree: RatchetTree) -> None:
    """Print a picture of the tree."""
    show(console, Text("\nThe ratchet tree at the end\n", style="bold"))
    for line in draw_tree(tree):
        text = Text(f"  {line}")
        text.highlight_regex(r"[┌└─│]", "dim")
        text.highlight_regex(FILLED, "green")
        text.highlight_regex(rf"{BLANK}.*", "dim")
        text.highlight_regex(r"unmerged.*|\+$", "yellow")
        show(console, text, is_picture=True)
    show(console, Text(f"\n  {LEGEND}\n", style="dim"))


def _story_table(steps: Sequence[Step]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, show_footer=True)
    table.add_column("step", "in all", style="bold", no_wrap=True)
    table.add_column("what happened", "sent up, before fan-out", footer_style="dim")
    table.add_column("msgs", str(sum(step.messages for step in steps)), justify="right", no_wrap=True)
    table.add_column("bytes", f"{sum(step.sent_bytes for step in steps):,}", justify="right", no_wrap=True)
    table.add_column("ms", f"{1000 * sum(step.seconds for step in steps):,.0f}", justify="right", no_wrap=True)
    table.add_column("epoch", str(steps[-1].epoch), justify="right", no_wrap=True)
    table.add_column("checks", _checks(steps), justify="right", no_wrap=True)
    for step in steps:
        numbers = (str(step.messages), f"{step.sent_bytes:,}", f"{1000 * step.seconds:,.0f}", str(step.epoch))
        table.add_row(step.title, step.what, *numbers, _checks([step]))
    return table


def _comparison_table(performances: Sequence[Performance]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, show_footer=True)
    table.add_column("bytes sent, by suite", "in all", style="bold", no_wrap=True)
    for performance in performances:
        total = sum(step.sent_bytes for step in performance.steps)
        table.add_column(str(performance.suite), _short(total), justify="right", no_wrap=True)
    for place, (title, _) in enumerate(ACTS):
        steps = [performance.steps[place : place + 1] for performance in performances]
        table.add_row(title, *[_cell(step) for step in steps], end_section=place == len(ACTS) - 1)
    table.add_row("checks", *[_checks(performance.steps) for performance in performances])
    table.add_row("ms", *[f"{1000 * sum(step.seconds for step in each.steps):,.0f}" for each in performances])
    return table


def _cell(steps: Sequence[Step]) -> Text:
    if not steps:
        return Text("-", style="red")
    return Text(_short(steps[0].sent_bytes)) if steps[0].passed else Text(FAILED, style="bold red")


def _short(octets: int) -> str:
    """Return a number of bytes in a few characters.

    >>> _short(812), _short(29_812)
    ('812', '29.8k')
    """
    return str(octets) if octets < _KILO else f"{octets / _KILO:.1f}k"


def _checks(steps: Iterable[Step]) -> Text:
    checks = [check for step in steps for check in step.checks]
    failed = sum(not check.passed for check in checks)
    if failed:
        return Text(f"{failed} {FAILED}", style="bold red")
    return Text(f"{len(checks)} {PASSED}", style="green")


def _verdict(performances: Sequence[Performance]) -> Text:
    checks = [check for performance in performances for step in performance.steps for check in step.checks]
    failed = sum(not check.passed for check in checks)
    if all(performance.passed for performance in performances):
        return Text(f"{PASSED} all {len(checks)} checks hold", style="bold green")
    return Text(f"{FAILED} {failed} of {len(checks)} checks fail", style="bold red")


# For programs.


def as_mapping(performances: Sequence[Performance], *, members: int, seed: int | None) -> dict[str, object]:
    """Return the results of plays as JSON has them."""
    return {
        "members": members,
        "seed": seed,
        "passed": all(performance.passed for performance in performances),
        "suites": [_performance_mapping(performance) for performance in performances],
    }


def _performance_mapping(performance: Performance) -> dict[str, object]:
    return {
        "suite": performance.suite,
        "name": SUITES[performance.suite].name,
        "passed": performance.passed,
        "steps": [_step_mapping(step) for step in performance.steps],
        "tree": list(rows(performance.tree)),
    }


def _step_mapping(step: Step) -> dict[str, object]:
    return {
        "step": step.title,
        "what": step.what,
        "messages": step.messages,
        "bytes": step.sent_bytes,
        "milliseconds": round(1000 * step.seconds, 3),
        "epoch": step.epoch,
        "epoch_authenticator": step.epoch_authenticator.hex(),
        "passed": step.passed,
        "checks": [{"name": check.name, "passed": check.passed} for check in step.checks],
    }
