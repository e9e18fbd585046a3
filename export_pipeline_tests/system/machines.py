"""Three machines with a Celery worker each: of their own are home, staging folder and host name; two have the same name."""

from __future__ import annotations

import shutil
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

    def child(self) -> int:
        """The process that executes runs."""
        pid = self.worker.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)


@dataclass(frozen=True, slots=True)
class Machines:
    system: System
    broker: Service
    machines: Mapping[str, Machine]


@contextmanager
def running_machines(folder: Path) -> Iterator[Machines]:
    """Start databases, store, broker, daemon and three workers."""
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    _write_home(folder / "home")
    with running_system(folder, servers=True, more={"DAGSTER_CELERY_BROKER_URL": url}) as system:
        broker = _broker(system, port)
        broker.start()
        machines = {name: _machine(system, name, host) for name, host in _NAMES.items()}
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda machine: machine.worker.start(), machines.values()))
        yield Machines(system, broker, machines)


def _write_home(home: Path) -> None:
    home.mkdir(parents=True)
    shutil.copyfile(ROOT / "deploy" / "dagster-celery.yaml", home / "dagster.yaml")


def _broker(system: System, port: int) -> Service:
    log = system.folder / "redis.log"
    command = broker_command(port)
    return Service(system.processes, command, system.folder, log, lambda: broker_answers(port))


def _machine(system: System, name: str, host: str) -> Machine:
    folder, log = system.folder / name, system.folder / f"{name}.log"
    _write_home(folder / "home")
    command = worker_command(1)
    if _may_set_names():
        command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
    own = {"DAGSTER_HOME": str(folder / "home"), "EXPORT_STAGING_URL": str(folder / "staging")}
    return Machine(
        host, Service(system.processes, command, system.folder, log, lambda: worker_is_ready(log), own)
    )


@cache
def _may_set_names() -> bool:
    with suppress(OSError):
        return subprocess.run(["unshare", "--uts", "hostname", "probe"], capture_output=True).returncode == 0
    return False
