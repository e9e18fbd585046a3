"""Progress in the log of a run."""

from __future__ import annotations

import time
from collections.abc import Callable

import dagster as dg


def progress_log(context: dg.OutputContext) -> Callable[[str, int, int, str], None]:
    """Return a function that writes progress to the run's log, at most every two seconds."""
    next_at = time.monotonic() + 2

    def say(what: str, done: int, total: int, unit: str) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + 2
            context.log.info(f"{what}: {done:,} of {total:,} {unit} ({done / max(total, 1):.0%})")

    return say
