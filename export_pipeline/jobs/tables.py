"""The ledger's tables. An application may insert a row with only the columns that its export needs.

All other columns have database defaults. The migrations in `migrations/` create and change the tables; a test
compares them with this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from export_pipeline.jobs.sql_types import Id, Json, Serial, UtcTime, new_id, utc_now
from export_pipeline.jobs.states import EventKind, Status

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


sqlite_metadata = sa.MetaData(naming_convention=metadata.naming_convention)
"""Tables that only SQLite has."""


def _one_of(column: str, values: Iterable[str]) -> sa.CheckConstraint:
    words = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({words})", name=column)


def _json(**kinds: str) -> Iterator[sa.CheckConstraint]:
    """Yield checks that each column holds JSON of its kind, so that other values are rejected on INSERT."""
    for column, kind in kinds.items():
        name, allowed = f"{column}_json", f"IN ('{kind}', 'null')"
        yield sa.CheckConstraint(f"jsonb_typeof({column}) {allowed}", name=name).ddl_if("postgresql")
        yield sa.CheckConstraint(
            f"{column} IS NULL OR json_valid({column}) AND json_type({column}) {allowed}", name=name
        ).ddl_if("sqlite")


def _integer(column: str) -> sa.CheckConstraint:
    """Return a check for integers, as SQLite would also store a fraction or a string."""
    return sa.CheckConstraint(f"typeof({column}) = 'integer'", name=f"{column}_integer").ddl_if("sqlite")


def _sqlite_time(column: str) -> sa.CheckConstraint:
    """Return a check for times, as SQLite would store any string, and one bad row would block the queue."""
    like = "GLOB '[1-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ]*'"
    return sa.CheckConstraint(
        f"{column} IS NULL OR {column} {like} AND julianday({column}) IS NOT NULL", name=f"{column}_time"
    ).ddl_if("sqlite")


def _postgresql_time(column: str) -> sa.CheckConstraint:
    """Return a check for times that Python can hold; PostgreSQL also stores other years and infinity."""
    years = "BETWEEN '1000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00'"
    return sa.CheckConstraint(f"{column} {years}", name=f"{column}_time").ddl_if("postgresql")


_REQUEST = {"filters": "object", "columns": "array", "options": "object", "recipients": "array"}


jobs = sa.Table(
    "export_jobs",
    metadata,
    sa.Column("id", Id, primary_key=True, server_default=new_id()),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, comment="The project, account or client whose rows are exported."),
    sa.Column("filters", Json, server_default="{}"),
    sa.Column("columns", Json, comment="A list of names; NULL for the dataset's own choice."),
    sa.Column("options", Json, server_default="{}"),
    sa.Column("requested_by", sa.Text),
    sa.Column("recipients", Json, server_default="[]", comment="Mail addresses."),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0", comment="Higher goes first."),
    sa.Column("schedule_id", Id),  # a trigger checks it; it stays when the schedule is deleted
    sa.Column("window_key", sa.Text, comment="Which window of its schedule; each is asked for once."),
    sa.Column("status", sa.Text, nullable=False, server_default=Status.PENDING),
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
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("claimed_at", UtcTime, comment="When it was last offered to a launcher."),
    sa.Column("claimed_by", sa.Text),
    sa.Column(
        "offers", sa.Integer, key="dispatches", nullable=False, server_default="0", comment="Of this attempt."
    ),
    sa.Column("started_at", UtcTime),
    sa.Column("completed_at", UtcTime, comment="When it ended, well or not."),
    sa.Column("expires_at", UtcTime),
    sa.Column("legal_hold", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("deleted_at", UtcTime),
    sa.Column("warnings", Json, nullable=False, server_default="[]", comment="Sentences about the file."),
    sa.Column(
        "changed_cells", Json, nullable=False, server_default="{}", comment="Reason, column, number of cells."
    ),
    sa.Column("idempotency_key", sa.Text, comment="The same request under the same key is one export."),
    sa.Column("webhook_id", Id, comment="The webhook that hears of its end."),
    sa.Column("scheduled_for", UtcTime, comment="The run of its schedule; its formats go into one mail."),
    _one_of("status", Status),
    sa.CheckConstraint("progress_percent BETWEEN 0 AND 100", name="progress_percent"),
    *_json(**_REQUEST),
    _integer("priority"),
    _sqlite_time("created_at"),
    _postgresql_time("created_at"),
    _postgresql_time("scheduled_for"),  # on SQLite a trigger
    sa.UniqueConstraint("schedule_id", "window_key"),
)
sa.Index("ix_export_jobs_scheduled_for", jobs.c.schedule_id, jobs.c.scheduled_for, jobs.c.scope)
sa.Index("ix_export_jobs_claim", jobs.c.status, jobs.c.priority.desc(), jobs.c.created_at)
sa.Index("ix_export_jobs_scope", jobs.c.scope, jobs.c.created_at)
sa.Index("ix_export_jobs_served", jobs.c.scope, jobs.c.claimed_at)
sa.Index("ix_export_jobs_requested_by", jobs.c.requested_by, jobs.c.created_at)
sa.Index("ix_export_jobs_expires_at", jobs.c.status, jobs.c.expires_at)
sa.Index("ix_export_jobs_created_at", jobs.c.created_at, jobs.c.id)
sa.Index("ix_export_jobs_completed_at", jobs.c.completed_at)
sa.Index("ix_export_jobs_run_id", jobs.c.run_id)
sa.Index("ix_export_jobs_file_key", jobs.c.file_key)
# Without a scope and asked by nobody are values too: NULLs would all differ.
sa.Index(
    "uq_export_jobs_idempotency_key",
    jobs.c.idempotency_key,
    sa.text("coalesce(scope, '')"),
    sa.text("coalesce(requested_by, '')"),
    unique=True,
)

schedules = sa.Table(
    "scheduled_exports",
    metadata,
    sa.Column("id", Id, primary_key=True, server_default=new_id()),
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
    sa.Column("filters", Json, server_default="{}"),
    sa.Column("columns", Json),
    sa.Column("options", Json, server_default="{}"),
    sa.Column("recipients", Json, server_default="[]"),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column(
        "misfire", sa.Text, nullable=False, server_default="last", comment="Which missed windows to make up."
    ),
    sa.Column(
        "empty", sa.Text, nullable=False, server_default="send", comment="What to do about no rows at all."
    ),
    sa.Column("owner", sa.Text, comment="Who is told of failures."),
    sa.Column("last_run", UtcTime, comment="For when its newest export was scheduled."),
    sa.Column("next_run", UtcTime, comment="NULL where it is to be worked out anew."),
    sa.Column(
        "since", UtcTime, nullable=False, server_default=utc_now(), comment="Earlier runs are dealt with."
    ),
    sa.Column("problem", sa.Text, comment="Why it was set inactive, for people."),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("cron", sa.Text, comment="Of the cadence cron: minute, hour, day, month, day of week."),
    sa.Column(
        "export_window",
        sa.Text,
        nullable=False,
        server_default="previous",
        comment="previous: rows of the time before a run; none: every row.",
    ),
    sa.Column("additional_formats", Json, comment="Further formats, sent in the same mail."),
    sa.Column(
        "each_scope",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="One export for each scope, to the recipients that the dataset names for it.",
    ),
    _one_of("cadence", ("hourly", "daily", "weekly", "monthly", "cron")),
    _one_of("misfire", ("skip", "last", "all")),
    _one_of("empty", ("send", "skip", "say")),
    sa.CheckConstraint("hour BETWEEN 0 AND 23", name="hour"),
    sa.CheckConstraint("minute BETWEEN 0 AND 59", name="minute"),
    sa.CheckConstraint("weekday BETWEEN 1 AND 7", name="weekday"),
    sa.CheckConstraint("day_of_month BETWEEN 1 AND 31", name="day_of_month"),
    *_json(**_REQUEST),
    *(_integer(name) for name in ("hour", "minute", "weekday", "day_of_month")),
    sa.CheckConstraint("active IN (0, 1)", name="active_boolean").ddl_if("sqlite"),
    *(_sqlite_time(name) for name in ("next_run", "since")),
    # On SQLite, which cannot add a check to a table, triggers do this.
    _one_of("export_window", ("previous", "none")).ddl_if("postgresql"),
    sa.CheckConstraint(
        "jsonb_typeof(additional_formats) IN ('array', 'null')", name="additional_formats_json"
    ).ddl_if("postgresql"),
    *(
        sa.CheckConstraint(f"octet_length(CAST({name} AS text)) <= {most}", name=f"{name}_length").ddl_if(
            "postgresql"
        )
        for name, most in (("cron", 200), ("additional_formats", 2_000))
    ),
)
sa.Index("ix_scheduled_exports_due", schedules.c.active, schedules.c.next_run)
sa.Index("ix_scheduled_exports_scope", schedules.c.scope)

deployment = sa.Table(
    "export_deployment",
    metadata,
    sa.Column("id", Id, primary_key=True, server_default=new_id()),
)
"""One row with the id of this deployment, to recognize its files in a store shared with other ledgers."""

stores = sa.Table(
    "export_stores",
    metadata,
    sa.Column("url", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, comment="As in the marker file of the folder."),
    sa.Column("first_used_at", UtcTime, nullable=False, server_default=utc_now()),
)
"""Folders that were used as stores: a known folder that has lost its marker file is refused."""

conflicts = sa.Table("export_conflicts", sqlite_metadata, sa.Column("table_name", sa.Text, primary_key=True))
"""Notes of the triggers that refuse to replace rows; on PostgreSQL no statement replaces one."""

leases = sa.Table(
    "export_leases",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("worker_id", sa.Text, comment="The process that holds it; NULL until one has taken it."),
    sa.Column("host", sa.Text, comment="Its machine, for people; it decides nothing."),
    sa.Column("started_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("renewed_at", UtcTime),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("called_at", UtcTime, comment="When it was found expired; a renewal clears it."),
    sa.Column("lost_at", UtcTime, comment="When its process was taken for dead, for good."),
    sa.Column("staging_free", sa.BigInteger, comment="Free bytes on the disk of its staging folder."),
    sa.Column("staging_size", sa.BigInteger, comment="Size of that disk in bytes."),
)
sa.Index("ix_export_leases_expires_at", leases.c.expires_at)

# No foreign key: events must survive if an application deletes the row of their job.
events = sa.Table(
    "export_events",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("who", sa.Text),
    sa.Column("details", Json, nullable=False, server_default="{}"),
    _one_of("kind", EventKind),
    *_json(details="object"),
)
sa.Index("ix_export_events_job_id", events.c.job_id, events.c.id)

deliveries = sa.Table(
    "export_deliveries",
    metadata,
    sa.Column("id", Id, primary_key=True, server_default=new_id()),
    sa.Column("job_id", Id, sa.ForeignKey("export_jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, comment="Of the job: whose end is told."),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("recipient", sa.Text, nullable=False, comment="The bare address; empty if there is nobody."),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("message_id", sa.Text, comment="Of the mail; the same however often it is tried."),
    sa.Column("claims", sa.Integer, nullable=False, server_default="0", comment="Tells claims apart."),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0", comment="That came to nothing."),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column(
        "next_at", UtcTime, nullable=False, server_default=utc_now(), comment="Not to be tried before."
    ),
    sa.Column("claimed_at", UtcTime),
    sa.Column("sent_at", UtcTime),
    _one_of("kind", ("file", "failure")),
    _one_of("status", ("pending", "claimed", "sending", "sent", "unknown", "failed", "refused", "skipped")),
    sa.UniqueConstraint("job_id", "attempt", "kind", "recipient"),
)
sa.Index("ix_export_deliveries_status", deliveries.c.status, deliveries.c.next_at)

unsubscribes = sa.Table(
    "export_unsubscribes",
    metadata,
    sa.Column("subscription", sa.Text, primary_key=True, comment="Id of a schedule, or dataset/cadence."),
    sa.Column("recipient", sa.Text, primary_key=True, comment="The bare address, in lower case."),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
)
"""Recipients who want no more mails of a schedule or of a dataset's cadence."""

