"""Layouts: how an export is laid out for people and programs, whatever the format.

A dataset's own shape (takeoff's project > conditions > measurements) is said once, in these terms;
formats know only these terms, so a new application brings no code to `formats`.
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
        values: The sum by column name. Columns not named stay empty.
        where: (column, value): only rows with this value count, e.g. ("unit", "SF"). Excel writes
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
    """A table people read: a sheet in Excel (or one sheet a group), a chapter in PDF.

    Attributes:
        key: Unique in the layout, e.g. "summary".
        title: The sheet's name, the chapter's heading. For a grouped section the groups' titles name
            the sheets.
        table: The rows.
        heading: Printed above the table where it differs from the title.
        lines: Lines printed between heading and table.
        totals: Total rows below the table (of an ungrouped section).
        groups: If not None, the rows fall into these runs, in order; sum(g.rows) == table.rows.
        links: (column, key of a grouped section): the i-th row's cell in this column leads to the
            i-th group of that section.
        counts: Whether this section's rows are the rows of the export (for counting what a file
            holds); exactly one section of a layout says so.
        sums: Columns of a counting section whose sum over all rows proves a file.
        empty: Printed where the table (or a group) has no rows.
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
    """Rows with rows inside them, for JSON: the i-th parent holds the next `counts[i]` children."""

    parent: Table
    child_name: str
    child: Table
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing: shapes in a plane whose origin is top-left and whose y runs down.

    Attributes:
        title: Heading of the page that shows it.
        lines: Lines below the heading, e.g. the scale.
        width, height: Size of the plane, in the shapes' own units (pixels of a drawing page).
        shapes: Rows (kind string: line|polyline|polygon|point|none; color string "#RRGGBB"; fill_opacity
            float64,
            0 for none; line_width float64, in points on paper; points list<float64>: x1 y1 x2 y2 …).
        legend: (label, color) pairs, in order.
        units_per_foot: How many of the plane's units make one foot, None if unknown; for a scale bar.
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
    """What a format's file must hold, as the source itself counted and added it.

    Attributes:
        rows: Rows of the export.
        totals: (sum, tolerance) by column, under the name or header that the format's reader reports. The
            tolerance is what printing fewer digits can make, nothing else.
        amounts: How each of the totals is said to people, under the same names.
    """

    rows: int
    totals: Mapping[str, tuple[float, float]]
    amounts: Mapping[str, Amount] = field(default_factory=dict)

    def amount(self, name: str) -> Amount:
        """Return how a total is said to people."""
        return self.amounts.get(name) or Amount(name)


@dataclass(frozen=True, slots=True)
class Layout:
    """One export, laid out.

    Attributes:
        title: The export's title, e.g. "Export: Riverside School".
        facts: (label, value) pairs that introduce it: client, status, options, snapshot time.
        description: A longer text below the title; "" for none.
        created: When the data were read, with zone. Formats print this, never the clock, so that
            the same snapshot always gives the same bytes.
        period: The window in words; None without one.
        main: The flat table: CSV, and every format that is one table.
        flat: Of a flat format that needs other columns or values than `main`: its table, by format name.
        document: What JSON writes: key by key plain values, tables (arrays), nested tables; or one table.
        excel: The sheets.
        pdf: The chapters.
        figures: Drawings at the end of the PDF.
        tables: Every table by name, for formats with a shape of their own (OST).
        subject: Facts about the subject by field name (of a project: id, name, client_name, …).
        proofs: What each format's file must hold, by format name.
        file_name: What people save the files as, without extension.
        members: Of a bundle: the datasets' own layouts by name; a ZIP holds their files.
        provenance: Where the data come from (dataset, scope, window, options), as manifests in a ZIP say it;
            JSON values only.
        warnings: Sentences about the data; manifests in a ZIP say them.
        changed: Cells that differ from the source before any format has seen them, by (reason, column).
        author: Named in document properties.
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
        """Return the tables that a file of a format holds, by the name of their place in it.

        Args:
            format: Name of the format. One that is one table holds `flat` or `main`, here called "rows".
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
        """Return the columns with personal data in a file of a format, as the file names them, by table."""
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
