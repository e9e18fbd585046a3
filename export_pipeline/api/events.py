"""Stream of an export's server-sent events."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

from export_pipeline.api.change_notifier import ChangeNotifier
from export_pipeline.api.models import ExportEvent
from export_pipeline.jobs import Job, LedgerError
from export_pipeline.jobs.states import ENDED

RETRY_SECONDS = 2
"""Seconds after which a client asks again, or connects again."""
_HEARTBEAT_SECONDS = 15
_MAX_EVENT_SECONDS = 15 * 60


async def stream_events(
    job: Job, caller: str, read: Callable[[], Awaitable[Job]], changes: ChangeNotifier, last: str | None
) -> AsyncIterator[str]:
    """Yield the text of an event for each change of an export, until it ends or 15 minutes have passed.

    Args:
        job: Its state now.
        caller: Id of the caller, whose open streams are counted.
        read: Reads its state again.
        last: Id of the last event that the client knows.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _MAX_EVENT_SECONDS  # then the client reconnects, and its key is checked again
    with changes.watching(job.id, caller, progress=True) as watch:
        yield f"retry: {RETRY_SECONDS * 1000}\n\n"
        while True:
            if (event := event_id(job)) != last:
                last = event
                data = {name: getattr(job, name) for name in ExportEvent.model_fields}
                yield f"id: {event}\nevent: status\ndata: {ExportEvent(**data).model_dump_json()}\n\n"
            if job.status in ENDED or changes.closing or loop.time() > until:
                return
            if not await watch.wait(_HEARTBEAT_SECONDS):
                yield ": heartbeat\n\n"
            try:
                job = await read()
            except LedgerError:  # deleted meanwhile, or the ledger is away: the client asks again
                return


def event_id(job: Job) -> str:
    """Return the id of the event with the state of a job."""
    step = hashlib.sha256((job.progress_step or "").encode()).hexdigest()[:8]
    return f"{job.attempt}-{job.status}-{job.progress_percent}-{step}"
