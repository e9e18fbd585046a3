"""A pool of worker processes that make small exports, with limits of time and memory, and one for scopes."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.api.inline_messages import (
    Failure,
    InlineError,
    InlineFile,
    InlineRequest,
    SourceQuestion,
)
from export_pipeline.api.inline_worker import ForkServer, Worker
from export_pipeline.datasets.scopes import SCOPES_SECONDS
from export_pipeline.settings import Settings
from export_pipeline.sources.snapshot import SourceUnavailableError

PROCESSES = 2
DEADLINE_SECONDS = 20.0
MAX_WAITING = 6
"""Requests that wait for a process; more are refused at once."""
_WAIT_SECONDS = 3.0
_READER_SECONDS = 5.0
"""Time beyond the limit of the query, in which a database that does not answer at all is noticed."""
_MAX_REQUESTS = 500
"""Requests after which a process is replaced, so that what libraries keep does not add up."""


class BusyError(Exception):
    """Raised when no process becomes free in time."""


class ExportPool:
    """Processes that make files.

    Attributes:
        fork_server: Starts the processes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.fork_server = ForkServer(settings)
        self._free: queue.Queue[Worker | None] = queue.Queue()
        for _ in range(PROCESSES):
            self._free.put(None)
        self._places = threading.BoundedSemaphore(PROCESSES + MAX_WAITING)
        self._started: dict[int, Worker] = {}
        self._reading = threading.Lock()
        self._reader: Worker | None = None
        self._making_folder = threading.Lock()
        self._folder: str | None = None

    @property
    def folder(self) -> str:
        """The folder of files that are being made; it is made when it is first needed."""
        with self._making_folder:
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="export-inline-")
            return self._folder

    def run(self, request: InlineRequest) -> tuple[InlineFile, BinaryIO]:
        """Let a worker make a file, and return it, opened for reading.

        Raises:
            BusyError: too many wait, or no process becomes free in time.
            InlineError: it cannot be made, takes too long, or its process dies.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError
        try:
            return self._run(request)
        finally:
            self._places.release()

    def _run(self, request: InlineRequest) -> tuple[InlineFile, BinaryIO]:
        try:
            worker = self._free.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            raise BusyError from None
        try:
            if worker is not None and worker.connection.poll():
                self._end(worker)  # it died while it had nothing to do
                worker = None
            worker = worker or self._start()
            answer = self._ask(worker, request)
        except BaseException:
            self._end(worker)
            self._free.put(None)
            raise
        if worker.requests >= _MAX_REQUESTS:
            self._end(worker)
            worker = None
        self._free.put(worker)
        if isinstance(answer, InlineError):
            raise answer
        return answer

    def ask_source(self, question: SourceQuestion) -> Mapping[str, Any]:
        """Have the application's database read by a process of its own, as this one has no Arrow.

        Returns:
            Names or mail addresses by scope.

        Raises:
            SourceUnavailableError: the database is unavailable, or it or an earlier question takes too long,
                or the process dies.
            SourceError: the tables differ from their declaration.
        """
        longest = SCOPES_SECONDS + _READER_SECONDS
        if not self._reading.acquire(timeout=longest):
            raise SourceUnavailableError(f"Scopes of another dataset were being read for {longest:g} s.")
        try:
            if self._reader is not None and self._reader.connection.poll():
                self._end_reader()  # it died while it had nothing to do
            self._reader = self._reader or self._start()
            self._reader.connection.send(question)
            if not self._reader.connection.poll(longest):
                raise SourceUnavailableError(f"No scopes could be read within {SCOPES_SECONDS:g} s.")
            answer: Mapping[str, Any] | Exception = self._reader.connection.recv()
        except (EOFError, OSError, InlineError) as error:
            self._end_reader()
            raise SourceUnavailableError(f"The process that reads scopes was ended: {error}") from error
        except BaseException:
            self._end_reader()
            raise
        finally:
            self._reading.release()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end_reader(self) -> None:
        reader, self._reader = self._reader, None
        self._end(reader)

    def prepare(self) -> None:
        """Start the processes, so that the first request need not wait for them."""
        for _ in range(PROCESSES):
            try:
                worker = self._free.get_nowait()
            except queue.Empty:
                return
            try:
                worker = worker or self._start()
            finally:
                self._free.put(worker)  # its place, if it could not be started

    def close(self) -> None:
        """End the processes and remove their files."""
        for worker in list(self._started.values()):
            self._end(worker)
        self.fork_server.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, worker: Worker, request: InlineRequest) -> InlineError | tuple[InlineFile, BinaryIO]:
        worker.requests += 1
        try:
            worker.connection.send(request)
            if not worker.connection.poll(DEADLINE_SECONDS):
                raise InlineError(Failure.TOO_LARGE, f"It takes longer than {DEADLINE_SECONDS:g} seconds.")
            answer = worker.connection.recv()
            if isinstance(answer, InlineError):
                return answer
            return answer, os.fdopen(recv_handle(worker.connection), "rb")
        except (EOFError, OSError) as error:
            message = "Its process was ended, perhaps as it took too much memory."
            raise InlineError(Failure.TOO_LARGE, message) from error

    def _start(self) -> Worker:
        try:
            worker = self.fork_server.start(self.folder)
        except OSError as error:
            raise InlineError(Failure.INTERNAL, str(error)) from error
        self._started[worker.pid] = worker
        return worker

    def _end(self, worker: Worker | None) -> None:
        """End a worker, and remove its unfinished files."""
        if worker is None:
            return
        self.fork_server.end(worker)
        self._started.pop(worker.pid, None)
        for file in Path(self.folder).glob(f"{worker.pid}-*"):
            with suppress(OSError):
                file.unlink()
