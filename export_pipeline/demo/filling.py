"""Shared parts of the sample databases: column types, reproducible ids, and filling."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

Row = dict[str, Any]

Uuid = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
"""A UUID in PostgreSQL, a 36-character string elsewhere."""
Moment = sa.DateTime(timezone=True)

_NAMESPACE = uuid.UUID("3f2b8a54-6f0d-5c1e-9a77-1d0e5b2c4f68")


def uuid_of(*parts: object) -> str:
    """Return a reproducible id: the same parts always give the same id."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(map(str, parts))))


def refill(engine: sa.Engine, metadata: sa.MetaData, rows: Mapping[sa.Table, Sequence[Row]]) -> None:
    """Recreate the tables and insert their rows; all rows of one table have the same keys."""
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if rows.get(table):
                connection.execute(sa.insert(table), list(rows[table]))
