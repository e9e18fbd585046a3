"""Limits of calls: a token bucket for each caller."""

from __future__ import annotations

import math
import time

from export_pipeline.api.problems import Problem

_MAX_CALLERS = 10_000


class CallLimit:
    """Limits each caller to an average rate of calls, with bursts of one second's worth.

    Args:
        rate: Calls a second; 0 for no limit.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, caller: str) -> None:
        """Count a call.

        Raises:
            Problem: the caller makes too many.
        """
        if not self._rate:
            return
        now = time.monotonic()
        if len(self._buckets) > _MAX_CALLERS:
            self._buckets.clear()
        at, left = self._buckets.get(caller, (now, max(1.0, self._rate)))
        left = min(max(1.0, self._rate), left + (now - at) * self._rate)
        if left < 1:
            seconds = math.ceil((1 - left) / self._rate)
            message = f"There are more than {self._rate:g} calls a second; slow down."
            raise Problem(429, "too_many_requests", message, headers={"Retry-After": str(seconds)})
        self._buckets[caller] = (now, left - 1)
