"""Measures how many small exports a deployment makes in an hour, and how long each waits.

    python benchmarks/throughput.py                       80 requests inserted at once
    python benchmarks/throughput.py --rate 50 --minutes 5 50 requests a minute, evenly
    python benchmarks/throughput.py --servers             on PostgreSQL and S3; else SQLite and a folder
    python benchmarks/throughput.py --runs 8              so many runs at once, instead of 4
    python benchmarks/throughput.py --extra 0             a run for each request (EXPORT_EXTRA_SECONDS)

It starts a deployment of its own (needs the dev dependencies): the daemon with its code server and the warm
process, as delivered. Each request is a CSV of a few rows; no two are the same, so none joins another. It
prints exports an hour from the first INSERT to the last file, the median and the 95th percentile from INSERT
to completed, the processor time of all processes of the deployment (with --servers the databases and S3 too),
and what an export leaves in Dagster's database (with --servers).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sqlalchemy as sa

from export_pipeline.jobs import Ledger, Status
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.system.asking import SMALL
from export_pipeline_tests.system.deployment import System, running_system

_LONGEST_SECONDS = 1800.0


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--requests", type=int, default=80)
    parser.add_argument("--rate", type=float, help="requests a minute; by default all at once")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--servers", action="store_true")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--extra", default="3", help="EXPORT_EXTRA_SECONDS")
    asked = parser.parse_args()
    count = int(asked.rate * asked.minutes) if asked.rate else asked.requests
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        name = "deploy/dagster-postgres.yaml" if asked.servers else "dagster.yaml"
        text = (ROOT / name).read_text()
        runs = text.replace("max_concurrent_runs: 4", f"max_concurrent_runs: {asked.runs}")
        # One dataset of two scopes: the limit for the runs of a scope is not what is measured.
        (home / "dagster.yaml").write_text(runs.replace("limit: 3", f"limit: {asked.runs}"))
        more = {"EXPORT_MAX_IN_FLIGHT": str(max(10, 2 * asked.runs)), "EXPORT_EXTRA_SECONDS": asked.extra}
        with running_system(Path(folder), servers=asked.servers, more=more) as system:
            measure(system, count, 60 / asked.rate if asked.rate else 0.0)


def measure(system: System, count: int, pause: float) -> None:
    """Insert requests, wait for their files, and print the figures."""
    turns = requests(system)
    system.insert(**next(turns))  # finds everything cold
    system.wait(_LONGEST_SECONDS)
    ids = []
    with counted_cpu(system) as cpu:
        for number in range(count):
            ids.append(system.insert(**next(turns)))
            if pause and number + 1 < count:
                time.sleep(pause)
        system.wait(_LONGEST_SECONDS)
    with Ledger(system.url) as ledger:
        jobs = [ledger.get(id) for id in ids]
    wrong = [job for job in jobs if job.status is not Status.COMPLETED]
    assert not wrong, (wrong[0].status, wrong[0].error_message)
    ends = [job.completed_at for job in jobs if job.completed_at]
    seconds = (max(ends) - min(job.created_at for job in jobs)).total_seconds()
    waits = sorted((end - job.created_at).total_seconds() for job, end in zip(jobs, ends, strict=True))
    print(f"{count} exports in {seconds:.1f} s: {count / seconds * 3600:,.0f} an hour")
    late = waits[int(0.95 * (count - 1))]
    print(f"INSERT to completed: p50 {statistics.median(waits):.1f} s, p95 {late:.1f} s")
    print(f"CPU seconds an export: {cpu() / count:.2f}")
    print(f"runs: {len({job.run_id for job in jobs})}; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    if url := os.environ.get("DAGSTER_POSTGRES_URL"):
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            events = connection.scalar(sa.text("SELECT count(*) FROM event_logs")) or 0
            size = connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0
        engine.dispose()
        each = f"{events / (count + 1):.0f} rows of events an export"
        print(f"Dagster's database: {each}, {size / 1e6:.0f} MB in all")


@contextmanager
def counted_cpu(system: System) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the CPU seconds of all processes of a deployment since now.

    They are sampled, as nobody waits for forked runs: the last tenth of a second of each is not counted.
    """
    used: dict[int, float] = {}
    before: dict[int, float] = {}
    done = threading.Event()
    per_second = os.sysconf("SC_CLK_TCK")

    def sample() -> None:
        for pid in system.processes.find(""):
            with suppress(OSError):  # it has ended
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                used[pid] = (int(fields[11]) + int(fields[12])) / per_second

    def watch() -> None:
        while not done.wait(0.1):
            sample()

    sample()
    before |= used
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: sum(used.values()) - sum(before.values())
    finally:
        done.set()
        watcher.join()


def requests(system: System) -> Iterator[dict[str, str]]:
    """Yield requests that differ by their filter."""
    scopes = [scope for scope in system.scopes[SMALL] if scope is not None]
    for number in itertools.count(1):
        first = (date(2000, 1, 1) + timedelta(days=number)).isoformat()
        filters = json.dumps({"sale_date": {"range": {"from": first}}})
        yield {"dataset": SMALL, "format": "csv", "scope": scopes[number % len(scopes)], "filters": filters}


if __name__ == "__main__":
    main()
