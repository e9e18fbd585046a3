"""Contracts with Dagster about code servers."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry
from dagster._daemon.controller import DagsterDaemonController
from dagster._grpc.constants import GrpcServerCommand
from dagster._time import get_current_timestamp

from export_pipeline.orchestration.dagster_compat.code_servers import keep_code_servers
from export_pipeline.orchestration.dagster_compat.daemon import required_daemons
from export_pipeline.orchestration.instance import prepare_home


@pytest.mark.slow
def test_else_the_daemon_would_start_a_code_server_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        GrpcServerRegistry, "clear_all_grpc_endpoints", GrpcServerRegistry.clear_all_grpc_endpoints
    )
    code, ended = ["old"], [None]
    keep_code_servers(lambda: code[0])
    process: Any = SimpleNamespace(server_process=SimpleNamespace(poll=lambda: ended[0]))
    with GrpcServerRegistry(None, GrpcServerCommand.API_GRPC, 20, 60, False) as registry:

        def is_kept(age: float = 0) -> bool:
            now = get_current_timestamp()
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


def test_the_daemon_keeps_its_code_server(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon asks which daemons it needs, and so makes the queue, before it starts a code server."""
    dagsters = GrpcServerRegistry.clear_all_grpc_endpoints
    monkeypatch.setattr(GrpcServerRegistry, "clear_all_grpc_endpoints", dagsters)
    prepare_home()
    with dg.DagsterInstance.get() as stored:
        assert "QUEUED_RUN_COORDINATOR" in required_daemons(stored)
    assert GrpcServerRegistry.clear_all_grpc_endpoints is not dagsters


def test_the_daemon_clears_its_code_servers_by_this_name() -> None:
    cleared = []
    daemon: Any = DagsterDaemonController.__new__(DagsterDaemonController)
    daemon._grpc_server_registry = SimpleNamespace(clear_all_grpc_endpoints=lambda: cleared.append(True))
    daemon._workspace_process_context = SimpleNamespace(refresh_workspace=lambda: None)
    daemon.check_workspace_freshness(0.0)
    assert cleared
