"""The store of a deployment, as its settings describe it."""

from __future__ import annotations

from export_pipeline.jobs.store_registry import LedgerStores
from export_pipeline.settings import Settings
from export_pipeline.store import Store, open_store
from export_pipeline.store.s3_client import ClientFactory


def open_configured_store(settings: Settings, clients: ClientFactory | None = None) -> Store:
    """Open the store of export files, a folder or S3. boto3 is imported only for S3.

    Args:
        clients: Makes the boto3 clients of S3; None makes them from the settings.
    """
    return open_store(
        settings.store_url,
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        encryption=settings.s3_sse,
        kms_key_id=settings.s3_sse_kms_key_id,
        checksums=settings.s3_checksums == "required",
        group=settings.files_group,
        registry=LedgerStores(settings.jobs_url),
        clients=clients,
    )
