"""Windows of cadences: each is exported and mailed once, whatever is repeated and whatever crashes."""

from __future__ import annotations

from collections import Counter
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler import DagsterDaemonScheduler

from export_pipeline.components.dataset import DatasetComponent
from export_pipeline.components.loading import datasets
from export_pipeline.delivery import queue
from export_pipeline.delivery.send import Counts, deliver_due
from export_pipeline.jobs import Job, Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.orchestration import window_requests
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.partitions import MAX_MISSED_WINDOWS, ended_since
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.orchestration.window_requests import window_requests_job
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows
from export_pipeline.settings import load_settings
from export_pipeline_tests.delivery.mail_server import MailServer
from export_pipeline_tests.orchestration.deployment import QUIET, Deployment
from export_pipeline_tests.orchestration.requesting import fill_odd_scopes, launch, tick

READERS = ["ann@example.org", "Ben <ben@example.org>"]
OWNERS = ["team:estimating", "owner@example.org"]
FORMATS = ["csv", "json"]
AT = datetime(2026, 2, 3, 2, 15, tzinfo=UTC)


@pytest.fixture
def ledger(deployment: Deployment, ledger: Ledger) -> Ledger:
    """The ledger of a deployment whose scopes are known, as after their sensor's tick."""
    deployment.instance.add_dynamic_partitions("takeoff_scopes", list(deployment.source.scopes))
    return ledger


def schedule_ticks(deployment: Deployment, at: datetime = AT, **rule: str) -> dg.RunRequest:
    """Return the result of a tick of a daily schedule with recipients and owners."""
    (schedule,) = with_rule(**rule).build_defs(None).schedules or ()  # type: ignore[arg-type]
    assert isinstance(schedule, dg.ScheduleDefinition)
    with dg.instance_for_test() as instance:  # one that schedules can open by themselves
        instance.add_dynamic_partitions("takeoff_scopes", list(deployment.source.scopes))
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=at,
            repository_def=deployment.definitions.get_repository_def(),
        ) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or []
    return request


def with_rule(**rule: str) -> DatasetComponent:
    """The takeoff dataset with a daily cadence that has recipients and owners."""
    dataset = copy(datasets()["takeoff"])
    dataset.attributes = dataset.attributes.model_validate(
        dataset.attributes.model_dump()
        | {"owners": OWNERS, "cadences": {"daily": {"cron": "15 2 * * *", "recipients": READERS, **rule}}}
    )
    return dataset


def scheduled(deployment: Deployment, at: datetime = AT, **rule: str) -> None:
    """A tick, and the run that it starts."""
    request = schedule_ticks(deployment, at, **rule)
    job = window_requests_job({"takeoff": with_rule(**rule)})
    ledger = deployment.definitions.resources["ledger"]
    assert job.execute_in_process(
        instance=deployment.instance,
        run_config=QUIET | dict(request.run_config),
        resources={"ledger": ledger},
    ).success


def ask(deployment: Deployment, scope: str | None = None, window: str = "2026-02-02") -> int:
    """Request as such a tick does, for one scope and the formats that are made quickly."""
    engine = open_engine(deployment.source.url)
    asked = [CadenceWindow("takeoff", "daily", window, scope or deployment.scope)]
    try:
        return request_windows(engine, asked, FORMATS, recipients=READERS, owners=OWNERS[1:])
    finally:
        engine.dispose()


def deliver(deployment: Deployment) -> Counts:
    engine = open_engine(deployment.source.url)
    try:
        return deliver_due(engine, deployment.store, load_settings())
    finally:
        engine.dispose()


def of_formats(ledger: Ledger) -> dict[str, Job]:
    return {job.format: job for job in ledger.find()}


def test_a_tick_changes_nothing_and_its_run_requests_each_scope_and_format_once(
    deployment: Deployment, ledger: Ledger
) -> None:
    assert schedule_ticks(deployment).run_key == "takeoff/daily/2026-02-02"
    assert ledger.find() == []
    scheduled(deployment)
    asked = ledger.find(limit=100)
    assert Counter(job.scope for job in asked) == dict.fromkeys(deployment.source.scopes, 6)
    assert {job.window_key for job in asked} == {"daily/2026-02-02"}
    assert all(job.recipients == READERS for job in asked)
    assert all(job.options == {"owners": ["owner@example.org"]} for job in asked)
    scheduled(deployment)
    assert len(ledger.find(limit=100)) == len(asked)
    scheduled(deployment, datetime(2026, 2, 4, 2, 15, tzinfo=UTC))
    assert len(ledger.find(limit=100)) == 2 * len(asked)


