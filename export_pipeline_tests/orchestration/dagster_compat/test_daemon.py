"""Contracts with Dagster about daemons and sensors."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from export_pipeline.orchestration.dagster_compat.daemon import (
    SensorState,
    Tick,
    heartbeats,
    required_daemons,
    sensor_states,
)
from export_pipeline.orchestration.instance import prepare_home


def test_else_health_would_not_see_a_dead_daemon(environment: dict[str, str]) -> None:
    prepare_home()
    with dg.DagsterInstance.get() as stored:
        assert {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= set(
            required_daemons(stored)
        )
        assert heartbeats(stored) == {}
        stored.add_daemon_heartbeat(DaemonHeartbeat(12.5, "SENSOR", "d", None))
        assert heartbeats(stored) == {"SENSOR": 12.5}


def test_else_health_would_not_see_a_sensor_that_is_off_or_fails(environment: dict[str, str]) -> None:
    prepare_home()
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(
            InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), location_name="x"), "r"
        ),
        "purge_sensor",
    )
    data = SensorInstigatorData(min_interval=1)
    with dg.DagsterInstance.get() as stored:
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, data)
        stored.add_instigator_state(state)
        (seen,) = sensor_states(stored)
        assert isinstance(seen, SensorState)
        assert (seen.name, seen.is_stopped, seen.last_tick()) == ("purge_sensor", True, None)
        inner = SerializableErrorInfo("ValueError: no", [], "ValueError")
        error = SerializableErrorInfo("outer", [], "Outer", cause=inner)
        at = datetime(2026, 1, 2, tzinfo=UTC)
        for status, message in ((TickStatus.FAILURE, error), (TickStatus.SKIPPED, None)):
            stored.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name="purge_sensor",
                    instigator_type=InstigatorType.SENSOR,
                    status=status,
                    timestamp=at.timestamp(),
                    selector_id=state.selector_id,
                    error=message,
                )
            )
            (seen,) = sensor_states(stored)
            assert seen.last_tick() == Tick(at, "ValueError: no" if message else None)
            at += timedelta(seconds=1)
