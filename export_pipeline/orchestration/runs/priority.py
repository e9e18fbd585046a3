"""Lets small exports go first: a run of many rows lowers the priority of its own threads."""

from __future__ import annotations

import os
from contextlib import suppress

LARGE_ROWS = 1_000_000
"""Rows from which a run counts as large: it takes some seconds of all cores."""
_NICENESS = 10


def yield_to_small_runs(rows: int) -> None:
    """Lower the priority of this thread, and of threads that it starts later, if it exports many rows.

    On Linux priority belongs to a thread, so the one that renews the run's lease in this step keeps its own.
    Those of later steps have the lower one, which is enough for the milliseconds that they need. Processes of
    small runs then get nine tenths of a core that both want; without them nothing changes. The thread cannot
    get its priority back, so the process must end with the run, as it does under every run launcher.
    """
    if rows >= LARGE_ROWS and hasattr(os, "setpriority"):
        with suppress(OSError):  # some containers allow no change
            lowest = max(os.getpriority(os.PRIO_PROCESS, 0), _NICENESS)
            os.setpriority(os.PRIO_PROCESS, 0, lowest)
