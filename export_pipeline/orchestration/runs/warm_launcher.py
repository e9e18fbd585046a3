"""Launcher that forks runs from a warm process; Dagster's own launcher imports everything for each run."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import dagster as dg

from export_pipeline.core.processors import usable_processors
from export_pipeline.jobs import Ledger, LedgerError, LedgerUnavailableError
from export_pipeline.orchestration.dagster_compat.code_locations import has_code_server_here
from export_pipeline.orchestration.dagster_compat.instance import ConfigurableClassData
from export_pipeline.orchestration.dagster_compat.launchers import (
    CodeUnreachableError,
    LaunchRunContext,
    instance_of,
    queue_takes_runs_back,
    run_arguments,
    start_timeout_seconds,
)
from export_pipeline.orchestration.dagster_compat.runs import report_canceling, report_event
from export_pipeline.orchestration.runs import run_lock
from export_pipeline.orchestration.runs.reconciler import is_of_this_code
from export_pipeline.orchestration.runs.warm_process import (
    StillLoadingError,
    WarmProcess,
    WarmProcessError,
    sources,
)
from export_pipeline.settings import load_settings

_LOOK_SECONDS = 0.5
_LOADING_SHARE = 0.6
"""Part of the time for a start that a run waits for the loading process; the rest is for its own start."""
_STARTING = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)


class WarmRunLauncher(dg.DefaultRunLauncher):
    """Forks runs from a warm process, with Dagster's own launcher as fallback.

    The process is started with the first run. It is restarted when it has died or a file of this package has
    changed. The default launcher is used if the process fails, if there is no ledger, and for runs of other
    code locations or hosts. Whether a run is alive is decided by its lease in the ledger, not here.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._one_at_a_time = threading.Lock()
        self._warm: WarmProcess | None = None
        self._imports = threading.BoundedSemaphore(usable_processors())
        """Limits how many processes import at the same time: more would only slow each other down."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run, from the warm process if possible."""
        run = context.dagster_run
        if not (has_code_server_here(run) and is_of_this_code(run)):
            super().launch_run(context)
        elif not self._begun(run):
            with self._imports:
                super().launch_run(context)
                self._wait_until_started(run.run_id)

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run. Return False if there is nothing to interrupt."""
        pid = run_lock.lock_holder(_lock(run_id))
        if pid is None:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        run = instance_of(self).get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        report_canceling(instance_of(self), run)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        return True

    def dispose(self) -> None:
        """End the warm process. The runs that it has forked continue."""
        with self._one_at_a_time:
            if self._warm is not None:
                self._warm.end()
                self._warm = None
        super().dispose()

    def _begun(self, run: dg.DagsterRun) -> bool:
        """Begin a run in the warm process. Return False if it failed and the run has not begun.

        Raises:
            CodeUnreachableError: the process still loads. The queue takes the run back and launches it again;
                Dagster would end a run that waits here for longer than a start may take.
        """
        lock = _lock(run.run_id)
        until, instance = math.inf, instance_of(self)
        if queue_takes_runs_back(instance):
            until = time.monotonic() + _LOADING_SHARE * start_timeout_seconds(instance)
        with self._one_at_a_time:
            try:
                warm = self._ready(until)
                # If the ledger is unavailable now, the reconciler records the expected lease later.
                with suppress(LedgerUnavailableError), Ledger(load_settings().jobs_url) as ledger:
                    ledger.expect_lease(run.run_id)
                warm.run(lock, run_arguments(instance, run))
            except StillLoadingError:
                raise CodeUnreachableError("The warm process is still loading.") from None
            except (WarmProcessError, LedgerError, OSError) as error:
                if run_lock.is_held(lock):
                    return True  # it failed after the fork
                report_event(instance, run, f"{error}. Dagster's own launcher starts this run.")
                return False
        return True

    def _ready(self, until: float = math.inf) -> WarmProcess:
        """Return the warm process, restarted if it has died or its files have changed.

        Args:
            until: The time of `time.monotonic` after which not to wait for it.

        Raises:
            StillLoadingError: it still loads at that time.
            WarmProcessError: it cannot load the definitions.
            OSError: it cannot be started.
        """
        if self._warm is not None and (not self._warm.lives() or self._warm.sources != sources()):
            self._warm.end()
            self._warm = None
        if self._warm is None:
            self._warm = WarmProcess()
        with self._imports:
            self._warm.wait_until_ready(until)
        return self._warm

    def _wait_until_started(self, run_id: str) -> None:
        """Wait until a run has imported everything, or Dagster has ended it."""
        until = time.monotonic() + start_timeout_seconds(instance_of(self))
        while time.monotonic() < until:
            run = instance_of(self).get_run_by_id(run_id)
            if run is None or run.status not in _STARTING:
                return
            time.sleep(_LOOK_SECONDS)


def _lock(run_id: str) -> Path:
    return run_lock.lock_of(load_settings().staging_folder, run_id)
