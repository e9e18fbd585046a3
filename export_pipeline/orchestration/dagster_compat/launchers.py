"""Run launchers: what they start, their workers, and the queue that launches a run again."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher.base import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher.base import LaunchRunContext as LaunchRunContext
from dagster._core.launcher.base import RunLauncher
from dagster._core.launcher.base import WorkerStatus as WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value, unpack_value
from dagster._utils.interrupts import capture_interrupts

if TYPE_CHECKING:
    import click


def instance_of(part: RunLauncher | dg.QueuedRunCoordinator) -> dg.DagsterInstance:
    """Return the instance that a launcher or a queue of runs serves."""
    return part._instance


def launcher_of(instance: dg.DagsterInstance) -> RunLauncher:
    """Return the launcher of an instance."""
    return instance.run_launcher


def launcher_in(home: Path) -> RunLauncher:
    """Return the launcher that the dagster.yaml of a folder names, without opening Dagster's database."""
    launcher = InstanceRef.from_dir(str(home)).run_launcher
    assert launcher is not None
    return launcher


def has_lost_worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the launcher knows that no process will work on a run. Not every launcher can."""
    launcher = launcher_of(instance)
    if not launcher.supports_check_run_worker_health:
        return False
    return launcher.check_run_worker_health(run).status in (WorkerStatus.FAILED, WorkerStatus.NOT_FOUND)


def run_arguments(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the argument of `dagster api execute_run` for a run that has a code origin."""
    assert run.job_code_origin is not None
    return serialize_value(
        ExecuteRunArgs(job_origin=run.job_code_origin, run_id=run.run_id, instance_ref=instance.get_ref())
    )


def run_of_task(arguments: Any, module: str) -> str | None:
    """Return the id of the run that a task of Celery executes; None if its code location is not this module.

    Args:
        arguments: The task's argument.
    """
    task = unpack_value(arguments, as_type=ExecuteRunArgs)
    pointer = task.job_origin.repository_origin.code_pointer
    return task.run_id if isinstance(pointer, ModuleCodePointer) and pointer.module == module else None


def execute_run_command() -> click.Command:
    """Return the command `dagster api execute_run`. The first call imports it, which takes a moment."""
    from dagster._cli.api import execute_run_command

    return execute_run_command


def interruptible() -> AbstractContextManager[None]:
    """Return a context in which a signal to end does so where Dagster checks for it, between two events."""
    return capture_interrupts()


def start_timeout_seconds(instance: dg.DagsterInstance) -> float:
    """Return the time after which Dagster ends a run that was launched and has not started."""
    return float(instance.run_monitoring_start_timeout_seconds)


def run_limits(instance: dg.DagsterInstance, tag: str) -> dict[str | None, int]:
    """Return the queue's limits of runs at a time by value of a tag; None stands for each other value."""
    queue = instance.get_concurrency_config().run_queue_config
    limits: dict[str | None, int] = {}
    for one in (queue and queue.tag_concurrency_limits) or ():
        value = one.get("value")
        if one["key"] == tag and isinstance(value, str):
            limits[value] = one["limit"]
        elif one["key"] == tag and value and value["applyLimitPerUniqueValue"]:
            limits[None] = one["limit"]
    return limits


CodeUnreachableError = DagsterUserCodeUnreachableError
"""Raised by a launcher to give a run back to the queue, which launches it again after a pause."""


def queue_takes_runs_back(instance: dg.DagsterInstance) -> bool:
    """Return whether the queue launches a run again whose launch has raised `CodeUnreachableError`."""
    queue = instance.get_concurrency_config().run_queue_config
    is_queued = isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
    return is_queued and queue is not None and queue.max_user_code_failure_retries > 0
