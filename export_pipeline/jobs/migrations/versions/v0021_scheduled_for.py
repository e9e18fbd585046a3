"""Checks of columns that applications may write, and an index of the exports of a schedule's run."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"

_YEARS = "BETWEEN '1000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00'"
_LIKE = "GLOB '[1-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ]*'"
_RULES = {
    ("export_jobs", "scheduled_for"): (
        f"NEW.scheduled_for IS NULL OR NEW.scheduled_for {_LIKE} "
        "AND julianday(NEW.scheduled_for) IS NOT NULL",
        "scheduled_for is no time such as 2026-01-31T07:00:00+00:00",
    ),
    ("scheduled_exports", "each_scope"): ("NEW.each_scope IN (0, 1)", "each_scope is true or false"),
}


def upgrade() -> None:
    op.create_index("ix_export_jobs_scheduled_for", "export_jobs", ["schedule_id", "scheduled_for", "scope"])
    if op.get_context().dialect.name != "sqlite":
        check = f"scheduled_for {_YEARS}"
        op.create_check_constraint("ck_export_jobs_scheduled_for_time", "export_jobs", check)
        return
    # SQLite cannot add a check to a table.
    for (table, column), (rule, message) in _RULES.items():
        for name, event in (("insert", "INSERT"), ("update", f"UPDATE OF {column}")):
            op.execute(
                f"CREATE TRIGGER {table}_{column}_{name} BEFORE {event} ON {table} "
                f"WHEN (({rule}) IS NOT TRUE) BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
