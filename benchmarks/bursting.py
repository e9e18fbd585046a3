"""One read of the source for all scopes of a schedule's run, against one read for each scope.

    .venv/bin/python benchmarks/bursting.py                            # 200 scopes of 100 rows
    .venv/bin/python benchmarks/bursting.py --scopes 2000 --rows 20

It fills PostgreSQL with orders of many accounts, and stages the export of each account in both ways, as the
runs of a schedule do; what follows, rendering and storing, is the same in both. It prints scans of the table,
sessions and working time of PostgreSQL, processor time and the peak of memory of this process.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.orchestration.runs.shared_reads import own_rows
from export_pipeline.orchestration.runs.staging import load, save
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read
from export_pipeline.sources.tables.multi_scope_read import read_rows_by_scope
from export_pipeline_tests.services.postgres import postgres_server

SPEC = {
    "source": {"table": "orders", "key": ["id"]},
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "amount", "type": "decimal(12,2)"},
        {"name": "made", "type": "timestamp"},
        *({"name": f"note_{n}"} for n in range(7)),
    ],
    "scope": {"column": "account", "table": "accounts"},
}
DATASETS: Any = {"orders": SimpleNamespace(shape=tabular, spec=SPEC)}


def fill(url: str, scopes: int, rows: int, indexed: bool) -> None:
    notes = ", ".join(f"note_{n} text" for n in range(7))
    texts = ", ".join(f"'note {n} of ' || n" for n in range(7))
    with sa.create_engine(url).begin() as connection:
        for statement in (
            "CREATE TABLE accounts (id uuid PRIMARY KEY, name text)",
            "INSERT INTO accounts SELECT gen_random_uuid(), 'Account ' || n "
            f"FROM generate_series(1, {scopes}) n",
            "CREATE TABLE orders (id bigserial PRIMARY KEY, account uuid, amount numeric(12,2), "
            f"made timestamptz, {notes})",
            f"INSERT INTO orders (account, amount, made, {', '.join(f'note_{n}' for n in range(7))}) "
            f"SELECT id, n * 1.25, now(), {texts} FROM generate_series(1, {rows}) n, accounts",
            *(["CREATE INDEX ON orders (account)"] if indexed else []),
            "ANALYZE",
        ):
            connection.exec_driver_sql(statement)


def measure(url: str, name: str, work: Callable[[], int]) -> None:
    facts = "SELECT sessions, active_time FROM pg_stat_database WHERE datname = current_database()"
    scans = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'orders'"
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)

    def stats() -> list[float]:
        time.sleep(1.5)  # sessions report when they end
        with engine.connect() as connection:
            return [*connection.execute(sa.text(facts)).one(), connection.scalar(sa.text(scans)) or 0]

    before, began = stats(), time.process_time()
    rows = work()
    cpu = time.process_time() - began
    sessions, active, scanned = (after - earlier for after, earlier in zip(stats(), before, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {name} | {rows:,} | {scanned:,.0f} | {sessions - 1:,.0f} | {active / 1000:.2f} s | {cpu:.2f} s | "
        f"{peak:.0f} MB |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scopes", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100, help="of each scope")
    parser.add_argument("--no-index", action="store_true", help="none on the column of the scope")
    asked = parser.parse_args()
    with postgres_server() as server, server.database() as url, tempfile.TemporaryDirectory() as temporary:
        fill(url, asked.scopes, asked.rows, not asked.no_index)
        folder = Path(temporary)
        plain = Request("orders", tabular, SPEC, None, tabular.options(SPEC)())
        with open_snapshot(url) as snapshot:
            scopes = list(read.scopes(snapshot, SPEC))

        def each() -> int:
            rows = 0
            for scope in scopes:
                with open_snapshot(url) as snapshot:
                    data = read.read(
                        snapshot, Request("orders", tabular, SPEC, scope, plain.options, plain.window)
                    )
                    save(data, folder / "each" / scope)
                    rows += data.source_rows
            return rows

        def together() -> int:
            rows = 0
            with open_snapshot(url) as snapshot:
                for data in read_rows_by_scope(snapshot, plain, scopes):
                    save(data, folder / "read" / str(data.scope))
            for scope in scopes:
                data = own_rows(load(folder / "read" / scope, DATASETS), scope)
                save(data, folder / "together" / scope)
                rows += data.source_rows
            return rows

        print(f"{asked.scopes:,} scopes of {asked.rows:,} rows, load {os.getloadavg()[0]:.0f}\n")
        print("| | rows | scans of the table | sessions | PostgreSQL works | CPU here | peak of memory |")
        print("|---|---|---|---|---|---|---|")
        measure(url, "one read", together)
        measure(url, "a read for each scope", each)


if __name__ == "__main__":
    main()
