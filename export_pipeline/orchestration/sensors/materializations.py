"""Report files to Dagster that no run has reported: those of the HTTP service and of dead runs.

A file is claimed in the ledger, reported, and forgotten there. If the daemon dies in between, the next tick
asks Dagster whether it knows the file already, so that each is reported once.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import timedelta

import dagster as dg

from export_pipeline.datasets.export_file import ON_DEMAND, FileSummary
from export_pipeline.datasets.partition_keys import scope_key
from export_pipeline.delivery.queue import LEASE
from export_pipeline.formats.registry import format_of
from export_pipeline.jobs import Job, Ledger, LedgerError
from export_pipeline.jobs.materializations import Materializations, Unreported
from export_pipeline.orchestration.checks import asset_check_results
from export_pipeline.orchestration.dagster_compat.checks import has_check_result, report_check
from export_pipeline.orchestration.file_metadata import content_tags, download_link, file_metadata
from export_pipeline.orchestration.partitions import add_scope
from export_pipeline.orchestration.sensors.maintenance import maintenance_sensor
from export_pipeline.settings import load_settings

_logger = logging.getLogger(__name__)
_EARLIER = timedelta(minutes=5)
"""The clocks of the ledger and of Dagster may differ so much."""
_LOOKED_AT = 500


def report_materializations(
    ledger: Ledger,
    ledger_url: str,
    api_url: str | None,
    instance: dg.DagsterInstance,
    until: float = float("inf"),
) -> int:
    """Report all files that were not reported yet. Return their number.

    A file that cannot be reported is logged and left for the next call.

    Args:
        api_url: Public address of the HTTP service, for links.
        until: Deadline on the clock of `time.monotonic`.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    unreported, done = Materializations.sharing(ledger), 0
    tried: set[str] = set()
    # One at a time: an export that is deleted meanwhile is not reported.
    while time.monotonic() <= until and (file := unreported.claim()) is not None:
        job = file.job
        if job.id in tried:
            break  # only those are left that cannot be reported
        tried.add(job.id)
        try:
            if not file.is_doubtful or not _is_known(instance, job):
                _report(instance, file, ledger_url, api_url)
                done += 1
            if not file.is_doubtful or not has_check_result(instance, _asset_key(job), str(job.file_key)):
                _report_checks(instance, file)
        except LedgerError:
            raise
        except Exception as error:  # whatever is wrong with one file, the others are reported
            _logger.error("Export %s cannot be reported to Dagster: %s", job.id, error)
            continue
        unreported.forget(job.id)
    return done


def _report(instance: dg.DagsterInstance, file: Unreported, ledger_url: str, api_url: str | None) -> None:
    summary = FileSummary.model_validate(file.summary)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            _asset_key(file.job),
            metadata=file_metadata(summary, download_link(ledger_url, api_url, file.job.id)),
            partition=_partition(instance, file.job, summary.scope_name),
            tags=content_tags(summary.choices),
        )
    )


def _report_checks(instance: dg.DagsterInstance, file: Unreported) -> None:
    summary = FileSummary.model_validate(file.summary)
    partition = _partition(instance, file.job, summary.scope_name)
    for result in asset_check_results(_asset_key(file.job), summary.checks):
        report_check(instance, result, partition, summary.key)


def _asset_key(job: Job) -> dg.AssetKey:
    return dg.AssetKey([job.dataset, ON_DEMAND, format_of(str(job.file_key)).name])


def _partition(instance: dg.DagsterInstance, job: Job, scope_name: str | None) -> str | None:
    """Return the partition of a job's file, and let Dagster know it."""
    if job.scope is None:
        return None
    with suppress(ValueError):  # Dagster cannot have the scope as a partition
        return add_scope(instance, job.dataset, scope_key(job.scope, scope_name))
    return None


def _is_known(instance: dg.DagsterInstance, job: Job) -> bool:
    """Return whether Dagster has a materialization of a job's file."""
    since = (job.created_at - _EARLIER).timestamp()
    of_asset = dg.AssetRecordsFilter(_asset_key(job), after_timestamp=since)
    known = instance.fetch_materializations(of_asset, limit=_LOOKED_AT).records
    made = (record.asset_materialization for record in known)
    return any(one and "key" in one.metadata and one.metadata["key"].value == job.file_key for one in made)


def _report_materializations(context: dg.SensorEvaluationContext, until: float) -> str:
    resource, instance = context.resources.ledger, context.instance
    url = load_settings().api_url
    reported = report_materializations(resource.open(), resource.url, url, instance, until)
    return f"{reported} files are reported." if reported else "There is no new file."


materializations_sensor = maintenance_sensor(
    "materializations_sensor",
    10,
    "Reports files that no run has reported: those of the HTTP service and of dead runs.",
    _report_materializations,
    abandoned_after=LEASE.total_seconds(),
)
