"""The command `python -m bench`, with one subcommand per measurement."""

from __future__ import annotations

import typer

from bench import check, hashing, lifetime, likeness, million, rekey, synthetic

app = typer.Typer(help="Measures what groups cost.", no_args_is_help=True, add_completion=False)
app.command("hashing")(hashing.main)
app.command("lifetime")(lifetime.main)
app.command("check")(check.main)
app.command("rekey")(rekey.main)
app.command("synthetic")(synthetic.main)
app.command("likeness")(likeness.main)
app.command("million")(million.main)


@app.callback()
def _group() -> None:
    """Keep subcommands, however few there are."""


if __name__ == "__main__":
    app()
