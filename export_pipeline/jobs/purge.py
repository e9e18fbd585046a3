"""Removes files that have expired, and finds jobs without a file and files without a job.

The file of a job is removed when the job expires; the job's status changes in the same step. Other files,
such as those of schedules of the deployment, are removed when their manifest expires. Files under legal hold
are never removed: the ledger refuses to expire their jobs, and the manifest rule skips files that have a job.

Other programs and other deployments may keep files in the same place. A file belongs to this deployment if
its manifest names the deployment and describes the file, or if a job of the ledger writes its key. All other
files are reported and kept.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from export_pipeline.jobs.commands import Commands
from export_pipeline.jobs.errors import RefusedError, UnknownJobError
from export_pipeline.jobs.file_findings import FileFinding, FindingKind
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.orphans import PAGE, THREADS, UNFINISHED_AFTER, OrphanCheck, check_orphans, is_there
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.states import Status
from export_pipeline.store.base import (
    StoreError,
    StoreUnavailableError,
)
from export_pipeline.store.manifest import Manifest
from export_pipeline.store.publish import is_whole, unpublish
from export_pipeline.store.store import Store


@dataclass(slots=True)
class Purged:
    """Results of a purge, or of a dry run.

    Attributes:
        counts: Number of findings of each kind.
        bytes: Bytes freed, as far as sizes are known.
        uploads: Number of unfinished uploads that were aborted.
        events: Number of old events that were deleted; a dry run counts up to 10,000.
        ended: True if everything was checked; False if the limit or the time ran out first.
    """

    counts: Counter[FindingKind] = field(default_factory=Counter)
    bytes: int = 0
    uploads: int = 0
    events: int = 0
    ended: bool = True

    @property
    def removed(self) -> int:
        """Number of files that were removed."""
        return (
            self.counts[FindingKind.EXPIRED]
            + self.counts[FindingKind.OUTDATED]
            + self.counts[FindingKind.INCOMPLETE]
        )


def purge(
    ledger: Ledger,
    store: Store,
    *,
    retention: timedelta,
    dry_run: bool = False,
    scan: bool = True,
    deleted_scopes: Collection[tuple[str, str]] = (),
    events_kept: timedelta | None = None,
    limit: int = 10_000,
    until: float = math.inf,
    who: str | None = None,
    report: Callable[[FileFinding], None] = lambda finding: None,
) -> Purged:
    """Remove files that are due, and find jobs and files that do not match.

    Memory use does not grow with the number of jobs and files. Concurrent purges are safe, and the next purge
    finishes one that was killed.

    Args:
        retention: Time to keep a file that has neither a completed job nor a manifest.
        dry_run: Change nothing; report what would be done.
        scan: Also check every file of the store and the file of every completed job.
        deleted_scopes: Pairs of dataset and scope whose files are removed, whatever their manifests say.
        events_kept: Time to keep events of requests that have ended, and answered commands; None for ever.
        limit: Maximum number of files to remove.
        until: Time of `time.monotonic` after which no more jobs are expired; the next purge continues.
        who: The actor recorded in the jobs' events.
        report: Called with each finding.

    Raises:
        LedgerError: the ledger cannot be used.
        StoreError: the store cannot be used at all.
    """
    purged = Purged()

    def count(finding: FileFinding) -> None:
        purged.counts[finding.kind] += 1
        if finding.kind in (FindingKind.EXPIRED, FindingKind.OUTDATED, FindingKind.INCOMPLETE):
            purged.bytes += finding.bytes or 0
        report(finding)

    known = KnownFiles.sharing(ledger)
    purged.ended = _expire(ledger, store, limit, until, dry_run, who, count)
    orphans = OrphanCheck(known, store, ledger.deployment(), retention, deleted_scopes)

    def own_uploads(uploads: Collection[str]) -> set[str]:
        mine = orphans.own_keys(uploads)
        for key in set(uploads) - mine:
            count(
                FileFinding(
                    FindingKind.FOREIGN, key, problem="An unfinished upload that no request has begun."
                )
            )
        return mine

    purged.uploads = store.clean(UNFINISHED_AFTER, own=own_uploads, dry_run=dry_run)
    if scan:
        purged.ended &= check_orphans(orphans, limit - purged.removed, dry_run, count)
        _find_lost(known, store, count)
    while events_kept is not None and (forgotten := ledger.forget_events(events_kept, dry_run=dry_run)):
        purged.events += forgotten
        if dry_run:
            break
    if events_kept is not None and not dry_run:
        Commands.sharing(ledger).forget(events_kept)
    return purged


def _expire(
    ledger: Ledger,
    store: Store,
    limit: int,
    until: float,
    dry_run: bool,
    who: str | None,
    report: Callable[[FileFinding], None],
) -> bool:
    """Expire the jobs that are due; return True if none is left."""
    if dry_run:
        due = ledger.expirable(limit + 1)
        for job in due[:limit]:
            report(_finding(FindingKind.EXPIRED, job))
        return len(due) <= limit
    seen: set[str] = set()
    while len(seen) < limit:
        # Jobs whose file could not be removed are still due, and come first again.
        due = [job for job in ledger.expirable(PAGE + len(seen)) if job.id not in seen]
        if not due:
            return True
        for job in due[: limit - len(seen)]:
            if time.monotonic() >= until:
                return False
            seen.add(job.id)
            removals: list[str] = []  # stays empty if a purge at the same time was first

            def remove(key: str, sha256: str = job.sha256 or "", removals: list[str] = removals) -> None:
                unpublish_own(ledger, store, key, sha256)
                removals.append(key)

            try:
                if ledger.expire(job.id, remove, who).status is Status.EXPIRED and removals:
                    report(_finding(FindingKind.EXPIRED, job))
            except (RefusedError, UnknownJobError):
                continue  # held, released, deleted or extended since
            except StoreUnavailableError:
                raise
            except (StoreError, ValueError) as error:  # the latter: the row holds an invalid key
                report(_finding(FindingKind.FAILED, job, str(error)))
    return not ledger.expirable(1)


def unpublish_own(ledger: Ledger, store: Store, key: str, sha256: str | None = None) -> None:
    """Remove a job's file and manifest, unless they are not, or no longer, this deployment's.

    The row of the job alone proves nothing: somebody may have written a key of another file into it.

    Args:
        sha256: SHA-256 of the job's file. If given, a file with a different one is kept until its own
            manifest expires: somebody may have exported the window again by hand.
    """
    deployment, known = ledger.deployment(), KnownFiles.sharing(ledger)

    def is_others(manifest: Manifest | None) -> bool:
        if manifest is not None and manifest.deployment not in (None, deployment):
            return True
        is_proof = manifest is not None and manifest.deployment is not None and manifest.is_of(key)
        if not is_proof and not known.written([key]):
            return True
        if manifest is None:
            return False
        is_due = manifest.expires_at is None or manifest.expires_at <= datetime.now(UTC)
        return sha256 not in (None, manifest.sha256) and not is_due

    unpublish(store, key, unless=is_others)


def _finding(kind: FindingKind, job: Job, problem: str | None = None) -> FileFinding:
    return FileFinding(kind, job.file_key or "", job.id, job.file_size, problem)


def _find_lost(known: KnownFiles, store: Store, report: Callable[[FileFinding], None]) -> None:
    """Report completed jobs whose file is missing."""
    last = None
    with ThreadPoolExecutor(THREADS, "purge") as pool:
        while page := known.kept(PAGE, last):
            last = page[-1][0]
            there = pool.map(partial(is_there, partial(is_whole, store)), [key for _, key in page])
            lost = [job for job, is_there in zip(page, there, strict=True) if not is_there]
            still = known.owned([key for _, key in lost])  # one may have expired or been deleted since
            for job_id, key in lost:
                if key in still:
                    report(FileFinding(FindingKind.LOST, key, job_id))
