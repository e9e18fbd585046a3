"""A real MariaDB, as one of the databases that are read by SQLAlchemy's dialect alone."""

from __future__ import annotations

import contextlib
import getpass
import subprocess
from collections.abc import Iterator

from export_pipeline_tests.services.process import free_ports, running, server_folder
from export_pipeline_tests.tools import require_tool


@contextlib.contextmanager
def mariadb_server() -> Iterator[str]:
    """Start MariaDB; gives the SQLAlchemy URL of its administrator, who has no password and no database."""
    import pymysql

    install, server = require_tool("mariadb-install-db"), require_tool("mariadbd")
    with server_folder("my") as folder:
        data = ["--no-defaults", f"--datadir={folder / 'data'}", f"--user={getpass.getuser()}"]
        make = [install, *data, "--auth-root-authentication-method=normal", "--skip-test-db"]
        done = subprocess.run(make, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (port,) = free_ports(1)

        def answers() -> bool:
            try:
                pymysql.connect(host="127.0.0.1", port=port, user="root").close()
            except pymysql.OperationalError as error:
                raise OSError(str(error)) from error
            return True

        address = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder / 'socket'}"]
        fast = ["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"]
        with running([str(server), *data, *address, *fast], folder, ready=answers):
            yield f"mysql+pymysql://root@127.0.0.1:{port}"
