"""The whole path of one export, by the functions that the ops use, without Dagster around them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from export_pipeline.core.layout import Layout
    from export_pipeline.tabular.options import Parts

COLUMNS = {
    "id": "integer", "order_uuid": "uuid", "customer": "text", "email": "text", "amount_cents": "integer",
    "unit_price": "decimal(12,4)", "tax": "decimal(12,4)", "weight": "float", "score": "float",
    "paid": "boolean", "gift": "boolean", "ordered_on": "date", "created_at": "timestamp",
    "updated_at": "timestamp", "comment": "text", "status": "enum", "country": "text",
    "attributes": "json", "notes": "text", "sku": "text",
}  # fmt: skip
PDF_COLUMNS = (
    "id", "customer", "email", "amount_cents", "unit_price", "weight", "paid", "ordered_on", "status", "sku",
)  # fmt: skip


def export(
    name: str, url: str, folder: Path, options: Mapping[str, Any], limits: Parts | None = None
) -> dict[str, Any]:
    """Export all orders in one format, as one file or in parts of a size.

    Returns:
        {"rows", "bytes", "stages": {stage: [wall s, CPU s, peak MB]}, "proof": wall s}; the proof is what the
        database counts and adds, as a part of fetching, and reading the file back.
    """
    from export_pipeline.core.sanitize import sanitize
    from export_pipeline.formats.options import FormatOptions
    from export_pipeline.orchestration.runs.staging import load, save
    from export_pipeline.sources.snapshot import open_snapshot
    from export_pipeline.sources.tables import read as table
    from export_pipeline.tabular import build
    from export_pipeline.tabular import layout as lay_out

    proof = 0.0
    count_and_totals = table.count_and_totals

    def timed(*arguments: Any) -> Any:
        nonlocal proof
        started = time.perf_counter()
        totals = count_and_totals(*arguments)
        proof += time.perf_counter() - started
        return totals

    table.count_and_totals = timed
    with Laps() as lap:
        asked = FormatOptions(**options)
        with open_snapshot(url) as snapshot:
            data = table.read(snapshot, request_for(name))
            save(replace(data, options={**data.options, **asked.model_dump()}), folder / "fetched")
        lap("fetch")
        save(build(load(folder / "fetched", {data.dataset: data})), folder / "built")
        save(sanitize(load(folder / "built", {data.dataset: data})), folder / "clean")
        lap("build, sanitize")
        layout = lay_out(load(folder / "clean", {data.dataset: data}))
        make = partial(publish_parts, limits=limits) if limits else publish
        rows, size = make(name, layout, folder, asked.of(name), lap)
    proof += lap.laps.get("read back", [0.0])[0]
    return {"rows": rows, "bytes": size, "stages": lap.laps, "proof": proof}


def publish(name: str, layout: Layout, folder: Path, options: Any, lap: Laps) -> tuple[int, int]:
    """Render into a store in the folder, read back and publish; rows and bytes of the file."""
    from export_pipeline.formats.registry import FORMATS
    from export_pipeline.store.factory import open_store
    from export_pipeline.store.manifest import Manifest
    from export_pipeline.store.publish import publish

    format = FORMATS[name]
    path = folder / f"export{format.extension}"
    store = open_store(str(folder / "store"))
    upload = store.begin(
        f"exports/export{format.extension}", media_type=format.media_type, file_name=path.name, local=path
    )
    rendered = format.render(layout, cast(BinaryIO, upload), options)
    size = upload.finish().bytes
    lap("render")
    facts = format.read_back(path, options)
    _check(rendered, facts, format.proof(layout, options))
    lap("read back")

    def manifest(stored: Any) -> Manifest:
        return Manifest(
            name=f"export-{name}", path=stored.key.rpartition("/")[2], bytes=stored.bytes,
            hash=f"sha256:{stored.sha256}", format=name, mediatype=format.media_type.partition(";")[0],
            rows=rendered.rows, dataset="export", snapshot_at=layout.created,
        )  # fmt: skip

    publish(store, upload, manifest)
    lap("publish")
    return rendered.rows, size


def publish_parts(
    name: str, layout: Layout, folder: Path, options: Any, lap: Laps, limits: Parts
) -> tuple[int, int]:
    """Render in parts into a store in the folder, read back and publish; rows and bytes of all parts."""
    from export_pipeline.datasets.parts import render_parts
    from export_pipeline.formats.registry import FORMATS
    from export_pipeline.store.factory import open_store
    from export_pipeline.store.manifest import Manifest
    from export_pipeline.store.parts import PartedUpload
    from export_pipeline.store.publish import publish

    format = FORMATS[name]
    (folder / "parts").mkdir()
    store, names = open_store(str(folder / "store")), {"media_type": "text/csv", "file_name": "export"}
    upload = PartedUpload(store, f"exports/export{format.extension}", folder / "parts", **names)
    rendered, facts = render_parts(upload, layout, format, options, limits)
    lap("render, read back")
    _check(rendered, facts, format.proof(layout, options))
    stored, manifest = publish(
        store,
        upload,
        lambda stored: Manifest(
            name=f"export-{name}", path=stored.key.rpartition("/")[2], bytes=stored.bytes,
            hash=f"sha256:{stored.sha256}", format=name, mediatype=format.media_type.partition(";")[0],
            rows=rendered.rows, dataset="export", snapshot_at=layout.created, parts=upload.parts,
        ),
    )  # fmt: skip
    assert sum(part.rows for part in manifest.parts) == rendered.rows
    lap("publish")
    return rendered.rows, stored.bytes


def peak_megabytes() -> float:
    """Return the peak memory of this process alone: getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Laps:
    """Wall and CPU seconds of what came between two calls, and the memory so far."""

    def __init__(self) -> None:
        self.laps: dict[str, list[float]] = {}

    def __enter__(self) -> Laps:
        self._last = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *raised: object) -> None:
        return None

    def __call__(self, stage: str) -> None:
        now = time.perf_counter(), time.process_time()
        self.laps[stage] = [now[0] - self._last[0], now[1] - self._last[1], peak_megabytes()]
        self._last = now


def spec() -> dict[str, Any]:
    """Return the spec of the orders, as a defs.yaml would give it."""
    columns = [{"name": name, "type": kind} for name, kind in COLUMNS.items()]
    return {"source": {"table": "orders", "key": ["id"]}, "columns": columns}


def request_for(name: str) -> Any:
    """A request for all orders; the PDF has ten of the columns."""
    from export_pipeline import tabular
    from export_pipeline.core.export_data import Request
    from export_pipeline.tabular import options

    chosen = options(spec())(columns=PDF_COLUMNS if name == "pdf" else tuple(COLUMNS))
    return Request("orders", tabular, spec(), None, chosen)


def _check(rendered: Any, facts: Any, proof: Any) -> None:
    """Check a file as the run of an export does before it publishes."""
    assert (facts.rows, facts.problems) == (rendered.rows, ()), facts
    assert facts.rows == proof.rows
    for name, (total, tolerance) in proof.totals.items():
        assert abs(facts.totals.get(name, 0.0) - total) <= tolerance, (name, facts.totals.get(name), total)
