"""Shell completion of datasets, formats and scopes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING

import typer

from export_pipeline.cli.jobs_view import printable
from export_pipeline.settings import load_settings

if TYPE_CHECKING:
    from export_pipeline.datasets.dataset import Dataset

_MAX_SCOPES = 200

Completer = Callable[[typer.Context, str], list[tuple[str, str]]]


def _quiet(complete: Callable[[typer.Context, str], Iterator[tuple[str, str]]]) -> Completer:
    """Decorate a completer: it offers nothing where settings, datasets or the source are at fault."""

    @wraps(complete)
    def run(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        try:
            return list(complete(ctx, incomplete))
        except Exception:  # a message would appear in the middle of the line that is being typed
            return []

    return run


@_quiet
def complete_dataset(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield names of datasets with their descriptions."""
    from export_pipeline.cli.lookups import declared

    for name, dataset in declared().items():
        if name.startswith(incomplete):
            yield name, dataset.attributes.description


@_quiet
def complete_format(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield formats of the chosen dataset, or all formats; the last one where several stand with commas."""
    from export_pipeline.formats.registry import FORMATS

    dataset = _dataset_before(ctx)
    earlier, comma, last = incomplete.rpartition(",")
    aliases = dataset.format_aliases if dataset else {}
    for name in (*dataset.formats, *aliases) if dataset else FORMATS:
        if name.startswith(last) and name not in earlier.split(","):
            yield f"{earlier}{comma}{name}", FORMATS[aliases.get(name, name)].help


@_quiet
def complete_scope(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield ids of the chosen dataset's scopes with their names."""
    from export_pipeline.cli.lookups import scopes_of

    if (dataset := _dataset_before(ctx)) and dataset.scoped:
        scopes = scopes_of(load_settings(), dataset).items()
        matches = ((id, printable(name)) for id, name in scopes if incomplete in id or incomplete in name)
        yield from islice(matches, _MAX_SCOPES)


def _dataset_before(ctx: typer.Context) -> Dataset | None:
    """Return the dataset that the line names so far: a line without its last value is not parsed."""
    from export_pipeline.cli.lookups import declared

    words = ctx.parent.args if ctx.parent else []
    there = declared()
    return next((there[word] for word in words if word in there), None)