removals = sa.Table(
    "export_removals",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("file_key", sa.Text, nullable=False, comment="Of a file that was removed from the store."),
    sa.Column("run_id", sa.Text, comment="The run that made the file."),
    sa.Column("removed_at", UtcTime, nullable=False, server_default=utc_now()),
    comment="Removed files whose content Dagster's database may still hold.",
)

materializations = sa.Table(
    "export_materializations",
    metadata,
    sa.Column("job_id", Id, sa.ForeignKey("export_jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False, comment="As in export_jobs; of another one it is void."),
    sa.Column("summary", Json, nullable=False, comment="Of the file, for Dagster's UI."),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("claimed_at", UtcTime, comment="When it was last about to be reported."),
    comment="Files of the HTTP service that Dagster does not know yet.",
)

commands = sa.Table(
    "export_commands",
    metadata,
    # An identity: an application needs no right on a sequence.
    sa.Column("id", Serial, sa.Identity(always=True), primary_key=True),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, comment="Of the export; another one's does not exist for the command."),
    sa.Column("requested_by", sa.Text, comment="If set, only an export that this person requested."),
    sa.Column("commanded_by", sa.Text, comment="Who gives the command, for the record."),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("answer", sa.Text, comment="What was done, or why nothing was."),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("ended_at", UtcTime),
    _one_of("command", ("cancel", "retry", "delete")),
    _one_of("status", ("pending", "done", "refused")),
    _sqlite_time("created_at"),
)
sa.Index("ix_export_commands_status", commands.c.status, commands.c.id)
keys = sa.Table(
    "export_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("secret_sha256", sa.Text, nullable=False),
    sa.Column("previous_sha256", sa.Text, comment="Of the secret before the rotation."),
    sa.Column("previous_until", UtcTime, comment="When the previous secret stops to work."),
    sa.Column("rights", Json, nullable=False),
    sa.Column("datasets", Json, comment="Names; NULL for all."),
    sa.Column("scopes", Json, comment="Scopes, null among them for none; NULL for all."),
    sa.Column("acts_for", sa.Text, comment="The person for whom it asks; NULL for a service."),
    sa.Column("created_by", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("expires_at", UtcTime),
    sa.Column("revoked_at", UtcTime),
    sa.Column("used_at", UtcTime, comment="When it was last used, within a minute."),
    comment="Keys of the HTTP service's callers.",
)

links = sa.Table(
    "export_links",
    metadata,
    sa.Column("id", Id, primary_key=True, server_default=new_id()),
    sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
    sa.Column("job_id", Id, sa.ForeignKey("export_jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column("expires_at", UtcTime, comment="NULL: it works as long as the file is there."),
    sa.Column("max_uses", sa.Integer),
    sa.Column("uses", sa.Integer, nullable=False, server_default="0", comment="Downloads."),
    sa.Column("used_at", UtcTime),
    sa.Column("revoked_at", UtcTime),
    comment="Links to files, for people without a login.",
)
sa.Index("ix_export_links_job_id", links.c.job_id)

secrets = sa.Table(
    "export_secrets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("secret", sa.Text, nullable=False),
    comment="Secrets with which the HTTP service signs.",
)
"""Values by name. One is no secret: the version of the code that claims requests."""

EVENTS = tuple(f"export.{status}" for status in ("completed", "failed", "canceled", "expired"))
"""The events that webhooks are told of."""

webhooks = sa.Table(
    "export_webhooks",
    metadata,
    sa.Column("id", Id, primary_key=True, server_default=new_id()),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, comment="It hears of this scope's exports only; NULL: of all."),
    sa.Column("dataset", sa.Text, comment="It hears of this dataset only; NULL: of all."),
    sa.Column("events", Json, nullable=False, server_default=json.dumps(EVENTS)),
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
    sa.Column("previous_until", UtcTime, comment="Until then the secret before signs too."),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("problem", sa.Text, comment="Why it was switched off, for people."),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    *_json(events="array"),
)

webhook_deliveries = sa.Table(
    "export_webhook_deliveries",
    metadata,
    sa.Column("id", Id, primary_key=True, server_default=new_id()),
    sa.Column("webhook_id", Id, sa.ForeignKey("export_webhooks.id", ondelete="CASCADE"), nullable=False),
    sa.Column("job_id", Id, sa.ForeignKey("export_jobs.id", ondelete="CASCADE"), comment="NULL for a test."),
    sa.Column("attempt", sa.Integer, comment="Of the job."),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("claims", sa.Integer, nullable=False, server_default="0", comment="Tells claims apart."),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("http_status", sa.Integer, comment="Of the last answer."),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False, server_default=utc_now()),
    sa.Column(
        "next_at", UtcTime, nullable=False, server_default=utc_now(), comment="Not to be tried before."
    ),
    sa.Column("claimed_at", UtcTime),
    sa.Column("delivered_at", UtcTime),
    _one_of("status", ("pending", "claimed", "delivered", "failed", "skipped")),
    sa.UniqueConstraint("webhook_id", "job_id", "attempt", "event"),
)
"""Rows are inserted by a trigger of `export_jobs`, in the transaction that ends a job."""
sa.Index("ix_export_webhook_deliveries_status", webhook_deliveries.c.status, webhook_deliveries.c.next_at)
sa.Index("ix_export_webhook_deliveries_job_id", webhook_deliveries.c.job_id)
