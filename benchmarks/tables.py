"""Measures table exports, PostgreSQL to published file, against what a user would pick instead.

    python benchmarks/tables.py                        every format, 20,000 rows
    python benchmarks/tables.py --rows 1000000 csv     one format, a million rows
    python benchmarks/tables.py --rounds 3             medians of three interleaved runs
    python benchmarks/tables.py --server URL           on a PostgreSQL of yours

It starts a PostgreSQL of its own (needs the dev dependencies), or makes databases on yours and drops them.
Every run has a fresh process. Ours is fetch, staging, sanitizing, rendering, reading back and publishing into
a folder, as a run of the export does it; the others only write the file, so the ratio is also given without
our proof of it: the database's counting and adding, and the reading back. Where another one is too slow for
all rows it is given fewer, and ours is run with as few for the ratio. CPU is the client's; MB is the peak of
the whole process; growth is against a tenth of the rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ours import export, peak_megabytes
from benchmarks.peers import PEERS

OURS = "this"
Case = tuple[str, str, int]  # (who, format, rows)


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("formats", nargs="*", default=["csv", "json", "parquet", "excel", "pdf"])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--server", help="postgresql:// URL of a user who may create databases")
    parser.add_argument("--no-peers", action="store_true", help="only this project's own times")
    parser.add_argument("--option", action="append", default=[], help="format option, e.g. csv_bom=true")
    parser.add_argument("--one", nargs=3, metavar=("WHO", "FORMAT", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {name: json.loads(value) for name, value in (o.split("=", 1) for o in arguments.option)}
    if arguments.one:
        print(json.dumps(measure(*arguments.one, options)))
        return
    cases = plan(arguments.formats, arguments.rows, peers=not arguments.no_peers)
    results: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases}
    from benchmarks.orders import database

    with database(sorted({rows for _, _, rows in cases}), arguments.server) as urls:
        for _ in range(arguments.rounds):
            for who, format, rows in cases:
                command = [sys.executable, __file__, "--one", who, format, urls[rows]]
                command += [part for option in arguments.option for part in ("--option", option)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if done.returncode:
                    print(f"{who} failed on {format}", file=sys.stderr)
                else:
                    results[who, format, rows].append(json.loads(done.stdout))
    show(results)


def plan(formats: list[str], rows: int, peers: bool) -> list[Case]:
    """Every case once; ours also with each other number of rows that something is compared at."""
    cases: list[Case] = []
    for format in formats:
        others = [
            (name, min(rows, peer.most)) for name, peer in PEERS.items() if peers and format in peer.formats
        ]
        sizes = {rows, *(size for _, size in others)} | ({rows // 10} if rows >= 100_000 else set())
        cases += [(OURS, format, size) for size in sorted(sizes)]
        cases += [(name, format, size) for name, size in others]
    return cases


def measure(who: str, format: str, url: str, options: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for module in modules(who, format):
            import_module(module)
        started = time.perf_counter(), time.process_time()
        if who == OURS:
            result = export(format, url, folder, options)
        else:
            result = {"bytes": PEERS[who].write(url, folder).stat().st_size}
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    return {**result, "wall": wall, "cpu": cpu, "mb": peak_megabytes()}


def modules(who: str, format: str) -> tuple[str, ...]:
    """Return the modules that a warm worker has imported before a run comes; their import is not measured."""
    if who != OURS:
        return PEERS[who].imports
    package = Path(__file__).parents[1] / "export_pipeline/formats" / format
    parts = (f"formats.{format}.{path.stem}" for path in sorted(package.glob("[a-z]*.py")))
    ours = (
        "formats.options", "formats.registry", f"formats.{format}", *parts, "core.sanitize",
        "tabular.options", "orchestration.runs.staging", "sources.tables", "store.folder", "store.manifest",
        "store.publish",
    )  # fmt: skip
    libraries = ("adbc_driver_postgresql", "pyarrow.csv", "sqlalchemy.dialects.postgresql")
    return (*libraries, *(f"export_pipeline.{name}" for name in ours))


_FIGURES = ("wall", "cpu", "mb", "bytes", "proof")


def show(results: dict[Case, list[dict[str, Any]]]) -> None:
    medians = {
        case: {key: statistics.median(run.get(key, 0.0) for run in runs) for key in _FIGURES}
        for case, runs in results.items()
        if runs
    }
    print(f"{'format':8} {'who':12} {'rows':>9} {'wall':>7} {'cpu':>7} {'MB':>5} {'file MB':>8}  ratio")
    for (who, format, rows), one in medians.items():
        note = ""
        ours = medians.get((OURS, format, rows))
        if who != OURS and ours:
            bare = ours["wall"] - ours["proof"]
            note = (
                f"this / it {ours['wall'] / one['wall']:.2f}, it / this {one['wall'] / ours['wall']:.1f}; "
                f"without the proof {bare / one['wall']:.2f}, {one['wall'] / bare:.1f}"
            )
        elif who == OURS and (less := medians.get((OURS, format, rows // 10))):
            note = f"{one['mb'] - less['mb']:+.0f} MB against {rows // 10:,} rows"
        print(
            f"{format:8} {who:12} {rows:9} {one['wall']:7.2f} {one['cpu']:7.2f} {one['mb']:5.0f} "
            f"{one['bytes'] / 1e6:8.1f}  {note}"
        )
        if who == OURS:
            stages = results[who, format, rows][-1]["stages"]
            print(
                "         "
                + "  ".join(
                    f"{s} {wall:.2f} ({cpu:.2f}, {mb:.0f} MB)" for s, (wall, cpu, mb) in stages.items()
                )
            )


if __name__ == "__main__":
    main()
