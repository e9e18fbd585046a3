"""Commands that show and move jobs."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from export_pipeline.cli.jobs_view import printable
from export_pipeline.cli.request_result import export_of_job, exports_of_run, print_result
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.jobs import Attempt, EventKind, Ledger, Status
from export_pipeline.jobs.file_notes import file_notes
from export_pipeline.jobs.leases import LAST_CALL, LEASE
from export_pipeline.orchestration.runs.local_run import Outcome
from export_pipeline.settings import load_settings
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.cli.stored import NOBODY, stored
from export_pipeline_tests.commands import Command
from export_pipeline_tests.jobs.lives import FILE, job_in, run_of
from export_pipeline_tests.orchestration.deployment import Source
from export_pipeline_tests.orchestration.runs.leases import SECOND, pass_time


def test_jobs_are_listed_and_shown(command: Command, ledger: Ledger, tmp_path: Path) -> None:
    pending, failed = job_in(ledger, Status.PENDING), job_in(ledger, Status.FAILED, "b")
    done = stored(ledger, tmp_path)
    listed = command("jobs", "--json").json
    assert [row["id"] for row in listed] == [done.id, failed.id, pending.id]
    assert listed[0]["completed_at"].endswith("+00:00")
    text = command("jobs").out.splitlines()
    assert len(text) == 4
    assert failed.id in text[2]
    assert "unknown_format: There is no format cvs" in text[2]

    def ids(*arguments: str) -> list[str]:
        return [row["id"] for row in command("jobs", *arguments, "--json").json]

    assert ids("--status", "failed", "--status", "pending") == [failed.id, pending.id]
    assert ids("--scope", "b") == [failed.id]
    assert ids("--limit", "1") == [done.id]
    assert ids("--requested-by", "ben") == []
    assert ids("--dataset", "records") == []
    shown = command("show", done.id, "--json").json
    assert shown["file_key"] == done.file_key
    assert shown["file"]["there"] is True
    assert shown["run_url"] == f"http://127.0.0.1:3000/runs/{done.run_id}"
    assert [event["kind"] for event in shown["events"]] == ["requested", "started", "completed"]
    assert shown["deliveries"] == []
    output = command("show", failed.id).out
    assert "There is no format cvs; did you mean csv?" in output
    assert f"export-pipeline retry {failed.id}" in output
    FolderStore(tmp_path / "store").delete(str(done.file_key))
    assert "MISSING" in command("show", done.id).out


def test_show_says_whether_the_worker_lives(command: Command, ledger: Ledger) -> None:
    job = job_in(ledger, Status.PROCESSING)
    run_id, url = str(job.run_id), load_settings().jobs_url
    assert "its worker is starting" in command("show", job.id).out
    ledger.hold_lease(run_id, "a process", "machine1")
    assert "its worker on machine1 is alive; its last heartbeat was" in command("show", job.id).out
    pass_time(url, LEASE + SECOND)
    silent = "its worker on machine1 has sent no heartbeat for 3"
    assert silent in command("jobs").out
    assert silent in command("show", job.id, "--json").json["worker"]
    ledger.check_leases([run_id])
    pass_time(url, LAST_CALL + SECOND)
    ledger.check_leases([run_id])
    assert "its worker on machine1 sent no heartbeat for 4" in command("jobs").out
    ledger.restart(job.current, "worker_lost", "Its worker was lost. It is tried again.", "dagster")
    assert "waits for attempt 2" in command("jobs").out
    output = command("show", job.id).out
    assert (
        "requested by dagster (attempt 2): gave_up 1, code worker_lost, message Its worker was lost."
        in output
    )


@pytest.mark.slow
def test_show_names_mails_that_wait_for_a_server(
    command: Command, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ledger.request("takeoff", "csv", scope="a", recipients=["ann@example.org"])
    ledger.started(run_of(job))
    ledger.completed(run_of(job), FILE)
    reason = "not sent: EXPORT_SMTP_URL is not set; once it is, mails of the last 7 days are"
    assert f"Mails:\n  ann@example.org  {reason}\n" in command("show", job.id).out
    assert command("show", job.id, "--json").json["unsent"] == {"ann@example.org": reason}
    (finding,) = [one for one in command("health", "--json").json if one["code"] == "mails_off"]
    assert finding["wrong"].startswith("1 requests of the last 7 days ask for mails")
    assert job.id in finding["wrong"]
    monkeypatch.setenv("EXPORT_SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("EXPORT_MAIL_FROM", "exports@example.org")
    assert "Mails:" not in command("show", job.id).out
    assert "mails_off" not in command("health").out


def test_control_characters_in_the_ledger_never_reach_the_terminal(command: Command, ledger: Ledger) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07"
    job = ledger.request("takeoff", "csv", scope=f"a{evil}", requested_by=evil, options={"note": evil})
    ledger.failed(job.current, f"x{evil}", f"first\nsecond{evil}")
    for arguments in (["jobs"], ["show", job.id], ["jobs", "--watch"]):
        output = command(*arguments).out
        assert "\x1b]0" not in output
        assert "\x1b[2J" not in output
        assert "\x07" not in output
    assert len(command("jobs").out.splitlines()) == 2
    assert printable("a\tb\x00" + "x" * 300, 10) == "a b?xxxxx…"


def test_a_canceled_job_can_be_retried(command: Command, ledger: Ledger) -> None:
    job = job_in(ledger, Status.PENDING)
    assert "Canceled" in command("cancel", job.id, "--by", "ann").out
    assert ledger.events(job.id)[-1].who == "ann"
    ended = command("retry", job.id, "--json")
    assert (ended.json["attempt"], ended.json["status"]) == (2, "pending")
    again = command("retry", job.id)
    assert (again.code, again.err.count("\n")) == (1, 1)
    assert "is pending, and only a failed or canceled one can be tried again; wait for it" in again.err
    done = job_in(ledger, Status.COMPLETED)
    assert "is completed: it has ended already, there is nothing to cancel." in command("cancel", done.id).err
    assert command("retry", done.id).err.endswith("can be tried again; request it again.\n")
    assert command("cancel", NOBODY).err == f"Error: There is no export job {NOBODY}.\n"
    assert command("cancel", "x").code == 1


def test_cancel_says_what_becomes_of_the_run(command: Command, ledger: Ledger) -> None:
    first, second = job_in(ledger, Status.PENDING), job_in(ledger, Status.PENDING)
    run = run_of(first)
    ledger.started(run)
    ledger.started(Attempt(second.id, 1, run.run_id))
    assert "other requests need its run" in command("cancel", first.id).out
    ended = command("cancel", second.id, "--json").json
    assert (ended["status"], ended["run"]) == ("canceled", "its run ends within seconds")


def test_hold_names_the_export_that_has_replaced_the_file(command: Command, ledger: Ledger) -> None:
    first, second = job_in(ledger, Status.COMPLETED), job_in(ledger, Status.PROCESSING)
    assert command("hold", first.id).err == ""
    ledger.completed(run_of(second), replace(FILE, sha256="cd" * 32))
    held = command("hold", first.id)
    assert f"The file was replaced by that of {second.id} on " in held.err
    assert (held.code, held.out.count("Under legal hold.")) == (0, 1)
    assert command("hold", second.id).err == ""


def test_a_held_job_is_not_deleted(command: Command, ledger: Ledger, tmp_path: Path) -> None:
    job = stored(ledger, tmp_path)
    path = FolderStore(tmp_path / "store").path(str(job.file_key))
    assert command("hold", job.id).code == 0
    refused = command("delete", job.id, "--yes")
    assert (refused.code, refused.out) == (1, "")
    assert "is under legal hold; release it first" in refused.err
    released = command("hold", job.id, "--release")
    assert (released.code, released.err) == (0, "")
    asked = command("delete", job.id)  # no terminal here
    assert (asked.code, asked.err) == (
        2,
        "Error: There is no terminal to confirm in; add --yes to delete it.\n",
    )
    assert path.exists()
    assert command("delete", job.id, "--yes", "--by", "ann").code == 0
    assert not path.exists()
    assert command("show", job.id).code == 1
    assert ledger.events(job.id)[-1].kind is EventKind.PURGED


def test_a_job_is_linked_by_its_id(command: Command, ledger: Ledger, tmp_path: Path) -> None:
    job = stored(ledger, tmp_path)
    link = command("link", job.id, "--json").json["link"]
    assert link == FolderStore(tmp_path / "store").path(str(job.file_key)).as_uri()
    assert ledger.events(job.id)[-1].kind is EventKind.DOWNLOADED
    assert command("link", str(job.file_key)).out.strip() == link
    overdue = stored(ledger, tmp_path, days=-1)
    assert "expired at" in command("link", overdue.id).err
    failed = job_in(ledger, Status.FAILED)
    ended = command("link", failed.id)
    assert ended.code == 2
    assert "is failed and has no file" in ended.err


@pytest.mark.slow
def test_a_foreign_job_does_not_exist(command: Command, ledger: Ledger, tmp_path: Path) -> None:
    """Whatever is asked about it, the answer is the same as for a job that never was."""
    theirs = stored(ledger, tmp_path, "b")
    waits = job_in(ledger, Status.PENDING, "b")
    before = ledger.find(), ledger.events(theirs.id)
    for job in (theirs, waits):
        for arguments in (
            ["show"],
            ["cancel"],
            ["retry"],
            ["hold"],
            ["delete", "--yes"],
            ["link"],
            ["resend"],
        ):
            name, *more = arguments
            foreign = command(name, job.id, *more, "--viewer-scope", "a")
            nobody = command(name, NOBODY, *more, "--viewer-scope", "a")
            assert (foreign.code, foreign.out) == (nobody.code, nobody.out) == (1, "")
            assert foreign.err.replace(job.id, NOBODY) == nobody.err
    assert (ledger.find(), ledger.events(theirs.id)) == before
    assert command("jobs", "--viewer-scope", "a", "--json").json == []
    assert command("jobs", "--viewer-scope", "a", "--scope", "b", "--json").json == []
    assert len(command("jobs", "--viewer-scope", "a", "--viewer-scope", "b", "--json").json) == 2
    by_key = command("link", str(theirs.file_key), "--viewer-scope", "a")
    assert by_key.code == 2
    assert "name a job by its id" in by_key.err
    assert command("show", theirs.id, "--viewer-scope", "b").code == 0


def test_watching_ends_when_nothing_is_under_way(
    command: Command, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_in(ledger, Status.PROCESSING)
    looks: list[Status] = []

    def sleep(seconds: float) -> None:
        looks.append(ledger.get(job.id).status)
        if len(looks) == 1:
            ledger.progress(run_of(job), "Writing", percent=40, rows=10)
        else:
            ledger.failed(run_of(job), "source_unavailable", "The database is down.")

    monkeypatch.setattr("export_pipeline.cli.jobs_view.time", SimpleNamespace(sleep=sleep))
    ended = command("jobs", "--watch")
    assert ended.code == 0
    assert looks == [Status.PROCESSING] * 2
    assert "failed" in ended.out
    assert command("jobs", "--watch", "--json").code == 2


def test_verify_takes_the_id_of_a_job(command: Command, ledger: Ledger, tmp_path: Path) -> None:
    job = stored(ledger, tmp_path)
    assert command("verify", job.id, "--json").json["file"] == job.file_key
    waiting = job_in(ledger, Status.PENDING)
    ended = command("verify", waiting.id)
    assert ended.code == 2
    assert f"Export job {waiting.id} is pending and has no file" in ended.err
    assert command("verify", NOBODY).err == f"Error: There is no export job {NOBODY}.\n"


def test_a_dataset_that_the_daemon_does_not_know_yet(
    environment: dict[str, str], ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_in(ledger, Status.PENDING)
    refused = ledger.failed(job.current, "unknown_dataset", "There is no dataset 'records'; there are none.")
    print_result(load_settings(), [export_of_job(refused)], as_json=False)
    output = capsys.readouterr()
    assert "Reload in the UI under Deployment; then" in output.err
    assert "Stored in" not in output.out


@pytest.mark.slow
def test_a_purge_removes_expired_files(
    command: Command, ledger: Ledger, source: Source, tmp_path: Path
) -> None:
    due, kept = (stored(ledger, tmp_path, source.scopes[0], days) for days in (-1, 1))
    would = command("purge", "--dry-run", "--json").json
    assert (would["dry_run"], would["expired"]) == (True, 1)
    assert ledger.get(due.id).status is Status.COMPLETED
    ended = command("purge", "--by", "ann")
    assert ended.code == 0
    assert due.id in ended.out
    assert ledger.events(due.id)[-1].who == "ann"
    FolderStore(tmp_path / "store").delete(str(kept.file_key))
    lost = command("purge")
    assert lost.code == 1
    assert f"MISSING: job {kept.id}" in lost.out


def test_a_command_with_an_idempotency_key_may_be_repeated(
    command: Command, ledger: Ledger, source: Source
) -> None:
    asked = (
        "request",
        "takeoff",
        "--scope",
        source.scopes[0],
        "--no-wait",
        "--json",
        "--idempotency-key",
        "k",
    )
    first, again = command(*asked), command(*asked)
    assert first.json["exports"][0]["id"] == again.json["exports"][0]["id"]
    other = command(*asked, "--format", "pdf")
    assert (other.code, other.out) == (1, "")
    assert "'k' was used for another request (format differs)" in other.err
    several = command(*asked, "--format", "csv,pdf")
    assert (several.code, len(ledger.find())) == (2, 1)
    assert "request each format with a key of its own" in several.err


@pytest.mark.slow
def test_a_finished_file_is_given_again_where_the_dataset_allows_it(
    command: Command, ledger: Ledger, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a daemon too: only the format that is new is made here."""
    monkeypatch.setattr(Dataset, "reuse_within", timedelta(hours=1))
    asked = ("request", "takeoff", "--scope", source.scopes[0], "--json")
    assert command(*asked, "--format", "csv").code == 0
    assert command(*asked, "--format", "csv,json").code == 0
    jobs = ledger.find()
    assert [(job.format, job.status) for job in jobs].count(("csv", "completed")) == 2
    assert len({job.file_key for job in jobs}) == 2
    assert len({job.run_id for job in jobs}) == 2


def test_a_difference_of_a_file_without_a_request_is_named_once() -> None:
    """Dagster's metadata has the differences as sentences, and their numbers."""
    changed = {"cut to the second": {"At": 2}}
    notes = ["4 of 5 rows are not in the file.", "The zone is unknown.", "2 cells of At: cut to the second."]
    file = {"dagster/row_count": 1, "rows in source": 5, "warnings": notes, "changed cells": changed}
    (export,) = exports_of_run(Outcome("run", {"csv": file}, ()), "records", None, ["csv"])
    assert (export.warnings, export.changed_cells) == (["The zone is unknown."], changed)
    assert file_notes(export.row_count, export.total_rows, export.warnings, export.changed_cells) == notes
