"""Schedules that export each scope by itself, to the recipients that the dataset names for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.migrations.versions.v0019_schedules import CHOSEN, look_again_at

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column(
        "scheduled_exports",
        sa.Column(
            "each_scope",
            sa.Boolean,
            nullable=False,
            server_default=sa.false(),
            comment="One export for each scope, to the recipients that the dataset names for it.",
        ),
    )
    look_again_at([*CHOSEN, "each_scope"])
