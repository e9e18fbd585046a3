"""Columns: what a table's cells are, before any format has seen them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa


class Kind(StrEnum):
    """The meaning of a column. Formats choose their cell by it, never by looking at a value."""

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
        """True where the cells are free text, so a spreadsheet could take one for a formula."""
        return self in _TEXTS

    @property
    def is_number(self) -> bool:
        """True where the cells are numbers: right-aligned, summable, never guarded."""
        return self in _NUMBERS


_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.UUID, Kind.ENUM, Kind.URL})
_NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.MONEY, Kind.PERCENT, Kind.FLOAT})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a `Table`.

    Attributes:
        name: The field's name in the Arrow batches; unique in its table.
        header: What people read above the column.
        kind: What the cells mean.
        digits: Decimal places that CSV and PDF print and Excel's number format shows; None prints
            every digit. Excel and JSON cells keep the whole value whatever this says.
        currency: The sign put before a MONEY cell in Excel and PDF.
        labels: What CSV and PDF print for true and false in a BOOLEAN column.
        width: Preferred width in characters; None lets the format measure.
        precision: (digits in all, digits behind the point) of a DECIMAL or MONEY column; None for its
            kind's usual type. Up to 38 digits are decimal128, up to 76 decimal256.
        zone: IANA zone in which people read a TIMESTAMP (the cells are UTC); None for times of a clock
            on a wall that name no zone.
        null: What CSV, Excel and PDF print for a missing value; JSON and Parquet always say null.
        pattern: How CSV and PDF print a DATE or TIMESTAMP and Excel's number format shows it, as
            `yyyy`, `MM`, `MMM` (Jan), `dd`, `HH`, `mm`, `ss` and what stands between; None for ISO 8601.
            JSON and Parquet never use it.
        has_special: Whether cells of a DECIMAL or MONEY column are NaN or infinite. No decimal is, so all its
            cells are texts then (`special_numbers`).
        personal: The cells are personal data, or computed from such.
        guarded: Only some people may read the cells, or what they are computed from.

    Arrow types by kind (`arrow_type`): text, json (its text), uuid, enum, url: string; integer: int64;
    float, percent: float64; decimal, money: decimal128 or decimal256; boolean: bool; date: date32;
    timestamp: timestamp[us, tz=UTC], without a zone timestamp[us]. A percent of 12.5 means 12.5 %.
    Arrays may also be of a narrower number type than their column's.
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

    @property
    def arrow_type(self) -> pa.DataType:
        """The type of the column's cells in Arrow batches that a source gives."""
        if self.has_special:
            return pa.string()
        if self.precision and self.kind in (Kind.DECIMAL, Kind.MONEY):
            digits, behind = self.precision
            return pa.decimal128(digits, behind) if digits <= 38 else pa.decimal256(digits, behind)
        if self.kind is Kind.TIMESTAMP and self.zone is None:
            return pa.timestamp("us")
        return ARROW_TYPES[self.kind]

    def renamed(self, name: str, header: str | None = None) -> Column:
        """The same column under another name (and header)."""
        return replace(self, name=name, header=header or name)


ARROW_TYPES: dict[Kind, pa.DataType] = {
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
"""The Arrow type a source gives a column of each kind unless it declares a narrower one."""
