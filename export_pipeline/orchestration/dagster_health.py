"""Health checks of Dagster: its instance, its daemon and the sensors of this deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg
import sqlalchemy as sa

from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.database import opened_engine, transaction
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.orchestration.dagster_compat.code_locations import repository_of
from export_pipeline.orchestration.dagster_compat.daemon import (
    SensorState,
    Tick,
    heartbeats,
    required_daemons,
    sensor_states,
)
from export_pipeline.orchestration.dagster_compat.launchers import launcher_of
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.redaction import hide_credentials, hide_in_error
from export_pipeline.settings import SettingsError, load_settings

DaemonCode = Literal[
    "broker_unreachable",
    "clock_set_back",
    "code_broken",
    "daemon_not_running",
    "daemon_silent",
    "dagster_unreachable",
    "queue_unserved",
    "sensor_failing",
    "sensor_off",
    "sensors_silent",
]
"""Codes of findings about Dagster; docs/operating.md explains each."""

DagsterFinding = tuple[DaemonCode, str, str, datetime | None]
"""Code, problem, cure, and time since which it exists."""

_SILENT_SECONDS = 180.0
"""Daemons send a heartbeat every 30 s."""
_AHEAD = timedelta(minutes=1)
_STALE = timedelta(minutes=10)
"""At least one sensor runs every few seconds."""
_START = "Start it: `export-pipeline dev`, or `dagster-daemon run` as a service of its own."


def findings() -> Iterator[DagsterFinding]:
    """Yield the findings about the instance."""
    try:
        prepare_home()
        instance = dg.DagsterInstance.get()
        beats = heartbeats(instance)
    except SettingsError as error:
        do = "Start its database or correct DAGSTER_POSTGRES_URL."
        if str(error).startswith("DAGSTER_HOME"):
            do = "Free some space there or mount it writable, let this user write to it, or set DAGSTER_HOME."
        yield "dagster_unreachable", str(error), do, None
        return
    except Exception as error:  # depends on the storage
        hide_in_error(error)
        reason = hide_credentials(" ".join(str(error).split()))[:300]
        do = "Start its database, or correct DAGSTER_HOME and DAGSTER_POSTGRES_URL."
        yield "dagster_unreachable", f"Dagster's own database cannot be used: {reason}", do, None
        return
    with instance:
        silent = list(_silent(required_daemons(instance), beats))
        yield from silent
        yield from _sensors(instance, daemon_runs=not silent)
        yield from _workers(instance)


def _workers(instance: dg.DagsterInstance) -> Iterator[DagsterFinding]:
    """Yield the queues of Celery from which no worker takes runs."""
    unserved_queues = getattr(launcher_of(instance), "unserved_queues", None)
    if unserved_queues is None:
        return
    queues = unserved_queues()
    if queues is None:
        wrong = "Celery's broker gives no answer: no run can be given to a worker."
        yield (
            "broker_unreachable",
            wrong,
            "Start it, or correct the launcher's `broker` in dagster.yaml.",
            None,
        )
        return
    for queue, runs in queues.items():
        waiting = f"; {runs} {'run waits' if runs == 1 else 'runs wait'} there" if runs else ""
        yield (
            "queue_unserved",
            f"No Celery worker takes runs from the queue {queue}{waiting}.",
            "Start a worker with this version of the code, settings and datasets; requests of an earlier "
            "version that has no worker any more are restarted.",
            None,
        )


def _silent(required: Sequence[str], beats: Mapping[str, float]) -> Iterator[DagsterFinding]:
    """Yield the daemons without a recent heartbeat. If all are silent, yield one finding."""
    now = datetime.now(UTC).timestamp()
    last = {name: beats.get(name) for name in required}
    quiet = {name: at for name, at in last.items() if at is None or now - at > _SILENT_SECONDS}
    if not quiet:
        return
    since = [at for at in quiet.values() if at is not None]
    when = datetime.fromtimestamp(max(since), UTC) if since else None
    if len(quiet) < len(required):
        names = ", ".join(sorted(quiet))
        wrong = f"Parts of the Dagster daemon are silent: {names}."
        yield "daemon_silent", wrong, "Look at the daemon's log, and restart it.", when
    elif when is None:
        yield "daemon_not_running", "The Dagster daemon has never run on this instance.", _START, None
    else:
        yield "daemon_not_running", "The Dagster daemon does not run: no requests are begun.", _START, when


def _sensors(instance: dg.DagsterInstance, daemon_runs: bool) -> Iterator[DagsterFinding]:
    """Yield sensors that are off but should be on, and sensors whose last tick failed."""
    from export_pipeline.definitions import defs

    try:
        declared = repository_of(defs()).sensor_defs
    except Exception as error:  # whatever a wrong defs.yaml or setting raises
        reason = hide_credentials(" ".join(str(error).split()))[:300]
        yield (
            "code_broken",
            f"The code location does not load: {reason}",
            "Run `export-pipeline datasets`.",
            None,
        )
        return
    clocks = _clocks()
    newest: datetime | None = None
    states: dict[str, list[SensorState]] = {}
    for state in sensor_states(instance):
        states.setdefault(state.name, []).append(state)
    for sensor in declared:
        known = states.get(sensor.name, [])
        by_default = sensor.default_status is dg.DefaultSensorStatus.RUNNING
        stopped = [state for state in known if state.is_stopped]
        if len(stopped) == len(known) and (stopped or not by_default):
            command = f"dagster sensor start -w workspace.yaml {sensor.name}"
            do = f"Switch it on: in Dagster's UI under Automation, or `{command}`."
            yield "sensor_off", f"{sensor.name} is off.", do, None
        elif daemon_runs:
            for state in known:
                tick = state.last_tick()
                if tick is None:
                    continue
                newest = max(tick.at, newest or tick.at)
                if tick.at - min(clocks) > _AHEAD:
                    when = f"{tick.at:%Y-%m-%d %H:%M} UTC"
                    wrong = f"{state.name} does not run before {when}: the clock was set back."
                    do = "Set the clock of the daemon's machine right; its sensors wait until then."
                    yield "clock_set_back", wrong, do, None
                    return  # every other sensor would report the same
                yield from _failure(state.name, tick)
    if newest and max(clocks) - newest > _STALE:
        wrong = f"No sensor has run since {newest:%Y-%m-%d %H:%M} UTC."
        do = "Compare the clock of the daemon's machine with the database's, then restart the daemon."
        yield "sensors_silent", wrong, do, newest


def _clocks() -> list[datetime]:
    """Return the time of this machine, and that of the ledger's database if it is available."""
    clocks = [datetime.now(UTC)]
    with (
        suppress(LedgerError),
        opened_engine(load_settings().jobs_url) as engine,
        transaction(engine, write=False) as connection,
    ):
        clocks.append(connection.scalars(sa.select(utc_now())).one())
    return clocks


def _failure(sensor: str, tick: Tick) -> Iterator[DagsterFinding]:
    if tick.error is not None:
        reason = hide_credentials(" ".join(tick.error.split()))[:300]
        do = "Its ticks in Dagster's UI, under Automation, show the whole error."
        yield "sensor_failing", f"{sensor} failed when it last ran: {reason}", do, tick.at
