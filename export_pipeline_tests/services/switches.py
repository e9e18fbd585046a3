"""Servers that a test stops and starts again, with the same data, port and password."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

from export_pipeline_tests.services import postgres, s3
from export_pipeline_tests.services.process import free_ports, running, server_folder
from export_pipeline_tests.tools import require_tool


class Switch:
    """A server that is on until it is switched off."""

    def __init__(self, serve: Callable[[], AbstractContextManager[None]]) -> None:
        self._serve, self._running = serve, ExitStack()
        self._timer: threading.Timer | None = None
        self.on()

    def on(self) -> None:
        """Start it, and wait until it answers."""
        self._running.enter_context(self._serve())

    def off(self, seconds: float | None = None) -> None:
        """Stop it; it comes back by itself after so many seconds, if they are given."""
        self._running.close()
        if seconds is not None:
            self._timer = threading.Timer(seconds, self.on)
            self._timer.start()

    def close(self) -> None:
        """Stop it for good."""
        if self._timer is not None:
            self._timer.join()
        self._running.close()


@contextmanager
def postgres_switch() -> Iterator[tuple[Switch, postgres.PostgresServer]]:
    """A PostgreSQL of the test's own. Whoever is connected when it stops is thrown out."""
    with server_folder("pg") as folder:
        program, password = postgres.initialize(folder)
        server = postgres.PostgresServer(free_ports(1)[0], password)
        command = postgres.command(program, folder, server)

        def serve() -> AbstractContextManager[None]:
            return running(command, _logs(folder), ready=lambda: postgres.answers(server), stop_signal="INT")

        with closing(Switch(serve)) as switch:
            yield switch, server


@contextmanager
def s3_switch() -> Iterator[tuple[Switch, s3.S3Server]]:
    """An S3 server of the test's own."""
    with server_folder("s3") as folder:
        command, server = s3.prepare(str(require_tool("weed")), folder)

        def serve() -> AbstractContextManager[None]:
            return running(command, _logs(folder), ready=lambda: s3.answers(server), stop_signal="KILL")

        with closing(Switch(serve)) as switch:
            yield switch, server


def _logs(folder: Path) -> Path:
    """`running` removes its folder when the server stops; the data must stay."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    return logs
