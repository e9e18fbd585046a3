"""Layouts: the arrangement of an export for people and programs, independent of any format.

Each dataset describes its own shape (e.g. project > conditions > measurements) once, in these terms.
Formats know only these terms, so a new application adds no code to `formats`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from export_pipeline.core.amounts import Amount
from export_pipeline.core.tables import Table

Number = int | float | Decimal


@dataclass(frozen=True, slots=True)
class Total:
    """A total row below a table.

    Attributes:
        label: Printed in the row's first cell, e.g. "Total SF".
        values: The sum by column name. Other columns stay empty.
        where: (column, value): only rows with this value are added, e.g. ("unit", "SF"). Excel writes
            SUMIF for these and SUM for the others, with the value as the cached result.
    """

    label: str
    values: Mapping[str, Number]
    where: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A run of consecutive rows of a section's table: a sheet in Excel, a sub-chapter in PDF."""

    title: str
    rows: int
    lines: tuple[str, ...] = ()
    totals: tuple[Total, ...] = ()
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A table for people: a sheet in Excel (or one sheet per group), a chapter in PDF.

    Attributes:
        key: Unique in the layout, e.g. "summary".
        title: The sheet's name, the chapter's heading. In a grouped section the groups' titles name
            the sheets.
        table: The rows.
        heading: Printed above the table if it differs from the title.
        lines: Lines printed between heading and table.
        totals: Total rows below the table (of an ungrouped section).
        groups: If not None, the table is divided into these runs, in order; sum(g.rows) == table.rows.
        links: (column, key of a grouped section): the i-th row's cell in this column links to the
            i-th group of that section.
        counts: True if this section's rows are the rows of the export, used to count the rows of a file.
            True for exactly one section of a layout.
        sums: Columns of a counting section whose sums over all rows are used to verify a file.
        empty: Printed if the table (or a group) has no rows.
    """

    key: str
    title: str
    table: Table
    heading: str | None = None
    lines: tuple[str, ...] = ()
    totals: tuple[Total, ...] = ()
    groups: tuple[Group, ...] | None = None
    links: tuple[str, str] | None = None
    counts: bool = False
    sums: tuple[str, ...] = ()
    empty: str = "No rows."


@dataclass(frozen=True, slots=True)
class Nested:
    """Nested rows for JSON: the i-th parent row contains the next `counts[i]` child rows."""

    parent: Table
    child_name: str
    child: Table
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing: shapes in a plane with the origin at the top left and y pointing down.

    Attributes:
        title: Heading of the page that shows it.
        lines: Lines below the heading, e.g. the scale.
        width, height: Size of the plane, in the shapes' own units (pixels of a drawing page).
        shapes: Rows (kind string: line|polyline|polygon|point|none; color string "#RRGGBB"; fill_opacity
            float64, 0 for none; line_width float64, in points on paper;
            points list<float64>: x1 y1 x2 y2 …).
        legend: (label, color) pairs, in order.
        units_per_foot: Units of the plane per foot, for a scale bar; None if unknown.
    """

    title: str
    width: float
    height: float
    shapes: Table
    lines: tuple[str, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    units_per_foot: float | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """The expected content of a format's file, as the source itself counted and added it.

    Attributes:
        rows: Rows of the export.
        totals: (sum, tolerance) by column, under the name or header that the format's reader reports. The
            tolerance covers only the rounding of printed cells.
        amounts: How to print each total, under the same names.
    """

    rows: int
    totals: Mapping[str, tuple[float, float]]
    amounts: Mapping[str, Amount] = field(default_factory=dict)

    def amount(self, name: str) -> Amount:
        """Return how to print a total."""
        return self.amounts.get(name) or Amount(name)


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one export.

    Attributes:
        title: The export's title, e.g. "Export: Riverside School".
        facts: (label, value) pairs that introduce it: client, status, options, snapshot time.
        description: A longer text below the title; "" for none.
        created: When the data were read, with zone. Formats print this, never the current time, so that
            the same snapshot always gives the same bytes.
        period: The window in words; None without one.
        main: The flat table: CSV, and every format that holds a single table.
        flat: Tables by format name, for flat formats whose columns or values differ from `main`.
        document: The JSON document: plain values, tables (arrays) and nested tables by key; or one table.
        excel: The sheets.
        pdf: The chapters.
        figures: Drawings at the end of the PDF.
        tables: Every table by name, for formats with a shape of their own (OST).
        subject: Facts about the subject by field name (of a project: id, name, client_name, …).
        proofs: The expected content of each format's file, by format name.
        file_name: Suggested file name for people, without extension.
        members: In a bundle, the datasets' own layouts by name; a ZIP holds their files.
        provenance: The origin of the data (dataset, scope, window, options) for the manifest of a ZIP;
            JSON values only.
        warnings: Sentences about the data, for the manifest of a ZIP.
        changed: Cells changed before rendering, by (reason, column).
        author: Author in document properties.
    """

    title: str
    created: datetime
    main: Table
    document: Mapping[str, Any] | Table
    excel: tuple[Section, ...]
    pdf: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...] = ()
    description: str = ""
    figures: tuple[Figure, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    flat: Mapping[str, Table] = field(default_factory=dict)
    subject: Mapping[str, Any] = field(default_factory=dict)
    period: str | None = None
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    file_name: str = "export"
    members: Mapping[str, Layout] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    changed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    author: str = "export_pipeline"

    def shown(self, format: str) -> dict[str, Table]:
        """Return the tables in a file of a format, by the name of their place in it.

        Args:
            format: Name of the format. If it holds a single table, this is `flat` or `main`, named "rows".
        """
        match format:
            case "excel" | "pdf":
                return {section.title: section.table for section in getattr(self, format)}
            case "json":
                return dict(_tables_in(self.document, ""))
            case "ost":
                return dict(self.tables)
        return {"rows": self.flat.get(format, self.main)}

    def personal(self, format: str) -> dict[str, tuple[str, ...]]:
        """Return the columns with personal data in a file of a format, as named in the file, by table."""
        by_name = format in ("json", "jsonl", "parquet", "ost")
        found = {
            name: tuple(
                column.name if by_name else column.header for column in table.columns if column.personal
            )
            for name, table in self.shown(format).items()
        }
        return {name: headers for name, headers in found.items() if headers}


def _tables_in(value: Any, name: str) -> Iterator[tuple[str, Table]]:
    """Yield the tables of a JSON document, named by their keys."""
    if isinstance(value, Table):
        yield name or "rows", value
    elif isinstance(value, Nested):
        yield name, value.parent
        yield f"{name}.{value.child_name}", value.child
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tables_in(item, f"{name}.{key}" if name else str(key))
