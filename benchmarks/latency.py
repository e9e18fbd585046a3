"""Measures how long a small request takes from its INSERT to its file, and where the time goes.

    python benchmarks/latency.py                 10 requests, one after another
    python benchmarks/latency.py --requests 30
    python benchmarks/latency.py --inline        small exports by HTTP, made at once

It starts a deployment of its own (needs the dev dependencies): PostgreSQL, an S3 server and the daemon with
its code server, as they run in production. Each request is a CSV of a few rows, put in at any moment of the
sensor's turn; the first one, which finds everything cold, is told apart.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dagster as dg
import sqlalchemy as sa

from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Job, Ledger, Status, migrate
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import serving
from export_pipeline_tests.services.postgres import postgres_server
from export_pipeline_tests.system.asking import SMALL
from export_pipeline_tests.system.deployment import System, running_system

PARTS = ("claimed", "queued", "dequeued", "begun", "completed", "whole")
_LONGEST_SECONDS = 120.0
_TURN_SECONDS = 5.0


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--inline", action="store_true", help="exports of 1,000 and 10,000 rows by HTTP")
    arguments = parser.parse_args()
    if arguments.inline:
        measure_inline(arguments.requests)
        return
    count = arguments.requests
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder), servers=True) as system:
        found = []
        for number in range(count + 1):
            time.sleep(chance.uniform(0, _TURN_SECONDS))
            found.append(parts(system, request(system)))
            print(("cold  " if number == 0 else f"{number:4}  ") + line(found[-1]), flush=True)
    print(
        f"\nload {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; seconds of each part\n      {'':6}", end=""
    )
    print("  ".join(f"{name:>9}" for name in PARTS))
    for name, of in (("p50", statistics.median), ("min", min), ("max", max)):
        print(f"{name:6}      " + line([of(part) for part in zip(*found[1:], strict=True)]))


def measure_inline(count: int) -> None:
    """Print the time of small exports: PostgreSQL, the whole service, and a client on this machine."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server, server.database() as url:
        accounts = fill_records(url, (1_000, 10_000))
        migrate(url)
        settings = Settings(source_url=url, jobs_url=url, store_url=f"{folder}/store")
        with serving(settings) as service, service.client() as client:
            print(
                f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; milliseconds, {count} requests each"
            )
            for rows, account in accounts.items():
                for extension in ("csv", "json", "xlsx", "pdf", "parquet"):
                    found = []
                    for _ in range(count + 2):  # both processes are warm after two
                        begun = time.perf_counter()
                        answer = client.get(
                            f"/v1/datasets/records/export.{extension}", params={"scope": account}
                        ).raise_for_status()
                        found.append((time.perf_counter() - begun) * 1000)
                        assert answer.headers["export-rows"] == str(rows)
                    warm = sorted(found[2:])
                    p90 = warm[int(0.9 * (len(warm) - 1))]
                    print(
                        f"{rows:6,} rows {extension:8} p50 {statistics.median(warm):6.0f}  p90 {p90:6.0f}",
                        flush=True,
                    )


def fill_records(url: str, sizes: tuple[int, ...]) -> dict[int, str]:
    """Fill the sample tables, and add an account with each number of records; return the accounts by it."""
    engine = sa.create_engine(url)
    bookkeeping.fill(engine)
    accounts = {rows: str(uuid.uuid4()) for rows in sizes}
    chance = random.Random(1)
    with engine.begin() as connection:
        template = dict(connection.execute(sa.select(bookkeeping.ACCOUNTS).limit(1)).mappings().one())
        record = dict(connection.execute(sa.select(bookkeeping.RECORDS).limit(1)).mappings().one())
        for rows, account in accounts.items():
            connection.execute(sa.insert(bookkeeping.ACCOUNTS).values(**{**template, "id": account}))
            connection.execute(
                sa.insert(bookkeeping.RECORDS),
                [
                    {**record, "id": str(uuid.uuid4()), "account_id": account, "deleted_at": None,
                     "status": "SUCCESSFUL", "sale_price_cents": chance.randrange(100, 100_000)}
                    for _ in range(rows)
                ],
            )  # fmt: skip
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    return accounts


def request(system: System) -> Job:
    """Put one in and wait for its end; every one differs, so that none joins another."""
    id = system.insert(dataset=SMALL, format="csv", scope=system.scopes[SMALL][0])
    deadline = time.monotonic() + _LONGEST_SECONDS
    with Ledger(system.url) as ledger:
        while (job := ledger.get(id)).status is not Status.COMPLETED:
            if job.status is Status.FAILED or time.monotonic() > deadline:
                sys.exit(f"The request is {job.status}: {job.error_message}\n{system.told()}")
            time.sleep(0.1)
    return job


def parts(system: System, job: Job) -> list[float]:
    """Seconds from the INSERT to the claim, then to the queue, out of it, to the first line of the run and to
    the end; last the sum."""
    with dg.DagsterInstance.get() as instance:
        logged = {
            type: instance.get_records_for_run(job.run_id, of_type=type).records[0].timestamp
            for type in (dg.DagsterEventType.RUN_ENQUEUED, dg.DagsterEventType.RUN_STARTING)
        }
        begun = instance.get_records_for_run(job.run_id, of_type=dg.DagsterEventType.RUN_START).records[0]
    assert job.claimed_at is not None
    assert job.completed_at is not None
    moments = [
        job.created_at,
        job.claimed_at,
        *(datetime.fromtimestamp(logged[type], UTC) for type in logged),
        datetime.fromtimestamp(begun.timestamp, UTC),
        job.completed_at,
    ]
    between = [(b - a).total_seconds() for a, b in itertools.pairwise(moments)]
    return [*between, sum(between)]


def line(seconds: list[float]) -> str:
    return "  ".join(f"{part:9.2f}" for part in seconds)


if __name__ == "__main__":
    main()
