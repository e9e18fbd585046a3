"""A deployment in a test's own folder, as pytest fixtures."""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.demo import takeoff
from export_pipeline.jobs import Ledger, migrate
from export_pipeline.orchestration.runs import errors, outages
from export_pipeline.orchestration.sensors import queue as requests
from export_pipeline_tests.delivery.mail_server import MailServer, mail_server
from export_pipeline_tests.orchestration.deployment import SAMPLES, Deployment, Source
from export_pipeline_tests.paths import ROOT


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The sample database; only to be read."""
    path = tmp_path_factory.mktemp("source") / "takeoff.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    ids = takeoff.fill(engine, SAMPLES)
    engine.dispose()
    return Source(path, tuple(ids))


@pytest.fixture(scope="session")
def make_ledger(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Return a function that makes the ledger's tables in a SQLite file: what `migrate` makes, in a tenth of the time."""
    made = tmp_path_factory.mktemp("ledger") / "jobs.db"
    migrate(f"sqlite:///{made}")
    with closing(sqlite3.connect(made)) as connection:
        schema = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        rows = (line for line in connection.iterdump() if line.startswith("INSERT INTO"))
        script = "".join(f"{line};\n" for line in ("BEGIN", *(sql for (sql,) in schema), *rows, "COMMIT"))

    def make(file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {script}")

    return make


@pytest.fixture
def source(sample: Source, tmp_path: Path) -> Source:
    """A sample database of one test's own."""
    path = tmp_path / "app.db"
    shutil.copyfile(sample.path, path)
    return Source(path, sample.scopes)


@pytest.fixture(scope="session")
def read_once() -> Iterator[None]:
    """The components of `defs/` depend on no setting but the time zone: read once for each."""
    from export_pipeline import definitions
    from export_pipeline.components import loading

    @functools.cache
    def tree(*_: object) -> dg.ComponentTree:
        return component_tree()

    component_tree = loading.component_tree
    with pytest.MonkeyPatch.context() as patch:
        for module in (loading, definitions):
            patch.setattr(
                module,
                "component_tree",
                lambda: tree(os.environ.get("EXPORT_TIMEZONE"), loading.defs_folder()),  # type: ignore[attr-defined]
            )
        yield


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME in which the embedded instance has made its databases."""
    home = tmp_path_factory.mktemp("home")
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_runs() == []
    (home / "dagster.yaml").unlink()
    return home


@pytest.fixture
def environment(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_home: Path, read_once: None
) -> dict[str, str]:
    """Settings of a deployment in the test's folder, set in this process too."""
    values = {
        "EXPORT_SOURCE_URL": source.url,
        "EXPORT_STORE_URL": str(tmp_path / "store"),
        "EXPORT_STAGING_URL": str(tmp_path / "staging"),
        "EXPORT_OUTAGE_SECONDS": "0.5",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    monkeypatch.chdir(tmp_path)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(new_home, tmp_path / "home")
    return values


@pytest.fixture
def deployment(
    source: Source, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """A deployment with an instance in memory. No tick waits for requests that come later."""
    from export_pipeline.definitions import defs

    monkeypatch.setattr(requests, "HELD_SECONDS", 0.0)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Deployment(source, tmp_path, defs(), instance)


@pytest.fixture
def ledger(deployment: Deployment, make_ledger: Callable[[Path], None]) -> Iterator[Ledger]:
    """The ledger of the deployment's source."""
    make_ledger(deployment.source.path)
    with Ledger(deployment.source.url) as opened:
        yield opened


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A mail server that the deployment sends to."""
    with mail_server() as server:
        monkeypatch.setenv("EXPORT_SMTP_URL", server.url)
        monkeypatch.setenv("EXPORT_MAIL_FROM", "exports@example.org")
        yield server


@pytest.fixture
def patience(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs wait for what is away as long as a test may take, and look often."""
    monkeypatch.setenv("EXPORT_OUTAGE_SECONDS", "60")
    monkeypatch.setattr(errors, "FIRST_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(outages, "FIRST_WAIT_SECONDS", 0.5)
