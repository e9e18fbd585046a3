"""The result of a request, from the ledger or from a run in this process, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from export_pipeline.cli.console import print_error, print_json
from export_pipeline.cli.jobs_view import printable
from export_pipeline.cli.output import ExportOutput, RequestOutput
from export_pipeline.configured_store import open_configured_store
from export_pipeline.jobs import Job, Status
from export_pipeline.jobs.file_notes import file_notes
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.orchestration.runs.local_run import Outcome


def export_of_job(job: Job) -> ExportOutput:
    """Return the state of a job."""
    return ExportOutput(
        id=job.id, dataset=job.dataset, scope=job.scope, format=job.format, status=job.status,
        run_id=job.run_id, row_count=job.row_count, total_rows=job.total_rows, file_key=job.file_key,
        file_size=job.file_size, sha256=job.sha256, warnings=job.warnings, changed_cells=job.changed_cells,
        error_code=job.error_code, error_message=job.error_message,
    )  # fmt: skip


def exports_of_run(
    outcome: Outcome, dataset: str, scope: str | None, formats: Sequence[str]
) -> list[ExportOutput]:
    """Return the result of a run in this process, without a ledger, for each format."""
    exports = []
    for format in formats:
        file = outcome.files.get(format, {})
        rows, total_rows = file.get("dagster/row_count"), file.get("rows in source")
        changed = file.get("changed cells", {})
        counted = file_notes(rows, total_rows, [], changed)  # Dagster has these among the warnings
        own = [error for error in outcome.errors if error.startswith(f"render_{format}:")]
        exports.append(
            ExportOutput(
                id=None, dataset=dataset, scope=scope, format=format,
                status=Status.COMPLETED if file else Status.FAILED, run_id=outcome.export_id,
                row_count=rows, total_rows=total_rows,
                file_key=file.get("key"), file_size=file.get("bytes"), sha256=file.get("sha256"),
                warnings=[note for note in file.get("warnings", []) if note not in counted],
                changed_cells=changed,
                error_code=None if file else "export_failed",
                error_message=None if file else "; ".join(own or outcome.errors) or "The run did not begin.",
            )
        )  # fmt: skip
    return exports


def background_exports(
    run_id: str, dataset: str, scope: str | None, formats: Sequence[str]
) -> list[ExportOutput]:
    """Return the exports of a run that was started in another process."""
    return [
        ExportOutput(
            id=None, dataset=dataset, scope=scope, format=format, status=Status.PROCESSING, run_id=run_id,
            row_count=None, total_rows=None, file_key=None, file_size=None, sha256=None, warnings=[],
            changed_cells={}, error_code=None, error_message=None,
        )
        for format in formats
    ]  # fmt: skip


def print_result(
    settings: Settings, exports: Sequence[ExportOutput], *, as_json: bool, log: Path | None = None
) -> None:
    """Print the result of a request. Differences between a file and the source are lines on stderr."""
    store = open_configured_store(settings).url
    if as_json:
        print_json(RequestOutput(store=store, log=str(log) if log else None, exports=exports))
        return
    for export in exports:
        _print_export(export)
    if log:
        typer.echo(f"Runs in the background, as run {exports[0].run_id}; its log is {log}")
    elif done := [export for export in exports if export.file_key]:
        typer.echo(f"Stored in {store}")
        typer.echo(f"Link to a file: export-pipeline link {done[0].id or done[0].file_key}")
    elif waiting := [export for export in exports if export.status is Status.PENDING]:
        typer.echo(f"Follow it: export-pipeline show {waiting[0].id}")
    if any(export.error_code == "unknown_dataset" for export in exports):  # known here
        print_error(
            "The daemon loaded its datasets before this one was written: restart it, or Reload in the UI "
            "under Deployment; then `export-pipeline retry ID`."
        )


def _print_export(export: ExportOutput) -> None:
    """Print one line for a file, as a wrapped key could not be copied, or for an export without one."""
    head = f"{export.format:8}{export.status.value:11}"
    if export.file_key is None:
        typer.echo(f"{head}{export.id or export.run_id}")
        if export.error_message:
            print_error(f"{export.format}: {printable(export.error_message, 2000)}")
        return
    typer.echo(f"{head}{export.row_count:>9,} rows {export.file_size:>12,} bytes  {export.file_key}")
    notes = file_notes(export.row_count, export.total_rows, export.warnings, export.changed_cells)
    for note in notes:
        typer.echo(f"{export.format}: {printable(note, 1000)}", err=True)
