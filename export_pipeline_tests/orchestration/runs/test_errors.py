"""Failures around an export end it with one sentence, no secret, and nothing half done."""

import errno
import traceback
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.demo import takeoff
from export_pipeline.expressions.types import ComputeError
from export_pipeline.jobs import Ledger, migrate
from export_pipeline.orchestration.runs import errors, outages
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.store import StoreError, StoreUnavailableError
from export_pipeline_tests.orchestration.deployment import SAMPLES, Deployment, failures, files, steps
from export_pipeline_tests.orchestration.outages import reload, retry_count
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.s3 import impatient_config


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "FIRST_WAIT_SECONDS", 0.0)


def use_s3(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EXPORT_STORE_URL", bucket.url)
    monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", bucket.server.endpoint_url)


def log(deployment: Deployment, result: dg.ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in deployment.instance.all_logs(result.run_id)]


def test_waits_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "FIRST_WAIT_SECONDS", 2.0)
    monkeypatch.setattr(errors, "wait_until_available", lambda *_: None)
    waits = []
    monkeypatch.setattr(errors, "pause", lambda seconds, *_: waits.append(seconds))
    for tries in range(errors.MAX_RETRIES + 1):
        with (
            pytest.raises(dg.RetryRequested) as caught,
            errors.translate_errors(tries, dg.get_dagster_logger()),
        ):
            raise StoreUnavailableError("busy")
        assert caught.value.max_retries == errors.MAX_RETRIES
    assert waits == [2.0, 6.0, 18.0, 54.0]


@pytest.mark.parametrize(
    "interrupt", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError, ZeroDivisionError]
)
def test_interrupts_pass_untranslated(interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt), errors.translate_errors(0, dg.get_dagster_logger()):
        raise interrupt


@pytest.mark.slow
def test_dagster_keeps_neither_the_query_nor_the_drivers_error(deployment: Deployment) -> None:
    """It keeps a failure for weeks, and a query has the values of the filters in it."""
    deployment.source.rows("ALTER TABLE measurements RENAME COLUMN is_rejected TO was_rejected")
    result = deployment.run()
    assert "lacks a table or column" in failures(result)["fetch_source"]
    assert "no such column" in failures(result)["fetch_source"]
    kept = " ".join(str(entry.to_json()) for entry in deployment.instance.all_logs(result.run_id))
    assert "no such column" in kept
    assert "SELECT" not in kept
    assert "sqlite3." not in kept


def test_dagster_keeps_no_value_of_a_statement_of_the_ledger(tmp_path: Path) -> None:
    migrate(url := f"sqlite:///{tmp_path}/ledger.db")
    ledger = Ledger(url)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE export_jobs RENAME COLUMN requested_by TO asked_by")
    filters = {"email": {"equals": "anna@example.org"}}
    with pytest.raises(dg.Failure) as caught, errors.translate_errors(0, dg.get_dagster_logger()):
        ledger.request("records", "csv", filters=filters, requested_by="anna")
    ledger.close()
    kept = "".join(traceback.format_exception(caught.value))
    assert "run `export-pipeline migrate`" in kept
    assert "anna@" not in kept
    assert "INSERT" not in kept


def test_dagster_keeps_nothing_of_what_led_to_a_known_error() -> None:
    with pytest.raises(dg.Failure) as caught, errors.translate_errors(0, dg.get_dagster_logger()):
        try:
            raise ValueError(f"no number: {'anna'}@example.org")
        except ValueError as error:
            raise ComputeError("column n: a cell does not fit its type") from error
    kept = "".join(traceback.format_exception(caught.value))
    assert "column n: a cell does not fit its type" in kept
    assert "anna@" not in kept


def test_a_source_that_stays_away_is_given_up_after_some_waiting(deployment: Deployment) -> None:
    deployment.source.path.rename(deployment.source.path.with_suffix(".away"))
    result = deployment.run()
    assert retry_count(result) == 0
    assert any("Waiting for it" in line for line in log(deployment, result))
    assert "The source database cannot be reached" in failures(result)["fetch_source"]
    assert deployment.stored() == set()


