"""A few warm processes that make small exports, each with limits of time and memory."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
from contextlib import suppress
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import BinaryIO

from export_pipeline.api.inline_messages import Failure, InlineError, InlineFile, InlineRequest
from export_pipeline.api.inline_worker import Maker, MakerParent
from export_pipeline.settings import Settings

PROCESSES = 2
DEADLINE_SECONDS = 20.0
MAX_WAITING = 6
"""Requests that wait for a process; more are refused at once."""
_WAIT_SECONDS = 3.0
_MAX_REQUESTS = 500
"""Requests after which a process is replaced, so that what libraries keep does not add up."""


class BusyError(Exception):
    """Raised when no process becomes free in time."""


class ExportPool:
    """Processes that make files.

    Attributes:
        makers: Starts the processes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.makers = MakerParent(settings)
        self._free: queue.Queue[Maker | None] = queue.Queue()
        for _ in range(PROCESSES):
            self._free.put(None)
        self._places = threading.BoundedSemaphore(PROCESSES + MAX_WAITING)
        self._started: dict[int, Maker] = {}
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
            maker = self._free.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            raise BusyError from None
        try:
            if maker is not None and maker.connection.poll():
                self._end(maker)  # it died while it had nothing to do
                maker = None
            maker = maker or self._start()
            answer = self._ask(maker, request)
        except BaseException:
            self._end(maker)
            self._free.put(None)
            raise
        if maker.requests >= _MAX_REQUESTS:
            self._end(maker)
            maker = None
        self._free.put(maker)
        if isinstance(answer, InlineError):
            raise answer
        return answer

    def prepare(self) -> None:
        """Start the processes, so that the first request need not wait for them."""
        for _ in range(PROCESSES):
            try:
                maker = self._free.get_nowait()
            except queue.Empty:
                return
            try:
                maker = maker or self._start()
            finally:
                self._free.put(maker)  # its place, if it could not be started

    def close(self) -> None:
        """End the processes and remove their files."""
        for maker in list(self._started.values()):
            self._end(maker)
        self.makers.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, maker: Maker, request: InlineRequest) -> InlineError | tuple[InlineFile, BinaryIO]:
        maker.requests += 1
        try:
            maker.connection.send(request)
            if not maker.connection.poll(DEADLINE_SECONDS):
                raise InlineError(Failure.TOO_LARGE, f"It takes longer than {DEADLINE_SECONDS:g} seconds.")
            answer = maker.connection.recv()
            if isinstance(answer, InlineError):
                return answer
            return answer, os.fdopen(recv_handle(maker.connection), "rb")
        except (EOFError, OSError) as error:
            message = "Its process was ended, perhaps as it took too much memory."
            raise InlineError(Failure.TOO_LARGE, message) from error

    def _start(self) -> Maker:
        try:
            maker = self.makers.start(self.folder)
        except OSError as error:
            raise InlineError(Failure.INTERNAL, str(error)) from error
        self._started[maker.pid] = maker
        return maker

    def _end(self, maker: Maker | None) -> None:
        """End a process, and remove what it has left."""
        if maker is None:
            return
        self.makers.end(maker)
        self._started.pop(maker.pid, None)
        for file in Path(self.folder).glob(f"{maker.pid}-*"):
            with suppress(OSError):
                file.unlink()
