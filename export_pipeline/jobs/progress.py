"""Progress reports, throttled before they are written to the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from export_pipeline.jobs.errors import LedgerUnavailableError
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.records import Attempt

_TIMES_LONGER = 9
"""Minimum ratio of the pause after a write to its duration.

On a network that drops packets each try takes ten seconds; most of the time must remain for the export.
"""


class ThrottledProgress:
    """Reports the progress of one attempt with at most one write in `interval` seconds. For one thread.

    A ledger that is unavailable for a while does not stop an export. If the job was canceled, or the attempt
    is no longer the current one, the next write raises RefusedError.

        progress = Progress(ledger, attempt)
        for batch in batches:
            write(batch)
            progress("Writing", percent=90 * done / total, rows=done, total=total)
    """

    def __init__(
        self,
        ledger: Ledger,
        attempt: Attempt,
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._attempt, self._interval, self._clock = ledger, attempt, interval, clock
        self._next = float("-inf")

    def __call__(
        self, step: str, *, percent: float, rows: int | None = None, total: int | None = None
    ) -> None:
        """Report the attempt's progress; see `Ledger.progress`."""
        if self._clock() < self._next:
            return
        asked_at = self._clock()
        with suppress(LedgerUnavailableError):  # the next report makes up for it
            self._ledger.progress(self._attempt, step, percent=percent, rows=rows, total=total)
        now = self._clock()
        self._next = now + max(self._interval, _TIMES_LONGER * (now - asked_at))
