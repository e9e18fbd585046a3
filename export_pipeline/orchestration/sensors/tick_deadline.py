"""Deadlines of sensor ticks.

Dagster marks a tick as failed when it takes longer than its limit, a minute. But the tick's work continues
in a thread of the code server, and the next tick runs at the same time. So a tick stops between two items
before the limit, and the next tick continues. An item that may take longer, such as a mail to a slow server,
runs in a thread that outlasts the tick. The next tick waits for it and begins no other work meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from export_pipeline.orchestration.dagster_compat.ticks import sensor_timeout_seconds

_SECONDS = 40.0
_LAST_ITEM_SECONDS = 5.0


def tick_deadline() -> float:
    """Return the time, on the clock of `time.monotonic`, after which a tick starts no new item.

    It is at most two thirds of Dagster's limit from now.
    """
    return time.monotonic() + min(_SECONDS, sensor_timeout_seconds() * 2 / 3)


class LongWork:
    """Runs one call at a time in a thread, which may outlast the tick that begins it.

    Args:
        abandoned_after: Seconds after which the work counts as hung and other work may begin. Its claims in
            the ledger must have expired by then.
    """

    def __init__(self, abandoned_after: float) -> None:
        self._abandoned_after = abandoned_after
        self._answer: Future[str] | None = None
        self._begun = 0.0

    def run(self, work: Callable[[], str], until: float) -> str | None:
        """Do the work, or wait for work that an earlier tick has begun. Return None if it is not done.

        Args:
            until: Time after which the work begins no other item. The last item has a few seconds more.

        Raises:
            Exception: what the work raises.
        """
        if self._answer is None or time.monotonic() - self._begun > self._abandoned_after:
            self._answer, self._begun = Future(), time.monotonic()
            threading.Thread(target=_answer, args=(work, self._answer), name="tick", daemon=True).start()
        answer = self._answer
        if not wait([answer], max(0.0, until + _LAST_ITEM_SECONDS - time.monotonic())).done:
            return None
        self._answer = None
        return answer.result()


def _answer(work: Callable[[], str], answer: Future[str]) -> None:
    try:
        answer.set_result(work())
    except BaseException as error:
        answer.set_exception(error)
