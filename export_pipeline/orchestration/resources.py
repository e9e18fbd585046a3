"""Dagster resources: the application's database and the store of export files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from export_pipeline.datasets.scopes import read_scopes
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.store_registry import LedgerStores
from export_pipeline.settings import Settings
from export_pipeline.sources.snapshot import Snapshot, open_snapshot
from export_pipeline.store import Store, open_store


class SourceDatabase(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The application's database, opened read-only."""

    url: str = Field(description="SQLAlchemy URL.")
    statement_timeout_seconds: float = Field(
        default=0, description="How long one query may take; 0: no limit."
    )

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a consistent snapshot of the database."""
        with open_snapshot(self.url, statement_timeout=self.statement_timeout_seconds) as snapshot:
            yield snapshot

    def scopes(self, source: str, spec: Mapping[str, Any]) -> dict[str, str]:
        """Read the scopes of a dataset, as names by id, within the short time of a sensor's tick.

        Args:
            source: Module that reads the dataset.

        Raises:
            SourceUnavailableError: the database is unavailable, or takes too long.
            SourceError: the tables differ from their declaration.
        """
        return read_scopes(self.url, source, spec, statement_timeout=self.statement_timeout_seconds)


class ExportStore(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The store of export files: a folder or S3."""

    url: str = Field(description="A folder, file:///folder or s3://bucket/prefix.")
    endpoint_url: str | None = None
    public_endpoint_url: str | None = None
    region: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    checksums: bool = True
    files_group: str | None = None
    ledger_url: str | None = Field(
        default=None, description="SQLAlchemy URL; it knows which folders were used."
    )

    def open(self) -> Store:
        """Open the store. boto3 is imported only for S3."""
        return open_store(
            self.url,
            endpoint_url=self.endpoint_url,
            public_endpoint_url=self.public_endpoint_url,
            region=self.region,
            encryption=self.sse,
            kms_key_id=self.sse_kms_key_id,
            checksums=self.checksums,
            group=self.files_group,
            registry=LedgerStores(self.ledger_url) if self.ledger_url else None,
        )


class JobLedger(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The ledger of requests, opened when a run or a sensor first needs it."""

    url: str = Field(description="SQLAlchemy URL.")
    retention_days: int = Field(description="Days that files are kept where their dataset says nothing.")
    max_in_flight: int = Field(description="How many requests are worked on at the same time.")
    _ledger: Ledger | None = PrivateAttr(default=None)

    def open(self) -> Ledger:
        """Open the ledger. Its tables may be missing."""
        if self._ledger is None:
            self._ledger = Ledger(self.url)
        return self._ledger


def ledger_resource(settings: Settings) -> JobLedger:
    """Return the ledger resource for the settings."""
    return JobLedger(
        url=settings.jobs_url,
        retention_days=settings.retention_days,
        max_in_flight=settings.max_in_flight,
    )


def source_resource(settings: Settings) -> SourceDatabase:
    """Return the source resource for the settings."""
    return SourceDatabase(
        url=settings.source_url, statement_timeout_seconds=settings.statement_timeout_seconds
    )


def store_resource(settings: Settings) -> ExportStore:
    """Return the store resource for the settings."""
    return ExportStore(
        url=settings.store_url,
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        sse=settings.s3_sse,
        sse_kms_key_id=settings.s3_sse_kms_key_id,
        checksums=settings.s3_checksums == "required",
        files_group=settings.files_group,
        ledger_url=settings.jobs_url,
    )
