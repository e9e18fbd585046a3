"""The heartbeat of a run: renew its lease while it works, and end the run when no job waits for its file."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import dagster as dg

from export_pipeline.jobs import LeaseLostError, Ledger, LedgerError, LedgerUnavailableError
from export_pipeline.jobs.leases import LEASE, NEXT_STEP_TIMEOUT, RENEW_SECONDS, Disk
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.dagster_compat.runs import is_canceling, report_canceling, report_event
from export_pipeline.orchestration.runs.attempts import attempts_of, is_still_requested
from export_pipeline.redaction import hide_in_error
from export_pipeline.settings import SettingsError, load_settings

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_IN_PROCESS = ("in_process", "execute_in_process_executor")

_workers: dict[str, str] = {}
"""Worker ids under which this process holds leases, by run."""
_renewed_at: dict[str, float] = {}


@contextmanager
def cancellable(
    ledger: Callable[[], Ledger],
    run: dg.DagsterRun,
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    *,
    is_done: bool = False,
) -> Iterator[None]:
    """Renew the run's lease, and interrupt this process, as Ctrl-C would, when the run has to end.

    The run has to end when all its jobs were canceled, or when it was taken for dead, e.g. because it was
    stopped for longer than its lease. The ledger is polled every second, so a query, a renderer or an upload
    ends soon after. Without a ledger there is no lease, and only Dagster monitors the run. A run that Dagster
    has called canceling or canceled at two renewals has to end too: the signal of its launcher, which may be
    on another machine, has got lost. Dagster is asked in another thread, so that an outage of its database
    costs no lease.

    Args:
        job: The run's job definition. Its executor determines whether all steps run in this process.
        is_done: True if the run's jobs have their files, so that what becomes of them does not end the run.
    """
    alone = job.executor_def.name in _IN_PROCESS
    ids = [] if is_done else [attempt.job_id for attempt in attempts_of(run.tags, run.run_id)]
    _workers.setdefault(run.run_id, _worker_id(os.getpid()) if alone else run.run_id)
    done, working = threading.Event(), threading.Lock()
    asking: threading.Thread | None = None
    times_canceling = 0

    def interrupt(report: Callable[[], object]) -> None:
        with working:
            if not done.is_set():
                try:
                    report()
                finally:  # the run ends even if Dagster cannot record why
                    done.set()
                    os.kill(os.getpid(), signal.SIGINT)

    def ask_dagster() -> None:
        nonlocal times_canceling
        times_canceling += is_canceling(instance, run.run_id)
        if times_canceling > 1:
            interrupt(lambda: None)

    def check() -> bool:
        """Return False when there is nothing left to monitor."""
        nonlocal asking
        try:
            if time.monotonic() - _renewed_at.get(run.run_id, float("-inf")) >= RENEW_SECONDS:
                _renew(ledger(), run.run_id)
                if asking is None or not asking.is_alive():
                    asking = threading.Thread(target=ask_dagster, name="canceling", daemon=True)
                    asking.start()
            # A deleted one was canceled before.
            canceled = bool(ids) and all(
                job.status is Status.CANCELED for job in ledger().get_all(ids).values()
            )
            if canceled and not is_still_requested(ledger, run.run_id):
                interrupt(lambda: report_canceling(instance, run, "Its job was canceled."))
                return False
        except LeaseLostError as error:
            reason = str(error)
            interrupt(lambda: report_event(instance, run, reason))
            return False
        except LedgerUnavailableError:
            pass
        except LedgerError:
            return bool(ids) or run.run_id in _renewed_at
        except Exception as error:  # it may pass, and a run without a heartbeat is taken for dead
            hide_in_error(error)
            _log.exception("The heartbeat of run %s tries again.", run.run_id)
        return True

    def watch() -> None:
        while check() and not done.wait(_LOOK_SECONDS):
            pass

    threading.Thread(target=watch, name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        with working:  # no signal after the work has ended
            done.set()
        if not alone and run.run_id in _renewed_at:
            with suppress(LedgerError):
                _renew(ledger(), run.run_id, NEXT_STEP_TIMEOUT)


def ensure_lease(ledger: Callable[[], Ledger], run_id: str) -> None:
    """Renew the lease of a run if this process has one. Call it before an action that a dead run must not do.

    Raises:
        LeaseLostError: the run was taken for dead.
        LedgerUnavailableError: the ledger's database cannot be reached.
    """
    if run_id in _renewed_at:
        _renew(ledger(), run_id)


def _renew(ledger: Ledger, run_id: str, lasts: timedelta = LEASE) -> None:
    ledger.hold_lease(run_id, _workers[run_id], socket.gethostname(), lasts, _staging_disk())
    _renewed_at[run_id] = time.monotonic()


def _staging_disk() -> Disk | None:
    with suppress(OSError, SettingsError):  # a renewal needs neither
        usage = shutil.disk_usage(load_settings().staging_folder)
        return Disk(usage.free, usage.total)
    return None


@functools.cache
def _worker_id(pid: int) -> str:
    """Return the random id of this process. A forked process gets another id."""
    return str(uuid.uuid4())
