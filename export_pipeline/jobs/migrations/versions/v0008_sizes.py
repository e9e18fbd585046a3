"""Limits on what an application writes: a row of hundreds of megabytes would stop whoever reads the queue.

A request that waits and has more is failed; of a schedule nothing is changed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_MOST_JSON = 500_000
_JSON = dict.fromkeys(("filters", "columns", "options", "recipients"), _MOST_JSON)
_NAMES = dict.fromkeys(("dataset", "format"), 200)
_BEFORE = {"export_jobs": ("scope", "requested_by", "window_key"), "scheduled_exports": ("scope", "owner")}
_NEW = {"export_jobs": _NAMES | _JSON, "scheduled_exports": _NAMES | {"timezone": 200} | _JSON}


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    _fail_what_waits("length(CAST({0} AS BLOB))" if sqlite else "octet_length({0}::text)")
    for table, sizes in _NEW.items():
        if sqlite:
            _sqlite(table, sizes)
        else:
            _postgresql(table, dict.fromkeys(_BEFORE[table], 2_000) | sizes)


def _fail_what_waits(size: str) -> None:
    large = " OR ".join(f"{size.format(name)} > {most}" for name, most in _NEW["export_jobs"].items())
    said = f"Its filters, columns, options or recipients are too long: each has at most {_MOST_JSON:,} bytes."
    op.execute(
        sa.text(
            "UPDATE export_jobs SET status = 'failed', error_code = 'invalid_options', "
            f"error_message = '{said}', completed_at = CURRENT_TIMESTAMP "
            f"WHERE status = 'pending' AND ({large.replace(':', chr(92) + ':')})"
        )
    )


def _said(table: str, name: str, most: int) -> str:
    return f"{name} of a row of {table} is too long: it has at most {most:,} bytes, and this one "


def _sqlite(table: str, sizes: dict[str, int]) -> None:
    for name, most in sizes.items():
        for when in ("INSERT", f"UPDATE OF {name}"):
            trigger = f"{table}_{name}_length_{when.partition(' ')[0].lower()}"
            op.execute(
                f"CREATE TRIGGER {trigger} BEFORE {when} ON {table} "
                f"WHEN length(CAST(NEW.{name} AS BLOB)) > {most} "
                f"BEGIN SELECT RAISE(ABORT, '{_said(table, name, most)}has more'); END"
            )


def _postgresql(table: str, sizes: dict[str, int]) -> None:
    checks = "".join(
        f"""
                IF octet_length(CAST(NEW.{name} AS text)) > {most} THEN
                    RAISE check_violation USING
                        MESSAGE = '{_said(table, name, most)}has ' || octet_length(CAST(NEW.{name} AS text));
                END IF;"""
        for name, most in sizes.items()
    )
    op.execute(
        sa.text(
            f"""
            CREATE OR REPLACE FUNCTION {table}_lengths() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN{checks}
                RETURN NEW;
            END
            $$
            """
        )
    )
    op.execute(f"DROP TRIGGER {table}_lengths ON {table}")
    op.execute(
        f"CREATE TRIGGER {table}_lengths BEFORE INSERT OR UPDATE OF {', '.join(sizes)} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_lengths()"
    )
