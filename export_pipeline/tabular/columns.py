"""Conversion of a spec's columns to table columns: as they are staged, and as each format shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Presentation
from export_pipeline.core.tables import Table
from export_pipeline.expressions.types import FLOAT, INTEGER, TEXT, Type, decimal
from export_pipeline.tabular.spec import ColumnSpec

_MINOR_DIGITS = 21
"""Precision of whole units: holds every int64, with up to two digits to spare before the decimal point."""


_IDENTIFIER = re.compile(
    r"(^|_)(id|ids|year|no|nr|number|index|sequence|position|key|code|zip|version)$", re.IGNORECASE
)
_ISO_DURATIONS = frozenset({"json", "jsonl"})
"""Formats that have durations as ISO 8601."""
_FIXED_SCALE = 4
"""Decimals declared with at most this scale are printed with all of it, so that their points align."""


def has_grouping(spec: ColumnSpec) -> bool:
    """Return whether thousands are separated: of quantities, not of numbers that identify something."""
    if spec.grouping is not None:
        return spec.grouping
    return spec.parsed.kind is not Kind.INTEGER or not _IDENTIFIER.search(spec.name)


def as_printed(spec: ColumnSpec) -> ColumnSpec:
    """Return the column with the look that it has for people."""
    look = {name: getattr(spec.print, name) for name in spec.print.model_fields_set}
    if "labels" in look:
        look["labels"] = {**spec.labels, **spec.print.labels}
    parsed = spec.parsed
    if parsed.kind is Kind.DECIMAL and spec.digits is None and parsed.precision:
        scale = parsed.precision[1]
        look = ({"digits": scale} if scale <= _FIXED_SCALE else {}) | look
    return spec.model_copy(update=look) if look else spec


def column_of(spec: ColumnSpec) -> Column:
    """Return the column as it is staged: money of minor units is an integer that counts them."""
    parsed = spec.parsed
    return Column(
        spec.name,
        make_header(spec, units=not parsed.minor),
        Kind.INTEGER if parsed.minor else parsed.kind,
        digits=spec.digits if not parsed.minor else None,
        grouping=has_grouping(spec),
        currency=spec.currency,
        labels=(spec.labels.get("true", "Yes"), spec.labels.get("false", "No"))
        if parsed.kind is Kind.BOOLEAN
        else ("Yes", "No"),
        width=spec.width,
        precision=parsed.precision,
        zone=spec.zone,
        null=spec.null_text,
        pattern=spec.pattern,
        personal=spec.personal,
        guarded=spec.readers is not None,
    )


def expression_type(column: ColumnSpec) -> Type:
    """Return the type of a column in expressions: money of minor units is an integer, every string a text."""
    parsed = column.parsed
    match parsed.kind:
        case Kind.INTEGER:
            return INTEGER
        case Kind.MONEY if parsed.minor:
            return INTEGER
        case Kind.DECIMAL | Kind.MONEY:
            assert parsed.precision
            return decimal(*parsed.precision)
        case Kind.FLOAT | Kind.PERCENT:
            return FLOAT
        case Kind.BOOLEAN | Kind.DATE:
            return Type(parsed.kind)
        case Kind.TIMESTAMP:
            return Type(Kind.TIMESTAMP, zone=column.zone)
    return TEXT


def make_header(spec: ColumnSpec, units: bool = True) -> str:
    """Return the header that people read above the column.

    A column without its own header is titled by its name in title case. Money shown in whole units is no
    longer in cents, so `sale_price_cents` becomes "Sale Price".
    """
    if spec.header is not None:
        return spec.header
    name = spec.name
    if units and spec.parsed.minor and name != "_cents":
        name = name.removesuffix("_cents")
    return " ".join(word[:1].upper() + word[1:] for word in name.split("_") if word) or name


def names_in_workbook(spec: ColumnSpec) -> tuple[str, ...]:
    """Return what a company's workbook may call a column: its header, also with its zone, or its name."""
    header = make_header(as_printed(spec))
    return header, f"{header} ({spec.zone})", spec.name


def shown_column(spec: ColumnSpec, presentation: Presentation) -> Column:
    """Return a column as a format shows it."""
    column = column_of(spec)
    if spec.parsed.minor and presentation.units:
        digits = spec.minor_digits if spec.digits is None else spec.digits
        column = replace(
            column,
            kind=Kind.MONEY,
            digits=digits,
            precision=(_MINOR_DIGITS, spec.minor_digits),
            header=make_header(spec),
        )
    elif spec.parsed.kind is Kind.MONEY and spec.digits is None and spec.parsed.precision:
        column = replace(column, digits=spec.parsed.precision[1])
    return replace(column, header=spec.name) if presentation.names else column