@pytest.mark.slow
def test_windows_of_scopes_of_any_characters_are_made(deployment: Deployment, ledger: Ledger) -> None:
    scopes = [*fill_odd_scopes(deployment), deployment.scope]
    assert sum(ask(deployment, scope) for scope in scopes) == len(scopes) * len(FORMATS)
    for request in tick(deployment):
        assert launch(deployment, request).success
    asked = ledger.find(limit=100)
    assert Counter((job.scope, job.status) for job in asked) == {
        (scope, Status.COMPLETED): len(FORMATS) for scope in scopes
    }
    assert len({job.file_key for job in asked}) == len(asked)
    assert all(str(job.file_key).endswith(("2026-02-02.csv", "2026-02-02.json")) for job in asked)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("misfire", "made_up"), [("last", []), ("all", ["2026-02-03", "2026-02-04", "2026-02-05"])]
)
def test_windows_that_ended_while_nothing_ran_are_made_up_if_wanted(
    deployment: Deployment, ledger: Ledger, misfire: str, made_up: list[str]
) -> None:
    back = datetime(2026, 2, 7, 2, 15, tzinfo=UTC)
    for at in (AT, back, back):
        scheduled(deployment, at, misfire=misfire)
    asked = Counter(str(job.window_key) for job in ledger.find(limit=1000))
    windows = ["2026-02-02", *made_up, "2026-02-06"]
    assert asked == dict.fromkeys((f"daily/{name}" for name in windows), 6 * len(deployment.source.scopes))


def test_after_years_only_the_newest_windows_are_made_up() -> None:
    windows = dg.DailyPartitionsDefinition("2020-01-01")
    windows_ended = ended_since(windows, "2020-01-05", "2022-01-01")
    assert (len(windows_ended), windows_ended[-1]) == (MAX_MISSED_WINDOWS, "2022-01-01")
    assert ended_since(windows, "2022-01-01", "2022-01-01") == ["2022-01-01"]  # asked again: nothing is new
    assert ended_since(windows, "2019-12-31", "2022-01-01") == ["2022-01-01"]  # its start was changed since


@pytest.mark.slow
def test_missed_windows_are_one_run_of_a_tick(deployment: Deployment, ledger: Ledger) -> None:
    scheduled(deployment, misfire="all")
    request = schedule_ticks(deployment, datetime(2026, 2, 7, 2, 15, tzinfo=UTC), misfire="all")
    assert request.run_key == "takeoff/daily/2026-02-03 to 2026-02-06"


@pytest.mark.slow
def test_without_the_tables_of_requests_a_tick_fails_and_says_so(deployment: Deployment) -> None:
    with pytest.raises(dg.DagsterError) as failed:
        schedule_ticks(deployment)
    assert "run `export-pipeline migrate`" in str(failed.value.__cause__)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "made"),
    [
        (dg.DagsterRunStatus.FAILURE, 12),
        (dg.DagsterRunStatus.NOT_STARTED, 12),
        (dg.DagsterRunStatus.STARTED, 12),
        (dg.DagsterRunStatus.CANCELED, 0),
        (dg.DagsterRunStatus.SUCCESS, 0),
    ],
)
def test_the_windows_of_a_run_that_died_are_requested_once(
    deployment: Deployment,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    status: dg.DagsterRunStatus,
    made: int,
) -> None:
    declared = {"takeoff": with_rule()}
    job, instance = window_requests_job(declared), deployment.instance
    config = schedule_ticks(deployment).run_config
    instance.create_run_for_job(job_def=job, run_config=dict(config), status=status)

    def repeat() -> int:
        return window_requests.repeat_lost_requests(instance, deployment.source.url, declared)

    assert repeat() == 0  # it may still do so itself
    monkeypatch.setattr(window_requests, "_LATE", timedelta(0))
    assert repeat() == made
    assert len(ledger.find(limit=100)) == made
    assert repeat() == 0


@pytest.mark.slow
def test_a_ledger_that_is_away_fails_the_tick_and_dagster_tries_it_again(
    environment: dict[str, str], deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_JOBS_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    with pytest.raises(dg.DagsterError) as failed:
        schedule_ticks(deployment)
    assert "does not answer" in str(failed.value.__cause__)
    assert "hunter2" not in str(failed.value.__cause__)
    prepare_home()
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.scheduler, DagsterDaemonScheduler)
        assert instance.scheduler.max_tick_retries == 60


