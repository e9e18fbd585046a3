"""A file on its way into a store: written as it is made, read back, then published or thrown away."""

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

from export_pipeline.store.base import Progress, StagedFile, StoredFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 << 10
_MOST_HASHED_LATER = 4


class Upload(StagedFile):
    """A file that nobody sees before `publish`. Of `Store.begin`; for one thread.

    Attributes:
        key: Where the file will be.
        path: Where it can be read back from `finish` until it is published or thrown away.
    """

    def __init__(
        self,
        key: str,
        path: Path,
        handle: BinaryIO,
        location: str,
        told: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """`handle` is the unbuffered local file; `told` turns the errors of the store into StoreError."""
        self.key, self.path = key, path
        self._handle, self._location, self._told = handle, location, told
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._hashing: deque[Future[None]] = deque()
        self._digest = hashlib.sha256()
        self._held = bytearray()
        self._size = 0
        self._stored: StoredFile | None = None
        self._staged = self._ended = False

    def write(self, data: ReadableBuffer) -> int:
        """Append bytes, which must not change any more: they are hashed by a thread, a few pieces behind.

        Raises:
            StoreError: The store takes no more of the file, or has lost a part that was sent already.
            OSError: The local copy beside a store that is elsewhere cannot be written.
            ValueError: After `finish`, `publish` or `abort`.
        """
        if self.closed:
            raise ValueError(f"the upload of {self.key} is closed")
        piece = memoryview(data).cast("B")
        if len(self._held) + len(piece) < _CHUNK_BYTES:
            self._held += piece
        else:
            with self._told():
                self._append_held()
                self._append(piece)
        return len(piece)

    @property
    def closed(self) -> bool:
        """Whether no more is taken; Arrow asks each file that it writes into."""
        return self._ended or self._stored is not None

    def finish(self) -> StoredFile:
        """Nothing more is written: the file is whole on `path`. It is not visible yet. Raises as `write`."""
        if self._stored is None:
            with self._told():
                self._append_held()
                while self._hashing:
                    self._hashing.popleft().result()
                self._whole()
            self._beside.shutdown(wait=False)
            self._stored = StoredFile(self.key, self._size, self._digest.hexdigest(), self._location)
        return self._stored

    def stage(self, progress: Progress | None = None) -> None:
        """Send every byte, so that one step is left; ends all other uploads of the same key.

        What decides whether the file is still wanted must be asked between this and `publish`: whoever is
        told to go on has ended the older uploads, or is ended by a newer one.

        Args:
            progress: Told about bytes that are there.

        Raises:
            StoreError: It failed.
        """
        self.finish()
        if not self._staged:
            with self._told():
                self._stage(progress or (lambda done: None))
            self._staged = True

    def publish(
        self, *, before_visible: Callable[[], None] | None = None, progress: Progress | None = None
    ) -> StoredFile:
        """Make the file visible under its key, in one step, instead of what is there.

        Args:
            before_visible: Called once, when every byte is there but the key still shows the old file.
                What it raises is raised here, and the old file stays.
            progress: As for `stage`.

        Raises:
            StoreError: It failed. The key holds what it held before.
        """
        self.stage(progress)
        stored = self.finish()
        with self._told():
            if before_visible is not None:
                before_visible()
            self._show(stored)
        self._ended = True
        self.path.unlink(missing_ok=True)
        return stored

    def abort(self) -> None:
        """Throw the file away; nothing happens once it is published or thrown away. Raises nothing."""
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
        while len(self._hashing) >= _MOST_HASHED_LATER:
            self._hashing.popleft().result()
        self._hashing.append(self._beside.submit(self._hash, piece))
        write_all(self._handle, piece)
        self._size += len(piece)

    def _hash(self, piece: memoryview) -> None:
        """Called with every piece, in order, by a thread of its own."""
        self._digest.update(piece)

    @abstractmethod
    def _whole(self) -> None:
        """Every byte is written and hashed; the handle is to be closed."""

    @abstractmethod
    def _stage(self, progress: Progress) -> None:
        """Send what is left, and end all other uploads of the key."""

    @abstractmethod
    def _show(self, stored: StoredFile) -> None:
        """Make the whole file visible."""

    @abstractmethod
    def _discard(self) -> None:
        """Take back what the store has of the file."""


def write_all(handle: BinaryIO, data: memoryview) -> None:
    """An unbuffered write may take only a part, the last one before a disk is full for instance."""
    while data:
        data = data[handle.write(data) :]
