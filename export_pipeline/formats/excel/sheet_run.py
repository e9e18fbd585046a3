"""The sheets of one section, opened and closed as its rows arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa

from export_pipeline.core.layout import Section
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.excel.archive import Entry
from export_pipeline.formats.excel.cells import ColumnCells
from export_pipeline.formats.excel.links import MAX_LINKS, MAX_URL, SheetLinks
from export_pipeline.formats.excel.names import quote_sheet
from export_pipeline.formats.excel.plan import SectionPlan, Sheet
from export_pipeline.formats.excel.rows import Links, Positions, RowXml, Slice
from export_pipeline.formats.excel.sheet import Frame, SheetWriter


class Book(Protocol):
    """The workbook that sheets are opened in."""

    @property
    def sheets(self) -> int:
        """Number of sheets begun."""

    def open_sheet(self, sheet: Sheet, frame: Frame, section: Section) -> Entry:
        """Begin the next sheet's part and add the sheet to the list."""

    def write_relations(self, sheet: Sheet, frame: Frame, links: SheetLinks | None) -> None:
        """Write the table of the sheet that was written last, if it has one, and what the sheet refers to."""

    def warn(self, sentence: str) -> None:
        """Add a warning for the manifest."""


class SheetRun:
    """The sheets of one section, opened and closed as its rows arrive."""

    def __init__(self, workbook: Book, plan: SectionPlan, writer: SheetWriter, frame: Frame) -> None:
        self._workbook = workbook
        self._plan = plan
        self._writer = writer
        self._frame = frame
        self._positions = Positions(plan.sheets)
        self._seen = 0
        self._current = -1
        self._entry: Entry | None = None
        self._links_here: SheetLinks | None = None
        self._too_long = 0
        # Numeric columns that hold a string, keyed by their table (the name of its last sheet).
        self._text_columns: dict[str, set[int]] = {}

    def prepared(self, batches: Iterable[pa.RecordBatch], columns: list[ColumnCells]) -> Iterator[Slice]:
        """Yield the batches' rows with their positions.

        Raises:
            RenderError: There are more rows than the table has said.
        """
        table = self._plan.section.table
        for batch in batches:
            if self._seen + batch.num_rows > table.rows:
                raise RenderError(f"Table {table.name!r} gave more rows than the {table.rows:,} it promised.")
            yield Slice(batch, columns, self._positions, self._seen)
            self._seen += batch.num_rows

    def write(self, rows: RowXml) -> None:
        """Write rows into their sheets."""
        for column, sheets in rows.odd:
            for index in sheets:
                self._text_columns.setdefault(_table_key(self._plan.sheets[index]), set()).add(column)
        for run in rows.runs:
            self._advance(run.sheet)
            assert self._entry is not None
            self._entry.write(run.data, run.packed)
            for links in rows.links:
                self._add_links(links, run.sheet)
        self._too_long += sum(links.too_long for links in rows.links)

    def _add_links(self, links: Links, sheet: int) -> None:
        here = np.flatnonzero(links.sheets == sheet)
        if not len(here):
            return
        if self._links_here is None:
            self._links_here = SheetLinks(first=2)  # the first is the table
        addresses = [links.addresses[index] for index in here]
        self._links_here.add(links.letters, links.rows[here].tolist(), addresses)

    def finish(self) -> None:
        """Write the remaining sheets, which have no rows, and close the last one.

        Raises:
            RenderError: There were fewer rows than the table has said.
        """
        table = self._plan.section.table
        if self._seen != table.rows:
            raise RenderError(
                f"Table {table.name!r} gave {self._seen:,} rows, not the {table.rows:,} it promised."
            )
        self._advance(len(self._plan.sheets))
        if self._too_long:
            self._workbook.warn(
                f"{self._too_long:,} addresses are longer than {MAX_URL:,} characters, so they are no links."
            )

    def _advance(self, index: int) -> None:
        """Close sheets until the one with this index is open."""
        while self._current < index:
            if self._entry is not None:
                sheet = self._plan.sheets[self._current]
                texts = self._text_columns.get(_table_key(sheet), ())
                links = self._links_here
                self._entry.write(
                    self._writer.tail(sheet, texts, self._links(sheet), links.xml if links else "")
                )
                self._entry.close()
                self._entry, self._links_here = None, None
                self._workbook.write_relations(sheet, self._frame, links)
                if links is not None and links.left_out:
                    self._workbook.warn(
                        f"Only the first {MAX_LINKS:,} addresses of {sheet.name!r} are links; "
                        f"{links.left_out:,} more are text."
                    )
            self._current += 1
            if self._current < len(self._plan.sheets):
                sheet = self._plan.sheets[self._current]
                first = self._workbook.sheets == 0
                self._entry = self._workbook.open_sheet(sheet, self._frame, self._plan.section)
                self._entry.write(self._writer.head(sheet, selected=first))

    def _links(self, sheet: Sheet) -> list[tuple[str, str]]:
        """Return (cell, location) of the sheet's links."""
        section, targets = self._plan.section, self._plan.targets
        if section.links is None or not targets:
            return []
        names = [column.name for column in section.table.columns]
        letters = self._frame.letters[names.index(section.links[0])]
        start = int(self._positions.starts[self._current])
        names_here = targets[start : start + sheet.rows]
        if len(names_here) > MAX_LINKS:
            self._workbook.warn(f"Only the first {MAX_LINKS:,} rows of {sheet.name!r} are links.")
        return [
            (f"{letters}{row}", f"{quote_sheet(name)}!A1")
            for row, name in enumerate(names_here[:MAX_LINKS], start=sheet.first_row)
            if name is not None
        ]


def _table_key(sheet: Sheet) -> str:
    return sheet.ranges[-1][0]
