"""How the command line speaks: tables for people, JSON for scripts, errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from export_pipeline.redaction import hide_credentials


class UserError(Exception):
    """Something the person at the keyboard can mend; each argument is one line that says how."""


class InterruptedCommandError(Exception):
    """Ctrl-C or SIGTERM ended a command; the message says what became of its work."""


def print_error(message: str) -> None:
    """One line on stderr."""
    typer.secho(f"Error: {hide_credentials(' '.join(message.split()))}", fg="red", err=True)


def print_json(value: Any) -> None:
    """JSON on stdout, for scripts."""
    typer.echo(json.dumps(value, default=str, ensure_ascii=False, indent=2))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table on stdout; the first row's keys head it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("Nothing.")
        return
    table = Table()
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))  # Text: data are never markup
    Console().print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """One fact a line on stdout; those that are empty are left out."""
    width = max(map(len, facts))
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            typer.echo(f"{name:{width}}  {_cell(value)}")


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return str(value)


@contextmanager
def progress_bar(steps: int, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr while the block runs, where somebody looks; gives what moves it (text, done, steps)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (
        SpinnerColumn(),
        BarColumn(),
        TaskProgressColumn(),
        Elapsed(),
        TextColumn("{task.description}"),
    )
    hidden = quiet or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=hidden, transient=True) as bars:
        bar = bars.add_task("Starting", total=steps)
        yield lambda said, done, steps: bars.update(bar, description=said, completed=done, total=steps)
