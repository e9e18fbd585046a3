"""Findings of a purge about files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """Kinds of findings about files."""

    EXPIRED = "expired"
    """The file of a job was due. It was removed, and the job is expired."""
    OUTDATED = "outdated"
    """A file without a job was due by its manifest. It was removed."""
    INCOMPLETE = "incomplete"
    """A job's file has no manifest, as its export never finished, and is past retention. It was removed."""
    LOST = "lost"
    """The file of a completed job is not in the store."""
    STRAY = "stray"
    """A requested file has no matching job."""
    FOREIGN = "foreign"
    """Nothing proves that the file belongs to this deployment. It is kept."""
    FAILED = "failed"
    """A file that was due could not be removed. The next purge tries again."""


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A file that was removed or has a problem."""

    kind: FindingKind
    key: str
    job_id: str | None = None
    bytes: int | None = None
    problem: str | None = None
