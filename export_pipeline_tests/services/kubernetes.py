"""A cluster without machines: answers the calls of Kubernetes' client in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kubernetes
import pytest
from kubernetes import client


class Cluster:
    """An API server that accepts all and knows one pod.

    Attributes:
        calls: Calls so far, as (verb, resource) of a Role.
        jobs: Jobs that were created, as JSON values.
    """

    def __init__(self) -> None:
        self.calls: set[tuple[str, str]] = set()
        self.jobs: list[dict[str, Any]] = []

    def call(self, api: Any, path: str, method: str, params: dict[str, str], query: Any, body: Any) -> Any:
        parts = path.partition("{namespace}/")[2].split("/")
        resource = "/".join(part for part in parts if not part.startswith("{"))
        verb = {"POST": "create", "DELETE": "delete", "GET": "get" if "{name}" in parts else "list"}[method]
        self.calls.add((verb, resource))
        assert params["namespace"] == "exports"
        match verb, resource:
            case "create", "jobs":
                self.jobs.append(api.sanitize_for_serialization(body))
                self.start(self.jobs[-1])
            case "get", "jobs/status":
                return client.V1Job(status=self.status(params["name"]))
            case "list", "pods":
                name = dict(query)["labelSelector"].removeprefix("job-name=")
                return client.V1PodList(items=[client.V1Pod(metadata=client.V1ObjectMeta(name=name))])
            case "delete", "pods":
                self.stop(params["name"])
        return None

    def start(self, job: dict[str, Any]) -> None:
        """Start the pod of a Job."""

    def stop(self, name: str) -> None:
        """Stop the pod of a Job."""

    def status(self, name: str) -> client.V1JobStatus:
        return client.V1JobStatus(active=1)


class Pods(Cluster):
    """A cluster whose pods are processes of this machine, with the settings of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job: dict[str, Any]) -> None:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        environment = os.environ | {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
        del environment["POD_NAMESPACE"]  # which pods of runs do not have
        self.processes[job["metadata"]["name"]] = subprocess.Popen(
            container["args"], env=environment, start_new_session=True
        )

    def stop(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGTERM)

    def status(self, name: str) -> client.V1JobStatus:
        match self.processes[name].poll():
            case None:
                return client.V1JobStatus(active=1)
            case 0:
                return client.V1JobStatus(succeeded=1)
        return client.V1JobStatus(failed=1)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@contextmanager
def answering(cluster: Cluster) -> Iterator[None]:
    """Let a cluster answer all clients of this process, which is in a pod of the namespace `exports`."""

    def call_api(
        api: Any, path: str, method: str, params: Any, query: Any, *_: Any, body: Any = None, **__: Any
    ) -> Any:
        return cluster.call(api, path, method, params, query, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POD_NAMESPACE", "exports")
        patch.setattr(kubernetes.config, "load_incluster_config", lambda **_: None)
        patch.setattr(client.ApiClient, "call_api", call_api)
        yield
