"""Values and errors that every store shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from export_pipeline.redaction import RedactedError

CHUNK_BYTES = 1 << 20
MAX_LINK_SECONDS = 7 * 24 * 3600
OnBytes = Callable[[int], None]
"""Called with the number of bytes sent so far, in the thread that called the store."""


OwnKeys = Callable[[Collection[str]], Collection[str]]
"""Returns those of the given keys whose files this deployment made, or may be making."""


class StoreError(RedactedError):
    """Raised when a store operation fails. The message is one sentence with the cause and the cure."""


class StoreUnavailableError(StoreError):
    """Raised when the store cannot be reached or is too busy. A later retry may succeed."""


class NotFoundError(StoreError):
    """Raised when no file has the key."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that has just been stored completely.

    Attributes:
        key: Its key.
        bytes: Its size.
        sha256: Hex digest of its content, computed while it was written.
        location: Location as shown to people: an absolute path, or `s3://bucket/…`.
    """

    key: str
    bytes: int
    sha256: str
    location: str


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file as the store lists it: key, size in bytes, time of its last replacement (UTC, with zone)."""

    key: str
    bytes: int
    modified: datetime


class StagedFile(ABC):
    """A file whose bytes are in the store, but which is not visible yet.

    Used as a context manager, it removes the file on exit unless it was published.
    """

    @abstractmethod
    def publish(self) -> StoredFile:
        """Make the file visible under its key, and replace any older file in the same step.

        Raises:
            StoreError: The file could not be published. The key still holds the old file, if any.
        """

    @abstractmethod
    def abort(self) -> None:
        """Discard the file. Does nothing if it is already published or discarded. Never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def name_keys(keys: Sequence[str]) -> str:
    """Return keys for a message: the first three, and the number of the others."""
    others = [f"{len(keys) - 3:,} more"] if len(keys) > 3 else []
    return " and ".join([*keys[:3], *others])


def check_lifetime(expires_seconds: int) -> int:
    """Return `expires_seconds` if it is a valid lifetime of a link; raise ValueError otherwise."""
    if not 1 <= expires_seconds <= MAX_LINK_SECONDS:
        raise ValueError(f"a link lives from 1 second to 7 days, not {expires_seconds} seconds")
    return expires_seconds
