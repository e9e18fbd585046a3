"""Runs whose ledger, source or store goes away under them: real servers, stopped and started again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.demo import takeoff
from export_pipeline.formats.csv import readback as csv_reader
from export_pipeline.formats.csv import write as csv
from export_pipeline.formats.json import readback as json_reader
from export_pipeline.jobs import Ledger, Status, migrate
from export_pipeline.orchestration import staging_io_manager, store_io_manager
from export_pipeline.orchestration.runs.attempts import job_tags
from export_pipeline.store import open_store, s3_multipart, s3_upload
from export_pipeline.store.publish import verify_file
from export_pipeline_tests.orchestration.deployment import SAMPLES, Deployment, failures, files, steps
from export_pipeline_tests.orchestration.outages import once, reload, retry_count, warnings
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.services.s3 import S3Server, impatient_config
from export_pipeline_tests.services.switches import Switch, postgres_switch, s3_switch

ALL_STEPS = ["fetch_source", "build_export_data", "sanitize", "render_csv"]
pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[Switch, PostgresServer]]:
    with postgres_switch() as both:
        yield both


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "function"),
    [(csv, "render"), (store_io_manager, "publish"), (store_io_manager, "complete_jobs")],
)
def test_a_ledger_that_comes_back_costs_no_work(
    deployment: Deployment,
    database: tuple[Switch, PostgresServer],
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    function: str,
) -> None:
    switch, server = database
    monkeypatch.setenv("EXPORT_JOBS_URL", server.url())
    migrate(server.url())
    with Ledger(server.url()) as ledger:
        job = ledger.request("takeoff", "csv", scope=deployment.scope)
        rendered = once(monkeypatch, csv_reader, "read_back", lambda: None)
        once(monkeypatch, module, function, lambda: switch.off(1.5))
        result = reload(deployment).run(tags=job_tags([job]))
        assert result.success
        assert (steps(result), retry_count(result), len(rendered)) == (ALL_STEPS, 0, 1)
        assert any("export jobs" in text for text in warnings(deployment, result))
        assert ledger.get(job.id).status is Status.COMPLETED
        assert verify_file(deployment.store, str(ledger.get(job.id).file_key)) == []


@pytest.fixture
def on_postgres(
    deployment: Deployment, database: tuple[Switch, PostgresServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Deployment, str]]:
    """A deployment whose source is the server that a test stops; and a scope there."""
    _, server = database
    with server.database() as url:
        engine = sa.create_engine(url)
        (scope,) = takeoff.fill(engine, SAMPLES[1:])
        engine.dispose()
        deployment.instance.add_dynamic_partitions("takeoff_scopes", [scope])
        monkeypatch.setenv("EXPORT_SOURCE_URL", url)
        monkeypatch.setenv("EXPORT_JOBS_URL", deployment.source.url)
        yield reload(deployment), scope


@pytest.mark.slow
def test_a_source_that_comes_back_before_the_first_row(
    on_postgres: tuple[Deployment, str], database: tuple[Switch, PostgresServer]
) -> None:
    deployment, scope = on_postgres
    database[0].off(1.5)
    result = deployment.run(partition=scope)
    assert result.success
    assert retry_count(result) == 1
    assert "source database cannot be reached" in warnings(deployment, result)[0]


@pytest.mark.slow
def test_a_source_that_goes_away_in_the_middle_is_read_again_from_the_start(
    on_postgres: tuple[Deployment, str],
    database: tuple[Switch, PostgresServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment, scope = on_postgres
    saved = once(monkeypatch, staging_io_manager, "save_all", lambda: database[0].off(1.5))
    result = deployment.run(partition=scope)
    assert result.success
    assert (retry_count(result), len(saved)) == (1, 4)  # fetch twice, build, sanitize
    assert verify_file(deployment.store, files(result)["csv"]["key"]) == []


@pytest.fixture
def on_s3(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Switch, S3Server, Deployment]]:
    """A deployment whose store is a server that a test stops."""
    with s3_switch() as (switch, server):
        server.client().create_bucket(Bucket="exports")
        monkeypatch.setenv("EXPORT_STORE_URL", "s3://exports/team")
        monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", server.endpoint_url)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("export_pipeline.store.s3_client.client_config", impatient_config)
        yield switch, server, reload(deployment)


def verified(server: S3Server, key: str) -> bool:
    return verify_file(open_store("s3://exports/team", endpoint_url=server.endpoint_url), key) == []


@pytest.mark.slow
@pytest.mark.parametrize(("module", "function"), [(csv, "render"), (s3_upload.S3Upload, "_show")])
def test_s3_that_comes_back_gets_the_file_of_the_rows_there_are(
    on_s3: tuple[Switch, S3Server, Deployment], monkeypatch: pytest.MonkeyPatch, module: Any, function: str
) -> None:
    """The rows are not read again."""
    switch, server, deployment = on_s3
    once(monkeypatch, module, function, lambda: switch.off(1.5))
    saved = once(monkeypatch, staging_io_manager, "save_all", lambda: None)
    result = deployment.run()
    assert result.success, failures(result)
    assert (retry_count(result), len(saved)) == (1, 3)
    assert "cannot be reached" in warnings(deployment, result)[0]
    assert verified(server, files(result)["csv"]["key"])


@pytest.mark.slow
def test_s3_that_goes_away_between_the_parts_of_a_file(
    on_s3: tuple[Switch, S3Server, Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of the parts that were sent before."""
    switch, server, deployment = on_s3
    engine = sa.create_engine(deployment.source.url)
    (scope,) = takeoff.fill(engine, [replace(SAMPLES[0], name="Large", measurements=30_000)])
    engine.dispose()
    deployment.instance.add_dynamic_partitions("takeoff_scopes", [scope])
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)
    sent = once(monkeypatch, s3_multipart.MultipartUpload, "send_part", lambda: None)
    once(monkeypatch, json_reader, "read_back", lambda: switch.off(1.5))
    result = deployment.run(["json"], partition=scope)
    assert result.success, failures(result)
    assert retry_count(result) == 1
    assert len(sent) >= 4
    assert verified(server, files(result)["json"]["key"])
    assert server.client().list_multipart_uploads(Bucket="exports").get("Uploads", []) == []
