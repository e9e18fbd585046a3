"""The whole thing as it is run: databases, store, mail server and Dagster's daemon, each a process."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.components.dataset import DatasetComponent
from export_pipeline.components.loading import datasets
from export_pipeline.demo import archive, bookkeeping, ecology, property_services, takeoff
from export_pipeline.jobs import Job, Ledger, LedgerUnavailableError
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.runs import run_lock, warm_server
from export_pipeline.settings import load_settings
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.store import Store, open_store
from export_pipeline_tests.hostile.strings import HOSTILE_TEXTS
from export_pipeline_tests.orchestration.deployment import SAMPLES
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services import postgres, s3
from export_pipeline_tests.services.process import free_ports, server_folder
from export_pipeline_tests.services.s3_proxy import DelayingProxy
from export_pipeline_tests.system import mail
from export_pipeline_tests.system.processes import Processes, Service, processes
from export_pipeline_tests.tools import require_tool

_T = TypeVar("_T")

CODE_SERVER = ("api", "grpc")
_COLD_WORKER = ("spawn_main",)
_WARM = (warm_server.__name__,)
_AWAY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class System:
    """A running deployment; its settings are set in this process too.

    Attributes:
        services: By name: daemon, mail, and where there are some postgres and s3, and more daemons.
        launchers: Environments of the deployments on the one ledger, each with a Dagster instance of its own.
        proxy: Stands before S3; None where the store is a folder.
        scopes: Ids of the scopes that each dataset has; None alone for one without.
    """

    folder: Path
    url: str
    processes: Processes
    services: Mapping[str, Service]
    datasets: Mapping[str, DatasetComponent]
    scopes: Mapping[str, tuple[str | None, ...]]
    launchers: Sequence[Mapping[str, str]]
    proxy: DelayingProxy | None

    @property
    def mails(self) -> Counter[tuple[str, str]]:
        """Return the number of mails of each (recipient, Message-ID)."""
        return mail.received(self.folder / "mails")

    def run(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Plain SQL on the application's database, which may be away for a while."""

        def once() -> list[tuple[Any, ...]]:
            engine = sa.create_engine(self.url, poolclass=sa.NullPool)
            with engine.begin() as connection:
                result = connection.execute(sa.text(sql), parameters)
                return [tuple(row) for row in result] if result.returns_rows else []

        return _patiently(once)

    def insert(self, **values: Any) -> str:
        """A request as an application makes it; its id."""
        names = ", ".join(values)
        sql = f"INSERT INTO export_jobs ({names}) VALUES (:{', :'.join(values)}) RETURNING id"
        return str(self.run(sql, **values)[0][0])

    @contextmanager
    def held(self) -> Iterator[None]:
        """No run gets on with reading `records` within the block."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text("LOCK TABLE bookkeeping_records IN ACCESS EXCLUSIVE MODE"))
            yield
            connection.rollback()
        engine.dispose()

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""

        def once() -> list[Job]:
            with Ledger(self.url) as ledger:
                return sorted(ledger.find(limit=10_000), key=lambda job: job.created_at)

        return _patiently(once)

    def store(self) -> Store:
        """The store of the deployment's files."""
        settings = load_settings()
        return open_store(settings.store_url, endpoint_url=settings.s3_endpoint_url)

    def wait(self, seconds: float, *, pressed: bool = False) -> None:
        """Wait until all jobs have ended and all mails are sent, or nobody knows whether they are.

        Args:
            seconds: The longest; then the test fails and says what is left.
            pressed: Let the time that senders of mails are waited for pass faster than it does.
        """
        deadline = time.monotonic() + seconds
        aged = time.monotonic()
        while left := self._left():
            if time.monotonic() > deadline:
                pytest.fail(f"After {seconds:.0f} s there are {left}.\n{self.logs()}")
            if pressed and time.monotonic() - aged > 20:
                aged = time.monotonic()
                self._age()
            time.sleep(0.5)

    def workers(self) -> list[int]:
        """Processes of runs, begun by Dagster's own launcher or forked from the warm process."""
        locks = self.folder.glob("staging*/*.lock")
        forked = [pid for pid in map(run_lock.lock_holder, locks) if pid is not None]
        return forked + self.processes.find(*_COLD_WORKER)

    def warm(self) -> list[int]:
        """The process that runs are forked from."""
        return sorted(set(self.processes.find(*_WARM)) - set(self.workers()))

    def logs(self) -> str:
        """The end of the daemon's log."""
        return self.services["daemon"].log.read_text(errors="replace")[-6000:]

    def _left(self) -> list[tuple[Any, ...]]:
        unsent = """
            SELECT 'mail ' || d.status, count(*) FROM export_deliveries d
            WHERE d.status IN ('pending', 'claimed', 'sending') GROUP BY d.status
            UNION ALL SELECT 'mail not written', count(*) FROM export_jobs j
            WHERE j.status = 'completed' AND CAST(j.recipients AS text) <> '[]'
              AND NOT EXISTS (SELECT 1 FROM export_deliveries d WHERE d.job_id = j.id)
            HAVING count(*) > 0"""
        pending = "SELECT status, count(*) FROM export_jobs WHERE status IN ('pending', 'processing')"
        return self.run(f"{pending} GROUP BY status UNION ALL {unsent}")

    def _age(self) -> None:
        """Put back the times after which a sender of mails is taken for dead."""
        later = "claimed_at = claimed_at - interval '6 minutes', next_at = next_at - interval '6 minutes'"
        waiting = "status IN ('pending', 'claimed', 'sending')"
        self.run(f"UPDATE export_deliveries SET {later} WHERE {waiting}")