@pytest.mark.slow
def test_one_run_makes_all_formats_and_each_reader_gets_each_once(
    deployment: Deployment, ledger: Ledger, mails: MailServer
) -> None:
    assert ask(deployment) == 2
    (request,) = tick(deployment)
    assert request.partition_key == f"{deployment.scope}|2026-02-02"
    assert launch(deployment, request).success
    for format, job in of_formats(ledger).items():
        assert job.status is Status.COMPLETED
        assert job.file_key == f"exports/{deployment.scope}/takeoff/daily/2026-02-02.{format}"
        assert job.expires_at is not None
    assert deliver(deployment).sent == 4
    assert mails.received == {"ann@example.org": 2, "ben@example.org": 2}
    assert sorted(next(mail.iter_attachments()).get_content_type() for _, mail in mails.mails) == [
        "application/json", "application/json", "text/csv", "text/csv",
    ]  # fmt: skip

    # Whatever is done with the window now, nobody gets a mail.
    assert ask(deployment) == 0
    assert tick(deployment) == []
    launch(deployment, request)
    by_hand = deployment.run(FORMATS, "daily", f"{deployment.scope}|2026-02-02")
    assert by_hand.success
    old = deployment.run(FORMATS, "daily", f"{deployment.scope}|2026-01-05")
    assert old.success
    reconcile(ledger, deployment.instance)
    assert deliver(deployment) == Counts()
    assert len(ledger.find()) == 2 + 2 * len(FORMATS)  # files made by hand are jobs too


@pytest.mark.slow
def test_a_delivery_that_died_is_not_repeated(
    deployment: Deployment, ledger: Ledger, mails: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(deployment)
    (request,) = tick(deployment)
    launch(deployment, request)

    def dies(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(queue, "mark_sent", dies)
        with pytest.raises(SystemExit):
            deliver(deployment)
    assert len(mails.mails) == 1
    deployment.source.rows("UPDATE export_deliveries SET claimed_at = '2026-01-01' WHERE status = 'sending'")
    counts = deliver(deployment)
    assert (counts.unknown, counts.sent) == (1, 3)
    assert mails.received == {"ann@example.org": 2, "ben@example.org": 2}


@pytest.mark.slow
def test_the_owner_of_a_failed_window_gets_one_notice_and_may_retry_it(
    deployment: Deployment, ledger: Ledger, mails: MailServer
) -> None:
    deployment.source.rows("ALTER TABLE measurements RENAME TO elsewhere")
    ask(deployment)
    (request,) = tick(deployment)
    assert not launch(deployment, request).success
    reconcile(ledger, deployment.instance)
    assert {job.status for job in ledger.find()} == {Status.FAILED}
    assert deliver(deployment).sent == 1
    assert deliver(deployment) == Counts()
    notice = mails.to("owner@example.org").get_body(("plain",))
    assert notice is not None
    for text in ("csv, json", deployment.scope, "Period: 2026-02-02", "measurements"):
        assert text in notice.get_content()
    assert mails.received == {"owner@example.org": 1}

    deployment.source.rows("ALTER TABLE elsewhere RENAME TO measurements")
    for job in ledger.find():
        ledger.retry(job.id)
    (request,) = tick(deployment)
    assert launch(deployment, request).success
    assert deliver(deployment).sent == 4
    assert mails.received == {"owner@example.org": 1, "ann@example.org": 2, "ben@example.org": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "message"),
    [
        (CadenceWindow("takeoff", "daily", "2026-02-30", "s"), "no daily window '2026-02-30'"),
        (CadenceWindow("takeoff", "daily", "2099-01-01", "s"), "no daily window '2099-01-01'"),
        (CadenceWindow("takeoff", "yearly", "2026", "s"), "makes no yearly csv"),
        (CadenceWindow("takeoff", "daily", "2026-02-02", "nobody"), "no scope 'nobody'"),
    ],
)
def test_a_window_that_there_is_not_is_refused(
    deployment: Deployment, ledger: Ledger, window: CadenceWindow, message: str
) -> None:
    scope = deployment.scope if window.scope == "s" else window.scope
    engine = open_engine(deployment.source.url)
    asked = CadenceWindow(window.dataset, window.cadence, window.window, scope)
    assert request_windows(engine, [asked], ["csv"], recipients=[], owners=[]) == 1
    engine.dispose()
    assert tick(deployment) == []
    (job,) = ledger.find()
    assert job.status is Status.FAILED
    assert message in str(job.error_message)


@pytest.mark.slow
def test_a_forged_window_is_an_ordinary_request(deployment: Deployment, ledger: Ledger) -> None:
    ledger.request("takeoff", "csv", scope=deployment.scope, window_key="daily/2026-02-02")
    (request,) = tick(deployment)
    assert launch(deployment, request).success
    (job,) = ledger.find()
    assert job.file_key == f"exports/{deployment.scope}/{job.id}.csv"
