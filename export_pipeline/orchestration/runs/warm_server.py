"""The warm server: imports the code location once, and forks a process for each requested run.

    python -m export_pipeline.orchestration.runs.warm_server

Its standard input is a socket (see `warm_process`). While it loads, it writes `loading` for each 0.5 s of CPU
time, then `ready` once. Then it answers each line, a request in JSON, with the id of the process that it has
forked, or with an error. It ends when the other end of the socket is closed; the runs continue.

Nothing here may open a connection or start a Python thread before a fork: the forked process would share the
connection and lack the thread.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import signal
import socket
import sys
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from typing import IO, TextIO

from export_pipeline.datasets.driver_preload import load_drivers
from export_pipeline.orchestration.runs import run_lock
from export_pipeline.settings import load_settings

LOCATION = "export_pipeline.definitions"
_TELL_SECONDS = 0.5
_IMPORTED_BY_RUNS = (
    "export_pipeline.formats",
    "export_pipeline.takeoff",
    "export_pipeline.tabular",
    "export_pipeline.sources",
)


def main() -> None:
    """Serve until the client closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the runs
    asker = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)
    # Libraries with threads of their own (OpenBLAS, jemalloc) handle forks themselves.
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    with asker.makefile("rw", encoding="utf-8") as lines:
        _load_and_report(lines)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for the runs
        _answer(lines, "ready")
        for line in lines:
            request = json.loads(line)
            try:
                pid = _fork(Path(request["lock"]), request["arguments"], asker)
            except OSError as error:
                _answer(lines, f"error: {error}")
            else:
                _answer(lines, str(pid))


def _load_and_report(lines: TextIO) -> None:
    """Load everything, and report progress to the client meanwhile, however slow the machine is."""
    signal.signal(signal.SIGPROF, lambda *_: _answer(lines, "loading"))
    signal.setitimer(signal.ITIMER_PROF, _TELL_SECONDS, _TELL_SECONDS)
    try:
        load()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # a signal may be pending


def load() -> None:
    """Import everything that runs import, and build the definitions once for all runs."""
    from export_pipeline.orchestration.dagster_compat.code_locations import repository_of
    from export_pipeline.orchestration.dagster_compat.launchers import execute_run_command

    for package in map(import_module, _IMPORTED_BY_RUNS):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    if "DAGSTER_POSTGRES_URL" in os.environ:
        import_module("export_pipeline.orchestration.pooled_storage")
    load_drivers(load_settings())
    execute_run_command()
    location = import_module(LOCATION)
    definitions = vars(location)["defs"] = location.defs()  # otherwise each process would call it
    repository_of(definitions)
    gc.collect()
    gc.freeze()  # garbage collection in a run would copy the shared pages


def _answer(lines: TextIO, text: str) -> None:
    lines.write(f"{text}\n")
    lines.flush()


def _fork(lock: Path, arguments: str, asker: socket.socket) -> int:
    """Start a run in a process of its own, and return the id of the process.

    The lock is taken before the fork. So a free lock means that no such process exists, nor will exist once
    this process is dead.

    Raises:
        OSError: the lock cannot be taken, or there are too many processes.
    """
    with run_lock.take_lock(lock, wait=False) as held:
        pid = os.fork()
        if pid:
            return pid
        try:
            # If it stayed open here, the launcher could not see the warm process end.
            os.dup2(sys.stdin.fileno(), asker.fileno())
            _run(arguments, held)
            lock.unlink(missing_ok=True)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # inherited resources are not cleaned up here


def _run(arguments: str, held: IO[str]) -> None:
    """Do what `dagster api execute_run` does, in this process."""
    from export_pipeline.orchestration.dagster_compat.launchers import execute_run_command, interruptible

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with interruptible():  # from here on
        run_lock.sign_lock(held)
        execute_run_command().main([arguments], standalone_mode=False)


if __name__ == "__main__":
    main()
