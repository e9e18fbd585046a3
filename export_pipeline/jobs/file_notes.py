"""Sentences about differences between an export file and its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export_pipeline.jobs.records import Job


def file_notes(
    rows: int | None,
    total_rows: int | None,
    warnings: Sequence[str],
    changed: Mapping[str, Mapping[str, int]],
) -> list[str]:
    """Return sentences about missing rows, each warning, and changed cells by reason and column.

    Args:
        rows: Rows of the export in the file; None if not known.
        total_rows: Rows of the export in the source; None if not known.
        warnings: Sentences from the source and the format.
        changed: Number of cells by reason and column.
    """
    notes = []
    if rows is not None and total_rows is not None and rows < total_rows:
        missing = total_rows - rows
        notes.append(f"{missing:,} of {total_rows:,} rows {'is' if missing == 1 else 'are'} not in the file.")
    notes += warnings
    notes += [
        f"{count:,} cell{'s' * (count != 1)} of {column}: {reason}."
        for reason, columns in changed.items()
        for column, count in columns.items()
    ]
    return notes


def notes_of(job: Job) -> list[str]:
    """Return the sentences about the file of a job; see `file_notes`."""
    return file_notes(job.row_count, job.total_rows, job.warnings, job.changed_cells)


def size_text(size: int) -> str:
    """Return a file's size for people, e.g. "1.2 MB"."""
    if size < 1000:
        return f"{size} bytes"
    power = min(4, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def rows_text(rows: int | None, total_rows: int | None) -> str:
    """Return the number of rows, e.g. "45 of 50" where the file has fewer rows than the source, else "50"."""
    if rows is None:
        return ""
    return f"{rows:,} of {total_rows:,}" if total_rows is not None and rows < total_rows else f"{rows:,}"
