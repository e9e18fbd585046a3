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

    Arrow types by kind: text, json (its text), uuid, enum, url: string; integer: int64;
    float: float64; decimal, money, percent: decimal128 or float64; boolean: bool; date: date32;
    timestamp: timestamp[us, tz=UTC]. A percent of 12.5 means 12.5 %.
    """

    name: str
    header: str
    kind: Kind
    digits: int | None = None
    currency: str = "$"
    labels: tuple[str, str] = ("Yes", "No")
    width: float | None = None

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
