"""Measures what a deployment costs that has nothing to do: connections, CPU, memory and disk.

    python benchmarks/idle.py                  10 minutes on PostgreSQL and S3
    python benchmarks/idle.py --files          the same on SQLite and a folder
    python benchmarks/idle.py --minutes 60     with a line each minute

It starts a deployment of its own (needs the dev dependencies): daemon with its code server, webserver, and
PostgreSQL and an S3 server, or files. Nothing is requested and nobody looks at the UI. The first minute, in
which everything starts, is not counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sqlalchemy as sa

from export_pipeline.orchestration.instance import ROOT
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.system.deployment import System, _listens, running_system
from export_pipeline_tests.system.processes import Service
from export_pipeline_tests.tools import require_tool

_KINDS = {"code server": "api grpc", "daemon": "dagster-daemon", "webserver": "dagster-webserver"}
_TICKS = os.sysconf("SC_CLK_TCK")
_WARM_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment.

    Attributes:
        cpu: CPU seconds since the start, by kind of process.
        rss: Resident megabytes, by kind of process.
        written: Bytes that our processes have written to disk.
        sessions: Connections that PostgreSQL has accepted.
        statements: Transactions that PostgreSQL has ended.
        wal: Bytes of PostgreSQL's write-ahead log.
        home: Bytes of DAGSTER_HOME and of Dagster's database.
    """

    cpu: dict[str, float]
    rss: dict[str, float]
    written: int
    sessions: int
    statements: int
    wal: int
    home: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--files", action="store_true", help="SQLite and a folder instead of servers")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_system(Path(folder), servers=not given.files) as system,
    ):
        (port,) = free_ports(1)
        command = [str(require_tool("dagster-webserver")), "-w", str(ROOT / "workspace.yaml")]
        command += ["-h", "127.0.0.1", "-p", str(port)]
        web = Service(
            system.processes, command, system.folder, system.folder / "web.log", lambda: _listens(port)
        )
        web.start()
        time.sleep(_WARM_UP_SECONDS)
        first = last = sample(system)
        for minute in range(1, given.minutes + 1):
            time.sleep(60)
            now = sample(system)
            tell(f"minute {minute:3}", last, now, 60)
            last = now
        tell("all", first, last, 60 * given.minutes)


def sample(system: System) -> Sample:
    """Read all counters."""
    cpu: dict[str, float] = defaultdict(float)
    rss: dict[str, float] = defaultdict(float)
    written = 0
    for kind, words in _KINDS.items():
        for pid in system.processes.find(*words.split()):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu[kind] += (int(fields[11]) + int(fields[12])) / _TICKS
            rss[kind] += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
            written += int(counters["write_bytes"])
    home = sum(file.stat().st_size for file in (system.folder / "home").rglob("*") if file.is_file())
    if system.url.startswith("sqlite"):
        return Sample(cpu, rss, written, 0, 0, 0, home)
    counts = (
        "SELECT sum(sessions), sum(xact_commit), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), "
        "pg_database_size('dagster') FROM pg_stat_database"
    )
    engine = sa.create_engine(system.url)
    with engine.connect() as connection:
        sessions, statements, wal, size = connection.execute(sa.text(counts)).one()
    engine.dispose()
    cpu["PostgreSQL"] = _cpu_of_servers(system)
    return Sample(cpu, rss, written, int(sessions), int(statements), int(wal), home + int(size))


def _cpu_of_servers(system: System) -> float:
    """CPU seconds of PostgreSQL's processes, those that have ended too."""
    total = 0
    for pid in system.processes.find("postgres"):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def tell(title: str, before: Sample, now: Sample, seconds: float) -> None:
    """Print what happened between two samples."""
    cores = {kind: (now.cpu[kind] - before.cpu.get(kind, 0)) / seconds for kind in now.cpu}
    grown = {kind: now.rss[kind] - before.rss.get(kind, 0) for kind in now.rss}
    print(
        f"{title}: {(now.sessions - before.sessions) / seconds:.1f} connections/s, "
        f"{(now.statements - before.statements) / seconds:.1f} transactions/s, "
        f"WAL {(now.wal - before.wal) / seconds / 1e3:.1f} kB/s, "
        f"written {(now.written - before.written) / seconds / 1e3:.1f} kB/s, "
        f"Dagster's data {(now.home - before.home) / 1e6:+.2f} MB; cores "
        + ", ".join(f"{kind} {value:.3f}" for kind, value in cores.items())
        + "; MB "
        + ", ".join(f"{kind} {now.rss[kind]:.1f} ({grown[kind]:+.1f})" for kind in now.rss),
        flush=True,
    )


if __name__ == "__main__":
    main()
