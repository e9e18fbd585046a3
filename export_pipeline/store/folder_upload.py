"""Unfinished files of a folder store: in its own file system, so that a rename publishes them.

Each is locked while it is written and published; the lock of a dead process is gone, which tells its
leftovers from an upload under way. Between the two, while a file is read back, only its age protects it from
a clean-up: a run may hold thousands of proven files, and no process may open as many.

An upload that is about to be published removes all others of its key, locked or not: a process that was
stopped for a while then finds its file gone, and replaces nothing newer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from export_pipeline.store.base import Progress, StoredFile, StoreError, StoreUnavailableError
from export_pipeline.store.upload import Upload

_NAME = re.compile("[0-9a-f]{24}-[0-9a-f]{32}")
"""Names that `UploadArea.new` gives."""


class UploadArea:
    """The hidden folder of unfinished files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, key: str) -> tuple[Path, BinaryIO]:
        """A new locked file. Between its creation and its lock a clean-up may take it: then another."""
        while True:
            path = self.folder / f"{_stem(key)}{uuid.uuid4().hex}"
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            if _lock(descriptor):
                return path, os.fdopen(descriptor, "wb", buffering=0)
            os.close(descriptor)

    def lock_again(self, path: Path) -> int | None:
        """Lock a file again; gives its descriptor, or None if somebody has removed it since."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        if _lock(descriptor):
            return descriptor
        os.close(descriptor)
        return None

    def remove_others(self, key: str, own: Path) -> None:
        """Remove every other unfinished file of a key, also what a living process writes."""
        for name in os.listdir(self.folder):
            if name.startswith(_stem(key)) and name != own.name:
                (self.folder / name).unlink(missing_ok=True)

    def remove_dead(self, key: str | None, older_than: timedelta, dry_run: bool = False) -> int:
        """Remove what no living process writes, of one key or of all; gives how many."""
        removed = 0
        latest = time.time() - older_than.total_seconds()
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return 0
        for name in names:
            if not (name.startswith(_stem(key)) if key else _NAME.fullmatch(name)):
                continue  # of another key, or nothing that `new` has made
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                descriptor = os.open(self.folder / name, os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if older_than <= timedelta(0) or os.fstat(descriptor).st_mtime < latest:
                        if not dry_run:
                            os.unlink(self.folder / name)
                        removed += 1
                finally:
                    os.close(descriptor)
        return removed


class FolderUpload(Upload):
    """A file in the upload area: what is written is the published file itself.

    Args:
        place: Renames the file to where its key is.
        local: Where the file can be read back: a link to it; None for who does not.
    """

    def __init__(
        self,
        area: UploadArea,
        key: str,
        location: str,
        place: Callable[[Path], None],
        told: Callable[[], AbstractContextManager[None]],
        local: Path | None,
    ) -> None:
        self._area, self._place = area, place
        with told():
            self._file, handle = area.new(key)
        if local is not None:
            try:
                local.symlink_to(self._file)
            except BaseException:
                handle.close()
                self._file.unlink()
                raise
        self._on_disk: Future[None] | None = None
        self._held_lock: int | None = None
        super().__init__(key, local or self._file, handle, location, told)

    def _whole(self) -> None:
        # The disk writes while the file is read back.
        self._on_disk = self._beside.submit(_sync_and_close, self._handle)

    def _stage(self, progress: Progress) -> None:
        if self._on_disk is not None:
            self._on_disk.result()
        self._held_lock = self._area.lock_again(self._file)
        if self._held_lock is None:
            raise self._ended_by_another()
        self._area.remove_others(self.key, self._file)
        progress(self._size)

    def _show(self, stored: StoredFile) -> None:
        try:
            self._place(self._file)
        except FileNotFoundError:
            if self._file.exists():
                raise
            raise self._ended_by_another() from None
        self._unlock()

    def _ended_by_another(self) -> StoreError:
        return StoreUnavailableError(
            f"Cannot store {self.key}: the upload was ended by another one of the same key or by a "
            "clean-up: run it again if it is still wanted."
        )

    def _unlock(self) -> None:
        if self._held_lock is not None:
            os.close(self._held_lock)
            self._held_lock = None

    def _discard(self) -> None:
        self._unlock()
        self._file.unlink(missing_ok=True)


def _sync_and_close(handle: BinaryIO) -> None:
    with handle:
        os.fsync(handle.fileno())


def _lock(descriptor: int) -> bool:
    """Lock a file; whether it still has a name."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return os.fstat(descriptor).st_nlink > 0


def _stem(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24] + "-"
