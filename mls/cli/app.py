"""The `mls` command's subcommands and options."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from mls.cli.demo import MAX_MEMBERS, MIN_MEMBERS, demonstrate, parse_suites
from mls.cli.inspection import inspect_bytes

app = typer.Typer(
    name="mls",
    help="RFC 9420 (Messaging Layer Security): look into MLS objects, and watch a group live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            number = version("mls-treekem")
        except PackageNotFoundError:
            number = "(not installed)"
        print(f"mls {number}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a subcommand."""


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(metavar="FILE|-", help="A file, or - for standard input.")],
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="TYPE",
            help="The object's type, such as KeyPackage; guessed if absent. An unknown name lists all types.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every element of long lists.")] = False,
) -> None:
    """Show an MLS object (binary, hex or base64) as a tree, and where it breaks if it is malformed.

    Secrets are never shown. The exit code is 1 for a malformed object, and 2 if there is nothing to look at.
    """
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{source}: {error.strerror}") from error
    raise typer.Exit(inspect_bytes(data, kind, full=full))


@app.command()
def demo(
    *,
    members: Annotated[
        int, typer.Option(min=MIN_MEMBERS, max=MAX_MEMBERS, help="How many clients play; 8 to 16 make a good picture.")
    ] = 8,
    suite: Annotated[str, typer.Option(metavar="1..7|all", help="The cipher suite, or all, side by side.")] = "1",
    seed: Annotated[
        int | None, typer.Option(help="Repeat everything but the times: seeded keys, a fixed clock.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results for programs.")] = False,
) -> None:
    """Play a group's life among clients in memory, and compare all of them after every step.

    The exit code is 1 if any check fails.
    """
    try:
        suites = parse_suites(suite)
    except ValueError as error:
        raise typer.BadParameter(f"{suite!r} is none of 1 to 7, nor all", param_hint="--suite") from error
    passed = demonstrate(suites, members=members, seed=seed, as_json=as_json)
    raise typer.Exit(0 if passed else 1)
