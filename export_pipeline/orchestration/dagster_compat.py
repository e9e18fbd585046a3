"""What this project uses of Dagster that Dagster does not promise to keep; a test holds each name."""

from __future__ import annotations

import dagster as dg
from dagster._grpc.utils import default_sensor_grpc_timeout

NOT_PREVIEWED = (
    "A preview does nothing: a real tick of this sensor works on requests, mails or files itself. "
    "`export-pipeline jobs` and `export-pipeline health` say what waits."
)
"""The reason that a sensor with side effects gives for a preview."""


def is_preview(context: dg.SensorEvaluationContext) -> bool:
    """Return whether a sensor is evaluated only to show what it would do, as the UI's "Preview tick" does.

    The key of a real tick's log ends with the tick's number, that of a preview with a time. A test that
    calls a sensor directly has none.
    """
    return context.log_key is not None and not context.log_key[-1].isdigit()


def sensor_timeout_seconds() -> float:
    """Return how long Dagster waits for a tick: DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS, or a minute."""
    return float(default_sensor_grpc_timeout())
