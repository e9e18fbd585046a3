"""Dagster's run coordinator, as named in dagster.yaml."""

from __future__ import annotations

from typing import Any

import dagster as dg

from export_pipeline.orchestration.dagster_compat.code_servers import keep_code_servers
from export_pipeline.orchestration.dagster_compat.launchers import instance_of
from export_pipeline.orchestration.dagster_compat.runs import add_run_tags
from export_pipeline.orchestration.partitions import ON_DEMAND, SCOPE, SCOPE_TAG, scope_tags
from export_pipeline.orchestration.runs.warm_process import sources


class RunQueue(dg.QueuedRunCoordinator):
    """Queues runs as Dagster does, with their scope as a tag, and makes the daemon reuse its code server.

    This is the place for it, as the daemon builds the queue from dagster.yaml before it starts a code server.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        keep_code_servers(sources)

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Queue a run. The limit of runs of one scope in dagster.yaml counts by the tag that it gets."""
        run = context.dagster_run
        key = _scope_key(run)
        if key is not None and SCOPE_TAG not in run.tags:
            add_run_tags(instance_of(self), run, scope_tags(key))
        return super().submit_run(context)


def _scope_key(run: dg.DagsterRun) -> str | None:
    """Return the scope of a run that the UI or a backfill has started, by its partition or config."""
    if key := run.tags.get(f"dagster/partition/{SCOPE}"):
        return key
    paths = [key.path for key in run.asset_selection or () if len(key.path) == 3]
    if not paths:
        return None
    dataset, cadence, _ = paths[0]
    if cadence == ON_DEMAND:  # its partitions are scopes
        return run.tags.get("dagster/partition")
    config: Any = run.run_config
    for name in ("ops", f"{dataset}_{cadence}", "config"):
        config = config.get(name) if isinstance(config, dict) else None
    scope = config.get("scope") if isinstance(config, dict) else None
    return scope if isinstance(scope, str) and scope else None
