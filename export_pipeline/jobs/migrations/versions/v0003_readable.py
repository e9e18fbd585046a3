"""No row may come in that Python cannot read: one would stop whoever reads the queue, for all.

PostgreSQL keeps times before the year 1 and after 9999, and infinite ones. SQLite keeps bytes as a text, any
text as an id, and times such as 30 February or with the offset of a zone, which sort wrongly among others.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TIMES = {"export_jobs": ["created_at"], "scheduled_exports": ["since", "next_run", "last_run", "created_at"]}
_TEXTS = {
    "export_jobs": ["id", "dataset", "format", "scope", "requested_by", "schedule_id", "window_key"],
    "scheduled_exports": [
        "id",
        "dataset",
        "format",
        "scope",
        "cadence",
        "timezone",
        "misfire",
        "empty",
        "owner",
    ],
}
_YEARS = "BETWEEN '1000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00'"
_HEX = "[0-9a-fA-F]"
_ID = "-".join(_HEX * length for length in (8, 4, 4, 4, 12))


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for table, times in _TIMES.items():
            _sqlite(table, times)
        return
    op.execute(f"UPDATE export_jobs SET created_at = now() WHERE created_at NOT {_YEARS}")
    op.create_check_constraint(
        "ck_export_jobs_created_at_time", "export_jobs", sa.text(f"created_at {_YEARS}")
    )


def _sqlite(table: str, times: list[str]) -> None:
    no_text = " OR ".join(f"typeof(NEW.{name}) = 'blob'" for name in _TEXTS[table])
    for when in ("INSERT", f"UPDATE OF {', '.join(_TEXTS[table])}"):
        name = f"{table}_texts_{when.partition(' ')[0].lower()}"
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {when} ON {table} WHEN {no_text} "
            f"BEGIN SELECT RAISE(ABORT, 'bytes in a text column of {table}; give a text'); END"
        )
    op.execute(
        f"CREATE TRIGGER {table}_id BEFORE INSERT ON {table} "
        f"WHEN typeof(NEW.id) = 'text' AND NEW.id NOT GLOB '{_ID}' "
        f"BEGIN SELECT RAISE(ABORT, 'the id of a row of {table} is a UUID; leave it out to get one'); END"
    )
    # As this program writes them, 30 February as 1 or 2 March; what is no time becomes NULL.
    written = ", ".join(f"{name} = {_utc('%f', name)} || '000+00\\:00'" for name in times)
    shape = "____-__-__T__\\:__\\:__.______+00\\:00"
    other = " OR ".join(
        f"{{0}}{name} NOT LIKE '{shape}' OR substr({{0}}{name}, 1, 19) IS NOT {_utc('%S', '{0}' + name)}"
        for name in times
    )
    for when in ("INSERT", f"UPDATE OF {', '.join(times)}"):
        name = f"{table}_times_{when.partition(' ')[0].lower()}"
        op.execute(
            f"CREATE TRIGGER {name} AFTER {when} ON {table} WHEN {other.format('NEW.')} "
            f"BEGIN UPDATE {table} SET {written} WHERE id = NEW.id; END"
        )
    op.execute(f"UPDATE {table} SET {written} WHERE {other.format('')}")


def _utc(seconds: str, column: str) -> str:
    # Without a change SQLite would give days back that there are not.
    return f"strftime('%Y-%m-%dT%H\\:%M\\:{seconds}', {column}, '+0 seconds')"
