"""Checks of the services that exports need: the source, the store and the queue of requests."""

from __future__ import annotations

from collections.abc import Iterator

from export_pipeline.health.disks import room_findings
from export_pipeline.health.findings import Finding
from export_pipeline.jobs import Ledger, LedgerError, LedgerUnavailableError
from export_pipeline.jobs.store_claim import StoreClaim, StoreClaimError
from export_pipeline.settings import Settings

_MORE_ROOM = (
    "`export-pipeline purge --dry-run` says what would go now; else give it a larger disk, or keep files for "
    "fewer days (EXPORT_RETENTION_DAYS, retention_days)."
)


def source_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the application's database can be read."""
    from export_pipeline.sources.snapshot import SourceError, open_snapshot

    try:
        with open_snapshot(settings.source_url, statement_timeout=10):
            pass
    except SourceError as error:
        yield Finding("source_unreachable", str(error), "Start the database or correct EXPORT_SOURCE_URL.")


def queue_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the queue of requests can be used and has a dead-letter queue."""
    from export_pipeline.intake.sqs import QueueError, has_dead_letters

    if settings.queue_url is None:
        return
    try:
        if not has_dead_letters(settings):
            yield Finding(
                "queue_without_dead_letters",
                "The queue of EXPORT_QUEUE_URL has no dead letters: a wrong message comes again and again.",
                "Give it a redrive policy.",
                is_advice=True,
            )
    except QueueError as error:
        yield Finding(
            "queue_unusable", str(error), "Correct EXPORT_QUEUE_URL, or the rights; requests wait there."
        )


def store_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the store can write, read and delete files, and that it has free space."""
    from export_pipeline.configured_store import open_configured_store
    from export_pipeline.store import StoreError, StoreUnavailableError
    from export_pipeline.store.folder import FolderStore

    do = "Correct EXPORT_STORE_URL, the rights or the server; requests fail until then."
    try:
        store = open_configured_store(settings)
        limit = store.check()
    except StoreUnavailableError as error:
        # A folder without a marker waits for the ledger. `ledger_findings` reports that the ledger is down.
        if not isinstance(error.__cause__, LedgerUnavailableError):
            yield Finding("store_unreachable", str(error), do)
        return
    except StoreError as error:
        yield Finding("store_unusable", str(error), do)
        return
    if limit is not None:
        advice = "docs/operating.md tells when that matters, and which servers have no such limit."
        yield Finding("store_limited", limit, advice, is_advice=True)
    try:
        with Ledger(settings.jobs_url) as ledger:
            StoreClaim.sharing(ledger).check(store)
    except StoreClaimError as error:
        yield Finding(
            "store_of_a_copy", str(error), "Give each ledger a store of its own; nothing is purged."
        )
    except (LedgerError, StoreError):
        pass  # `ledger_findings` and the check above report these
    if isinstance(store, FolderStore):
        yield from room_findings("store_full", store.root, _MORE_ROOM)
