"""The daemon keeps its code server while it lives and the code is the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation import grpc_server_registry as dagster_registry
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry
from dagster._daemon import controller
from dagster._grpc.server import GrpcServerCommand

from export_pipeline.orchestration.dagster_compat import keep_code_servers
from export_pipeline.orchestration.instance import prepare_home


def test_a_code_server_is_started_anew_only_for_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "clear_all_grpc_endpoints()" in _source(controller)  # what the daemon calls each minute
    monkeypatch.setattr(
        GrpcServerRegistry, "clear_all_grpc_endpoints", GrpcServerRegistry.clear_all_grpc_endpoints
    )
    code, ended = ["old"], [None]
    keep_code_servers(lambda: code[0])
    process: Any = SimpleNamespace(server_process=SimpleNamespace(poll=lambda: ended[0]))
    with GrpcServerRegistry(None, GrpcServerCommand.API_GRPC, 20, 60, False) as registry:

        def is_kept(age: float = 0) -> bool:
            now = dagster_registry.get_current_timestamp()
            registry._active_entries["origin"] = ServerRegistryEntry(
                process=process,
                loadable_target_origin=None,
                creation_timestamp=now - age,  # type: ignore[arg-type]
            )
            registry.clear_all_grpc_endpoints()
            return "origin" in registry._active_entries

        assert is_kept()
        assert not is_kept(age=4000)
        code[0] = "new"
        assert not is_kept()
        assert is_kept()
        ended[0] = 0  # type: ignore[call-overload]
        assert not is_kept()


def _source(module: Any) -> str:
    import inspect

    return inspect.getsource(module)


def test_the_daemon_keeps_it(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon asks which daemons it needs, and so makes the queue, before it starts a code server."""
    dagsters = GrpcServerRegistry.clear_all_grpc_endpoints
    monkeypatch.setattr(GrpcServerRegistry, "clear_all_grpc_endpoints", dagsters)
    prepare_home()
    with dg.DagsterInstance.get() as instance:
        assert "QUEUED_RUN_COORDINATOR" in instance.get_required_daemon_types()
    assert GrpcServerRegistry.clear_all_grpc_endpoints is not dagsters
