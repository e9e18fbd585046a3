"""The typed form of a table export's defs.yaml.

There are three kinds of names. A *column* is one of `columns`, by its name. A *field* is a column of the
source table or of the .sql file's select, or `relation.column` through a declared relation. A *relation* is
one of `source.relations`; it may start from another relation's field (`from: client.state_id`).
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from export_pipeline.core.strict_model import Strict
from export_pipeline.tabular.chart_spec import MAX_CHARTS, ChartSpec
from export_pipeline.tabular.highlight_spec import HighlightSpec
from export_pipeline.tabular.template_spec import TemplateSpec, template_of
from export_pipeline.tabular.types import ColumnType, parse_type

Operator: TypeAlias = Literal["equals", "in", "range", "contains", "is_null"]
"""equals: the value. in: one of a list. range: from and to, both inclusive (for a date or timestamp, days in
the column's zone). contains: the string occurs in it, ignoring case. is_null: true for missing values, false
for others.
"""

Value: TypeAlias = bool | int | float | str | None
Condition: TypeAlias = Value | Annotated[list[Value], Field(min_length=1)]
"""A value (null means missing), or a list of values of which one must match."""

RowSecurity: TypeAlias = Literal["refuse", "apply"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""A name defined by the project."""
Path = Annotated[str, Field(min_length=1)]
"""A name defined by the database: of a table, a column, or `relation.column`. The part before the first point
is a relation only if a relation of that name is declared, so every column name can be written.
"""


class Relation(Strict):
    """Rows of another table that belong to a row of the source; they never multiply the source's rows."""

    table: Annotated[str, Field(description="The other table or view; `schema.table` if it needs a schema.")]
    from_: Annotated[
        Path, Field(alias="from", description="Field of the source that refers to it, e.g. client_id.")
    ]
    to: Annotated[Path, Field(description="Column of the other table that is referred to.")] = "id"
    where: Annotated[
        Mapping[Path, Condition], Field(description="Only rows whose columns have these values.")
    ] = {}
    many: Annotated[
        bool, Field(description="Several rows may belong to one row; for lists and nested JSON only.")
    ] = False
    order: Annotated[
        Sequence[str], Field(description="Order of several rows; `-column` for descending.")
    ] = ()


class View(Strict):
    """A SELECT that relations may name as their table."""

    sql: Annotated[str, Field(description="File beside the defs.yaml with one SELECT; parameters are :name.")]
    key: Annotated[Sequence[Path], Field(description="Columns that identify a row of it.")] = ("id",)


class Source(Strict):
    """The source of the rows: exactly one of table and sql."""

    table: Annotated[str | None, Field(description="Table or view; `schema.table` if it needs a schema.")] = (
        None
    )
    sql: Annotated[
        str | None, Field(description="File beside the defs.yaml with one SELECT; parameters are :name.")
    ] = None
    key: Annotated[
        Sequence[Path],
        Field(min_length=1, description="Fields that identify a row; they break ties of every order."),
    ] = ("id",)
    where: Annotated[
        Mapping[Path, Condition],
        Field(description="Only rows whose fields have these values, e.g. `deleted_at: null`."),
    ] = {}
    order: Annotated[
        Sequence[str], Field(description="Order of the rows by fields; `-field` for descending.")
    ] = ()
    relations: Annotated[Mapping[Name, Relation], Field(description="Other tables to take fields from.")] = {}
    views: Annotated[
        Mapping[Name, View],
        Field(description="SELECTs in files of their own, which relations may name as their table."),
    ] = {}
    parameters: Annotated[
        Mapping[Name, Value], Field(description="Values of parameters of the .sql files, e.g. an address.")
    ] = {}
    row_security: Annotated[
        RowSecurity,
        Field(description="What to do if row level security hides rows: fail, or leave them out."),
    ] = "refuse"


class TextSpec(Strict):
    """A string made of fields and parameters; null if one of them is."""

    text: Annotated[
        str,
        Field(min_length=1, description="Text with `{field}` or `{parameter}`, e.g. {api_url}users/{id}/."),
    ]

    def parts(self) -> list[tuple[str, str | None]]:
        """Return the literal texts, each with the name that follows it, None for none."""
        return [(text, name) for text, name, _, _ in string.Formatter().parse(self.text)]


class NestedSpec(Strict):
    """JSON made of a relation's rows: an object, or an array of objects if the relation has many rows."""

    from_: Annotated[
        Name | None, Field(alias="from", description="The relation; by default the row itself.")
    ] = None
    fields: Annotated[
        Mapping[str, Path | TextSpec | NestedSpec],
        Field(description="JSON key: column of the relation's table, or a relation that starts there."),
    ] = {}
    value: Annotated[
        Path | None,
        Field(
            description="Instead of fields: the column whose values, without missing ones, are the array's."
        ),
    ] = None

    @model_validator(mode="after")
    def _has_one_content(self) -> NestedSpec:
        if bool(self.fields) == (self.value is not None):
            raise ValueError("say fields, or the value that the array holds")
        if self.value is not None and self.from_ is None:
            raise ValueError("value needs from, the relation whose rows have the values")
        return self


class PrintSpec(Strict):
    """The look of a column for people, where it differs from the file for programs."""

    header: Annotated[str | None, Field(description="Header on paper.")] = None
    digits: Annotated[int | None, Field(ge=0, le=38, description="Decimal places on paper.")] = None
    pattern: Annotated[str | None, Field(description="Format of a date or timestamp on paper.")] = None
    labels: Annotated[Mapping[str, str], Field(description="Labels of values on paper.")] = {}


class ColumnSpec(Strict):
    """A column of the export. It is read from a field, computed from other columns, or nested JSON."""

    name: Annotated[Name, Field(description="Its name in JSON, Parquet, filters and on the command line.")]
    type: Annotated[str, Field(description="text, integer, decimal(p,s), money, float, date, …")] = "text"
    header: Annotated[
        str | None, Field(description="Header for people; by default the name in title case.")
    ] = None
    description: Annotated[str | None, Field(max_length=1_000, description="What it holds, for people.")] = (
        None
    )
    from_: Annotated[
        Path | None, Field(alias="from", description="The field it is read from; by default its name.")
    ] = None
    separator: Annotated[
        str | None,
        Field(description="For a relation with many rows: joins all values into one string."),
    ] = None
    nested: Annotated[NestedSpec | None, Field(description="JSON made of a relation's rows.")] = None
    compute: Annotated[
        str | None, Field(description="Expression over other columns, e.g. `price - coalesce(fees, 0)`.")
    ] = None
    null_text: Annotated[str, Field(description="Printed by CSV, Excel and PDF for a missing value.")] = ""
    width: Annotated[float | None, Field(gt=0, le=255, description="Width in characters.")] = None
    digits: Annotated[int | None, Field(ge=0, le=38, description="Decimal places.")] = None
    currency: Annotated[str, Field(description="Sign of money, e.g. $ or EUR.")] = "$"
    minor_digits: Annotated[
        int, Field(ge=0, le=4, description="Decimal places of `money` kept as integers; 2 for cents.")
    ] = 2
    zone: Annotated[
        str | None,
        Field(description="Zone in which a timestamp is shown; null for local times without a zone."),
    ] = "UTC"
    pattern: Annotated[
        str | None, Field(description="Format of a date or timestamp, e.g. `MMM dd, yyyy`.")
    ] = None
    labels: Annotated[
        Mapping[str, str],
        Field(description="Labels of the values of an enum, or of `true` and `false`."),
    ] = {}
    extra: Annotated[bool, Field(description="Exported only if a request or preset names it.")] = False
    hidden: Annotated[bool, Field(description="Never exported; only for expressions.")] = False
    personal: Annotated[bool, Field(description="Personal data; manifests list such columns.")] = False
    readers: Annotated[Name | None, Field(description="Rule of `readers` that decides who may read it.")] = (
        None
    )
    formats: Annotated[
        Sequence[str] | None,
        Field(description="Only in these formats, unless a request names the column; default: all."),
    ] = None
    total: Annotated[bool, Field(description="Excel and PDF print its sum in a last row.")] = False
    grouping: Annotated[
        bool | None,
        Field(description="Separate thousands in PDF and Excel; default: all but ids, years and numbers."),
    ] = None
    print: Annotated[
        PrintSpec, Field(description="How PDF and workbooks show it, if not like the other formats.")
    ] = PrintSpec()

    @field_validator("type")
    @classmethod
    def _is_a_type(cls, name: str) -> str:
        parse_type(name)
        return name

    @property
    def parsed(self) -> ColumnType:
        """The type, parsed."""
        return parse_type(self.type)


class Among(Strict):
    """The table in which a filter's values must exist, and the scope they must belong to."""

    table: Annotated[str, Field(description="Table that lists them.")]
    column: Annotated[Path, Field(description="Column that holds them.")] = "id"
    scope: Annotated[Path | None, Field(description="Column that holds the scope they belong to.")] = None


def _long_form(value: Any) -> Any:
    """Expand `status: [equals, in]`, short for `status: {operators: [equals, in]}`."""
    return {"operators": value} if isinstance(value, list | tuple) else value


class FilterSpec(Strict):
    """A filter of rows, by the column of its name unless `column` or `parameter` says otherwise."""

    operators: Annotated[Sequence[Operator], Field(min_length=1, description="Allowed operators.")]
    column: Annotated[
        Path | None,
        Field(description="Field to filter by; by default the column's. With many rows, any may match."),
    ] = None
    parameter: Annotated[
        bool, Field(description="The value is the parameter of this name in the .sql file.")
    ] = False
    type: Annotated[str | None, Field(description="Type of its values, if not the column's.")] = None
    among: Annotated[Among | None, Field(description="Values that this table lacks are refused.")] = None
    description: Annotated[str, Field(description="Help for people.")] = ""

    @field_validator("type")
    @classmethod
    def _is_a_type(cls, name: str | None) -> str | None:
        if name is not None:
            parse_type(name)
        return name


FilterInput: TypeAlias = FilterSpec | Annotated[list[Operator], Field(min_length=1)]
"""A filter as written in YAML."""


class Preset(Strict):
    """A ready-made choice of columns and filters."""

    columns: Annotated[
        Sequence[Name] | Literal["all"], Field(description="The columns, in order, or `all`.")
    ] = "all"
    filters: Annotated[
        Mapping[Name, Mapping[Operator, Any]], Field(description="Filters that always apply.")
    ] = {}
    title: Annotated[str | None, Field(description="Title, if it differs.")] = None
    file_name: Annotated[str | None, Field(description="File name, if it differs.")] = None


def _preset(value: Any) -> Any:
    """Expand `essential: [id, status]` and `everything: all`, short for presets that only choose columns."""
    return {"columns": value} if isinstance(value, list | tuple | str) else value


PresetInput: TypeAlias = Preset | list[Name] | Literal["all"]
"""A preset as written in YAML."""


class ScopeRecipients(Strict):
    """The table that says who gets the rows of which scope by mail; a scope may have several rows."""

    table: Annotated[str, Field(description="Table with mail addresses.")]
    scope: Annotated[Path, Field(description="Its column with the scope's id.")]
    address: Annotated[Path, Field(description="Its column with the mail address.")]


class Scope(Strict):
    """The scope of the rows, e.g. a customer. An export holds the rows of one scope."""

    column: Annotated[Path, Field(description="Field that holds the scope of a row.")]
    table: Annotated[str, Field(description="Table that lists the scopes.")]
    id: Annotated[Path, Field(description="Its column with the scope's id.")] = "id"
    name: Annotated[Path, Field(description="Its column with the scope's name.")] = "name"
    label: Annotated[
        Literal["name", "id"],
        Field(description="What Dagster shows of a scope: its name with its id, or the id alone."),
    ] = "name"
    shared: Annotated[
        bool, Field(description="Rows without a scope belong to everyone, as in a common library.")
    ] = False
    recipients: Annotated[
        ScopeRecipients | None,
        Field(description="Who gets the rows of which scope, from schedules that export each scope."),
    ] = None


class WindowSpec(Strict):
    """The column whose time places a row in a window."""

    column: Annotated[Path, Field(description="Field that holds a date or timestamp.")]
    type: Annotated[Literal["date", "timestamp"], Field(description="Its type.")] = "timestamp"
    zone: Annotated[
        str | None,
        Field(description="Zone of local times without a zone; null if the database knows the zone."),
    ] = None
    mode: Annotated[
        Literal["within", "as_of"],
        Field(description="within: its time falls in the window. as_of: it existed by the window's end."),
    ] = "within"


class Readers(Strict):
    """People who may read a column: those listed in a table for this scope. Others get empty cells."""

    table: Annotated[str, Field(description="Table that lists the readers.")]
    user: Annotated[Path, Field(description="Its column with the requester, as `requested_by` gives them.")]
    scope: Annotated[Path | None, Field(description="Its column with the scope they may read.")] = None


class TableSpec(Strict):
    """One table export, field by field; `CheckedTableSpec` also checks that its parts agree."""

    title: Annotated[
        str | None, Field(description="Title for people; by default the scope's name or the dataset's.")
    ] = None
    file_name: Annotated[
        str,
        Field(
            description="File name without extension: text with {title}, {dataset}, {preset}, "
            "{scope}, {scope:.8}, {window}, {created:%Y%m%d}."
        ),
    ] = "{title}_{dataset}_{window}"
    file_zone: Annotated[str, Field(description="Zone of the time in file names.")] = "UTC"
    source: Source
    columns: Annotated[Sequence[ColumnSpec], Field(min_length=1)]
    presets: Annotated[
        Mapping[Name, Annotated[Preset, BeforeValidator(_preset, json_schema_input_type=PresetInput)]],
        Field(description="Ready-made choices of columns (and filters)."),
    ] = {}
    print: Annotated[
        Sequence[Name] | None,
        Field(
            min_length=1,
            description="Columns that people read, in order. PDF and workbooks have only these, unless a "
            "request names columns or a preset. Default: all.",
        ),
    ] = None
    print_order: Annotated[
        Sequence[Name],
        Field(description="PDF and workbooks sort the rows by these columns, unless a request sorts them."),
    ] = ()
    group_by: Annotated[
        Sequence[Name],
        Field(
            description="PDF and workbooks sort the rows by the first of these columns, with subtotals; "
            "the others name a group with it."
        ),
    ] = ()
    compare: Annotated[
        Literal["previous_period"] | None,
        Field(
            description="PDF and workbooks of a window compare the sums of money with those of the period "
            "before it."
        ),
    ] = None
    charts: Annotated[
        Sequence[ChartSpec],
        Field(max_length=MAX_CHARTS, description="Charts of sums by group, in PDF and workbooks."),
    ] = ()
    highlights: Annotated[
        Sequence[HighlightSpec],
        Field(max_length=20, description="Bars, colour scales and coloured cells of workbooks."),
    ] = ()
    excel_template: Annotated[
        TemplateSpec | None,
        BeforeValidator(template_of, json_schema_input_type=str),
        Field(description="Workbook beside the defs.yaml, into whose table the rows go."),
    ] = None
    preset_required: Annotated[bool, Field(description="Refuse an export without a preset.")] = False
    filters: Annotated[
        Mapping[Name, Annotated[FilterSpec, BeforeValidator(_long_form, json_schema_input_type=FilterInput)]],
        Field(description="Filters that a request may use."),
    ] = {}
    sort: Annotated[Sequence[Name], Field(description="Columns that an export may be sorted by.")] = ()
    scope: Annotated[
        Scope | None,
        Field(description="Customer, project or account of a row; without it one export has all rows."),
    ] = None
    window: Annotated[
        WindowSpec | None, Field(description="The column whose time places a row in a window.")
    ] = None
    readers: Annotated[
        Mapping[Name, Readers], Field(description="Rules that decide who may read guarded columns.")
    ] = {}
    json_key: Annotated[str, Field(description="Key of the rows if JSON is an object, e.g. records.")] = (
        "rows"
    )

    def column(self, name: str) -> ColumnSpec:
        """Return the column of this name.

        Raises:
            KeyError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
