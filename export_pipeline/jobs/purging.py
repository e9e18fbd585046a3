"""Removes files whose time has come, and finds jobs without their file and files without a job.

A file of a job goes when the ledger says so, together with the job's new status; other files, such as those
of schedules of the deployment, when their manifest says so. Nothing under legal hold is touched: the ledger
refuses it, and a file that a job still has is none of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import islice

from export_pipeline.jobs.errors import RefusedError, UnknownJobError
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.states import Status
from export_pipeline.store.base import FileStat, NotFoundError, Store, StoreError, StoreUnavailableError
from export_pipeline.store.keys import MANIFEST_SUFFIX
from export_pipeline.store.manifest import ManifestError
from export_pipeline.store.publish import read_manifest, unpublish

UNFINISHED_AFTER = timedelta(days=1)
"""An upload begun longer ago is taken for aborted."""

_SETTLED_AFTER = timedelta(hours=1)
_PAGE = 500
_THREADS = 8


class What(StrEnum):
    """What became of a file, or was found about it."""

    EXPIRED = "expired"
    """A job's file was due: it is gone, and the job is expired."""
    OUTDATED = "outdated"
    """No job's file, due by its manifest: it is gone."""
    INCOMPLETE = "incomplete"
    """A file without a manifest, so of an export that never ended, older than files are kept: it is gone."""
    LOST = "lost"
    """A completed job's file is not in the store."""
    STRAY = "stray"
    """A requested file that no job has."""
    FAILED = "failed"
    """What was due could not be removed; the next purge tries it again."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One file that was removed, or about which something is to be said."""

    what: What
    key: str
    job_id: str | None = None
    bytes: int | None = None
    problem: str | None = None


@dataclass(slots=True)
class Purged:
    """What a purge did, or a dry run would do.

    Attributes:
        counts: Of findings of each kind.
        bytes: Freed, as far as it is known.
        uploads: Unfinished uploads that were aborted.
        ended: Whether everything was looked at; False where the limit came first.
    """

    counts: Counter[What] = field(default_factory=Counter)
    bytes: int = 0
    uploads: int = 0
    ended: bool = True

    @property
    def removed(self) -> int:
        """Files that are gone."""
        return self.counts[What.EXPIRED] + self.counts[What.OUTDATED] + self.counts[What.INCOMPLETE]


def purge(
    ledger: Ledger,
    store: Store,
    *,
    retention: timedelta,
    dry_run: bool = False,
    scan: bool = True,
    limit: int = 10_000,
    who: str | None = None,
    tell: Callable[[Finding], None] = lambda finding: None,
) -> Purged:
    """Remove what is due, and find what does not fit together.

    Memory does not grow with the number of jobs and files. Several purges at once do no harm, and one that
    was killed is finished by the next.

    Args:
        retention: How long a file is kept that neither a job nor a manifest speaks of.
        dry_run: Change nothing; tell what would be done.
        scan: Also look at every file of the store and of every completed job.
        limit: Remove at most so many files.
        who: For the jobs' records.
        tell: Called with each finding.

    Raises:
        LedgerError: the ledger cannot be used.
        StoreError: the store cannot be used at all.
    """
    purged = Purged()

    def found(finding: Finding) -> None:
        purged.counts[finding.what] += 1
        if finding.what in (What.EXPIRED, What.OUTDATED, What.INCOMPLETE):
            purged.bytes += finding.bytes or 0
        tell(finding)

    known = KnownFiles.beside(ledger)
    purged.ended = _expire(ledger, store, limit, dry_run, who, found)
    purged.uploads = store.clean(UNFINISHED_AFTER, dry_run=dry_run)
    if scan:
        purged.ended &= _scan(known, store, retention, limit - purged.removed, dry_run, found)
        _find_lost(known, store, found)
    return purged


