"""Datasets of many scopes: the windows of a cadence are partitions without scopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.components import loading
from export_pipeline.components.loading import datasets
from export_pipeline.datasets.backfills import request_backfill
from export_pipeline.jobs import Ledger, LedgerUnavailableError, Status
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.orchestration import backfill_job
from export_pipeline.orchestration.partitions import SCOPE_NAME_TAG, SCOPE_TAG, WINDOW_TAG
from export_pipeline.orchestration.sensors.erasure import erase_removed_files
from export_pipeline.orchestration.window_requests import window_requests_job
from export_pipeline.schedules.backfill import BackfillCounts
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import QUIET, Deployment, failures, files
from export_pipeline_tests.orchestration.requesting import launch, tick
from export_pipeline_tests.paths import ROOT

TAKEOFF = ROOT / "export_pipeline" / "defs" / "takeoff" / "defs.yaml"
DAY = "2026-02-02"
CSV = dg.AssetKey(["takeoff", "daily", "csv"])

Declare = Callable[[bool], Deployment]


@pytest.fixture
def declare(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Return a function that loads the definitions anew, with or without scopes in the partitions of windows."""
    from export_pipeline.definitions import defs

    def load(by_scope: bool) -> Deployment:
        folder = tmp_path / f"defs_{by_scope}"
        if not folder.exists():
            (folder / "takeoff").mkdir(parents=True)
            text = TAKEOFF.read_text().replace(
                "  formats:", f"  partition_windows_by_scope: {by_scope}\n  formats:"
            )
            (folder / "takeoff" / "defs.yaml").write_text(text)
        monkeypatch.setattr(loading, "defs_folder", lambda: folder)
        return Deployment(deployment.source, deployment.folder, defs(), deployment.instance)

    return load


@pytest.fixture
def windows(declare: Declare) -> Deployment:
    return declare(False)


def scope_of(result: dg.ExecuteInProcessResult) -> object:
    (file,) = files(result).values()
    return file["scope"]


def tags_of(deployment: Deployment, run_id: str) -> dict[str, str]:
    run = deployment.instance.get_run_by_id(run_id)
    assert run is not None
    return {tag: run.tags[tag] for tag in (SCOPE_TAG, SCOPE_NAME_TAG, WINDOW_TAG) if tag in run.tags}


def name_of(deployment: Deployment, scope: str) -> str:
    ((name,),) = deployment.source.rows(f"SELECT name FROM projects WHERE id = '{scope}'")
    return str(name)


def test_partitions_are_windows_and_those_on_demand_stay_scopes(windows: Deployment) -> None:
    daily = windows.definitions.resolve_assets_def(CSV).partitions_def
    assert isinstance(daily, dg.TimeWindowPartitionsDefinition)
    on_demand = windows.definitions.resolve_assets_def(dg.AssetKey(["takeoff", "on_demand", "csv"]))
    assert isinstance(on_demand.partitions_def, dg.DynamicPartitionsDefinition)
    config = windows.definitions.resolve_implicit_global_asset_job_def().run_config_schema.config_type
    of_ops = config.fields["ops"].config_type.fields  # type: ignore[attr-defined]
    assert next(iter(of_ops["takeoff_daily"].config_type.fields["config"].config_type.fields)) == "scope"
    assert "scope" not in of_ops["takeoff_on_demand"].config_type.fields["config"].config_type.fields


