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
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import islice

from export_pipeline.jobs.commands import Commands
from export_pipeline.jobs.errors import RefusedError, UnknownJobError
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.states import Status
from export_pipeline.store.base import (
    FileStat,
    NotFoundError,
    StoreError,
    StoreUnavailableError,
)
from export_pipeline.store.keys import MANIFEST_SUFFIX, is_part_of, whole_key
from export_pipeline.store.manifest import Manifest, ManifestError, read_manifest
from export_pipeline.store.publish import is_whole, unpublish, verify_file
from export_pipeline.store.store import Store

UNFINISHED_AFTER = timedelta(days=1)
"""An unfinished upload that is older counts as aborted."""

_RECENT = timedelta(hours=1)
_PAGE = 500
_THREADS = 8


class FindingKind(StrEnum):
    """Kinds of findings about files."""

    EXPIRED = "expired"
    """The file of a job was due. It was removed, and the job is expired."""
    OUTDATED = "outdated"
    """A file without a job was due by its manifest. It was removed."""
    INCOMPLETE = "incomplete"
    """A job's file has no manifest, as its export never finished, and is past retention. It was removed."""
    LOST = "lost"
    """The file of a completed job is not in the store."""
    STRAY = "stray"
    """A requested file has no matching job."""
    FOREIGN = "foreign"
    """Nothing proves that the file belongs to this deployment. It is kept."""
    FAILED = "failed"
    """A file that was due could not be removed. The next purge tries again."""


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A file that was removed or has a problem."""

    what: FindingKind
    key: str
    job_id: str | None = None
    bytes: int | None = None
    problem: str | None = None


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
    tell: Callable[[FileFinding], None] = lambda finding: None,
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
        tell: Called with each finding.

    Raises:
        LedgerError: the ledger cannot be used.
        StoreError: the store cannot be used at all.
    """
    purged = Purged()

    def report(finding: FileFinding) -> None:
        purged.counts[finding.what] += 1
        if finding.what in (FindingKind.EXPIRED, FindingKind.OUTDATED, FindingKind.INCOMPLETE):
            purged.bytes += finding.bytes or 0
        tell(finding)

    known = KnownFiles.sharing(ledger)
    purged.ended = _expire(ledger, store, limit, until, dry_run, who, report)
    judge = _Judge(known, store, ledger.deployment(), retention, deleted_scopes)

    def own(uploads: Collection[str]) -> set[str]:
        mine = judge.own(uploads)
        for key in set(uploads) - mine:
            report(
                FileFinding(
                    FindingKind.FOREIGN, key, problem="An unfinished upload that no request has begun."
                )
            )
        return mine

    purged.uploads = store.clean(UNFINISHED_AFTER, own=own, dry_run=dry_run)
    if scan:
        purged.ended &= _scan(judge, limit - purged.removed, dry_run, report)
        _find_lost(known, store, report)
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
        due = [job for job in ledger.expirable(_PAGE + len(seen)) if job.id not in seen]
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


def _finding(what: FindingKind, job: Job, problem: str | None = None) -> FileFinding:
    return FileFinding(what, job.file_key or "", job.id, job.file_size, problem)


def _scan(judge: _Judge, limit: int, dry_run: bool, report: Callable[[FileFinding], None]) -> bool:
    """Check the files that no job has; return True if all were checked."""
    files = (file for file in judge.store.list("exports/") if judge.now - file.modified > _RECENT)
    with ThreadPoolExecutor(_THREADS, "purge") as pool:
        for page in _pages(files):
            owned = judge.known.owned([file.key for file in page])
            there = {file.key for file in page}
            others = [
                file
                for file in page
                if file.key not in owned
                and not file.key.endswith("/")  # folder markers of S3 consoles
                and not judge.is_beside(file.key, there)
            ]
            for file, finding in zip(others, pool.map(judge, others), strict=True):
                if finding is None:
                    continue
                if finding.what in (FindingKind.STRAY, FindingKind.FOREIGN):
                    report(finding)
                    continue
                if limit <= 0:
                    return False
                limit -= 1
                done = judge.removed(file, finding, dry_run)
                if done is not None:
                    report(done)
    return True


def _pages(files: Iterable[FileStat]) -> Iterator[list[FileStat]]:
    rest = iter(files)
    while page := list(islice(rest, _PAGE)):
        yield page


