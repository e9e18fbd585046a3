"""Columns: the meaning and type of a table's cells, independent of any format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from export_pipeline.core.arrow import pa


class Kind(StrEnum):
    """The meaning of a column. Formats choose how to write a cell by its kind, never by its value."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    MONEY = "money"
    PERCENT = "percent"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    JSON = "json"
    UUID = "uuid"
    ENUM = "enum"
    URL = "url"

    @property
    def is_text(self) -> bool:
        """True if the cells are free text, which a spreadsheet could take for a formula."""
        return self in _TEXTS

    @property
    def is_number(self) -> bool:
        """True if the cells are numbers: right-aligned, summable, never escaped as formulas."""
        return self in _NUMBERS


_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.UUID, Kind.ENUM, Kind.URL})
_NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.MONEY, Kind.PERCENT, Kind.FLOAT})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a `Table`.

    Attributes:
        name: The field's name in the Arrow batches; unique in its table.
        header: The header that people read above the column.
        kind: The meaning of the cells.
        digits: Decimal places printed by CSV and PDF and shown by Excel's number format; None prints
            every digit. Excel and JSON cells always hold the whole value.
        currency: The sign before a MONEY cell in Excel and PDF.
        labels: Printed by CSV and PDF for true and false in a BOOLEAN column.
        width: Preferred width in characters; None lets the format measure.
        precision: (precision, scale) of a DECIMAL or MONEY column; None for its kind's usual type.
            A precision up to 38 gives decimal128, up to 76 decimal256.
        zone: IANA zone in which people read a TIMESTAMP (the cells are UTC); None if the cells are local
            times without a zone.
        null: Printed by CSV, Excel and PDF for a missing value; JSON and Parquet always write null.
        pattern: The format of a DATE or TIMESTAMP in CSV, PDF and Excel's number format, made of `yyyy`,
            `MM`, `MMM` (Jan), `dd`, `HH`, `mm`, `ss` and separators; None for ISO 8601.
            JSON and Parquet never use it.
        has_special: True if cells of a DECIMAL or MONEY column are NaN or infinite. A decimal cannot hold
            these, so all cells of such a column are strings (`special_numbers`).
        personal: The cells are personal data, or computed from personal data.
        guarded: Only some people may read the cells, or the cells they are computed from.
        grouping: True if PDF and Excel separate thousands, as in quantities; False for ids and years.

    Arrow types by kind (`arrow_type`): text, json (as a string), uuid, enum, url: string; integer: int64;
    float, percent: float64; decimal, money: decimal128 or decimal256; boolean: bool; date: date32;
    timestamp: timestamp[us, tz=UTC], without a zone timestamp[us]. A percent of 12.5 means 12.5 %.
    An array may also have a narrower number type than its column.
    """

    name: str
    header: str
    kind: Kind
    digits: int | None = None
    currency: str = "$"
    labels: tuple[str, str] = ("Yes", "No")
    width: float | None = None
    precision: tuple[int, int] | None = None
    zone: str | None = "UTC"
    null: str = ""
    pattern: str | None = None
    has_special: bool = False
    personal: bool = False
    guarded: bool = False
    grouping: bool = True

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type of the column's cells in the batches of a source."""
        if self.has_special:
            return pa.string()
        if self.precision and self.kind in (Kind.DECIMAL, Kind.MONEY):
            precision, scale = self.precision
            return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
        if self.kind is Kind.TIMESTAMP and self.zone is None:
            return pa.timestamp("us")
        return arrow_types()[self.kind]

    def renamed(self, name: str, header: str | None = None) -> Column:
        """Return a copy of the column under another name (and header)."""
        return replace(self, name=name, header=header or name)


@cache
def arrow_types() -> dict[Kind, pa.DataType]:
    """Return the Arrow type of a column of each kind, unless the source declares a narrower one."""
    return {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.FLOAT: pa.float64(),
        Kind.DECIMAL: pa.decimal128(38, 10),
        Kind.MONEY: pa.decimal128(18, 4),
        Kind.PERCENT: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.DATE: pa.date32(),
        Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
        Kind.JSON: pa.string(),
        Kind.UUID: pa.string(),
        Kind.ENUM: pa.string(),
        Kind.URL: pa.string(),
    }