@contextmanager
def running_system(
    folder: Path, *, servers: bool, launchers: int = 1, more: Mapping[str, str] | None = None
) -> Iterator[System]:
    """Start a deployment in a folder.

    Args:
        servers: On PostgreSQL and S3; else on SQLite and a folder.
        launchers: How many deployments share the ledger. As machines of one name would, each has its own
            DAGSTER_HOME, staging folder and Dagster database.
        more: More settings.
    """
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        (smtp,) = free_ports(1)
        settings = {
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(folder / "home"),
            "EXPORT_STAGING_URL": str(folder / "staging"),
            "EXPORT_SMTP_URL": f"smtp://127.0.0.1:{smtp}",
            "EXPORT_MAIL_FROM": "Exports <exports@example.org>",
            **(more or {}),
        }
        started = stack.enter_context(processes(settings))
        services: dict[str, Service] = {}
        proxy: DelayingProxy | None = None
        others = [_launcher(folder, number) for number in range(2, launchers + 1)]
        if servers:
            settings |= _databases(started, services, stack.enter_context(server_folder("pg")), others)
            server = _bucket(started, services, stack.enter_context(server_folder("s3")))
            proxy = stack.enter_context(DelayingProxy(server).running())
            settings |= server.environment() | {
                "EXPORT_STORE_URL": "s3://exports/team",
                "EXPORT_S3_ENDPOINT_URL": proxy.url,
            }
        else:
            settings |= {
                "EXPORT_SOURCE_URL": f"sqlite:///{folder / 'app.db'}",
                "EXPORT_STORE_URL": str(folder / "store"),
            }
        (folder / "mails").mkdir()
        post = [sys.executable, "-m", mail.__name__, str(smtp), str(folder / "mails")]
        services["mail"] = Service(started, post, folder, folder / "mail.log", lambda: _listens(smtp))
        services["mail"].start()
        started.environment |= settings
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        url = settings["EXPORT_SOURCE_URL"]
        _fill(started, url)
        there = datasets()
        environments: list[dict[str, str]] = [{"DAGSTER_HOME": settings["DAGSTER_HOME"]}, *others]
        for number, environment in enumerate(environments, 1):
            with pytest.MonkeyPatch.context() as own:
                for name, value in environment.items():
                    own.setenv(name, value)
                _make_instance()
            name = "daemon" if number == 1 else f"daemon {number}"
            services[name] = daemon(started, folder, number, environment)
            services[name].start()
        scopes = {name: _scopes(url, dataset) for name, dataset in there.items()}
        yield System(folder, url, started, services, there, scopes, environments, proxy)


