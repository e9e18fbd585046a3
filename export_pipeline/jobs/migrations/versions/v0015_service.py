"""Keys of the HTTP service's callers, links to files, and the secrets with which the service signs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.migrations.versions.v0001_ledger import (
    ID,
    JSON,
    SQLITE_NEW_ID,
    SQLITE_NOW,
    TIME,
)

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    now = sa.text(SQLITE_NOW if sqlite else "now()")
    op.create_table(
        "export_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret_sha256", sa.Text, nullable=False),
        sa.Column("previous_sha256", sa.Text, comment="Of the secret before the rotation."),
        sa.Column("previous_until", TIME, comment="When the previous secret stops to work."),
        sa.Column("rights", JSON, nullable=False),
        sa.Column("datasets", JSON, comment="Names; NULL for all."),
        sa.Column("scopes", JSON, comment="Scopes, null among them for none; NULL for all."),
        sa.Column("acts_for", sa.Text, comment="The person for whom it asks; NULL for a service."),
        sa.Column("created_by", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("expires_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("used_at", TIME, comment="When it was last used, within a minute."),
        sa.PrimaryKeyConstraint("id", name="pk_export_keys"),
        comment="Keys of the HTTP service's callers.",
    )
    op.create_table(
        "export_links",
        sa.Column(
            "id", ID, nullable=False, server_default=sa.text(SQLITE_NEW_ID if sqlite else "gen_random_uuid()")
        ),
        sa.Column("token_sha256", sa.Text, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("expires_at", TIME, comment="NULL: it works as long as the file is there."),
        sa.Column("max_uses", sa.Integer),
        sa.Column("uses", sa.Integer, nullable=False, server_default="0", comment="Downloads."),
        sa.Column("used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.ForeignKeyConstraint(
            ["job_id"], ["export_jobs.id"], name="fk_export_links_job_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("token_sha256", name="uq_export_links_token_sha256"),
        sa.PrimaryKeyConstraint("id", name="pk_export_links"),
        comment="Links to files, for people without a login.",
    )
    op.create_index("ix_export_links_job_id", "export_links", ["job_id"])
    op.create_table(
        "export_secrets",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_export_secrets"),
        comment="Secrets with which the HTTP service signs.",
    )
