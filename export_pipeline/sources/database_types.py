"""The database's type of a column: its name, and the family it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from export_pipeline.core.arrow import pa


class Family(StrEnum):
    """Types that compare and convert alike."""

    TEXT = "text"
    INTEGER = "integer"
    NUMERIC = "numeric"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    WALL_CLOCK = "timestamp"
    INSTANT = "timestamp with time zone"
    UUID = "uuid"
    JSON = "json"
    OTHER = "other"
    """Any other type; it can be read as the text that the database prints."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A column's type in the database.

    Attributes:
        type_name: The database's name of the type, e.g. `numeric(10,2)`.
        family: The types with which it compares and converts alike.
        precision: (precision, scale) of a numeric that has limits.
        codec: Python's name of the text encoding, if that lacks some characters.
    """

    type_name: str
    family: Family
    precision: tuple[int, int] | None = None
    codec: str | None = None

    def holds(self, text: str) -> bool:
        """Return whether the column can store a string; if not, no cell equals it."""
        try:
            text.encode(self.codec or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    @property
    def sql_type(self) -> sa.types.TypeEngine[Any]:
        """The SQLAlchemy type of expressions over the column."""
        return _SQL_TYPES.get(self.family, sa.types.NullType())


_SQL_TYPES: dict[Family, sa.types.TypeEngine[Any]] = {
    Family.TEXT: sa.Text(),
    Family.INTEGER: sa.BigInteger(),
    Family.NUMERIC: sa.Numeric(),
    Family.FLOAT: sa.Double(),
    Family.BOOLEAN: sa.Boolean(),
    Family.DATE: sa.Date(),
    Family.WALL_CLOCK: sa.DateTime(),
    Family.INSTANT: sa.DateTime(timezone=True),
    Family.UUID: sa.Uuid(),
    Family.JSON: sa.JSON(),
}

_POSTGRES = {
    **dict.fromkeys(("int2", "int4", "int8"), Family.INTEGER),
    **dict.fromkeys(("float4", "float8"), Family.FLOAT),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), Family.TEXT),
    "numeric": Family.NUMERIC,
    "bool": Family.BOOLEAN,
    "date": Family.DATE,
    "timestamp": Family.WALL_CLOCK,
    "timestamptz": Family.INSTANT,
    "uuid": Family.UUID,
    "json": Family.JSON,
    "jsonb": Family.JSON,
}


def from_postgres_field(field: pa.Field, codec: str | None = None) -> Stored:
    """Return the type of a result column from the driver's metadata."""
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    name = metadata.get("POSTGRESQL:type", str(field.type))
    family = _POSTGRES.get(name, Family.OTHER)
    modifier = int(metadata.get("POSTGRESQL:typmod", -1)) - 4
    if family is Family.NUMERIC and modifier >= 0:
        scale = modifier & 0x7FF
        precision = (modifier >> 16 & 0xFFFF, scale - 0x800 if scale > 1000 else scale)
        return Stored(f"numeric({precision[0]},{precision[1]})", family, precision)
    return Stored(name, family, codec=codec)


_WORDS = (
    (r"bool|^tinyint\(1\)", Family.BOOLEAN),  # MySQL's BOOLEAN is an alias of the latter
    (r"^bigint.* unsigned", Family.NUMERIC),  # exceeds a signed 64-bit integer
    (r"int|serial", Family.INTEGER),
    (r"dec|num|money", Family.NUMERIC),
    (r"real|floa|doub", Family.FLOAT),
    (r"json", Family.JSON),
    (r"uuid|uniqueidentifier", Family.UUID),
    (r"char|clob|text|enum", Family.TEXT),
    (r"with time zone|timestamptz", Family.INSTANT),
    (r"datetime|timestamp", Family.WALL_CLOCK),
    (r"^date", Family.DATE),
)
_LIMITS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def parse_declared_type(name: str) -> Stored:
    """Return the type of a declaration such as `VARCHAR(10)`."""
    lowered = name.lower()
    family = next((family for sign, family in _WORDS if re.search(sign, lowered)), Family.OTHER)
    limits = _LIMITS.search(lowered) if family is Family.NUMERIC else None
    precision = (int(limits[1]), int(limits[2] or 0)) if limits else None
    return Stored(lowered or "any", family, precision)
