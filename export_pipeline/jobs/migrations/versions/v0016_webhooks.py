"""Webhooks, and a trigger that queues a delivery in the transaction that ends a job.

A webhook hears of the exports of its scope and dataset, or only of those whose `webhook_id` names it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from export_pipeline.jobs.migrations.versions.v0001_ledger import ID, SQLITE_NEW_ID, SQLITE_NOW, TIME

revision = "0016"
down_revision = "0015"

_EVENTS = '["export.completed", "export.failed", "export.canceled", "export.expired"]'
_ENDED = "('completed', 'failed', 'canceled', 'expired')"
_HEARS = (
    "w.active AND (w.scope IS NULL OR w.scope = NEW.scope) AND (w.dataset IS NULL OR w.dataset = NEW.dataset)"
)
_SAID = "webhook_id: there is no active webhook of this id for this scope and dataset"


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    new_id = sa.text(SQLITE_NEW_ID if sqlite else "gen_random_uuid()")
    now = sa.text(SQLITE_NOW if sqlite else "now()")
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    is_array = "jsonb_typeof(events) IN ('array', 'null')"
    if sqlite:
        is_array = "events IS NULL OR json_valid(events) AND json_type(events) IN ('array', 'null')"
    op.create_table(
        "export_webhooks",
        sa.Column("id", ID, nullable=False, server_default=new_id),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, comment="It hears of this scope's exports only; NULL: of all."),
        sa.Column("dataset", sa.Text, comment="It hears of this dataset only; NULL: of all."),
        sa.Column("events", json, nullable=False, server_default=sa.text(f"'{_EVENTS}'")),
        sa.Column(
            "named_only",
            sa.Boolean,
            nullable=False,
            server_default=sa.false(),
            comment="It hears only of exports whose webhook_id names it.",
        ),
        sa.Column("created_by", sa.Text),
        sa.Column(
            "secret_number",
            sa.Integer,
            nullable=False,
            server_default="1",
            comment="Which secret signs; each follows from EXPORT_WEBHOOK_KEY and is not stored.",
        ),
        sa.Column("previous_until", TIME, comment="Until then the secret before signs too."),
        sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("problem", sa.Text, comment="Why it was switched off, for people."),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name="pk_export_webhooks"),
        sa.CheckConstraint(is_array, name="ck_export_webhooks_events_json"),
    )
    op.create_table(
        "export_webhook_deliveries",
        sa.Column("id", ID, nullable=False, server_default=new_id),
        sa.Column("webhook_id", ID, nullable=False),
        sa.Column("job_id", ID, comment="NULL for a test."),
        sa.Column("attempt", sa.Integer, comment="Of the job."),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("claims", sa.Integer, nullable=False, server_default="0", comment="Tells claims apart."),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("http_status", sa.Integer, comment="Of the last answer."),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("next_at", TIME, nullable=False, server_default=now, comment="Not to be tried before."),
        sa.Column("claimed_at", TIME),
        sa.Column("delivered_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_export_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["export_webhooks.id"],
            ondelete="CASCADE",
            name="fk_export_webhook_deliveries_webhook_id",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["export_jobs.id"], ondelete="CASCADE", name="fk_export_webhook_deliveries_job_id"
        ),
        sa.UniqueConstraint(
            "webhook_id",
            "job_id",
            "attempt",
            "event",
            name="uq_export_webhook_deliveries_webhook_id_job_id_attempt_event",
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'claimed', 'delivered', 'failed', 'skipped')",
            name="ck_export_webhook_deliveries_status",
        ),
    )
    op.create_index("ix_export_webhook_deliveries_status", "export_webhook_deliveries", ["status", "next_at"])
    op.create_index("ix_export_webhook_deliveries_job_id", "export_webhook_deliveries", ["job_id"])
    op.add_column("export_jobs", sa.Column("webhook_id", ID, comment="The webhook that hears of its end."))
    _sqlite() if sqlite else _postgresql()


def _queue(schema: str, has_event: str) -> str:
    return (
        f"INSERT INTO {schema}export_webhook_deliveries (webhook_id, job_id, attempt, event) "
        f"SELECT w.id, NEW.id, NEW.attempt, 'export.' || NEW.status FROM {schema}export_webhooks w "
        f"WHERE {_HEARS} AND (NOT w.named_only OR w.id = NEW.webhook_id) AND {has_event} "
        "ON CONFLICT DO NOTHING;"
    )


def _sqlite() -> None:
    has_event = "EXISTS (SELECT 1 FROM json_each(w.events) WHERE value = 'export.' || NEW.status)"
    op.execute(
        f"CREATE TRIGGER export_jobs_webhooks AFTER UPDATE OF status ON export_jobs "
        f"WHEN OLD.status <> NEW.status AND NEW.status IN {_ENDED} BEGIN {_queue('', has_event)} END"
    )
    op.execute(
        "CREATE TRIGGER export_jobs_webhook_id BEFORE INSERT ON export_jobs WHEN NEW.webhook_id IS NOT NULL "
        f"AND NOT EXISTS (SELECT 1 FROM export_webhooks w WHERE w.id = NEW.webhook_id AND {_HEARS}) "
        f"BEGIN SELECT RAISE(ABORT, '{_SAID}'); END"
    )


def _postgresql() -> None:
    connection = op.get_bind()
    schema = connection.dialect.identifier_preparer.quote_identifier(
        connection.scalar(sa.text("SELECT current_schema()"))
    )
    has_event = "jsonb_exists(w.events, 'export.' || NEW.status)"
    # With the owner's rights: who ends or inserts a job needs none on webhooks.
    head = "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$"
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION {schema}.export_jobs_webhooks() {head}
            BEGIN
                {_queue(f"{schema}.", has_event)}
                RETURN NULL;
            END
            $$
            """
        )
    )
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION {schema}.export_jobs_webhook_id() {head}
            BEGIN
                IF NOT EXISTS (
                    SELECT FROM {schema}.export_webhooks w WHERE w.id = NEW.webhook_id AND {_HEARS}
                ) THEN
                    RAISE check_violation USING MESSAGE = '{_SAID}';
                END IF;
                RETURN NEW;
            END
            $$
            """
        )
    )
    op.execute(
        f"CREATE TRIGGER export_jobs_webhooks AFTER UPDATE OF status ON {schema}.export_jobs FOR EACH ROW "
        f"WHEN (OLD.status <> NEW.status AND NEW.status IN {_ENDED}) "
        f"EXECUTE FUNCTION {schema}.export_jobs_webhooks()"
    )
    op.execute(
        f"CREATE TRIGGER export_jobs_webhook_id BEFORE INSERT ON {schema}.export_jobs FOR EACH ROW "
        f"WHEN (NEW.webhook_id IS NOT NULL) EXECUTE FUNCTION {schema}.export_jobs_webhook_id()"
    )
