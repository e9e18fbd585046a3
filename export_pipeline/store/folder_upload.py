"""Unfinished files of a folder store: in its own file system, so that a rename publishes them.

Each is locked while it is written and published; the lock of a dead process is gone, which tells its
leftovers from an upload under way. Between the two, while a file is read back, only its age protects it from
a clean-up: a run may hold thousands of proven files, and no process may open as many.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from export_pipeline.store.base import Progress, StoreError
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
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            if _lock(descriptor):
                return path, os.fdopen(descriptor, "wb", buffering=0)
            os.close(descriptor)

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[bool]:
        """Lock a file again; False if somebody has removed it since."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _lock(descriptor)
        finally:
            os.close(descriptor)

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
        super().__init__(key, local or self._file, handle, location, told)

    def _whole(self) -> None:
        # The disk writes while the file is read back.
        self._on_disk = self._beside.submit(_sync_and_close, self._handle)

    def _show(self, before_visible: Callable[[], None], progress: Progress) -> None:
        if self._on_disk is not None:
            self._on_disk.result()
        with self._area.locked(self._file) as is_there:
            if not is_there:
                raise StoreError(
                    f"Cannot store {self.key}: the upload was ended by another one of the same key or by a "
                    "clean-up: run it again if it is still wanted."
                )
            before_visible()
            self._place(self._file)
        progress(self._size)

    def _discard(self) -> None:
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
