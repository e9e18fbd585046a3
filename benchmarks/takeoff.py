"""Measures a takeoff export, format by format: seconds of each stage and the memory it needs.

    python benchmarks/takeoff.py                      200,000 and 20,000 measurements, SQLite
    python benchmarks/takeoff.py --url postgresql://…  an empty database to fill and read instead
    python benchmarks/takeoff.py --rows 50000

Each format runs in a process of its own; memory is the peak above what was there after the imports.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("fetch", "build", "render", "verify", "total")


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--url", help="SQLAlchemy URL of a database that may be overwritten")
    parser.add_argument("--one", nargs=2, metavar=("FORMAT", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    from export_pipeline.formats.registry import FORMATS

    print(f"{'rows':>8} {'format':8} {'fetch':>7} {'build':>7} {'render':>7} {'verify':>7} {'total':>7}   MB")
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            url = arguments.url or f"sqlite:///{folder}/takeoff.db"
            fill(url, rows)
            for name in FORMATS:
                command = [sys.executable, __file__, "--one", name, url]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                stages = "".join(f"{found[stage]:8.2f}" for stage in STAGES)
                print(f"{found['rows']:8} {name:8}{stages} {found['megabytes']:4.0f}")


def fill(url: str, rows: int) -> None:
    import sqlalchemy as sa

    from export_pipeline.demo.takeoff import fill as fill_samples
    from export_pipeline.demo.takeoff import sized

    engine = sa.create_engine(url)
    fill_samples(engine, [sized(rows)])
    engine.dispose()


def measure(name: str, url: str) -> dict[str, float]:
    import dagster  # noqa: F401 - part of the floor: every run has it

    from export_pipeline.formats.registry import FORMATS
    from export_pipeline.model.export_data import Request
    from export_pipeline.model.sanitize import sanitize
    from export_pipeline.model.takeoff import build, layout
    from export_pipeline.model.takeoff.options import TakeoffOptions
    from export_pipeline.orchestration.staging import load, save
    from export_pipeline.sources import takeoff
    from export_pipeline.sources.snapshot import open_snapshot

    found: dict[str, float] = {}
    floor = _megabytes()
    started = last = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal last
        found[stage], last = time.perf_counter() - last, time.perf_counter()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with open_snapshot(url) as snapshot:
            (scope,) = takeoff.scopes(snapshot, {})
            save(
                takeoff.read(
                    snapshot,
                    Request("takeoff", takeoff.MODEL, {}, scope, TakeoffOptions(include_drawings=True)),
                ),
                folder / "fetched",
            )
        lap("fetch")
        save(build(load(folder / "fetched")), folder / "built")
        save(sanitize(load(folder / "built")), folder / "clean")
        lap("build")
        format = FORMATS[name]
        path = folder / f"export{format.extension}"
        laid_out = layout(load(folder / "clean"))
        with path.open("wb") as out:
            found["rows"] = format.render(laid_out, out, {}).rows
        lap("render")
        assert format.read_back(path).rows == found["rows"]
        lap("verify")
    return found | {"total": last - started, "megabytes": _megabytes() - floor}


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
