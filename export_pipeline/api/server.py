"""Runs the service with uvicorn."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from types import FrameType

import uvicorn

from export_pipeline.api.app import build_app
from export_pipeline.api.changes import Changes
from export_pipeline.settings import Settings

_MAX_HEADER_BYTES = 16 << 10
_END_SECONDS = 5


class _Server(uvicorn.Server):
    """A server that wakes those who wait for an export when it is about to end."""

    def __init__(self, config: uvicorn.Config, changes: Changes) -> None:
        super().__init__(config)
        self._changes = changes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._changes.close()
        super().handle_exit(sig, frame)


def run_server(settings: Settings, listener: socket.socket) -> None:
    """Serve until a signal comes.

    Args:
        listener: A bound socket.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app = build_app(settings)
    config = uvicorn.Config(
        app,
        http="h11",  # bounds the size of headers
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=2_000,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_END_SECONDS,
        proxy_headers=True,
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has ended in order
        _Server(config, app.state.changes).run([listener])
