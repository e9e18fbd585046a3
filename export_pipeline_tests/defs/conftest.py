from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.demo import archive, bookkeeping, ecology, property_services, takeoff
from export_pipeline_tests.defs.exporting import Sample
from export_pipeline_tests.hostile.strings import HOSTILE_TEXTS
from export_pipeline_tests.services.postgres import PostgresServer


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """All sample applications in one database, on each that is promised; nobody writes to it."""
    folder: Path = tmp_path_factory.mktemp("sample")
    if request.param == "sqlite":
        yield _filled(f"sqlite:///{folder}/app.db", folder)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield _filled(url, folder)


def _filled(url: str, folder: Path) -> Sample:
    engine = sa.create_engine(url)
    try:
        takeoff.fill(engine, takeoff.SAMPLES[:0])
        for application in (ecology, archive, bookkeeping, property_services):
            application.fill(engine, HOSTILE_TEXTS)
            application.fill(engine, HOSTILE_TEXTS)  # as often as one likes
    finally:
        engine.dispose()
    return Sample(url, folder)
