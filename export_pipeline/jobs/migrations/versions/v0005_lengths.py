"""Texts that are looked up have at most 2,000 bytes; PostgreSQL would speak of an index that takes no more.

The owner of a schedule is among them, as who asks for its requests: one that no request can hold would stop
all schedules.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_MOST = 2_000
_NAMES = {"export_jobs": ["scope", "requested_by", "window_key"], "scheduled_exports": ["scope", "owner"]}


def upgrade() -> None:
    for table, names in _NAMES.items():
        if op.get_context().dialect.name == "sqlite":
            _sqlite(table, names)
        else:
            _postgresql(table, names)


def _said(table: str, name: str) -> str:
    return f"{name} of a row of {table} is too long: it has at most {_MOST:,} bytes, and this one "


def _sqlite(table: str, names: list[str]) -> None:
    for name in names:
        size = f"length(CAST(NEW.{name} AS BLOB))"
        for when in ("INSERT", f"UPDATE OF {name}"):
            trigger = f"{table}_{name}_length_{when.partition(' ')[0].lower()}"
            # Only a constant may be raised, so how long it is cannot be told.
            op.execute(
                f"CREATE TRIGGER {trigger} BEFORE {when} ON {table} WHEN {size} > {_MOST} "
                f"BEGIN SELECT RAISE(ABORT, '{_said(table, name)}has more'); END"
            )


def _postgresql(table: str, names: list[str]) -> None:
    checks = "".join(
        f"""
                IF octet_length(NEW.{name}) > {_MOST} THEN
                    RAISE check_violation USING
                        MESSAGE = '{_said(table, name)}has ' || octet_length(NEW.{name});
                END IF;"""
        for name in names
    )
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION {table}_lengths() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN{checks}
                RETURN NEW;
            END
            $$
            """
        )
    )
    op.execute(
        f"CREATE TRIGGER {table}_lengths BEFORE INSERT OR UPDATE OF {', '.join(names)} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_lengths()"
    )
