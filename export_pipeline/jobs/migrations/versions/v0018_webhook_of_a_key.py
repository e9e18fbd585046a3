"""The same request under an idempotency key names the same webhook."""

from __future__ import annotations

from alembic import op

from export_pipeline.jobs.migrations.versions.v0013_idempotency import (
    create_postgresql_check,
    create_sqlite_check,
    current_schema,
)

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER export_jobs_idempotency_used")
        create_sqlite_check("o.webhook_id IS NEW.webhook_id")
    else:
        create_postgresql_check(current_schema(), "o.webhook_id IS NOT DISTINCT FROM NEW.webhook_id")
