"""Commands of applications that use only SQL: cancel, retry and delete exports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.migrations.versions.v0001_ledger import ID, SERIAL, SQLITE_NOW, SQLITE_TIME, TIME

revision = "0014"
down_revision = "0013"

_TEXTS = ("scope", "requested_by", "commanded_by")
_MAX = 2_000
_NEW = "NEW.status = 'pending' AND NEW.answer IS NULL AND NEW.ended_at IS NULL"
_RESULT = "a new row of export_commands is a command: leave out status, answer and ended_at"
_LONG = f"scope, requested_by and commanded_by of a row of export_commands have at most {_MAX:,} bytes each"


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    checks = [
        sa.CheckConstraint("command IN ('cancel', 'retry', 'delete')", name="ck_export_commands_command"),
        sa.CheckConstraint("status IN ('pending', 'done', 'refused')", name="ck_export_commands_status"),
    ]
    if sqlite:
        checks.append(
            sa.CheckConstraint(SQLITE_TIME.format("created_at"), name="ck_export_commands_created_at_time")
        )
    op.create_table(
        "export_commands",
        sa.Column("id", SERIAL, sa.Identity(always=True), nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, comment="Of the export; another one's does not exist for the command."),
        sa.Column("requested_by", sa.Text, comment="If set, only an export that this person requested."),
        sa.Column("commanded_by", sa.Text, comment="Who gives the command, for the record."),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("answer", sa.Text, comment="What was done, or why nothing was."),
        sa.Column(
            "created_at",
            TIME,
            nullable=False,
            server_default=sa.text(SQLITE_NOW if sqlite else "now()"),
        ),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_export_commands"),
        *checks,
    )
    op.create_index("ix_export_commands_status", "export_commands", ["status", "id"])
    if sqlite:
        size = "length(CAST(NEW.{0} AS BLOB))"
        texts = ("job_id", "command", *_TEXTS)
        no_text = " OR ".join(f"typeof(NEW.{name}) = 'blob'" for name in texts)
        for name, wrong, said in [
            ("new", f"NOT ({_NEW})", _RESULT),
            ("lengths", " OR ".join(f"{size.format(name)} > {_MAX}" for name in _TEXTS), _LONG),
            ("texts", no_text, "bytes in a text column of export_commands; give a text"),
        ]:
            op.execute(
                f"CREATE TRIGGER export_commands_{name} BEFORE INSERT ON export_commands WHEN {wrong} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    lengths = " OR ".join(f"octet_length(NEW.{name}) > {_MAX}" for name in _TEXTS)
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION export_commands_new() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NOT ({_NEW}) THEN
                    RAISE check_violation USING MESSAGE = '{_RESULT}';
                END IF;
                IF {lengths} THEN
                    RAISE check_violation USING MESSAGE = '{_LONG}';
                END IF;
                RETURN NEW;
            END
            $$
            """
        )
    )
    op.execute(
        "CREATE TRIGGER export_commands_new BEFORE INSERT ON export_commands "
        "FOR EACH ROW EXECUTE FUNCTION export_commands_new()"
    )
