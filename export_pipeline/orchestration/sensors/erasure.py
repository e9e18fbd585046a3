"""Erase the content of removed files from Dagster's database: preview rows, totals, titles, config.

Code that removes a file writes its key into the ledger in the same transaction, or before. So no removal is
lost if Dagster is unavailable: the next tick of the purge sensor tries again. Events are rewritten, not
deleted: the record that a run made a file, its size and its row count stay.
"""

from __future__ import annotations

import logging
import time
from urllib.parse import unquote

import dagster as dg
import sqlalchemy as sa

from export_pipeline.datasets.partition_keys import labelled_ending, scope_key
from export_pipeline.formats.registry import UnknownFormatError, format_of
from export_pipeline.jobs import Ledger, LedgerError
from export_pipeline.jobs.inline import is_inline_run
from export_pipeline.jobs.known_files import KnownFiles, Removal
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.dagster_compat.event_log import (
    erase_content,
    erase_runless_content,
    runs_of_partition,
)
from export_pipeline.orchestration.dagster_compat.runs import erase_config
from export_pipeline.orchestration.partitions import SCOPE_TAG, scope_tag
from export_pipeline.redaction import hide_in_error
from export_pipeline.store import Store, StoreError
from export_pipeline.store.keys import NO_SCOPE
from export_pipeline.store.publish import is_whole

_logger = logging.getLogger(__name__)
_PAGE = 100

KEPT = frozenset(
    {"dagster/row_count", "dagster/column_schema", "dagster/column_lineage", "rows in source", "data as of",
     "period", "bytes", "sha256", "key", "keys", "files", "wrong files", "expires", "seconds", "rows in file",
     "rows rendered", "rows this format cannot express", "size", "scope"}
)  # fmt: skip
"""Names of metadata that reveal nothing about the content of a file."""


def erase_removed_files(
    ledger: Ledger, store: Store, instance: dg.DagsterInstance, until: float = float("inf")
) -> int:
    """Erase the content of all removed files from Dagster's database. Return the number of files.

    Files of runs that have not ended are left for the next call, as these runs will still write events. So
    is a file whose content cannot be removed: this is logged, and stops no other.

    Args:
        until: Deadline on the clock of `time.monotonic`.

    Raises:
        LedgerError: the ledger cannot be used.
        StoreError: the store cannot be used.
        sqlalchemy.exc.DBAPIError: Dagster's database cannot be used.
    """
    known, after, done = KnownFiles.sharing(ledger), 0, 0
    while page := known.removals(_PAGE, after):
        for removal in page:
            after = removal.id
            if time.monotonic() > until:
                return done
            try:
                is_done = _forget(removal, ledger, store, instance)
            except (LedgerError, StoreError, sa.exc.DBAPIError):
                raise  # no other could be removed
            except Exception as error:
                hide_in_error(error)
                _logger.exception("What Dagster knows of %s cannot be removed", removal.file_key)
                continue
            if is_done:
                known.forget(removal)
                done += 1
    return done


def _forget(removal: Removal, ledger: Ledger, store: Store, instance: dg.DagsterInstance) -> bool:
    try:
        step = f"render_{format_of(removal.file_key).name}"
    except UnknownFormatError:
        return True  # not an export file
    if is_inline_run(removal.run_id):
        erase_runless_content(instance, removal.file_key, KEPT)
        return True
    run_ids = [removal.run_id] if removal.run_id else []
    if not is_whole(store, removal.file_key):
        run_ids += _runs_of_window(removal.file_key, step, instance)
    for run_id in dict.fromkeys(run_ids):
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            return False
        erase_content(instance, run_id, run is not None, step, removal.file_key, KEPT)
        jobs = ledger.of_run(run_id)
        if any(job.is_extra and job.file_key == removal.file_key for job in jobs):
            erase_runless_content(instance, removal.file_key, KEPT)  # if the run could not tell of it
        is_needed = any(job.deleted_at is None and job.status is not Status.EXPIRED for job in jobs)
        if run is not None and not is_needed:
            erase_config(instance, run_id)
    return True


def _runs_of_window(key: str, step: str, instance: dg.DagsterInstance) -> list[str]:
    """Return all runs that have made the file of a window. Each replaces the file of the run before it."""
    segments = [unquote(segment) for segment in key.split("/")]
    if len(segments) != 5:
        return []
    _, scope, dataset, cadence, name = segments
    window = name.rpartition(".")[0]
    asset = dg.AssetKey([dataset, cadence, step.removeprefix("render_")])
    if key.split("/")[1] == NO_SCOPE:
        return runs_of_partition(instance, asset, [window])
    ending = f"{labelled_ending(scope)}|{window}"
    runs = runs_of_partition(instance, asset, [f"{scope_key(scope)}|{window}"], ending)
    # A partition that is only a window has files of all scopes.
    of_scope = instance.get_run_records(dg.RunsFilter(tags={SCOPE_TAG: scope_tag(scope)}))
    run_ids = [record.dagster_run.run_id for record in of_scope]
    return runs + runs_of_partition(instance, asset, [window], run_ids=run_ids)
