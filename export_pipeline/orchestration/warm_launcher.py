"""Starts runs from a process that has everything imported; Dagster's own launcher imports it for each."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value

from export_pipeline.orchestration import run_lock, warm_server
from export_pipeline.orchestration.warm_process import WarmProcess, WarmProcessError, sources
from export_pipeline.settings import load_settings

WORKER_TAG = "export_pipeline/worker"
"""The host of a run that was started warm."""


class WarmRunLauncher(DefaultRunLauncher):
    """Forks runs from a warm process; whatever that cannot do, Dagster's own launcher does.

    The process is started with the first run, and anew when it has died or a file of this package has
    changed. Where it fails, and for runs of other code locations or hosts, the default launcher does it. A
    run's process holds a lock while it lives, by which any process on the host finds it, also after the
    daemon was restarted.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._one_at_a_time = threading.Lock()
        self._warm: WarmProcess | None = None

    def launch_run(self, context: LaunchRunContext) -> None:
        """Begin a run, warm if possible."""
        if not (_is_of_this_code(context.dagster_run) and self._begun(context.dagster_run)):
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run; False if there is nothing to interrupt."""
        pid = run_lock.holder(_lock(run_id))
        if pid is None:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes, so that Dagster's run monitoring ends runs whose process was killed."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run lives. Runs of others are left to whoever started them."""
        warm = WORKER_TAG in run.tags and GRPC_INFO_TAG not in run.tags
        if not warm or run_lock.is_held(_lock(run.run_id)):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        host = run.tags[WORKER_TAG]
        return CheckRunHealthResult(WorkerStatus.FAILED, f"Its process on {host} has died or was killed.")

    def dispose(self) -> None:
        """End the warm process; the runs that it began go on."""
        with self._one_at_a_time:
            if self._warm is not None:
                self._warm.end()
                self._warm = None
        super().dispose()

    def _begun(self, run: dg.DagsterRun) -> bool:
        """Begin a run in the warm process; False if that cannot be, and the run has not begun."""
        lock = _lock(run.run_id)
        arguments = ExecuteRunArgs(
            job_origin=run.job_code_origin,  # type: ignore[arg-type]  # _is_of_this_code has looked
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
        )
        with self._one_at_a_time:
            try:
                warm = self._ready()
                self._instance.add_run_tags(run.run_id, {WORKER_TAG: socket.gethostname()})
                warm.run(lock, serialize_value(arguments))
            except (WarmProcessError, OSError) as error:
                if run_lock.is_held(lock):
                    return True  # it had forked before it failed
                self._instance.report_engine_event(f"{error}. Dagster's own launcher starts this run.", run)
                return False
        return True

    def _ready(self) -> WarmProcess:
        """The warm process, started anew if it has died or something has changed since.

        Raises:
            WarmProcessError: it cannot load the definitions.
            OSError: it cannot be started.
        """
        if self._warm is not None and (not self._warm.lives() or self._warm.sources != sources()):
            self._warm.end()
            self._warm = None
        if self._warm is None:
            self._warm = WarmProcess()
        self._warm.wait_until_ready()
        return self._warm


def _lock(run_id: str) -> Path:
    return run_lock.lock_of(load_settings().staging_folder, run_id)


def _is_of_this_code(run: dg.DagsterRun) -> bool:
    """Whether this Python on this host would load just the code that the run's code server has loaded."""
    if run.job_code_origin is None or run.remote_job_origin is None:
        return False
    server = run.remote_job_origin.repository_origin.code_location_origin
    here = isinstance(server, ManagedGrpcPythonEnvCodeLocationOrigin) or (
        isinstance(server, GrpcServerCodeLocationOrigin) and server.socket is not None
    )
    code = run.job_code_origin.repository_origin
    pointer = code.code_pointer
    same = isinstance(pointer, ModuleCodePointer) and pointer.module == warm_server.LOCATION
    return here and same and code.executable_path == sys.executable
