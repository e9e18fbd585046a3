"""Folders that were used as stores: one whose file system is not mounted is found by its missing marker."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.migrations.versions.v0001_ledger import SQLITE_NOW, TIME

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    now = sa.text(SQLITE_NOW if op.get_context().dialect.name == "sqlite" else "now()")
    op.create_table(
        "export_stores",
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False, comment="As in the marker file of the folder."),
        sa.Column("first_used_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("url", name="pk_export_stores"),
    )
