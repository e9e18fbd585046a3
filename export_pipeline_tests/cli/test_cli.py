import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.cli import deployment
from export_pipeline.formats.csv import write as csv
from export_pipeline.formats.csv.dialect import BOM
from export_pipeline.formats.registry import FORMATS
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source

ROOT = Path(__file__).parents[2]
COMMANDS = ["formats", "datasets", "request", "link", "verify", "demo", "dev"]


@pytest.fixture
def exported(command: Command, source: Source) -> dict[str, dict[str, Any]]:
    """A file of each of two formats, by format."""
    ended = command("request", "takeoff", "--scope", source.scopes[0], "--format", "csv,ost", "--json")
    assert ended.code == 0, ended.err
    return {file["format"]: file for file in ended.json["exports"]}


def test_the_help_of_each_command_has_an_example(command: Command) -> None:
    ended = command("--help")
    assert ended.code == 0
    assert all(name in ended.out for name in COMMANDS)
    for name in COMMANDS:
        ended = command(name, "--help")
        assert ended.code == 0
        assert "Example" in ended.out
        assert f"export-pipeline {name}" in " ".join(ended.out.split())


def test_formats_and_datasets_are_listed(command: Command, source: Source) -> None:
    assert [row["format"] for row in command("formats", "--json").json] == list(FORMATS)
    listed = {row["dataset"]: row for row in command("datasets", "--json").json}
    takeoff = listed["takeoff"]
    assert takeoff["formats"] == ["csv", "excel", "pdf", "json", "ost", "zip"]
    assert takeoff["cadences"] == ["on_demand", "daily", "weekly", "monthly"]
    (named,) = command("datasets", "--scopes", "takeoff", "--json").json
    assert {row["scope"] for row in named["scopes"]} == set(source.scopes)
    assert "no scopes: export it without --scope" in command("datasets", "--scopes", "sellers").out
    text = command("datasets", "--scopes", "takeoff")
    assert all(scope in text.out for scope in source.scopes)


@pytest.mark.slow
def test_request_link_verify(
    command: Command, source: Source, exported: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    csv = exported["csv"]
    assert csv["row_count"] == source.exported(source.scopes[0])
    assert (tmp_path / "store" / csv["file_key"]).stat().st_size == csv["file_size"]
    assert not any((tmp_path / "staging").iterdir())
    for file in exported.values():
        assert command("link", file["file_key"]).out.startswith("file:///")
        report = command("verify", file["file_key"], "--json")
        assert report.code == 0
        assert report.json["rows"] == file["row_count"]
        assert report.json["manifest"] == "compared"
        assert "sound" in command("verify", file["file_key"]).out


def test_options_reach_the_export(command: Command, source: Source, tmp_path: Path) -> None:
    ended = command(
        "request", "takeoff", "--scope", source.scopes[0], "-o", "csv_bom=true", "-o", "include_rejected=true", "--json"
    )  # fmt: skip
    (file,) = ended.json["exports"]
    assert (tmp_path / "store" / file["file_key"]).read_bytes().startswith(BOM)
    assert file["row_count"] > source.exported(source.scopes[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["request", "nope", "--scope", "x"], 2, "There is no dataset 'nope'; there are archive"),
        (["datasets", "--scopes", "nope"], 2, "there are archive"),
        (["datasets", "--scopes", "recods"], 2, "'recods'; did you mean records? There are archive"),
        (["request", "takeoff", "--scope", "x"], 2, "`export-pipeline datasets --scopes takeoff` lists"),
        (["request", "takeoff", "--scope", "x", "--format", "doc"], 2, "no format 'doc'; it has csv, excel"),
        (["request", "takeoff", "--scope", "x", "--format", ""], 2, "no format ''"),
        (["request", "takeoff", "--scope", "x", "-o", "y=1"], 2, "no option y; there are include_unverified"),
        (["request", "takeoff", "--scope", "x", "-o", "group_by=y"], 2, "'condition', 'page' or 'category'"),
        (["request", "takeoff", "--scope", "x", "-o", "y"], 2, "NAME=VALUE"),
        (["request", "takeoff", "--scope", "x", "--format", "csv,pdf,csv"], 2, "csv is named twice"),
        (["request", "records", "--column", "qty", "--column", "qty"], 2, "'qty' is named twice"),
        (["request", "takeoff", "--priority", "2147483648"], 2, "from -2147483648 to 2147483647"),
        (["dev", "--port", "70000"], 2, "'--port'"),
        (["request", "takeoff"], 2, "Say whose rows, with --scope"),
        (
            ["request", "takeoff", "--to", "ann"],
            2,
            "--to 'ann' is not a mail address such as ann@example.org.",
        ),
        (
            ["request", "takeoff", "--to", "ann@example.org"],
            2,
            "EXPORT_SMTP_URL is not set: set it, and EXPORT_",
        ),
        (["bogus"], 2, "No such command 'bogus'. (`export-pipeline --help` shows how)"),
        (["schedules", "bogus"], 2, "(`export-pipeline schedules --help` shows how)"),
        (["link", "exports/x.csv"], 1, "No file exports/x.csv"),
        (["link", "../../etc/passwd"], 2, "not a key"),
        (["link", "exports/x.csv", "--expires", "0"], 2, "--expires"),
        (["verify", "exports/x.csv"], 1, "No file exports/x.csv"),
        (["verify", "exports/x.doc"], 2, "No format has files named *.doc; there are csv"),
    ],
)
def test_a_wrong_call_is_one_line_that_says_what_is_valid(
    command: Command, arguments: list[str], code: int, message: str
) -> None:
    ended = command(*arguments)
    assert ended.code == code
    assert ended.out == ""
    assert message in ended.err
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1


