"""Column types and server defaults that mean the same on PostgreSQL and SQLite.

SQLite has no type for a UUID, a time or JSON. There an id is its canonical text, a time is ISO 8601 in UTC
with six decimals and `+00:00` (so that texts sort as times do), and JSON is text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

Id = sa.Uuid(as_uuid=False).with_variant(sa.Text(), "sqlite")
"""A UUID; in Python its canonical text."""

Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""Any JSON value; None is SQL's NULL."""

Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A number that the database counts up; SQLite does so only for INTEGER."""


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A moment; in Python an aware datetime in UTC.

    A text of SQLite that names no zone, as its CURRENT_TIMESTAMP gives, is taken for UTC.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time must have a zone: {value}")
        value = value.astimezone(UTC)
        return value.isoformat(timespec="microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        moment: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC)


class new_id(FunctionElement[str]):
    """A random UUID (version 4) made by the database."""

    inherit_cache = True
    type = sa.Uuid(as_uuid=False)


class utc_now(FunctionElement[datetime]):
    """The database's clock: of PostgreSQL when the transaction began, of SQLite now, in milliseconds."""

    inherit_cache = True
    type = UtcTime()


SQLITE_NEW_ID = (
    "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || "
    "'-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || "
    "hex(randomblob(6))))"
)
SQLITE_UTC_NOW = "(strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000+00:00')"


@compiles(new_id, "postgresql")
def _new_id_postgresql(element: new_id, compiler: Any, **options: Any) -> str:
    return "gen_random_uuid()"


@compiles(new_id, "sqlite")
def _new_id_sqlite(element: new_id, compiler: Any, **options: Any) -> str:
    return SQLITE_NEW_ID


@compiles(utc_now, "postgresql")
def _utc_now_postgresql(element: utc_now, compiler: Any, **options: Any) -> str:
    return "now()"


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(element: utc_now, compiler: Any, **options: Any) -> str:
    return SQLITE_UTC_NOW
