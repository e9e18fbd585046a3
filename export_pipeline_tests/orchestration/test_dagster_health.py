"""Findings about Dagster: its daemon, sensors, clocks and database."""

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from export_pipeline.orchestration import dagster_health
from export_pipeline.orchestration.instance import prepare_home


@pytest.mark.slow
def test_a_dagster_that_never_ran_and_one_that_runs(environment: dict[str, str]) -> None:
    """By an instance of its own, with the heartbeats and sensor states that its daemon would write."""
    import dagster as dg
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._daemon.types import DaemonHeartbeat

    assert [finding[0] for finding in dagster_health.findings()] == ["daemon_not_running"]
    with dg.DagsterInstance.get() as instance:
        required = instance.get_required_daemon_types()

        def beat(names: Any, seconds_ago: float) -> None:
            at = datetime.now(UTC).timestamp() - seconds_ago
            for name in names:
                instance.add_daemon_heartbeat(DaemonHeartbeat(at, name, "d", None))

        beat(required, 3600)
        (finding,) = dagster_health.findings()
        assert finding[0] == "daemon_not_running"
        assert finding[3] is not None
        beat(required, 1)
        assert list(dagster_health.findings()) == []
        beat(required[:1], 3600)
        assert [finding[0] for finding in dagster_health.findings()] == ["daemon_silent"]
        beat(required, 1)
        origin = RemoteInstigatorOrigin(
            RemoteRepositoryOrigin(
                InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), location_name="x"), "r"
            ),
            "requests_sensor",
        )
        state = InstigatorState(
            origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData(min_interval=1)
        )
        instance.add_instigator_state(state)
        (finding,) = dagster_health.findings()
        assert finding[:2] == ("sensor_off", "requests_sensor is off.")


def test_a_dagster_whose_database_is_down(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    (finding,) = dagster_health.findings()
    assert finding[0] == "dagster_unreachable"
    assert "hunter2" not in str(finding)


def test_a_broken_database_of_dagster_is_reported_without_its_statement(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        cause = sqlite3.DatabaseError("database disk image is malformed")
        cause.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise sa.exc.DatabaseError("SELECT 1 FROM run_tags WHERE value = ?", ("Anna",), cause)

    monkeypatch.setattr(dagster_health, "heartbeats", broken)
    (finding,) = dagster_health.findings()
    assert "cannot be used: database disk image is malformed" in finding[1]
    assert "SELECT" not in finding[1]
    assert "Anna" not in finding[1]


@pytest.mark.parametrize(
    ("tick_seconds", "database_seconds", "code"),
    [
        (7200, 0, "clock_set_back"),  # the clock of this machine, and of the database, was set back
        (-1800, 0, "sensors_silent"),
        (-60, 3600, "sensors_silent"),  # this machine is the daemon's, whose clock was set back
        (-60, 0, None),
    ],
)
def test_a_clock_that_was_set_back_is_a_finding(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tick_seconds: int,
    database_seconds: int,
    code: str | None,
) -> None:
    prepare_home()
    now = datetime.now(UTC)
    monkeypatch.setattr(dagster_health, "_clocks", lambda: [now, now + timedelta(seconds=database_seconds)])
    with dg.DagsterInstance.get() as instance:
        state = InstigatorState(_origin(), InstigatorType.SENSOR, InstigatorStatus.RUNNING, None)
        instance.add_instigator_state(state)
        tick = TickData(
            state.instigator_origin_id, "requests_sensor", InstigatorType.SENSOR, TickStatus.SKIPPED,
            now.timestamp() + tick_seconds, selector_id=state.selector_id,
        )  # fmt: skip
        instance.create_tick(tick)
        findings = list(dagster_health._sensors(instance, daemon_runs=True))
    assert [finding[0] for finding in findings] == ([code] if code else [])


def _origin() -> RemoteInstigatorOrigin:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="export_pipeline.definitions"))
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), "requests_sensor")
