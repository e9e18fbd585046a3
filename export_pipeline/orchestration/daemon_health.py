"""What is wrong with Dagster itself: its instance, its daemon, the sensors of this deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, TickStatus

from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.redaction import hide_credentials
from export_pipeline.settings import SettingsError

Told = tuple[str, str, str, datetime | None]
"""Code, what is wrong, what to do, since when."""

_SILENT_SECONDS = 180.0
"""Daemons say every half minute that they live."""
_AHEAD = timedelta(minutes=1)
_START = "Start it: `export-pipeline dev`, or `dagster-daemon run` as a service of its own."


def findings() -> Iterator[Told]:
    """What is wrong, as far as the instance tells."""
    try:
        prepare_home()
        instance = dg.DagsterInstance.get()
        heartbeats = {name: beat.timestamp for name, beat in instance.get_daemon_heartbeats().items()}
    except SettingsError as error:
        yield "dagster_unreachable", str(error), "Start its database or correct DAGSTER_POSTGRES_URL.", None
        return
    except Exception as error:  # storage of many kinds
        said = hide_credentials(" ".join(str(error).split()))[:300]
        do = "Start its database, or correct DAGSTER_HOME and DAGSTER_POSTGRES_URL."
        yield "dagster_unreachable", f"Dagster's own database cannot be used: {said}", do, None
        return
    with instance:
        silent = list(_silent(instance.get_required_daemon_types(), heartbeats))
        yield from silent
        yield from _sensors(instance, daemon_runs=not silent)


def _silent(required: Sequence[str], heartbeats: Mapping[str, float]) -> Iterator[Told]:
    """Daemons that have not said for a while that they live; in one line if it is all of them."""
    now = datetime.now(UTC).timestamp()
    last = {name: heartbeats.get(name) for name in required}
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


def _sensors(instance: dg.DagsterInstance, daemon_runs: bool) -> Iterator[Told]:
    """Sensors that should be on and are not, or that failed when they last ran."""
    from export_pipeline.definitions import defs

    try:
        declared = defs().get_repository_def().sensor_defs
    except Exception as error:  # whatever a wrong defs.yaml or setting raises
        said = hide_credentials(" ".join(str(error).split()))[:300]
        yield (
            "code_broken",
            f"The code location does not load: {said}",
            "Run `export-pipeline datasets`.",
            None,
        )
        return
    states: dict[str, list[InstigatorState]] = {}
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        states.setdefault(state.instigator_name, []).append(state)
    for sensor in declared:
        known = states.get(sensor.name, [])
        by_default = sensor.default_status is dg.DefaultSensorStatus.RUNNING
        stopped = [state for state in known if state.status is InstigatorStatus.STOPPED]
        if len(stopped) == len(known) and (stopped or not by_default):
            command = f"dagster sensor start -w workspace.yaml {sensor.name}"
            do = f"Switch it on: in Dagster's UI under Automation, or `{command}`."
            yield "sensor_off", f"{sensor.name} is off.", do, None
        elif daemon_runs:
            for told in _last_tick(instance, known):
                yield told
                if told[0] == "clock_set_back":  # all others say the same
                    return


def _last_tick(instance: dg.DagsterInstance, states: Sequence[InstigatorState]) -> Iterator[Told]:
    now = datetime.now(UTC)
    for state in states:
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        last = datetime.fromtimestamp(ticks[0].timestamp, UTC) if ticks else now
        if last - now > _AHEAD:
            when = f"{last:%Y-%m-%d %H:%M} UTC"
            wrong = f"{state.instigator_name} does not run before {when}: the clock was set back."
            do = "Set the clock of the daemon's machine right; its sensors wait until then."
            yield "clock_set_back", wrong, do, None
            return
        if ticks and ticks[0].status is TickStatus.FAILURE:
            error = ticks[0].error
            while error and error.cause:  # the outer ones only say that there was one
                error = error.cause
            said = hide_credentials(" ".join(error.message.split()))[:300] if error else "no reason given"
            at = datetime.fromtimestamp(ticks[0].timestamp, UTC)
            do = "Its ticks in Dagster's UI, under Automation, show the whole error."
            yield "sensor_failing", f"{state.instigator_name} failed when it last ran: {said}", do, at
