"""Layout of a table export: the same rows for every format, as programs or people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from export_pipeline.core.charts import Chart
from export_pipeline.core.columns import Kind
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.highlights import Highlight
from export_pipeline.core.layout import (
    EMPTY,
    LEFT_OUT,
    Content,
    Group,
    Layout,
    LayoutError,
    Number,
    Presentation,
    Section,
    Total,
    WorkbookTemplate,
)
from export_pipeline.core.tables import Table, find_empty_columns
from export_pipeline.tabular.charts import make_charts
from export_pipeline.tabular.column_selection import (
    inherit_privacy,
    is_own_choice,
    select_columns,
    spec_of,
)
from export_pipeline.tabular.columns import (
    as_printed,
    make_header,
    names_in_workbook,
    shown_column,
    shown_table,
)
from export_pipeline.tabular.facts import describe_export, period_of, scope_name, title_for_people
from export_pipeline.tabular.file_names import file_name
from export_pipeline.tabular.groups import GroupedRows, RowGroup, group_rows, name_group, sort_rows
from export_pipeline.tabular.previous_period import ComparedRows, Comparison, match_groups
from export_pipeline.tabular.proofs import make_proof
from export_pipeline.tabular.spec import ColumnSpec, TableSpec
from export_pipeline.tabular.sums import add_exactly, sum_columns
from export_pipeline.tabular.template_spec import TemplateSpec, match_headers


def layout(data: ExportData) -> Layout:
    """Lay out a table export; `Layout.arrange` returns it as a format shows it."""
    return _TableLayout(data).layout()


class _TableLayout:
    def __init__(self, data: ExportData) -> None:
        self.data, self.spec = data, spec_of(data.spec)
        self.columns = inherit_privacy(self.spec, select_columns(self.spec, data.options))
        self.rows = data.tables["rows"]
        self.title = title_for_people(self.spec, data)
        self._grouped: dict[tuple[str, ...], GroupedRows | None] = {}
        # A file's layout is asked for by its proof, its writer, its manifest and its preview.
        self._arranged: dict[Presentation, tuple[Layout, Layout]] = {}
        measures = {name for chart in self.spec.charts for name in chart.measure}
        self.sums = sum_columns(
            self.rows,
            [column.name for column in self.columns if self._is_summed(column) or column.name in measures],
        )

    def layout(self) -> Layout:
        """Return the layout for programs: every value as it is."""
        base = Layout(
            title=self.title,
            created=self.data.snapshot_at.astimezone(UTC),
            main=self.rows,
            document=self.rows,
            sheets=(),
            chapters=(),
            facts=describe_export(self.spec, self.data),
            period=period_of(self.spec, self.data),
            scope=scope_name(self.data),
            tables=self.data.tables,
            subject=self.data.subject,
            file_name=file_name(self.spec, self.data),
            provenance=self.data.provenance,
            warnings=tuple(self.data.warnings),
            changed=dict(self.data.changed),
            arrange=self._arrange,
            document_key=self.spec.json_key,
        )
        return self._arrange(base, Presentation("", Content.ROWS))

    def _arrange(self, base: Layout, presentation: Presentation) -> Layout:
        known = self._arranged.get(presentation)
        if known is None or known[0] is not base:
            known = self._arranged[presentation] = (base, self._arrange_uncached(base, presentation))
        return known[1]

    def _arrange_uncached(self, base: Layout, presentation: Presentation) -> Layout:
        template = self.spec.excel_template if presentation.fills_template else None
        columns, left_out = self._select_for(presentation)
        if template is not None:
            columns, left_out = self._select_for_template(template, presentation)
        prints = presentation.prints and template is None
        columns, empty = self._without_empty(columns) if prints else (columns, ())
        grouped, by = self._group(columns) if prints else (None, [])
        rows = grouped.table if grouped else self._printed_rows if prints else self.rows
        table = shown_table(rows, columns, presentation)
        sheet = chapter = self._section(table, columns)
        if grouped:
            sheet = replace(sheet, totals=(*self._subtotals(grouped, by[0]), *sheet.totals))
            # The groups' headings name what these columns would repeat in each row; a subtotal's label needs
            # a column that is not added up.
            others = [column for column in columns if column not in by]
            others = columns if all(column.total for column in others) else others
            chapter = self._section(shown_table(rows, others, presentation), others)
            chapter = replace(
                chapter,
                groups=self._pdf_groups(grouped, by[0], chapter.totals),
                titled_by=tuple(shown_column(column, presentation) for column in by),
                totals=(),
            )
        proof = make_proof(presentation, columns, self.data, self.sums)
        beside: tuple[Section, ...] = ()
        chapters: tuple[Section, ...] = (chapter,)
        comparisons = self._comparisons(columns, presentation, grouped, by) if prints else []
        if comparisons:
            beside = tuple(comparison.section(self.title) for comparison in comparisons)
            # The document's title no longer stands right above the rows.
            rows_of = f"{self.title}: {period_of(self.spec, self.data)}"
            chapters = (*beside, replace(chapter, heading=rows_of))
            for comparison in comparisons:
                proof = proof.with_totals(comparison.proof)
        charts, notes = self._charts(columns, presentation) if prints else ([], [])
        facts = base.facts
        for label, headers in ((LEFT_OUT, left_out), (EMPTY, empty)):
            if headers:
                facts = (*facts, (label, ", ".join(headers)))
        return replace(
            base,
            main=table,
            document=table,
            facts=facts,
            left_out=(*left_out, *empty),
            sheets=(replace(sheet, lines=tuple(f"{label}: {value}" for label, value in facts)), *beside),
            chapters=chapters,
            charts=tuple(charts),
            notes=tuple(notes),
            template=None
            if template is None
            else WorkbookTemplate(Path(template.path), template.sha256, template.table),
            proof=replace(
                proof,
                charts=tuple(chart.values for chart in charts) if presentation.proves_charts else (),
            ),
        )

    @cached_property
    def _printed_rows(self) -> Table:
        """The rows as people read them: in the declared order, unless the request sorts them itself."""
        names = [name for name in self.spec.print_order if name in self.rows.schema]
        return self.rows if self.data.options.get("sort") else sort_rows(self.rows, names)

    def _comparisons(
        self,
        columns: list[ColumnSpec],
        presentation: Presentation,
        grouped: GroupedRows | None,
        by: Sequence[ColumnSpec],
    ) -> list[Comparison]:
        """Return the comparisons of these columns with the previous period: of all rows, and of groups."""
        window = self.data.window
        compared = [column for column in columns if column.name in self.data.previous_totals]
        if window is None or not compared:
            return []
        sums = {column.name: self.sums[column.name].total for column in compared}
        whole = ComparedRows("", sums, self.data.previous_totals)
        comparisons = [Comparison(compared, [whole], window, presentation)]
        previous = self.data.previous_groups
        if previous is None or not by or (grouped is None and self.rows.rows):
            return comparisons
        these = grouped.groups if grouped else ()
        names = [column.name for column in compared]
        groups = match_groups(
            {one.key: ComparedRows(one.title, {n: one.sums[n].total for n in names}, {}) for one in these},
            {one["value"]: ComparedRows(name_group(one["names"], by), {}, one["totals"]) for one in previous},
        )
        if rows := list(groups):
            is_personal = any(column.personal for column in by)
            comparisons.append(
                Comparison(
                    compared, rows, window, presentation, make_header(by[0]), is_named_personally=is_personal
                )
            )
        return comparisons

    def _is_summed(self, column: ColumnSpec) -> bool:
        return column.total or (column.compute is not None and column.parsed.kind.is_number)

    def _select_for(self, presentation: Presentation) -> tuple[list[ColumnSpec], tuple[str, ...]]:
        """Return the columns of a format, and the headers of columns that print leaves out.

        A format has the columns declared for it, and those that the request names; on paper, only those that
        people read, unless the request chooses columns itself. If there are none, all requested columns are
        returned, because a table needs at least one.
        """
        shown = self._of_format(presentation)
        if presentation.prints:
            shown = [as_printed(column) for column in shown]
        if self.spec.print is None or not presentation.prints or is_own_choice(self.data.options):
            return shown, ()
        by_name = {column.name: column for column in shown}
        printed = [by_name.pop(name) for name in self.spec.print if name in by_name]
        if not printed:
            return shown, ()
        return printed, tuple(make_header(column) for column in by_name.values())

    def _without_empty(self, columns: list[ColumnSpec]) -> tuple[list[ColumnSpec], tuple[str, ...]]:
        """Return what people read of these columns: without those that have no value in any row, and the
        headers of these.

        Columns that the request chose stay, those with a total, and one by which groups are compared with
        those of the previous period. So does a table without any value.
        """
        if self.spec.print is None or is_own_choice(self.data.options):
            return columns, ()
        compared = self.spec.group_by[:1] if self.data.previous_groups else ()
        kept = {column.name for column in columns if column.total}.union(compared)
        empty = {column.name for column in columns if column.name not in kept}.intersection(
            self._empty_columns
        )
        if len(empty) == len(columns):
            return columns, ()
        return (
            [column for column in columns if column.name not in empty],
            tuple(make_header(column) for column in columns if column.name in empty),
        )

    @cached_property
    def _empty_columns(self) -> list[str]:
        return find_empty_columns(self.rows, [column.name for column in self.columns])

    def _of_format(self, presentation: Presentation) -> list[ColumnSpec]:
        named = self.data.options.get("columns") or ()
        return [
            column
            for column in self.columns
            if column.formats is None or presentation.format in column.formats or column.name in named
        ] or self.columns

    def _select_for_template(
        self, template: TemplateSpec, presentation: Presentation
    ) -> tuple[list[ColumnSpec], tuple[str, ...]]:
        """Return the columns that the table of a company's workbook has, and the headers of all others.

        Raises:
            LayoutError: The request chose columns without some that the table has.
        """
        shown = [as_printed(column) for column in self._of_format(presentation)]
        try:
            places = match_headers(template.headers, [names_in_workbook(column) for column in shown])
        except ValueError as error:
            raise LayoutError(
                f"The table of {Path(template.path).name} needs a column that was not chosen: {error}. "
                "Choose it, or excel_layout: plain."
            ) from None
        others = [column for index, column in enumerate(shown) if index not in places]
        return [shown[index] for index in places], tuple(map(make_header, others))

    def _charts(self, shown: list[ColumnSpec], presentation: Presentation) -> tuple[list[Chart], list[str]]:
        """Return the charts of the format's columns; those with personal data only of columns that are
        shown.
        """
        here = {column.name for column in shown}
        usable = {
            column.name: as_printed(column)
            for column in self._of_format(presentation)
            if column.name in here or not column.personal
        }
        charts = [chart for chart in self.spec.charts if usable.keys() >= chart.columns]
        if not charts:
            return [], []
        return make_charts(self.rows, charts, usable, self.sums, presentation)

    def _section(self, table: Table, columns: list[ColumnSpec]) -> Section:
        totals = {column.name: self._total(column) for column in columns if column.total}
        return Section(
            "rows",
            self.title,
            table,
            totals=(Total("Total", totals),) if totals else (),
            counts=True,
            sums=tuple(column.name for column in columns if column.parsed.kind.is_number),
            highlights=tuple(_highlights(self.spec, columns)),
        )

    def _total(self, column: ColumnSpec) -> Number:
        return _whole_units(column, self.sums[column.name].total)

    def _group(self, columns: list[ColumnSpec]) -> tuple[GroupedRows | None, list[ColumnSpec]]:
        """Return the rows by groups, and the columns that name a group; None if rows are not grouped.

        Raises:
            ValueError: Subtotals do not add up to the total, which the proof compares with the database's.
        """
        by_name = {column.name: column for column in columns}
        by = [by_name[name] for name in self.spec.group_by if name in by_name]
        if not by or by[0].name != self.spec.group_by[0]:
            return None, []
        names = [column.name for column in columns if column.total]
        key = (*(column.name for column in by), "", *names)
        if key not in self._grouped:
            self._grouped[key] = group_rows(self.rows, by, names)
        grouped = self._grouped[key]
        for name in names if grouped else ():
            total, added = self.sums[name].total, self._add_up(grouped, name)
            if not isinstance(total, float) and added != total:
                raise ValueError(f"The subtotals of {name} add up to {added}, not to its total of {total}.")
        return grouped, by

    def _add_up(self, grouped: GroupedRows | None, name: str) -> Number:
        """Return the exact sum of a column's subtotals; of floats 0."""
        added: Number = 0
        for group in grouped.groups if grouped else ():
            one = group.sums[name].total
            added = added if isinstance(one, float) else add_exactly(added, one)
        return added

    def _subtotals(self, grouped: GroupedRows, by: ColumnSpec) -> Iterator[Total]:
        """Yield the total of each group, as a workbook has them below its rows."""
        for group in grouped.groups:
            if values := self._group_values(group):
                value = by.null_text if group.value is None else group.value
                yield Total(f"Total {group.title}", values, (by.name, value))

    def _pdf_groups(
        self, grouped: GroupedRows, by: ColumnSpec, totals: tuple[Total, ...]
    ) -> tuple[Group, ...]:
        """Return the groups of a document; the last one ends with the total of all."""
        groups = []
        for group in grouped.groups:
            values = self._group_values(group)
            subtotal = (Total(f"Total {group.title}", values),) if values else ()
            lines = (f"{group.rows:,} {'row' if group.rows == 1 else 'rows'}",)
            groups.append(Group(f"{make_header(by)}: {group.title}", group.rows, lines, subtotal))
        groups[-1] = replace(groups[-1], totals=(*groups[-1].totals, *totals))
        return tuple(groups)

    def _group_values(self, group: RowGroup) -> dict[str, Number]:
        return {name: _whole_units(self.spec.column(name), one.total) for name, one in group.sums.items()}


def _highlights(spec: TableSpec, columns: list[ColumnSpec]) -> Iterator[Highlight]:
    """Yield the highlights of these columns; values are those that the cells show."""
    by_name = {column.name: column for column in columns}
    for one in spec.highlights:
        if column := by_name.get(one.column):
            values = (
                column.labels.get(value, value)
                if isinstance(value, str) and column.parsed.kind is Kind.ENUM
                else value
                for value in one.equals
            )
            yield Highlight(one.column, one.look, one.below, one.above, tuple(values), one.color)


def _whole_units(column: ColumnSpec, total: Number) -> Number:
    return Decimal(total).scaleb(-column.minor_digits) if column.parsed.minor else total
