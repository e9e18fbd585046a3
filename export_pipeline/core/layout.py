"""Layouts: the arrangement of an export for people and programs, independent of any format.

Each dataset describes its own shape (e.g. project > conditions > measurements) once, in these terms.
Formats know only these terms, so a new application adds no code to `formats`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from export_pipeline.core.amounts import Amount
from export_pipeline.core.brand import Brand
from export_pipeline.core.charts import Chart
from export_pipeline.core.columns import Column
from export_pipeline.core.highlights import Highlight
from export_pipeline.core.tables import Table

Number = int | float | Decimal
ReadPicture = Callable[[], bytes]
"""Returns the bytes of a picture. Raises OSError if it cannot be read, ValueError if it is too large."""
MAX_PICTURE_BYTES = 100_000_000
LEFT_OUT, EMPTY = "Left out", "Empty"
"""Labels of the facts that name columns which people rarely read, and columns without a value."""


class LayoutError(ValueError):
    """Raised if an export cannot be laid out as its dataset says. The message says why and what to do."""


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
        titled_by: The columns whose cells are the groups' titles.
        links: (column, key of a grouped section): the i-th row's cell in this column links to the
            i-th group of that section, or to that of `targets`.
        targets: By row, the index of the group that its cell links to, None for no link.
        counts: True if this section's rows are the rows of the export, used to count the rows of a file.
            True for exactly one section of a layout; in a workbook of several datasets, for one of each.
        dataset: The dataset that it belongs to in a workbook of several; "" if there is only one.
        sums: Columns whose sums over all rows are used to verify a file, of a section that counts or proves.
        proves: True if its sums verify a file though its rows are not those of the export.
        empty: Printed if the table (or a group) has no rows.
        highlights: Highlights of its cells.
    """

    key: str
    title: str
    table: Table
    heading: str | None = None
    lines: tuple[str, ...] = ()
    totals: tuple[Total, ...] = ()
    groups: tuple[Group, ...] | None = None
    titled_by: tuple[Column, ...] = ()
    links: tuple[str, str] | None = None
    targets: tuple[int | None, ...] | None = None
    counts: bool = False
    dataset: str = ""
    sums: tuple[str, ...] = ()
    proves: bool = False
    empty: str = "No rows."
    highlights: tuple[Highlight, ...] = ()


@dataclass(frozen=True, slots=True)
class NestedTable:
    """Nested rows for JSON: the i-th parent row contains the next `counts[i]` child rows."""

    parent: Table
    child_name: str
    child: Table
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing: shapes in a plane with the origin at the top left and y pointing down.

    Attributes:
        title: Heading of the page that shows it.
        lines: Lines below the heading, e.g. the scale.
        width, height: Size of the plane, in the shapes' own units (pixels of a drawing page).
        shapes: Rows (kind string: line|polyline|polygon|point|none; color string "#RRGGBB"; fill_opacity
            float64, 0 for none; line_width float64, in points on paper;
            points list<float64>: x1 y1 x2 y2 …; optionally holes list<list<float64>>, and label string).
        legend: (label, color) pairs, in order.
        units_per_foot: Units of the plane per foot, for a scale bar; None if unknown.
        image_key: Place of the picture of the plane among the application's images; "" for none.
        image: The picture, which is printed beneath the shapes: a PNG or JPEG file, or what reads one; or
            None.
    """

    title: str
    width: float
    height: float
    shapes: Table
    lines: tuple[str, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    units_per_foot: float | None = None
    image_key: str = ""
    image: Path | ReadPicture | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """The expected content of a format's file, as the source itself counted and added it.

    Attributes:
        rows: Rows of the export.
        totals: (sum, tolerance) by column, under the name or header that the format's reader reports. The
            tolerance covers only the rounding of printed cells.
        amounts: How to print each total, under the same names.
        charts: Values of each chart, series by series, if the format's reader reports them.
    """

    rows: int
    totals: Mapping[str, tuple[float, float]]
    amounts: Mapping[str, Amount] = field(default_factory=dict)
    charts: tuple[tuple[float, ...], ...] = ()

    def amount(self, name: str) -> Amount:
        """Return how to print a total."""
        return self.amounts.get(name) or Amount(name)

    def with_totals(self, other: Proof) -> Proof:
        """Return this proof with the totals of another table of the same file."""
        totals = {**self.totals, **other.totals}
        return replace(self, totals=totals, amounts={**self.amounts, **other.amounts})

    @staticmethod
    def join(proofs: Mapping[str, Proof]) -> Proof:
        """Return the proof of a file with several parts; totals are by "part: column"."""
        totals, amounts = {}, {}
        for part, proof in proofs.items():
            for column, total in proof.totals.items():
                amount = proof.amount(column)
                totals[f"{part}: {column}"] = total
                amounts[f"{part}: {column}"] = replace(amount, column=f"{part}: {amount.column}")
        charts = tuple(chart for proof in proofs.values() for chart in proof.charts)
        return Proof(sum(proof.rows for proof in proofs.values()), totals, amounts, charts)


class Content(Enum):
    """The part of a layout that a format's file holds."""

    ROWS = "the flat table `main`"
    SHEETS = "the sections for a workbook"
    CHAPTERS = "the sections for a document to read"
    DOCUMENT = "the nested document"
    TABLES = "the tables as the application keeps them"
    FILES = "files in other formats"


