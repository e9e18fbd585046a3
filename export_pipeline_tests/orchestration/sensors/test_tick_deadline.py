"""Ticks end before Dagster's limit, whatever is slow, and what they have not done is done by later ones."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.datasets import scopes as datasets_scopes
from export_pipeline.jobs import Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.orchestration import resources
from export_pipeline.orchestration.sensors import deliveries, intake, maintenance, purge, tick_deadline
from export_pipeline.orchestration.sensors.scopes import scopes_sensor
from export_pipeline.orchestration.sensors.tick_deadline import LongWork
from export_pipeline.sources.snapshot import Snapshot, SourceUnavailableError
from export_pipeline_tests.delivery.exports import Exports, settings_of
from export_pipeline_tests.delivery.mail_server import MailServer
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.orchestration.deployment import Deployment

TICK_SECONDS = 0.5


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick_deadline, "_SECONDS", TICK_SECONDS)
    monkeypatch.setattr(tick_deadline, "_LAST_ITEM_SECONDS", TICK_SECONDS)


@pytest.fixture
def exports(deployment: Deployment, ledger: Ledger, mails: MailServer) -> Iterator[Exports]:
    database = Database(deployment.source.url)
    engine: sa.Engine = open_engine(deployment.source.url)
    with closing(Exports(engine, database, deployment.store, settings_of(mails.url))) as exports:
        yield exports
    database.close()


@pytest.fixture
def tick(deployment: Deployment) -> Callable[[dg.SensorDefinition], str]:
    def evaluate(sensor: dg.SensorDefinition) -> str:
        needed = {name: deployment.definitions.resources[name] for name in ("ledger", "store", "source")}
        with dg.build_sensor_context(instance=deployment.instance, resources=needed) as context:
            begun = time.monotonic()
            message = str(sensor.evaluate_tick(context).skip_message)
            assert time.monotonic() - begun < TICK_SECONDS + 20
        return message

    return evaluate


def test_the_deadline_follows_dagster_s_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick_deadline, "_SECONDS", 40.0)
    for limit, seconds in (("", 40), ("30", 20), ("600", 40)):
        monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", limit)
        assert tick_deadline.tick_deadline() - time.monotonic() == pytest.approx(seconds, abs=1)


def test_long_work_outlasts_ticks_and_is_never_begun_twice() -> None:
    go_on, begun = threading.Event(), []

    def work() -> str:
        begun.append(1)
        go_on.wait(30)
        return "done"

    long_work = LongWork(60)
    assert [long_work.run(work, time.monotonic() + 0.05) for _ in range(3)] == [None] * 3
    go_on.set()
    assert long_work.run(work, time.monotonic() + 30) == "done"
    assert len(begun) == 1
    with pytest.raises(ZeroDivisionError):
        long_work.run(lambda: str(1 / 0), time.monotonic() + 30)
    assert long_work.run(lambda: "again", time.monotonic() + 30) == "again"


def test_hung_work_is_abandoned() -> None:
    hang, long_work = threading.Event(), LongWork(0.05)
    assert long_work.run(lambda: str(hang.wait(30)), time.monotonic() + 0.01) is None
    time.sleep(0.1)
    assert long_work.run(lambda: "new", time.monotonic() + 30) == "new"
    hang.set()


@pytest.mark.slow
def test_a_slow_mail_server_holds_up_no_tick_and_gets_each_mail_once(
    exports: Exports, mails: MailServer, tick: Callable[[dg.SensorDefinition], str]
) -> None:
    jobs = [exports.completed([f"{name}@example.org"]) for name in "abc"]
    mails.holding.clear()
    for _ in range(3):
        assert tick(deliveries.delivery_sensor).startswith("Not done yet")
    assert sum(mails.received.values()) == 1
    mails.holding.set()
    for _ in range(20):
        if "No mail is due." in tick(deliveries.delivery_sensor):
            break
    assert mails.received == {f"{name}@example.org": 1 for name in "abc"}
    assert all(set(exports.statuses(job).values()) == {"sent"} for job in jobs)


@pytest.mark.slow
def test_many_mails_and_files_are_done_in_several_ticks(
    exports: Exports,
    mails: MailServer,
    ledger: Ledger,
    tick: Callable[[dg.SensorDefinition], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(6):
        exports.completed([f"{number}@example.org"])
    mails.on_recipient = lambda address: time.sleep(0.2)
    messages = [tick(deliveries.delivery_sensor)]
    while "No mail is due." not in messages[-1]:
        messages.append(tick(deliveries.delivery_sensor))
    assert len(messages) > 2
    assert mails.received == {f"{number}@example.org": 1 for number in range(6)}

    exports.database.run("UPDATE export_jobs SET expires_at = '2026-01-01T00:00:00.000000+00:00'")
    expire = ledger.expire
    monkeypatch.setattr(Ledger, "expire", lambda self, *args: (time.sleep(0.2), expire(*args))[1])
    messages = [tick(purge.purge_sensor)]
    assert messages[0].endswith("The next tick goes on.")
    while messages[-1].endswith("The next tick goes on."):
        messages.append(tick(purge.purge_sensor))
    assert {job.status for job in ledger.find()} == {Status.EXPIRED}
    assert len(messages) > 1


def test_a_list_of_scopes_that_takes_too_long_is_an_outage(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tick: Callable[[dg.SensorDefinition], str]
) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"
    deployment.source.rows(f"CREATE VIEW endless AS {endless}")

    def scopes(snapshot: Snapshot, spec: object) -> dict[str, str]:
        snapshot.rows(
            sa.select(sa.column("i")).select_from(sa.table("endless")), [Column("i", "i", Kind.TEXT)]
        )
        return {}

    slow: Any = SimpleNamespace(scopes=scopes)
    monkeypatch.setattr(datasets_scopes, "SCOPES_SECONDS", 0.3)
    with pytest.raises(SourceUnavailableError, match=r"could not be read within 0\.3 s"):
        resources.SourceDatabase(url=deployment.source.url).scopes(slow, {})
    with pytest.raises(SourceUnavailableError):
        tick(scopes_sensor(dataset="slow", source=slow, spec={}))


def test_a_slow_queue_outlasts_the_tick(
    deployment: Deployment,
    ledger: Ledger,
    tick: Callable[[dg.SensorDefinition], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, calls = threading.Event(), []

    def receive(*_: object) -> dict[str, int]:
        calls.append(1)
        go_on.wait(30)
        return {"taken": 3}

    monkeypatch.setattr(intake, "receive_requests", receive)
    sensor = intake.intake_sensor({})
    assert [tick(sensor), tick(sensor)] == [maintenance.STILL_RUNNING] * 2
    go_on.set()
    assert tick(sensor) == "Messages: 3 taken."
    assert len(calls) == 1
