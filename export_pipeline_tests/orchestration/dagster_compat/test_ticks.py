"""Contracts with Dagster about ticks."""

import inspect
from types import SimpleNamespace

import dagster as dg
import pytest

from export_pipeline.orchestration.dagster_compat.ticks import is_preview, sensor_timeout_seconds


def test_else_a_preview_would_work_on_requests_and_a_tick_would_not() -> None:
    """`SensorEvaluationContext.log_key`; sensors/test_previews.py asks Dagster's own UI and daemon for it."""
    keys = (None, ["repository", "sensor", "17"], ["repository", "sensor", "2026-01-01T00:00:00.5"])
    assert [is_preview(SimpleNamespace(log_key=key)) for key in keys] == [False, False, True]  # type: ignore[arg-type]
    assert "log_key" in inspect.signature(dg.SensorEvaluationContext).parameters


def test_else_ticks_would_not_end_before_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sensor_timeout_seconds() == 60
    monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "90")
    assert sensor_timeout_seconds() == 90
