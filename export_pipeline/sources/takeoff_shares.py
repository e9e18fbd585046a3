"""Shares of a takeoff's measurements, each to be read over a connection of its own at the same time.

They are ranges of pages: measurements are found by their page, and no page has most of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import sqlalchemy as sa

from export_pipeline.model.streams import WORKERS
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.sources.takeoff_tables import Measurement

LEAST_ROWS = 20_000  # fewer are read before another connection is worth it


def shares(
    snapshot: Snapshot, by_page: Mapping[str | None, int]
) -> list[tuple[Snapshot, sa.ColumnElement[bool]]]:
    """Where to read each share, and the condition that tells its measurements.

    There are none where rows are few, or where the database has no second connection that sees the same
    moment.

    Args:
        by_page: How many measurements each page has.
    """
    pages = sorted(page for page in by_page if page is not None)
    count = sum(by_page.values())
    if count < LEAST_ROWS or len(pages) < len(by_page):
        return []
    readers = [snapshot, *snapshot.beside(WORKERS - 1)]
    upto = list(accumulate(by_page[page] for page in pages))
    ends = dict.fromkeys(
        next(page for page, rows in zip(pages, upto, strict=True) if rows * len(readers) >= count * number)
        for number in range(1, len(readers))
    )
    ends.pop(pages[-1], None)
    bounds = zip([None, *ends], [*ends, None], strict=True)
    return [(reader, _within(*bound)) for reader, bound in zip(readers, bounds, strict=False)] if ends else []


def _within(after: str | None, last: str | None) -> sa.ColumnElement[bool]:
    conditions = [] if after is None else [Measurement.page_id > after]
    return sa.and_(*conditions, *([] if last is None else [Measurement.page_id <= last]))
