"""Launch runs as Celery tasks, so that any number of machines works on them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import dagster as dg
from dagster_celery import launcher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

from export_pipeline.jobs import Ledger, LedgerError
from export_pipeline.jobs.leases import START_TIMEOUT
from export_pipeline.orchestration.dagster_compat.launchers import (
    CheckRunHealthResult,
    CodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
    instance_of,
)
from export_pipeline.orchestration.dagster_compat.runs import (
    add_run_tags,
    report_canceled,
    report_canceling,
    with_tags,
)
from export_pipeline.orchestration.runs.attempts import CODE_TAG
from export_pipeline.orchestration.runs.code_version import code_version, loaded_version
from export_pipeline.orchestration.runs.reconciler import LAUNCHED, is_of_this_code
from export_pipeline.settings import load_settings

_Answer = TypeVar("_Answer")
_FAILED = "FAILURE"
_NO_QUEUE = "404"
_PAUSE_SECONDS = 10.0
"""Time for which nobody is asked again who gave no answer or serves a queue: many runs may wait."""
_WORKERS_ANSWER_SECONDS = 2.0
_UNSERVED_SECONDS = 60.0
"""Time between two answers that prove that no worker serves a queue: one may be restarting, or too busy."""
_FORGOTTEN_SECONDS = 600.0
"""Time after which an answer proves nothing any more: a worker may have come and gone."""
_MOST_COUNTED = 1000
_ASKED_ONCE = {"max_retries": 1, "interval_start": 0, "socket_connect_timeout": 3, "socket_timeout": 5}
"""Options of a connection that only asks; the second try is for the second broker, if there are two."""
_SETTINGS: dict[str, Any] = {
    "worker_disable_prefetch": True,  # a waiting run is taken by a machine that is free, not by a busy one
    "worker_max_tasks_per_child": 1,  # each run gets a new process, forked from the one that has loaded all
    "task_ignore_result": True,  # the lease says more, and launching would wait for the backend
    "task_store_errors_even_if_ignored": True,  # the death of a process
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "redis_socket_connect_timeout": 3,
    "redis_socket_timeout": 5,
}


_unserved: dict[tuple[str | None, str], tuple[float, float]] = {}
"""Times of the first and the last answer of workers none of which serves a queue, by broker and queue.

