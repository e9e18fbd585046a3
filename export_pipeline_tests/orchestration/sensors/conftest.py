"""Dagster's instance on each database."""

from collections.abc import Iterator

import dagster as dg
import pytest

from export_pipeline.orchestration.instance import prepare_home


@pytest.fixture(params=["sqlite", "postgresql"])
def instance(
    request: pytest.FixtureRequest, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url")).replace("postgresql+psycopg2", "postgres")
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    prepare_home()
    with dg.DagsterInstance.get() as opened:
        yield opened