def test_a_source_that_is_down(command: Command, source: Source) -> None:
    source.path.unlink()
    ended = command("request", "takeoff", "--scope", "x")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "source database cannot be reached" in ended.err


def test_dev_does_not_start_where_something_listens(command: Command, source: Source) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("dev", "--port", str(port))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"Something listens on 127.0.0.1:{port} already" in ended.err


def test_dev_says_where_links_lead_and_what_to_make_of_dagsters_warning(
    command: Command, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(deployment, "run_quietly_ended", begun.append)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    output = command("dev", "--port", port).out
    assert f"set EXPORT_UI_URL=http://127.0.0.1:{port} to link here" in output
    assert "dagster.yaml" not in output
    (tmp_path / "dagster.yaml").touch()
    monkeypatch.setenv("EXPORT_UI_URL", f"http://127.0.0.1:{port}")
    output = command("dev", "--port", port).out
    assert "EXPORT_UI_URL" not in output
    assert "warns about an unused dagster.yaml" in output
    monkeypatch.setenv("EXPORT_UI_URL", "https://exports.example.org")  # a proxy's
    assert "EXPORT_UI_URL" not in command("dev", "--port", port).out
    assert [arguments[-4:-2] for arguments in begun] == [["-p", port]] * 3


def test_a_wrong_setting_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_TIMEZONE", "Nowhere")
    ended = command("datasets", "--scopes", "takeoff")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith("Error: EXPORT_TIMEZONE: ")


def test_a_broken_env_file_is_reported_once(
    command: Command, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("EXPORT_TIMEZONE=UTC\nno name\n")
    ended = command("formats")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"Error: {Path('.env').absolute()}, line 2: cannot be read")
    assert command("formats", "--help").code == 0
    assert caplog.text == ""


@pytest.mark.parametrize(
    "arguments", [["formats"], ["datasets"], ["schedules", "create", "x"], ["request"], ["nonsense"]]
)
def test_a_wrong_setting_stops_every_command_but_help(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("EXPORT_TIMEZONE", "Nowhere")
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: EXPORT_TIMEZONE: ")
    assert command(*arguments[:-1], "--help").code == 0


def test_a_format_that_fails_is_reported_and_the_other_is_made(
    command: Command, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from export_pipeline.formats.base import RenderError

    def refuse(*_: Any) -> Any:
        raise RenderError("Too long; leave out the notes.")

    monkeypatch.setattr(csv, "render", refuse)
    ended = command("request", "takeoff", "--scope", source.scopes[0], "--format", "csv,json", "--json")
    assert ended.code == 1
    failed, done = ended.json["exports"]
    assert (done["format"], done["status"]) == ("json", "completed")
    assert (failed["format"], failed["status"]) == ("csv", "failed")
    assert failed["error_message"] == "render_csv: Too long; leave out the notes."
    assert (tmp_path / "staging" / failed["run_id"]).is_dir()  # for a re-execution


@pytest.mark.slow
def test_verify_finds_damage(command: Command, exported: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    stored = tmp_path / "store" / exported["csv"]["file_key"]
    manifest = stored.with_name(f"{stored.name}.manifest.json")
    copy = tmp_path / "a copy.csv"
    shutil.copyfile(stored, copy)
    assert command("verify", str(copy)).code == 0  # without a manifest it is only read
    shutil.copyfile(manifest, copy.with_name(f"{copy.name}.manifest.json"))
    assert command("verify", str(copy)).code == 0
    lines = stored.read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join(lines[:-1]))
    damaged = command("verify", str(copy), "--json")
    assert damaged.code == 1
    assert len(damaged.json["problems"]) >= 3  # size, hash, rows (and the total)

    stored.write_bytes(b"".join(lines[:-1]))
    problems = " ".join(command("verify", exported["csv"]["file_key"], "--json").json["problems"])
    assert "its manifest says" in problems
    manifest.write_text("{")
    for ended in (command("verify", exported["csv"]["file_key"]), command("verify", str(stored))):
        assert ended.code == 1
        assert "The manifest is damaged" in ended.err
    manifest.unlink()
    missing = command("verify", exported["csv"]["file_key"])
    assert missing.code == 1
    assert "the export is not complete" in missing.err


def test_demo_leaves_other_databases_alone(command: Command) -> None:
    ended = command("demo")
    assert ended.code == 2
    assert "EXPORT_SOURCE_URL names another one" in ended.err


@pytest.mark.slow
def test_no_wait_gives_the_id_at_once_and_the_files_come(
    source: Source, environment: dict[str, str], tmp_path: Path
) -> None:
    """In processes of their own, as a person has it."""
    done = subprocess.run(
        [sys.executable, "-m", "export_pipeline.cli", "request", "takeoff", "--scope", source.scopes[0],
         "--no-wait", "--json"],
        capture_output=True, text=True, timeout=240, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    accepted = json.loads(done.stdout)
    file = tmp_path / "store" / "exports" / source.scopes[0] / f"{accepted['exports'][0]['run_id']}.csv"
    manifest, deadline = file.with_name(f"{file.name}.manifest.json"), time.monotonic() + 240
    while not manifest.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert manifest.exists(), Path(accepted["log"]).read_text()


def test_ctrl_c_ends_an_export(
    command: Command, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(csv, "render", interrupt)
    ended = command("request", "takeoff", "--scope", source.scopes[0])
    assert (ended.code, ended.err.strip()) == (130, "Error: Interrupted.")
    assert not list((tmp_path / "store").rglob("*.csv"))
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert run.is_finished


@pytest.mark.slow
def test_importing_the_code_location_is_light() -> None:
    """Each run is a process that does it; commands that open a store only need no Dagster."""
    heavy = ["pandas", "polars", "openpyxl", "reportlab", "boto3", "botocore", "dagster_aws", "lxml", "fontTools",
             "uharfbuzz", "pyarrow.dataset", "orjson", "ijson", "pikepdf", "typer"]  # fmt: skip
    script = (
        "import sys, export_pipeline.orchestration.resources;"
        "assert 'dagster' not in sys.modules;"
        "from export_pipeline.definitions import defs; defs().get_repository_def();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout.strip() == "[]"
