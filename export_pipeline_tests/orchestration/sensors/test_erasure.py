"""Dagster's database forgets the content of removed files, and what is personal never comes into it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.datasets import export_file
from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.orchestration.dagster_compat.event_log import erase_content
from export_pipeline.orchestration.sensors import erasure
from export_pipeline.orchestration.sensors.erasure import erase_removed_files
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import QUIET, Deployment, Source, files
from export_pipeline_tests.orchestration.requesting import insert, launch, tick
from export_pipeline_tests.services.postgres import PostgresServer

pytestmark = pytest.mark.slow

SENTINEL = "Zephyrine Quillfeather"
DAY = "2931-05-07"


@pytest.fixture
def marked(source: Source) -> str:
    """The first project, in which each condition has a name that nothing else has; its id."""
    source.rows("UPDATE measurements SET is_rejected = 0")
    source.rows(f"UPDATE conditions SET name = '{SENTINEL}' WHERE project_id = '{source.scopes[0]}'")
    return source.scopes[0]


def _bytes_of(home: Path) -> bytes:
    """Every byte of Dagster's databases."""
    files = [path for path in home.rglob("*") if path.is_file() and ".db" in path.name]
    return b"".join(path.read_bytes() for path in files)


def _holds(home: Path) -> bool:
    return SENTINEL.encode() in _bytes_of(home)


def _request(command: Command, scope: str, formats: str = "csv,json") -> list[str]:
    asked = command("request", "takeoff", "--scope", scope, "--format", formats, "--json")
    assert asked.code == 0, asked.err
    return [export["id"] for export in asked.json["exports"]]


@pytest.fixture
def books(deployment: Deployment, ledger: Ledger) -> Deployment:
    """The deployment with a dataset whose requests have filters and a title."""
    engine = sa.create_engine(deployment.source.url)
    bookkeeping.fill(engine)
    engine.dispose()
    return deployment


@pytest.fixture
def home(command: Command, tmp_path: Path) -> Path:
    """DAGSTER_HOME of a deployment that has a ledger."""
    assert command("migrate").code == 0
    return tmp_path / "home"


def test_delete_leaves_no_byte_of_the_rows(marked: str, command: Command, home: Path) -> None:
    first, second = _request(command, marked)
    assert _holds(home)
    assert command("delete", first, "--yes").code == 0
    assert _holds(home)  # the other file's preview is still of use
    assert command("delete", second, "--yes").code == 0
    assert not _holds(home)
    with dg.DagsterInstance.get() as instance:  # and the rest can still be read
        for format in ("csv", "json"):
            key = dg.AssetKey(["takeoff", "on_demand", format])
            (record,) = instance.fetch_materializations(key, limit=10).records
            assert record.asset_materialization is not None
            metadata = record.asset_materialization.metadata
            assert {"dagster/row_count", "bytes", "sha256", "key"} <= metadata.keys()
            assert not {"preview", "totals", "title", "warnings"} & metadata.keys()
            assert instance.get_latest_materialization_event(key) is not None
        (run,) = instance.get_runs()
        assert instance.all_logs(run.run_id)


def test_expiry_leaves_none_either(marked: str, command: Command, home: Path, source: Source) -> None:
    (job,) = _request(command, marked, "csv")
    with Ledger(source.url) as ledger:
        run_id = ledger.get(job).run_id
    source.rows(f"UPDATE export_jobs SET expires_at = '2026-01-01T00:00:00.000000+00:00' WHERE id = '{job}'")
    assert _holds(home)
    assert command("purge").code == 0
    assert not _holds(home)
    with dg.DagsterInstance.get() as instance:
        assert instance.get_run_by_id(str(run_id)) is not None


def test_a_request_never_comes_into_it(
    books: Deployment, ledger: Ledger, tmp_path: Path, command: Command
) -> None:
    """Neither runs nor ticks, which keep the run requests of their sensor, name filters, columns or a title."""
    chosen = {
        "filters": f'{{"sale_date": {{"range": {{"from": "{DAY}"}}}}}}',
        "options": f'{{"title": "{SENTINEL}"}}',
    }
    scope = bookkeeping.SHOP
    id = insert(books, dataset="records", format="csv", scope=scope, requested_by=SENTINEL, **chosen)
    (request,) = tick(books)
    assert launch(books, request).success
    job = ledger.get(id)
    asked = ["--filter", f"sale_date:from={DAY}", "--option", f"title={SENTINEL}"]
    here = command("request", "records", "--scope", scope, *asked, "--json")
    assert here.code == 0, here.err
    with dg.DagsterInstance.get() as instance:
        runs = [*books.instance.get_runs(), *instance.get_runs()]
    assert job.row_count == here.json["exports"][0]["row_count"] == 0
    assert job.run_id in {run.run_id for run in runs}
    for one in (request, *runs):
        assert DAY not in str(one)
        assert SENTINEL not in str(one)


def test_the_config_of_the_launchpad_goes_with_the_last_file(
    books: Deployment, ledger: Ledger, tmp_path: Path
) -> None:
    config = {"records_on_demand": {"config": {"title": SENTINEL}}}
    books.instance.add_dynamic_partitions("records_scopes", [bookkeeping.SHOP])
    result = books.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=books.instance,
        asset_selection=[dg.AssetKey(["records", "on_demand", format]) for format in ("csv", "json")],
        partition_key=bookkeeping.SHOP,
        run_config=QUIET | {"ops": config},
    )
    first, second = ledger.find()
    for job, is_last in ((first, False), (second, True)):
        ledger.delete(job.id, books.store.delete)
        assert erase_removed_files(ledger, books.store, books.instance) == 1
        run = books.instance.get_run_by_id(result.run_id)
        assert run is not None
        assert (SENTINEL not in str(run)) is is_last
    assert run.run_config == {"removed with the file": True}
    with pytest.raises(dg.DagsterInvalidConfigError):  # executed again it would export without the filters
        dg.validate_run_config(books.definitions.resolve_implicit_global_asset_job_def(), run.run_config)


