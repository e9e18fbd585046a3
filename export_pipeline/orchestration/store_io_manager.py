"""The IO manager of rendered files, which publishes them in the store."""

import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from export_pipeline.datasets.export_file import (
    ON_DEMAND,
    ExportFile,
    manifest_of,
    published_file,
    summarize_file,
)
from export_pipeline.jobs import LedgerError, NoLedgerError, RefusedError
from export_pipeline.jobs.file_notes import file_notes, rows_text, size_text
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.orchestration.dagster_compat.runs import is_canceling
from export_pipeline.orchestration.dagster_compat.steps import step_of
from export_pipeline.orchestration.downstream_inputs import load_export
from export_pipeline.orchestration.file_metadata import (
    CONTENT_TAG,
    download_link,
    escape_markdown,
    file_metadata,
)
from export_pipeline.orchestration.partitions import SCOPE_TAG, scope_tag
from export_pipeline.orchestration.progress_log import progress_log
from export_pipeline.orchestration.resources import ExportStore, JobLedger
from export_pipeline.orchestration.runs.attempts import (
    ProgressReporter,
    attempts_of,
    complete_jobs,
    deployment_of,
)
from export_pipeline.orchestration.runs.errors import translate_errors
from export_pipeline.orchestration.runs.heartbeat import cancellable
from export_pipeline.orchestration.runs.outages import retry_until_available, run_in_thread
from export_pipeline.orchestration.runs.still_requested import ensure_still_requested
from export_pipeline.store.base import StoredFile
from export_pipeline.store.manifest import changed_cells
from export_pipeline.store.parts import PartedUpload
from export_pipeline.store.publish import is_of_another_run, publish, unpublish


