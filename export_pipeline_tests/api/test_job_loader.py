"""Calls at a time read their jobs with one query, each as it is now and as its caller may see it."""

import asyncio
from collections.abc import Mapping

import pytest

from export_pipeline.api.job_loader import JobLoader
from export_pipeline.jobs import Job, Ledger, LedgerError, UnknownJobError, Viewer
from export_pipeline_tests.jobs.fixtures import ledger  # noqa: F401


def test_calls_at_a_time_share_a_query_and_see_their_own(ledger: Ledger) -> None:  # noqa: F811
    mine, other = (ledger.request("records", "csv", scope=scope).id for scope in ("a", "b"))
    queries: list[list[str]] = []

    async def read(ids: list[str], viewer: Viewer) -> Mapping[str, Job]:
        queries.append(ids)
        await asyncio.sleep(0.05)
        return ledger.get_all(ids, viewer)

    async def ask() -> list[object]:
        jobs, narrow = JobLoader(read), Viewer(("a",))
        first = asyncio.create_task(jobs.get(mine, Viewer()))
        await asyncio.sleep(0.01)
        asked = [
            (mine, Viewer()),
            (other, Viewer()),
            (mine, Viewer()),
            (mine, narrow),
            (other, narrow),
            ("x", narrow),
        ]
        return [
            await first,
            *await asyncio.gather(*(jobs.get(*one) for one in asked), return_exceptions=True),
        ]

    pages = asyncio.run(ask())
    assert [one.id if isinstance(one, Job) else type(one) for one in pages] == [
        mine, mine, other, mine, mine, UnknownJobError, UnknownJobError,
    ]  # fmt: skip
    assert sorted(map(len, queries)) == [1, 2, 3]


def test_a_call_reads_what_was_written_before_it(ledger: Ledger) -> None:  # noqa: F811
    job_id = ledger.request("records", "csv", scope="a").id
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def read(ids: list[str], viewer: Viewer) -> Mapping[str, Job]:
        jobs = ledger.get_all(ids, viewer)
        begun.set()
        await go_on.wait()
        return jobs

    async def ask() -> list[str]:
        jobs = JobLoader(read)
        early = asyncio.create_task(jobs.get(job_id, Viewer()))
        await begun.wait()
        ledger.canceled(job_id)
        late = asyncio.create_task(jobs.get(job_id, Viewer()))
        gone = asyncio.create_task(jobs.get(job_id, Viewer()))
        await asyncio.sleep(0)
        gone.cancel()
        go_on.set()
        return [(await early).status, (await late).status]

    assert asyncio.run(ask()) == ["pending", "canceled"]


def test_an_error_is_that_of_each_call_and_the_next_call_tries_again() -> None:
    errors = iter([LedgerError("away"), None])

    async def read(ids: list[str], viewer: Viewer) -> Mapping[str, Job]:
        if error := next(errors):
            raise error
        return {}

    async def ask() -> list[object]:
        jobs = JobLoader(read)
        first = await asyncio.gather(*(jobs.get("a", Viewer()) for _ in range(2)), return_exceptions=True)
        return [*first, *await asyncio.gather(jobs.get("a", Viewer()), return_exceptions=True)]

    assert [type(one) for one in asyncio.run(ask())] == [LedgerError, LedgerError, UnknownJobError]
    with pytest.raises(StopIteration):
        next(errors)
