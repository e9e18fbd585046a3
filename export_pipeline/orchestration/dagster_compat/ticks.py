"""Ticks of sensors: previews and the time that a tick may take."""

from __future__ import annotations

import sys

import dagster as dg
from dagster._grpc.utils import default_sensor_grpc_timeout

NOT_PREVIEWED = (
    "A preview does nothing: a real tick of this sensor works on requests, mails or files itself. "
    "`export-pipeline jobs` and `export-pipeline health` say what waits."
)
"""Skip reason of a sensor with side effects when it is previewed."""


def is_preview(context: dg.SensorEvaluationContext) -> bool:
    """Return whether this evaluation of a sensor is a dry run, such as the UI's "Preview tick".

    The log key of a real tick ends with the tick's number; the log key of a preview ends with a time. A test
    that calls a sensor directly has no log key.
    """
    return context.log_key is not None and not context.log_key[-1].isdigit()


def sensor_timeout_seconds() -> float:
    """Return Dagster's timeout of a tick: DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS, by default 60 s."""
    return float(default_sensor_grpc_timeout())


def set_sensor_interval(seconds: float) -> None:
    """Set how often the daemon of this process looks for due sensors; Dagster's five seconds are fixed.

    A tick of `requests_sensor` ends with the requests it takes. Those that come next wait for the next look.
    Nothing happens in a process that is not the daemon.
    """
    if (daemon := sys.modules.get("dagster._daemon.sensor")) is not None:
        daemon.MIN_INTERVAL_LOOP_TIME = seconds  # type: ignore[attr-defined]
