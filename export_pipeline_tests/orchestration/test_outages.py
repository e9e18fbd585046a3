"""Runs whose ledger, source or store goes away under them: real servers, stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.demo import takeoff
from export_pipeline.formats import csv
from export_pipeline.jobs import Ledger, LedgerUnavailableError, Status, migrate
from export_pipeline.orchestration import faults, io_managers, outages
from export_pipeline.orchestration.working import job_tags
from export_pipeline.store import StoreUnavailableError, open_store, s3_upload
from export_pipeline.store.publish import verify_file
from export_pipeline_tests.orchestration.deployment import SAMPLES, Deployment, failures, files, steps
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.services.switches import Switch, postgres_switch, s3_switch

ALL_STEPS = ["fetch_project", "build_export_data", "sanitize", "render_csv"]


@pytest.fixture(autouse=True)
def patience(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_OUTAGE_SECONDS", "60")
    monkeypatch.setattr(faults, "FIRST_WAIT_SECONDS", 0.5)


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[Switch, PostgresServer]]:
    with postgres_switch() as both:
        yield both


def reload(deployment: Deployment) -> Deployment:
    """The deployment as the settings are now."""
    from export_pipeline.definitions import defs

    return Deployment(deployment.source, deployment.folder, defs(), deployment.instance)


def warnings(deployment: Deployment, result: dg.ExecuteInProcessResult) -> list[str]:
    """What a run's log says of its waits."""
    logs = deployment.instance.all_logs(result.run_id)
    return [entry.user_message for entry in logs if "Waiting for it" in entry.user_message]


def retries(result: dg.ExecuteInProcessResult) -> int:
    return sum(event.is_step_up_for_retry for event in result.all_events)