@pytest.mark.parametrize("given", ["id", "name", "partition", "tag", "tag with name"])
def test_a_run_takes_its_scope_from_config_or_tag(windows: Deployment, given: str) -> None:
    scope = windows.scope
    name = name_of(windows, scope)
    text = {"id": scope, "tag": scope, "partition": f"{name} ({scope})"}.get(given, name)
    how = {"tags": {SCOPE_TAG: text}} if given.startswith("tag") else {"config": {"scope": text}}
    result = windows.run(["csv"], "daily", DAY, **how)
    assert scope_of(result) == scope
    assert tags_of(windows, result.run_id) == {SCOPE_TAG: scope, SCOPE_NAME_TAG: name, WINDOW_TAG: DAY}
    key = f"exports/{scope}/takeoff/daily/{DAY}.csv"
    assert windows.stored() == {key, f"{key}.manifest.json"}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "a window and no scope, so it is not known whose rows"),
        ({"scope": "nobody"}, "takeoff has no scope 'nobody'"),
    ],
)
def test_a_run_without_a_known_scope_makes_nothing(
    windows: Deployment, config: dict[str, str] | None, problem: str
) -> None:
    (message,) = failures(windows.run(["csv"], "daily", DAY, config)).values()
    assert problem in message
    assert windows.stored() == set()


def test_a_request_keeps_its_scope_whatever_the_config_says(windows: Deployment, ledger: Ledger) -> None:
    scheduled(windows)
    mine, other = windows.source.scopes
    (request,) = [one for one in tick(windows) if one.tags[SCOPE_TAG] == mine][:1]
    config = {"ops": {"takeoff_daily": {"config": {"scope": other}}}}
    result = launch(windows, request._replace(run_config=config))
    assert "its request" in next(iter(failures(result).values()))
    assert windows.stored() == set()


def scheduled(deployment: Deployment, day: str = DAY) -> None:
    """Request a window for every scope, as the run of a schedule's tick does."""
    deployment.instance.add_dynamic_partitions("takeoff_scopes", list(deployment.source.scopes))
    config = {"dataset": "takeoff", "cadence": "daily", "windows": [day]}
    assert (
        window_requests_job(datasets())
        .execute_in_process(
            instance=deployment.instance,
            run_config=QUIET | {"ops": {"request_windows": {"config": config}}},
            resources={"ledger": deployment.definitions.resources["ledger"]},
        )
        .success
    )


@pytest.mark.slow
def test_a_schedule_exports_each_scope_once_and_runs_show_it(windows: Deployment, ledger: Ledger) -> None:
    scheduled(windows)
    for request in tick(windows):
        assert request.partition_key == DAY
        assert request.tags[WINDOW_TAG] == DAY
        result = launch(windows, request)
        assert result.success
        assert {file["scope"] for file in files(result).values()} == {request.tags[SCOPE_TAG]}
    made = ledger.find(limit=100)
    assert {(job.scope, job.status) for job in made} == {
        (scope, Status.COMPLETED) for scope in windows.source.scopes
    }
    assert len({job.file_key for job in made}) == len(made) == 12
    checks = windows.instance.fetch_materializations(
        dg.AssetRecordsFilter(CSV, asset_partitions=[DAY]), limit=9
    )
    assert len(checks.records) == 2


def test_checks_belong_to_the_file_of_their_own_run(windows: Deployment) -> None:
    first, second = (windows.run(["csv"], "daily", DAY, {"scope": one}) for one in windows.source.scopes)
    for result in (first, second):
        targets = {check.target_materialization_data.run_id for check in result.get_asset_check_evaluations()}  # type: ignore[union-attr]
        assert targets == {result.run_id}


def test_what_is_removed_of_one_scope_stays_of_the_others(windows: Deployment, ledger: Ledger) -> None:
    runs = {scope: windows.run(["csv"], "daily", DAY, {"scope": scope}) for scope in windows.source.scopes}
    gone, stays = windows.source.scopes
    key = str(files(runs[gone])["csv"]["key"])
    windows.store.delete(key)
    KnownFiles.sharing(ledger).note_removal(key, None)
    assert erase_removed_files(ledger, windows.store, windows.instance) == 1
    of_day = dg.AssetRecordsFilter(CSV, asset_partitions=[DAY])
    shown = {
        record.run_id: "preview" in record.asset_materialization.metadata  # type: ignore[union-attr]
        for record in windows.instance.fetch_materializations(of_day, limit=9).records
    }
    assert shown == {runs[gone].run_id: False, runs[stays].run_id: True}


