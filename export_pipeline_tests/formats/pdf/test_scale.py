"""Large exports: memory stays where it is, whatever the number of rows."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys, tempfile
from pathlib import Path
import numpy as np, pyarrow as pa
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.pdf import readback
from export_pipeline.formats.pdf.options import PdfOptions
from export_pipeline.formats.pdf.write import render
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Group, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline_tests.formats.pdf.reading import layout

count = int(sys.argv[1])
columns = (Column("n", "N", Kind.INTEGER), Column("q", "Q", Kind.FLOAT, 3), Column("t", "T", Kind.TEXT))

def opened():
    for start in range(0, count, 5_000):
        number = np.arange(start, min(count, start + 5_000))
        texts = [f"note {n} " * (n % 9) for n in number.tolist()]
        yield pa.record_batch([pa.array(number), pa.array(number / 8), pa.array(texts)], ["n", "q", "t"])

groups = tuple(Group(f"G {i}", 100, (), (Total("Sum", {"q": 1.5}),)) for i in range(count // 100))
section = Section("s", "S", Table("t", columns, count, opened), groups=groups, counts=True, sums=("q",))
with tempfile.NamedTemporaryFile() as file:
    assert render(layout(section), file, PdfOptions()).rows == count
    file.flush()
    assert readback.read_back(Path(file.name)) == FileFacts(count, {"q": count * (count - 1) / 16})
assert "pandas" not in sys.modules and "dagster" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(rows: int) -> int:
    """The peak memory, in MiB, of a process that renders so many rows."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(rows)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    assert peak(120_000) - peak(20_000) < 30
