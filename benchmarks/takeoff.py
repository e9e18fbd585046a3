"""Measures a takeoff export, format by format, and its On-Screen Takeoff XML against what a user would write.

    python benchmarks/takeoff.py                       200,000 and 20,000 measurements, SQLite
    python benchmarks/takeoff.py --postgresql ost      in a PostgreSQL of its own (needs the dev dependencies)
    python benchmarks/takeoff.py --rounds 3            medians of three interleaved runs

Each format runs in a process of its own; memory is the peak above what was there after the imports. "lxml"
is its `xmlfile` over the database's rows, an element at a time: it fetches and writes the same project and
proves nothing. "its / ours" has its time against this one's whole path, and its writing against the rendering
alone.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ours import Laps, peak_megabytes, publish

STAGES = ("fetch", "build", "render", "read back", "publish", "total")
PEER = "lxml"


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("formats", nargs="*", default=["csv", "excel", "pdf", "json", "ost"])
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="read from PostgreSQL instead of SQLite")
    parser.add_argument("--one", nargs=2, metavar=("FORMAT", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    names = arguments.formats + [PEER] * ("ost" in arguments.formats)
    print(f"{'rows':>8} {'format':8}" + "".join(f"{stage:>10}" for stage in STAGES) + "   MB")
    for rows in arguments.rows:
        results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        with database(rows, arguments.postgresql) as url:
            for _ in range(arguments.rounds):
                for name in names:
                    command = [sys.executable, __file__, "--one", name, url]
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    results[name].append(json.loads(done.stdout))
        show(results)


def show(results: dict[str, list[dict[str, float]]]) -> None:
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in results.items()
    }
    for name, one in medians.items():
        stages = "".join(f"{one[stage]:10.2f}" if stage in one else " " * 10 for stage in STAGES)
        print(f"{one['rows']:8.0f} {name:8}{stages} {one['megabytes']:4.0f}")
    if PEER in medians:
        its, ours = medians[PEER], medians["ost"]
        print(f"{'':8} its / ours: {its['total'] / ours['total']:.1f} the whole, ", end="")
        print(f"{its['render'] / ours['render']:.1f} rendering alone")


@contextlib.contextmanager
def database(rows: int, postgresql: bool) -> Iterator[str]:
    """The URL of a database with one project of so many measurements."""
    with contextlib.ExitStack() as stack:
        if postgresql:
            from export_pipeline_tests.services.postgres import postgres_server

            url = stack.enter_context(stack.enter_context(postgres_server()).database())
        else:
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/takeoff.db"
        import sqlalchemy as sa

        from export_pipeline.demo.takeoff import fill, sized

        engine = sa.create_engine(url)
        fill(engine, [sized(rows)])
        engine.dispose()
        yield url


def measure(name: str, url: str) -> dict[str, float]:
    for module in modules(name, url):
        import_module(module)
    gc.collect()
    gc.freeze()  # as the warm process does before a run is forked from it
    floor, started = peak_megabytes(), time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        if name == PEER:
            from benchmarks.takeoff_peer import export as write

            result = write(url, Path(temporary) / "export.xml")
        else:
            result = export(name, url, Path(temporary))
        total = time.perf_counter() - started
    return result | {"total": total, "megabytes": peak_megabytes() - floor}


def modules(name: str, url: str) -> tuple[str, ...]:
    """Return the modules that a worker has imported before a run comes; their import is not measured."""
    driver = "postgresql" if url.startswith("postgresql") else "sqlite"
    if name == PEER:
        drivers = ("psycopg2.extras",) if driver == "postgresql" else ()
        return (
            f"sqlalchemy.dialects.{driver}",
            *drivers,
            "lxml.etree",
            "export_pipeline.takeoff.source_tables",
        )
    adbc = ("adbc_driver_postgresql",) if driver == "postgresql" else ()
    writer = "takeoff.ost" if name == "ost" else f"formats.{name}"
    ours = (
        f"{writer}.write", f"{writer}.readback", "formats.registry", "core.sanitize", "takeoff.build",
        "takeoff.layout", "takeoff.source", "orchestration.runs.staging", "store.folder", "store.manifest",
        "store.publish",
    )  # fmt: skip
    return (f"sqlalchemy.dialects.{driver}", *adbc, "dagster", *(f"export_pipeline.{part}" for part in ours))


def export(name: str, url: str, folder: Path) -> dict[str, Any]:
    """Export the only project, with its drawings, in one format; rows, and seconds of each stage."""
    from export_pipeline import takeoff as shape
    from export_pipeline.core.export_data import Request
    from export_pipeline.core.sanitize import sanitize
    from export_pipeline.formats.registry import FORMATS
    from export_pipeline.orchestration.runs.staging import load, save
    from export_pipeline.sources.snapshot import open_snapshot
    from export_pipeline.takeoff import build, layout
    from export_pipeline.takeoff import source as takeoff
    from export_pipeline.takeoff.options import TakeoffOptions

    options = TakeoffOptions(include_drawings=True, include_details=True)  # a PDF of all rows
    with Laps() as lap:
        with open_snapshot(url) as snapshot:
            (scope,) = takeoff.scopes(snapshot, {})
            request = Request("takeoff", shape, {}, scope, options)
            data = takeoff.read(snapshot, request)
            save(data, folder / "fetched")
        lap("fetch")
        save(build(load(folder / "fetched", {data.dataset: data})), folder / "built")
        save(sanitize(load(folder / "built", {data.dataset: data})), folder / "clean")
        lap("build")
        rows, _ = publish(
            name,
            layout(load(folder / "clean", {data.dataset: data})),
            folder,
            FORMATS[name].options_of({}),
            lap,
        )
    return {"rows": rows} | {stage: wall for stage, (wall, _, _) in lap.laps.items()}


if __name__ == "__main__":
    main()
