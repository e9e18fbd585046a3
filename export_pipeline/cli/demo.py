"""The command `demo`: make a sample database, and export every sample dataset in every format."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import typer
from rich.console import Console

from export_pipeline.cli.console import UserError, print_error
from export_pipeline.cli.jobs_view import print_lines
from export_pipeline.cli.lookups import scopes_of
from export_pipeline.configured_store import open_configured_store
from export_pipeline.database_url import openable, parse_database_url, sqlite_file
from export_pipeline.demo import archive, bookkeeping, ecology, property_services, takeoff
from export_pipeline.jobs import migrate
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from export_pipeline.datasets.dataset import Dataset

_FIRST = (("takeoff", ".pdf"), ("takeoff", ".xlsx"), ("records", ".xlsx"), ("rfp", ".pdf"))
"""Files to open first: dataset and extension. The largest file shows most."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """An export that demonstrates a dataset."""

    dataset: Dataset
    scope: str | None
    scope_name: str | None
    name: str
    options: Mapping[str, Any]


def run_demo(
    settings: Settings,
    datasets: Mapping[str, Dataset],
    definitions: Callable[[], dg.Definitions],
    measurements: int = 0,
) -> bool:
    """Fill the sample database, export it, and print a table of the exports. Return True if all succeeded.

    Every project of takeoff is exported, and the first scope of each other dataset. The files are copied to
    `demo_files/` under the names that people save them as; what was in the datasets' folders is removed.

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
    if database is None or not is_sample(settings.source_url):
        raise UserError(
            "The demo writes its own sample database, but EXPORT_SOURCE_URL names another one; unset it."
        )
    console = Console(stderr=True)
    with console.status("Making the sample database"):
        _fill(settings, database, measurements)
    folder = database.parent.parent / "demo_files"
    for name in datasets:
        shutil.rmtree(folder / name, ignore_errors=True)
    store = open_configured_store(settings)
    loaded = definitions()
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    for sample in _samples(settings, datasets):
        dataset = sample.dataset.dataset
        with console.status(f"Exporting {dataset}, {sample.name}"):
            outcome = run_export(
                loaded,
                dataset=dataset,
                scope=sample.scope,
                scope_name=sample.scope_name,
                formats=sample.dataset.formats,
                options=sample.options,
                staging=settings.staging_folder,
            )
            (folder / dataset).mkdir(parents=True, exist_ok=True)
            for file in outcome.files.values():
                store.download(file["key"], folder / dataset / file["file name"])
        made = [format for format in sample.dataset.formats if format in outcome.files]
        counts = [outcome.files[format]["dagster/row_count"] for format in made]
        size = sum(outcome.files[format]["bytes"] for format in made) // 1000
        rows.append({
            "dataset": dataset,
            "exported for": sample.name,
            "rows": f"{min(counts, default=0):,}",  # a ZIP holds the rows of all its members
            "kB": f"{size:,}",
            "formats": " ".join(made),
        })  # fmt: skip
        errors += [f"{dataset}, {sample.name}: {error}" for error in outcome.errors]
    print_lines(rows)
    for error in errors:
        print_error(error)
    _print_next(folder)
    return not errors


def is_sample(url: str) -> bool:
    """Return whether a database is the demo's own file, in which tables may be created without a command."""
    file = sqlite_file(parse_database_url(url))
    return file is not None and file.parent.name == "demo_data"


def _fill(settings: Settings, database: Path, measurements: int) -> None:
    """Recreate the sample database, with the tables of requests."""
    database.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(openable(parse_database_url(settings.source_url)), hide_parameters=True)
    takeoff.fill(engine, [*takeoff.SAMPLES, *([takeoff.sized(measurements)] if measurements else [])])
    for application in (archive, bookkeeping, ecology, property_services):
        application.fill(engine)
    engine.dispose()
    if is_sample(settings.jobs_url):
        migrate(settings.jobs_url)


def _samples(settings: Settings, datasets: Mapping[str, Dataset]) -> Iterator[_Sample]:
    """Yield the exports that demonstrate the datasets."""
    for dataset in datasets.values():
        scopes: list[tuple[str | None, str]] = [(None, "everybody")]
        if dataset.scoped:
            scopes = list(scopes_of(settings, dataset).items())
        if dataset.dataset == "takeoff":
            for scope, name in scopes:
                yield _Sample(dataset, scope, name, name, {"include_drawings": True})
            continue
        scope, name = scopes[0]
        scope_name = name if scope is not None and dataset.labels_scopes else None
        if dataset.spec.get("preset_required"):
            for preset in dataset.spec["presets"]:
                yield _Sample(dataset, scope, scope_name, f"{name} ({preset})", {"preset": preset})
        else:
            yield _Sample(dataset, scope, scope_name, name, {})


def _print_next(folder: Path) -> None:
    """Say where the files are, which to open first, and what to do next."""
    near = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    typer.echo(f"\n{sum(path.is_file() for path in folder.rglob('*'))} files are in {near}. Open first:")
    for dataset, extension in _FIRST:
        files = sorted((folder / dataset).glob(f"*{extension}"), key=lambda path: path.stat().st_size)
        typer.echo("".join(f"  {near / dataset / path.name}" for path in files[-1:]))
    typer.echo("Next: `make dev` starts the UI; `export-pipeline datasets` lists what you can export.")
