"""SQLite refuses statements that replace a row: OR REPLACE deletes the old one without firing any trigger.

A finished export would be a new request again. Only an AFTER INSERT trigger can tell such a statement from
one that skips the row or updates it on conflict, so the BEFORE INSERT trigger notes what is in the way.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_SAME_KEY = (
    "o.idempotency_key = NEW.idempotency_key AND coalesce(o.scope, '') = coalesce(NEW.scope, '') "
    "AND coalesce(o.requested_by, '') = coalesce(NEW.requested_by, '')"
)
_SAME_WINDOW = "o.schedule_id = NEW.schedule_id AND o.window_key = NEW.window_key"
_KEYS = {
    "export_jobs": ("o.id = NEW.id", "o.rowid = NEW.rowid", _SAME_KEY, _SAME_WINDOW),
    "scheduled_exports": ("o.id = NEW.id", "o.rowid = NEW.rowid"),
    "export_commands": ("o.id = NEW.id",),
}
"""Conditions by which another row `o` is in the way of `NEW`, for each table that applications may write."""

_KEY_COLUMNS = {"export_jobs": ("idempotency_key", "scope", "requested_by", "schedule_id", "window_key")}
"""Columns of unique indexes."""


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    op.create_table(
        "export_conflicts",
        sa.Column("table_name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("table_name", name="pk_export_conflicts"),
    )
    for table, conditions in _KEYS.items():
        said = (
            f"a row of {table} cannot be replaced by another one: insert with ON CONFLICT DO NOTHING, or "
            "update it"
        )
        # One lookup for each index: SQLite answers an OR of conditions on several indexes by a scan.
        found = " UNION ALL ".join(f"SELECT 1 FROM {table} o WHERE {condition}" for condition in conditions)
        op.execute(
            f"CREATE TRIGGER {table}_conflict BEFORE INSERT ON {table} BEGIN "
            f"DELETE FROM export_conflicts WHERE table_name = '{table}'; "
            f"INSERT INTO export_conflicts SELECT '{table}' WHERE EXISTS ({found}); END"
        )
        op.execute(
            f"CREATE TRIGGER {table}_replaced AFTER INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM export_conflicts WHERE table_name = '{table}') "
            f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
        )
        op.execute(
            f"CREATE TRIGGER {table}_identity BEFORE UPDATE ON {table} "
            f"WHEN NEW.id IS NOT OLD.id OR NEW.rowid IS NOT OLD.rowid "
            f"BEGIN SELECT RAISE(ABORT, 'the id of a row of {table} stays what it is'); END"
        )
        if columns := _KEY_COLUMNS.get(table):
            others = " OR ".join(
                f"EXISTS (SELECT 1 FROM {table} o WHERE {condition} AND o.id <> OLD.id)"
                for condition in conditions[2:]
            )
            op.execute(
                f"CREATE TRIGGER {table}_keys BEFORE UPDATE OF {', '.join(columns)} ON {table} WHEN {others} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
