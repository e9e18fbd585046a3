"""Every command that needs the ledger, and its message where the ledger is missing or broken."""

from pathlib import Path

import pytest

from export_pipeline.jobs import Ledger
from export_pipeline_tests.cli.stored import NOBODY
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source

COMMANDS = [
    "jobs",
    "show",
    "cancel",
    "retry",
    "resend",
    "hold",
    "delete",
    "purge",
    "migrate",
    "health",
    "schedules",
    "webhooks",
]

SCHEDULES = ["list", "create", "change", "pause", "resume", "delete", "run-now"]
WEBHOOKS = ["list", "create", "test", "rotate", "revoke", "deliveries"]


@pytest.mark.parametrize(
    "name",
    [
        *([name] for name in COMMANDS),
        *(["schedules", name] for name in SCHEDULES),
        *(["webhooks", name] for name in WEBHOOKS),
    ],
)
def test_the_help_of_each_command_has_an_example(command: Command, name: list[str]) -> None:
    ended = command(*name, "--help")
    assert ended.code == 0
    assert "Example" in ended.out
    assert "--json" in ended.out
    assert f"export-pipeline {' '.join(name)}" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    "arguments",
    [["jobs"], ["show", NOBODY], ["cancel", NOBODY], ["retry", NOBODY], ["hold", NOBODY], ["purge"],
     ["delete", NOBODY, "--yes"], ["schedules"], ["schedules", "pause", NOBODY], ["link", NOBODY],
     ["webhooks"], ["webhooks", "revoke", NOBODY]],
)  # fmt: skip
def test_without_tables_every_command_says_migrate(command: Command, arguments: list[str]) -> None:
    ended = command(*arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1
    assert "run `export-pipeline migrate`" in ended.err


def test_migrate_twice_then_everything_works(command: Command, environment: dict[str, str]) -> None:
    for outcome in ("were made", "are up to date"):
        ended = command("migrate")
        assert (ended.code, ended.out.count("\n")) == (0, 1)
        assert ended.out.endswith(f" {outcome}.\n")
    expected = {"database": environment["EXPORT_SOURCE_URL"], "tables": "up to date"}
    assert command("migrate", "--json").json == expected
    assert command("jobs", "--json").json == []
    assert "Nothing" in command("jobs").out


def test_a_ledger_of_another_database_or_none(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_JOBS_URL", "mysql://u:hunter2@host/x")
    ended = command("jobs")
    assert ended.code == 2
    assert ended.err.startswith("Error: EXPORT_JOBS_URL: ")
    monkeypatch.setenv("EXPORT_JOBS_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    ended = command("jobs")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "does not answer" in ended.err
    assert "hunter2" not in ended.err


def test_a_broken_ledger_is_reported_in_one_line(command: Command, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"not a database" * 100)
    ended = command("jobs")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "file is not a database" in ended.err


def test_figures_go_to_a_file_that_the_node_exporter_reads(
    command: Command, ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "exports.prom"
    assert command("health", "--metrics-file", str(file)).out == ""
    assert file.read_text() == command("health", "--metrics").out
    for wrong, message in (
        (tmp_path / "exports.txt", "must end in .prom"),
        (tmp_path / "no" / "x.prom", "written"),
    ):
        ended = command("health", "--metrics-file", str(wrong))
        assert ended.code == 2
        assert message in ended.err


@pytest.mark.parametrize("is_torn", [False, True])
def test_while_the_ledger_is_away_nothing_is_exported_behind_its_back(
    command: Command, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_torn: bool
) -> None:
    torn = tmp_path / "torn.db"
    torn.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    url = f"sqlite:///{torn}" if is_torn else "postgresql://user:secret@127.0.0.1:1/jobs"
    monkeypatch.setenv("EXPORT_JOBS_URL", url)
    ended = command("request", "takeoff", "--scope", source.scopes[0], "--format", "csv")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith("Error: The database of export jobs ")
    assert "secret" not in ended.err
    assert not list((tmp_path / "store").rglob("*.csv"))
