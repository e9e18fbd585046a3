from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from export_pipeline.datasets.partition_keys import scope_of_key
from export_pipeline.orchestration.dagster_compat.partitions import last_window
from export_pipeline.orchestration.partitions import WINDOW
from export_pipeline.orchestration.sensors import scopes as scopes_sensors
from export_pipeline_tests.orchestration.deployment import Deployment

ZONES = ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "Europe/Berlin"]


@pytest.fixture(autouse=True)
def _quick(
    read_once: None, make_ledger: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Definitions are loaded in each test. The ledger has its tables, and nothing in them."""
    monkeypatch.setenv("EXPORT_JOBS_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    make_ledger(tmp_path / "ledger.db")


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """One that schedules can open by themselves."""
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def scopes(instance: dg.DagsterInstance) -> Iterator[list[str]]:
    names = ["s1", "s2"]
    instance.add_dynamic_partitions("takeoff_scopes", names)
    yield names
    for name in names:
        instance.delete_dynamic_partition("takeoff_scopes", name)


def definitions(monkeypatch: pytest.MonkeyPatch, zone: str) -> dg.Definitions:
    from export_pipeline.definitions import defs

    monkeypatch.setenv("EXPORT_TIMEZONE", zone)
    return defs()


def ticks(schedule: dg.ScheduleDefinition, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the times at which Dagster's daemon would evaluate a schedule."""
    assert schedule.execution_timezone
    from dagster._utils.schedules import schedule_execution_time_iterator

    for tick in schedule_execution_time_iterator(
        start.timestamp(), str(schedule.cron_schedule), schedule.execution_timezone
    ):
        if tick >= end:
            return
        yield tick


def requests(
    loaded: dg.Definitions, instance: dg.DagsterInstance, schedule: dg.ScheduleDefinition, tick: datetime
) -> list[dg.RunRequest]:
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=tick, repository_def=loaded.get_repository_def()
    ) as context:
        return list(schedule.evaluate_tick(context).run_requests or [])


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_each_day_is_exported_once_through_a_year(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance, scopes: list[str], zone: str
) -> None:
    loaded = definitions(monkeypatch, zone)
    daily = loaded.resolve_schedule_def("takeoff_daily_schedule")
    assert daily.default_status is dg.DefaultScheduleStatus.STOPPED
    assert daily.execution_timezone == zone
    start = datetime(2026, 2, 1, tzinfo=ZoneInfo(zone))
    partitions = loaded.resolve_assets_def(dg.AssetKey(["takeoff", "daily", "csv"])).partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    days = partitions.get_partitions_def_for_dimension(WINDOW)
    assert isinstance(days, dg.TimeWindowPartitionsDefinition)
    at = list(ticks(daily, start, start + timedelta(days=365)))
    windows = [last_window(days, tick) for tick in at]
    expected = [f"{start + timedelta(days=day - 1):%Y-%m-%d}" for day in range(365)]
    assert windows == expected
    (request,) = requests(loaded, instance, daily, at[35])
    assert request.run_key == f"takeoff/daily/{expected[35]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cadence", "tick", "window"),
    [
        ("weekly", datetime(2026, 3, 9, 2, 30), "2026-03-02"),
        ("monthly", datetime(2026, 3, 1, 2, 45), "2026-02-01"),
        ("monthly", datetime(2026, 5, 1, 2, 45), "2026-04-01"),
        ("monthly", datetime(2027, 1, 1, 2, 45), "2026-12-01"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_weeks_and_months_are_exported_when_they_have_ended(
    monkeypatch: pytest.MonkeyPatch,
    instance: dg.DagsterInstance,
    scopes: list[str],
    cadence: str,
    tick: datetime,
    window: str,
    zone: str,
) -> None:
    loaded = definitions(monkeypatch, zone)
    schedule = loaded.resolve_schedule_def(f"takeoff_{cadence}_schedule")
    requested = requests(loaded, instance, schedule, tick.replace(tzinfo=ZoneInfo(zone)))
    assert [request.run_key for request in requested] == [f"takeoff/{cadence}/{window}"]


def test_nothing_is_asked_for_without_scopes(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    loaded = definitions(monkeypatch, "UTC")
    daily = loaded.resolve_schedule_def("takeoff_daily_schedule")
    assert requests(loaded, instance, daily, datetime(2026, 2, 1, 2, 15, tzinfo=UTC)) == []


def test_nothing_is_asked_for_before_the_first_window_has_ended(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance, scopes: list[str]
) -> None:
    loaded = definitions(monkeypatch, "UTC")
    daily = loaded.resolve_schedule_def("takeoff_daily_schedule")
    assert requests(loaded, instance, daily, datetime(2026, 1, 1, 2, 15, tzinfo=UTC)) == []
    assert len(requests(loaded, instance, daily, datetime(2026, 1, 2, 2, 15, tzinfo=UTC))) == 1


@pytest.mark.slow
def test_a_scheduled_run_exports_every_format(deployment: Deployment) -> None:
    job = deployment.definitions.resolve_job_def("takeoff_monthly_job")
    deployment.instance.add_dynamic_partitions("takeoff_scopes", [deployment.scope])
    result = job.execute_in_process(
        instance=deployment.instance, partition_key=f"{deployment.scope}|2026-02-01"
    )
    assert result.success
    folder = f"exports/{deployment.scope}/takeoff/monthly"
    assert {key for key in deployment.stored() if not key.endswith(".manifest.json")} == {
        f"{folder}/2026-02-01{extension}" for extension in (".csv", ".xlsx", ".pdf", ".json", ".xml", ".zip")
    }


def test_the_sensor_follows_the_application(deployment: Deployment) -> None:
    sensor = deployment.definitions.resolve_sensor_def("takeoff_scopes_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING

    def tick() -> dict[str, list[str]]:
        with dg.build_sensor_context(
            instance=deployment.instance,
            resources={"source": deployment.definitions.resources["source"]},
            repository_def=deployment.definitions.get_repository_def(),
        ) as context:
            asked = sensor.evaluate_tick(context).dynamic_partitions_requests or []
        for request in asked:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                deployment.instance.add_dynamic_partitions("takeoff_scopes", list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    deployment.instance.delete_dynamic_partition("takeoff_scopes", key)
        return {type(request).__name__[:3]: list(request.partition_keys) for request in asked}

    keys = {scope_of_key(key): key for key in tick()["Add"]}
    assert set(keys) == set(deployment.source.scopes)
    assert tick() == {}
    gone, stays = deployment.source.scopes
    deployment.source.rows(f"DELETE FROM projects WHERE id = '{gone}'")
    deployment.source.rows(f"UPDATE projects SET name = 'Renamed' WHERE id = '{stays}'")
    assert tick() == {"Del": [keys[gone]]}
    assert deployment.instance.get_dynamic_partitions("takeoff_scopes") == [keys[stays]]
    deployment.source.path.unlink()
    with pytest.raises(Exception, match="source database cannot be reached"):
        tick()
    assert deployment.instance.get_dynamic_partitions("takeoff_scopes") == [keys[stays]]


def test_a_source_without_the_tables_is_passed_over_in_one_sentence(deployment: Deployment) -> None:
    deployment.source.rows("DROP TABLE projects")
    for dataset, message in (("takeoff", "no such table: projects"), ("records", "no table 'accounts'")):
        sensor = deployment.definitions.resolve_sensor_def(f"{dataset}_scopes_sensor")
        with dg.build_sensor_context(
            instance=deployment.instance,
            resources={"source": deployment.definitions.resources["source"]},
            repository_def=deployment.definitions.get_repository_def(),
        ) as context:
            skipped = sensor.evaluate_tick(context).skip_message or ""
        assert message in skipped
        assert f"delete export_pipeline/defs/{dataset}." in skipped
        assert "\n" not in skipped


def test_thousands_of_scopes_are_added_at_once_and_deleted_in_parts(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes_sensors, "_MAX_REQUESTED", 1)
    sensor = deployment.definitions.resolve_sensor_def("takeoff_scopes_sensor")

    def tick(log_key: list[str] | None = None) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(
            instance=deployment.instance,
            resources={"source": deployment.definitions.resources["source"]},
            repository_def=deployment.definitions.get_repository_def(),
        ) as context:
            if log_key:
                context._log_key = log_key
            return sensor.evaluate_tick(context)

    preview = tick(["a", "preview at noon"])
    assert [len(request.partition_keys) for request in preview.dynamic_partitions_requests or []] == [1]
    assert deployment.instance.get_dynamic_partitions("takeoff_scopes") == []
    first = tick()
    assert (first.dynamic_partitions_requests, first.skip_message) == ([], "2 scopes are added.")
    assert len(deployment.instance.get_dynamic_partitions("takeoff_scopes")) == 2
    deployment.instance.add_dynamic_partitions("takeoff_scopes", ["gone", "gone too"])
    (request,) = tick().dynamic_partitions_requests or []
    assert isinstance(request, dg.DeleteDynamicPartitionsRequest)
    assert request.partition_keys == ["gone"]
