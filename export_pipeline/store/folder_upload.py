"""Unfinished files of a folder store. They lie in its file system, so that a rename publishes them.

Each file is locked while it is written and published. The lock of a dead process is released, which
distinguishes leftovers from running uploads. While a file is read back it is not locked, and only its age
protects it from a clean-up: a run may hold thousands of verified files, and no process can keep so many open.

Before an upload is published, it removes all other uploads of its key, locked or not, and so does a
deletion. A process that was suspended for a while then finds its file gone, and neither replaces a newer file
nor brings back a removed one.
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
from threading import BoundedSemaphore
from typing import BinaryIO

from export_pipeline.store.base import OnBytes, StoredFile, StoreError, StoreUnavailableError
from export_pipeline.store.upload import Upload

_NAME = re.compile("[0-9a-f]{24}-[0-9a-f]{32}")
"""Matches the names that `UploadArea.new` creates."""
_WRITTEN_BY_DISK = BoundedSemaphore(32)
"""Bounds the complete files that are open until a slow disk has them: a process may open few files."""


class UploadArea:
    """The hidden folder of unfinished files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, key: str) -> tuple[Path, BinaryIO]:
        """Create and lock a file. Retries if a clean-up removes the file before it is locked."""
        while True:
            path = self.folder / f"{_stem(key)}{uuid.uuid4().hex}"
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            if _lock(descriptor):
                return path, os.fdopen(descriptor, "wb", buffering=0)
            os.close(descriptor)

    def lock_again(self, path: Path) -> int | None:
        """Lock a file again; return its descriptor, or None if the file has been removed."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        if _lock(descriptor):
            return descriptor
        os.close(descriptor)
        return None

    def remove_others(self, key: str, own: Path | None = None) -> None:
        """Remove every unfinished file of a key but one's own, including those of running processes."""
        with contextlib.suppress(FileNotFoundError):  # nothing has been written yet
            for name in os.listdir(self.folder):
                if name.startswith(_stem(key)) and (own is None or name != own.name):
                    (self.folder / name).unlink(missing_ok=True)

    def remove_dead(self, key: str | None, older_than: timedelta, dry_run: bool = False) -> int:
        """Remove files that no running process writes, of one key or of all; return their number."""
        removed = 0
        latest = time.time() - older_than.total_seconds()
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return 0
        for name in names:
            if not (name.startswith(_stem(key)) if key else _NAME.fullmatch(name)):
                continue  # belongs to another key, or was not created by `new`
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
    """A file in the upload area, which becomes the published file itself.

    Args:
        place: Renames the file to the path of its key.
        local: Path of a link by which the file can be read back; None if it is not read back.
    """

    def __init__(
        self,
        area: UploadArea,
        key: str,
        location: str,
        place: Callable[[Path], None],
        translate_errors: Callable[[], AbstractContextManager[None]],
        local: Path | None,
    ) -> None:
        self._area, self._place = area, place
        with translate_errors():
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
        super().__init__(key, local or self._file, handle, location, translate_errors)

    def _whole(self) -> None:
        # The disk writes the file while it is read back.
        _WRITTEN_BY_DISK.acquire()
        self._on_disk = self._beside.submit(_sync_and_close, self._handle)
        self._on_disk.add_done_callback(lambda _: _WRITTEN_BY_DISK.release())

    def _stage(self, progress: OnBytes) -> None:
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
    """Lock a file; return whether it still has a name."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return os.fstat(descriptor).st_nlink > 0


def _stem(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24] + "-"
