"""The ledger: jobs, schedules, events, deliveries, and the triggers that note a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

# Types and defaults stand here once more, as this step must stay what it was when it first ran.
ID = sa.Uuid(as_uuid=False).with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE_NEW_ID = (
    "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || "
    "'-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || "
    "hex(randomblob(6))))"
)
SQLITE_NOW = "(strftime('%Y-%m-%dT%H\\:%M\\:%f', 'now') || '000+00\\:00')"
SQLITE_TIME = (
    "{0} IS NULL OR {0} GLOB '[1-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ]*' AND julianday({0}) IS NOT NULL"
)


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    new_id = sa.text(SQLITE_NEW_ID if sqlite else "gen_random_uuid()")
    now = sa.text(SQLITE_NOW if sqlite else "now()")

    def json_checks(table: str, **kinds: str) -> Iterator[sa.CheckConstraint]:
        for column, kind in kinds.items():
            check = f"jsonb_typeof({column}) IN ('{kind}', 'null')"
            if sqlite:
                check = (
                    f"{column} IS NULL OR json_valid({column}) AND json_type({column}) IN ('{kind}', 'null')"
                )
            yield sa.CheckConstraint(check, name=f"ck_{table}_{column}_json")

    def type_checks(
        table: str, integers: Sequence[str], times: Sequence[str], booleans: Sequence[str] = ()
    ) -> Iterator[sa.CheckConstraint]:
        if sqlite:
            for column in integers:
                yield sa.CheckConstraint(f"typeof({column}) = 'integer'", name=f"ck_{table}_{column}_integer")
            for column in booleans:
                yield sa.CheckConstraint(f"{column} IN (0, 1)", name=f"ck_{table}_{column}_boolean")
            for column in times:
                yield sa.CheckConstraint(SQLITE_TIME.format(column), name=f"ck_{table}_{column}_time")

    request = {"filters": "object", "columns": "array", "options": "object", "recipients": "array"}
    op.create_table(
        "scheduled_exports",
        sa.Column("id", ID, nullable=False, server_default=new_id),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("scope", sa.Text),
        sa.Column("cadence", sa.Text, nullable=False),
        sa.Column("hour", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("minute", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("weekday", sa.SmallInteger, nullable=False, server_default="1", comment="1 Monday to 7."),
        sa.Column(
            "day_of_month", sa.SmallInteger, nullable=False, server_default="1", comment="31: the last day."
        ),
        sa.Column("timezone", sa.Text, nullable=False, server_default="UTC", comment="IANA name."),
        sa.Column("filters", JSON, server_default="{}"),
        sa.Column("columns", JSON),
        sa.Column("options", JSON, server_default="{}"),
        sa.Column("recipients", JSON, server_default="[]"),
        sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column(
            "misfire",
            sa.Text,
            nullable=False,
            server_default="last",
            comment="Which missed windows to make up.",
        ),
        sa.Column(
            "empty",
            sa.Text,
            nullable=False,
            server_default="send",
            comment="What to do about no rows at all.",
        ),
        sa.Column("owner", sa.Text, comment="Who is told of failures."),
        sa.Column("last_run", TIME, comment="For when its newest export was scheduled."),
        sa.Column("next_run", TIME, comment="NULL where it is to be worked out anew."),
        sa.Column("since", TIME, nullable=False, server_default=now, comment="Earlier runs are dealt with."),
        sa.Column("problem", sa.Text, comment="Why it was set inactive, for people."),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name="pk_scheduled_exports"),
        sa.CheckConstraint("cadence IN ('daily', 'weekly', 'monthly')", name="ck_scheduled_exports_cadence"),
        sa.CheckConstraint("misfire IN ('skip', 'last', 'all')", name="ck_scheduled_exports_misfire"),
        sa.CheckConstraint("empty IN ('send', 'skip', 'say')", name="ck_scheduled_exports_empty"),
        sa.CheckConstraint("hour BETWEEN 0 AND 23", name="ck_scheduled_exports_hour"),
        sa.CheckConstraint("minute BETWEEN 0 AND 59", name="ck_scheduled_exports_minute"),
        sa.CheckConstraint("weekday BETWEEN 1 AND 7", name="ck_scheduled_exports_weekday"),
        sa.CheckConstraint("day_of_month BETWEEN 1 AND 31", name="ck_scheduled_exports_day_of_month"),
        *json_checks("scheduled_exports", **request),
        *type_checks(
            "scheduled_exports",
            integers=["hour", "minute", "weekday", "day_of_month"],
            times=["next_run", "since"],
            booleans=["active"],
        ),
    )
    op.create_index("ix_scheduled_exports_due", "scheduled_exports", ["active", "next_run"])
    op.create_index("ix_scheduled_exports_scope", "scheduled_exports", ["scope"])

    op.create_table(
        "export_jobs",
        sa.Column("id", ID, nullable=False, server_default=new_id),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, comment="The project, account or client whose rows are exported."),
        sa.Column("filters", JSON, server_default="{}"),
        sa.Column("columns", JSON, comment="A list of names; NULL for the dataset's own choice."),
        sa.Column("options", JSON, server_default="{}"),
        sa.Column("requested_by", sa.Text),
        sa.Column("recipients", JSON, server_default="[]", comment="Mail addresses."),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0", comment="Higher goes first."),
        sa.Column("schedule_id", ID),
        sa.Column("window_key", sa.Text, comment="Which window of its schedule; each is asked for once."),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("progress_percent", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("progress_step", sa.Text),
        sa.Column("total_rows", sa.BigInteger),
        sa.Column("row_count", sa.BigInteger, comment="Rows written so far, in the end rows in the file."),
        sa.Column("file_key", sa.Text),
        sa.Column("file_name", sa.Text),
        sa.Column("file_size", sa.BigInteger, comment="Bytes."),
        sa.Column("sha256", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("run_id", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("claimed_at", TIME, comment="When it was last offered to a launcher."),
        sa.Column("claimed_by", sa.Text),
        sa.Column("offers", sa.Integer, nullable=False, server_default="0", comment="Of this attempt."),
        sa.Column("started_at", TIME),
        sa.Column("completed_at", TIME, comment="When it ended, well or not."),
        sa.Column("expires_at", TIME),
        sa.Column("legal_hold", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("deleted_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_export_jobs"),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["scheduled_exports.id"],
            ondelete="SET NULL",
            name="fk_export_jobs_schedule_id",
        ),
        sa.UniqueConstraint("schedule_id", "window_key", name="uq_export_jobs_schedule_id_window_key"),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'failed', 'canceled', 'expired')",
            name="ck_export_jobs_status",
        ),
        sa.CheckConstraint("progress_percent BETWEEN 0 AND 100", name="ck_export_jobs_progress_percent"),
        *json_checks("export_jobs", **request),
        *type_checks("export_jobs", integers=["priority"], times=["created_at"]),
    )
    op.create_index("ix_export_jobs_claim", "export_jobs", ["status", sa.text("priority DESC"), "created_at"])
    op.create_index("ix_export_jobs_scope", "export_jobs", ["scope", "created_at"])
    op.create_index("ix_export_jobs_served", "export_jobs", ["scope", "claimed_at"])
    op.create_index("ix_export_jobs_requested_by", "export_jobs", ["requested_by", "created_at"])
    op.create_index("ix_export_jobs_expires_at", "export_jobs", ["status", "expires_at"])
    op.create_index("ix_export_jobs_created_at", "export_jobs", ["created_at", "id"])
    op.create_index("ix_export_jobs_completed_at", "export_jobs", ["completed_at"])
    op.create_index("ix_export_jobs_run_id", "export_jobs", ["run_id"])
    op.create_index("ix_export_jobs_file_key", "export_jobs", ["file_key"])

    op.create_table(
        "export_events",
        sa.Column("id", SERIAL, nullable=False, autoincrement=True),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=now),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("who", sa.Text),
        sa.Column("details", JSON, nullable=False, server_default="{}"),
        sa.PrimaryKeyConstraint("id", name="pk_export_events"),
        sa.CheckConstraint(
            "kind IN ('requested', 'started', 'progress', 'completed', 'failed', 'canceled', 'sent', "
            "'downloaded', 'purged', 'held', 'released')",
            name="ck_export_events_kind",
        ),
        *json_checks("export_events", details="object"),
    )
    op.create_index("ix_export_events_job_id", "export_events", ["job_id", "id"])

    op.create_table(
        "export_deliveries",
        sa.Column("id", ID, nullable=False, server_default=new_id),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, comment="Of the job: whose end is told."),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column(
            "recipient", sa.Text, nullable=False, comment="The bare address; empty if there is nobody."
        ),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("message_id", sa.Text, comment="Of the mail; the same however often it is tried."),
        sa.Column("claims", sa.Integer, nullable=False, server_default="0", comment="Tells claims apart."),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0", comment="That came to nothing."),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("next_at", TIME, nullable=False, server_default=now, comment="Not to be tried before."),
        sa.Column("claimed_at", TIME),
        sa.Column("sent_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_export_deliveries"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["export_jobs.id"], ondelete="CASCADE", name="fk_export_deliveries_job_id"
        ),
        sa.UniqueConstraint(
            "job_id",
            "attempt",
            "kind",
            "recipient",
            name="uq_export_deliveries_job_id_attempt_kind_recipient",
        ),
        sa.CheckConstraint("kind IN ('file', 'failure')", name="ck_export_deliveries_kind"),
        sa.CheckConstraint(
            "status IN ('pending', 'claimed', 'sending', 'sent', 'unknown', 'failed', 'refused', 'skipped')",
            name="ck_export_deliveries_status",
        ),
    )
    op.create_index("ix_export_deliveries_status", "export_deliveries", ["status", "next_at"])
    _note_requests(sqlite)
    _plan_anew(sqlite)


def _note_requests(sqlite: bool) -> None:
    """However a row comes in, its request is an event; PostgreSQL also tells who listens to `export_jobs`."""
    if sqlite:
        op.execute(
            """
            CREATE TRIGGER export_jobs_requested AFTER INSERT ON export_jobs BEGIN
                INSERT INTO export_events (job_id, kind, who, details)
                VALUES (NEW.id, 'requested', NEW.requested_by, json_object('attempt', NEW.attempt));
            END
            """
        )
        return
    connection = op.get_bind()
    schema = connection.dialect.identifier_preparer.quote_identifier(
        connection.scalar(sa.text("SELECT current_schema()"))
    )
    # With the owner's rights: an application may insert into export_jobs without any on the events.
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION {schema}.export_jobs_requested() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            BEGIN
                INSERT INTO {schema}.export_events (job_id, kind, who, details)
                VALUES (NEW.id, 'requested', NEW.requested_by, jsonb_build_object('attempt', NEW.attempt));
                PERFORM pg_notify('export_jobs', CAST(NEW.id AS text));
                RETURN NULL;
            END
            $$
            """
        )
    )
    op.execute(
        f"CREATE TRIGGER export_jobs_requested AFTER INSERT ON {schema}.export_jobs "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.export_jobs_requested()"
    )


