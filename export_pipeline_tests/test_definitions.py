"""The definitions that everybody sees who can open the UI."""

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from export_pipeline.definitions import defs


def test_no_secret_reaches_the_ui_and_no_run_can_choose_another_database(
    monkeypatch: pytest.MonkeyPatch, read_once: None
) -> None:
    secrets = {
        "EXPORT_SOURCE_URL": "postgresql://reader:hunter2@db.internal/app",
        "EXPORT_STORE_URL": "s3://hunter3-bucket/prefix",
        "EXPORT_STAGING_URL": "/hunter4",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    shown = dg.serialize_value(RepositorySnap.from_def(defs().get_repository_def()))
    assert "include_drawings" in shown  # the launchpad's config is in it
    for secret in ("hunter2", "hunter3", "hunter4", "db.internal"):
        assert secret not in shown
