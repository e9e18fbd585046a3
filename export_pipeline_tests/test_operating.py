"""docs/operating.md says what is there."""

import re
from pathlib import Path
from typing import get_args

import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from export_pipeline.cli import app as cli
from export_pipeline.health.findings import FindingCode
from export_pipeline.jobs import Ledger, migrate
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.errors import ErrorCode
from export_pipeline.jobs.stats import Statistics
from export_pipeline.metrics import metrics_text
from export_pipeline.orchestration.dagster_health import DaemonCode
from export_pipeline.schedules.editing import EDITABLE, list_schedules
from export_pipeline.settings import Settings, load_settings
from export_pipeline_tests.jobs.database import Database

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operating.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_every_finding_and_error_code_is_explained() -> None:
    known = [code for kind in (FindingCode, DaemonCode, ErrorCode) for code in get_args(kind)]
    assert {code for code in known if f"`{code}`" not in PAGE} == set()


@pytest.mark.slow
def test_every_command_setting_and_file_that_is_named_exists(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    called = set(
        re.findall(r"export-pipeline ([a-z]+)((?: (?:create|change|pause|resume|run-now)\b)?)", PAGE)
    )
    for command, sub in called:
        assert cli.run([command, *sub.split(), "--help"]) == 0, (command, sub)
    lines = [line for line in PAGE.replace("\\\n", " ").splitlines() if line.startswith("export-pipeline ")]
    assert len(lines) > 15
    for line in lines:
        arguments = line.partition("#")[0].split()[1:]
        named = arguments[:2] if arguments[0] == "schedules" else arguments[:1]
        capsys.readouterr()
        assert cli.run([*named, "--help"]) == 0, line
        output = capsys.readouterr().out
        assert all(argument in output for argument in arguments if argument.startswith("--")), line
    names = set(re.findall(r"EXPORT_[A-Z0-9_]+", PAGE))
    assert names <= {f"EXPORT_{name.upper()}" for name in Settings.model_fields}
    assert all((ROOT / "docs" / link).exists() for link in re.findall(r"\]\((\.\./[^)]+)\)", PAGE))


def test_the_sql_works_as_it_stands(postgres_url: str, tmp_path: Path) -> None:
    grant, ask, plan = blocks("sql")
    migrate(postgres_url)
    database = Database(postgres_url)
    database.run("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    database.run("CREATE ROLE application")
    try:
        database.run(grant)
        database.run("SET ROLE application")
        for statement in ask.split(";")[:2]:
            assert len(database.run(statement)) == 1
        insert, pause = plan.split(";")[:2]
        (schedule,) = database.run(insert)
        columns = "active, weekday, hour, minute, timezone, empty, owner"
        database.run(pause)
        assert database.run(f"SELECT id, {columns} FROM scheduled_exports") == [
            (*schedule, False, 1, 7, 30, "Europe/Berlin", "say", "ann@example.org")
        ]
        database.run("UPDATE scheduled_exports SET active = true, since = '2026-01-01T00:00:00Z'")
        for column in ("next_run", "last_run", "problem", "id"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                database.run(f"UPDATE scheduled_exports SET {column} = NULL")
        database.run("DELETE FROM scheduled_exports")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            database.run("UPDATE export_jobs SET status = 'completed'")
        for column in ("status", "id", "schedule_id", "window_key", "created_at", "file_key", "run_id"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                database.run(f"INSERT INTO export_jobs (dataset, format, {column}) VALUES ('a', 'csv', NULL)")
        for table in ("export_events", "export_deliveries"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                database.run(f"SELECT * FROM {table}")
    finally:
        database.run("RESET ROLE")
        database.run("DROP OWNED BY application")
        database.run("DROP ROLE application")
        database.close()
    url = f"sqlite:///{tmp_path}/jobs.db"
    migrate(url)
    database = Database(url)
    for statement in ask.split(";")[:2]:
        assert len(database.run(statement)) == 1
    insert, pause = plan.split(";")[:2]
    assert len(database.run(insert)) == 1
    database.run(pause)
    database.close()
    with Ledger(url) as ledger:
        (job,) = ledger.find()
        (read,) = list_schedules(open_engine(url))
    assert not read.active
    read.check()
    assert (job.recipients, job.filters) == (["ann@example.org"], {"status": {"equals": "SUCCESSFUL"}})


@pytest.mark.parametrize("own_schema", [True, False])
def test_the_role_of_the_readme_can_keep_requests(
    postgres_url: str, own_schema: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "README.md").read_text()
    role, schema, rights = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    owner = Database(postgres_url)
    url = make_url(postgres_url).set(username="exporter", password="…")
    try:
        owner.run("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        owner.run(role)
        if own_schema:
            owner.run(schema)
            owner.run("CREATE TABLE public.export_jobs (id int); CREATE TABLE public.export_events (id int)")
            named = re.search(r"`EXPORT_JOBS_SCHEMA=(\w+)`", text)
            assert named is not None
            monkeypatch.setenv("EXPORT_SOURCE_URL", url.render_as_string(hide_password=False))
            monkeypatch.setenv("EXPORT_JOBS_SCHEMA", named[1])
            ledger_url = load_settings().jobs_url
        else:
            migrate(postgres_url)
            owner.run(rights)
            ledger_url = url.render_as_string(hide_password=False)
        migrate(ledger_url)  # the daemon's unit runs it at each start
        application = Database(ledger_url)
        job_id = application.insert()
        application.close()
        with Ledger(ledger_url) as ledger:
            (job,) = ledger.claim(1)
            ledger.canceled(job.id)
            assert job.id == job_id
            assert [event.kind for event in ledger.events(job_id)] == ["requested", "canceled"]
            assert list_schedules(open_engine(ledger_url)) == []
        assert owner.run("SELECT schemaname FROM pg_tables WHERE tablename = 'export_deliveries'") == [
            ("exports" if own_schema else "public",)
        ]
    finally:
        owner.run("DROP OWNED BY exporter CASCADE")
        owner.run("DROP ROLE exporter")
        owner.close()


def test_every_column_of_a_schedule_that_people_choose_is_named() -> None:
    chosen = re.search(r"INSERT \(dataset, [^)]*misfire[^)]*\)", PAGE)
    assert chosen is not None
    named = set(re.findall(r"[a-z_]+", chosen[0]))
    assert named == {*EDITABLE, "active", "since"}
    columns = {
        name
        for line in PAGE.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z_]+)`", line)
    }
    assert columns >= named - {"dataset", "format", "scope"}


def test_every_figure_of_the_scrape_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    migrate(url)
    with Statistics(url) as statistics:
        known = {family.name for family in text_string_to_metric_families(metrics_text(statistics))}
    (block,) = blocks("prometheus")
    shown = {family.name for family in text_string_to_metric_families(block)}
    named = set(re.findall(r"export_pipeline_[a-z_]+", PAGE)) - {"export_pipeline_version"}
    assert len(shown) == len(block.splitlines())
    assert named >= shown
    assert named <= known
