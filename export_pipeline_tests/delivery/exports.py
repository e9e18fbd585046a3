"""Jobs that have ended, their files, and what became of their mails."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from export_pipeline.delivery.send import Counts, deliver_due
from export_pipeline.jobs import Attempt, File, Job, Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store, manifest_key
from export_pipeline.store.manifest import Manifest
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.store.putting import put

SENDER = "Exporte für alle <exports@example.org>"
_numbers = itertools.count(1)


def settings_of(smtp_url: str, **changed: Any) -> Settings:
    """Settings of a deployment with mail; nothing comes from the environment."""
    return Settings.model_validate({"smtp_url": smtp_url, "mail_from": SENDER, **changed})


class Exports:
    """A ledger, a store and a mail server together."""

    def __init__(self, engine: sa.Engine, database: Database, store: Store, settings: Settings) -> None:
        self.engine, self.database, self.store, self.settings = engine, database, store, settings
        self.ledger = Ledger(database.url)

    def close(self) -> None:
        """Close the connections."""
        self.ledger.close()
        self.engine.dispose()

    def completed(
        self,
        recipients: Sequence[Any],
        content: bytes = b"name\r\nx\r\n",
        *,
        rows: int = 1,
        file_name: str = "Kita Süd 漢字.csv",
        warnings: tuple[str, ...] = (),
        title: str | None = None,
        scope_name: str | None = None,
        period: str | None = None,
        expires_at: datetime | None = None,
        **asked: Any,
    ) -> Job:
        """A job whose file lies in the store."""
        job = self.ledger.request("takeoff", "csv", scope="a", recipients=recipients, **asked)
        key = f"exports/a/{job.id}.csv"
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            stored = put(self.store, Path(file.name), key, media_type="text/csv", file_name=file_name)
        manifest = Manifest(
            name="takeoff-csv",
            path=key.rpartition("/")[2],
            bytes=stored.bytes,
            hash=f"sha256:{stored.sha256}",
            format="csv",
            mediatype="text/csv",
            rows=rows,
            dataset="takeoff",
            scope="a",
            title=title,
            scope_name=scope_name,
            period=period,
            window=job.window_key,
            warnings=warnings,
            snapshot_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        )
        self.store.put_bytes(manifest.to_json(), manifest_key(key), media_type="application/json")
        run = Attempt(job.id, job.attempt, f"run-{next(_numbers)}")
        self.ledger.started(run)
        return self.ledger.completed(
            run, File(key, file_name, stored.bytes, rows, stored.sha256), expires_at or _later()
        )

    def failed(self, recipients: Sequence[Any], requested_by: str | None = None, **asked: Any) -> Job:
        """A job that could not be met."""
        job = self.ledger.request(
            "takeoff", "csv", scope="a", recipients=recipients, requested_by=requested_by, **asked
        )
        return self.ledger.failed(
            job.current, "unknown_column", "There is no column <prise>; did you mean price?"
        )

    def deliver(self, **changed: Any) -> Counts:
        """Send what is due, with other settings if need be."""
        return deliver_due(self.engine, self.store, self.settings.model_copy(update=changed))

    def statuses(self, job: Job) -> dict[str, str]:
        """The state of each mail of a job, by recipient."""
        sql = "SELECT recipient, status FROM export_deliveries WHERE job_id = ?"
        return {str(to): str(status) for to, status in self.database.run(sql, job.id)}

    def reason(self, job: Job) -> str:
        """Return the reason why the one mail of a job is not sent."""
        sql = "SELECT error_message FROM export_deliveries WHERE job_id = ?"
        ((reason,),) = self.database.run(sql, job.id)
        return str(reason)

    def age(self, column: str, seconds: int) -> None:
        """Put a time of all mails back."""
        if self.database.is_postgres:
            earlier = f"{column} - interval '{seconds} seconds'"
        else:
            earlier = f"strftime('%Y-%m-%dT%H:%M:%f', {column}, '-{seconds} seconds') || '000+00:00'"
        with self.engine.begin() as connection:  # not the database's own: this is called from any thread
            connection.exec_driver_sql(f"UPDATE export_deliveries SET {column} = {earlier}")


def _later() -> datetime:
    return datetime.now(UTC) + timedelta(days=30)