class _Judge:
    """Decides for files without a job whether they belong to this deployment and are due."""

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

    def __call__(self, file: FileStat) -> FileFinding | None:
        """Return the finding about a file, or about a manifest whose file is gone; None if it is in order."""
        finding = partial(FileFinding, key=file.key, bytes=file.bytes)
        if whole_key(file.key) != file.key:
            return self._judge_part(file)
        key = file.key.removesuffix(MANIFEST_SUFFIX)
        try:
            manifest = read_manifest(self.store, key)
        except (NotFoundError, ManifestError, ValueError):  # the last: an invalid key
            manifest = None
        if manifest is not None and manifest.deployment not in (None, self._deployment):
            return finding(FindingKind.FOREIGN, problem="Another deployment has made it.")
        is_file = key == file.key and not (manifest and manifest.parts)  # else it is left over beside parts
        if manifest is not None and not manifest.is_of(key, file.bytes if is_file else None):
            manifest = None
        if (manifest is None or manifest.deployment is None) and not self.known.written([key]):
            return finding(
                FindingKind.FOREIGN, problem="No manifest of this deployment and no request names it."
            )
        if manifest is None:
            if self.known.owned([key]):
                return None  # the job is reported, as its file is lost
            if self.now - file.modified > self._retention:
                return finding(FindingKind.INCOMPLETE)
            return finding(FindingKind.STRAY, problem="It has no sound manifest.")
        is_due = manifest.expires_at is not None and manifest.expires_at <= self.now
        if is_due or (manifest.dataset, manifest.scope) in self._deleted_scopes:
            return finding(FindingKind.OUTDATED)
        requested = file.key.count("/") == 2  # files of windows are in deeper folders and need no job
        # The manifest of an export in parts is judged for them; its key is not that of the job.
        is_stray = key == file.key or (manifest.parts and not self.known.owned([key]))
        return finding(FindingKind.STRAY) if requested and is_stray else None

    def _judge_part(self, file: FileStat) -> FileFinding | None:
        """Return the finding about a part; None if an export has it or an attempt may still list it."""
        if self._is_of_export(file.key) or self.now - file.modified < UNFINISHED_AFTER:
            return None
        if self.own([file.key]):
            return FileFinding(FindingKind.INCOMPLETE, file.key, bytes=file.bytes)
        problem = "No manifest of this deployment and no request names it."
        return FileFinding(FindingKind.FOREIGN, file.key, bytes=file.bytes, problem=problem)

    def _is_of_export(self, part: str) -> bool:
        """Return whether a manifest lists a part. Without a sound one, its job decides about all parts."""
        if (whole := whole_key(part)) == part:
            return False
        with suppress(NotFoundError, ManifestError):
            manifest = read_manifest(self.store, whole)
            if manifest.is_of(whole):
                return part in manifest.part_keys(whole)
        return bool(self.known.owned([whole])) or self.known.is_held(whole)

    def own(self, keys: Collection[str]) -> set[str]:
        """Return the keys that this deployment writes, by its ledger, a manifest or a part's name."""
        own = self.known.written(keys) | {key for key in keys if is_part_of(key, self._deployment)}
        for key in set(keys) - own:
            with suppress(NotFoundError, ManifestError, ValueError):
                manifest = read_manifest(self.store, whole_key(key))
                if manifest.deployment == self._deployment and manifest.is_of(whole_key(key)):
                    own.add(key)
        return own

    def is_beside(self, key: str, page: Collection[str]) -> bool:
        """Return whether a key is a manifest whose file exists; such a manifest is checked with its file."""
        file = key.removesuffix(MANIFEST_SUFFIX)
        return file != key and (file in page or _is_there(self.store.exists, file))

    def removed(self, file: FileStat, finding: FileFinding, dry_run: bool) -> FileFinding | None:
        """Remove a file that is due; return the result, or None if a job has it or it was replaced."""
        key = file.key.removesuffix(MANIFEST_SUFFIX)
        try:
            if self.known.owned([key]) or self.known.is_held(key) or self._is_of_export(key):
                return None
            if self.store.stat(file.key) != file:
                return None
            if finding.what is FindingKind.OUTDATED and key == file.key and not self.known.written([key]):
                problems = verify_file(self.store, key)
                if problems:  # somebody else has written there since
                    return replace(finding, what=FindingKind.FOREIGN, problem=problems[0])
            if not dry_run:
                judged = None
                with suppress(NotFoundError, ManifestError):
                    judged = read_manifest(self.store, key)
                self.known.note_removal(key, judged.run_id if judged else None)
                unpublish(self.store, key, unless=lambda manifest: manifest != judged)
        except NotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except StoreError as error:
            return replace(finding, what=FindingKind.FAILED, problem=str(error))
        return finding


def _find_lost(known: KnownFiles, store: Store, report: Callable[[FileFinding], None]) -> None:
    """Report completed jobs whose file is missing."""
    last = None
    with ThreadPoolExecutor(_THREADS, "purge") as pool:
        while page := known.kept(_PAGE, last):
            last = page[-1][0]
            there = pool.map(partial(_is_there, partial(is_whole, store)), [key for _, key in page])
            lost = [job for job, is_there in zip(page, there, strict=True) if not is_there]
            still = known.owned([key for _, key in lost])  # one may have expired or been deleted since
            for job_id, key in lost:
                if key in still:
                    report(FileFinding(FindingKind.LOST, key, job_id))


def _is_there(look_up: Callable[[str], bool], key: str) -> bool:
    try:
        return look_up(key)
    except ValueError:  # an invalid key
        return False
