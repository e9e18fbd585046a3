"""The database refuses illegal transitions of a job, and another file or scope of one that has begun.

SQLite knows no rights: whoever may insert a request could call it completed, with a file of somebody else's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_SAME = "NEW.attempt = OLD.attempt"
_NEXT = [
    f"NEW.status = OLD.status AND {_SAME}",
    f"OLD.status = 'pending' AND NEW.status = 'processing' AND {_SAME} AND NEW.run_id IS NOT NULL",
    f"OLD.status IN ('pending', 'processing') AND NEW.status IN ('failed', 'canceled') AND {_SAME}",
    f"OLD.status = 'processing' AND NEW.status = 'completed' AND {_SAME} "
    "AND NEW.file_key IS NOT NULL AND NEW.sha256 IS NOT NULL",
    f"OLD.status = 'completed' AND NEW.status = 'expired' AND {_SAME}",
    "OLD.status IN ('processing', 'failed', 'canceled') AND NEW.status = 'pending' "
    "AND NEW.attempt = OLD.attempt + 1 AND NEW.run_id IS NULL",
]
_RESULT = ("file_key", "file_size", "sha256")
_REQUEST = ("dataset", "format", "scope", "requested_by")
_SAID = {
    "transition": "no job may be moved so: the pipeline alone moves jobs, as docs/operating.md says",
    "result": "the file of a job that has ended well stays what it is",
    "request": "a job whose work was begun stays what it is: dataset, format, scope and requested_by",
}


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    differs = "NEW.{0} IS NOT OLD.{0}" if sqlite else "NEW.{0} IS DISTINCT FROM OLD.{0}"
    result, request = (" OR ".join(differs.format(name) for name in names) for names in (_RESULT, _REQUEST))
    refused = {
        "transition": (("status", "attempt"), f"NOT ({' OR '.join(f'({one})' for one in _NEXT)})"),
        "result": (_RESULT, f"OLD.status IN ('completed', 'expired') AND ({result})"),
        "request": (_REQUEST, f"(OLD.status <> 'pending' OR OLD.offers > 0) AND ({request})"),
    }
    if sqlite:
        for name, (columns, wrong) in refused.items():
            op.execute(
                f"CREATE TRIGGER export_jobs_{name} BEFORE UPDATE OF {', '.join(columns)} ON export_jobs "
                f"WHEN {wrong} BEGIN SELECT RAISE(ABORT, '{_SAID[name]}'); END"
            )
        return
    checks = "".join(
        f"""
                IF {wrong} THEN
                    RAISE check_violation USING MESSAGE = '{_SAID[name]}';
                END IF;"""
        for name, (_, wrong) in refused.items()
    )
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION export_jobs_transition() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN{checks}
                RETURN NEW;
            END
            $$
            """
        )
    )
    op.execute(
        f"CREATE TRIGGER export_jobs_transition BEFORE UPDATE OF status, attempt, "
        f"{', '.join((*_RESULT, *_REQUEST))} ON export_jobs "
        "FOR EACH ROW EXECUTE FUNCTION export_jobs_transition()"
    )
