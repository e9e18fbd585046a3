"""Processes of the service are killed while they make small exports: nothing is lost, doubled or half."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest

from export_pipeline.api.inline_messages import InlineRequest
from export_pipeline.jobs import Attempt, File, Ledger, Status
from export_pipeline.jobs.api_keys import create_key
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.inline import is_inline_run
from export_pipeline.jobs.materializations import Materializations
from export_pipeline.jobs.purge import purge
from export_pipeline.settings import Settings
from export_pipeline.store import Store, open_store
from export_pipeline.store.keys import manifest_key, request_key
from export_pipeline_tests.api.killed_worker import die_at
from export_pipeline_tests.api.service import Running
from export_pipeline_tests.api.test_start import children_of, lives, started
from export_pipeline_tests.orchestration.runs.leases import reconcile_after_silence

STEPS = ("rendered", "begun", "visible", "published", "completed")


def visible(store: Store) -> set[str]:
    return {file.key for file in store.list()}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_process_leaves_a_whole_export_none_or_one_that_a_run_finishes(
    settings: Settings, accounts: list[str], tmp_path: Path, step: str, warm_workers: None
) -> None:
    row = {"dataset": "records", "format": "csv", "scope": accounts[0], "filters": {}, "columns": None,
           "options": {}, "requested_by": "ann"}  # fmt: skip
    request = InlineRequest(str(uuid.uuid4()), row, {"requested_by": "ann"})
    process = multiprocessing.get_context("forkserver").Process(
        target=die_at, args=(step, settings, str(tmp_path), request)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    store, key = open_store(settings.store_url), request_key(accounts[0], request.job_id, ".csv")
    both = {key, manifest_key(key)}
    with Ledger(settings.jobs_url) as ledger, dg.DagsterInstance.ephemeral() as instance:
        unreported = Materializations.sharing(ledger)
        there = {"visible": {key}, "published": both, "completed": both}.get(step, set())
        assert visible(store) == there
        if step == "rendered":
            assert ledger.find() == []
            return
        (job,) = ledger.find()
        assert is_inline_run(job.run_id)
        if step == "completed":
            assert job.status is Status.COMPLETED
            file = unreported.claim()
            assert file is not None
            assert file.job.id == job.id
        else:
            assert job.status is Status.PROCESSING
            assert reconcile_after_silence(ledger, instance, settings.jobs_url) == 1
            assert unreported.claim() is None
            (job,) = ledger.claim(10)
            assert (job.id, job.attempt, job.status) == (request.job_id, 2, Status.PENDING)
            ledger.started(Attempt(job.id, 2, "run"))
            stored = store.put_bytes(b"id\r\n1\r\n", key, media_type="text/csv")
            store.put_bytes(b"{}", manifest_key(key), media_type="application/json")
            file = File(key, "records.csv", stored.bytes, 1, stored.sha256)
            ledger.completed(Attempt(job.id, 2, "run"), file, datetime.now(UTC) + timedelta(days=1))
        assert visible(store) == both
        assert len(ledger.find()) == 1
        assert unreported.claim() is None or step == "completed"
        assert purge(ledger, store, retention=timedelta(days=7)).counts == {}


def check_whole(ledger: Ledger, store: Store) -> set[str]:
    """Check that each completed row has its file, each file a row; return the ids of rows that are not done."""
    jobs = {request_key(job.scope, job.id, ".csv"): job for job in ledger.find(limit=10_000)}
    files = {key for key in visible(store) if not key.endswith(".manifest.json")}
    assert files <= jobs.keys()
    for key, job in jobs.items():
        if job.status is Status.COMPLETED:
            with store.open(key) as file:
                assert hashlib.sha256(file.read(1 << 24)).hexdigest() == job.sha256
        else:
            assert job.status is Status.PROCESSING
    return {job.id for job in jobs.values() if job.status is Status.PROCESSING}


def ask_until(
    stop: threading.Event, client: httpx.Client, scope: str, answers: list[tuple[int, str | None, str]]
) -> None:
    while not stop.is_set():
        try:
            answer = client.get("/v1/datasets/records/export.csv", params={"scope": scope})
        except httpx.TransportError:
            if stop.is_set():
                return
            continue
        digest = hashlib.sha256(answer.content).hexdigest()
        answers.append((answer.status_code, answer.headers.get("export-id"), digest))


@pytest.mark.slow
def test_processes_killed_at_any_moment_leave_no_half_export(service: Running, accounts: list[str]) -> None:
    chance, answers, stop = random.Random(1), [], threading.Event()
    asking = [
        threading.Thread(target=ask_until, args=(stop, service.client(), accounts[0], answers))
        for _ in range(3)
    ]
    for thread in asking:
        thread.start()
    kills = 0
    until = time.monotonic() + 120
    while (kills < 12 or len(answers) < 20) and time.monotonic() < until:
        stop.wait(chance.uniform(0.05, 0.6))
        for process in list(service.app.state.pool._started)[:1]:
            if kills < 12 and lives(process):
                os.kill(process, signal.SIGKILL)
                kills += 1
    stop.set()
    for thread in asking:
        thread.join(30)
    assert kills == 12
    assert {status for status, _, _ in answers} <= {200, 413, 503}
    unfinished = check_whole(service.ledger, service.store)
    good = {id: digest for status, id, digest in answers if status == 200}
    assert len(good) == sum(status == 200 for status, _, _ in answers) > 0
    assert good.keys().isdisjoint(unfinished)
    assert all(service.ledger.get(str(id)).sha256 == digest for id, digest in good.items())
    assert os.listdir(service.app.state.pool.folder) == []


@pytest.mark.slow
def test_a_killed_service_leaves_no_half_export_and_no_process(
    tmp_path: Path, source_url: str, accounts: list[str]
) -> None:
    with started(tmp_path, source_url) as (process, url):
        engine = open_engine(f"sqlite:///{tmp_path}/jobs.db")
        token = create_key(engine, "test", ["exports:read"])[1]
        engine.dispose()
        stop, answers = threading.Event(), []
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=120)
        asking = threading.Thread(target=ask_until, args=(stop, client, accounts[0], answers))
        asking.start()
        until = time.monotonic() + 240
        while len(answers) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        children = children_of(process.pid)
        assert children
        process.kill()
        stop.set()
        asking.join(30)
    while any(map(lives, children)) and time.monotonic() < until + 30:
        time.sleep(0.05)
    assert not any(map(lives, children))
    with Ledger(f"sqlite:///{tmp_path}/jobs.db") as ledger:
        unfinished = check_whole(ledger, open_store(str(tmp_path / "store")))
        good = [id for status, id, _ in answers if status == 200]
        assert len(good) >= 3
        assert not unfinished & set(good)
