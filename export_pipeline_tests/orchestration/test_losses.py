"""Rows and cells that a format cannot hold are told to whoever asked, everywhere."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from export_pipeline.jobs import Job, Ledger, Status
from export_pipeline.jobs.file_notes import file_notes
from export_pipeline.orchestration import store_io_manager
from export_pipeline.orchestration.runs.attempts import ProgressReporter
from export_pipeline.orchestration.runs.reconciler import reconcile_jobs
from export_pipeline_tests.commands import Command
from export_pipeline_tests.delivery.mail_server import MailServer
from export_pipeline_tests.orchestration.deployment import Deployment, Source, files
from export_pipeline_tests.orchestration.requesting import insert, launch, tick

pytestmark = pytest.mark.slow

LOST = 5
_SOME = (
    "SELECT m.id FROM measurements m JOIN conditions c ON c.id = m.condition_id "
    "WHERE c.project_id = '{}' AND NOT m.is_rejected ORDER BY m.id LIMIT " + str(LOST)
)


@pytest.fixture
def misfits(source: Source) -> int:
    """Measurements of the first project, some of them with a geometry that OST cannot hold; their number."""
    scope = source.scopes[0]
    source.rows(f"UPDATE measurements SET geometry_data = '[]' WHERE id IN ({_SOME.format(scope)})")
    return source.exported(scope)


def _done(deployment: Deployment, ledger: Ledger, **row: Any) -> Job:
    id = insert(deployment, scope=deployment.scope, **row)
    (request,) = tick(deployment)
    assert launch(deployment, request).success
    return ledger.get(id)


def _check(job: Job, total: int) -> None:
    assert (job.total_rows, job.row_count, job.progress_step) == (total, total - LOST, None)
    assert any("whose geometry cannot be read" in text for text in job.warnings)
    assert job.changed_cells["geometry unreadable, not in the file"] == {"Geometry": LOST}


def test_the_job_its_event_and_the_materialization_tell_what_is_missing(
    misfits: int, deployment: Deployment, ledger: Ledger
) -> None:
    job = _done(deployment, ledger, format="ost")
    _check(job, misfits)
    (event,) = [one for one in ledger.events(job.id) if one.kind == "completed"]
    assert (event.details["rows"], event.details["total_rows"]) == (misfits - LOST, misfits)
    assert event.details["warnings"] == list(job.warnings)
    manifest = deployment.manifest(str(job.file_key))
    assert (manifest["rows"], manifest["total_rows"]) == (misfits - LOST, misfits)
    metadata = files(deployment.run(["ost"]))["ost"]
    assert metadata["rows in source"] == misfits
    notes = file_notes(job.row_count, job.total_rows, job.warnings, job.changed_cells)
    assert metadata["warnings"] == notes


def test_a_job_that_lost_its_run_gets_them_from_dagster(
    misfits: int, deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = insert(deployment, scope=deployment.scope, format="ost")
    (request,) = tick(deployment)
    with monkeypatch.context() as patch:  # the run could not reach the ledger in the end
        patch.setattr(store_io_manager, "complete_jobs", lambda *_: None)
        result = launch(deployment, request)
    assert ledger.get(id).status is Status.PROCESSING
    run = deployment.instance.get_run_by_id(result.run_id)
    assert run is not None
    reconcile_jobs(ledger, deployment.instance, [ledger.get(id)], {run.run_id: run}, {})
    _check(ledger.get(id), misfits)


def test_a_zip_tells_what_its_members_lack(misfits: int, deployment: Deployment, ledger: Ledger) -> None:
    job = _done(deployment, ledger, format="zip", options='{"zip_formats": ["csv", "ost"]}')
    assert (job.total_rows, job.row_count) == (2 * misfits, 2 * misfits - LOST)
    assert any(text.startswith("takeoff.xml: ") for text in job.warnings)
    with deployment.store.open(str(job.file_key)) as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    readme = archive.read("README.txt").decode()
    assert f"  {misfits - LOST} of {misfits} rows, " in readme
    assert "whose geometry cannot be read" in readme
    assert f"{LOST} cells of Geometry: geometry unreadable, not in the file" in readme


def test_the_mail_tells_it(misfits: int, deployment: Deployment, ledger: Ledger, mails: MailServer) -> None:
    from export_pipeline.delivery.contents import file_contents
    from export_pipeline.settings import load_settings

    job = _done(deployment, ledger, format="ost")
    variables = file_contents(job, deployment.store, load_settings(), None).variables
    assert ("Rows", f"{misfits - LOST} of {misfits}") in variables["facts"]
    assert variables["warnings"][0] == f"{LOST} of {misfits} rows are not in the file."


def test_the_command_line_tells_it(misfits: int, command: Command, source: Source) -> None:
    asked = ("request", "takeoff", "--scope", source.scopes[0], "--format", "ost")
    missing = f"ost: {LOST} of {misfits} rows are not in the file."
    assert missing in command(*asked).err
    (file,) = command(*asked, "--json").json["exports"]
    assert (file["row_count"], file["total_rows"]) == (misfits - LOST, misfits)
    assert file["changed_cells"]["geometry unreadable, not in the file"] == {"Geometry": LOST}
    assert command("migrate").code == 0
    assert missing in command(*asked).err
    job = command("jobs", "--json").json[0]
    assert (job["row_count"], job["total_rows"], job["progress_step"]) == (misfits - LOST, misfits, None)
    shown = command("show", job["id"]).out
    assert f"{LOST} of {misfits} rows are not in the file." in shown
    assert "whose geometry cannot be read" in shown
    assert "quantity: " in shown
    assert f"{misfits - LOST} of {misfits}" in command("jobs").out


def test_progress_counts_rows_of_the_export(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[tuple[str, int | None, int | None]] = []

    def tell(self: ProgressReporter, step: str, done: int = 0, total: int = 0, **rows: int | None) -> None:
        reports.append((step, rows.get("rows"), rows.get("total_rows")))

    monkeypatch.setattr(ProgressReporter, "__call__", tell)
    job = _done(deployment, ledger)
    reading = [counts for step, *counts in reports if step == "Reading"]
    assert reading[0] == [0, job.total_rows]  # conditions come first, and are no rows of the export
    assert reading[-1] == [job.total_rows, job.total_rows]
    assert {step for step, rows, _ in reports if rows is not None} == {"Reading"}
