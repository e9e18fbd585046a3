"""Files on their way into the store: nobody sees one that is wrong, unwanted or late, and nothing is left."""

from __future__ import annotations

import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import dagster as dg
import pytest

from export_pipeline.formats.csv import readback as csv_reader
from export_pipeline.formats.csv import write as csv
from export_pipeline.jobs import Attempt, File, Job, Ledger, LedgerUnavailableError, Status, migrate
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.file_findings import FileFinding, FindingKind
from export_pipeline.jobs.link_tokens import open_link
from export_pipeline.jobs.purge import purge
from export_pipeline.orchestration import progress_log, store_io_manager
from export_pipeline.orchestration.file_metadata import download_link
from export_pipeline.orchestration.runs import errors
from export_pipeline.orchestration.runs.attempts import job_tags
from export_pipeline.orchestration.runs.reconciler import reconcile
from export_pipeline.orchestration.runs.staging_cleanup import KEPT_SECONDS, clean_staging
from export_pipeline.orchestration.source_reads import clean
from export_pipeline.store import StoreUnavailableError, s3_upload
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.publish import publish, verify_file
from export_pipeline_tests.orchestration.deployment import Deployment, failures, files
from export_pipeline_tests.services.fixtures import Bucket


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def job(deployment: Deployment, ledger: Ledger) -> Job:
    return ledger.request("takeoff", "csv", scope=deployment.scope)


def work(deployment: Deployment, job: Job) -> dg.ExecuteInProcessResult:
    """A run for the attempt that a job is at."""
    return deployment.run(tags=job_tags([job]))


def left(deployment: Deployment) -> list[Path]:
    return list((deployment.folder / "store" / ".uploads").iterdir())


def again(ledger: Ledger, job: Job) -> Job:
    """The job's next attempt, as if the one that goes on were lost."""
    ledger.failed(Attempt(job.id, job.attempt), "worker_lost", "It was lost.")
    return ledger.retry(job.id)


def during(monkeypatch: pytest.MonkeyPatch, what: str, act: Callable[[], object]) -> None:
    """Do something once, when a CSV was rendered or is read back."""
    module = csv_reader if what == "read_back" else csv
    original, done = getattr(module, what), []

    def acting(*arguments: Any) -> Any:
        if not done:
            done.append(1)
            act()
        return original(*arguments)

    monkeypatch.setattr(module, what, acting)


