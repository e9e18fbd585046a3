"""A deployment in a test's own folder, as pytest fixtures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.demo import takeoff
from export_pipeline_tests.orchestration.deployment import SAMPLES, Deployment, Source


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The sample database; only to be read."""
    path = tmp_path_factory.mktemp("source") / "takeoff.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    ids = takeoff.fill(engine, SAMPLES)
    engine.dispose()
    return Source(path, tuple(ids))


@pytest.fixture
def source(sample: Source, tmp_path: Path) -> Source:
    """A sample database of one test's own."""
    path = tmp_path / "app.db"
    shutil.copyfile(sample.path, path)
    return Source(path, sample.scopes)


@pytest.fixture
def environment(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of a deployment in the test's folder, set in this process too."""
    values = {
        "EXPORT_SOURCE_URL": source.url,
        "EXPORT_STORE_URL": str(tmp_path / "store"),
        "EXPORT_STAGING_URL": str(tmp_path / "staging"),
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    monkeypatch.chdir(tmp_path)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home").mkdir()
    return values


@pytest.fixture
def deployment(source: Source, environment: dict[str, str], tmp_path: Path) -> Iterator[Deployment]:
    """A deployment with an instance in memory."""
    from export_pipeline.definitions import defs

    with dg.DagsterInstance.ephemeral() as instance:
        yield Deployment(source, tmp_path, defs(), instance)