The process holds them, as each tick of a sensor has a launcher of its own.
"""


class CeleryRunLauncher(launcher.CeleryRunLauncher):
    """Dagster's launcher of Celery tasks, for which the lease in the ledger decides whether a run is alive.

    Dagster's own cannot tell a dead worker from a live one and a waiting task from a lost one, leaves a run
    that it terminates failed, and drops runs while the broker is away.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._asked_again_at: dict[str, float] = {}
        loaded_version()

    def app_args(self) -> dict[str, Any]:
        """Return the arguments of the Celery app; `config_source` of dagster.yaml overrides ours."""
        args: dict[str, Any] = super().app_args()
        return args | {"config_source": _SETTINGS | args["config_source"]}

    def queue_of_code(self, version: str) -> str:
        """Return the name of the queue from which workers with this version of the code take runs."""
        return f"{self.default_queue}-{version}"

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run as a task, for a worker that has the code which has claimed its request.

        Raises:
            CodeUnreachableError: the broker is unavailable. The queue takes the run back and tries again.
        """
        run = context.dagster_run
        given = run.tags.get(DAGSTER_CELERY_QUEUE_TAG)
        if is_of_this_code(run) and (given is None or self._is_queue_of_code(given)):
            # Tags that were copied from another run may name code that no worker has any more.
            is_copy = run.parent_run_id is not None or DAGSTER_CELERY_TASK_ID_TAG in run.tags
            version = (not is_copy and run.tags.get(CODE_TAG)) or code_version()
            tags = {DAGSTER_CELERY_QUEUE_TAG: self.queue_of_code(version), CODE_TAG: version}
            add_run_tags(instance_of(self), run, tags)
            context = LaunchRunContext(with_tags(run, tags), context.workspace)
        try:
            super().launch_run(context)
        except OperationalError as error:
            raise CodeUnreachableError(f"Celery's broker is unavailable: {error}") from error

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run, or withdraw it if it waits. Return False if there is nothing to interrupt.

        If the broker does not deliver the message, the heartbeat of the run ends it seconds later.
        """
        instance = instance_of(self)
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        report_canceling(instance, run)
        with suppress(Exception):  # the broker is unavailable, or the run has no task yet
            super().terminate(run_id)
        with suppress(LedgerError):
            if self._has_begun(run_id):
                return True  # a worker took it meanwhile; its heartbeat ends it
        if run.status in LAUNCHED:  # a worker that takes it from now on ignores it
            report_canceled(instance, run, "It was withdrawn before it began.")
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a run is alive, or the run still waits for one."""
        try:
            with Ledger(load_settings().jobs_url) as ledger:
                lease = ledger.leases([run.run_id]).get(run.run_id)
            if (lease is not None and lease.is_lost) or self._has_failed(run):
                return CheckRunHealthResult(WorkerStatus.FAILED, "Its process has died.")
            if lease is None and run.status in LAUNCHED and is_of_this_code(run):
                why = self._why_it_never_begins(run)
                # A worker may have taken the last task of the queue since the lease was read.
                if why is not None and not self._has_begun(run.run_id):
                    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, why)
        except LedgerError as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, str(error))  # the next check may know
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def unserved_queues(self) -> dict[str, int] | None:
        """Return the queues from which no worker takes runs, with the number of runs that wait there.

        The queue of this code is one even if nothing waits there. None if the broker gives no answer.
        """
        served = self._served_queues()
        if served is None:
            return None
        waiting = Counter({self.queue_of_code(code_version()): 0})
        for run in instance_of(self).get_runs(dg.RunsFilter(statuses=list(LAUNCHED)), limit=_MOST_COUNTED):
            if (queue := run.tags.get(DAGSTER_CELERY_QUEUE_TAG)) is not None:
                waiting[queue] += 1
        return {queue: runs for queue, runs in waiting.items() if queue not in served}

    def _served_queues(self) -> set[str] | None:
        """Return the queues of all workers that answer, as busy ones do too; None if the broker does not."""

        def ask() -> set[str]:
            opened = self.celery.connection_for_read(connect_timeout=3, transport_options=_ASKED_ONCE)
            with opened as connection:
                # `inspect` would keep one answer of several workers with the same name.
                answers = self.celery.control.broadcast(
                    "active_queues", reply=True, timeout=_WORKERS_ANSWER_SECONDS, connection=connection
                )
            of_workers = [queues for answer in answers or () for queues in answer.values()]
            return {queue["name"] for queues in of_workers for queue in queues}

        return self._ask("broker", ask)

    def _why_it_never_begins(self, run: dg.DagsterRun) -> str | None:
        """Return the reason why no worker will take a launched run; None if one may."""
        if self._waiting(run) == 0:
            return "Celery has no task for it any more."
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        of_today = {self.queue_of_code(version) for version in (code_version(), loaded_version())}
        if not self._is_queue_of_code(queue) or queue in of_today:
            return None  # a worker will come
        if self._is_young(run) or time.monotonic() < self._asked_again_at.get(queue, 0.0):
            return None
        if not self._is_unserved(queue):
            self._asked_again_at[queue] = time.monotonic() + _PAUSE_SECONDS
            return None
        return f"No worker has the code {run.tags.get(CODE_TAG)} any more, by which it was requested."

    def _is_unserved(self, queue: str) -> bool:
        """Return whether two answers of other workers, a minute apart, prove that none serves a queue."""
        served, now, place = self._served_queues(), time.monotonic(), (self.broker, queue)
        if not served:
            return False  # no worker answers, so its own may be among those that do not
        if queue in served:
            _unserved.pop(place, None)
            return False
        first, last = _unserved.get(place, (now, now))
        if now - last > _FORGOTTEN_SECONDS:
            first = now
        _unserved[place] = first, now
        return now - first >= _UNSERVED_SECONDS

    def _is_young(self, run: dg.DagsterRun) -> bool:
        """Return whether the workers that have the code of a run may just be restarting."""
        record = instance_of(self).get_run_record_by_id(run.run_id)
        return record is None or datetime.now(UTC) - record.update_timestamp < START_TIMEOUT

    def _is_queue_of_code(self, queue: str) -> bool:
        return re.fullmatch(f"{re.escape(self.default_queue)}-[0-9a-f]{{12}}", queue) is not None

    def _has_begun(self, run_id: str) -> bool:
        """Return whether a worker has taken a run by now, as its lease or its status tells."""
        with Ledger(load_settings().jobs_url) as ledger:
            if ledger.leases([run_id]):
                return True
        run = instance_of(self).get_run_by_id(run_id)
        return run is not None and run.status is dg.DagsterRunStatus.STARTED

    def _has_failed(self, run: dg.DagsterRun) -> bool:
        """Return whether a worker has reported the death of the process. A dead worker reports nothing."""
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        # The backend may be unavailable, or have lost what it knew.
        return (
            task is not None and self._ask("backend", lambda: self.celery.AsyncResult(task).state) == _FAILED
        )

    def _waiting(self, run: dg.DagsterRun) -> int | None:
        """Return the number of tasks that no worker has taken yet; None if the broker does not say."""
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)

        def count() -> int:
            opened = self.celery.connection_for_read(connect_timeout=3, transport_options=_ASKED_ONCE)
            with opened as connection:
                try:
                    return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
                except connection.channel_errors as error:
                    if str(getattr(error, "reply_code", "")) == _NO_QUEUE:  # Redis has no empty queues
                        return 0
                    raise

        return self._ask("broker", count)

    def _ask(self, service: str, question: Callable[[], _Answer]) -> _Answer | None:
        """Return an answer of the broker or the backend; None if it gives none, or gave none seconds ago."""
        if time.monotonic() < self._asked_again_at.get(service, 0.0):
            return None
        with suppress(Exception):
            return question()
        self._asked_again_at[service] = time.monotonic() + _PAUSE_SECONDS
        return None