@dataclass
class ExportStoreIOManager(dg.IOManager):
    """Publishes rendered files that are still requested: the file atomically, its manifest last.

    Attributes:
        api_url: Public address of the HTTP service, for links.
        store: The store from which downstream assets load files.
        folder: The staging folder.
    """

    ledger: JobLedger
    api_url: str | None
    store: ExportStore
    folder: Path

    def handle_output(self, context: dg.OutputContext, obj: list[ExportFile]) -> None:
        step_context = step_of(context)
        run, instance, job = step_context.dagster_run, step_context.instance, step_context.job_def
        with ExitStack() as unpublished:
            for file in obj:
                unpublished.enter_context(file.upload)
            with (
                cancellable(self.ledger.open, run, instance, job),
                translate_errors(step_of(context).previous_attempt_count, context.log),
            ):
                for file in obj:  # all, before the first of several is replaced
                    self._ensure_may_publish(context, file)
                stored = [self._publish(context, file) for file in obj]
                expires_at = _expires_at(context, obj[0], self.ledger)
                self._finish(run, obj[0], stored[0], expires_at, context.log)
        links = [self._link(run, file, one, expires_at) for file, one in zip(obj, stored, strict=True)]
        if len(obj) == 1:
            has_preview = (context.definition_metadata or {}).get("preview", True)
            summary = summarize_file(obj[0], stored[0], expires_at, has_preview=has_preview)
            context.add_output_metadata(file_metadata(summary, links[0]))
        else:
            context.add_output_metadata(_summary(obj, stored, links))
        is_parted = isinstance(obj[0].upload, PartedUpload)
        shutil.rmtree(obj[0].upload.path if is_parted else obj[0].upload.path.parent, ignore_errors=True)

    def _finish(
        self,
        run: dg.DagsterRun,
        file: ExportFile,
        stored: StoredFile,
        expires_at: datetime,
        log: logging.Logger,
    ) -> None:
        """Complete the jobs that wait for the file. If no job waits for it or has it, unpublish it."""
        published = published_file(file, stored)
        try:
            retry_until_available(
                lambda: complete_jobs(self.ledger.open, run, file.format, published, expires_at), log
            )
            retry_until_available(lambda: ensure_still_requested(self.ledger.open, run, file.format), log)
        except RefusedError:
            if not retry_until_available(
                lambda: KnownFiles.sharing(self.ledger.open()).owned([stored.key]), log
            ):
                unpublish(file.store, stored.key, unless=is_of_another_run(file.run_id))
            raise

    def _link(
        self, run: dg.DagsterRun, file: ExportFile, stored: StoredFile, expires_at: datetime
    ) -> str | None:
        """Return a link to a file; None without a ledger or an HTTP service.

        A file that nobody requested in the ledger, as it was started in the launchpad, is recorded there.
        """
        attempts = attempts_of(run.tags, run.run_id, file.format)
        with suppress(LedgerError):  # the file is whole without it
            job_id = attempts[0].job_id if attempts else self._record(run, file, stored, expires_at)
            return run_in_thread(lambda: download_link(self.ledger.url, self.api_url, job_id))
        return None

    def _record(self, run: dg.DagsterRun, file: ExportFile, stored: StoredFile, expires_at: datetime) -> str:
        """Record a file that no job requested as a completed job. Return the job's id."""
        options = dict(file.options)
        filters, columns = options.pop("filters", None), options.pop("columns", None)
        requested_by = options.pop("requested_by", None)
        if file.window is not None:
            options["window"] = {
                "name": file.window.name,
                "start": file.window.start.isoformat(),
                "end": file.window.end.isoformat(),
                "timezone": file.window.timezone,
            }
        job = run_in_thread(
            lambda: self.ledger.open().record_export(
                run.run_id,
                published_file(file, stored),
                expires_at,
                dataset=file.dataset,
                format=file.format,
                scope=file.scope,
                filters=filters or {},
                columns=columns,
                options=options,
                requested_by=requested_by,
                started_at=file.snapshot_at,
                who="dagster",
            )
        )
        return job.id

    def _ensure_may_publish(self, context: dg.OutputContext, file: ExportFile) -> None:
        """Raise if a file is not requested any more, or would replace one under legal hold.

        Staging the file aborts the uploads of all other attempts, so this is called before, too.
        """
        run, instance = step_of(context).dagster_run, step_of(context).instance

        def ensure() -> None:
            ensure_still_requested(self.ledger.open, run, file.format)
            with suppress(NoLedgerError):
                KnownFiles.sharing(self.ledger.open()).ensure_not_held(file.upload.key)

        if is_canceling(instance, run.run_id):  # the signal of its launcher got lost
            raise dg.DagsterExecutionInterruptedError
        retry_until_available(ensure, context.log)

    def _publish(self, context: dg.OutputContext, file: ExportFile) -> StoredFile:
        deployment = deployment_of(self.ledger.open)
        unheld = ExitStack()

        def ensure_may_publish() -> None:
            self._ensure_may_publish(context, file)
            with suppress(NoLedgerError):
                known = KnownFiles.sharing(self.ledger.open())
                retry_until_available(
                    lambda: unheld.enter_context(known.replacing(file.upload.key)), context.log
                )

        try:
            stored, _ = publish(
                file.store,
                file.upload,
                lambda stored: manifest_of(file, stored, _expires_at(context, file, self.ledger), deployment),
                before_visible=ensure_may_publish,
                progress=_upload_log(context, self.ledger, file.format, file.upload.finish().bytes),
            )
        finally:
            with suppress(LedgerError):  # the file is visible; `_finish` waits for the ledger
                unheld.close()
        context.log.info(f"Published {stored.location} ({stored.bytes:,} bytes).")
        return stored

    def load_input(self, context: dg.InputContext) -> Any:
        """Return the newest usual file of the partition as the input's annotation asks for it."""
        try:
            annotation = context.dagster_type.typing_type
        except dg.DagsterInvariantViolationError:  # a context that was made by hand
            annotation = None

        def folder() -> Path:
            return self.folder / step_of(context).run_id / "inputs"

        return load_export(self.store.open, self._key(context), annotation, folder)

    def _key(self, context: dg.InputContext) -> str:
        partition = _partition_of(context)
        of_partition = dg.AssetRecordsFilter(
            context.asset_key, asset_partitions=None if partition is None else [partition]
        )
        is_window = context.asset_key.path[1] != ON_DEMAND and "|" not in (partition or "")
        tagged = step_of(context).dagster_run.tags.get(SCOPE_TAG) if is_window else None
        materialization, cursor, has_more = None, None, True
        while materialization is None and has_more:
            page = context.instance.fetch_materializations(of_partition, limit=_PAGE, cursor=cursor)
            cursor, has_more = page.cursor, page.has_more
            usual = (
                one.asset_materialization
                for one in page.records
                if one.asset_materialization
                and CONTENT_TAG not in (one.asset_materialization.tags or {})
                and (not is_window or _tag_of(one.asset_materialization) in (None, tagged))
            )
            materialization = next(usual, None)
        if materialization is None:
            raise dg.Failure(
                f"{context.asset_key.to_user_string()} has no whole file yet"
                + f"{f' for {partition}' if partition else ''}, without filters and chosen columns: "
                "export it first."
                + (f" A window has files of all scopes; the run's tag {SCOPE_TAG} says whose." * is_window)
            )
        metadata = materialization.metadata
        if "key" in metadata:
            return str(metadata["key"].value)
        keys = metadata["keys"].value  # present if the run had several partitions
        assert isinstance(keys, dict)
        return str(keys[partition])


