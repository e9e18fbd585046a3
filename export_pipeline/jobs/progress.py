"""Progress as often as it is told, written no more often than is worth it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from export_pipeline.jobs.errors import LedgerUnavailableError
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.records import Attempt

_TIMES_LONGER = 9
"""A network that swallows everything keeps each try waiting for ten seconds; most of the time is for work."""


class Progress:
    """Reports the progress of one attempt, at most one write in `interval` seconds; for one thread.

    A ledger that cannot be reached for a while does not stop an export. That the job was canceled, or that
    the attempt is no longer the job's, does: RefusedError is raised, at the latest one interval later.

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
        """Say how far the attempt is; see `Ledger.progress`."""
        if self._clock() < self._next:
            return
        asked_at = self._clock()
        with suppress(LedgerUnavailableError):  # the next word of progress is as good
            self._ledger.progress(self._attempt, step, percent=percent, rows=rows, total=total)
        now = self._clock()
        self._next = now + max(self._interval, _TIMES_LONGER * (now - asked_at))
