"""Daemons and the sensors that they evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType, TickStatus


def heartbeats(instance: dg.DagsterInstance) -> dict[str, float]:
    """Return the time (seconds since the epoch) of the last heartbeat of each daemon, by its name."""
    return {name: beat.timestamp for name, beat in instance.get_daemon_heartbeats().items()}


def required_daemons(instance: dg.DagsterInstance) -> list[str]:
    """Return the names of the daemons that the instance needs."""
    return list(instance.get_required_daemon_types())


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of a sensor: its time, and the message of its innermost error if it failed."""

    at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class SensorState:
    """The state of a sensor in the instance; `last_tick` reads its newest tick, if there is one."""

    name: str
    is_stopped: bool
    last_tick: Callable[[], Tick | None]


def sensor_states(instance: dg.DagsterInstance) -> list[SensorState]:
    """Return the states of all sensors that the instance knows."""

    def reader(origin_id: str, selector_id: str) -> Callable[[], Tick | None]:
        return lambda: _last_tick(instance, origin_id, selector_id)

    return [
        SensorState(
            state.instigator_name,
            state.status is InstigatorStatus.STOPPED,
            reader(state.instigator_origin_id, state.selector_id),
        )
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    ]


def _last_tick(instance: dg.DagsterInstance, origin_id: str, selector_id: str) -> Tick | None:
    ticks = instance.get_ticks(origin_id, selector_id, limit=1)
    if not ticks:
        return None
    error, message = ticks[0].error, None
    if ticks[0].status is TickStatus.FAILURE:
        while error and error.cause:  # the outer errors only report that there is an inner one
            error = error.cause
        message = error.message if error else "no reason given"
    return Tick(datetime.fromtimestamp(ticks[0].timestamp, UTC), message)
