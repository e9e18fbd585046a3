"""Messages between the service and the processes that make small exports, or read scopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class InlineRequest:
    """A valid request.

    Attributes:
        job_id: Id of the export's row in the ledger, which is written when the file is proven.
        row: Columns of that row: dataset, format, scope, filters, columns, options, requested_by.
        config: Typed options of dataset and formats, as `config_of` returns them.
    """

    job_id: str
    row: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SourceQuestion:
    """A question to the application's database.

    Attributes:
        dataset: Name of the dataset, whose source the process has too: a source can be a module or an object.
        spec: The dataset's description for its source.
        recipients: True for the mail addresses of each scope, False for the names of scopes.
    """

    dataset: str
    spec: Mapping[str, Any]
    recipients: bool


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A verified file in the store.

    Attributes:
        rows: Rows in the file.
        total_rows: Rows of the export in the source.
        warnings: Number of sentences about missing rows, warnings and changed cells.
    """

    job_id: str
    name: str
    media_type: str
    size: int
    sha256: str
    rows: int
    total_rows: int
    warnings: int
    snapshot_at: str | None = None


class Failure(StrEnum):
    """Reasons why a file could not be made."""

    TOO_LARGE = "too_large"
    """It takes too many rows, too much memory or too long; a run can make it."""
    SOURCE_UNAVAILABLE = "source_unavailable"
    SOURCE_ERROR = "source_error"
    UNAVAILABLE = "unavailable"
    """The ledger or the store cannot be used at the moment."""
    CANCELED = "canceled"
    """It was canceled in the moment when its file appeared."""
    INTERNAL = "internal"


class InlineError(Exception):
    """Raised when no file was made.

    Attributes:
        reason: The reason, for programs.
        message: The reason as one sentence.
    """

    def __init__(self, reason: Failure, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message
