"""Measures status calls of the HTTP service: its process on one core, PostgreSQL and the client elsewhere.

python benchmarks/status.py                  16 connections for 10 seconds; needs wrk
python benchmarks/status.py --seconds 30 --connections 64
python benchmarks/status.py --profile        also prints where the service's time goes
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
import sqlalchemy as sa

from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Attempt, File, Ledger, migrate
from export_pipeline.jobs.api_keys import create_key
from export_pipeline.jobs.database import open_engine
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.postgres import postgres_server
from export_pipeline_tests.services.process import free_ports

_SERVE = "from export_pipeline.cli.entry import main; import sys; sys.argv[1:] = {arguments}; main()"
_PROFILED = (
    "import atexit, cProfile, pstats; profile = cProfile.Profile();"
    "atexit.register(lambda: pstats.Stats(profile).sort_stats('tottime').print_stats(35)); profile.enable();"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    measure_status(arguments.seconds, arguments.connections, arguments.profile)


def measure_status(seconds: int, connections: int, profile: bool) -> None:
    """Print calls a second, latency, errors, and CPU time of the service."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server, server.database() as url:
        job_id, token = _fill(url)
        (port,) = free_ports(1)
        code = (_PROFILED if profile else "") + _SERVE.format(arguments=["serve", "--port", str(port)])
        environment = os.environ | {
            "EXPORT_SOURCE_URL": url,
            "EXPORT_STORE_URL": f"{folder}/store",
            "EXPORT_API_CALLS_PER_SECOND": "0",  # no limit
            "PYTHONPATH": str(ROOT),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=folder, env=environment, stderr=subprocess.DEVNULL,
            stdout=sys.stdout if profile else subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}/v1/exports/{job_id}"
            os.sched_setaffinity(process.pid, {0})
            with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
                client.get(f"http://127.0.0.1:{port}/readyz", timeout=60).raise_for_status()
                answer = client.get(address, headers={"Authorization": f"Bearer {token}"}).raise_for_status()
            assert answer.json()["status"] == "completed"
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                os.sched_setaffinity(int(thread), {0})
            _load(address, token, 2, connections)  # warm
            before, database_before = _cpu_seconds(process.pid), _database_cpu_seconds(url)
            polling = _load(address, token, seconds, connections)
            spent = _cpu_seconds(process.pid) - before
            database_spent = _database_cpu_seconds(url) - database_before
        finally:
            process.terminate()
            process.wait(20)
    count = int(re.findall(r"(\d+) requests in", polling)[0])
    errors = re.findall(r"(?:Socket errors|Non-2xx).*", polling)
    latency = dict(re.findall(r"(50|90|99)%\s+(\S+)", polling))
    print(
        f"load {os.getloadavg()[0]:.1f}; {connections} connections: {count / seconds:,.0f} calls a second, "
        f"p50 {latency['50']}, p90 {latency['90']}, p99 {latency['99']}, errors {errors or 'none'}; "
        f"CPU s for 1,000 calls {1000 * spent / count:.2f}, PostgreSQL's {1000 * database_spent / count:.2f}"
    )


def _fill(url: str) -> tuple[str, str]:
    """Make the tables, 10,000 exports, and a key; return the id of a completed export, and the key."""
    engine = sa.create_engine(url)
    bookkeeping.fill(engine)
    engine.dispose()
    migrate(url)
    with Ledger(url) as ledger:
        job = ledger.request("records", "csv", scope="a", filters={"status": {"in": ["SUCCESSFUL"]}})
        run = Attempt(job.id, 1, "run")
        ledger.started(run)
        ledger.completed(run, File("exports/a/file.csv", "Sales.csv", 120_000, 1_250, "ab" * 32, 1_250))
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO export_jobs (dataset, format, scope)"
            " SELECT 'records', 'csv', 'b' FROM generate_series(1, 10000)"
        )
        connection.exec_driver_sql("UPDATE export_jobs SET status = 'canceled' WHERE status = 'pending'")
    token = create_key(engine, "bench", ["exports:read"])[1]
    engine.dispose()
    return job.id, token


def _load(address: str, token: str, seconds: int, connections: int) -> str:
    command = [
        "wrk",
        "-t",
        "1",
        "-c",
        str(connections),
        "-d",
        f"{seconds}s",
        "--latency",
        "-H",
        f"Authorization: Bearer {token}",
    ]
    return subprocess.run([*command, address], capture_output=True, text=True, check=True).stdout


def _cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _database_cpu_seconds(url: str) -> float:
    """Return the processor time of all sessions of a database that are open."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        sessions = connection.exec_driver_sql(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).scalars()
        spent = sum(_cpu_seconds(pid) for pid in sessions)
    engine.dispose()
    return spent


if __name__ == "__main__":
    main()
