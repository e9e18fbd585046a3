"""Leases of runs: who works on a job proves in the ledger that it lives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.migrations.versions.v0001_ledger import SQLITE_NOW, TIME

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    now = sa.text(SQLITE_NOW if sqlite else "now()")
    op.create_table(
        "export_leases",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("worker_id", sa.Text, comment="The process that holds it; NULL until one has taken it."),
        sa.Column("host", sa.Text, comment="Its machine, for people; it decides nothing."),
        sa.Column("started_at", TIME, nullable=False, server_default=now),
        sa.Column("renewed_at", TIME),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("called_at", TIME, comment="When it was found expired; a renewal clears it."),
        sa.Column("lost_at", TIME, comment="When its process was taken for dead, for good."),
        sa.PrimaryKeyConstraint("run_id", name="pk_export_leases"),
    )
    op.create_index("ix_export_leases_expires_at", "export_leases", ["expires_at"])
