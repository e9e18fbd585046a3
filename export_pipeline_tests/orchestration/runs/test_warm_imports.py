"""A forked run finds all imported that the settings let it need: imports cost a small export more than its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
from export_pipeline.orchestration.runs import warm_server

warm_server.load()
loaded, opened = set(sys.modules), []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)

import adbc_driver_manager, adbc_driver_postgresql, boto3.s3.transfer, psycopg2
from export_pipeline.orchestration import pooled_storage
from export_pipeline.store.s3_client import new_client

new_client("http://127.0.0.1:1", region_name="us-east-1")
print(sorted(set(sys.modules) - loaded))
print([path for path in opened if "/botocore/data/" in path or path.endswith(".pyc")])
print(loaded & {"adbc_driver_manager.dbapi", "pandas"})
"""


@pytest.mark.slow
def test_drivers_and_the_description_of_s3_are_loaded_before_runs_are_forked(tmp_path: Path) -> None:
    url = "postgresql://app:x@127.0.0.1:1/app"
    environment = os.environ | {
        "EXPORT_SOURCE_URL": url,
        "EXPORT_STORE_URL": "s3://bucket/exports",
        "EXPORT_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "DAGSTER_POSTGRES_URL": url,
        "DAGSTER_HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    command = [sys.executable, "-c", _PROGRAM]
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines() == ["[]", "[]", "set()"], ended.stderr[-2000:]
