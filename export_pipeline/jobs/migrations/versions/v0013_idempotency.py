"""Idempotency keys of requests, and a notification when a job ends.

A key belongs to who asks within a scope. The same request under the same key violates a unique index, which
`ON CONFLICT DO NOTHING` skips; another request under it is refused by a trigger.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_MAX_KEY, _MAX_INDEXED = 255, 2_500  # PostgreSQL's indexes hold at most 2,704 bytes
_ENDED = "('completed', 'failed', 'canceled', 'expired')"
_LONG = (
    f"idempotency_key of a row of export_jobs is too long: it has at most {_MAX_KEY} bytes, "
    f"and with scope and requested_by {_MAX_INDEXED:,}"
)
_USED = "this idempotency_key was used before, for another request; a new request needs a new key"
_SAME_KEY = (
    "o.idempotency_key = NEW.idempotency_key AND coalesce(o.scope, '') = coalesce(NEW.scope, '') "
    "AND coalesce(o.requested_by, '') = coalesce(NEW.requested_by, '')"
)
_EMPTY = {"filters": "{}", "columns": "null", "options": "{}", "recipients": "[]"}


def upgrade() -> None:
    op.add_column(
        "export_jobs",
        sa.Column("idempotency_key", sa.Text, comment="The same request under the same key is one export."),
    )
    op.create_index(
        "uq_export_jobs_idempotency_key",
        "export_jobs",
        ["idempotency_key", sa.text("coalesce(scope, '')"), sa.text("coalesce(requested_by, '')")],
        unique=True,
    )
    if op.get_context().dialect.name == "sqlite":
        _sqlite()
    else:
        _postgresql()


def _sqlite() -> None:
    size = "length(CAST({0} AS BLOB))"
    indexed = "NEW.idempotency_key || coalesce(NEW.scope, '') || coalesce(NEW.requested_by, '')"
    too_long = f"{size.format('NEW.idempotency_key')} > {_MAX_KEY} OR {size.format(indexed)} > {_MAX_INDEXED}"
    for name, condition, body in [
        ("length", too_long, f"SELECT RAISE(ABORT, '{_LONG}')"),
        (
            "text",
            "typeof(NEW.idempotency_key) = 'blob'",
            "SELECT RAISE(ABORT, 'bytes in a text column of export_jobs; give a text')",
        ),
    ]:
        op.execute(
            f"CREATE TRIGGER export_jobs_idempotency_{name} BEFORE INSERT ON export_jobs "
            f"WHEN {condition} BEGIN {body}; END"
        )
    create_sqlite_check()


def create_sqlite_check(*more: str) -> None:
    """Create the trigger that refuses another request under a used key.

    Args:
        more: Conditions on the old row `o` and on `NEW`, without which they are not the same request.
    """
    same = " AND ".join(
        [
            *(f"o.{name} = NEW.{name}" for name in ("dataset", "format", "priority")),
            *(
                f"json(coalesce(nullif(o.{name}, 'null'), '{empty}')) = "
                f"json(coalesce(nullif(NEW.{name}, 'null'), '{empty}'))"
                for name, empty in _EMPTY.items()
            ),
            *more,
        ]
    )
    op.execute(
        "CREATE TRIGGER export_jobs_idempotency_used BEFORE INSERT ON export_jobs "
        f"WHEN NEW.idempotency_key IS NOT NULL BEGIN SELECT RAISE(ABORT, '{_USED}') "
        f"FROM export_jobs o WHERE {_SAME_KEY} AND NOT ({same}); END"
    )


def create_postgresql_check(schema: str, *more: str) -> None:
    """Create or replace the function that refuses another request under a used key.

    Args:
        more: Conditions on the old row `o` and on `NEW`, without which they are not the same request.
    """
    same = " AND ".join(
        [
            *(f"o.{name} = NEW.{name}" for name in ("dataset", "format", "priority")),
            *(
                f"coalesce(nullif(o.{name}, 'null'), '{empty}') = "
                f"coalesce(nullif(NEW.{name}, 'null'), '{empty}')"
                for name, empty in _EMPTY.items()
            ),
            *more,
        ]
    )
    # With the owner's rights, as an application may have none to read. The lock makes a concurrent request
    # with the same key wait, so that the check sees its row.
    op.execute(
        sa.text(
            f"""
            CREATE OR REPLACE FUNCTION {schema}.export_jobs_idempotency() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            BEGIN
                IF octet_length(NEW.idempotency_key) > {_MAX_KEY} OR octet_length(concat(
                    NEW.idempotency_key, NEW.scope, NEW.requested_by)) > {_MAX_INDEXED} THEN
                    RAISE check_violation USING MESSAGE = '{_LONG}';
                END IF;
                PERFORM pg_advisory_xact_lock(hashtextextended(NEW.idempotency_key, 0));
                IF EXISTS (SELECT FROM {schema}.export_jobs o WHERE {_SAME_KEY} AND NOT ({same})) THEN
                    RAISE check_violation USING MESSAGE = '{_USED}';
                END IF;
                RETURN NEW;
            END
            $$
            """
        )
    )


def current_schema() -> str:
    """Return the quoted name of the schema that the migrations work in."""
    connection = op.get_bind()
    return str(
        connection.dialect.identifier_preparer.quote_identifier(
            connection.scalar(sa.text("SELECT current_schema()"))
        )
    )


def _postgresql() -> None:
    schema = current_schema()
    create_postgresql_check(schema)
    op.execute(
        f"CREATE TRIGGER export_jobs_idempotency BEFORE INSERT ON {schema}.export_jobs "
        f"FOR EACH ROW WHEN (NEW.idempotency_key IS NOT NULL) "
        f"EXECUTE FUNCTION {schema}.export_jobs_idempotency()"
    )
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION {schema}.export_jobs_ended() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_notify(
                    'export_ended', CAST(json_build_object('id', NEW.id, 'status', NEW.status) AS text)
                );
                RETURN NULL;
            END
            $$
            """
        )
    )
    op.execute(
        f"CREATE TRIGGER export_jobs_ended AFTER UPDATE OF status ON {schema}.export_jobs FOR EACH ROW "
        f"WHEN (OLD.status <> NEW.status AND NEW.status IN {_ENDED}) "
        f"EXECUTE FUNCTION {schema}.export_jobs_ended()"
    )
