"""Whatever is changed of a schedule, it is looked at again: what cannot be run is told at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_CHOSEN = [
    "active", "cadence", "hour", "minute", "weekday", "day_of_month", "timezone",
    "dataset", "format", "scope", "filters", "columns", "options", "recipients",
]  # fmt: skip


def upgrade() -> None:
    new, old = (", ".join(f"{row}.{column}" for column in _CHOSEN) for row in ("NEW", "OLD"))
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER scheduled_exports_edited")
        op.execute(
            f"""
            CREATE TRIGGER scheduled_exports_edited AFTER UPDATE OF {", ".join(_CHOSEN)} ON scheduled_exports
            WHEN ({new}) IS NOT ({old}) AND NEW.next_run IS OLD.next_run BEGIN
                UPDATE scheduled_exports SET next_run = NULL WHERE id = NEW.id;
            END
            """
        )
        return
    op.execute(
        sa.text(
            f"""
            CREATE OR REPLACE FUNCTION scheduled_exports_edited() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF ({new}) IS DISTINCT FROM ({old}) AND NEW.next_run IS NOT DISTINCT FROM OLD.next_run THEN
                    NEW.next_run = NULL;
                END IF;
                IF NEW.active AND NOT OLD.active THEN
                    NEW.problem = NULL;
                    IF NEW.since = OLD.since THEN
                        NEW.since = now();
                    END IF;
                END IF;
                RETURN NEW;
            END
            $$
            """
        )
    )
