"""Plan a workbook's sheets: their names, content and row positions. All is known before a row is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pyarrow as pa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Group, Layout, Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.excel.names import sheet_names

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
OVERFLOW = "Overflow"
INDEX = "Index"
CHARTS = "Charts"
_INDEX_COLUMNS = (
    Column("sheet", "Sheet", Kind.TEXT, width=40),
    Column("first", "First row", Kind.INTEGER, digits=0, width=14),
    Column("last", "Last row", Kind.INTEGER, digits=0, width=14),
    Column("rows", "Rows", Kind.INTEGER, digits=0, width=14),
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet with consecutive rows of a section's table.

    Attributes:
        name: Name on its tab.
        title: Text of A1; "" if the header is there.
        lines: Lines of text below it.
        rows: Number of the table's rows it holds.
        header_row: Number of the header row; data begin in the next one.
        totals: Total rows below the data; only on the last sheet of a table.
        ranges: (sheet name, first row, last row) of every sheet of this table, for the total formulas.
        color: "#RRGGBB" of the tab, or None.
    """

    name: str
    title: str
    lines: tuple[str, ...]
    rows: int
    header_row: int
    totals: tuple[Total, ...]
    ranges: tuple[tuple[str, int, int], ...]
    color: str | None

    @property
    def first_row(self) -> int:
        """Number of the first data row."""
        return self.header_row + 1

    @property
    def last_row(self) -> int:
        """Number of the last data row; of the header row if there are none."""
        return self.header_row + self.rows

    @property
    def end_row(self) -> int:
        """Number of the last row of any kind."""
        return self.header_row + max(self.rows, 1) + len(self.totals)


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """A section and its sheets, in order; `targets` are the sheets that its links lead to."""

    section: Section
    sheets: tuple[Sheet, ...]
    targets: tuple[str | None, ...] = ()


@dataclass(slots=True)
class WorkbookPlan:
    """The sheets of every section, and unused names for the sheets of charts and of long texts."""

    sections: list[SectionPlan]
    charts_name: str
    overflow_name: str
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Part:
    """A sheet without a name yet: a run of rows of a group, or of a whole section."""

    section: int
    group: int
    number: int
    rows: int
    source: Group
    heading: str


def plan_workbook(layout: Layout, *, plain: bool = False) -> WorkbookPlan:
    """Plan the sheets of a layout.

    Args:
        layout: The layout.
        plain: True if sheets have a header and rows, and nothing else.

    Raises:
        RenderError: A table has more columns than a sheet can hold, or group sizes that do not add up to
            its rows.
    """
    if plain:
        layout = replace(layout, sheets=tuple(map(_without_surroundings, layout.sheets)))
    parts = [part for index, section in enumerate(layout.sheets) for part in _parts(index, section, plain)]
    *names, index_name, charts, overflow = _names(layout, parts)
    plan = WorkbookPlan([], charts, overflow)

    together: dict[tuple[int, int], list[tuple[_Part, str]]] = {}
    for part, name in zip(parts, names, strict=True):
        together.setdefault((part.section, part.group), []).append((part, name))
    sheets: list[list[Sheet]] = [[] for _ in layout.sheets]
    first_names: list[list[str]] = [[] for _ in layout.sheets]
    for (index, _), members in together.items():
        made = _sheets(members, plain)
        sheets[index].extend(made)
        first_names[index].append(made[0].name)
        if len(made) > 1:
            plan.warnings.append(
                f"{made[0].title or made[0].name!r} has more rows than a sheet holds; it goes on in "
                + ", ".join(repr(sheet.name) for sheet in made[1:])
            )

    by_key = {section.key: first_names[index] for index, section in enumerate(layout.sheets)}
    for index, section in enumerate(layout.sheets):
        targets: tuple[str | None, ...] = tuple(by_key.get(section.links[1], ())) if section.links else ()
        if section.targets is not None and targets:
            targets = tuple(None if place is None else targets[place] for place in section.targets)
        plan.sections.append(SectionPlan(section, tuple(sheets[index]), targets))
    if plan.warnings and not plain:  # importers read the first sheet
        plan.sections.insert(0, _index(index_name, [sheet for made in sheets for sheet in made]))
    return plan


