"""Uploads of files to S3: parts are sent from the local copy while the file is being written.

Parts that wait to be sent lie on disk, so a slow server needs no memory and delays neither the writing nor
the reading back. A part that cannot be sent stops the writing.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from export_pipeline.store.base import OnBytes, StagedFile, StoredFile
from export_pipeline.store.file_modes import open_private
from export_pipeline.store.s3_multipart import Content, MultipartUpload, Target, checksum, crc32
from export_pipeline.store.upload import Upload

log = logging.getLogger(__name__)

PART_BYTES = 8 << 20
_PARTS_OF_A_SIZE = 1000
"""Number of parts after which the part size grows by `PART_BYTES`: S3's 10,000 parts then hold 430 GiB."""

_STOP_SECONDS = 1.0
_ABORT_SECONDS = 2.0


class S3Upload(Upload):
    """Sends files up to `PART_BYTES` when they are published, larger ones in parts while they are written.

    Args:
        local: Path of the local copy.
        senders: A few threads that all uploads of a store share, so that few parts are in memory.
    """

    def __init__(
        self,
        target: Target,
        key: str,
        location: str,
        translate_errors: Callable[[], AbstractContextManager[None]],
        local: Path,
        senders: Executor,
    ) -> None:
        super().__init__(key, local, open_private(local), location, translate_errors)
        self._target, self._senders = target, senders
        self._multipart: MultipartUpload | None = None
        self._offered = True
        self._sent = 0
        self._parts: list[Future[tuple[dict[str, Any], int]]] = []
        self._landed = 0
        self._crc = 0
        self._stopped = threading.Event()

    def _hash(self, piece: memoryview) -> None:
        super()._hash(piece)
        self._crc = crc32(piece, self._crc)

    def _append(self, piece: memoryview) -> None:
        super()._append(piece)
        while self._offered and self._size - self._sent > (size := self._part_bytes()):
            self._send(size)
        while self._landed < len(self._parts) and self._parts[self._landed].done():
            self._parts[self._landed].result()
            self._landed += 1

    def _part_bytes(self) -> int:
        return PART_BYTES * (1 + len(self._parts) // _PARTS_OF_A_SIZE)

    def _send(self, size: int) -> None:
        if self._multipart is None:
            self._multipart = MultipartUpload.begin(self._target)
            if self._multipart is None:
                self._offered = False
                return
        number = len(self._parts) + 1
        self._parts.append(self._senders.submit(self._send_part, self._multipart, number, self._sent, size))
        self._sent += size

    def _send_part(
        self, multipart: MultipartUpload, number: int, start: int, size: int
    ) -> tuple[dict[str, Any], int]:
        with self.path.open("rb") as copy:
            copy.seek(start)
            data = copy.read(size)
        return multipart.send_part(number, _Body(data, self._stopped), data), len(data)

    def _whole(self) -> None:
        self._handle.close()
        if self._multipart is not None:
            self._send(self._size - self._sent)

    def _stage(self, progress: OnBytes) -> None:
        if self._multipart is None:
            self._send(self._size)
        done = 0
        for future in self._parts:
            done += future.result()[1]
            progress(done)

    def release(self) -> None:
        """See `Upload.release`."""
        if self._multipart is not None:
            self.stage()
            self.path.unlink(missing_ok=True)

    def _show(self, stored: StoredFile) -> None:
        content = Content(stored.bytes, checksum(self._crc), stored.sha256)
        if self._multipart is not None:
            self._multipart.complete([part.result()[0] for part in self._parts], content)
            return
        with self.path.open("rb") as copy:
            md5 = hashlib.file_digest(copy, lambda: hashlib.md5(usedforsecurity=False)).digest()
            copy.seek(0)
            self._target.put(copy, content, md5)

    def _discard(self) -> None:
        """Cancel the pending requests. Does not wait for an unresponsive server: `clean` removes the rest."""
        self._stopped.set()
        for part in self._parts:
            part.cancel()
        wait(self._parts, _STOP_SECONDS)
        if self._multipart is not None:
            ending = threading.Thread(target=self._multipart.abort, name="abort", daemon=True)
            ending.start()
            ending.join(_ABORT_SECONDS)
            if ending.is_alive():
                log.warning("the upload of %s may stay until a clean-up: the server is slow", self.key)


class S3Bytes(StagedFile):
    """A small object that is sent, but not visible yet.

    Args:
        metadata: Metadata of the object.
    """

    def __init__(
        self,
        target: Target,
        key: str,
        data: bytes,
        translate_errors: Callable[[], AbstractContextManager[None]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._target, self._data, self._translate_errors = target, data, translate_errors
        self._stored = StoredFile(
            key, len(data), hashlib.sha256(data).hexdigest(), f"s3://{target.bucket}/{target.name}"
        )
        self._ended = False
        with translate_errors():
            self._multipart = MultipartUpload.begin(target, metadata)
            try:
                self._parts = (
                    [self._multipart.send_part(1, io.BytesIO(data), data)] if self._multipart else []
                )
            except BaseException:
                self.abort()
                raise

    @property
    def is_fenced(self) -> bool:
        """True if no earlier request for this object can take effect any more."""
        return self._multipart is not None and self._multipart.is_alone

    def publish(self) -> StoredFile:
        """See `StagedFile.publish`."""
        self.complete()
        return self._stored

    def complete(self) -> str | None:
        """Make the object visible; return its ETag, or None if it was replaced or the ETag is unknown."""
        content = Content(len(self._data), checksum(crc32(self._data)), self._stored.sha256)
        with self._translate_errors():
            if self._multipart is not None:
                etag = self._multipart.complete(self._parts, content)
            else:
                md5 = hashlib.md5(self._data, usedforsecurity=False).digest()
                etag = self._target.put(io.BytesIO(self._data), content, md5)
        self._ended = True
        return etag

    def abort(self) -> None:
        """See `StagedFile.abort`."""
        if not self._ended and self._multipart is not None:
            self._multipart.abort()
        self._ended = True


class _Body(io.BytesIO):
    """The bytes of a part, sent in small blocks; sending ends once the upload is stopped."""

    def __init__(self, data: bytes, stopped: threading.Event) -> None:
        super().__init__(data)
        self._stopped = stopped

    def read(self, size: int | None = -1, /) -> bytes:
        if self._stopped.is_set():
            raise InterruptedError("the upload was given up")
        return super().read(size)
