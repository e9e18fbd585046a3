"""Where the outputs of ops go: ExportData into staging, rendered files into the store."""

import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg

from export_pipeline.formats.registry import FORMATS
from export_pipeline.model.export_data import ExportData
from export_pipeline.orchestration.export_file import ExportFile
from export_pipeline.orchestration.faults import told
from export_pipeline.orchestration.resources import ExportStore
from export_pipeline.orchestration.staging import load, save
from export_pipeline.store.base import StoredFile
from export_pipeline.store.manifest import Manifest, Schema, changed_cells
from export_pipeline.store.publish import publish


class StagingIOManager(dg.ConfigurableIOManager):
    """Spools ExportData into a folder of the run, and reads it from there, batch by batch.

    Only the path's parts (run, step, output) pass between processes, so any executor works whose workers see
    the same folder.
    """

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: ExportData) -> None:
        started = time.monotonic()
        # Most of a fetch happens here, so its faults come up here.
        with told(_earlier_tries(context)):
            save(obj, self._path(context), _progress_log(context))
        context.add_output_metadata(
            {
                "rows": {name: table.rows for name, table in obj.tables.items()},
                "warnings": len(obj.warnings),
                "seconds": round(time.monotonic() - started, 3),
            }
        )

    def load_input(self, context: dg.InputContext) -> ExportData:
        assert context.upstream_output is not None
        with told(_earlier_tries(context)):
            return load(self._path(context.upstream_output))

    def of_run(self, run_id: str) -> Path:
        """The folder of a run."""
        return Path(self.folder) / run_id

    def _path(self, context: dg.OutputContext) -> Path:
        # A re-execution finds what its parent staged: Dagster names the run that made the output.
        run_id, *step = context.get_identifier()
        return self.of_run(run_id) / "-".join(step)


class ExportStoreIOManager(dg.ConfigurableIOManager):
    """Publishes rendered files: the file when it is whole, its manifest last. Nothing is held in memory."""

    store: dg.ResourceDependency[ExportStore]

    def handle_output(self, context: dg.OutputContext, obj: ExportFile) -> None:
        media_type = FORMATS[obj.format].media_type
        with told(_earlier_tries(context)):
            stored, _ = publish(
                self.store.open(),
                obj.path,
                obj.key,
                lambda stored: _manifest(obj, stored, media_type),
                media_type=media_type,
                file_name=obj.file_name,
                progress=_upload_log(context, obj.path.stat().st_size),
            )
        context.add_output_metadata(_metadata(obj, stored))
        context.log.info(f"Published {stored.location} ({stored.bytes:,} bytes).")
        shutil.rmtree(obj.path.parent, ignore_errors=True)

    def load_input(self, context: dg.InputContext) -> str:
        """For assets downstream: the key of the same partition's file, for the `store` resource to open."""
        wanted = dg.AssetRecordsFilter(context.asset_key, asset_partitions=[context.asset_partition_key])
        found = context.instance.fetch_materializations(wanted, limit=1).records
        if not found or (materialization := found[0].asset_materialization) is None:
            raise dg.Failure(
                f"{context.asset_key.to_user_string()} has no file yet for {context.asset_partition_key}: "
                "export it first."
            )
        return str(materialization.metadata["key"].value)


def _earlier_tries(context: dg.OutputContext | dg.InputContext) -> int:
    return context.step_context.previous_attempt_count


def _manifest(file: ExportFile, stored: StoredFile, media_type: str) -> Manifest:
    return Manifest(
        name=f"{file.dataset}-{file.format}",
        path=stored.key.rpartition("/")[2],
        bytes=stored.bytes,
        hash=f"sha256:{stored.sha256}",
        format=file.format,
        mediatype=media_type.partition(";")[0],
        encoding="utf-8" if file.format in ("csv", "json", "ost") else None,
        rows=file.rendered.rows,
        # The other formats lay the rows out in ways of their own.
        schema=Schema.of(file.columns if file.format == "csv" else ()),
        title=file.file_name,
        dataset=file.dataset,
        scope=file.scope,
        cadence=file.cadence,
        window=file.window,
        options=file.options,
        snapshot_at=file.snapshot_at,
        run_id=file.run_id,
        code_version=version("export-pipeline"),
        warnings=file.warnings,
        changed=changed_cells(file.changed),
        totals=dict(file.totals),
    )


def _metadata(file: ExportFile, stored: StoredFile) -> dict[str, Any]:
    """What a person sees of a materialization. No link is stored: links are signed when somebody asks."""
    is_local = not stored.location.startswith("s3://")
    location = dg.MetadataValue.path(stored.location) if is_local else dg.MetadataValue.text(stored.location)
    metadata: dict[str, Any] = {
        "title": dg.MetadataValue.text(file.title),
        "dagster/row_count": file.rendered.rows,
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(column.header, str(column.kind)) for column in file.columns]
        ),
        "bytes": stored.bytes,
        "sha256": stored.sha256,
        "key": stored.key,
        "location": location,
        "download": dg.MetadataValue.md(f"`export-pipeline link {stored.key}`"),
        "file name": file.file_name,
        "seconds": round(file.seconds, 3),
        "changed cells": dg.MetadataValue.json(changed_cells(file.changed)),
        "warnings": dg.MetadataValue.md("\n".join(f"- {text}" for text in file.warnings) or "none"),
        "options": dg.MetadataValue.json(file.options),
        "totals": dg.MetadataValue.json(file.totals),
    }
    if file.preview:
        metadata["preview"] = dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in file.preview])
    return metadata


def _progress_log(context: dg.OutputContext) -> Callable[[str, int, int], None]:
    """Says in the run's log how far reading is, at most every two seconds."""
    next_at = time.monotonic() + 2

    def say(table: str, done: int, total: int) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + 2
            context.log.info(f"{table}: {done:,} of {total:,} rows ({done / max(total, 1):.0%})")

    return say


def _upload_log(context: dg.OutputContext, size: int) -> Callable[[int], None]:
    say = _progress_log(context)
    return lambda done: say("upload, bytes", done, size)
