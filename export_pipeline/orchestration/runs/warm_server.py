"""Has the code location imported, and forks a process for each run that it is asked for.

    python -m export_pipeline.orchestration.runs.warm_server

Its standard input is a socket (see `warm_process`). It says `loading` each time that it has used half a
second of a processor, and `ready` once; then it answers each line, a request in JSON, with the id of the
process that it forked, or with an error. It ends when the other end is closed; the runs go on.

Nothing here may open a connection or start a Python thread before it forks: a fork would share the one and
lose the other.
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

from export_pipeline.orchestration.runs import run_lock

LOCATION = "export_pipeline.definitions"
_TELL_SECONDS = 0.5
_IMPORTED_BY_RUNS = (
    "export_pipeline.formats",
    "export_pipeline.takeoff",
    "export_pipeline.tabular",
    "export_pipeline.sources",
)


def main() -> None:
    """Serve until nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the runs
    asker = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)
    # Libraries that runs use have threads of their own, and see to forks themselves (OpenBLAS, jemalloc).
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    with asker.makefile("rw", encoding="utf-8") as lines:
        _load_and_tell(lines)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the runs
        _answer(lines, "ready")
        for line in lines:
            request = json.loads(line)
            try:
                pid = _fork(Path(request["lock"]), request["arguments"], asker)
            except OSError as error:
                _answer(lines, f"error: {error}")
            else:
                _answer(lines, str(pid))


def _load_and_tell(lines: TextIO) -> None:
    """Load everything; who waits hears that it goes on, however slow the machine is."""
    signal.signal(signal.SIGPROF, lambda *_: _answer(lines, "loading"))
    signal.setitimer(signal.ITIMER_PROF, _TELL_SECONDS, _TELL_SECONDS)
    try:
        _load()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # one may be on its way


def _load() -> None:
    """Import what runs import, and build the definitions once for all of them."""
    for package in map(import_module, _IMPORTED_BY_RUNS):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    import_module("dagster._cli.api")
    location = import_module(LOCATION)
    definitions = vars(location)["defs"] = location.defs()  # else Dagster calls the function in each process
    definitions.get_repository_def()
    gc.collect()
    gc.freeze()  # a collection in a run would copy all pages that it shares with this process


def _answer(lines: TextIO, text: str) -> None:
    lines.write(f"{text}\n")
    lines.flush()


def _fork(lock: Path, arguments: str, asker: socket.socket) -> int:
    """Start a run in a process of its own; gives its id.

    The lock is taken before: who finds it free knows that there is no such process, and that there will be
    none once this one is dead.

    Raises:
        OSError: the lock cannot be taken, or there are too many processes.
    """
    with run_lock.take(lock, wait=False) as held:
        pid = os.fork()
        if pid:
            return pid
        try:
            # Were it open here, the launcher would not see the warm process end.
            os.dup2(sys.stdin.fileno(), asker.fileno())
            _run(arguments, held)
            lock.unlink(missing_ok=True)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # what this process has inherited is not its own to clean up


def _run(arguments: str, held: IO[str]) -> None:
    """What `dagster api execute_run` does, here."""
    from dagster._cli.api import execute_run_command
    from dagster._utils.interrupts import capture_interrupts

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with capture_interrupts():  # from here on the process can be told to end
        run_lock.sign(held)
        execute_run_command.main([arguments], standalone_mode=False)


if __name__ == "__main__":
    main()
