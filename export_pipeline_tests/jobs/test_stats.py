from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from export_pipeline.health.findings import Finding
from export_pipeline.health.ledger import ledger_findings
from export_pipeline.jobs import File, Ledger, Status
from export_pipeline.jobs.leases import Disk
from export_pipeline.jobs.stats import Statistics
from export_pipeline.metrics import metrics_text, write_metrics
from export_pipeline.settings import load_settings
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import job_in, run_of


@pytest.fixture(autouse=True)
def settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_JOBS_URL", database.url)


def overdue(late: timedelta = timedelta(minutes=15)) -> dict[str, Finding]:
    return {finding.code: finding for finding in ledger_findings(load_settings(), late)}


@pytest.fixture
def statistics(database: Database) -> Iterator[Statistics]:
    with Statistics(database.url) as statistics:
        yield statistics


@pytest.mark.slow
def test_overdue_jobs_and_mails_are_counted(
    database: Database,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, _ = job_in(ledger, Status.PENDING), job_in(ledger, Status.PENDING)
    works = job_in(ledger, Status.PROCESSING)
    assert overdue() == {}
    database.age("created_at", 3600, f"id = '{old.id}'")
    database.age("started_at", 7200, f"id = '{works.id}'")
    findings = overdue()
    assert set(findings) == {"jobs_waiting", "jobs_stuck"}
    assert findings["jobs_waiting"].wrong == f"1 requests have waited for more than 15 minutes: {old.id}."
    assert "requests_sensor" in findings["jobs_waiting"].do
    since = findings["jobs_stuck"].since
    assert since is not None
    assert timedelta(hours=1) < datetime.now(UTC) - since < timedelta(hours=3)
    assert overdue(late=timedelta(hours=3)) == {}

    monkeypatch.setenv("EXPORT_MAX_IN_FLIGHT", "1")
    assert "EXPORT_MAX_IN_FLIGHT allows" in overdue()["jobs_waiting"].do

    ledger.failed(run_of(works), "x", "y")
    ledger.canceled(old.id)
    ledger.retry(old.id)  # it waits anew, however old its row is
    assert overdue() == {}


def test_mails_schedules_and_overdue_files(
    database: Database,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_in(ledger, Status.PROCESSING)
    ledger.completed(run_of(job), File("k", "n", 1, 1, ""), datetime.now(UTC) - timedelta(days=2))
    insert = (
        "INSERT INTO export_deliveries (job_id, attempt, kind, recipient, status, message_id, next_at, claimed_at) "
        "VALUES (?, 1, 'file', ?, ?, 'm', ?, ?)"
    )
    then = "2026-01-01T00:00:00.000000+00:00"
    for status in ("pending", "sending", "unknown", "failed", "sent", "refused"):
        database.run(insert, job.id, f"{status}@example.org", status, then, then)
    database.run(
        "INSERT INTO scheduled_exports (dataset, format, cadence, next_run) VALUES ('records', 'csv', 'daily', ?)",
        then,
    )
    database.run(
        "INSERT INTO scheduled_exports (dataset, format, cadence, active, problem) VALUES "
        f"('records', 'csv', 'daily', {'false' if database.is_postgres else '0'}, 'timezone: it is none')"
    )
    findings = overdue()
    assert set(findings) == {
        "mails_late", "mails_unsure", "mails_failed", "schedules_late", "schedule_broken", "files_overdue",
    }  # fmt: skip
    assert findings["mails_late"].wrong.startswith("2 mails")
    assert findings["schedule_broken"].wrong.endswith("timezone: it is none")
    assert findings["mails_late"].since == datetime(2026, 1, 1, tzinfo=UTC)


def test_full_disks_of_workers_are_reported(database: Database, ledger: Ledger) -> None:
    """The last report of each: m1 has room again. Reports of long ago and of older versions say nothing."""
    size = 100 << 30
    ledger.hold_lease("old", "w0", "m0", staging=Disk(1, size))
    database.age("expires_at", 3600, table="export_leases")
    ledger.hold_lease("unknown", "w1", "m9")
    ledger.hold_lease("full", "w1", "m1", staging=Disk(1, size))
    ledger.hold_lease("freed", "w2", "m1", staging=Disk(50 << 30, size))
    ledger.hold_lease("bigger", "w3", "m1", staging=Disk(2 << 30, 10 * size))
    assert overdue() == {"staging_full": overdue()["staging_full"]}
    finding = overdue()["staging_full"]
    assert finding.wrong == "Only 2.0 GiB (0%) are free on the staging disk of worker m1."
    assert finding.since is not None
    assert datetime.now(UTC) - finding.since < timedelta(minutes=1)


def test_webhooks_and_commands_that_wait_or_fail(database: Database, ledger: Ledger) -> None:
    hook = "INSERT INTO export_webhooks (url, named_only) VALUES ('https://h.example/', ?) RETURNING id"
    ((webhook_id,),) = database.run(hook, True)
    job, then = job_in(ledger, Status.PENDING), "2026-01-01T00:00:00.000000+00:00"
    insert = (
        "INSERT INTO export_webhook_deliveries (webhook_id, job_id, attempt, event, status, next_at, claimed_at) "
        "VALUES (?, ?, ?, 'export.failed', ?, ?, ?)"
    )
    for number, status in enumerate(("pending", "failed", "delivered", "skipped")):
        database.run(insert, webhook_id, job.id, number, status, then, ledger.now().isoformat())
    database.run(insert, webhook_id, None, None, "failed", then, ledger.now().isoformat())  # a test
    command = "INSERT INTO export_commands (job_id, command, created_at) VALUES (?, 'cancel', ?)"
    database.run(command, job.id, then)
    findings = overdue()
    assert set(findings) == {"webhooks_late", "webhooks_failed", "commands_late"}
    assert findings["webhooks_failed"].wrong.startswith(
        f"1 deliveries to webhooks of the last day failed for good: {webhook_id}"
    )
    assert job.id in findings["commands_late"].wrong


@pytest.mark.slow
def test_requests_that_fail(
    database: Database,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(code: str) -> None:
        ledger.failed(job_in(ledger, Status.PENDING).current, code, "y")

    for _ in range(3):
        fail("export_failed")
    assert overdue() == {}  # a few
    for code in ("unknown_format", "invalid_options", "invalid_recipients", "schedule_broken"):
        fail(code)
    assert overdue() == {}  # these are of who asks
    fail("worker_lost")
    assert "4 of 4" in overdue()["jobs_failing"].wrong
    assert "export_failed (3), worker_lost (1)." in overdue()["jobs_failing"].wrong


def test_statistics_of_the_queue_and_of_the_last_hour(
    database: Database, ledger: Ledger, statistics: Statistics
) -> None:
    assert (statistics.queue(), statistics.unsent_mails()) == ([], {})
    assert statistics.ended(timedelta(hours=1)) == []
    waits = job_in(ledger, Status.PENDING)
    database.age("created_at", 90)
    for _ in range(2):
        job = job_in(ledger, Status.PROCESSING)
        ledger.completed(run_of(job), File("k", "n", 3_000_000_000, 42, ""))
    old = job_in(ledger, Status.COMPLETED)
    database.age("completed_at", 7200, f"id = '{old.id}'")
    database.age("started_at", 20, "status = 'completed'")
    database.age("created_at", 50, "status = 'completed'")
    job_in(ledger, Status.FAILED)
    job_in(ledger, Status.PROCESSING)
    (queue,) = statistics.queue()
    assert (queue.pending, queue.in_flight) == (1, 1)
    assert 89 < queue.oldest_wait < 120
    ended = {(one.dataset, one.status): one for one in statistics.ended(timedelta(hours=1))}
    done = ended["takeoff", Status.COMPLETED]
    assert (done.count, done.rows, done.bytes) == (2, 84, 6_000_000_000)
    assert 39 < done.seconds < 60
    assert 19 < done.longest_seconds < 30
    assert 59 < done.waited_seconds < 70
    assert ended["takeoff", Status.FAILED].count == 1
    assert statistics.waiting(timedelta(minutes=1)).examples == (waits.id,)  # type: ignore[union-attr]


def test_metrics_are_prometheus_text(database: Database, ledger: Ledger, statistics: Statistics) -> None:
    evil = 'a"b\\c\nd'
    ledger.failed(ledger.request(evil, "csv").current, "x", "y")
    job = job_in(ledger, Status.PROCESSING)
    ledger.completed(run_of(job), File("k", "n", 5, 2, ""))
    text = metrics_text(statistics)
    assert text.endswith("\n")
    samples: dict[str, float] = {}
    helped: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# "):
            helped.add(line.split()[2])
            continue
        name, value = line.rsplit(" ", 1)
        assert name.partition("{")[0] in helped
        assert name not in samples
        samples[name] = float(value)
    assert samples['export_pipeline_completed_last_hour{dataset="takeoff"}'] == 1
    assert samples['export_pipeline_bytes_last_hour{dataset="takeoff",status="completed"}'] == 5
    assert samples['export_pipeline_failed_last_hour{dataset="a\\"b\\\\c\\nd"}'] == 1


def test_metrics_have_the_label_of_their_dataset(
    database: Database, ledger: Ledger, statistics: Statistics
) -> None:
    """As the format's own parser reads them."""
    job = job_in(ledger, Status.PROCESSING)
    ledger.completed(run_of(job), File("k", "n", 5, 400, ""))
    database.age("started_at", 20, "status = 'completed'")
    job_in(ledger, Status.FAILED)
    ledger.request("records", "csv")
    database.age("created_at", 90, "dataset = 'records'")
    job_in(ledger, Status.PENDING)
    job_in(ledger, Status.PROCESSING)
    samples: dict[tuple[str, str | None], float] = {
        (sample.name.removeprefix("export_pipeline_"), sample.labels.get("dataset")): sample.value
        for family in text_string_to_metric_families(metrics_text(statistics))
        for sample in family.samples
    }
    assert [samples["queue_depth", name] for name in ("records", "takeoff")] == [1, 1]
    assert [samples["in_flight", name] for name in ("records", "takeoff")] == [0, 1]
    assert 89 < samples["oldest_wait_seconds", "records"] < 120
    assert samples["oldest_wait_seconds", "takeoff"] < 30
    assert samples["failure_ratio_last_hour", "takeoff"] == 0.5
    assert ("failure_ratio_last_hour", "records") not in samples


def test_the_file_is_replaced_in_one_step(database: Database, statistics: Statistics, tmp_path: Path) -> None:
    file = tmp_path / "exports.prom"
    file.write_text("old")
    write_metrics(statistics, file)
    assert file.read_text() == metrics_text(statistics)
    assert list(tmp_path.glob("exports*")) == [file]
    with pytest.raises(FileNotFoundError):
        write_metrics(statistics, tmp_path / "nowhere" / "exports.prom")
