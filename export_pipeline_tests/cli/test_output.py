"""The JSON of every command: one shape, whatever happens, as docs/commands.md says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from export_pipeline.cli import output, request
from export_pipeline.cli.app import app
from export_pipeline.delivery.queue import Mail
from export_pipeline.delivery.webhooks.endpoints import Webhook
from export_pipeline.delivery.webhooks.queue import Delivery
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.csv import write as csv
from export_pipeline.health.findings import Finding
from export_pipeline.jobs import Job, Ledger, Status
from export_pipeline.jobs.api_keys import Key
from export_pipeline.orchestration.dagster_health import DaemonCode
from export_pipeline.schedules.backfill import BackfillCounts
from export_pipeline.schedules.scheduled_export import ScheduledExport
from export_pipeline.verify import Report
from export_pipeline_tests.cli.stored import stored
from export_pipeline_tests.commands import Command, Ended
from export_pipeline_tests.jobs.lives import FILE, job_in, run_of
from export_pipeline_tests.orchestration.deployment import Source
from export_pipeline_tests.paths import ROOT

OUTPUTS: dict[str, Any] = {
    "formats": list[output.FormatOutput],
    "datasets": list[output.DatasetOutput],
    "request": output.RequestOutput,
    "backfill": BackfillCounts,
    "link": output.LinkOutput,
    "download": output.DownloadOutput,
    "verify": Report,
    "jobs": list[Job],
    "show": output.JobDetails,
    "cancel": output.CanceledJob,
    "retry": Job,
    "hold": Job,
    "delete": Job,
    "resend": list[Mail],
    "migrate": output.MigrateOutput,
    "purge": output.PurgeOutput,
    "health": list[Finding],
    "schedules": list[ScheduledExport],
    "schedules list": list[ScheduledExport],
    "schedules create": ScheduledExport,
    "schedules change": ScheduledExport,
    "schedules pause": ScheduledExport,
    "schedules resume": ScheduledExport,
    "schedules delete": ScheduledExport,
    "schedules run-now": output.ScheduledJob,
    "schedules unsubscribed": list[str],
    "keys create": output.KeyWithToken,
    "keys list": list[Key],
    "keys rotate": output.KeyWithToken,
    "keys revoke": Key,
    "webhooks": list[Webhook],
    "webhooks list": list[Webhook],
    "webhooks create": output.WebhookWithSecret,
    "webhooks test": Delivery,
    "webhooks rotate": output.WebhookWithSecret,
    "webhooks revoke": Webhook,
    "webhooks deliveries": list[Delivery],
}
PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a command's output, in which every field is required and no other allowed."""
    adapter: TypeAdapter[Any] = TypeAdapter(OUTPUTS[name])
    adapter.rebuild(
        _types_namespace={"DaemonCode": DaemonCode}
    )  # health imports Dagster only when it asks it
    schema = adapter.json_schema(mode="serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        if "properties" in part:
            part |= {"required": list(part["properties"]), "additionalProperties": False}
    return schema


@pytest.fixture
def checked(command: Command) -> Any:
    """Runs a command with --json, and checks its output against the command's schema."""

    def run(*arguments: str, code: int = 0) -> Any:
        ended: Ended = command(*arguments, "--json")
        assert ended.code == code, ended.err
        name = next(name for name in (" ".join(arguments[:2]), arguments[0]) if name in OUTPUTS)
        jsonschema.validate(ended.json, schema_of(name))
        return ended.json

    return run


@pytest.mark.slow
def test_output_of_lists_and_files_fits_its_schema(checked: Any, source: Source, tmp_path: Path) -> None:
    checked("formats")
    assert all(dataset["scopes"] is None for dataset in checked("datasets"))
    (one,) = checked("datasets", "--scopes", "takeoff")
    assert {scope["scope"] for scope in one["scopes"]} == set(source.scopes)
    (unscoped,) = checked("datasets", "--scopes", "sellers")
    assert unscoped["scopes"] == []
    (file,) = checked("request", "takeoff", "--scope", source.scopes[0])["exports"]
    assert checked("verify", file["file_key"])["problems"] == []
    stored_file = tmp_path / "store" / file["file_key"]
    assert checked("verify", str(stored_file))["manifest"] == "compared"
    stored_file.write_bytes(b"a\n")
    assert checked("verify", file["file_key"], code=1)["problems"]
    checked("link", file["file_key"])
    checked("download", file["file_key"])


@pytest.mark.slow
def test_a_request_has_one_shape_with_and_without_ledger_waiting_failing_or_done(
    checked: Any, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("request", "takeoff", "--scope", source.scopes[0], "--format", "csv,json")

    def refuse(*_: Any) -> Any:
        raise RenderError("Too long; leave out the notes.")

    for with_ledger in (False, True):
        if with_ledger:
            checked("migrate")
        done = checked(*asked)["exports"]
        assert [(export["format"], export["status"]) for export in done] == [
            ("csv", "completed"),
            ("json", "completed"),
        ]
        assert [bool(export["id"]) for export in done] == [with_ledger] * 2
        with monkeypatch.context() as patch:
            patch.setattr(csv, "render", refuse)
            failed, json = checked(*asked, code=1)["exports"]
        assert (failed["status"], json["status"]) == ("failed", "completed")
        assert "Too long; leave out the notes." in failed["error_message"]
        assert failed["error_code"] == "export_failed"
        with monkeypatch.context() as patch:
            patch.setattr(request, "_request_in_background", lambda *_: Path("the.log"))
            later = checked(*asked, "--no-wait")
        assert later["log"] == (None if with_ledger else "the.log")
        expected = "pending" if with_ledger else "processing"
        assert {export["status"] for export in later["exports"]} == {expected}


@pytest.mark.slow
def test_commands_about_jobs(
    checked: Any,
    command: Command,
    ledger: Ledger,
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked("migrate")
    assert checked("jobs") == []
    done, waits = stored(ledger, tmp_path), job_in(ledger, Status.PENDING)
    failed = job_in(ledger, Status.FAILED)
    assert len(checked("jobs")) == 3
    assert checked("show", done.id)["file"]["there"] is True
    for job in (waits, failed):
        assert checked("show", job.id)["file"] is None
    assert checked("cancel", waits.id)["run"] == "no run had it"
    assert checked("retry", waits.id)["status"] == "pending"
    assert checked("hold", done.id)["legal_hold"] is True
    assert checked("hold", done.id, "--release")["legal_hold"] is False
    assert checked("purge", "--dry-run")["dry_run"] is True
    assert checked("purge")["lost"] == 0
    assert checked("delete", done.id, "--yes")["deleted_at"]
    checked("health", code=1)
    monkeypatch.setenv("EXPORT_SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("EXPORT_MAIL_FROM", "exports@example.org")
    mailed = ledger.request("takeoff", "csv", scope="a", recipients=["ann@example.org"])
    ledger.started(run_of(mailed))
    ledger.completed(run_of(mailed), FILE)
    checked("show", mailed.id)


@pytest.mark.slow
def test_commands_about_schedules(checked: Any, ledger: Ledger, source: Source) -> None:
    made = checked(
        "schedules", "create", "takeoff", "--scope", source.scopes[0], "--format", "csv", "--cadence", "daily"
    )
    for command in (
        ["list"],
        ["change", made["id"], "--at", "07:30"],
        ["pause", made["id"]],
        ["resume", made["id"]],
    ):
        checked("schedules", *command)
    asked = checked("schedules", "run-now", made["id"])
    assert (asked["new"], asked["schedule_id"]) == (True, made["id"])
    assert checked("schedules", "run-now", made["id"])["new"] is False
    checked("schedules", "delete", made["id"], "--yes")


@pytest.mark.slow
def test_commands_about_keys_and_webhooks(
    checked: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = checked("keys", "create", "backend")
    assert key["token"]
    assert [one["id"] for one in checked("keys", "list")] == [key["id"]]
    assert checked("keys", "rotate", key["id"])["token"] != key["token"]
    assert checked("keys", "revoke", key["id"])["revoked_at"]
    monkeypatch.setenv("EXPORT_WEBHOOK_KEY", "k" * 32)
    monkeypatch.setenv("EXPORT_WEBHOOK_HTTP", "true")
    monkeypatch.setenv("EXPORT_WEBHOOK_NETWORKS", "127.0.0.0/8")
    hook = checked("webhooks", "create", "http://127.0.0.1:9/hook")
    assert hook["secret"]
    assert [one["id"] for one in checked("webhooks")] == [hook["id"]]
    assert checked("webhooks", "test", hook["id"], code=1)["status"] != "delivered"
    assert len(checked("webhooks", "deliveries")) == 1
    checked("webhooks", "rotate", hook["id"])
    assert checked("webhooks", "revoke", hook["id"])["active"] is False


def test_every_command_with_json_has_a_schema() -> None:
    import typer

    def names(group: Any, before: str = "") -> set[str]:
        paths = set()
        for name, one in group.commands.items():
            if any("--json" in parameter.opts for parameter in one.params):
                paths.add(f"{before}{name}")
            if hasattr(one, "commands"):
                paths |= names(one, f"{before}{name} ")
        return paths

    assert names(typer.main.get_command(app)) == set(OUTPUTS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_page_names_every_field(name: str) -> None:
    section = re.split(r"^### ", PAGE.split("## JSON\n", 1)[1], flags=re.MULTILINE)
    shown = {word for part in section for word in re.findall(r"`([a-z_0-9]+)`", part)}
    schema = schema_of(name)
    for part in (schema, *schema.get("$defs", {}).values()):
        assert set(part.get("properties", {})) <= shown
