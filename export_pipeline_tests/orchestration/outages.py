"""Helpers of tests of outages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from export_pipeline_tests.orchestration.deployment import Deployment


def reload(deployment: Deployment) -> Deployment:
    """The deployment as the settings are now."""
    from export_pipeline.definitions import defs

    return Deployment(deployment.source, deployment.folder, defs(), deployment.instance)


def warnings(deployment: Deployment, result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the lines of a run's log about its waits."""
    logs = deployment.instance.all_logs(result.run_id)
    return [entry.user_message for entry in logs if "Waiting for it" in entry.user_message]


def retry_count(result: dg.ExecuteInProcessResult) -> int:
    return sum(event.is_step_up_for_retry for event in result.all_events)


def once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, act: Callable[[], object]) -> list[int]:
    """Do something before the first call of a function; gives a list that grows with each call."""
    original, calls = getattr(where, name), []

    def acting(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            act()
        return original(*arguments, **options)

    monkeypatch.setattr(where, name, acting)
    return calls
