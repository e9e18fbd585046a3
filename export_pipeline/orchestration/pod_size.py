"""Tags by which Dagster's Kubernetes launcher gives a run a pod of the size that its dataset declares."""

from __future__ import annotations

import json

from export_pipeline.datasets.attributes import Resources

_TAG = "dagster-k8s/config"


def pod_tags(resources: Resources) -> dict[str, str]:
    """Return the tags of a dataset's runs: none if it declares no size, so that dagster.yaml decides.

    Memory and disk are reserved in full: a pod that has less than its limit may be evicted in the middle.
    """
    limits = {"memory": resources.memory, "ephemeral-storage": resources.disk}
    limits = {name: size for name, size in limits.items() if size is not None}
    cpu = {} if resources.cpu is None else {"cpu": f"{resources.cpu:g}"}
    sizes = {"requests": cpu | limits, "limits": limits}
    sizes = {name: each for name, each in sizes.items() if each}
    return {_TAG: json.dumps({"container_config": {"resources": sizes}})} if sizes else {}
