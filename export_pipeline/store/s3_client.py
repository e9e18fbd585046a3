"""Making boto3 clients. boto3 is imported when the first one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ClientFactory = Callable[[str | None], Any]
"""Gives a boto3 S3 client for an endpoint URL; None means Amazon's own endpoints."""


def default_factory(region: str | None = None, *, checksums: bool = True) -> ClientFactory:
    """Clients with AWS's own credentials chain, limits on waiting, and retries.

    Args:
        region: None takes AWS's own configuration.
        checksums: False for a server that refuses checksum headers.
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
        # A session of its own: boto3's shared one keeps credentials, and must not be used by two threads.
        return Session(region_name=region).client("s3", endpoint_url=endpoint_url, config=config)

    return make


def sign_links_v4(client: Any) -> Any:
    """Make a client sign its links by Signature Version 4, and give it back.

    boto3 still signs links by version 2 unless configured otherwise, which newer regions and objects
    encrypted by KMS refuse. Other requests are signed as before.
    """

    def choose(signature_version: object, **_: object) -> str | None:
        is_link = isinstance(signature_version, str) and signature_version.endswith("-query")
        return "s3v4-query" if is_link else None

    client.meta.events.register("choose-signer.s3.GetObject", choose, unique_id="export-pipeline-links")
    return client
