"""Resources of ops and sensors: the application's database, the store of export files, the ledger.

They are plain objects, not configurable ones: Dagster's UI shows the config of a resource, including secrets
in URLs, and the launchpad can change it, so that a run could read another database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from export_pipeline.configured_store import open_configured_store
from export_pipeline.datasets.dataset import Exportable
from export_pipeline.datasets.scopes import read_recipients, read_scopes
from export_pipeline.jobs import Ledger
from export_pipeline.settings import Settings, SettingsError
from export_pipeline.sources.snapshot import Snapshot, Source, open_snapshot
from export_pipeline.store import Store
from export_pipeline.store.s3_client import ClientFactory


@dataclass(frozen=True)
class SourceDatabase:
    """The application's database, opened read-only.

    Attributes:
        url: SQLAlchemy URL.
        statement_timeout_seconds: Timeout of a query; 0 for none.
    """

    url: str = field(repr=False)
    statement_timeout_seconds: float = 0

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a consistent snapshot of the database."""
        with open_snapshot(self.url, statement_timeout=self.statement_timeout_seconds) as snapshot:
            yield snapshot

    def scopes(self, source: Source, spec: Mapping[str, Any]) -> dict[str, str]:
        """Read the scopes of a dataset, as names by id, within the short time of a sensor's tick.

        Args:
            source: The dataset's source.

        Raises:
            SourceUnavailableError: the database is unavailable, or takes too long.
            SourceError: the tables differ from their declaration.
        """
        return read_scopes(self.url, source, spec, statement_timeout=self.statement_timeout_seconds)

    def recipients(self, dataset: Exportable) -> dict[str, list[str]]:
        """Read the mail addresses of each scope of a dataset; see `scopes`."""
        timeout = self.statement_timeout_seconds
        return read_recipients(self.url, dataset.source, dataset.spec, statement_timeout=timeout)


@dataclass(frozen=True)
class ExportStore:
    """The store of export files: a folder or S3.

    Attributes:
        settings: Where it is, and how it is opened.
        clients: Makes the boto3 clients of S3; None makes them from the settings.
    """

    settings: Settings = field(repr=False)
    clients: ClientFactory | None = field(default=None, repr=False)

    def open(self) -> Store:
        """Open the store."""
        return open_configured_store(self.settings, self.clients)


@dataclass
class JobLedger:
    """The ledger of requests, opened when a run or a sensor first needs it.

    Attributes:
        url: SQLAlchemy URL.
        retention_days: Days that files are kept, unless their dataset has its own period.
        max_in_flight: Maximum number of requests that are processed at a time.
    """

    url: str = field(repr=False)
    retention_days: int
    max_in_flight: int
    _ledger: Ledger | None = field(default=None, init=False, repr=False)

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


def executor_of(settings: Settings) -> Any:
    """Return Dagster's executor of the steps of a run.

    Raises:
        SettingsError: It is not installed.
    """
    import dagster as dg

    match settings.executor:
        case "multiprocess":
            return dg.multiprocess_executor
        case "k8s_job":
            try:
                from dagster_k8s import k8s_job_executor
            except ImportError:
                message = "EXPORT_EXECUTOR=k8s_job needs pip install export-pipeline[kubernetes]."
                raise SettingsError(message) from None
            return k8s_job_executor
    return dg.in_process_executor


def store_resources(settings: Settings) -> dict[str, Any]:
    """Return Dagster's resource `store` and, where the store is in S3, `s3`, which makes its clients.

    Both are closed to the launchpad: a run must not store its file on another server than the ledger says.
    """
    store = ExportStore(settings)
    if not settings.store_url.startswith("s3://"):
        return {"store": store}
    import dagster as dg  # a third of a second, which commands such as `link` and `verify` spare

    @dg.resource(config_schema={}, description="dagster-aws' S3Resource: makes the clients of the store.")
    def s3(_: dg.InitResourceContext) -> Any:
        from export_pipeline.orchestration.s3_resource import StoreS3Resource  # boto3 takes half a second

        return StoreS3Resource(
            endpoint_url=settings.s3_endpoint_url,
            region_name=settings.s3_region,
            checksums=settings.s3_checksums == "required",
        )

    @dg.resource(config_schema={}, required_resource_keys={"s3"}, description="The store of export files.")
    def store_on_s3(context: dg.InitResourceContext) -> ExportStore:
        from export_pipeline.orchestration.s3_resource import client_factory

        return replace(store, clients=client_factory(context.resources.s3))

    return {"store": store_on_s3, "s3": s3}
