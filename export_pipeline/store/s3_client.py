"""Makes boto3 clients. boto3 or botocore is imported when the first one is made."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_TIMEOUTS = (10, 60)

ClientFactory = Callable[[str | None], Any]
"""Returns a boto3 S3 client for an endpoint URL; None means Amazon's own endpoints."""


def default_factory(
    region: str | None = None, *, checksums: bool = True, transfers: bool = True
) -> ClientFactory:
    """Return a factory of clients with AWS's default credentials chain, timeouts and retries.

    Args:
        region: The AWS region; None uses AWS's own configuration.
        checksums: False for a server that rejects checksum headers.
        transfers: See `new_client`.
    """
    return lambda endpoint_url: new_client(
        endpoint_url, region_name=region, checksums=checksums, transfers=transfers
    )


def new_client(
    endpoint_url: str | None,
    *,
    checksums: bool = True,
    max_attempts: int = 5,
    profile_name: str | None = None,
    signed: bool = True,
    timeouts: tuple[float, float] = _TIMEOUTS,
    transfers: bool = True,
    **arguments: Any,
) -> Any:
    """Return a boto3 S3 client.

    Args:
        endpoint_url: URL of the server; None for Amazon's.
        checksums: False for a server that rejects checksum headers.
        max_attempts: Maximum number of tries of a request, the first one included.
        profile_name: A profile of AWS's configuration; None uses the default one.
        signed: False for a public bucket, which is asked without credentials.
        timeouts: Seconds that connecting, and each read, may take.
        transfers: False for botocore's client, which lacks what boto3 adds (`upload_file` and the like), and
            takes 3 MB less.
        arguments: More arguments of boto3's `Session.client`.
    """
    import botocore.session
    from botocore import UNSIGNED

    # Use a separate session: boto3's default session caches credentials and is not thread-safe.
    core = botocore.session.Session(profile=profile_name)
    core.register_component("data_loader", _models())
    config = client_config(checksums=checksums, max_attempts=max_attempts, timeouts=timeouts)
    if not signed:
        config.signature_version = UNSIGNED
    if not transfers:
        return core.create_client("s3", endpoint_url=endpoint_url, config=config, **arguments)
    from boto3.session import Session

    session = Session(botocore_session=core)
    return session.client("s3", endpoint_url=endpoint_url, config=config, **arguments)


_SERVICES = ("s3", "sts")
"""S3, and what credentials may come from."""


class _ModelFiles:
    """Reads AWS's descriptions of its services as plain dictionaries, without texts for people.

    botocore's own reader keeps these, and makes ordered dictionaries: that takes twice the memory.
    """

    exists = staticmethod(lambda path: any(Path(path + end).is_file() for end in _OPENED))

    @staticmethod
    def load_file(path: str) -> Any:
        """Return the content of a file whose ending is left out; None if there is none."""
        for end, opened in _OPENED.items():
            with suppress(FileNotFoundError), opened(path + end, "rb") as file:
                return json.load(file, object_pairs_hook=_without_documentation)
        return None


_OPENED: dict[str, Callable[..., Any]] = {".json": open, ".json.gz": gzip.open}


def _without_documentation(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: "" if key == "documentation" and isinstance(value, str) else value for key, value in pairs}


@cache
def _models() -> Any:
    """Return the loader of AWS's descriptions of its services, which all sessions share.

    Reading that of S3 takes five times as long as all else that makes a client.
    """
    import botocore.session

    models = botocore.session.Session().get_component("data_loader")
    models.file_loader = _ModelFiles
    for partition in models.load_data_with_path("endpoints")[0]["partitions"]:
        services = partition["services"]  # with the regions of hundreds of services: 7 MB
        partition["services"] = {name: services[name] for name in _SERVICES if name in services}
    return models


def preload() -> None:
    """Import what makes clients, and read AWS's description of S3. Looks for no credentials."""
    nobody: dict[str, Any] = {"aws_access_key_id": "-", "aws_secret_access_key": "-"}
    new_client("http://127.0.0.1:1", region_name="us-east-1", **nobody).close()


def client_config(*, checksums: bool, max_attempts: int, timeouts: tuple[float, float] = _TIMEOUTS) -> Any:
    """Return the `botocore.config.Config` of all S3 clients."""
    from botocore.config import Config

    when = "when_supported" if checksums else "when_required"
    return Config(
        connect_timeout=timeouts[0],
        read_timeout=timeouts[1],
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        tcp_keepalive=True,
        request_checksum_calculation=when,
        response_checksum_validation=when,
    )


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
