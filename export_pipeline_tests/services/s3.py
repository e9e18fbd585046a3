"""A real S3 server (SeaweedFS): signatures, expiry and checksums are checked as Amazon checks them."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export_pipeline_tests.services.process import StartError, free_ports, running, server_folder
from export_pipeline_tests.tools import missing, require_tool

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server and the one identity it knows."""

    endpoint_url: str
    access_key: str
    secret_key: str

    def client(self, **overrides: Any) -> Any:
        """A boto3 client with the server's identity; `overrides` are boto3's own arguments."""
        import boto3

        arguments = {
            "endpoint_url": self.endpoint_url,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": REGION,
        }
        return boto3.client("s3", **(arguments | overrides))

    def environment(self) -> dict[str, str]:
        """Return the environment with which a subprocess reaches the server through AWS's own credentials chain."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start SeaweedFS on free ports of 127.0.0.1; skips the test where it is not installed."""
    if importlib.util.find_spec("boto3") is None:
        missing("boto3 is not installed")
    weed = str(require_tool("weed"))
    with contextlib.ExitStack() as stack:
        for attempt in range(3):
            try:
                server = stack.enter_context(_start(weed))
                break
            except StartError:  # another process may have taken a port since we looked
                if attempt == 2:
                    raise
        yield server


@contextlib.contextmanager
def _start(weed: str) -> Iterator[S3Server]:
    with server_folder("s3") as folder:
        command, server = prepare(weed, folder)
        with running(command, folder, ready=lambda: answers(server), stop_signal="KILL"):
            yield server


def prepare(weed: str, folder: Path) -> tuple[list[str], S3Server]:
    """The command that starts a server with its data and a new identity in a folder, and what it will be."""
    access_key, secret_key = f"TEST{secrets.token_hex(8).upper()}", secrets.token_hex(20)
    # Every service listens on its port and, for gRPC, on its port + 10000.
    s3, master, volume, filer, admin = _ports(5)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    config.chmod(0o600)
    data = folder / "data"
    data.mkdir()
    command = [
        weed, "-logtostderr=true", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        f"-admin.port={admin}", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-admin.ui=false", "-webdav=false", "-s3.autoCreateBucket=false",
        "-master.volumeSizeLimitMB=32",  # each bucket takes several volumes, and the disk has room for so many
        f"-s3.localSocket={folder / 's3.sock'}",
    ]  # fmt: skip
    return command, S3Server(f"http://127.0.0.1:{s3}", access_key, secret_key)


def _ports(count: int) -> list[int]:
    """Free ports, of which no other user's server left a socket in /tmp, which would be in the way of this one."""
    while True:
        ports = free_ports(count, also=10_000)
        sockets = [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-{port + 10_000}.sock")]
        if all(path.lstat().st_uid == os.geteuid() for path in sockets):
            return ports


def answers(server: S3Server) -> bool:
    """Return whether the server refuses strangers, so that its identities are loaded.

    Raises:
        OSError: it does not answer.
    """
    connection = http.client.HTTPConnection(server.endpoint_url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 403
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def impatient_config(**_: object) -> Any:
    """Return a config of clients that do not try again by themselves, so that an outage of seconds shows."""
    from botocore.config import Config

    return Config(connect_timeout=1, retries={"mode": "standard", "total_max_attempts": 1})
