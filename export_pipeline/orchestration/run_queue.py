"""Dagster's queue of runs, as dagster.yaml names it."""

from __future__ import annotations

from typing import Any

import dagster as dg

from export_pipeline.orchestration.dagster_compat import keep_code_servers
from export_pipeline.orchestration.runs.warm_process import sources


class RunQueue(dg.QueuedRunCoordinator):
    """Queue runs as Dagster does, and let the daemon keep its code server.

    The queue is what the daemon makes of dagster.yaml before it starts a code server.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        keep_code_servers(sources)