def _partition_of(context: dg.InputContext) -> str | None:
    """Return the partition whose file an input is; None if its asset has no partitions.

    Raises:
        dagster.Failure: It has several for this step.
    """
    if not context.has_asset_partitions:
        return None
    keys = list(context.asset_partition_keys)
    if len(keys) != 1:
        raise dg.Failure(
            f"{context.asset_key.to_user_string()} has {len(keys):,} partitions for this asset, and an input "
            "is one file. Give the asset the same partitions (`partitions_def`), or its input one of them "
            "(`partition_mapping=dg.LastPartitionMapping()`)."
        )
    return keys[0]


def _tag_of(materialization: dg.AssetMaterialization) -> str | None:
    value = materialization.metadata.get("scope")
    return None if value is None else scope_tag(str(value.value))


def _expires_at(context: dg.OutputContext, file: ExportFile, ledger: JobLedger) -> datetime:
    """Return when a file expires, by the retention of its dataset or else of the deployment."""
    days = (context.definition_metadata or {}).get("retention days") or ledger.retention_days
    return datetime.now(UTC) + timedelta(days=int(days))


def _summary(files: list[ExportFile], stored: list[StoredFile], links: list[str | None]) -> dict[str, Any]:
    """Return the metadata of a materialization of several partitions in one run."""
    downloads = [
        f"- [{escape_markdown(file.period or str(file.partition))}]({link}): "
        f"{rows_text(file.rendered.rows, file.total_rows)} rows, {size_text(one.bytes)}"
        for file, one, link in zip(files, stored, links, strict=True)
        if link is not None
    ]
    scopes = {(file.scope, file.scope_name) for file in files}
    scope, scope_name = scopes.pop() if len(scopes) == 1 else (None, None)
    return {
        **({"download": dg.MetadataValue.md("\n".join(downloads))} if downloads else {}),
        **({"scope name": scope_name} if scope_name is not None else {}),
        **({"scope": scope} if scope is not None else {}),
        "dagster/row_count": sum(file.rendered.rows for file in files),
        "size": size_text(sum(one.bytes for one in stored)),
        "warnings": dg.MetadataValue.json(
            {str(file.partition): notes for file in files if (notes := _notes(file))}
        ),
        "files": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {"partition": file.partition or "", "rows": file.rendered.rows,
                     "rows in source": file.total_rows, "bytes": one.bytes, "key": one.key,
                     "sha256": one.sha256, "warnings": len(_notes(file))}
                )
                for file, one in zip(files, stored, strict=True)
            ]
        ),
        "bytes": sum(one.bytes for one in stored),
        "seconds": round(sum(file.seconds for file in files), 3),
        "keys": dg.MetadataValue.json({str(file.partition): file.upload.key for file in files}),
    }  # fmt: skip


_PAGE = 100


def _notes(file: ExportFile) -> list[str]:
    return file_notes(file.rendered.rows, file.total_rows, file.warnings, changed_cells(file.changed))


def _upload_log(
    context: dg.OutputContext, ledger: JobLedger, format: str, size: int
) -> Callable[[int], None]:
    report = ProgressReporter(ledger.open, step_of(context).dagster_run, (90, 99), format)
    log = progress_log(context)

    def say(done: int) -> None:
        report(f"Storing {format}", done, size)
        log("upload", done, size, "bytes")

    return say
