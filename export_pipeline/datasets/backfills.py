"""Check a backfill, and request its windows in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.options import FieldProblem
from export_pipeline.datasets.requests import RequestError
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.errors import ErrorCode
from export_pipeline.schedules.backfill import BackfillCounts, past_windows, request_past_windows
from export_pipeline.schedules.cadence_requests import CadenceWindow


class TooManyWindowsError(ValueError):
    """Raised when a backfill has more exports than one call may request."""


def request_backfill(
    ledger: Ledger,
    dataset: Dataset,
    default_zone: str,
    *,
    cadence: str,
    scope: str | None,
    first: date | None = None,
    last: date | None = None,
    formats: Sequence[str] = (),
    again: bool = False,
    requested_by: str | None = None,
    most: int = 0,
) -> BackfillCounts:
    """Request the past windows of one scope that have no file yet.

    Args:
        default_zone: IANA zone in which windows begin if the cadence names none.
        cadence: daily, weekly or monthly.
        scope: An existing scope; None for a dataset without scopes.
        first: Only windows that begin on this day or later; None for all since the dataset's `start`.
        last: Only windows that begin on this day or earlier; None for all that have ended.
        formats: Formats of the cadence; by default all of them.
        again: Also windows whose file is there.
        requested_by: The person who asks, for the record.
        most: Maximum number of exports (windows times formats); 0 for no limit.

    Raises:
        RequestError: the dataset has no such cadence or format, or no window has ended in this time.
        TooManyWindowsError: there are more exports than `most`.
        LedgerError: the ledger cannot be used.
    """
    name, cadences = dataset.dataset, dataset.attributes.cadences.named()
    if (rule := cadences.get(cadence)) is None:
        there = ", ".join(cadences) or "no cadence"
        raise _wrong("unknown_window", "cadence", f"{name} has no cadence {cadence!r}; it has {there}.")
    made = rule.formats or dataset.formats
    for format in formats:
        if format not in made:
            message = f"{name} makes no {cadence} {format}; it makes {', '.join(made)}."
            raise _wrong("unknown_format", "formats", message)
    start, zone = date.fromisoformat(dataset.attributes.start), rule.timezone or default_zone
    names = past_windows(cadence, zone, start, first, last, datetime.now(UTC))
    if not names:
        message = (
            f"No {cadence} window of {name} begins in this time and has ended; the first begins {start}."
        )
        raise _wrong("unknown_window", "from", message)
    if most and (count := len(names) * len(formats or made)) > most:
        raise TooManyWindowsError(
            f"{len(names):,} windows in {len(formats or made)} formats are {count:,} exports, and a call "
            f"may ask for {most:,} (EXPORT_API_MAX_PENDING). Say a shorter time by `from` and `to`."
        )
    windows = [CadenceWindow(name, cadence, window, scope) for window in names]
    return request_past_windows(ledger, windows, formats or made, again=again, requested_by=requested_by)


def _wrong(code: ErrorCode, field: str, message: str) -> RequestError:
    return RequestError(code, message, FieldProblem((field,), message))
