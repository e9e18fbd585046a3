"""Runs that wait for what is away: they can be ended, and do not wait for ever."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from export_pipeline.jobs import Ledger, LedgerUnavailableError, Status
from export_pipeline.orchestration.runs import outages
from export_pipeline.orchestration.runs.attempts import job_tags
from export_pipeline.store import StoreUnavailableError
from export_pipeline_tests.orchestration.deployment import Deployment, failures
from export_pipeline_tests.orchestration.outages import once, reload, retry_count, warnings

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a database that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql+psycopg2://app:secret@127.0.0.1:{server.getsockname()[1]}/jobs"


@pytest.mark.slow
@pytest.mark.parametrize("away", ["silent", "closed"])
def test_a_run_that_waits_for_the_ledger_can_be_ended(
    deployment: Deployment, ledger: Ledger, silent: str, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """As Dagster ends it: by a signal."""
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    monkeypatch.setenv("EXPORT_JOBS_URL", silent if away == "silent" else "postgresql://app@127.0.0.1:9/jobs")
    ended_at: list[float] = []
    begun = threading.Event()
    once(monkeypatch, outages, "run_in_thread", begun.set)

    def end() -> None:
        begun.wait(240)
        time.sleep(2)
        ended_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=end)
    person.start()
    result = reload(deployment).run(tags=job_tags([job]))
    person.join()
    assert time.monotonic() - ended_at[0] < 3
    assert not result.success


@pytest.mark.slow
def test_a_run_whose_progress_nobody_takes_can_be_ended(
    deployment: Deployment, ledger: Ledger, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg2

    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    ended_at: list[float] = []

    def end() -> None:
        ended_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def report(*_: Any, **__: Any) -> None:
        """In the driver's own code, which hears no signal."""
        threading.Timer(1, end).start()
        psycopg2.connect(silent.replace("+psycopg2", ""), connect_timeout=10)

    monkeypatch.setattr(Ledger, "progress", report)
    assert not deployment.run(tags=job_tags([job])).success
    assert time.monotonic() - ended_at[0] < 3


@pytest.mark.slow
def test_a_ledger_that_stays_away_is_given_up(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    monkeypatch.setenv("EXPORT_JOBS_URL", "postgresql://app@127.0.0.1:9/jobs")
    monkeypatch.setenv("EXPORT_OUTAGE_SECONDS", "2")
    result = reload(deployment).run(tags=job_tags([job]))
    assert "does not answer" in failures(result)["fetch_source"]
    assert len(warnings(deployment, result)) >= 2
    assert retry_count(result) == 0


@pytest.mark.slow
def test_a_job_canceled_while_its_run_waits_for_the_store(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.store.folder import FolderStore

    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    canceled_at: list[float] = []

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("The store is away.")

    monkeypatch.setattr(FolderStore, "begin", away)
    monkeypatch.setattr(FolderStore, "check", away)

    def cancel() -> None:
        while not warned.wait(0.1):
            pass
        time.sleep(2)
        canceled_at.append(time.monotonic())
        ledger.canceled(job.id, "somebody")

    warned = threading.Event()
    once(monkeypatch, outages, "_check_store", warned.set)
    person = threading.Thread(target=cancel)
    person.start()
    result = deployment.run(tags=job_tags([job]))
    person.join()
    assert time.monotonic() - canceled_at[0] < 5
    assert not result.success
    assert ledger.get(job.id).status is Status.CANCELED


def test_waits_grow_to_half_a_minute_and_stay_within_the_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    def away() -> None:
        raise LedgerUnavailableError("away")

    monkeypatch.setenv("EXPORT_OUTAGE_SECONDS", "600")
    monkeypatch.setattr(outages, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    with pytest.raises(LedgerUnavailableError):
        outages.retry_until_available(away, dg.get_dagster_logger())
    most = [min(0.5 * 2**tries, 30) for tries in range(len(waits))]
    *but_last, _ = zip(waits, most, strict=True)
    assert all(longest / 2 <= wait <= longest for wait, longest in but_last)
    assert clock[0] == pytest.approx(600)
    assert len(set(waits)) == len(waits)


def test_the_log_says_in_sentences_what_a_run_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outages, "time", SimpleNamespace(sleep=lambda seconds: None))
    for why in ("failed: Connection refused", "It is away."):
        outages.pause(1.0, why, logging.getLogger("waits"))
    assert [record.message for record in caplog.records] == [
        "failed: Connection refused. Waiting for it; the next try is in 1.0 s.",
        "It is away. Waiting for it; the next try is in 1.0 s.",
    ]


def test_errors_other_than_outages_are_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        outages.retry_until_available(lambda: 1 / 0, dg.get_dagster_logger())
