"""The id of this ledger's deployment: its files' manifests hold it, and a purge removes no other files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.migrations.versions.v0001_ledger import ID, SQLITE_NEW_ID

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    new_id = SQLITE_NEW_ID if op.get_context().dialect.name == "sqlite" else "gen_random_uuid()"
    op.create_table(
        "export_deployment",
        sa.Column("id", ID, nullable=False, server_default=sa.text(new_id)),
        sa.PrimaryKeyConstraint("id", name="pk_export_deployment"),
    )
    op.execute("INSERT INTO export_deployment DEFAULT VALUES")
