"""The process that makers of small exports are forked from: they begin warm, and share its memory."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NoReturn

from export_pipeline.datasets.catalogue import load_datasets
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.settings import Settings


@dataclass(slots=True)
class Maker:
    """A process that makes small exports, one after another.

    Attributes:
        connection: Takes a request and gives the file. It has something to say unasked only when it has died.
        requests: Requests that it was asked for.
    """

    pid: int
    connection: Connection
    requests: int = 0


class MakerParent:
    """Starts and ends makers. It is the parent of each, so no id of a process is used after its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: Any = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def fork(self, datasets: Mapping[str, Dataset]) -> None:
        """Fork the parent of makers from this process, which must have no threads yet.

        All that is loaded by now, the datasets among it, is shared by both and by each maker.
        """
        gc.collect()
        gc.freeze()  # the collector would write to, and so copy, each page of what is shared
        self._start("fork", datasets)

    def start(self, folder: str) -> Maker:
        """Start a maker.

        Args:
            folder: Folder for files while they are made.

        Raises:
            OSError: its parent has died.
        """
        with self._lock:
            if self._process is None or not self._process.is_alive():
                self._start("forkserver", None)
            assert self._connection is not None
            ours, theirs = multiprocessing.Pipe()
            with theirs:
                self._connection.send(folder)
                send_handle(self._connection, theirs.fileno(), self._process.pid)
            return Maker(self._receive(), ours)

    def end(self, maker: Maker) -> None:
        """End a maker at once, and return when it has ended."""
        maker.connection.close()
        with self._lock, suppress(OSError):
            if self._connection is not None:
                self._connection.send(maker.pid)
                self._receive()

    def close(self) -> None:
        """End the parent. Makers that work are ended by nobody; they end when their connection does."""
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

    def _receive(self) -> int:
        assert self._connection is not None
        try:
            return int(self._connection.recv())
        except EOFError:
            raise OSError("The process that starts makers of small exports has died.") from None


def _run(connection: Connection, settings: Settings, datasets: Mapping[str, Dataset] | None) -> None:
    """Fork and end makers until the service closes the connection."""
    os.closerange(3, connection.fileno())  # what was inherited, the address of the service among it
    os.closerange(connection.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import export_pipeline.api.inline_preload  # noqa: F401

    datasets = datasets or load_datasets()
    makers: set[int] = set()
    with suppress(EOFError, OSError):
        while True:
            match connection.recv():
                case str(folder):
                    with Connection(recv_handle(connection)) as theirs:
                        if (pid := os.fork()) == 0:
                            connection.close()
                            _work(theirs, settings, datasets, folder)
                    makers.add(pid)
                case int(pid) if pid in makers:  # not waited for yet, so that its id is nobody else's
                    makers.discard(pid)
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            connection.send(pid)


def _work(
    connection: Connection, settings: Settings, datasets: Mapping[str, Dataset], folder: str
) -> NoReturn:
    """Make exports, and end without returning to the code of the parent."""
    from export_pipeline.api.inline_work import serve_requests

    try:
        serve_requests(connection, settings, datasets, folder)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