def _expire(
    ledger: Ledger,
    store: Store,
    limit: int,
    dry_run: bool,
    who: str | None,
    found: Callable[[Finding], None],
) -> bool:
    """Expire the jobs that are due; whether none is left."""
    if dry_run:
        due = ledger.expirable(limit + 1)
        for job in due[:limit]:
            found(_finding(What.EXPIRED, job))
        return len(due) <= limit
    seen: set[str] = set()
    while len(seen) < limit:
        # Those that could not be removed are still due, and come first again.
        due = [job for job in ledger.expirable(_PAGE + len(seen)) if job.id not in seen]
        if not due:
            return True
        for job in due[: limit - len(seen)]:
            seen.add(job.id)
            try:
                if ledger.expire(job.id, partial(_remove_of, store, job), who).status is Status.EXPIRED:
                    found(_finding(What.EXPIRED, job))
            except (RefusedError, UnknownJobError):
                continue  # held, released, deleted or extended since
            except StoreUnavailableError:
                raise
            except StoreError as error:
                found(_finding(What.FAILED, job, str(error)))
    return not ledger.expirable(1)


def _remove_of(store: Store, job: Job, key: str) -> None:
    """Remove a job's file. One that was made anew since, of a window by hand, goes when its manifest says."""
    try:
        manifest = read_manifest(store, key)
    except (NotFoundError, ManifestError):
        pass
    else:
        if job.sha256 != manifest.sha256 and manifest.expires_at and manifest.expires_at > datetime.now(UTC):
            return
    unpublish(store, key)


def _finding(what: What, job: Job, problem: str | None = None) -> Finding:
    return Finding(what, job.file_key or "", job.id, job.file_size, problem)


def _scan(
    known: KnownFiles,
    store: Store,
    retention: timedelta,
    limit: int,
    dry_run: bool,
    found: Callable[[Finding], None],
) -> bool:
    """Look at the files that no job has; whether all were."""
    now = datetime.now(UTC)
    files = (
        file
        for file in store.list("exports/")
        if not file.key.endswith(MANIFEST_SUFFIX) and now - file.modified > _SETTLED_AFTER
    )
    with ThreadPoolExecutor(_THREADS, "purge") as pool:
        for page in _pages(files):
            owned = known.owned([file.key for file in page])
            others = [file for file in page if file.key not in owned]
            for finding in pool.map(lambda file: _judge(store, file, now, retention), others):
                if finding is None:
                    continue
                if finding.what is What.STRAY:
                    found(finding)
                    continue
                if limit <= 0:
                    return False
                limit -= 1
                done = finding if dry_run else _removed(known, store, finding)
                if done is not None:
                    found(done)
    return True


def _pages(files: Iterable[FileStat]) -> Iterator[list[FileStat]]:
    rest = iter(files)
    while page := list(islice(rest, _PAGE)):
        yield page


def _judge(store: Store, file: FileStat, now: datetime, retention: timedelta) -> Finding | None:
    """What there is to say about a file that no job has."""
    try:
        expires_at = read_manifest(store, file.key).expires_at
    except (NotFoundError, ManifestError):
        if now - file.modified > retention:
            return Finding(What.INCOMPLETE, file.key, bytes=file.bytes)
        return Finding(What.STRAY, file.key, bytes=file.bytes, problem="It has no sound manifest.")
    if expires_at is not None and expires_at <= now:
        return Finding(What.OUTDATED, file.key, bytes=file.bytes)
    requested = file.key.count("/") == 2  # windows' files lie deeper, and need no job
    return Finding(What.STRAY, file.key, bytes=file.bytes) if requested else None


def _removed(known: KnownFiles, store: Store, finding: Finding) -> Finding | None:
    """Remove a file that no job has; None if one has it by now."""
    if known.owned([finding.key]):
        return None
    try:
        unpublish(store, finding.key)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        return Finding(What.FAILED, finding.key, bytes=finding.bytes, problem=str(error))
    return finding


def _find_lost(known: KnownFiles, store: Store, found: Callable[[Finding], None]) -> None:
    """Completed jobs whose file is not there."""
    last = None
    with ThreadPoolExecutor(_THREADS, "purge") as pool:
        while page := known.kept(_PAGE, last):
            last = page[-1][0]
            there = pool.map(store.exists, [key for _, key in page])
            lost = [job for job, is_there in zip(page, there, strict=True) if not is_there]
            still = known.owned([key for _, key in lost])  # one may have expired or been deleted since
            for job_id, key in lost:
                if key in still:
                    found(Finding(What.LOST, key, job_id))
