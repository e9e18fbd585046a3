"""Measures how long a small request takes from its INSERT to its file, and where the time goes.

    python benchmarks/latency.py                 10 requests, one after another
    python benchmarks/latency.py --requests 30

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
from datetime import UTC, datetime
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dagster as dg

from export_pipeline.jobs import Job, Ledger, Status
from export_pipeline_tests.system.asking import SMALL
from export_pipeline_tests.system.deployment import System, running_system

PARTS = ("claimed", "queued", "dequeued", "begun", "completed", "whole")
_LONGEST_SECONDS = 120.0
_TURN_SECONDS = 5.0


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--requests", type=int, default=10)
    count = parser.parse_args().requests
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder), servers=True) as system:
        latencies = []
        for number in range(count + 1):
            time.sleep(chance.uniform(0, _TURN_SECONDS))
            latencies.append(parts(system, request(system)))
            print(("cold  " if number == 0 else f"{number:4}  ") + line(latencies[-1]), flush=True)
    print(
        f"\nload {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; seconds of each part\n      {'':6}", end=""
    )
    print("  ".join(f"{name:>9}" for name in PARTS))
    for name, of in (("p50", statistics.median), ("min", min), ("max", max)):
        print(f"{name:6}      " + line([of(part) for part in zip(*latencies[1:], strict=True)]))


def request(system: System) -> Job:
    """Put one in and wait for its end; every one differs, so that none joins another."""
    id = system.insert(dataset=SMALL, format="csv", scope=system.scopes[SMALL][0])
    deadline = time.monotonic() + _LONGEST_SECONDS
    with Ledger(system.url) as ledger:
        while (job := ledger.get(id)).status is not Status.COMPLETED:
            if job.status is Status.FAILED or time.monotonic() > deadline:
                sys.exit(f"The request is {job.status}: {job.error_message}\n{system.logs()}")
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
