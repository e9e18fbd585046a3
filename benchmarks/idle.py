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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # as the units have it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sqlalchemy as sa

from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.system.deployment import System, _listens, running_system
from export_pipeline_tests.system.processes import Service
from export_pipeline_tests.tools import require_tool

_KINDS = {
    "code servers": "api grpc",
    "daemon": "dagster-daemon",
    "webserver": "dagster-webserver",
    "PostgreSQL": "bin/postgres",
}
_DATABASES = ("applications", "dagster")
_TICKS = os.sysconf("SC_CLK_TCK")
_WARM_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment.

    Attributes:
        cpu: CPU seconds since the start, by kind of process.
        rss: Resident megabytes, by kind of process.
        sessions: Connections that PostgreSQL has accepted, by database.
        transactions: Those that PostgreSQL has ended.
        wal: Bytes of PostgreSQL's write-ahead log.
        home: Bytes of DAGSTER_HOME and of Dagster's database.
        files: In DAGSTER_HOME.
    """

    cpu: dict[str, float]
    rss: dict[str, float]
    sessions: dict[str, int]
    transactions: int
    wal: int
    home: int
    files: int


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
        meter = Meter(system)
        first = last = meter.sample()
        for minute in range(1, given.minutes + 1):
            for _ in range(12):
                time.sleep(5)
                meter.look()
            now = meter.sample()
            tell(f"minute {minute:3}", last, now, 60)
            last = now
        tell("all", first, last, 60 * given.minutes)


class Meter:
    """Adds up what processes use, those that end between two samples too: look every few seconds."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._seen: dict[int, float] = {}
        self._cpu: dict[str, float] = defaultdict(float)

    def look(self) -> dict[str, float]:
        """Return resident megabytes by kind of process."""
        rss: dict[str, float] = defaultdict(float)
        for kind, words in _KINDS.items():
            for pid in self._system.processes.find(*words.split()):
                with suppress(OSError):  # it has ended
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    # PostgreSQL's first process has the time of those that have ended.
                    used = sum(map(int, fields[11 : 15 if kind == "PostgreSQL" else 13])) / _TICKS
                    self._cpu[kind] += used - self._seen.get(pid, 0.0)
                    self._seen[pid] = used
                    rss[kind] += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        return rss

    def sample(self) -> Sample:
        """Read all counters."""
        rss = self.look()
        cpu = dict(self._cpu)
        files = [file.stat() for file in (self._system.folder / "home").rglob("*") if file.is_file()]
        home = sum(file.st_size for file in files)
        if self._system.url.startswith("sqlite"):
            return Sample(cpu, rss, {}, 0, 0, home, len(files))
        counts = "SELECT datname, sessions, xact_commit, pg_database_size(datname) FROM pg_stat_database"
        counts += f" WHERE datname IN {_DATABASES}"
        engine = sa.create_engine(self._system.url)
        with engine.connect() as connection:
            rows = connection.execute(sa.text(counts)).all()
            wal = connection.scalar(sa.text("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))
        engine.dispose()
        sessions = {row[0]: int(row[1]) for row in rows}
        home += sum(int(row[3]) for row in rows if row[0] == "dagster")
        return Sample(cpu, rss, sessions, sum(int(row[2]) for row in rows), int(wal), home, len(files))


def tell(title: str, before: Sample, now: Sample, seconds: float) -> None:
    """Print what happened between two samples."""
    opened = {name: (now.sessions[name] - before.sessions[name]) / seconds for name in now.sessions}
    cores = {kind: (now.cpu[kind] - before.cpu.get(kind, 0)) / seconds for kind in now.cpu}
    grown = {kind: now.rss[kind] - before.rss.get(kind, 0) for kind in now.rss}
    print(
        f"{title}: {sum(opened.values()):.2f} connections/s ({_listed(opened)}), "
        f"{(now.transactions - before.transactions) / seconds:.1f} transactions/s, "
        f"WAL {(now.wal - before.wal) / seconds / 1e3:.1f} kB/s, Dagster's data "
        f"{(now.home - before.home) / 1e6:+.2f} MB and {now.files - before.files:+} files; "
        f"cores {sum(cores.values()):.3f} ({_listed(cores)}); MB "
        + ", ".join(f"{kind} {now.rss[kind]:.1f} ({grown[kind]:+.1f})" for kind in now.rss),
        flush=True,
    )


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


if __name__ == "__main__":
    main()
