"""Measures small exports by HTTP, made at once: PostgreSQL, the whole service, and a client on this machine.

python benchmarks/inline.py                  20 requests of each format, for 1,000 and 10,000 rows
python benchmarks/inline.py --requests 50
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles what it imports
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sqlalchemy as sa

from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import migrate
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import serving
from export_pipeline_tests.services.postgres import postgres_server


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=20)
    measure_inline(parser.parse_args().requests)


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
                    milliseconds = []
                    for _ in range(count + 2):  # both processes are warm after two
                        begun = time.perf_counter()
                        answer = client.get(
                            f"/v1/datasets/records/export.{extension}", params={"scope": account}
                        ).raise_for_status()
                        milliseconds.append((time.perf_counter() - begun) * 1000)
                        assert answer.headers["export-rows"] == str(rows)
                    warm = sorted(milliseconds[2:])
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
            connection.execute(
                sa.insert(bookkeeping.ACCOUNTS).values(
                    **template | {"id": account, "account_code": f"BENCH-{rows}"}
                )
            )
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


if __name__ == "__main__":
    main()
