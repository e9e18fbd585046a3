"""A run's process holds a lock until it ends, so that its death is seen whoever started it.

Dagster's default launcher leaves that to the code server that began the run. If that died too, nobody would
look any more, and the run would count as started for hours.
"""

from __future__ import annotations

import socket
from typing import IO

import dagster as dg

from export_pipeline.orchestration import run_lock
from export_pipeline.orchestration.housekeeping import HOST_TAG
from export_pipeline.settings import load_settings

_held: dict[str, IO[str]] = {}


def hold(context: dg.OpExecutionContext) -> None:
    """Hold the lock of this process's run; from now on `end_dead_runs` ends the run if the process dies.

    Nothing is held where each step has a process of its own: those that start steps look after them.
    """
    run = context.run
    if run.run_id in _held or context.job_def.executor_def.name != "in_process":
        return
    try:
        lock = run_lock.take(run_lock.lock_of(load_settings().staging_folder, run.run_id), wait=False)
    except BlockingIOError:
        return  # who started this process took it before
    _held[run.run_id] = lock
    context.instance.add_run_tags(run.run_id, {HOST_TAG: socket.gethostname()})
