"""Layouts around one table, for tests of a single format."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, arrow_types
from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.formats.registry import FORMATS

CREATED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def table(columns: Sequence[Column], rows: Sequence[Sequence[Any]], batch_rows: int = 3) -> Table:
    """A table of rows, in small batches so that their borders are crossed."""
    arrays = [
        pa.array([row[index] for row in rows], arrow_types()[column.kind])
        for index, column in enumerate(columns)
    ]
    return Table.of("t", columns, pa.table(arrays, [column.name for column in columns]), batch_rows)


def rendered(format: str, main: Table, document: Any = None, **options: Any) -> tuple[bytes, Rendered]:
    """The bytes that a format writes for one table, and the result of its renderer."""
    out = BytesIO()
    layout = Layout("T", CREATED, main, main if document is None else document, (), ())
    done = FORMATS[format].render(layout, out, FORMATS[format].options(**options))
    return out.getvalue(), done


def read_back(format: str, file: Path, **options: Any) -> FileFacts:
    """The facts that a format's reader finds in a file."""
    facts: FileFacts = FORMATS[format].read_back(file, FORMATS[format].options(**options))
    return facts