def test_other_partitions_lose_no_history_and_double_no_file(declare: Declare, ledger: Ledger) -> None:
    before = declare(True)
    scope = before.scope
    of_both = f"{scope}|{DAY}"
    first = before.run(["csv"], "daily", dg.MultiPartitionKey({"scope": scope, "window": DAY}))
    key = files(first)["csv"]["key"]
    scheduled(before)
    asked = len(ledger.find(status=[Status.PENDING], limit=100))

    after = declare(False)
    scheduled(after)
    assert len(ledger.find(status=[Status.PENDING], limit=100)) == asked == 12
    second = after.run(["csv"], "daily", DAY, {"scope": scope})
    assert files(second)["csv"]["key"] == key
    assert {one for one in after.stored() if "/daily/" in one} == {key, f"{key}.manifest.json"}
    assert after.instance.get_materialized_partitions(CSV) == {of_both, DAY}

    back = declare(True)
    scheduled(back)
    assert len(ledger.find(status=[Status.PENDING], limit=100)) == asked == 12
    daily = back.definitions.resolve_assets_def(CSV).partitions_def
    assert isinstance(daily, dg.MultiPartitionsDefinition)
    there = daily.get_partition_keys(dynamic_partitions_store=back.instance)
    assert of_both in there
    assert DAY not in there


