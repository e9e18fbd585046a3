"""Contracts with Dagster about ticks."""

import inspect
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._daemon import sensor as sensor_daemon

from export_pipeline.orchestration.dagster_compat.ticks import (
    is_preview,
    sensor_timeout_seconds,
    set_sensor_interval,
)
from export_pipeline.orchestration.instance import prepare_home


def test_else_a_preview_would_work_on_requests_and_a_tick_would_not() -> None:
    """`SensorEvaluationContext.log_key`; sensors/test_previews.py asks Dagster's own UI and daemon for it."""
    keys = (None, ["repository", "sensor", "17"], ["repository", "sensor", "2026-01-01T00:00:00.5"])
    assert [is_preview(SimpleNamespace(log_key=key)) for key in keys] == [False, False, True]  # type: ignore[arg-type]
    assert "log_key" in inspect.signature(dg.SensorEvaluationContext).parameters


def test_else_ticks_would_not_end_before_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sensor_timeout_seconds() == 60
    monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "90")
    assert sensor_timeout_seconds() == 90


def test_else_a_request_would_wait_five_seconds_for_a_look(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon waits between its looks as long as the module says when it waits."""

    def no_sensors(*_: Any, **__: Any) -> Iterator[None]:
        yield None

    monkeypatch.setattr(sensor_daemon, "MIN_INTERVAL_LOOP_TIME", 5)
    monkeypatch.setattr(sensor_daemon, "execute_sensor_iteration", no_sensors)
    waits: list[float] = []
    workspace: Any = SimpleNamespace(instance=dg.DagsterInstance.ephemeral())
    shutdown: Any = SimpleNamespace(wait=waits.append)
    loop = sensor_daemon.execute_sensor_iteration_loop(workspace, logging.getLogger(), shutdown)

    def wait_once() -> float:
        count = len(waits)
        while len(waits) == count:
            next(loop)
        return waits[-1]

    assert wait_once() == pytest.approx(5, abs=0.5)
    set_sensor_interval(2)
    assert wait_once() == pytest.approx(2, abs=0.5)
    prepare_home()
    with dg.DagsterInstance.get():
        assert wait_once() == pytest.approx(1, abs=0.5)
