"""Server-sent events: an export is followed until it ends, and many clients cost no threads."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from export_pipeline.jobs import Attempt
from export_pipeline_tests.api.service import Running, start
from export_pipeline_tests.api.test_exports import ask, problem


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line:
            if "data" in event:
                yield event
            event = {}
        elif name:
            event[name] = json.loads(value) if name == "data" else value


def test_each_step_is_an_event_and_the_end_is_the_last(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    with client.stream("GET", f"/v1/exports/{made}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        received = events(answer.iter_lines())
        assert next(received)["data"]["status"] == "pending"
        job = start(service.ledger, made)
        assert next(received)["data"]["status"] == "processing"
        service.ledger.progress(Attempt(job.id, job.attempt, job.run_id), "Writing", percent=40, rows=4)
        data = next(received)["data"]
        assert (data["progress_percent"], data["progress_step"], data["row_count"]) == (40, "Writing", 4)
        service.ledger.canceled(made)
        last = list(received)
        assert [event["data"]["status"] for event in last] == ["canceled"]
    again = client.get(f"/v1/exports/{made}/events", headers={"Last-Event-ID": last[0]["id"]})
    assert again.status_code == 204  # so that a browser does not connect again
    assert problem(service.client(scopes=[accounts[1]]).get(f"/v1/exports/{made}/events")) == (
        404,
        "not_found",
    )
    assert problem(service.client("exports:write").get(f"/v1/exports/{made}/events")) == (403, "forbidden")


@pytest.mark.slow
def test_two_hundred_clients_wait_without_a_thread_for_each(service: Running, accounts: list[str]) -> None:
    client = service.client()
    made = ask(client, accounts[0])["id"]
    before = threading.active_count()

    async def wait_all() -> tuple[list[str], int]:
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(
            base_url=service.url, headers=client.headers, limits=limits, timeout=60
        ) as waiting:
            tasks = [
                asyncio.create_task(waiting.get(f"/v1/exports/{made}", params={"wait": 40}))
                for _ in range(200)
            ]
            changes = service.app.state.changes
            while len(changes._watches.get(made, ())) < 200:
                await asyncio.sleep(0.05)
            threads = threading.active_count()
            await asyncio.to_thread(service.complete, made)
            return [(await task).json()["status"] for task in tasks], threads

    begun = time.monotonic()
    statuses, threads = asyncio.run(wait_all())
    assert statuses == ["completed"] * 200
    assert threads <= before + 8
    assert time.monotonic() - begun < 30
