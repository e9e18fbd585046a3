"""Files that the HTTP service makes at once, until Dagster knows them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.migrations.versions.v0001_ledger import ID, JSON, SQLITE_NOW, TIME

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    now = sa.text(SQLITE_NOW if op.get_context().dialect.name == "sqlite" else "now()")
    op.create_table(
        "export_materializations",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False, comment="As in export_jobs; of another one it is void."),
        sa.Column("summary", JSON, nullable=False, comment="Of the file, for Dagster's UI."),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("claimed_at", TIME, comment="When it was last about to be reported."),
        sa.PrimaryKeyConstraint("job_id", name="pk_export_materializations"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["export_jobs.id"], ondelete="CASCADE", name="fk_export_materializations_job_id"
        ),
        comment="Files of the HTTP service that Dagster does not know yet.",
    )
