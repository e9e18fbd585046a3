"""The heartbeat of a run: renews its lease while it works, and ends it once nobody wants its file."""

from __future__ import annotations

import functools
import os
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
from export_pipeline.jobs.leases import LEASE, RENEW_SECONDS, TO_GO_ON
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.runs.attempts import attempts_of, is_wanted

_LOOK_SECONDS = 1.0
_IN_PROCESS = ("in_process", "execute_in_process_executor")

_workers: dict[str, str] = {}
"""The worker id under which this process holds the lease of a run, by run."""
_renewed_at: dict[str, float] = {}


@contextmanager
def cancellable(
    ledger: Callable[[], Ledger], run: dg.DagsterRun, instance: dg.DagsterInstance, job: dg.JobDefinition
) -> Iterator[None]:
    """Renew the run's lease, and interrupt this process, as Ctrl-C would, once the run has to end.

    It has to end when all its jobs were canceled, or when it was taken for dead, as after it was stopped for
    longer than its lease. The ledger is asked every second, so a query, a renderer or an upload ends soon
    after. Where there is no ledger, there is no lease, and only Dagster looks after the run.

    Args:
        job: What the run executes; its executor says whether all steps are executed in this process.
    """
    alone = job.executor_def.name in _IN_PROCESS
    ids = [attempt.job_id for attempt in attempts_of(run.tags, run.run_id)]
    _workers.setdefault(run.run_id, _worker_id(os.getpid()) if alone else run.run_id)
    done, working = threading.Event(), threading.Lock()

    def interrupt(say: Callable[[], object]) -> None:
        with working:
            if not done.is_set():
                try:
                    say()
                finally:  # the run ends, whether Dagster can note why or not
                    os.kill(os.getpid(), signal.SIGINT)

    def look() -> bool:
        """Return False once there is nothing to look at any more."""
        try:
            if time.monotonic() - _renewed_at.get(run.run_id, float("-inf")) >= RENEW_SECONDS:
                _renew(ledger(), run.run_id)
            canceled = bool(ids) and all(ledger().get(id).status is Status.CANCELED for id in ids)
            if canceled and not is_wanted(ledger, run.run_id):
                interrupt(lambda: instance.report_run_canceling(run, "Its job was canceled."))
                return False
        except LeaseLostError as error:
            said = str(error)
            interrupt(lambda: instance.report_engine_event(said, run))
            return False
        except LedgerUnavailableError:
            pass
        except LedgerError:
            return bool(ids) or run.run_id in _renewed_at
        return True

    def watch() -> None:
        while look() and not done.wait(_LOOK_SECONDS):
            pass

    threading.Thread(target=watch, name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        with working:  # no signal once the work has ended
            done.set()
        if not alone and run.run_id in _renewed_at:
            with suppress(LedgerError):
                _renew(ledger(), run.run_id, TO_GO_ON)


def ensure_lease(ledger: Callable[[], Ledger], run_id: str) -> None:
    """Renew the lease of a run, if this process has one: before what a dead run must not do.

    Raises:
        LeaseLostError: the run was taken for dead.
        LedgerUnavailableError: the database cannot be reached.
    """
    if run_id in _renewed_at:
        _renew(ledger(), run_id)


def _renew(ledger: Ledger, run_id: str, lasts: timedelta = LEASE) -> None:
    ledger.hold_lease(run_id, _workers[run_id], socket.gethostname(), lasts)
    _renewed_at[run_id] = time.monotonic()


@functools.cache
def _worker_id(pid: int) -> str:
    """Return the random id of this process; one that was forked from it has another."""
    return str(uuid.uuid4())