def _launcher(folder: Path, number: int) -> dict[str, str]:
    return {
        "DAGSTER_HOME": str(folder / f"home{number}"),
        "EXPORT_STAGING_URL": str(folder / f"staging{number}"),
    }


def _databases(
    started: Processes, services: dict[str, Service], folder: Path, launchers: Sequence[dict[str, str]]
) -> dict[str, str]:
    program, password = postgres.initialize(folder)
    server = postgres.PostgresServer(free_ports(1)[0], password)
    command = postgres.command(program, folder, server)
    services["postgres"] = Service(started, command, folder, folder / "log", lambda: postgres.answers(server))
    services["postgres"].start()
    connection = server.connect()
    own = [f"dagster{number}" for number in range(2, len(launchers) + 2)]
    for name in ("applications", "dagster", *own):
        connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE template0")
    connection.close()
    for name, environment in zip(own, launchers, strict=True):
        environment["DAGSTER_POSTGRES_URL"] = server.url(name)
    return {
        "EXPORT_SOURCE_URL": server.url("applications"),
        "DAGSTER_POSTGRES_URL": server.url("dagster"),
    }


def _bucket(started: Processes, services: dict[str, Service], folder: Path) -> s3.S3Server:
    command, server = s3.prepare(str(require_tool("weed")), folder)
    services["s3"] = Service(started, command, folder, folder / "log", lambda: s3.answers(server))
    services["s3"].start()
    server.client().create_bucket(Bucket="exports")
    return server


def daemon(started: Processes, folder: Path, number: int, environment: Mapping[str, str]) -> Service:
    """The daemon of a deployment, not started yet.

    Args:
        number: That of the deployment, from 1.
        environment: What is its own: the settings that make it another deployment, or another code.
    """
    command = [str(require_tool("dagster-daemon")), "run", "-w", str(ROOT / "workspace.yaml")]
    log = folder / f"daemon{number if number > 1 else ''}.log"

    def is_ready() -> bool:
        return len(started.find(*CODE_SERVER)) >= number

    return Service(started, command, folder, log, is_ready, environment)


def _fill(started: Processes, url: str) -> None:
    engine = sa.create_engine(url)
    takeoff.fill(engine, SAMPLES)
    for application in (ecology, archive, bookkeeping, property_services):
        application.fill(engine, HOSTILE_TEXTS)
    engine.dispose()
    migrate(started.environment)


def migrate(environment: Mapping[str, str]) -> None:
    """Make the ledger's tables, or migrate them, by the code that the environment names."""
    command = [sys.executable, "-m", "export_pipeline.cli", "migrate"]
    subprocess.run(command, env=environment, check=True)


def _make_instance() -> None:
    """Make the instance before several processes would do it at once."""
    prepare_home()
    dg.DagsterInstance.get().dispose()


def _scopes(url: str, dataset: DatasetComponent) -> tuple[str | None, ...]:
    if not dataset.scoped:
        return (None,)
    with open_snapshot(url) as snapshot:
        return tuple(dataset.source.scopes(snapshot, dataset.spec))


def _listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    return True


def _patiently(ask: Callable[[], _T]) -> _T:
    """Ask again for a while where the database is away: who asks has seen to it that it comes back."""
    deadline = time.monotonic() + _AWAY_SECONDS
    while time.monotonic() < deadline:
        with suppress(sa.exc.OperationalError, LedgerUnavailableError):
            return ask()
        time.sleep(0.5)
    return ask()


def seconds_from_created(job: Job) -> float:
    """Return the time that a job took, waiting included."""
    return ((job.completed_at or datetime.now(UTC)) - job.created_at).total_seconds()
