"""`export-pipeline demo`: a sample database, and every sample dataset exported in every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import typer
from rich.console import Console

from export_pipeline.console import UserError, print_error
from export_pipeline.demo import takeoff
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


def run_demo(settings: Settings, definitions: Callable[[], dg.Definitions], measurements: int = 0) -> bool:
    """Fill the sample database, export it, say what lies where; True if everything came out.

    Args:
        settings: `source_url` must be the SQLite file of the demo, so that nobody's database is overwritten.
        definitions: Loads the code location, after the database is there.
        measurements: If positive, also a project with that many measurements.

    Raises:
        UserError: `source_url` is another database.
    """
    from export_pipeline.formats.registry import FORMATS
    from export_pipeline.orchestration.running import run_export

    url = sa.make_url(settings.source_url)
    if (
        url.get_backend_name() != "sqlite"
        or not url.database
        or Path(url.database).parent.name != "demo_data"
    ):
        raise UserError(
            "The demo writes its own sample database, but EXPORT_SOURCE_URL names another one; unset it."
        )
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    samples = [*takeoff.SAMPLES, *([takeoff.sized(measurements)] if measurements else [])]
    console = Console()
    with console.status("Making the sample database"):
        engine = sa.create_engine(url)
        ids = takeoff.fill(engine, samples)
        engine.dispose()
    loaded = definitions()
    errors: list[str] = []
    for id, sample in zip(ids, samples, strict=True):
        with console.status(f"Exporting {sample.name[:40]!r} in {len(FORMATS)} formats"):
            outcome = run_export(
                loaded,
                dataset="takeoff",
                scope=id,
                formats=list(FORMATS),
                options={"include_drawings": True},
                staging=settings.staging_folder,
            )
        typer.echo(f"{_printable(sample.name)}:")
        for format in FORMATS:
            if format in outcome.files:
                file = outcome.files[format]
                rows, size = file["dagster/row_count"], file["bytes"]
                # A line each and no table: a path that is wrapped cannot be copied.
                typer.echo(f"  {format:6}{rows:>8,} rows {size:>11,} bytes  {_near(file['location'])}")
        errors += outcome.errors
    for error in errors:
        print_error(error)
    typer.echo(f"Sample database: {url.database}")
    typer.echo("Open the UI: make dev, then http://127.0.0.1:3000 (Assets > takeoff)")
    return not errors


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:60]


def _near(location: str) -> str:
    """A path as seen from here, where it is below this folder."""
    path, here = Path(location), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
