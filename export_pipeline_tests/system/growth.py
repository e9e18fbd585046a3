"""Files, rows and sizes of both databases that requests leave behind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg2
import sqlalchemy as sa

from export_pipeline.jobs import Ledger
from export_pipeline.jobs.purge import purge
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging
from export_pipeline.orchestration.sensors.erasure import erase_removed_files
from export_pipeline.orchestration.sensors.run_retention import remove_old_runs
from export_pipeline_tests.system.deployment import System

_DAGSTER_TABLES = ("runs", "run_tags", "event_logs", "asset_check_executions", "job_ticks")
_LEDGER_TABLES = ("export_jobs", "export_events", "export_removals")


def measure(system: System, *, compact: bool = False) -> dict[str, float]:
    """Return numbers of files and rows, and sizes in megabytes.

    Args:
        compact: Give the space of deleted rows back first, which no deployment needs to do.
    """
    home = [path for path in Path(os.environ["DAGSTER_HOME"]).rglob("*") if path.is_file()]
    staging = [path for path in Path(os.environ["EXPORT_STAGING_URL"]).rglob("*") if path.is_file()]
    figures = {
        "DAGSTER_HOME, files": len(home),
        "DAGSTER_HOME, MB": sum(path.stat().st_size for path in home) / 1e6,
        "staging, files": len(staging),
        "store, files": sum(1 for _ in system.store().list("exports/")),
    }
    databases = {"Dagster": (os.environ["DAGSTER_POSTGRES_URL"], _DAGSTER_TABLES)}
    databases["application with ledger"] = (system.url, _LEDGER_TABLES)
    for name, (url, tables) in databases.items():
        plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(plain)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            if compact:
                cursor.execute("VACUUM FULL")
            for table in tables:
                cursor.execute(f"SELECT count(*) FROM {table}")
                figures[f"{name}: rows of {table}"] = cursor.fetchone()[0]
            cursor.execute("SELECT pg_database_size(current_database())")
            figures[f"{name}, MB"] = cursor.fetchone()[0] / 1e6
    return figures


def retain_nothing(system: System) -> None:
    """Do what the sensors of retention do once all that there is has become too old."""
    system.run("UPDATE export_jobs SET expires_at = now() - interval '1 day' WHERE status = 'completed'")
    with Ledger(system.url) as ledger, dg.DagsterInstance.get() as instance:
        purge(ledger, system.store(), retention=timedelta(0), events_kept=timedelta(0))
        erase_removed_files(ledger, system.store(), instance)
        clean_staging(instance, Path(os.environ["EXPORT_STAGING_URL"]))  # before the runs that it asks about
        remove_old_runs(instance, {}, timedelta(0), seconds=3600)


def table_of(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table in Markdown with a row for each figure."""
    first = next(iter(columns.values()))
    lines: list[Sequence[str]] = [["", *columns], ["---"] * (1 + len(columns))]
    for name in first:
        values = (column[name] for column in columns.values())
        lines.append([name, *(f"{value:,.1f}" if "MB" in name else f"{value:,.0f}" for value in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
