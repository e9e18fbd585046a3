"""The time that a sensor's tick may take.

Dagster takes a tick for failed that lasts longer than its limit, a minute. What the tick does goes on all
the same, in a thread of the code server, and the next tick begins beside it. So ticks stop between two items
before that, and the next one goes on. An item that may take longer, such as a mail to a slow server, is left
to a thread that outlasts the tick; the next tick waits for it and begins nothing beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from export_pipeline.orchestration.dagster_compat import sensor_timeout_seconds

_SECONDS = 40.0
_LAST_ITEM_SECONDS = 5.0


def tick_deadline() -> float:
    """Return until when a tick begins with items, by `time.monotonic`; at most two thirds of the limit."""
    return time.monotonic() + min(_SECONDS, sensor_timeout_seconds() * 2 / 3)


class LongWork:
    """One piece of work at a time, which may last longer than the tick that begins it.

    Args:
        abandoned_after: Seconds after which it is taken for hung, and other work begins beside it. Its claims
            in the ledger must have ended by then.
    """

    def __init__(self, abandoned_after: float) -> None:
        self._abandoned_after = abandoned_after
        self._answer: Future[str] | None = None
        self._begun = 0.0

    def run(self, work: Callable[[], str], until: float) -> str | None:
        """Do the work, or wait for what an earlier tick has begun; return None if it is not done.

        Args:
            until: When the work begins with no other item; the last one has a few seconds more.

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
