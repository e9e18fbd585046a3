"""Makes boto3 clients. boto3 is imported when the first one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ClientFactory = Callable[[str | None], Any]
"""Returns a boto3 S3 client for an endpoint URL; None means Amazon's own endpoints."""


def default_factory(region: str | None = None, *, checksums: bool = True) -> ClientFactory:
    """Return a factory of clients with AWS's default credentials chain, timeouts and retries.

    Args:
        region: The AWS region; None uses AWS's own configuration.
        checksums: False for a server that rejects checksum headers.
    """
    when = "when_supported" if checksums else "when_required"

    def make(endpoint_url: str | None) -> Any:
        from boto3.session import Session
        from botocore.config import Config

        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 5},
            tcp_keepalive=True,
            request_checksum_calculation=when,
            response_checksum_validation=when,
        )
        # Use a separate session: boto3's default session caches credentials and is not thread-safe.
        return Session(region_name=region).client("s3", endpoint_url=endpoint_url, config=config)

    return make


def sign_links_v4(client: Any) -> Any:
    """Make a client sign its links by Signature Version 4, and return the client.

    By default boto3 signs links by version 2, which newer regions and objects encrypted by KMS reject.
    Other requests are signed as before.
    """

    def choose(signature_version: object, **_: object) -> str | None:
        is_link = isinstance(signature_version, str) and signature_version.endswith("-query")
        return "s3v4-query" if is_link else None

    client.meta.events.register("choose-signer.s3.GetObject", choose, unique_id="export-pipeline-links")
    return client
