"""A few warm processes that make small exports, each with limits of time and memory."""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, BinaryIO

from export_pipeline.api.inline_messages import Failure, InlineError, InlineFile, InlineRequest
from export_pipeline.settings import Settings

PROCESSES = 2
DEADLINE_SECONDS = 20.0
MAX_WAITING = 6
"""Requests that wait for a process; more are refused at once."""
_WAIT_SECONDS = 3.0
_MOST_REQUESTS = 500
"""Requests after which a process is replaced, so that what libraries keep does not add up."""


class BusyError(Exception):
    """Raised when no process becomes free in time."""


@dataclass(slots=True)
class _Worker:
    process: Any
    connection: Connection
    requests: int = 0


class ExportPool:
    """Processes that make files. They are forked from a warm server process on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["export_pipeline.api.inline_preload"])
        self._free: queue.Queue[_Worker | None] = queue.Queue()
        for _ in range(PROCESSES):
            self._free.put(None)
        self._places = threading.BoundedSemaphore(PROCESSES + MAX_WAITING)
        self._processes: set[Any] = set()
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
        """Have a process make a file, and return it, opened for reading.

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
            if worker is not None and not worker.process.is_alive():
                self._end(worker)  # it died while it had nothing to do
                worker = None
            worker = worker or self._start()
            answer = self._ask(worker, request)
        except BaseException:
            self._end(worker)
            self._free.put(None)
            raise
        if worker.requests >= _MOST_REQUESTS:
            self._end(worker)
            worker = None
        self._free.put(worker)
        if isinstance(answer, InlineError):
            raise answer
        return answer

    def prepare(self) -> None:
        """Start the processes, so that the first request need not wait for what they import."""
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
        for process in list(self._processes):
            process.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, worker: _Worker, request: InlineRequest) -> InlineError | tuple[InlineFile, BinaryIO]:
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

    def _start(self) -> _Worker:
        from export_pipeline.api.inline_work import serve_requests

        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._settings, self.folder)
        process = self._context.Process(target=serve_requests, args=arguments, daemon=True)
        process.start()
        self._processes.add(process)
        theirs.close()
        return _Worker(process, ours)

    def _end(self, worker: _Worker | None) -> None:
        """End a process, and remove what it has left."""
        if worker is None:
            return
        worker.connection.close()
        worker.process.kill()
        worker.process.join(5)
        self._processes.discard(worker.process)
        for file in Path(self.folder).glob(f"{worker.process.pid}-*"):
            with suppress(OSError):
                file.unlink()
