"""Files under legal hold: nobody replaces or removes one, no work is done for it, and whoever asks is told."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from export_pipeline.jobs import Job, Ledger
from export_pipeline.orchestration import store_io_manager
from export_pipeline.orchestration.runs.attempts import complete_jobs
from export_pipeline.store.folder_upload import FolderUpload
from export_pipeline.store.publish import verify_file
from export_pipeline_tests.orchestration.deployment import Deployment, failures, files, steps

pytestmark = pytest.mark.slow


@pytest.fixture
def day(deployment: Deployment) -> str:
    return f"{deployment.scope}|2026-02-01"


def job_of(ledger: Ledger, key: object) -> Job:
    (job,) = (job for job in ledger.find() if job.file_key == key)
    return job


def test_rows_are_not_read_for_a_file_that_stays(deployment: Deployment, ledger: Ledger, day: str) -> None:
    made = files(deployment.run(["csv", "json"], "daily", day))
    before = {format: deployment.read(file["key"]) for format, file in made.items()}
    ledger.hold(job_of(ledger, made["csv"]["key"]).id, True)
    result = deployment.run(["csv"], "daily", day)
    assert list(failures(result)) == ["fetch_source"]
    assert "is under legal hold, so it is not replaced" in failures(result)["fetch_source"]
    # The other format of a run is made.
    both = deployment.run(["csv", "json"], "daily", day)
    assert list(failures(both)) == ["render_csv"]
    assert "under legal hold" in failures(both)["render_csv"]
    assert "render_json" in steps(both)
    assert deployment.read(made["csv"]["key"]) == before["csv"]
    assert verify_file(deployment.store, made["json"]["key"]) == []


def test_a_hold_that_comes_while_a_file_is_replaced_waits(
    deployment: Deployment, ledger: Ledger, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = files(deployment.run(["csv"], "daily", day)).values()
    job, waited, threads = job_of(ledger, first["key"]), [], []
    show = FolderUpload._show

    def holding(upload: FolderUpload, *arguments: Any) -> None:
        if upload.key == first["key"]:
            thread = threading.Thread(target=ledger.hold, args=(job.id, True))
            thread.start()
            thread.join(0.5)
            waited.append(thread.is_alive())
            threads.append(thread)
        show(upload, *arguments)

    monkeypatch.setattr(FolderUpload, "_show", holding)
    (second,) = files(deployment.run(["csv"], "daily", day)).values()
    threads[0].join(30)
    assert waited == [True]
    assert second["key"] == first["key"]
    assert ledger.get(job.id).legal_hold
    assert "under legal hold" in str(failures(deployment.run(["csv"], "daily", day)))


def test_a_run_that_nobody_waits_for_leaves_the_file_of_a_job(
    deployment: Deployment, ledger: Ledger, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has replaced the file of a window, was canceled then, and somebody put the window's job under hold."""
    (first,) = files(deployment.run(["csv"], "daily", day)).values()
    job = job_of(ledger, first["key"])
    waiting = ledger.request("takeoff", "csv", scope=deployment.scope)

    def canceled(*arguments: Any) -> None:
        ledger.canceled(waiting.id)
        ledger.hold(job.id, True)
        complete_jobs(*arguments)

    monkeypatch.setattr(store_io_manager, "complete_jobs", canceled)
    result = deployment.run(["csv"], "daily", day, tags={f"export_pipeline/job.csv.{waiting.id}": "1"})
    assert f"{waiting.id} is canceled" in failures(result)["render_csv"]
    assert verify_file(deployment.store, first["key"]) == []
