"""Many rows, long ones, and how they are cut into batches change nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export_pipeline.takeoff.ost import validate
from export_pipeline_tests.takeoff.ost.sample import (
    FEET,
    SLAB,
    WALL,
    imported,
    line,
    page,
    rendered,
    shape,
    xy,
)


@pytest.mark.slow
def test_more_rows_than_one_slice_and_the_shortest_texts(path: Path) -> None:
    """UIDs are reserved from the texts' lengths; the shortest texts must not run into other UIDs."""
    points = {"points": [xy(n % 2, n % 3) for n in range(40)]}
    texts = [json.dumps(points, separators=(",", ":")), '{"x":1,"y":2,"width":3,"height":4}']
    types = ["polygon", "rectangle"]
    measurements = [shape(types[n % 2], 0, texts[n % 2], n // 3000) for n in range(9000)]
    done = rendered(path, [WALL], [page(1), page(2), page(3)], measurements)
    assert done.rows == 9000
    assert validate.check(path) == []
    facts = validate.inspect(path)
    assert facts.measurements == 9000


def test_batches_and_pages_do_not_need_to_agree(path: Path) -> None:
    """Runs of a page over batch ends, pages without takeoffs in between, UIDs falling within each page."""
    pages = [page(n) for n in range(1, 12)]
    measurements = [
        line(0, (0, 0), (FEET, 0), (FEET, FEET), page_index=i) for i in (1, 1, 1, 4, 4, 5, 9, 9, 9, 9)
    ]
    files = []
    for batch in (1, 2, 3, 100):
        job = imported(path, [WALL], pages, measurements, batch=batch)
        assert len(job.pages) == 11
        assert {k: len(v) for k, v in job.conditions[0].takeoffs.items()} == {
            "A.pdf 2": 6, "A.pdf 5": 4, "A.pdf 6": 2, "A.pdf 10": 8,
        }  # fmt: skip
        files.append(path.read_bytes())
    assert len(set(files)) == 1


@pytest.mark.slow
def test_ten_thousand_conditions_and_long_polygons(path: Path) -> None:
    conditions = [{**SLAB, "name": f"Slab {i}"} for i in range(5_000)]
    ring = [xy(1000 + 900 * math.cos(a), 1000 + 900 * math.sin(a)) for a in np.linspace(0, 6.28, 20_000)]
    done = rendered(path, conditions, [page()], [shape("polygon", 4_999, {"points": ring})])
    assert done.rows == 1
    assert validate.check(path) == []
    quantity = list(validate.quantities(path).values())[4_999]
    assert quantity.value == pytest.approx(math.pi * 24**2, rel=1e-4)


_MEMORY = """
import json, sys
import numpy as np
import pyarrow as pa
from export_pipeline.takeoff.ost import write
from export_pipeline.core.tables import Table
from export_pipeline_tests.takeoff.ost.sample import CONDITIONS, MEASUREMENT, layout, page
from dataclasses import replace

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024

batch = pa.RecordBatch.from_pydict(
    {k: pa.nulls(8192, t) for k, (_, t) in MEASUREMENT.items()} | {
        "geometry_type": ["circle"] * 8192,
        "condition_index": pa.array([1] * 8192),
        "page_index": pa.array([0] * 8192),
        "geometry_data": ['{"center":{"x":1.25,"y":3},"radius":10.5}'] * 8192})

class Sink:
    size = 0
    def write(self, data):
        self.size += len(data)

peaks = []
for batches in (1, int(sys.argv[1])):
    rows = lambda: (batch for _ in range(batches))
    base = layout(CONDITIONS, [page()], [])
    tables = {**base.tables, "measurements_by_page": replace(base.tables["measurements_by_page"], open=rows)}
    sink = Sink()
    write.render(replace(base, tables=tables), sink)
    peaks.append(peak())
print(json.dumps([sink.size, *peaks]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows() -> None:
    done = subprocess.run([sys.executable, "-c", _MEMORY, "12"], capture_output=True, text=True, check=True)
    size, first, last = json.loads(done.stdout)
    assert size > 300e6
    assert last - first < 60
