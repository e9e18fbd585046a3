"""Runs the service with uvicorn."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol  # bounds the size of headers

from export_pipeline.api.app import build_app
from export_pipeline.api.change_notifier import ChangeNotifier
from export_pipeline.datasets.loading import DefsError
from export_pipeline.settings import Settings

_MAX_HEADER_BYTES = 16 << 10
_HEADER_SECONDS = 15.0
_SEND_SECONDS = 60.0
"""Time in which a client must take the next 48 KiB of an answer, which the buffer must lose to go on."""
_END_SECONDS = 5


class TimedProtocol(H11Protocol):
    """Closes a connection whose next request does not arrive in time, however slowly its bytes come.

    So it does if the client does not take an answer in time.
    """

    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()
        self._stop_stalled()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(_SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stalled()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(_HEADER_SECONDS, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class _Server(uvicorn.Server):
    """A server that wakes waiting calls when it is about to end."""

    def __init__(self, config: uvicorn.Config, changes: ChangeNotifier) -> None:
        super().__init__(config)
        self._changes = changes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._changes.close()
        super().handle_exit(sig, frame)


def _fork_workers(app: FastAPI) -> None:
    """Load datasets, then fork the parent of the processes that make small exports."""
    try:
        datasets = app.state.service.datasets
    except DefsError:  # the application logs it; the processes could not load them either
        return
    app.state.pool.fork_server.fork(datasets)
    app.state.service.scopes.ask = app.state.pool.ask_source
    threading.Thread(target=app.state.pool.prepare, name="prepare", daemon=True).start()


def run_server(settings: Settings, listener: socket.socket) -> None:
    """Serve until a signal comes.

    Args:
        listener: A bound socket.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app = build_app(settings)
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=2_000,
        timeout_keep_alive=int(_HEADER_SECONDS),
        timeout_graceful_shutdown=_END_SECONDS,
        proxy_headers=True,
    )
    _fork_workers(app)
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has ended in order
        _Server(config, app.state.changes).run([listener])
