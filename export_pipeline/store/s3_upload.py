"""A file on its way to S3: parts of it go out while it is written, from the local copy beside it.

What waits to be sent lies on the disk, so a slow server costs no memory, and holds up neither the writing nor
the reading back. A part that could not be sent ends the writing.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export_pipeline.store.base import Progress
from export_pipeline.store.s3_multipart import MultipartUpload, checksum, crc32
from export_pipeline.store.upload import Upload

log = logging.getLogger(__name__)

PART_BYTES = 8 << 20
_PARTS_OF_A_SIZE = 1000
"""Then parts grow by `PART_BYTES`, so that the 10,000 which S3 allows hold 430 GiB."""

_STOP_SECONDS = 1.0
_ABORT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """The object to be made; `headers` are boto3's arguments for its metadata and encryption."""

    client: Any
    bucket: str
    name: str
    headers: dict[str, str]

    def put(self, data: bytes, crc: str) -> None:
        """Make the object in one request, which the server refuses unless the data have this checksum."""
        self.client.put_object(
            Bucket=self.bucket, Key=self.name, Body=data, ChecksumCRC32=crc, **self.headers
        )


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
        super().__init__(key, local, local.open("wb", buffering=0), location, told)
        self._target, self._senders = target, senders
        self._multipart: MultipartUpload | None = None
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
        while self._size - self._sent > (size := self._part_bytes()):
            self._send(size)
        while self._landed < len(self._parts) and self._parts[self._landed].done():
            self._parts[self._landed].result()
            self._landed += 1

    def _part_bytes(self) -> int:
        return PART_BYTES * (1 + len(self._parts) // _PARTS_OF_A_SIZE)

    def _send(self, size: int) -> None:
        if self._multipart is None:
            target = self._target
            self._multipart = MultipartUpload.begin(target.client, target.bucket, target.name, target.headers)
        number = len(self._parts) + 1
        self._parts.append(self._senders.submit(self._send_part, self._multipart, number, self._sent, size))
        self._sent += size

    def _send_part(
        self, multipart: MultipartUpload, number: int, start: int, size: int
    ) -> tuple[dict[str, Any], int]:
        with self.path.open("rb") as copy:
            copy.seek(start)
            data = copy.read(size)
        return multipart.send_part(number, _Body(data, self._stopped), checksum(crc32(data))), len(data)

    def _whole(self) -> None:
        self._handle.close()
        if self._multipart is not None:
            self._send(self._size - self._sent)

    def _show(self, before_visible: Callable[[], None], progress: Progress) -> None:
        crc = checksum(self._crc)
        if self._multipart is None:
            data = self.path.read_bytes()
            before_visible()
            self._target.put(data, crc)
            progress(self._size)
            return
        parts, done = [], 0
        for future in self._parts:
            part, length = future.result()
            parts.append(part)
            done += length
            progress(done)
        before_visible()
        self._multipart.complete(parts, self._size, crc)

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


class _Body(io.BytesIO):
    """A part's bytes, which are sent in small blocks; no more of them once the upload is stopped."""

    def __init__(self, data: bytes, stopped: threading.Event) -> None:
        super().__init__(data)
        self._stopped = stopped

    def read(self, size: int | None = -1, /) -> bytes:
        if self._stopped.is_set():
            raise InterruptedError("the upload was given up")
        return super().read(size)
