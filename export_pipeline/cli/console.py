"""Output of the command line: tables for people, JSON for scripts, one-line errors."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer

from export_pipeline.redaction import hide_credentials


class UserError(Exception):
    """Raised for an error that the user can fix. Each argument is one line with cause and cure."""


class InterruptedCommandError(Exception):
    """Raised when Ctrl-C or SIGTERM ended a command. The message states the outcome of its work."""


NARROW = 60
"""Columns of a terminal below which a table is printed as lines: its cells would be a few letters wide."""


def print_error(message: str) -> None:
    """Print one line to stderr."""
    typer.secho(f"Error: {hide_credentials(' '.join(message.split()))}", fg="red", err=True)


def print_json(value: Any) -> None:
    """Print JSON to stdout, for scripts. Dataclasses become objects, and times ISO 8601 in UTC."""
    typer.echo(json.dumps(value, default=_json_value, ensure_ascii=False, indent=2))


def _json_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table to stdout. The keys of the first row are its headers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("Nothing.")
        return
    console = Console()
    if console.width < NARROW:
        for row in rows:
            print_facts(row)
            typer.echo()
        return
    table = Table()
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))  # Text: data must not be markup
    console.print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print one fact per line to stdout, without empty facts."""
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
    """Show a progress bar on stderr in a terminal. Yield a function `(text, done, steps)` that updates it."""
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
        yield lambda step, done, steps: bars.update(bar, description=step, completed=done, total=steps)