def once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, act: Callable[[], object]) -> list[int]:
    """Do something before the first call of a function; gives a list that grows with each call."""
    original, calls = getattr(where, name), []

    def acting(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            act()
        return original(*arguments, **options)

    monkeypatch.setattr(where, name, acting)
    return calls


@pytest.mark.parametrize(
    ("module", "function"), [(csv, "render"), (io_managers, "publish"), (io_managers, "finish")]
)
def test_a_ledger_that_comes_back_costs_no_work(
    deployment: Deployment,
    database: tuple[Switch, PostgresServer],
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    function: str,
) -> None:
    switch, server = database
    monkeypatch.setenv("EXPORT_JOBS_URL", server.url())
    migrate(server.url())
    with Ledger(server.url()) as ledger:
        job = ledger.request("takeoff", "csv", scope=deployment.scope)
        rendered = once(monkeypatch, csv, "read_back", lambda: None)
        once(monkeypatch, module, function, lambda: switch.off(3))
        result = reload(deployment).run(tags=job_tags([job]))
        assert result.success
        assert (steps(result), retries(result), len(rendered)) == (ALL_STEPS, 0, 1)
        assert any("export jobs" in text for text in warnings(deployment, result))
        assert ledger.get(job.id).status is Status.COMPLETED
        assert verify_file(deployment.store, str(ledger.get(job.id).file_key)) == []


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a database that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql+psycopg2://app:secret@127.0.0.1:{server.getsockname()[1]}/jobs"


@pytest.mark.parametrize("away", ["silent", "closed"])
def test_a_run_that_waits_for_the_ledger_can_be_ended(
    deployment: Deployment, ledger: Ledger, silent: str, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """As Dagster ends it: by a signal."""
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    monkeypatch.setenv("EXPORT_JOBS_URL", silent if away == "silent" else "postgresql://app@127.0.0.1:9/jobs")
    ended_at: list[float] = []
    begun = threading.Event()
    once(monkeypatch, outages, "beside", begun.set)

    def end() -> None:
        begun.wait(30)
        time.sleep(2)
        ended_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=end)
    person.start()
    result = reload(deployment).run(tags=job_tags([job]))
    person.join()
    assert time.monotonic() - ended_at[0] < 3
    assert not result.success


def test_a_run_whose_progress_nobody_takes_can_be_ended(
    deployment: Deployment, ledger: Ledger, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg2

    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    ended_at: list[float] = []

    def end() -> None:
        ended_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def told(*_: Any, **__: Any) -> None:
        """In the driver's own code, which hears no signal."""
        threading.Timer(1, end).start()
        psycopg2.connect(silent.replace("+psycopg2", ""), connect_timeout=10)

    monkeypatch.setattr(Ledger, "progress", told)
    assert not deployment.run(tags=job_tags([job])).success
    assert time.monotonic() - ended_at[0] < 3


def test_a_ledger_that_stays_away_is_given_up(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ledger.request("takeoff", "csv", scope=deployment.scope)
    monkeypatch.setenv("EXPORT_JOBS_URL", "postgresql://app@127.0.0.1:9/jobs")
    monkeypatch.setenv("EXPORT_OUTAGE_SECONDS", "2")
    result = reload(deployment).run(tags=job_tags([job]))
    assert "does not answer" in failures(result)["fetch_project"]
    assert len(warnings(deployment, result)) >= 2
    assert retries(result) == 0


@pytest.fixture
def on_postgres(
    deployment: Deployment, database: tuple[Switch, PostgresServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Deployment, str]]:
    """A deployment whose source is the server that a test stops; and a scope there."""
    _, server = database
    with server.database() as url:
        engine = sa.create_engine(url)
        (scope,) = takeoff.fill(engine, SAMPLES[1:])
        engine.dispose()
        deployment.instance.add_dynamic_partitions("takeoff_scopes", [scope])
        monkeypatch.setenv("EXPORT_SOURCE_URL", url)
        monkeypatch.setenv("EXPORT_JOBS_URL", deployment.source.url)
        yield reload(deployment), scope


def test_a_source_that_comes_back_before_the_first_row(
    on_postgres: tuple[Deployment, str], database: tuple[Switch, PostgresServer]
) -> None:
    deployment, scope = on_postgres
    database[0].off(3)
    result = deployment.run(partition=scope)
    assert result.success
    assert retries(result) == 1
    assert "source database cannot be reached" in warnings(deployment, result)[0]


def test_a_source_that_goes_away_in_the_middle_is_read_again_from_the_start(
    on_postgres: tuple[Deployment, str],
    database: tuple[Switch, PostgresServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment, scope = on_postgres
    saved = once(monkeypatch, io_managers, "save_all", lambda: database[0].off(3))
    result = deployment.run(partition=scope)
    assert result.success
    assert (retries(result), len(saved)) == (1, 4)  # fetch twice, build, sanitize
    assert verify_file(deployment.store, files(result)["csv"]["key"]) == []


@pytest.mark.parametrize(("module", "function"), [(csv, "render"), (s3_upload.S3Upload, "_show")])
def test_s3_that_comes_back_gets_the_file_of_the_rows_there_are(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, module: Any, function: str
) -> None:
    """The rows are not read again."""
    with s3_switch() as (switch, server):
        server.client().create_bucket(Bucket="exports")
        monkeypatch.setenv("EXPORT_STORE_URL", "s3://exports/team")
        monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", server.endpoint_url)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("export_pipeline.store.s3_client.default_factory", impatient)
        once(monkeypatch, module, function, lambda: switch.off(3))
        saved = once(monkeypatch, io_managers, "save_all", lambda: None)
        result = reload(deployment).run()
        assert result.success, failures(result)
        assert (retries(result), len(saved)) == (1, 3)
        assert "cannot be reached" in warnings(deployment, result)[0]
        store = open_store("s3://exports/team", endpoint_url=server.endpoint_url)
        assert verify_file(store, files(result)["csv"]["key"]) == []


def impatient(region: str | None = None) -> Any:
    """S3 clients that do not try again by themselves, so that an outage of seconds is seen."""

    def make(endpoint_url: str | None) -> Any:
        from boto3.session import Session
        from botocore.config import Config

        config = Config(connect_timeout=1, retries={"mode": "standard", "total_max_attempts": 1})
        return Session(region_name=region).client("s3", endpoint_url=endpoint_url, config=config)

    return make


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
    once(monkeypatch, outages, "_ask_the_store", warned.set)
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
    monkeypatch.setattr(outages.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(outages.time, "sleep", sleep)
    with pytest.raises(LedgerUnavailableError):
        outages.outlive(away, dg.get_dagster_logger())
    most = [min(2.0**tries, 30) for tries in range(len(waits))]
    *but_last, _ = zip(waits, most, strict=True)
    assert all(longest / 2 <= wait <= longest for wait, longest in but_last)
    assert clock[0] == pytest.approx(600)
    assert len(set(waits)) == len(waits)


def test_what_is_no_outage_is_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        outages.outlive(lambda: 1 / 0, dg.get_dagster_logger())
