"""Worker processes of small exports, and the fork server that starts them warm."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NoReturn

from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.driver_preload import load_drivers
from export_pipeline.datasets.loading import load_datasets
from export_pipeline.settings import Settings

_ANSWER_SECONDS = 15.0
"""Time for which the fork server may take to answer; then it is replaced."""
_START_SECONDS = 60.0
"""The same for one that has just been started, and imports everything first."""
_END_SECONDS = 0.5


@dataclass(slots=True)
class Worker:
    """A process that makes small exports, one after another.

    Attributes:
        connection: Takes a request and gives the file. It becomes readable without a request
            only when the worker has died.
        requests: Number of requests so far.
    """

    pid: int
    connection: Connection
    requests: int = 0


class ForkServer:
    """Starts and ends workers from their parent process, so that no other process gets the id of one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: Any = None
        self._connection: Connection | None = None
        self._patience = _ANSWER_SECONDS
        self._lock = threading.Lock()

    def fork(self, datasets: Mapping[str, Dataset]) -> None:
        """Start the server by a fork of this process, in which no thread of Python may run yet.

        All that is loaded by now, the datasets among it, is shared by both and by each worker. The server
        then loads what only workers need.
        """
        gc.collect()
        gc.freeze()  # the collector would write to, and so copy, each page of what is shared
        self._start("fork", datasets)

    def start(self, folder: str) -> Worker:
        """Start a worker.

        Args:
            folder: Folder for files while they are made.

        Raises:
            OSError: the fork server has died, or does not answer.
        """
        with self._lock:
            if self._process is None or not self._process.is_alive():
                self._start("forkserver", None)
            assert self._connection is not None
            ours, theirs = multiprocessing.Pipe()
            with theirs:
                self._connection.send(folder)
                send_handle(self._connection, theirs.fileno(), self._process.pid)
            worker = Worker(self._receive(self._patience), ours)
            self._patience = _ANSWER_SECONDS
            return worker

    def end(self, worker: Worker) -> None:
        """Kill a worker, and return when it has ended. One that hangs in the kernel is not waited for."""
        worker.connection.close()
        with self._lock, suppress(OSError):
            if self._connection is not None:
                self._connection.send(worker.pid)
                self._receive(_ANSWER_SECONDS)

    def close(self) -> None:
        """End the server. Busy workers end when their connections are closed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._process.join(5)
                self._connection = self._process = None

    def _start(self, method: str, datasets: Mapping[str, Dataset] | None) -> None:
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(["export_pipeline.api.inline_preload"])
        self._connection, theirs = context.Pipe()
        with theirs:
            arguments = (theirs, self._settings, datasets)
            self._process = context.Process(target=_run, args=arguments, daemon=True)
            self._process.start()
        self._patience = _START_SECONDS

    def _receive(self, seconds: float) -> int:
        assert self._connection is not None
        try:
            if self._connection.poll(seconds):
                return int(self._connection.recv())
        except EOFError:
            raise OSError("The fork server of small exports has died.") from None
        self._process.kill()  # an answer that came later would be taken for that to another question
        self._process.join(_END_SECONDS)
        self._connection.close()
        self._connection = self._process = None
        raise OSError(f"The fork server of small exports did not answer for {seconds:g} s.")


def _run(connection: Connection, settings: Settings, datasets: Mapping[str, Dataset] | None) -> None:
    """Fork and end workers until the service closes the connection."""
    os.closerange(3, connection.fileno())  # what was inherited, the address of the service among it
    os.closerange(connection.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    load_code(settings)
    datasets = datasets or load_datasets()
    gc.collect()
    gc.freeze()  # as above
    workers: set[int] = set()
    killed: set[int] = set()
    with suppress(EOFError, OSError):
        while True:
            while killed and not connection.poll(1):
                _reap(killed)
            match connection.recv():
                case str(folder):
                    with Connection(recv_handle(connection)) as theirs:
                        if (pid := os.fork()) == 0:
                            connection.close()
                            _work(theirs, settings, datasets, folder)
                    workers.add(pid)
                case int(pid) if pid in workers:  # not waited for yet, so that its id is nobody else's
                    workers.discard(pid)
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                    until = time.monotonic() + _END_SECONDS
                    while pid in _reap(killed) and time.monotonic() < until:
                        time.sleep(0.002)
            connection.send(pid)


def load_code(settings: Settings) -> None:
    """Import what only workers need, so that they share it: Arrow, formats, and the settings' drivers."""
    import export_pipeline.api.inline_preload  # noqa: F401

    load_drivers(settings)


def _reap(killed: set[int]) -> set[int]:
    """Remove the processes that have ended from a set, and return the set."""
    killed -= {pid for pid in killed if os.waitpid(pid, os.WNOHANG)[0] == pid}
    return killed


def _work(
    connection: Connection, settings: Settings, datasets: Mapping[str, Dataset], folder: str
) -> NoReturn:
    """Make exports, and end without returning to the code of the parent."""
    from export_pipeline.api.inline_export import serve_requests

    try:
        serve_requests(connection, settings, datasets, folder)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
