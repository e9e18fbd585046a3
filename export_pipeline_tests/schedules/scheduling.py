"""Schedules as an application inserts them, and what was asked for by them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from export_pipeline_tests.jobs.database import Database

DAY = timedelta(days=1)

MINUTE = timedelta(minutes=1)

START = datetime(2025, 3, 1, tzinfo=UTC)


def insert(database: Database, since: datetime = START, **fields: Any) -> str:
    """Insert a schedule as an application does; return its id."""
    known = {"dataset": "takeoff", "format": "csv", "cadence": "daily", **fields, "since": since.isoformat()}
    names, marks = ", ".join(known), ", ".join("?" * len(known))
    sql = f"INSERT INTO scheduled_exports ({names}) VALUES ({marks}) RETURNING id"
    return str(database.run(sql, *known.values())[0][0])


def asked(database: Database) -> Counter[tuple[str, str]]:
    """Return the number of requests for each window of each schedule."""
    rows = database.run("SELECT schedule_id, window_key FROM export_jobs")
    return Counter((str(schedule), window) for schedule, window in rows)
