"""More schedules: hourly, by a cron line, without a window, in several formats; and who unsubscribed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from export_pipeline.jobs.migrations.versions.v0001_ledger import SQLITE_NOW, TIME

revision = "0019"
down_revision = "0018"

_BEFORE = "cadence IN ('daily', 'weekly', 'monthly')"
_AFTER = "cadence IN ('hourly', 'daily', 'weekly', 'monthly', 'cron')"
_WINDOW = "export_window IN ('previous', 'none')"
_SIZES = {"cron": 200, "additional_formats": 2_000}
CHOSEN = [
    "active", "cadence", "hour", "minute", "weekday", "day_of_month", "timezone", "cron", "export_window",
    "dataset", "format", "additional_formats", "scope", "filters", "columns", "options", "recipients",
]  # fmt: skip


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    for column in (
        sa.Column("cron", sa.Text, comment="Of the cadence cron: minute, hour, day, month, day of week."),
        sa.Column(
            "export_window",
            sa.Text,
            nullable=False,
            server_default="previous",
            comment="previous: rows of the time before a run; none: every row.",
        ),
        sa.Column("additional_formats", json, comment="Further formats, sent in the same mail."),
    ):
        op.add_column("scheduled_exports", column)
    op.add_column(
        "export_jobs",
        sa.Column("scheduled_for", TIME, comment="The run of its schedule; its formats go into one mail."),
    )
    op.create_table(
        "export_unsubscribes",
        sa.Column("subscription", sa.Text, nullable=False, comment="Id of a schedule, or dataset/cadence."),
        sa.Column("recipient", sa.Text, nullable=False, comment="The bare address, in lower case."),
        sa.Column(
            "created_at",
            TIME,
            nullable=False,
            server_default=sa.text(SQLITE_NOW if sqlite else "now()"),
        ),
        sa.PrimaryKeyConstraint("subscription", "recipient", name="pk_export_unsubscribes"),
    )
    if sqlite:
        _sqlite()
    else:
        _postgresql()


def _sqlite() -> None:
    connection = op.get_bind()
    # SQLite cannot replace a check; it documents this way to edit one, which changes no stored row.
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    op.execute("PRAGMA writable_schema = ON")
    connection.execute(
        sa.text("UPDATE sqlite_master SET sql = replace(sql, :old, :new) WHERE name = 'scheduled_exports'"),
        {"old": _BEFORE, "new": _AFTER},
    )
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = OFF")
    is_array = "NEW.additional_formats IS NULL OR json_valid(NEW.additional_formats)"
    is_array += " AND json_type(NEW.additional_formats) IN ('array', 'null')"
    rules = {
        "export_window": (f"NEW.{_WINDOW}", "export_window is previous or none"),
        "additional_formats": (is_array, "additional_formats is a list"),
        **{
            f"{name}_length": (
                f"NEW.{name} IS NULL OR length(CAST(NEW.{name} AS BLOB)) <= {most}",
                f"{name} of a row of scheduled_exports is too long: it has at most {most:,} bytes",
            )
            for name, most in _SIZES.items()
        },
    }
    for name, (rule, message) in rules.items():
        for event in ("INSERT", "UPDATE"):
            op.execute(
                f"CREATE TRIGGER scheduled_exports_{name}_{event.lower()} "
                f"BEFORE {event} ON scheduled_exports WHEN NOT ({rule}) "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
    look_again_at(CHOSEN)


def _postgresql() -> None:
    op.drop_constraint("ck_scheduled_exports_cadence", "scheduled_exports")
    op.create_check_constraint("ck_scheduled_exports_cadence", "scheduled_exports", _AFTER)
    op.create_check_constraint("ck_scheduled_exports_export_window", "scheduled_exports", _WINDOW)
    op.create_check_constraint(
        "ck_scheduled_exports_additional_formats_json",
        "scheduled_exports",
        "jsonb_typeof(additional_formats) IN ('array', 'null')",
    )
    for name, most in _SIZES.items():
        op.create_check_constraint(
            f"ck_scheduled_exports_{name}_length",
            "scheduled_exports",
            f"octet_length(CAST({name} AS text)) <= {most}",
        )
    look_again_at(CHOSEN)


def look_again_at(columns: Sequence[str]) -> None:
    """Look at a schedule again, and work out its next run anew, whenever one of the columns is edited."""
    new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("NEW", "OLD"))
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER scheduled_exports_edited")
        op.execute(
            f"""
            CREATE TRIGGER scheduled_exports_edited AFTER UPDATE OF {", ".join(columns)} ON scheduled_exports
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
