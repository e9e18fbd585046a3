"""Files of the store without a job in the ledger: whose they are, and whether they are due for removal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from export_pipeline.jobs.file_findings import FileFinding, FindingKind
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.store.base import FileStat, NotFoundError, StoreError, StoreUnavailableError
from export_pipeline.store.keys import MANIFEST_SUFFIX, is_part_of, whole_key
from export_pipeline.store.manifest import ManifestError, read_manifest
from export_pipeline.store.publish import unpublish, verify_file
from export_pipeline.store.store import Store

UNFINISHED_AFTER = timedelta(days=1)
"""An unfinished upload that is older counts as aborted."""
PAGE = 500
THREADS = 8
_RECENT = timedelta(hours=1)


def check_orphans(
    check: OrphanCheck, limit: int, dry_run: bool, report: Callable[[FileFinding], None]
) -> bool:
    """Report the files that no job has, and remove those that are due. Return True if all were checked.

    Args:
        limit: Maximum number of files to remove.
    """
    files = (file for file in check.store.list("exports/") if check.now - file.modified > _RECENT)
    with ThreadPoolExecutor(THREADS, "purge") as pool:
        for page in _pages(files):
            owned = check.known.owned([file.key for file in page])
            there = {file.key for file in page}
            others = [
                file
                for file in page
                if file.key not in owned
                and not file.key.endswith("/")  # folder markers of S3 consoles
                and not check.has_present_file(file.key, there)
            ]
            for file, finding in zip(others, pool.map(check, others), strict=True):
                if finding is None:
                    continue
                if finding.kind in (FindingKind.STRAY, FindingKind.FOREIGN):
                    report(finding)
                    continue
                if limit <= 0:
                    return False
                limit -= 1
                done = check.remove(file, finding, dry_run)
                if done is not None:
                    report(done)
    return True


def _pages(files: Iterable[FileStat]) -> Iterator[list[FileStat]]:
    rest = iter(files)
    while page := list(islice(rest, PAGE)):
        yield page


class OrphanCheck:
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
            return self._check_part(file)
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
        # The manifest of an export in parts is checked for them; its key is not that of the job.
        is_stray = key == file.key or (manifest.parts and not self.known.owned([key]))
        return finding(FindingKind.STRAY) if requested and is_stray else None

    def _check_part(self, file: FileStat) -> FileFinding | None:
        """Return the finding about a part; None if an export has it or an attempt may still list it."""
        if self._is_of_export(file.key) or self.now - file.modified < UNFINISHED_AFTER:
            return None
        if self.own_keys([file.key]):
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

    def own_keys(self, keys: Collection[str]) -> set[str]:
        """Return the keys that this deployment writes, by its ledger, a manifest or a part's name."""
        own = self.known.written(keys) | {key for key in keys if is_part_of(key, self._deployment)}
        for key in set(keys) - own:
            with suppress(NotFoundError, ManifestError, ValueError):
                manifest = read_manifest(self.store, whole_key(key))
                if manifest.deployment == self._deployment and manifest.is_of(whole_key(key)):
                    own.add(key)
        return own

    def has_present_file(self, key: str, page: Collection[str]) -> bool:
        """Return whether a key is that of a manifest whose file exists: both are checked at once."""
        file = key.removesuffix(MANIFEST_SUFFIX)
        return file != key and (file in page or is_there(self.store.exists, file))

    def remove(self, file: FileStat, finding: FileFinding, dry_run: bool) -> FileFinding | None:
        """Remove a file that is due; return the result, or None if a job has it or it was replaced."""
        key = file.key.removesuffix(MANIFEST_SUFFIX)
        try:
            if self.known.owned([key]) or self.known.is_held(key) or self._is_of_export(key):
                return None
            if self.store.stat(file.key) != file:
                return None
            if finding.kind is FindingKind.OUTDATED and key == file.key and not self.known.written([key]):
                problems = verify_file(self.store, key)
                if problems:  # somebody else has written there since
                    return replace(finding, kind=FindingKind.FOREIGN, problem=problems[0])
            if not dry_run:
                checked = None
                with suppress(NotFoundError, ManifestError):
                    checked = read_manifest(self.store, key)
                self.known.note_removal(key, checked.run_id if checked else None)
                unpublish(self.store, key, unless=lambda manifest: manifest != checked)
        except NotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except StoreError as error:
            return replace(finding, kind=FindingKind.FAILED, problem=str(error))
        return finding


def is_there(look_up: Callable[[str], bool], key: str) -> bool:
    """Return the answer of a look-up; False for an invalid key."""
    try:
        return look_up(key)
    except ValueError:
        return False