def test_a_source_that_comes_back_is_read(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    away = deployment.source.path.with_suffix(".away")
    deployment.source.path.rename(away)
    ask = outages._check_source

    def comes_back() -> None:
        away.rename(deployment.source.path)
        ask()

    monkeypatch.setattr(outages, "_check_source", comes_back)
    result = deployment.run()
    assert result.success
    assert retry_count(result) == 1
    assert set(files(result)) == {"csv"}


@pytest.mark.slow
def test_a_query_that_takes_too_long_is_not_tried_again(
    deployment: Deployment, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one: somebody holds the table that is to be read."""
    engine = sa.create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg2://"))
    (scope,) = takeoff.fill(engine, SAMPLES[1:])
    deployment.instance.add_dynamic_partitions("takeoff_scopes", [scope])
    monkeypatch.setenv("EXPORT_SOURCE_URL", postgres_url)
    monkeypatch.setenv("EXPORT_STATEMENT_TIMEOUT_SECONDS", "0.3")
    assert reload(deployment).run(partition=scope).success
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE measurements IN ACCESS EXCLUSIVE MODE"))
        result = reload(deployment).run(partition=scope)
    engine.dispose()
    assert retry_count(result) == 0
    assert "EXPORT_STATEMENT_TIMEOUT_SECONDS" in failures(result)["fetch_source"]


def test_a_project_that_is_not_there_is_not_tried_again(deployment: Deployment) -> None:
    deployment.instance.add_dynamic_partitions("takeoff_scopes", ["nobody"])
    result = deployment.run(partition="nobody")
    assert retry_count(result) == 0
    assert "There is no project with id 'nobody'" in failures(result)["fetch_source"]


def test_a_source_that_fails_in_the_middle_of_reading(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.sources.sqlalchemy_rows import SqlAlchemySnapshot

    batches = SqlAlchemySnapshot.batches

    def breaks(self: Any, select: Any, columns: Any, *more: Any) -> Any:
        yield from batches(self, select, columns, *more)
        if any(column.name == "geometry_data" for column in columns):
            raise SourceError("A cell holds what its column cannot.")

    monkeypatch.setattr(SqlAlchemySnapshot, "batches", breaks)
    result = deployment.run()
    assert failures(result) == {"fetch_source": "A cell holds what its column cannot."}
    assert deployment.stored() == set()


def test_a_full_staging_disk(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "measurements.arrow")

    monkeypatch.setattr("export_pipeline.orchestration.staging_io_manager.save_all", full)
    result = deployment.run()
    assert retry_count(result) == 0
    assert "No space left on device (measurements.arrow)" in failures(result)["fetch_source"]
    assert "EXPORT_STAGING_URL" in failures(result)["fetch_source"]


@pytest.mark.parametrize(("where", "message"), [("folder", "Cannot store"), ("s3", "EXPORT_STAGING_URL")])
def test_a_disk_that_fills_while_a_file_is_rendered(
    deployment: Deployment,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    where: str,
    message: str,
) -> None:
    """On a real full device: the store's own, or the one of the local copy beside S3."""
    from export_pipeline.store.folder_upload import UploadArea

    if where == "s3":
        use_s3(request.getfixturevalue("bucket"), monkeypatch)
        (tmp_path / "0.csv").symlink_to("/dev/full")
        monkeypatch.setattr("export_pipeline.orchestration.ops._new_folder", lambda context, format: tmp_path)
        deployment = reload(deployment)
    else:

        def full(self: Any, key: str) -> Any:
            path = self.folder / "full"
            path.symlink_to("/dev/full")
            return path, path.open("wb", buffering=0)

        monkeypatch.setattr(UploadArea, "new", full)
    result = deployment.run()
    assert "o space" in failures(result)["render_csv"]
    assert message in failures(result)["render_csv"]
    assert deployment.stored() == set()
    assert list((deployment.folder / "store" / ".uploads").glob("*")) == []


def test_a_store_folder_that_cannot_be_used(deployment: Deployment) -> None:
    (deployment.folder / "store").write_text("a file where the folder should be")
    result = deployment.run()
    assert retry_count(result) == 0
    assert "a part of the path is a file" in failures(result)["render_csv"]
    assert steps(result) == ["fetch_source", "build_export_data", "sanitize"]


def test_a_store_that_is_busy_is_tried_again(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    from export_pipeline.store.folder import FolderStore

    begin, tries = FolderStore.begin, iter(range(9))

    def busy(self: Any, *args: Any, **more: Any) -> Any:
        if next(tries) < 2:
            raise StoreUnavailableError("The store is busy.")
        return begin(self, *args, **more)

    monkeypatch.setattr(FolderStore, "begin", busy)
    result = deployment.run()
    assert result.success
    assert retry_count(result) == 2


@pytest.mark.slow
def test_s3_that_is_down_and_s3_that_refuses(
    deployment: Deployment, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(bucket, monkeypatch)
    assert reload(deployment).run().success

    secret = "a-wrong-secret-nobody-may-see"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    refused = reload(deployment).run()
    assert retry_count(refused) == 0
    assert "does not accept the credentials" in failures(refused)["render_csv"]
    assert not any(secret in str(event) for event in refused.all_events)

    monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("export_pipeline.store.s3_client.client_config", impatient_config)
    down = reload(deployment).run()
    assert retry_count(down) == 0
    assert any("Waiting for it" in line for line in log(deployment, down))
    assert "http://127.0.0.1:9 cannot be reached" in failures(down)["render_csv"]


def test_a_wrong_password_of_the_source(
    deployment: Deployment, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a-wrong-password-nobody-may-see"
    head, _, host = postgres_url.partition("@")
    monkeypatch.setenv("EXPORT_SOURCE_URL", f"{head.rpartition(':')[0]}:{secret}@{host}")
    result = reload(deployment).run()
    assert retry_count(result) == 0
    assert "The user or password in EXPORT_SOURCE_URL is wrong" in failures(result)["fetch_source"]
    assert not any(secret in str(event) for event in result.all_events)


def test_errors_of_the_store_are_permanent_unless_they_say_otherwise() -> None:
    with pytest.raises(dg.Failure) as caught, errors.translate_errors(0, dg.get_dagster_logger()):
        raise StoreError("no")
    assert not caught.value.allow_retries
