"""Removes files whose time has come, and finds jobs without their file and files without a job.

A file of a job goes when the ledger says so, together with the job's new status; other files, such as those
of schedules of the deployment, when their manifest says so. Nothing under legal hold is touched: the ledger
refuses it, and a file that a job still has is none of the others.

Other programs and other deployments may keep files in the same place. A file is this deployment's if its
manifest names the deployment and describes the file, or if a job of the ledger writes its key. All others are
reported and stay.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from export_pipeline.store.publish import read_manifest, unpublish, verify_file

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
    """A job's file without a manifest, as its export never ended, older than files are kept: it is gone."""
    LOST = "lost"
    """A completed job's file is not in the store."""
    STRAY = "stray"
    """A requested file that no job has."""
    FOREIGN = "foreign"
    """A file that nothing proves to be this deployment's. It stays."""
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
        events: Old events that were deleted; a dry run counts the first 10,000.
        ended: Whether everything was looked at; False where the limit or the time came first.
    """

    counts: Counter[What] = field(default_factory=Counter)
    bytes: int = 0
    uploads: int = 0
    events: int = 0
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
    deleted_scopes: Collection[tuple[str, str]] = (),
    events_kept: timedelta | None = None,
    limit: int = 10_000,
    until: float = math.inf,
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
        deleted_scopes: Dataset and scope of those whose files go, whatever their manifests say.
        events_kept: How long events of requests that have ended are kept; None for ever.
        limit: Remove at most so many files.
        until: Expire no job after that, by `time.monotonic`; the next purge goes on.
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
    deployment = ledger.deployment()
    purged.ended = _expire(ledger, store, deployment, limit, until, dry_run, who, found)
    judge = _Judge(known, store, deployment, retention, deleted_scopes)

    def own(uploads: Collection[str]) -> set[str]:
        mine = judge.own(uploads)
        for key in set(uploads) - mine:
            found(Finding(What.FOREIGN, key, problem="An unfinished upload that no request has begun."))
        return mine

    purged.uploads = store.clean(UNFINISHED_AFTER, own=own, dry_run=dry_run)
    if scan:
        purged.ended &= _scan(judge, limit - purged.removed, dry_run, found)
        _find_lost(known, store, found)
    while events_kept is not None and (forgotten := ledger.forget_events(events_kept, dry_run=dry_run)):
        purged.events += forgotten
        if dry_run:
            break
    return purged


def _expire(
    ledger: Ledger,
    store: Store,
    deployment: str,
    limit: int,
    until: float,
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
            if time.monotonic() >= until:
                return False
            seen.add(job.id)
            try:
                remove = partial(unpublish_own, store, deployment, sha256=job.sha256 or "")
                if ledger.expire(job.id, remove, who).status is Status.EXPIRED:
                    found(_finding(What.EXPIRED, job))
            except (RefusedError, UnknownJobError):
                continue  # held, released, deleted or extended since
            except StoreUnavailableError:
                raise
            except (StoreError, ValueError) as error:  # the latter: what somebody wrote there is no key
                found(_finding(What.FAILED, job, str(error)))
    return not ledger.expirable(1)


def unpublish_own(store: Store, deployment: str, key: str, sha256: str | None = None) -> None:
    """Remove a job's file and manifest, unless another deployment that shares the store has replaced them.

    Args:
        sha256: If given, a file with another one stays until its own manifest says that it is due: a window
            may have been made anew by hand.
    """
    with suppress(NotFoundError, ManifestError):
        manifest = read_manifest(store, key)
        if manifest.deployment not in (None, deployment):
            return
        is_due = manifest.expires_at is None or manifest.expires_at <= datetime.now(UTC)
        if sha256 not in (None, manifest.sha256) and not is_due:
            return
    unpublish(store, key)


def _finding(what: What, job: Job, problem: str | None = None) -> Finding:
    return Finding(what, job.file_key or "", job.id, job.file_size, problem)


def _scan(judge: _Judge, limit: int, dry_run: bool, found: Callable[[Finding], None]) -> bool:
    """Look at the files that no job has; whether all were."""
    files = (file for file in judge.store.list("exports/") if judge.now - file.modified > _SETTLED_AFTER)
    with ThreadPoolExecutor(_THREADS, "purge") as pool:
        for page in _pages(files):
            owned = judge.known.owned([file.key for file in page])
            there = {file.key for file in page}
            others = [
                file
                for file in page
                if file.key not in owned
                and not file.key.endswith("/")  # S3 consoles' folders
                and not judge.is_beside(file.key, there)
            ]
            for file, finding in zip(others, pool.map(judge, others), strict=True):
                if finding is None:
                    continue
                if finding.what in (What.STRAY, What.FOREIGN):
                    found(finding)
                    continue
                if limit <= 0:
                    return False
                limit -= 1
                done = judge.removed(file, finding, dry_run)
                if done is not None:
                    found(done)
    return True


def _pages(files: Iterable[FileStat]) -> Iterator[list[FileStat]]:
    rest = iter(files)
    while page := list(islice(rest, _PAGE)):
        yield page


class _Judge:
    """Says of files that no job has whose they are, and whether they are due."""

    def __init__(
        self,
        known: KnownFiles,
        store: Store,
        deployment: str,
        retention: timedelta,
        deleted_scopes: Collection[tuple[str, str]],
    ) -> None:
        self.known, self.store, self._deleted_scopes = known, store, deleted_scopes
        self._deployment, self._retention = deployment, retention
        self.now = datetime.now(UTC)

    def __call__(self, file: FileStat) -> Finding | None:
        """Return what there is to say about a file, or about a manifest whose file is gone."""
        found = partial(Finding, key=file.key, bytes=file.bytes)
        key = file.key.removesuffix(MANIFEST_SUFFIX)
        try:
            manifest = read_manifest(self.store, key)
        except (NotFoundError, ManifestError, ValueError):  # the last: no key that a store could have
            manifest = None
        if manifest is not None and manifest.deployment not in (None, self._deployment):
            return found(What.FOREIGN, problem="Another deployment has made it.")
        if manifest is not None and not manifest.is_of(key, None if key != file.key else file.bytes):
            manifest = None
        if (manifest is None or manifest.deployment is None) and not self.known.written([key]):
            return found(What.FOREIGN, problem="No manifest of this deployment and no request names it.")
        if manifest is None:
            if self.now - file.modified > self._retention:
                return found(What.INCOMPLETE)
            return found(What.STRAY, problem="It has no sound manifest.")
        is_due = manifest.expires_at is not None and manifest.expires_at <= self.now
        if is_due or (manifest.dataset, manifest.scope) in self._deleted_scopes:
            return found(What.OUTDATED)
        requested = file.key.count("/") == 2  # windows' files lie deeper, and need no job
        return found(What.STRAY) if requested and key == file.key else None

    def own(self, keys: Collection[str]) -> set[str]:
        """Return those of some keys that this deployment writes, as its ledger or a manifest says."""
        own = self.known.written(keys)
        for key in set(keys) - own:
            with suppress(NotFoundError, ManifestError, ValueError):
                manifest = read_manifest(self.store, key)
                if manifest.deployment == self._deployment and manifest.is_of(key):
                    own.add(key)
        return own

    def is_beside(self, key: str, page: Collection[str]) -> bool:
        """Return whether a key is that of a manifest beside its file, which speaks for both."""
        file = key.removesuffix(MANIFEST_SUFFIX)
        return file != key and (file in page or _is_there(self.store, file))

    def removed(self, file: FileStat, finding: Finding, dry_run: bool) -> Finding | None:
        """Remove a file that is due; return what became of it, None if a job has it or it was replaced."""
        key = file.key.removesuffix(MANIFEST_SUFFIX)
        try:
            if self.known.owned([key]) or self.store.stat(file.key) != file:
                return None
            if finding.what is What.OUTDATED and key == file.key and not self.known.written([key]):
                problems = verify_file(self.store, key)
                if problems:  # somebody else has written there since
                    return replace(finding, what=What.FOREIGN, problem=problems[0])
            if not dry_run:
                run_id = None
                with suppress(NotFoundError, ManifestError):
                    run_id = read_manifest(self.store, key).run_id
                self.known.note_removal(key, run_id)
                unpublish(self.store, key)
        except NotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except StoreError as error:
            return replace(finding, what=What.FAILED, problem=str(error))
        return finding


def _find_lost(known: KnownFiles, store: Store, found: Callable[[Finding], None]) -> None:
    """Completed jobs whose file is not there."""
    last = None
    with ThreadPoolExecutor(_THREADS, "purge") as pool:
        while page := known.kept(_PAGE, last):
            last = page[-1][0]
            there = pool.map(partial(_is_there, store), [key for _, key in page])
            lost = [job for job, is_there in zip(page, there, strict=True) if not is_there]
            still = known.owned([key for _, key in lost])  # one may have expired or been deleted since
            for job_id, key in lost:
                if key in still:
                    found(Finding(What.LOST, key, job_id))


def _is_there(store: Store, key: str) -> bool:
    try:
        return store.exists(key)
    except ValueError:  # no key that a store could have
        return False
