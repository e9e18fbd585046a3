"""Dagster's run coordinator, as named in dagster.yaml."""

from __future__ import annotations

from typing import Any

import dagster as dg

from export_pipeline.orchestration.dagster_compat.code_servers import keep_code_servers
from export_pipeline.orchestration.runs.warm_process import sources


class RunQueue(dg.QueuedRunCoordinator):
    """Queues runs as Dagster does, and makes the daemon reuse its code server.

    This is the place for it, as the daemon builds the queue from dagster.yaml before it starts a code server.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        keep_code_servers(sources)