@dataclass(frozen=True, slots=True)
class Presentation:
    """The presentation of an export by a format, for the options of one request.

    Attributes:
        format: Name of the format, for columns that only some formats hold.
        content: The part of the layout that it holds.
        names: True if the first row holds the columns' names instead of their headers.
        units: True if money kept in minor units is shown in whole units.
        labels: True if values of enums are shown by their labels.
        rounds: True if numbers are printed with their column's digits.
        prints_nulls: True if a missing cell is printed as its column's null text.
        sums_by_header: True if the format's reader reports sums by header; False if by column name.
        printed_header: Returns a header as it is read back from the file.
        prints: True if people read the file on paper, so that it has the columns that they read.
        fills_template: True if the file may be a company's own workbook, filled with the rows.
        proves_charts: True if the format's reader reports the values of charts.
    """

    format: str
    content: Content
    names: bool = False
    units: bool = True
    labels: bool = False
    rounds: bool = False
    prints_nulls: bool = False
    sums_by_header: bool = False
    printed_header: Callable[[str], str] = str
    prints: bool = False
    fills_template: bool = False
    proves_charts: bool = False


@dataclass(frozen=True, slots=True)
class WorkbookTemplate:
    """A company's own workbook into whose table the rows go.

    Attributes:
        path: The file.
        sha256: Its hash when it was checked.
        table: Name of the table; its headers are those of the rows' columns, in order.
    """

    path: Path
    sha256: str
    table: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one export.

    Attributes:
        title: The export's title, e.g. "Riverside School".
        headline: (label, value) of the one number that matters most; None if there is none.
        facts: (label, value) pairs that introduce it: client, status, options, snapshot time.
        personal_facts: Labels of the facts with personal data.
        description: A longer text below the title; "" for none.
        created: When the data were read, with zone. Formats print this, never the current time, so that
            the same snapshot always gives the same bytes.
        period: The window in words; None without one.
        scope: Name of the scope whose rows these are, for the pages' footers; "" for none.
        left_out: Headers of the columns that this format leaves out because people rarely read them, or
            because no row has a value.
        main: The flat table: CSV, and every format that holds a single table.
        document: The JSON document: plain values, tables (arrays) and nested tables by key; or one table.
        document_key: Key of the rows where a document that is one table is written as an object.
        sheets: The sheets.
        chapters: The chapters.
        drawings: Drawings at the end of the PDF.
        charts: Charts for people; only of a layout that is arranged for a format which people read.
        template: The workbook that the rows are spliced into; None for one of our own.
        notes: Sentences about what this format leaves out, for its manifest.
        tables: Every table by name, for formats with a shape of their own (OST).
        subject: Facts about the subject by field name (of a project: id, name, client_name, …).
        proof: The expected content of a file; None before the layout is arranged for a format.
        arrange: Returns a layout as a format shows it; None if it is the same for all.
        file_name: Suggested file name for people, without extension.
        members: In a bundle, the datasets' own layouts by name; a ZIP holds their files, a
            workbook their sheets.
        provenance: The origin of the data (dataset, scope, window, options) for the manifest of a ZIP;
            JSON values only.
        warnings: Sentences about the data, for the manifest of a ZIP.
        changed: Cells changed before rendering, by (reason, column).
        author: Author in document properties.
        brand: The look of the company that sends the file.
    """

    title: str
    created: datetime
    main: Table
    document: Mapping[str, Any] | Table
    sheets: tuple[Section, ...]
    chapters: tuple[Section, ...]
    headline: tuple[str, str] | None = None
    facts: tuple[tuple[str, str], ...] = ()
    personal_facts: tuple[str, ...] = ()
    description: str = ""
    drawings: tuple[Drawing, ...] = ()
    charts: tuple[Chart, ...] = ()
    template: WorkbookTemplate | None = None
    notes: tuple[str, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    subject: Mapping[str, Any] = field(default_factory=dict)
    period: str | None = None
    scope: str = ""
    left_out: tuple[str, ...] = ()
    proof: Proof | None = None
    arrange: Callable[[Layout, Presentation], Layout] | None = None
    document_key: str = "rows"
    file_name: str = "export"
    members: Mapping[str, Layout] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    changed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    author: str = "export_pipeline"
    brand: Brand = field(default_factory=Brand)

    @property
    def origin(self) -> str:
        """The facts in one line, without those about columns."""
        return " · ".join(
            f"{label}: {value}" for label, value in self.facts if label not in (LEFT_OUT, EMPTY)
        )

    @property
    def footer(self) -> str:
        """The text of each page's footer: whose data, what, and when."""
        when = self.period or f"{self.created:%Y-%m-%d}"
        return " · ".join(part for part in (self.scope, self.title, when) if part)
