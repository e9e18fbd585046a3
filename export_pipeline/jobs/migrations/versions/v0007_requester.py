"""The column requested_by (owner of a schedule) alone says who asks; options that name somebody are removed.

A file that was made for the person of its options keeps the name, in the column. Requests and schedules that
have not run yet are those of whoever their column names, or of nobody.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        named, name = (
            "json_type(options, '$.requested_by') IS NOT NULL",
            "json_extract(options, '$.requested_by')",
        )
        name, without = f"substr({name}, 1, 500)", "json_remove(options, '$.requested_by')"
    else:
        named = "jsonb_typeof(options) = 'object' AND jsonb_exists(options, 'requested_by')"
        name, without = "left(options ->> 'requested_by', 500)", "options - 'requested_by'"
    op.execute(
        f"UPDATE export_jobs SET requested_by = {name} "
        f"WHERE {named} AND requested_by IS NULL AND status IN ('completed', 'expired')"
    )
    for table in ("export_jobs", "scheduled_exports"):
        op.execute(f"UPDATE {table} SET options = {without} WHERE {named}")
