"""The command `demo`: make a sample database, and export every sample dataset in every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import typer
from rich.console import Console

from export_pipeline.cli.console import UserError, print_error
from export_pipeline.database_url import openable, parse_database_url, sqlite_file
from export_pipeline.demo import archive, bookkeeping, ecology, property_services, takeoff
from export_pipeline.jobs import migrate
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from export_pipeline.datasets.dataset import Dataset


def run_demo(
    settings: Settings,
    datasets: Mapping[str, Dataset],
    definitions: Callable[[], dg.Definitions],
    measurements: int = 0,
) -> bool:
    """Fill the sample database, export it, and print the files. Return True if every export succeeded.

    Every project of takeoff is exported, and the first scope with rows of each other dataset.

    Args:
        settings: `source_url` must be the SQLite file of the demo, so that no other database is overwritten.
        datasets: The declared datasets by name.
        definitions: Loads the code location, once the database exists.
        measurements: If positive, also make a project with that many measurements.

    Raises:
        UserError: `source_url` is another database.
    """
    from export_pipeline.orchestration.runs.local_run import run_export

    database = sqlite_file(parse_database_url(settings.source_url))
    if not is_sample(settings.source_url):
        raise UserError(
            "The demo writes its own sample database, but EXPORT_SOURCE_URL names another one; unset it."
        )
    assert database is not None
    database.parent.mkdir(parents=True, exist_ok=True)
    samples = [*takeoff.SAMPLES, *([takeoff.sized(measurements)] if measurements else [])]
    console = Console()
    with console.status("Making the sample database"):
        engine = sa.create_engine(openable(parse_database_url(settings.source_url)))
        takeoff.fill(engine, samples)
        for application in (ecology, archive, bookkeeping, property_services):
            application.fill(engine)
        engine.dispose()
        if is_sample(settings.jobs_url):
            migrate(settings.jobs_url)
    loaded = definitions()
    errors: list[str] = []
    for dataset in datasets.values():
        shown = set()
        for scope, name, options in _exports(settings, dataset):
            if (sample := str(options)) in shown and dataset.dataset != "takeoff":
                continue
            what = f"{dataset.dataset}, {_printable(name)}"
            with console.status(f"Exporting {what} in {len(dataset.formats)} formats"):
                outcome = run_export(
                    loaded,
                    dataset=dataset.dataset,
                    scope=scope,
                    formats=dataset.formats,
                    options=options,
                    staging=settings.staging_folder,
                )
            typer.echo(f"{what}:")
            for format in dataset.formats:
                if format in outcome.files:
                    file = outcome.files[format]
                    rows, size = file["dagster/row_count"], file["bytes"]
                    # One line each instead of a table: a wrapped path cannot be copied.
                    typer.echo(f"  {format:8}{rows:>8,} rows {size:>11,} bytes  {_near(file['location'])}")
            errors += [f"{what}: {error}" for error in outcome.errors]
            if outcome.errors or any(file["dagster/row_count"] for file in outcome.files.values()):
                shown.add(sample)
    for error in errors:
        print_error(error)
    typer.echo(f"Sample database: {database}")
    typer.echo("Open the UI: make dev, then http://127.0.0.1:3000 (Catalog)")
    return not errors


def is_sample(url: str) -> bool:
    """Return whether a database is the demo's own file, in which tables may be created unasked."""
    file = sqlite_file(parse_database_url(url))
    return file is not None and file.parent.name == "demo_data"


def _exports(settings: Settings, dataset: Dataset) -> Iterator[tuple[str | None, str, dict[str, Any]]]:
    """Yield scope, name and options of the exports that demonstrate a dataset."""
    from export_pipeline.orchestration.resources import source_resource

    scopes: list[tuple[str | None, str]] = [(None, "all")]
    if dataset.scoped:
        with source_resource(settings).snapshot() as snapshot:
            there = import_module(dataset.source).scopes(snapshot, dataset.spec)
        scopes = list(there.items())
    for scope, name in scopes:
        if dataset.dataset == "takeoff":
            yield scope, name, {"include_drawings": True}
        elif dataset.spec.get("preset_required"):
            for preset in dataset.spec["presets"]:
                yield scope, f"{name} ({preset})", {"preset": preset}
        else:
            yield scope, name, {}


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:60]


def _near(location: str) -> str:
    """Return a path relative to the working folder if it is below it, else unchanged."""
    path, here = Path(location), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