@pytest.mark.slow
def test_a_file_is_not_there_before_it_is_proven(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    during(monkeypatch, "read_back", lambda: seen.extend([deployment.stored(), len(left(deployment))]))
    assert deployment.run().success
    assert seen == [set(), 1]
    assert len(deployment.stored()) == 2
    assert left(deployment) == []


@pytest.mark.slow
def test_a_refused_file_is_kept_for_inspection_outside_of_the_store(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(layout: Any, out: Any, options: Any) -> Any:
        rendered = render(layout, out, options)
        out.write(b"one more,row\r\n")
        return rendered

    render = csv.render
    monkeypatch.setattr(csv, "render", short)
    result = deployment.run()
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    (kept,) = failed.step_failure_data.user_failure_data.metadata.values()
    (file,) = Path(str(kept.value)).iterdir()
    assert file.name == "0.csv"
    assert file.read_bytes().endswith(b"one more,row\r\n")
    assert left(deployment) == []


def test_staging_goes_also_when_the_upload_of_a_killed_run_has_gone_before(deployment: Deployment) -> None:
    """Its link into the store then leads nowhere."""
    folder = deployment.staging / str(uuid.uuid4()) / "render_csv"
    folder.mkdir(parents=True)
    (folder / "0.csv").symlink_to(deployment.folder / "nowhere")
    long_ago = time.time() - 2 * KEPT_SECONDS
    for path in (folder / "0.csv", folder, folder.parent):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    assert clean_staging(deployment.instance, deployment.staging) == {folder.parent.name: 0}


@pytest.mark.slow
def test_a_store_that_is_away_for_a_moment_when_the_file_is_to_appear(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, tries = FolderStore._place, iter(range(9))

    def away(self: Any, *arguments: Any) -> None:
        assert len(left(deployment)) <= 2  # file and manifest; the earlier try's are gone
        if next(tries) == 0:
            raise StoreUnavailableError("The store is away.")
        place(self, *arguments)

    monkeypatch.setattr(FolderStore, "_place", away)
    result = deployment.run()
    assert result.success
    assert sum(event.is_step_up_for_retry for event in result.all_events) == 1
    assert verify_file(deployment.store, files(result)["csv"]["key"]) == []
    assert left(deployment) == []


@pytest.mark.slow
def test_a_job_that_is_canceled_while_its_file_is_proven_gets_none(
    deployment: Deployment, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def looking(*arguments: Any, **options: Any) -> Any:
        ledger.canceled(job.id, "somebody")
        try:
            return publish(*arguments, **options)
        finally:
            seen.append(deployment.stored())

    monkeypatch.setattr(store_io_manager, "publish", looking)
    result = work(deployment, job)
    assert seen == [set()]
    assert f"{job.id} is canceled" in failures(result)["render_csv"]
    assert left(deployment) == []


@pytest.mark.slow
@pytest.mark.parametrize("when", ["read_back", "publish"])
def test_a_late_run_does_not_replace_the_file_of_a_newer_attempt(
    deployment: Deployment, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The newer attempt does all of its work while the older one proves its file, or is about to publish it."""
    done: list[Job] = []

    def newer() -> None:
        if not done:
            done.append(again(ledger, job))
            worker = threading.Thread(target=lambda: done.append(work(deployment, done[0])))  # type: ignore[arg-type]
            worker.start()
            worker.join()

    if when == "read_back":
        during(monkeypatch, "read_back", newer)
    else:

        def late(*arguments: Any, **options: Any) -> Any:
            newer()
            return publish(*arguments, **options)

        monkeypatch.setattr(store_io_manager, "publish", late)
    assert not work(deployment, job).success
    after = ledger.get(job.id)
    assert (after.status, after.attempt) == (Status.COMPLETED, 2)
    assert verify_file(deployment.store, str(after.file_key)) == []
    assert deployment.manifest(str(after.file_key))["run_id"] == after.run_id
    assert left(deployment) == []


@pytest.mark.slow
def test_a_late_run_publishes_nothing_once_a_newer_attempt_waits(
    deployment: Deployment, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    during(monkeypatch, "read_back", lambda: again(ledger, job))
    result = work(deployment, job)
    assert f"Export job {job.id} is pending in attempt 2" in failures(result)["render_csv"]
    assert deployment.stored() == set()


@pytest.mark.slow
def test_a_late_run_does_not_even_begin_to_store(
    deployment: Deployment, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the upload of the newer attempt, which has the same key."""
    from export_pipeline.orchestration import ops

    monkeypatch.setattr(ops, "clean", lambda data: (again(ledger, job), clean(data))[1])
    monkeypatch.setattr(FolderStore, "begin", lambda *_, **__: pytest.fail("it began"))
    assert "Attempt 1 is over" in failures(work(deployment, job))["render_csv"]


@pytest.mark.slow
def test_a_file_that_a_newer_attempt_completed_at_the_last_moment_is_not_taken_away(
    deployment: Deployment, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:

    def overtaken(*arguments: Any, **options: Any) -> Any:
        done = publish(*arguments, **options)
        newer = again(ledger, job)
        ledger.started(Attempt(newer.id, newer.attempt, "other"))
        file = File(done[0].key, "a.csv", done[0].bytes, 1, done[0].sha256)
        ledger.completed(Attempt(newer.id, newer.attempt, "other"), file)
        return done

    monkeypatch.setattr(store_io_manager, "publish", overtaken)
    result = work(deployment, job)
    failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert not result.success
    assert verify_file(deployment.store, str(ledger.get(job.id).file_key)) == [], failures


def test_the_log_counts_a_table_in_rows_and_an_upload_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_log, "time", SimpleNamespace(monotonic=itertools.count(step=3).__next__))
    context = MagicMock()
    progress_log.progress_log(context)("measurements", 1_000, 4_000, "rows")
    context.step_context.dagster_run.tags = {}
    store_io_manager._upload_log(context, MagicMock(), "csv", 2_000)(2_000)
    assert [call.args[0] for call in context.log.info.call_args_list] == [
        "measurements: 1,000 of 4,000 rows (25%)",
        "upload: 2,000 of 2,000 bytes (100%)",
    ]


@pytest.mark.slow
def test_a_canceled_job_ends_its_upload_to_a_slow_server(
    deployment: Deployment, ledger: Ledger, job: Job, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.store.s3 import S3Store
    from export_pipeline_tests.orchestration.outages import reload
    from export_pipeline_tests.orchestration.runs.test_errors import use_s3

    use_s3(bucket, monkeypatch)
    monkeypatch.setattr(s3_upload, "PART_BYTES", 4096)
    go, canceled_at = threading.Event(), []
    client = bucket.server.client()
    client.meta.events.register("before-send.s3.UploadPart", lambda **_: cancel())
    monkeypatch.setattr(S3Store, "client", client)

    def cancel() -> None:
        if not canceled_at:
            canceled_at.append(time.monotonic())
            ledger.canceled(job.id, "somebody")
        go.wait(30)

    try:
        result = work(reload(deployment), job)
    finally:
        go.set()
    assert time.monotonic() - canceled_at[0] < 5
    assert not result.success
    other = bucket.server.client()
    assert other.list_multipart_uploads(Bucket=bucket.name).get("Uploads", []) == []
    assert other.list_objects_v2(Bucket=bucket.name).get("Contents", []) == []


@pytest.mark.slow
def test_a_ledger_that_stays_away_after_publishing_leaves_a_file_that_purge_names(
    deployment: Deployment, ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise LedgerUnavailableError("The ledger cannot be reached.")

    with monkeypatch.context() as patched:
        patched.setattr(store_io_manager, "complete_jobs", away)
        result = work(deployment, job)
    assert failures(result) == {"render_csv": "The ledger cannot be reached."}
    reconcile(ledger, deployment.instance)
    assert ledger.get(job.id).status is Status.FAILED
    key = f"exports/{deployment.scope}/{job.id}.csv"
    assert verify_file(deployment.store, key) == []

    hours_ago = time.time() - 7200
    os.utime(deployment.folder / "store" / key, (hours_ago, hours_ago))
    findings: list[FileFinding] = []
    purge(ledger, deployment.store, retention=timedelta(days=7), report=findings.append)
    assert [(finding.kind, finding.key) for finding in findings] == [(FindingKind.STRAY, key)]

    assert work(deployment, ledger.retry(job.id)).success
    assert ledger.get(job.id).file_key == key
    assert verify_file(deployment.store, key) == []
    assert purge(ledger, deployment.store, retention=timedelta(days=7)).counts == {}


def test_a_materialization_links_to_the_file_if_there_is_an_http_service(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    migrate(url)
    with Ledger(url) as jobs:
        job = jobs.request("takeoff", "csv", scope="a")
    link = download_link(url, "https://exports.example.org", job.id)
    assert link is not None
    opened = open_link(
        open_engine(url), link.removeprefix("https://exports.example.org/d/").removesuffix("/file")
    )
    assert opened is not None
    assert opened[1].id == job.id
    assert download_link(url, None, job.id) is None
