"""A few warm processes that make small exports, each with limits of time and memory."""

from __future__ import annotations

import multiprocessing
import queue
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any

PROCESSES = 2
DEADLINE_SECONDS = 20.0
_WAIT_SECONDS = 3.0
_MOST_REQUESTS = 500
"""Requests after which a process is replaced, so that what libraries keep does not add up."""


class BusyError(Exception):
    """Raised when no process becomes free in time."""


class DeadlineError(Exception):
    """Raised when a request takes too long, or its process has died."""


@dataclass(slots=True)
class _Worker:
    process: Any
    connection: Connection
    requests: int = 0


class ExportPool:
    """Processes that make files. They are forked from a warm server process on first use."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["export_pipeline.api.inline_preload"])
        self._free: queue.Queue[_Worker | None] = queue.Queue()
        for _ in range(PROCESSES):
            self._free.put(None)
        self._processes: set[Any] = set()

    @cached_property
    def folder(self) -> str:
        """The folder of the files, until they are sent; it is made when it is first needed."""
        return tempfile.mkdtemp(prefix="export-inline-")

    def run(self, request: object) -> Any:
        """Have a process make a file, and return its answer; an error of the process is raised here.

        Raises:
            BusyError: no process becomes free in time.
            DeadlineError: it takes too long, or the process dies.
        """
        try:
            worker = self._free.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            raise BusyError from None
        try:
            worker = worker or self._start()
            answer = self._ask(worker, request)
        except BaseException:
            if worker is not None:
                self._end(worker)
            self._free.put(None)
            raise
        if worker.requests >= _MOST_REQUESTS:
            self._end(worker)
            worker = None
        self._free.put(worker)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the processes and remove their files."""
        for process in list(self._processes):
            process.kill()
        if "folder" in vars(self):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _ask(self, worker: _Worker, request: object) -> Any:
        worker.requests += 1
        try:
            worker.connection.send(request)
            if not worker.connection.poll(DEADLINE_SECONDS):
                raise DeadlineError(f"It takes longer than {DEADLINE_SECONDS:g} seconds.")
            return worker.connection.recv()
        except (EOFError, OSError) as error:
            raise DeadlineError("Its process was ended.") from error

    def _start(self) -> _Worker:
        from export_pipeline.api.inline_work import serve_requests

        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve_requests, args=(theirs,), daemon=True)
        process.start()
        self._processes.add(process)
        theirs.close()
        return _Worker(process, ours)

    def _end(self, worker: _Worker) -> None:
        worker.connection.close()
        worker.process.kill()
        worker.process.join(5)
        self._processes.discard(worker.process)
