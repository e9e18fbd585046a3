"""Measures exports in parts by their number of rows: time a million, and memory.

    python benchmarks/parts.py                              1 and 3 million rows of 20 columns as CSV
    python benchmarks/parts.py --millions 1 3 10 30         also more: 30 million need 45 GB of disk
    python benchmarks/parts.py --format parquet --part-rows 250000

It starts a PostgreSQL of its own (needs the dev dependencies), or makes databases on yours (`--server`) and
drops them. Each size has a fresh process: fetch over parallel connections of one snapshot, staging,
sanitizing, rendering and reading back in parts, the proof, publishing into a folder. CPU is the client's, MB
its peak. The last line compares CPU time a million of the largest size with that of the smallest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ours import export, peak_megabytes


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--millions", nargs="+", type=float, default=[1, 3])
    parser.add_argument("--format", choices=("csv", "jsonl", "excel", "parquet"), default="csv")
    parser.add_argument("--part-rows", type=int, default=500_000)
    parser.add_argument("--folder", help="folder for staging and files; by default that of temporary files")
    parser.add_argument("--server", help="postgresql:// URL of a user who may create databases")
    parser.add_argument("--one", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.format, arguments.part_rows, arguments.folder)))
        return
    from benchmarks.orders import database

    print("  million   parts      MB out  wall s a million  CPU s a million  peak MB")
    per_million = []
    for millions in sorted(arguments.millions):
        rows = int(millions * 1_000_000)
        with database([rows], arguments.server, keep=False) as urls:
            one = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--one", urls[rows]],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        made = json.loads(one.stdout)
        assert made["rows"] == rows
        per_million.append(made["cpu"] / millions)
        parts = -(-rows // arguments.part_rows)
        print(
            f"{millions:9g} {parts:7} {made['bytes'] / 1e6:11,.0f} {made['wall'] / millions:17.2f} "
            f"{per_million[-1]:16.2f} {made['mb']:8.0f}",
            flush=True,
        )
    print(f"largest / smallest, CPU a million: {per_million[-1] / per_million[0]:.2f}")


def measure(url: str, format: str, part_rows: int, folder: str | None) -> dict[str, Any]:
    """Export all orders, and return what it took."""
    from export_pipeline.tabular.options import Parts

    for module in (
        "adbc_driver_postgresql",
        "pyarrow.csv",
        "pyarrow.parquet",
        "sqlalchemy.dialects.postgresql",
    ):
        import_module(module)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        started = time.perf_counter(), time.process_time()
        made = export(format, url, Path(temporary), {}, Parts(max_rows=part_rows))
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    return {**made, "wall": wall, "cpu": cpu, "mb": peak_megabytes()}


if __name__ == "__main__":
    main()
