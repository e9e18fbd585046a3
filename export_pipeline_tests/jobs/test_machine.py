"""Any sequence of calls, by people, launchers and runs old and new, against a model of ten lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from export_pipeline.jobs import Attempt, EventKind, Job, Ledger, RefusedError, Status
from export_pipeline.jobs.states import TRANSITIONS
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import FILE, PAST

_COLUMNS = ("status", "attempt", "run_id")


class Machine(RuleBasedStateMachine):
    """Jobs, and what the model says of them: status, attempt, run."""

    ledger: Ledger
    jobs = Bundle("jobs")
    attempts = Bundle("attempts")

    @initialize()
    def begin(self) -> None:
        self.model: dict[str, tuple[Status, int, str | None]] = {}
        self.moves: dict[str, int] = {}

    @rule(target=jobs)
    def request(self) -> str:
        job = self.ledger.request("takeoff", "csv", scope="a")
        self.model[job.id], self.moves[job.id] = (Status.PENDING, 1, None), 1
        return job.id

    @rule(target=attempts, job=jobs, number=st.integers(1, 3), run=st.sampled_from([None, "x", "y"]))
    def somebody_holds(self, job: str, number: int, run: str | None) -> Attempt:
        return Attempt(job, number, run)

    @rule()
    def claim(self) -> None:
        for job in self.ledger.claim(2):
            assert self.model[job.id][0] is Status.PENDING

    @rule(attempt=attempts)
    def started(self, attempt: Attempt) -> None:
        if attempt.run_id is not None:
            self._reported(attempt, Status.PROCESSING, lambda: self.ledger.started(attempt))

    @rule(attempt=attempts)
    def completed(self, attempt: Attempt) -> None:
        self._reported(attempt, Status.COMPLETED, lambda: self.ledger.completed(attempt, FILE, PAST))

    @rule(attempt=attempts)
    def failed(self, attempt: Attempt) -> None:
        self._reported(attempt, Status.FAILED, lambda: self.ledger.failed(attempt, "code", "message"))

    @rule(attempt=attempts)
    def canceled_run(self, attempt: Attempt) -> None:
        self._reported(attempt, Status.CANCELED, lambda: self.ledger.canceled(attempt))

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        self._reported(None, Status.CANCELED, lambda: self.ledger.canceled(job), job)

    @rule(job=jobs)
    def expire(self, job: str) -> None:
        self._reported(None, Status.EXPIRED, lambda: self.ledger.expire(job, lambda key: None), job)

    @rule(job=jobs)
    def retry(self, job: str) -> None:
        status, number, _ = self.model[job]
        with self._refused(status not in (Status.FAILED, Status.CANCELED)):
            self.ledger.retry(job)
            self.model[job], self.moves[job] = (Status.PENDING, number + 1, None), self.moves[job] + 1

    @rule(attempt=attempts)
    def restart(self, attempt: Attempt) -> None:
        job = attempt.job_id
        status, number, run = self.model[job]
        mine = status is Status.PROCESSING and attempt.number == number and attempt.run_id in (None, run)
        with self._refused(not mine):
            self.ledger.restart(attempt, "worker_lost", "Its worker was lost.")
            self.model[job], self.moves[job] = (Status.PENDING, number + 1, None), self.moves[job] + 1

    @rule(attempt=attempts)
    def progress(self, attempt: Attempt) -> None:
        status, number, run = self.model[attempt.job_id]
        mine = status is Status.PROCESSING and attempt.number == number and attempt.run_id in (None, run)
        with self._refused(not mine):
            self.ledger.progress(attempt, "Reading", percent=1)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "model"):
            for job in self.ledger.find(limit=1000):
                assert tuple(getattr(job, column) for column in _COLUMNS) == self.model[job.id]
                assert (job.file_key is not None) == (job.status in (Status.COMPLETED, Status.EXPIRED))
                assert (job.error_code is not None) == (job.status is Status.FAILED)
                assert (job.completed_at is None) == (job.status in (Status.PENDING, Status.PROCESSING))

    def teardown(self) -> None:
        for job, moves in getattr(self, "moves", {}).items():
            written = [event.kind for event in self.ledger.events(job)]
            assert len([kind for kind in written if kind is not EventKind.PROGRESS]) == moves

    def _reported(
        self, attempt: Attempt | None, to: Status, report: Callable[[], Job], job_id: str | None = None
    ) -> None:
        job = attempt.job_id if attempt else job_id or ""
        status, number, run = self.model[job]
        mine = attempt is None or (attempt.number == number and attempt.run_id in (None, run))
        waiting = status is Status.PENDING and attempt is not None and attempt.number == number
        legal = to in TRANSITIONS[status] and (mine or waiting)
        # A run may also repeat itself to a job that ended before any run had it.
        again = status is to and (mine or (run is None and attempt is not None and attempt.number == number))
        with self._refused(not (legal or again)):
            moved = report()
            assert moved.status is to
            if legal:
                taken = attempt.run_id if attempt and to is Status.PROCESSING else run
                self.model[job], self.moves[job] = (to, number, taken), self.moves[job] + 1

    @contextmanager
    def _refused(self, expected: bool) -> Iterator[None]:
        if expected:
            with pytest.raises(RefusedError):
                yield
        else:
            yield


@pytest.mark.slow
@pytest.mark.parametrize("examples", [15])
def test_no_sequence_of_calls_leads_astray(database: Database, ledger: Ledger, examples: int) -> None:
    class OnThis(Machine):
        def __init__(self) -> None:
            super().__init__()
            self.ledger = ledger
            database.run("DELETE FROM export_events")
            database.run("UPDATE export_jobs SET legal_hold = false")
            database.run("DELETE FROM export_jobs")

    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=checks
    )
    run_state_machine_as_test(OnThis, settings=chosen)
