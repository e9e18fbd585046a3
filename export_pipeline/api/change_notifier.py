"""Notifies calls that wait for exports: one poll or LISTEN serves all of them, without a thread for each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from export_pipeline.api.problems import Problem
from export_pipeline.api.service import Service
from export_pipeline.jobs import Job, JobState, LedgerError
from export_pipeline.jobs.states import ENDED

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_LISTENING_POLL_SECONDS = 10.0  # in case a notification was lost
_RECONNECT_SECONDS = 2.0
_MAX_IDS = 500
MAX_WAITS = 500
"""Calls of one caller that may wait at a time: a quarter of the connections that the service takes."""


class Watch:
    """Waits for changes of one export.

    Attributes:
        progress: True to wake at each step of it, false at its end alone.
    """

    def __init__(self, progress: bool) -> None:
        self.progress = progress
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Wake the waiting call."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for a change, at most this long. Return whether there was one."""
        try:
            await asyncio.wait_for(self._event.wait(), max(0.0, seconds))
        except TimeoutError:
            return False
        self._event.clear()
        return True


class ChangeNotifier:
    """Watches the exports that calls wait for, and wakes these calls."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._watches: dict[str, set[Watch]] = {}
        self._states: dict[str, JobState] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: Counter[str] = Counter()
        self._listening = False
        self.closing = False

    async def start(self) -> None:
        """Start to watch."""
        self._tasks.append(asyncio.create_task(self._poll()))
        if self._service.engine.dialect.name == "postgresql":
            self._tasks.append(asyncio.create_task(self._listen()))

    async def stop(self) -> None:
        """Stop to watch, and wake all calls."""
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Wake all calls and let none wait any more, as the service is about to end."""
        self.closing = True
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()

    def check_wait_limit(self, caller: str) -> None:
        """Raise Problem (429) if the caller has too many waiting calls."""
        if self._waiting[caller] >= MAX_WAITS:
            message = f"You have {MAX_WAITS} waiting calls already; use fewer, or webhooks."
            raise Problem(429, "too_many_requests", message, headers={"Retry-After": "5"})

    @contextlib.contextmanager
    def watching(self, job_id: str, caller: str, *, progress: bool) -> Iterator[Watch]:
        """Yield a watch of an export. Changes from now on wake it."""
        watch = Watch(progress)
        self._watches.setdefault(job_id, set()).add(watch)
        self._waiting[caller] += 1
        try:
            yield watch
        finally:
            self._waiting[caller] -= 1
            if not self._waiting[caller]:
                del self._waiting[caller]
            self._watches[job_id].discard(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]
                self._states.pop(job_id, None)

    async def wait_for_end(
        self, job: Job, caller: str, seconds: float, read: Callable[[], Awaitable[Job]]
    ) -> Job:
        """Return the job as soon as it has ended, or its state after this many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        with self.watching(job.id, caller, progress=False) as watch:
            while job.status not in ENDED and not self.closing and loop.time() < until:
                job = await read()  # again, as it may have ended before the watch began
                if job.status not in ENDED and await watch.wait(until - loop.time()):
                    job = await read()
        return job

    # --- SQLite, and progress ---

    async def _poll(self) -> None:
        since = 0.0
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            since += _POLL_SECONDS
            due = not self._listening or since >= _LISTENING_POLL_SECONDS
            if due:
                since = 0.0
            ids = [
                job_id
                for job_id, watches in self._watches.items()
                if due or any(watch.progress for watch in watches)
            ]
            for start in range(0, len(ids), _MAX_IDS):
                await self._compare(ids[start : start + _MAX_IDS])

    async def _compare(self, ids: list[str]) -> None:
        try:
            states = await self._service.run(self._service.ledger.states, ids)
        except LedgerError as error:
            _logger.warning("%s", error)
            return
        for job_id in ids:
            state, before = states.get(job_id), self._states.get(job_id)
            if state is None or state.status in ENDED:
                self._wake(job_id, ended=True)
            elif state != before:
                self._wake(job_id, ended=False)
            if state is not None and job_id in self._watches:
                self._states[job_id] = state

    def _wake(self, job_id: str, *, ended: bool) -> None:
        for watch in self._watches.get(job_id, ()):
            if ended or watch.progress:
                watch.wake()

    # --- PostgreSQL ---

    async def _listen(self) -> None:
        """Keep one connection that listens; without it everything is found by polling."""
        loop = asyncio.get_running_loop()
        while True:
            connection: Any = None
            try:
                connection = await self._service.run(self._connect)
                lost = loop.create_future()
                loop.add_reader(connection.fileno(), self._notified, connection, lost)
                self._listening = True
                await lost
            except Exception as error:  # any error of the driver means the same
                _logger.warning("Cannot listen to the ledger's notifications: %s", type(error).__name__)
            finally:
                self._listening = False
                if connection is not None:
                    with contextlib.suppress(Exception):
                        loop.remove_reader(connection.fileno())
                    connection.close()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _connect(self) -> Any:
        pooled = self._service.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("LISTEN export_ended")
        return connection

    def _notified(self, connection: Any, lost: asyncio.Future[None]) -> None:
        try:
            connection.poll()
        except Exception as error:
            if not lost.done():
                lost.set_exception(error)
            return
        while connection.notifies:
            with contextlib.suppress(ValueError, KeyError):
                self._wake(json.loads(connection.notifies.pop(0).payload)["id"], ended=True)
