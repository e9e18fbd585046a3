"""The heartbeat outlives errors: an outage of Dagster's database, and any error that may pass, cost no lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster_postgres.utils import DagsterPostgresException

from export_pipeline.jobs import Ledger
from export_pipeline.jobs.states import Status
from export_pipeline.orchestration.runs import heartbeat
from export_pipeline.orchestration.runs.heartbeat import cancellable

_STARTED, _CANCELING = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING


@pytest.fixture
def renewals(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """One for each renewal of a lease; they follow each other fast."""
    monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 0)
    monkeypatch.setattr(heartbeat, "_LOOK_SECONDS", 0.02)
    renewed, real = threading.Semaphore(0), ledger.hold_lease

    def hold(*args: Any) -> None:
        real(*args)
        renewed.release()

    monkeypatch.setattr(ledger, "hold_lease", hold)
    return renewed


@contextmanager
def working(ledger: Ledger, answer: Callable[[], dg.DagsterRunStatus]) -> Iterator[None]:
    """A run works within the block; Dagster gives its status when it is asked."""
    run = cast(dg.DagsterRun, SimpleNamespace(run_id="run", tags={}))
    instance = SimpleNamespace(get_run_by_id=lambda _: SimpleNamespace(status=answer()))
    job = SimpleNamespace(executor_def=SimpleNamespace(name="in_process"))
    try:
        with cancellable(
            lambda: ledger, run, cast(dg.DagsterInstance, instance), cast(dg.JobDefinition, job)
        ):
            yield
    finally:
        heartbeat._renewed_at.pop("run", None)


def renewed(renewals: threading.Semaphore, times: int = 3) -> bool:
    return all(renewals.acquire(timeout=30) for _ in range(times))


def test_an_outage_of_dagsters_database_costs_no_lease(ledger: Ledger, renewals: threading.Semaphore) -> None:
    """Its PostgreSQL storage raises an error that is none of SQLAlchemy's."""
    asked = threading.Semaphore(0)

    def fail() -> dg.DagsterRunStatus:
        asked.release()
        raise DagsterPostgresException("too many retries for DB connection")

    with working(ledger, fail):
        assert renewed(renewals)
        assert all(asked.acquire(timeout=30) for _ in range(3))
        assert renewed(renewals)
    assert ledger.leases(["run"])["run"].is_alive


def test_a_database_of_dagster_that_hangs_delays_no_renewal(
    ledger: Ledger, renewals: threading.Semaphore
) -> None:
    """It is asked once, and not again until it has answered."""
    asked, is_back = threading.Semaphore(0), threading.Event()

    def hang() -> dg.DagsterRunStatus:
        asked.release()
        is_back.wait()
        return _STARTED

    with working(ledger, hang):
        assert asked.acquire(timeout=30)
        assert renewed(renewals, 5)
        assert not asked.acquire(timeout=0.1)
        is_back.set()
        assert asked.acquire(timeout=30)


@pytest.mark.parametrize("status", [_CANCELING, dg.DagsterRunStatus.CANCELED])
def test_a_run_that_dagster_cancels_ends_after_an_outage(
    ledger: Ledger, renewals: threading.Semaphore, status: dg.DagsterRunStatus
) -> None:
    """Also one that was taken for withdrawn before it began. It is interrupted once."""
    answers = iter([DagsterPostgresException("away")] * 2)

    def answer() -> dg.DagsterRunStatus:
        for error in answers:
            raise error
        return status

    with working(ledger, answer):
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)
        time.sleep(0.3)


@pytest.mark.parametrize("where", ["renewal", "jobs"])
def test_any_other_error_is_tried_again(
    ledger: Ledger, renewals: threading.Semaphore, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    errors, real = iter([ValueError("unforeseen")] * 3), heartbeat._renew

    def renew(*args: Any) -> None:
        for error in errors:
            raise error
        real(*args)

    if where == "renewal":
        monkeypatch.setattr(heartbeat, "_renew", renew)
        with working(ledger, lambda: _STARTED):
            assert renewed(renewals)
        return
    job = ledger.request("takeoff", "csv")
    monkeypatch.setattr(heartbeat, "attempts_of", lambda *_: [SimpleNamespace(job_id=job.id)])

    def get(_: str) -> Any:
        for error in errors:
            raise error
        return SimpleNamespace(status=Status.PROCESSING)

    monkeypatch.setattr(ledger, "get", get)
    with working(ledger, lambda: _STARTED):
        assert renewed(renewals, 6)


def test_settings_that_are_invalid_for_a_while_cost_no_lease(
    ledger: Ledger, renewals: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder that is not mounted now; a renewal tells the room on the staging disk if it can."""
    monkeypatch.setenv("EXPORT_PAGE_IMAGES", "/is/not/mounted")
    with working(ledger, lambda: _STARTED):
        assert renewed(renewals)


def test_the_log_of_an_unforeseen_error_shows_no_values(
    ledger: Ledger,
    renewals: threading.Semaphore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret, real = "4711 0815", heartbeat._renew
    errors = iter([sa.exc.ProgrammingError("SELECT x", {"scope": secret}, ValueError(secret))])

    def renew(*arguments: Any) -> None:
        for error in errors:
            raise error
        real(*arguments)

    monkeypatch.setattr(heartbeat, "_renew", renew)
    with working(ledger, lambda: _STARTED):
        assert renewed(renewals)
    assert "tries again" in caplog.text
    assert secret not in caplog.text