def _index(name: str, sheets: Sequence[Sheet]) -> SectionPlan:
    """Return the index sheet, which links to all sheets. It comes first if a table needs several sheets."""
    first: list[int] = []
    for before, sheet in pairwise([None, *sheets]):
        goes_on = before is not None and sheet is not None and before.ranges == sheet.ranges
        first.append(first[-1] + before.rows if goes_on and before else 1)
    rows = [sheet.rows for sheet in sheets]
    last = [start + count - 1 for start, count in zip(first, rows, strict=True)]
    data = pa.table(
        {
            "sheet": pa.array([sheet.name for sheet in sheets], pa.string()),
            "first": pa.array(first, pa.int64()),
            "last": pa.array(last, pa.int64()),
            "rows": pa.array(rows, pa.int64()),
        }
    )
    table = Table.of("index", _INDEX_COLUMNS, data)
    lines = ("The rows go on from sheet to sheet; a sheet's name leads to it.",)
    section = Section("index", INDEX, table, lines=lines, links=("sheet", ""))
    header_row = _header_row(lines)
    whole = ((name, header_row + 1, header_row + len(sheets)),)
    sheet = Sheet(name, INDEX, lines, len(sheets), header_row, (), whole, None)
    return SectionPlan(section, (sheet,), tuple(sheet.name for sheet in sheets))


def _names(layout: Layout, parts: list[_Part]) -> list[str]:
    """Return the names of the parts, then of the sheets of the index, of charts and of long texts. A
    layout's own sheet keeps its name, whatever names the data bring.
    """
    order = sorted(range(len(parts)), key=lambda i: layout.sheets[parts[i].section].groups is not None)
    titles = [(parts[i].source.title, _suffix(parts[i].number)) for i in order]
    *made, index, charts, overflow = sheet_names([*titles, (INDEX, ""), (CHARTS, ""), (OVERFLOW, "")])
    names = dict(zip(order, made, strict=True))
    return [*(names[i] for i in range(len(parts))), index, charts, overflow]


def _without_surroundings(section: Section) -> Section:
    groups = section.groups
    if groups is not None:
        groups = tuple(replace(group, lines=(), totals=()) for group in groups)
    return replace(section, lines=(), totals=(), groups=groups)


def _parts(index: int, section: Section, plain: bool) -> list[_Part]:
    table = section.table
    if len(table.columns) > MAX_COLUMNS:
        raise RenderError(
            f"{section.title!r} has {len(table.columns):,} columns; a sheet holds {MAX_COLUMNS:,}. "
            "Choose fewer columns or the csv format."
        )
    groups = section.groups
    heading = None
    if groups is None:
        groups = (Group(section.title, table.rows, section.lines, section.totals),)
        heading = section.heading
    if sum(group.rows for group in groups) != table.rows:
        raise RenderError(f"The groups of {section.title!r} do not add up to the rows of its table.")
    parts = []
    for number, group in enumerate(groups):
        room = max(MAX_ROWS - _header_row(group.lines, plain) - max(len(group.totals), 1), 1)
        starts = range(0, group.rows, room) or range(1)
        for part, start in enumerate(starts):
            parts.append(
                _Part(index, number, part, min(room, group.rows - start), group, heading or group.title)
            )
    return parts


def _sheets(members: list[tuple[_Part, str]], plain: bool) -> list[Sheet]:
    group = members[0][0].source
    header_row = _header_row(group.lines, plain)
    ranges = tuple((name, header_row + 1, header_row + max(part.rows, 1)) for part, name in members)
    return [
        Sheet(
            name=name,
            title="" if plain else part.heading + _suffix(part.number),
            lines=group.lines,
            rows=part.rows,
            header_row=header_row,
            totals=group.totals if position == len(members) - 1 else (),
            ranges=ranges,
            color=group.color,
        )
        for position, (part, name) in enumerate(members)
    ]


def _header_row(lines: tuple[str, ...], plain: bool = False) -> int:
    return 1 if plain else 1 + len(lines) + 2


def _suffix(number: int) -> str:
    return f" (part {number + 1})" if number else ""
