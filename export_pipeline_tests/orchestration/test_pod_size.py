"""A dataset's `resources` become the tag from which Kubernetes' launcher takes the size of a run's pod."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from export_pipeline.datasets.attributes import Resources
from export_pipeline.orchestration.pod_size import pod_tags
from export_pipeline.orchestration.sensors.queue import _dagster_jobs


def resources_of(tags: dict[str, str]) -> Any:
    assert tags.keys() == {"dagster-k8s/config"}
    return json.loads(tags["dagster-k8s/config"])["container_config"]["resources"]


def test_a_size_is_reserved_and_is_the_limit() -> None:
    limits = {"memory": "4Gi", "ephemeral-storage": "50Gi"}
    tags = pod_tags(Resources(cpu=1.5, memory="4Gi", disk="50Gi"))
    assert resources_of(tags) == {"requests": {"cpu": "1.5"} | limits, "limits": limits}
    assert resources_of(pod_tags(Resources(cpu=2))) == {"requests": {"cpu": "2"}}
    assert pod_tags(Resources()) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu": 0},
        {"memory": "4G"},
        {"memory": "0Gi"},
        {"memory": 4},
        {"disk": "1.5Gi"},
        {"disk": "50Gi\n"},
        {"gpu": 1},
    ],
)
def test_other_sizes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Resources.model_validate(wrong)


def test_every_job_of_a_dataset_has_its_size() -> None:
    size = Resources(memory="2Gi")
    cadence = SimpleNamespace(job=lambda tags: tags)
    large = SimpleNamespace(formats=["csv"], resources=size, regular=lambda: {"daily": cadence})
    usual = SimpleNamespace(formats=["csv"], resources=Resources(), regular=lambda: {"daily": cadence})
    on_demand, daily, other, other_daily = _dagster_jobs({"large": large, "usual": usual})  # type: ignore[dict-item]
    assert on_demand.run_tags == daily == pod_tags(size)
    assert other.run_tags == other_daily == {}
