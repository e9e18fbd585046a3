"""A deployment whose runs are tasks: a broker and a Celery worker."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from export_pipeline.orchestration.runs import celery_app
from export_pipeline.orchestration.runs.celery_launcher import CeleryRunLauncher
from export_pipeline_tests.orchestration.runs.launching import Launching, launching
from export_pipeline_tests.services.process import free_ports, running
from export_pipeline_tests.tools import require_tool

WORKER_PROCESSES = 2


def broker_command(port: int) -> list[str]:
    """Redis that forgets everything when it ends."""
    return [str(require_tool("redis-server")), "--port", str(port), "--save", "", "--bind", "127.0.0.1"]


def broker_answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(7) == b"+PONG\r\n"


def worker_command(concurrency: int) -> list[str]:
    """A worker, as its systemd unit starts it."""
    options = ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    program = [str(require_tool("celery")), "-A", celery_app.__name__, "worker"]
    return [*program, "--concurrency", str(concurrency), *options]


def worker_is_ready(log: Path) -> bool:
    return "ready." in log.read_text(errors="replace")


def worker_running(command: list[str], folder: Path) -> AbstractContextManager[None]:
    """Run a worker, whose log is in the folder, until the block ends."""
    return running(command, folder, ready=lambda: worker_is_ready(folder / "log"))


@dataclass(frozen=True, slots=True)
class CeleryDeployment:
    """A broker and a worker.

    Attributes:
        broker: Client of the broker.
        worker: Id of the worker's process.
        left: Folder that a run had staged long before the worker started.
    """

    system: Launching
    broker: redis.Redis
    worker: int
    left: Path


@contextmanager
def celery(folder: Path, url: str) -> Iterator[CeleryDeployment]:
    (port,) = free_ports(1)
    address = f"redis://127.0.0.1:{port}/0"
    module, name = CeleryRunLauncher.__module__, CeleryRunLauncher.__name__
    launcher = f"{{module: {module}, class: {name}, config: {{broker: '{address}', backend: '{address}'}}}}"
    with ExitStack() as stack:
        for service in ("broker", "worker"):
            (folder / service).mkdir(parents=True)
        stack.enter_context(
            running(
                broker_command(port),
                folder / "broker",
                ready=lambda: broker_answers(port),
                stop_signal="KILL",
            )
        )
        system = stack.enter_context(launching(folder, url, launcher))
        left = folder / "staging" / str(uuid.uuid4())
        (left / "x.fetch_source-result").mkdir(parents=True)
        for path in (left / "x.fetch_source-result", left):
            os.utime(path, (0, 0))
        pidfile = folder / "worker.pid"
        worker = [*worker_command(WORKER_PROCESSES), "--pidfile", str(pidfile)]
        stack.enter_context(worker_running(worker, folder / "worker"))
        broker = stack.enter_context(redis.Redis(port=port))
        yield CeleryDeployment(system, broker, int(pidfile.read_text()), left)
