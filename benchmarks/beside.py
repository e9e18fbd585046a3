"""Measures how long small requests wait while one huge export of another scope is made.

    python benchmarks/beside.py                      10 requests a minute beside 30 million rows
    python benchmarks/beside.py --millions 10 --rate 50

It starts a deployment of its own on PostgreSQL and S3 (needs the dev dependencies), as delivered. The huge
export is the ledger of one organisation as CSV in parts of 500,000 rows, 14 columns each with two joins. The
small ones are CSVs of a few rows. 30 million rows need some 30 GB of disk: the database, staging and S3.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.throughput import requests
from export_pipeline.jobs import Job, Ledger, Status
from export_pipeline.jobs.states import ENDED
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.system.deployment import System, running_system, seconds_from_created

_LONGEST_SECONDS = 3600.0

_ROWS = """
SET LOCAL session_replication_role = replica;  -- else each row's foreign keys would be looked up
DROP INDEX ix_archive_ledger_entries_account_id, ix_archive_ledger_entries_enrollment_id;
INSERT INTO archive_ledger_entries (sequence, organisation_id, transaction_id, account_id, description,
    currency, debit, credit, value_date, posted_at, entry_hash)
SELECT 1000000 + i, :scope, md5((i / 2)::text)::uuid, accounts[1 + i % 3], 'Fee for work ' || i % 99991,
    'EUR', CASE WHEN i % 2 = 0 THEN (i / 2 % 99999999) / 10000.0 END,
    CASE WHEN i % 2 = 1 THEN (i / 2 % 99999999) / 10000.0 END,
    date '2015-01-01' + (i % 4000)::int, timestamptz '2015-01-01 00:00:00+00' + i * interval '1001001 us',
    md5(i::text) || md5((i + 1)::text)
FROM generate_series(0::bigint, :rows - 1) i,
    (SELECT array_agg(id) AS accounts FROM archive_ledger_accounts) a
"""


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--millions", type=float, default=30)
    parser.add_argument("--rate", type=float, default=10, help="small requests a minute")
    parser.add_argument("--folder", help="by default that of temporary files")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        home = Path(folder, "home")
        home.mkdir()
        (home / "dagster.yaml").write_text((ROOT / "deploy/dagster-postgres.yaml").read_text())
        with running_system(Path(folder), servers=True) as system:
            measure(system, int(asked.millions * 1_000_000), 60 / asked.rate)


def measure(system: System, rows: int, pause: float) -> None:
    """Make the rows, insert the requests until the huge export ends, and print the figures."""
    scope = "00000000-0000-4000-8000-000000000030"
    system.run(
        "INSERT INTO archive_organisations (id, name) VALUES (:scope, 'Regional archive')", scope=scope
    )
    system.run(_ROWS, scope=scope, rows=rows)
    system.run("ANALYZE archive_ledger_entries")
    turns = requests(system)
    system.insert(**next(turns))  # finds everything cold
    system.wait(_LONGEST_SECONDS)
    parts = json.dumps({"parts": {"max_rows": 500_000}})
    huge = system.insert(dataset="ledger", format="csv", scope=scope, options=parts)
    ids: list[str] = []
    with Ledger(system.url) as ledger:
        started, memory = time.monotonic(), 0.0
        while (job := ledger.get(huge)).status not in ENDED:
            assert time.monotonic() - started < _LONGEST_SECONDS, job
            ids.append(system.insert(**next(turns)))
            time.sleep(pause)
            memory = max(memory, *(peak_megabytes(pid) for pid in system.workers()), 0.0)
        system.wait(_LONGEST_SECONDS)
        jobs = [ledger.get(id) for id in ids]
    print(f"{rows:,} rows in {seconds_from_created(job):.0f} s, peak of the run {memory:.0f} MB")
    assert (job.status, job.total_rows) == (Status.COMPLETED, rows), job
    wrong = [one for one in jobs if one.status is not Status.COMPLETED]
    assert not wrong, wrong[0]
    print_waits(jobs)


def print_waits(jobs: list[Job]) -> None:
    """Print the median, the 95th percentile and the longest time from INSERT to completed."""
    waits = sorted(seconds_from_created(job) for job in jobs)
    late = waits[int(0.95 * (len(waits) - 1))]
    print(f"{len(waits)} small requests, INSERT to completed: p50 {statistics.median(waits):.1f} s, ", end="")
    print(
        f"p95 {late:.1f} s, longest {waits[-1]:.1f} s; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    )


def peak_megabytes(pid: int) -> float:
    """Return the peak memory of a process; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