def test_a_file_that_no_job_has_is_forgotten_too(
    marked: str, deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = [
        deployment.run(["csv"], "daily", dg.MultiPartitionKey({"scope": marked, "window": "2026-02-02"}))
        for _ in range(2)
    ]
    key = files(windows[1])["csv"]["key"]
    assert all("preview" in _metadata(deployment, run.run_id) for run in windows)
    KnownFiles.sharing(ledger).note_removal(str(key), windows[1].run_id)
    assert erase_removed_files(ledger, deployment.store, deployment.instance) == 1
    # The file is still there, so the run before it may be looked at; then the file goes.
    assert "preview" not in _metadata(deployment, windows[1].run_id)
    assert "preview" in _metadata(deployment, windows[0].run_id)
    deployment.store.delete(str(key))
    KnownFiles.sharing(ledger).note_removal(str(key), None)
    assert erase_removed_files(ledger, deployment.store, deployment.instance) == 1
    assert "preview" not in _metadata(deployment, windows[0].run_id)
    assert KnownFiles.sharing(ledger).removals(10) == []


@pytest.mark.parametrize("name", ["label", "metadata_entries"])
def test_rows_may_hold_any_text(
    marked: str, deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = [{name: "key"}, {name: "AssetCheckEvaluation"}]
    monkeypatch.setattr(export_file, "_preview", lambda _: rows)
    result = deployment.run(["csv"])
    assert "preview" in _metadata(deployment, result.run_id)
    KnownFiles.sharing(ledger).note_removal(str(files(result)["csv"]["key"]), result.run_id)
    assert erase_removed_files(ledger, deployment.store, deployment.instance) == 1
    assert "preview" not in _metadata(deployment, result.run_id)


def test_one_that_fails_stops_no_other_and_is_tried_again(
    marked: str, deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [deployment.run(["csv"]).run_id for _ in range(2)]
    keys = [str(_metadata(deployment, run)["key"].value) for run in runs]  # type: ignore[attr-defined]
    for key, run in zip(keys, runs, strict=True):
        KnownFiles.sharing(ledger).note_removal(key, run)
    with monkeypatch.context() as failing:
        failing.setattr(
            erasure, "erase_content", lambda *args: 1 / 0 if args[1] == runs[0] else erase_content(*args)
        )
        assert erase_removed_files(ledger, deployment.store, deployment.instance) == 1
    assert ["preview" in _metadata(deployment, run) for run in runs] == [True, False]
    assert [one.file_key for one in KnownFiles.sharing(ledger).removals(10)] == keys[:1]
    assert erase_removed_files(ledger, deployment.store, deployment.instance) == 1
    assert "preview" not in _metadata(deployment, runs[0])


def _metadata(deployment: Deployment, run_id: str) -> dict[str, object]:
    (record,) = deployment.instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    ).records
    assert record.event_log_entry.asset_materialization is not None
    return dict(record.event_log_entry.asset_materialization.metadata)


def test_a_run_that_goes_on_is_waited_for(marked: str, deployment: Deployment, ledger: Ledger) -> None:
    result = deployment.run(["csv"])
    key = str(files(result)["csv"]["key"])
    deployment.store.delete(key)
    KnownFiles.sharing(ledger).note_removal(key, result.run_id)
    instance = deployment.instance
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    with pytest.MonkeyPatch.context() as patch:
        going_on = run.with_status(dg.DagsterRunStatus.STARTED)
        patch.setattr(type(instance), "get_run_by_id", lambda self, id: going_on)
        assert erase_removed_files(ledger, deployment.store, instance) == 0
    assert erase_removed_files(ledger, deployment.store, instance) == 1


def test_without_dagster_a_later_tick_does_it(
    marked: str, command: Command, home: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = _request(command, marked, "csv")
    with monkeypatch.context() as away:
        away.setattr(dg.DagsterInstance, "get", lambda: 1 / 0)
        ended = command("delete", job, "--yes")
    assert (ended.code, ended.err.count("\n")) == (0, 1)
    assert "go with a later tick of purge_sensor" in ended.err
    assert _holds(home)
    from export_pipeline.definitions import defs

    made = defs()
    sensor = made.resolve_sensor_def("purge_sensor")
    with (
        dg.DagsterInstance.get() as instance,
        dg.build_sensor_context(
            instance=instance,
            resources={name: made.resources[name] for name in ("ledger", "store", "source")},
        ) as context,
    ):
        sensor.evaluate_tick(context)
    assert not _holds(home)


def test_content_is_removed_from_instances_on_postgresql(
    marked: str, command: Command, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("migrate").code == 0
    with postgres.database() as url:
        home = tmp_path / "home"
        (home / "dagster.yaml").write_text(
            "storage:\n  postgres:\n    postgres_url: "
            + url.replace("postgresql://", "postgresql+psycopg2://")
            + "\ntelemetry: {enabled: false}\n"
        )
        (job,) = _request(command, marked, "csv")

        def holding() -> list[str]:
            engine, tables = sa.create_engine(url), []
            with engine.connect() as connection:
                for table in sa.inspect(engine).get_table_names():
                    rows = connection.exec_driver_sql(f'SELECT t::text FROM "{table}" t').scalars()
                    tables += [table for row in rows if SENTINEL in row]
            engine.dispose()
            return tables

        assert {"event_logs", "asset_keys"} <= set(holding())
        assert command("delete", job, "--yes").code == 0
        assert holding() == []
