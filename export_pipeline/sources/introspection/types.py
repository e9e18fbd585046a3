"""Chooses the declared type of a column in a defs.yaml from its type in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from export_pipeline.formats.registry import FORMATS

MAX_PRECISION = 76
"""Maximum precision of a decimal."""
USUAL_DIGITS = 38
"""Maximum precision of decimals that most programs can read."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A column's declared type.

    Attributes:
        type_name: Type name in a defs.yaml; None if no format can hold the cells, so the column is left out.
        note: Note for readers of the YAML; empty if there is none.
        settings: Further settings of the column, e.g. its zone.
    """

    type_name: str | None
    note: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The type without its precision."""
        return (self.type_name or "").partition("(")[0]


WALL_CLOCK = Typed("timestamp", "a clock on a wall, without a zone", {"zone": None})
INSTANT = Typed("timestamp", settings={"zone": "UTC"})

_PRINTED_BYTES = Typed(
    "text",
    "bytes, as PostgreSQL prints them; in Excel and PDF only where a request names the column",
    {"formats": [one.name for one in FORMATS.values() if one.is_general and not one.is_for_people]},
)
_BYTES = (
    *(sa.BINARY, sa.VARBINARY, sa.BLOB),
    *(mysql.BIT, mysql.TINYBLOB, mysql.MEDIUMBLOB, mysql.LONGBLOB),
)
"""Types that no database except PostgreSQL prints as text."""


def decimal(integer_digits: int, scale: int, note: str = "") -> Typed:
    """Return a decimal type with digits before and after the point, or text if there are too many."""
    digits = max(integer_digits + scale, 1)
    if digits > MAX_PRECISION:
        return Typed("text", f"numbers of {digits} digits, more than the {MAX_PRECISION} of a decimal")
    return Typed(f"decimal({digits},{scale})", note)


def widest(integer_digits: int, scale: int, note: str) -> Typed:
    """Return the widest common decimal type with at least so many digits before and after the point."""
    room = USUAL_DIGITS if integer_digits + scale <= USUAL_DIGITS else MAX_PRECISION
    return decimal(max(integer_digits, room - scale), scale, note)


def is_unlimited(type_: sa.types.TypeEngine[Any]) -> bool:
    """Return whether a type is a numeric without declared precision."""
    if not isinstance(type_, sa.Numeric) or isinstance(type_, sa.Float):
        return False
    return type_.precision is None or (type_.scale or 0) < 0


def is_flag(type_: sa.types.TypeEngine[Any]) -> bool:
    """Return whether a type is MySQL's BOOLEAN, an alias of TINYINT(1). It holds other numbers too."""
    return isinstance(type_, mysql.TINYINT) and type_.display_width == 1


class Geometry(sa.types.NullType):
    """A spatial type of MySQL or MariaDB. SQLAlchemy does not know it, and no cast makes it a string."""


def declared_type(type_: sa.types.TypeEngine[Any], digits: tuple[int, int] | None = None) -> Typed:
    """Return the declared type for a type that the database enforces, as PostgreSQL does.

    Args:
        digits: For a numeric without limits: the maximum digits of its values before and after the point.
    """
    match type_:
        case sa.Enum():
            return Typed("enum", settings={"labels": {value: value for value in type_.enums}})
        case sa.Boolean():
            return Typed("boolean")
        case mysql.TINYINT() if is_flag(type_):
            return Typed("boolean")
        case sa.BigInteger() if getattr(type_, "unsigned", False):
            return decimal(20, 0)
        case sa.Integer():
            return Typed("integer")
        case sa.Float():
            return Typed("float")
        case sa.Numeric() if is_unlimited(type_):
            if digits is None:
                return widest(
                    0, 10, "a number without limits and no values yet; say how many digits it needs"
                )
            return widest(*digits, f"a number without limits; its values have up to {digits[1]} decimals")
        case sa.Numeric():
            scale = type_.scale or 0
            return decimal(max((type_.precision or 0) - scale, 0), scale)
        case mysql.TIMESTAMP():
            return INSTANT  # stored and read in UTC
        case sa.DateTime():
            return INSTANT if type_.timezone else WALL_CLOCK
        case sa.Date():
            return Typed("date")
        case sa.JSON():
            return Typed("json")
        case sa.Uuid():
            return Typed("uuid")
        case sa.String():
            return Typed("text")
        case Geometry():
            return Typed(None, "a geometry; a .sql file can give ST_AsText of it")
        case _ if isinstance(type_, _BYTES):
            return Typed(None, "bytes, which are not text")
        case postgresql.ARRAY() if isinstance(type_.item_type, sa.LargeBinary):
            return _PRINTED_BYTES
        case sa.LargeBinary():
            return _PRINTED_BYTES
    return Typed("text", f"{type_word(type_)}, as the database prints it")


def type_word(type_: sa.types.TypeEngine[Any]) -> str:
    """Return the database's name of a type."""
    if isinstance(type_, sa.types.NullType):
        return "a type of its own"
    try:
        return str(type_).lower()
    except sa.exc.CompileError:
        return type(type_).__name__.lower()
