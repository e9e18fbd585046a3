"""The IO manager of ExportData, which stages it in the folder of its run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from export_pipeline.core.export_data import ExportData
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.orchestration.dagster_compat.steps import step_of
from export_pipeline.orchestration.progress_log import progress_log
from export_pipeline.orchestration.resources import JobLedger
from export_pipeline.orchestration.runs.attempts import (
    ProgressReporter,
)
from export_pipeline.orchestration.runs.errors import translate_errors
from export_pipeline.orchestration.runs.heartbeat import cancellable
from export_pipeline.orchestration.runs.shared_staging import SharedStaging
from export_pipeline.orchestration.runs.staging import StagingGoneError, is_whole, load_all, save_all


@dataclass
class StagingIOManager(dg.IOManager):
    """Spools ExportData into the run's folder, and reads it back batch by batch.

    Processes exchange only the parts of the path (run, step, output). So any executor works if its workers
    share the folder, or `shared` has a copy. Else a re-execution on another machine reads the source again.
    """

    folder: Path
    ledger: JobLedger
    datasets: Mapping[str, Dataset]
    shared: SharedStaging | None = None

    def handle_output(self, context: dg.OutputContext, obj: list[ExportData]) -> None:
        started = time.monotonic()
        # Most of a fetch happens here, so its errors are raised here.
        step_context = step_of(context)
        run, instance, job = step_context.dagster_run, step_context.instance, step_context.job_def
        step = context.step_key.rpartition(".")[2]
        share = (0, 40) if step == "fetch_source" else (40, 50)
        with (
            cancellable(self.ledger.open, run, instance, job),
            translate_errors(step_of(context).previous_attempt_count, context.log),
        ):
            report = ProgressReporter(self.ledger.open, run, share)
            folder = self._path(context)
            try:
                save_all(obj, folder, _staging_log(context, report, obj, step))
                if self.shared is not None:
                    self.shared.upload(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)  # a partial export is useless and may fill the disk
                raise
        context.add_output_metadata(
            {
                "rows": {
                    name: sum(data.tables[name].rows for data in obj)
                    for name in (obj[0].tables if obj else ())
                },
                "warnings": sum(len(data.warnings) for data in obj),
                "seconds": round(time.monotonic() - started, 3),
            }
        )

    def load_input(self, context: dg.InputContext) -> list[ExportData]:
        """Return staged exports; none if an earlier run has staged them that a re-execution does not find."""
        assert context.upstream_output is not None
        with translate_errors(step_of(context).previous_attempt_count, context.log):
            try:
                path = self._path(context.upstream_output)
                self.has(path)
                return load_all(path, self.datasets)
            except StagingGoneError:
                if context.upstream_output.run_id == step_of(context).run_id:
                    raise
                return []

    def has(self, step: Path) -> bool:
        """Return whether the folder of a step is whole on this machine; copy it if another one has it."""
        return is_whole(step) if self.shared is None else self.shared.download(step)

    def of_run(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.folder / run_id

    def _path(self, context: dg.OutputContext) -> Path:
        # A re-execution reads what its parent staged: Dagster gives the run that made the output.
        run_id, *step = context.get_identifier()
        return self.of_run(run_id) / "-".join(step)


_STEPS = {"fetch_source": "Reading", "build_export_data": "Computing", "sanitize": "Cleaning"}


def _staging_log(
    context: dg.OutputContext, report: ProgressReporter, exports: list[ExportData], step: str
) -> Callable[[ExportData, str, int], None]:
    """Return a function that reports staged rows to the run's log and to the waiting jobs.

    Jobs count the rows of the export, as `total_rows` does, and only while these are read. Other tables of a
    shaped dataset only move the percentage.
    """
    log = progress_log(context)
    total = sum(table.rows for data in exports for table in data.tables.values())
    source_rows = sum(data.source_rows for data in exports)
    done = counted = 0

    def say(data: ExportData, table: str, rows: int) -> None:
        nonlocal done, counted
        done += rows
        counted += rows if table in data.counted else 0
        of_export = {"rows": counted, "total_rows": source_rows} if step == "fetch_source" else {}
        report(_STEPS.get(step, step), done, total, **of_export)
        log(table, done, total, "rows")

    return say