def shown_table(rows: Table, columns: Sequence[ColumnSpec], presentation: Presentation) -> Table:
    """Return these columns of the staged rows, in this order, as a format shows them."""
    shown = tuple(shown_column(column, presentation) for column in columns)
    changes = [_change(column, presentation) for column in columns]
    fields = [column.name for column in columns]

    def show(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            cells = [
                change(batch.column(name)) if change else batch.column(name)
                for name, change in zip(fields, changes, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(cells, fields)

    between = rows.between
    return Table(
        rows.name,
        shown,
        rows.rows,
        lambda: show(rows.open()),
        between=None if between is None else lambda start, stop: show(between(start, stop)),
    )


def _change(spec: ColumnSpec, presentation: Presentation) -> Callable[[pa.Array], pa.Array] | None:
    if spec.parsed.minor and presentation.units:
        return lambda cells: to_whole_units(cells, spec.minor_digits)
    if presentation.labels and spec.labels and spec.parsed.kind is Kind.ENUM:
        return lambda cells: apply_labels(cells, spec.labels)
    if spec.parsed.is_duration and presentation.format in _ISO_DURATIONS:
        return to_iso_durations
    return to_day_durations if spec.parsed.names_days and presentation.format else None


def to_whole_units(cells: pa.Array, digits: int) -> pa.Array:
    """Convert int64 minor units to exact decimal128(21, digits) whole units: 1250 with 2 digits is 12.50."""
    integers = cells.cast(pa.decimal128(19, 0))
    unit = pa.scalar(Decimal(1).scaleb(-digits), pa.decimal128(max(digits, 1), digits))
    return pc.multiply(integers, unit).cast(pa.decimal128(_MINOR_DIGITS, digits))


def to_iso_durations(cells: pa.Array) -> pa.Array:
    """Convert strings H:MM:SS to ISO 8601 with days, as Django writes them: 26:03:04 is P1DT02H03M04S.

    Other strings are unchanged.
    """
    sign, days, hours, minutes, seconds = _parts_of_durations(cells)
    rest = pc.utf8_lpad(hours.cast(pa.string()), 2, "0")
    pieces = (sign, "P", days.cast(pa.string()), "DT", rest, "H", minutes, "M", seconds, "S", "")
    return pc.coalesce(pc.binary_join_element_wise(*pieces), cells)


def to_day_durations(cells: pa.Array) -> pa.Array:
    """Convert strings H:MM:SS of a day and more to days in words, as Python prints them: 26:03:04 is
    1 day, 2:03:04.

    Other strings, and negative durations, are unchanged.
    """
    sign, days, hours, minutes, seconds = _parts_of_durations(cells)
    unit = pc.if_else(pc.equal(days, 1), " day, ", " days, ")
    time = pc.binary_join_element_wise(hours.cast(pa.string()), minutes, seconds, ":")
    worded = pc.binary_join_element_wise(days.cast(pa.string()), unit, time, "")
    is_long = pc.and_(pc.equal(sign, ""), pc.greater(days, 0))
    return pc.if_else(pc.fill_null(is_long, False), worded, cells)


def _parts_of_durations(cells: pa.Array) -> tuple[pa.Array, ...]:
    """Return sign (string), days and hours (int64), minutes and seconds (strings of two digits) of strings
    H:MM:SS; missing values of others.
    """
    parts = pc.extract_regex(cells, r"^(?P<sign>-?)(?P<hours>\d{1,15}):(?P<minutes>\d\d):(?P<seconds>\d\d)$")
    sign, hours, minutes, seconds = (pc.struct_field(parts, index) for index in range(4))
    total = hours.cast(pa.int64())
    days = pc.divide(total, 24)
    return sign, days, pc.subtract(total, pc.multiply(days, 24)), minutes, seconds


def apply_labels(cells: pa.Array, labels: Mapping[str, str]) -> pa.Array:
    """Replace strings by their labels; a string without a label is unchanged."""
    index = pc.index_in(cells, value_set=pa.array(list(labels), pa.string()))
    return pc.coalesce(pa.array(list(labels.values()), pa.string()).take(index), cells)