def _plan_anew(sqlite: bool) -> None:
    """Whoever edits a schedule, its next run is worked out anew, and one set active begins at that moment."""
    when = ["active", "cadence", "hour", "minute", "weekday", "day_of_month", "timezone"]
    new, old = (", ".join(f"{row}.{column}" for column in when) for row in ("NEW", "OLD"))
    if sqlite:
        op.execute(
            f"""
            CREATE TRIGGER scheduled_exports_edited AFTER UPDATE OF {", ".join(when)} ON scheduled_exports
            WHEN ({new}) <> ({old}) AND NEW.next_run IS OLD.next_run BEGIN
                UPDATE scheduled_exports SET next_run = NULL WHERE id = NEW.id;
            END
            """
        )
        op.execute(
            f"""
            CREATE TRIGGER scheduled_exports_resumed AFTER UPDATE OF active ON scheduled_exports
            WHEN NEW.active AND NOT OLD.active BEGIN
                UPDATE scheduled_exports
                SET problem = NULL, since = CASE WHEN since = OLD.since THEN {SQLITE_NOW} ELSE since END
                WHERE id = NEW.id;
            END
            """
        )
        return
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION scheduled_exports_edited() RETURNS trigger LANGUAGE plpgsql AS $$
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
    op.execute(
        "CREATE TRIGGER scheduled_exports_edited BEFORE UPDATE ON scheduled_exports "
        "FOR EACH ROW EXECUTE FUNCTION scheduled_exports_edited()"
    )
