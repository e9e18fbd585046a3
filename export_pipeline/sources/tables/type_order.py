"""The sort orders of PostgreSQL's types: enums as declared, addresses by network, ranges by start."""

from __future__ import annotations

import re
from enum import Enum, auto

import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.sources.snapshot import Snapshot


class TypeOrder(Enum):
    """The sort order of a type's values."""

    OWN = auto()
    """The type's own order, independent of any language."""
    COLLATED = auto()
    """The type's own order, in which strings are compared by a collation that can be chosen."""
    NONE = auto()
    """No order: such values can only be sorted by the text that the database prints."""


_QUERY = """
WITH RECURSIVE named AS (
    SELECT oid FROM pg_catalog.pg_type WHERE typname = :name OR oid = CAST(:oid AS oid)
), part AS (
    SELECT oid FROM named
  UNION
    SELECT child.oid FROM part
    JOIN pg_catalog.pg_type AS whole ON whole.oid = part.oid
    CROSS JOIN LATERAL (
        SELECT item.oid FROM pg_catalog.pg_type AS item
        WHERE item.typarray = whole.oid OR (whole.typtype = 'd' AND item.oid = whole.typbasetype)
      UNION ALL
        SELECT atttypid FROM pg_catalog.pg_attribute
        WHERE whole.typtype = 'c' AND attrelid = whole.typrelid AND attnum > 0 AND NOT attisdropped
    ) AS child
)
SELECT
    (SELECT bool_and(
        type.typtype IN ('c', 'd', 'e', 'm', 'r')
        OR EXISTS (SELECT FROM pg_catalog.pg_type AS item WHERE item.typarray = type.oid)
        OR EXISTS (
            SELECT FROM pg_catalog.pg_opclass AS class
            JOIN pg_catalog.pg_am AS method ON method.oid = class.opcmethod AND method.amname = 'btree'
            WHERE class.opcdefault AND (class.opcintype = type.oid OR EXISTS (
                SELECT FROM pg_catalog.pg_cast
                WHERE castsource = type.oid AND casttarget = class.opcintype
                    AND castmethod = 'b' AND castcontext = 'i')))
        ) FROM part JOIN pg_catalog.pg_type AS type ON type.oid = part.oid) AS is_ordered,
    (SELECT bool_and(type.typcollation <> 0)
        FROM named JOIN pg_catalog.pg_type AS type ON type.oid = named.oid) AS is_collated
"""
_BY_NUMBER = re.compile(r"unnamed<oid:(\d+)>")


def find_type_order(snapshot: Snapshot, type_name: str) -> TypeOrder:
    """Return the sort order of a PostgreSQL type.

    Args:
        snapshot: An open snapshot of a PostgreSQL database.
        type_name: Name of the type as in `Stored.type_name`. If several schemas have a type of this name,
            all of them must have an order.

    Raises:
        SourceError: The database cannot be queried.
    """
    number = _BY_NUMBER.fullmatch(type_name)
    query = sa.text(_QUERY).bindparams(name=type_name, oid=number[1] if number else "0")
    order = query.columns(
        sa.column("is_ordered", sa.Boolean()), sa.column("is_collated", sa.Boolean())
    ).subquery()
    columns = [Column(name, name, Kind.BOOLEAN) for name in ("is_ordered", "is_collated")]
    (row,) = snapshot.rows(sa.select(order), columns)
    if not row["is_ordered"]:
        return TypeOrder.NONE
    return TypeOrder.COLLATED if row["is_collated"] else TypeOrder.OWN
