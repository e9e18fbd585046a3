"""Uploads into a store: a file is written, read back, and then published or discarded."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from export_pipeline.store.base import OnBytes, StagedFile, StoredFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 << 10
_MAX_HASHED_LATER = 4


class Upload(StagedFile):
    """A file that is invisible before `publish`. Created by `Store.begin`; for one thread.

    Attributes:
        key: Key of the file.
        path: Path at which it can be read back, from `finish` until it is published or discarded.
    """

    def __init__(
        self,
        key: str,
        path: Path,
        handle: BinaryIO,
        location: str,
        translate_errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Take the unbuffered local file `handle`. `translate_errors` raises StoreError for its errors."""
        self.key, self.path = key, path
        self._handle, self._location, self._translate_errors = handle, location, translate_errors
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._hashing: deque[Future[None]] = deque()
        self._digest = hashlib.sha256()
        self._held = bytearray()
        self._size = 0
        self._stored: StoredFile | None = None
        self._staged = self._ended = False

    def write(self, data: ReadableBuffer) -> int:
        """Append bytes. They must not change afterwards: a thread hashes them a few pieces later.

        Raises:
            StoreError: The store accepts no more of the file, or has lost a part that was already sent.
            OSError: The local copy for a remote store cannot be written.
            ValueError: After `finish`, `publish` or `abort`.
        """
        if self.closed:
            raise ValueError(f"the upload of {self.key} is closed")
        piece = memoryview(data).cast("B")
        if len(self._held) + len(piece) < _CHUNK_BYTES:
            self._held += piece
        else:
            with self._translate_errors():
                self._append_held()
                self._append(piece)
        return len(piece)

    @property
    def closed(self) -> bool:
        """True if no more bytes are accepted. Arrow reads this of every file that it writes to."""
        return self._ended or self._stored is not None

    def finish(self) -> StoredFile:
        """End the writing: the file is complete at `path`, but not visible yet. Raises as `write`."""
        if self._stored is None:
            with self._translate_errors():
                self._append_held()
                while self._hashing:
                    self._hashing.popleft().result()
                self._whole()
            self._beside.shutdown(wait=False)
            self._stored = StoredFile(self.key, self._size, self._digest.hexdigest(), self._location)
        return self._stored

    def stage(self, progress: OnBytes | None = None) -> None:
        """Send all bytes, so that only publishing is left; cancel all other uploads of the same key.

        Check whether the file is still requested between this call and `publish`: an upload that may go on
        has then cancelled the older uploads, or is cancelled by a newer one.

        Args:
            progress: Called with the number of bytes sent.

        Raises:
            StoreError: Sending failed.
        """
        self.finish()
        if not self._staged:
            with self._translate_errors():
                self._stage(progress or (lambda done: None))
            self._staged = True

    def publish(
        self, *, before_visible: Callable[[], None] | None = None, progress: OnBytes | None = None
    ) -> StoredFile:
        """Make the file visible under its key, and replace any older file in the same step.

        Args:
            before_visible: Called once, when all bytes are sent and the key still shows the old file.
                An exception from it is raised here, and the old file stays.
            progress: As for `stage`.

        Raises:
            StoreError: The file could not be published. The key still holds the old file, if any.
        """
        self.stage(progress)
        stored = self.finish()
        with self._translate_errors():
            if before_visible is not None:
                before_visible()
            self._show(stored)
        self._ended = True
        self.path.unlink(missing_ok=True)
        return stored

    def release(self) -> None:
        """Send all bytes and free the local disk of them, where the store has them; the file is read no more.

        Raises:
            StoreError: Sending failed.
        """

    def abort(self) -> None:
        """Discard the file. Does nothing if it is already published or discarded. Never raises."""
        if self._ended:
            return
        self._ended = True
        self._beside.shutdown(wait=False, cancel_futures=True)
        try:
            self._handle.close()
            self._discard()
            self.path.unlink(missing_ok=True)
        except Exception as error:
            log.warning("what was written of %s could not be removed: %s", self.key, error)

    def _append_held(self) -> None:
        if self._held:
            held, self._held = self._held, bytearray()
            self._append(memoryview(held))

    def _append(self, piece: memoryview) -> None:
        while len(self._hashing) >= _MAX_HASHED_LATER:
            self._hashing.popleft().result()
        self._hashing.append(self._beside.submit(self._hash, piece))
        write_all(self._handle, piece)
        self._size += len(piece)

    def _hash(self, piece: memoryview) -> None:
        """Hash a piece. Called with every piece, in order, in a thread of its own."""
        self._digest.update(piece)

    @abstractmethod
    def _whole(self) -> None:
        """Close the handle, at once or later. Called when all bytes are written and hashed."""

    @abstractmethod
    def _stage(self, progress: OnBytes) -> None:
        """Send the remaining bytes, and cancel all other uploads of the key."""

    @abstractmethod
    def _show(self, stored: StoredFile) -> None:
        """Make the complete file visible."""

    @abstractmethod
    def _discard(self) -> None:
        """Remove the parts of the file that the store already has."""


def write_all(handle: BinaryIO, data: memoryview) -> None:
    """Write all bytes: an unbuffered write may be partial, e.g. the last one before the disk is full."""
    while data:
        data = data[handle.write(data) :]
