"""Three machines with a Celery worker each: of their own are home, staging folder and host name; two have the same name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from export_pipeline_tests.orchestration.runs.celery_workers import (
    broker_answers,
    broker_command,
    worker_command,
    worker_is_ready,
)
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.system.deployment import System, running_system
from export_pipeline_tests.system.processes import Service

_NAMES = {"m0": "twin", "m1": "twin", "m2": "single"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A worker, which executes one run at a time.

    Attributes:
        host: The machine's name, where this process may set it.
    """

    host: str
    worker: Service

    def children(self) -> list[int]:
        """The process that executes a run; none, or two, while the next one is forked."""
        pid = self.worker.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> None:
        """End all its processes."""
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.kill()

    def start(self) -> None:
        """Start the worker. If it had been started before, this does not wait until it is ready."""
        self.worker.start()


@dataclass(frozen=True, slots=True)
class Machines:
    system: System
    broker: Service
    machines: Mapping[str, Machine]


@contextmanager
def running_machines(folder: Path) -> Iterator[Machines]:
    """Start databases, store, broker, daemon and three workers."""
    with running_broker(folder) as (system, broker):
        machines = {name: machine(system, name, host) for name, host in _NAMES.items()}
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda machine: machine.start(), machines.values()))
        yield Machines(system, broker, machines)


@contextmanager
def running_broker(
    folder: Path, *, launchers: int = 1, more: Mapping[str, str] | None = None
) -> Iterator[tuple[System, Service]]:
    """Start databases, store, broker and daemons. The first daemon's runs are tasks, for which no worker is there."""
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    _write_home(folder / "home")
    settings = {"DAGSTER_CELERY_BROKER_URL": url, **(more or {})}
    with running_system(folder, servers=True, launchers=launchers, more=settings) as system:
        log = system.folder / "redis.log"
        broker = Service(
            system.processes, broker_command(port), system.folder, log, lambda: broker_answers(port)
        )
        broker.start()
        yield system, broker


def machine(system: System, name: str, host: str, more: Mapping[str, str] | None = None) -> Machine:
    """A worker that is not started yet, with more settings of its own."""
    folder, log = system.folder / name, system.folder / f"{name}.log"
    _write_home(folder / "home")
    command = worker_command(1)
    if _may_set_names():
        command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
    own = {
        "DAGSTER_HOME": str(folder / "home"),
        "EXPORT_STAGING_URL": str(folder / "staging"),
        **(more or {}),
    }
    return Machine(
        host, Service(system.processes, command, system.folder, log, lambda: worker_is_ready(log), own)
    )


def _write_home(home: Path) -> None:
    home.mkdir(parents=True)
    shutil.copyfile(ROOT / "deploy" / "dagster-celery.yaml", home / "dagster.yaml")


@cache
def _may_set_names() -> bool:
    with suppress(OSError):
        return subprocess.run(["unshare", "--uts", "hostname", "probe"], capture_output=True).returncode == 0
    return False
