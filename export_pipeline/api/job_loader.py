"""Loader of jobs: calls at the same time share one query."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from export_pipeline.jobs import Job, UnknownJobError, Viewer

Read: TypeAlias = Callable[[list[str], Viewer], Awaitable[Mapping[str, Job]]]
_MAX_IDS = 500


class JobLoader:
    """Loads jobs. Calls of a viewer that arrive during a query share the next one.

    Args:
        read: Reads jobs by their ids; those that the viewer may not see are missing from its result.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: dict[Viewer, dict[str, list[asyncio.Future[Job]]]] = {}
        self._tasks: dict[Viewer, asyncio.Task[None]] = {}

    async def get(self, job_id: str, viewer: Viewer) -> Job:
        """Return a job as it is now.

        Raises:
            UnknownJobError: it does not exist, or the viewer may not see it.
            LedgerError: the ledger cannot be read.
        """
        answer: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(viewer, {}).setdefault(job_id, []).append(answer)
        if viewer not in self._tasks:
            self._tasks[viewer] = asyncio.create_task(self._answer(viewer))
        return await answer

    async def _answer(self, viewer: Viewer) -> None:
        try:
            while waiting := self._waiting.pop(viewer, None):
                ids = list(waiting)
                for start in range(0, len(ids), _MAX_IDS):
                    part = ids[start : start + _MAX_IDS]
                    read: Mapping[str, Job] | Exception
                    try:
                        read = await self._read(part, viewer)
                    except Exception as error:  # is that of each call
                        read = error
                    for job_id in part:
                        for answer in waiting[job_id]:
                            _settle(answer, job_id, read)
        finally:
            del self._tasks[viewer]


def _settle(answer: asyncio.Future[Job], job_id: str, read: Mapping[str, Job] | Exception) -> None:
    if answer.done():  # its client has gone
        return
    if isinstance(read, Exception):
        answer.set_exception(read)
    elif job_id in read:
        answer.set_result(read[job_id])
    else:
        answer.set_exception(UnknownJobError(job_id))
