"""A file on its way to S3: parts of it go out while it is written, from the local copy beside it.

What waits to be sent lies on the disk, so a slow server costs no memory, and holds up neither the writing nor
the reading back. A part that could not be sent ends the writing.
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

from export_pipeline.store.base import Progress, StagedFile, StoredFile
from export_pipeline.store.file_modes import open_private
from export_pipeline.store.s3_multipart import Content, MultipartUpload, Target, checksum, crc32
from export_pipeline.store.upload import Upload

log = logging.getLogger(__name__)

PART_BYTES = 8 << 20
_PARTS_OF_A_SIZE = 1000
"""Then parts grow by `PART_BYTES`, so that the 10,000 which S3 allows hold 430 GiB."""

_STOP_SECONDS = 1.0
_ABORT_SECONDS = 2.0


class S3Upload(Upload):
    """A file up to `PART_BYTES` goes out when it is published, a larger one part by part while it is written.

    Args:
        local: Where the local copy goes.
        senders: A few threads for the parts, which all uploads of a store share: so few are in memory.
    """

    def __init__(
        self,
        target: Target,
        key: str,
        location: str,
        told: Callable[[], AbstractContextManager[None]],
        local: Path,
        senders: Executor,
    ) -> None:
        super().__init__(key, local, open_private(local), location, told)
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

    def _stage(self, progress: Progress) -> None:
        if self._multipart is None:
            self._send(self._size)
        done = 0
        for future in self._parts:
            done += future.result()[1]
            progress(done)

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
        """End what is on its way. A server that does not answer is not waited for: `clean` finds the rest."""
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
    """A small object that is sent but for its last step.

    Args:
        metadata: The object's own.
    """

    def __init__(
        self,
        target: Target,
        key: str,
        data: bytes,
        told: Callable[[], AbstractContextManager[None]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._target, self._data, self._told = target, data, told
        self._stored = StoredFile(
            key, len(data), hashlib.sha256(data).hexdigest(), f"s3://{target.bucket}/{target.name}"
        )
        self._ended = False
        with told():
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
        """Whether no earlier request for this object can count any more."""
        return self._multipart is not None and self._multipart.is_alone

    def publish(self) -> StoredFile:
        """See `StagedFile.publish`."""
        self.complete()
        return self._stored

    def complete(self) -> str | None:
        """Make the object visible; gives its ETag, None where another one is there or none was learned."""
        content = Content(len(self._data), checksum(crc32(self._data)), self._stored.sha256)
        with self._told():
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
    """A part's bytes, which are sent in small blocks; no more of them once the upload is stopped."""

    def __init__(self, data: bytes, stopped: threading.Event) -> None:
        super().__init__(data)
        self._stopped = stopped

    def read(self, size: int | None = -1, /) -> bytes:
        if self._stopped.is_set():
            raise InterruptedError("the upload was given up")
        return super().read(size)
