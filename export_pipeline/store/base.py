"""What a store is: where whole export files lie under keys, and how they get out again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from export_pipeline.redaction import RedactedError

if TYPE_CHECKING:
    from export_pipeline.store.upload import Upload

Progress = Callable[[int], None]
"""Told how many bytes are there so far, from the thread that called the store."""


OwnKeys = Callable[[Collection[str]], Collection[str]]
"""Picks from keys those of files that this deployment made, or may be making."""


class StoreError(RedactedError):
    """The store could not do it. The message is one sentence that says why and what to do."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or is too busy now; trying again later may help."""


class NotFoundError(StoreError):
    """No file has this key."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that has just been stored whole.

    Attributes:
        key: Its key.
        bytes: Its size.
        sha256: Hex digest of its content, computed while it was written.
        location: For people: an absolute path, or `s3://bucket/…`.
    """

    key: str
    bytes: int
    sha256: str
    location: str


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file as the store lists it: key, size, time of its last replacement (UTC, with zone)."""

    key: str
    bytes: int
    modified: datetime


class StagedFile(ABC):
    """A file that is in the store but for the step that makes it visible.

    As a context manager it leaves nothing behind of a file that was not published in it.
    """

    @abstractmethod
    def publish(self) -> StoredFile:
        """Make the file visible under its key, in one step, instead of what is there.

        Raises:
            StoreError: It failed. The key holds what it held before.
        """

    @abstractmethod
    def abort(self) -> None:
        """Throw the file away; nothing happens once it is published or thrown away. Raises nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class Store(ABC):
    """Whole files under keys (of `export_pipeline.store.keys`).

    A file is visible only when it is whole, and replaced in one step: readers see the old content or
    the new one. One writer a key at a time: an upload that is staged, and a delete, end all earlier uploads
    of the same key, also what a process now dead has still on its way. Methods may be called from several
    threads.

    Every method raises StoreError, and ValueError for a key that is none.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """The store's own URL, without credentials."""

    @abstractmethod
    def begin(self, key: str, *, media_type: str, file_name: str, local: Path) -> Upload:
        """Begin to store a file: written bit by bit, read back, and only then published.

        Memory does not grow with its size. S3 takes parts of it while it is written, beside the local copy;
        in a folder the file itself is written.

        Args:
            key: Where it goes, replacing what is there.
            media_type: E.g. "text/csv; charset=utf-8". A folder cannot keep it.
            file_name: As what people save it. A folder cannot keep it.
            local: Where it can be read back before it is published. Nothing may be there yet.

        Raises:
            StoreError: The store cannot be used.
            OSError: Nothing can be written at `local`.
        """

    @abstractmethod
    def stage_bytes(self, data: bytes, key: str, *, media_type: str) -> StagedFile:
        """Bring a small file, such as a manifest, into the store but for its last step."""

    def put_bytes(self, data: bytes, key: str, *, media_type: str) -> StoredFile:
        """Store a small file."""
        with self.stage_bytes(data, key, media_type=media_type) as staged:
            return staged.publish()

    @abstractmethod
    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Read a file as a stream, for `read(size)` only. Raises NotFoundError."""

    @abstractmethod
    def stat(self, key: str) -> FileStat:
        """Size and time of a file. Raises NotFoundError."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[FileStat]:
        """Files whose key starts with `prefix`, in an order of the store's own."""

    @abstractmethod
    def delete(self, key: str, *, still: Callable[[], bool] = lambda: True) -> None:
        """Remove a file; none by this key is no error.

        Args:
            key: The file.
            still: Asked once nothing that is on its way can appear under the key; False leaves what is there.
        """

    @abstractmethod
    def link(
        self, key: str, *, expires_seconds: int, file_name: str | None = None, media_type: str | None = None
    ) -> str:
        """A URL at which whoever has it can download the file until it expires.

        Args:
            key: The file.
            expires_seconds: From now, at most seven days. A folder's file:// link does not expire.
            file_name: The name to save as; None leaves the one given to `begin`.
            media_type: The Content-Type of the answer; None leaves the one given to `begin`.

        Raises:
            NotFoundError: No file has this key.
            ValueError: A lifetime below one second or over seven days.
        """

    @abstractmethod
    def clean(self, older_than: timedelta, *, own: OwnKeys = lambda keys: keys, dry_run: bool = False) -> int:
        """Remove what unfinished uploads left behind; gives how many.

        Args:
            older_than: Only those begun longer ago than this, so that uploads under way are spared.
            own: Asked about uploads that other programs too could have begun in this place.
            dry_run: Only count them.
        """

    @abstractmethod
    def check(self) -> str | None:
        """Write, read and delete a tiny file, to prove that the store can be reached and used.

        Returns:
            A sentence about what the server cannot promise; None if there is nothing.
        """

    def exists(self, key: str) -> bool:
        """Whether a whole file has this key."""
        try:
            self.stat(key)
        except NotFoundError:
            return False
        return True

    def download(self, key: str, path: Path) -> None:
        """Write a file's content to a local path, which is whole or not there. Raises NotFoundError."""
        partial = path.with_name(f".{path.name}.part")
        try:
            with self.open(key) as source, partial.open("wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
            partial.replace(path)
        except OSError as error:
            raise StoreError(f"Cannot write {path}: {error.strerror or error}.") from error
        finally:
            partial.unlink(missing_ok=True)


CHUNK_BYTES = 1 << 20
MAX_LINK_SECONDS = 7 * 24 * 3600


def check_lifetime(expires_seconds: int) -> int:
    """`expires_seconds`, if a link may live that long; else ValueError."""
    if not 1 <= expires_seconds <= MAX_LINK_SECONDS:
        raise ValueError(f"a link lives from 1 second to 7 days, not {expires_seconds} seconds")
    return expires_seconds