def test_a_downstream_asset_gets_the_file_of_its_runs_scope(windows: Deployment) -> None:
    made = {
        scope: files(windows.run(["csv"], "daily", DAY, {"scope": scope}))["csv"]["key"]
        for scope in windows.source.scopes
    }
    upstream = windows.definitions.resolve_assets_def(CSV)
    seen = []

    @dg.asset(
        ins={"csv": dg.AssetIn(CSV, input_manager_key="export_store")}, partitions_def=upstream.partitions_def
    )
    def delivered(csv: str) -> None:
        seen.append(csv)

    job = dg.Definitions.merge(
        windows.definitions, dg.Definitions(assets=[delivered])
    ).resolve_implicit_global_asset_job_def()

    def deliver(tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(
            instance=windows.instance,
            partition_key=DAY,
            asset_selection=[dg.AssetKey("delivered")],
            tags=tags,
            raise_on_error=False,
            run_config=QUIET,
        )

    for scope in windows.source.scopes:
        assert deliver({SCOPE_TAG: scope}).success
    assert seen == list(made.values())
    assert "A window has files of all scopes" in next(iter(failures(deliver({})).values()))


@pytest.mark.parametrize("by_scope", [True, False])
def test_the_history_of_one_scope_is_exported_under_the_schedules_keys(
    declare: Declare, ledger: Ledger, command: Command, by_scope: bool
) -> None:
    there = declare(by_scope)
    scope, other = there.source.scopes
    days = ["--from", "2026-02-02", "--to", "2026-02-03"]
    asked = ["backfill", "takeoff", "--cadence", "daily", "--scope", name_of(there, scope), *days]
    made = command(*asked, "--format", "csv", "--json")
    assert made.json == {"new": 2, "repeated": 0, "waiting": 0, "completed": 0, "held": 0}
    for request in tick(there):
        assert launch(there, request).success
    assert {job.file_key for job in ledger.find(limit=20)} == {
        f"exports/{scope}/takeoff/daily/{day}.csv" for day in ("2026-02-02", "2026-02-03")
    }
    assert "0 exports are requested (2 completed)" in command(*asked, "--format", "csv").out
    job = there.definitions.resolve_job_def("backfill_scope_job")

    def start(**config: object) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(
            instance=there.instance,
            run_config=QUIET | {"ops": {"backfill_scope": {"config": {"dataset": "takeoff", **config}}}},
            raise_on_error=False,
        )

    assert start(scope=scope, **{"from": "2026-02-02", "to": "2026-02-03"}, formats=["csv", "json"]).success
    assert len(ledger.find(status=[Status.PENDING], limit=20)) == 2
    assert start(scope=other, **{"from": "2026-02-02", "to": "2026-02-02"}, formats=["csv"]).success
    assert [job.scope for job in ledger.find(status=[Status.PENDING], limit=20)].count(other) == 1
    for wrong, message in (
        ({"scope": "nobody"}, "takeoff has no scope 'nobody'"),
        ({}, "Say whose rows"),
        (
            {"scope": scope, "cadence": "hourly"},
            "takeoff has no cadence 'hourly'; it has daily, weekly, monthly",
        ),
        ({"scope": scope, "from": "yesterday"}, "Invalid isoformat string: 'yesterday'"),
    ):
        assert message in next(iter(failures(start(**wrong)).values()))


def test_a_file_that_has_expired_is_made_again(declare: Declare, ledger: Ledger, command: Command) -> None:
    there = declare(False)
    days = ["--from", DAY, "--to", DAY, "--format", "csv"]
    asked = ["backfill", "takeoff", "--cadence", "daily", "--scope", there.scope, *days]
    assert command(*asked).code == 0
    (request,) = tick(there)
    assert launch(there, request).success
    (job,) = ledger.find()
    there.source.rows("UPDATE export_jobs SET expires_at = '2026-01-01T00:00:00.000000+00:00'")
    assert command("purge").code == 0
    assert there.stored() == set()
    assert "1 repeated" in command(*asked).out
    (request,) = tick(there)
    assert request.partition_key == DAY
    assert launch(there, request).success
    assert job.file_key in there.stored()


def test_a_file_under_legal_hold_is_replaced_by_nobody(
    declare: Declare, ledger: Ledger, command: Command
) -> None:
    there = declare(False)
    days = ["--from", DAY, "--to", DAY, "--format", "csv"]
    asked = ["backfill", "takeoff", "--cadence", "daily", "--scope", there.scope, *days]
    assert command(*asked).code == 0
    assert launch(there, tick(there)[0]).success
    (held,) = ledger.find()
    (file,) = (path for path in there.folder.rglob(f"{DAY}.csv") if path.is_file())
    before = file.read_bytes(), file.stat().st_mtime_ns
    assert "1 repeated" in command(*asked, "--again").out
    ledger.hold(held.id, True)
    (request,) = tick(there)
    for late in (
        launch(there, request),
        there.run(["csv"], "daily", DAY, {"scope": there.scope}),
    ):
        assert f"is the file of export job {held.id}, which is under legal hold" in str(failures(late))
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    assert tick(there) == []
    (second,) = [job for job in ledger.find() if job.id != held.id]
    assert second.status is Status.FAILED
    assert f"`export-pipeline hold {held.id} --release` releases it" in str(second.error_message)
    assert "1 held" in command(*asked, "--again").out
    ledger.hold(held.id, False)
    assert there.run(["csv"], "daily", DAY, {"scope": there.scope}).success


def test_the_job_holds_a_lease_and_waits_for_the_ledger(
    declare: Declare, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = declare(False)
    tries: list[bool] = []

    def away_at_first(*arguments: Any, **options: Any) -> BackfillCounts:
        (run_id,) = [run.run_id for run in there.instance.get_runs()]
        until = time.monotonic() + 20
        while not (leased := bool(ledger.leases([run_id]))) and time.monotonic() < until:
            time.sleep(0.05)
        tries.append(leased)
        if len(tries) == 1:
            raise LedgerUnavailableError("It is away.")
        return request_backfill(*arguments, **options)

    monkeypatch.setattr(backfill_job, "request_backfill", away_at_first)
    config = {"dataset": "takeoff", "scope": there.scope, "from": DAY, "to": DAY, "formats": ["csv"]}
    result = there.definitions.resolve_job_def("backfill_scope_job").execute_in_process(
        instance=there.instance, run_config=QUIET | {"ops": {"backfill_scope": {"config": config}}}
    )
    assert result.success
    assert tries == [True, True]
    assert len(ledger.find()) == 1
