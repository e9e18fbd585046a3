"""Code servers that the daemon starts."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry

_LONGEST_SECONDS = 3600.0


def keep_code_servers(version: Callable[[], object]) -> None:
    """Reuse a code server while it is alive and its code is unchanged.

    Dagster's daemon starts a code server every minute, which costs a tenth of a core. With this it starts one
    every hour, so that memory which a code server has accumulated is still released.

    Args:
        version: Returns a value that changes only when the code changes.
    """
    known = version()

    def clear(registry: GrpcServerRegistry) -> None:
        nonlocal known
        now, entries = version(), registry._active_entries
        same, known = now == known, now
        with registry._lock:
            for origin, entry in list(entries.items()):
                young = time.time() - entry.creation_timestamp < _LONGEST_SECONDS
                lives = isinstance(entry, ServerRegistryEntry) and entry.process.server_process.poll() is None
                if not (same and young and lives):
                    del entries[origin]
        # The daemon loads its workspace anew each minute. The definitions before it are tens of thousands of
        # objects in reference cycles, which Python by itself collects only after several minutes.
        gc.collect()

    GrpcServerRegistry.clear_all_grpc_endpoints = clear  # type: ignore[method-assign]
