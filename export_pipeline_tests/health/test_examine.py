import os
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from export_pipeline import health, project
from export_pipeline.health import Finding, examine
from export_pipeline.orchestration import daemon_health
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.settings import load_settings
from export_pipeline_tests.commands import Command
from export_pipeline_tests.jobs.database import Database

MINUTES = timedelta(minutes=15)


@pytest.fixture
def well(
    environment: dict[str, str],
    make_ledger: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> dict[str, str]:
    """A deployment that lacks nothing but Dagster."""
    url = f"sqlite:///{tmp_path}/health.db"
    monkeypatch.setenv("EXPORT_JOBS_URL", url)
    make_ledger(tmp_path / "health.db")
    return environment | {"EXPORT_JOBS_URL": url}


def found(**options: Any) -> dict[str, Finding]:
    findings = examine(load_settings(), dagster=False, **options)
    assert all(
        "\n" not in finding.wrong + finding.do and finding.wrong and finding.do for finding in findings
    )
    return {finding.code: finding for finding in findings}


def test_a_healthy_deployment_has_no_findings(well: dict[str, str]) -> None:
    assert found() == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("EXPORT_JOBS_URL", "postgresql://u:hunter2@127.0.0.1:1/x", "ledger_unreachable"),
        ("EXPORT_JOBS_URL", "sqlite:////nowhere/at/all.db", "ledger_not_migrated"),
        ("EXPORT_SOURCE_URL", "postgresql://u:hunter2@127.0.0.1:1/x", "source_unreachable"),
        ("EXPORT_SOURCE_URL", "sqlite:////nowhere/at/all.db", "source_unreachable"),
        ("EXPORT_STORE_URL", "/proc/nowhere", "store_unusable"),
        ("EXPORT_STAGING_URL", "/proc/nowhere", "staging_unusable"),
    ],
)
def test_each_part_that_is_down_is_reported_alone(
    well: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: str
) -> None:
    monkeypatch.setenv(name, value)
    findings = found()
    assert set(findings) == {code}
    assert "hunter2" not in str(findings)


def test_tables_of_another_version_and_an_invalid_file_are_reported(
    well: dict[str, str], tmp_path: Path
) -> None:
    database = Database(well["EXPORT_JOBS_URL"])
    database.run("UPDATE export_pipeline_version SET version_num = 'older'")
    assert set(found()) == {"ledger_not_migrated"}
    database.run("DROP TABLE export_pipeline_version")
    assert set(found()) == {"ledger_not_migrated"}
    database.close()
    (tmp_path / "health.db").write_bytes(b"not a database" * 100)
    assert set(found()) == {"ledger_unusable"}


def test_a_check_that_breaks_hides_no_other(well: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: object) -> Iterator[Finding]:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(health, "source_findings", broken)
    monkeypatch.setenv("EXPORT_STAGING_URL", "/proc/nowhere")
    findings = found()
    assert set(findings) == {"check_failed", "staging_unusable"}
    assert findings["check_failed"].wrong == "A check broke: ZeroDivisionError: a b"


def test_a_full_disk_is_reported(well: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(health.shutil.disk_usage("/"))
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: usage(100 << 30, 98 << 30, 2 << 30))
    findings = found()
    assert set(findings) == {"store_full", "staging_full"}
    assert "2.0 GiB (2%)" in findings["store_full"].wrong


def test_the_finding_about_a_full_staging_disk_names_the_cure(
    well: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = type(health.shutil.disk_usage("/"))
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: usage(100 << 30, 98 << 30, 2 << 30))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    settings = load_settings()
    step = settings.staging_folder / str(uuid.uuid4()) / "x.fetch_source-result"
    step.mkdir(parents=True)
    (step / "rows-0.arrow").write_bytes(b"x" * 1234)

    def advice() -> str:
        (finding,) = health.staging_findings(settings, dagster=True)
        assert finding.code == "staging_full"
        return finding.do

    assert advice().startswith(
        "`export-pipeline purge` frees nothing there: 1,234 bytes are of runs under way"
    )
    for path in (step / "rows-0.arrow", step, step.parent):
        os.utime(path, (0, 0))
    assert advice() == "Run `export-pipeline purge`, which frees 1,234 bytes of ended runs there."
    monkeypatch.setenv("DAGSTER_HOME", "/proc/nowhere")
    assert "name a larger disk" in advice()


def test_samples_that_do_not_fit_the_source_are_named_in_one_line(environment: dict[str, str]) -> None:
    """The deployment's source has the tables of takeoff alone."""
    (finding,) = health.dataset_findings(load_settings())
    assert finding.code == "dataset_unfit"
    assert {"records", "sellers", "archive"} <= set(re.findall(r"\w+", finding.wrong))
    assert "takeoff" not in finding.wrong
    assert "export-pipeline init" in finding.do


def test_a_dataset_of_ones_own_that_does_not_fit_is_named_with_its_reason(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "SAMPLES", project.SAMPLES - {"records", "sellers"})
    findings = {
        finding.wrong.partition(":")[0]: finding for finding in health.dataset_findings(load_settings())
    }
    assert "there is no table 'accounts'" in findings["records"].wrong
    assert "there is no table" in findings["sellers"].wrong  # it has no scopes
    assert findings["records"].do.endswith("delete export_pipeline/defs/records.")
    assert len(findings) == 3


def test_too_many_partitions_are_advised_against(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> list[health.Finding]:
        return [one for one in health.dataset_findings(load_settings()) if one.code == "partitions_many"]

    assert found() == []
    monkeypatch.setenv("EXPORT_MAX_PARTITIONS", "100")
    (finding,) = found()
    assert finding.is_advice
    assert re.match(
        r"takeoff: 2 scopes times [\d,]+ daily windows are [\d,]+ partitions of an asset, more than "
        r"EXPORT_MAX_PARTITIONS \(100\)", finding.wrong
    )  # fmt: skip
    assert "partition_windows_by_scope: false" in finding.do
    monkeypatch.setenv("EXPORT_MAX_PARTITIONS", "0")
    assert found() == []


def test_a_source_that_is_away_is_reported_once(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_SOURCE_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    assert list(health.dataset_findings(load_settings())) == []


@pytest.mark.slow
def test_a_dagster_that_never_ran_and_one_that_runs(environment: dict[str, str]) -> None:
    """By an instance of its own, with the heartbeats and sensor states that its daemon would write."""
    import dagster as dg
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._daemon.types import DaemonHeartbeat

    assert [told[0] for told in daemon_health.findings()] == ["daemon_not_running"]
    with dg.DagsterInstance.get() as instance:
        required = instance.get_required_daemon_types()

        def beat(names: Any, seconds_ago: float) -> None:
            at = datetime.now(UTC).timestamp() - seconds_ago
            for name in names:
                instance.add_daemon_heartbeat(DaemonHeartbeat(at, name, "d", None))

        beat(required, 3600)
        (told,) = daemon_health.findings()
        assert told[0] == "daemon_not_running"
        assert told[3] is not None
        beat(required, 1)
        assert list(daemon_health.findings()) == []
        beat(required[:1], 3600)
        assert [told[0] for told in daemon_health.findings()] == ["daemon_silent"]
        beat(required, 1)
        origin = RemoteInstigatorOrigin(
            RemoteRepositoryOrigin(
                InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), location_name="x"), "r"
            ),
            "requests_sensor",
        )
        state = InstigatorState(
            origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData(min_interval=1)
        )
        instance.add_instigator_state(state)
        (told,) = daemon_health.findings()
        assert told[:2] == ("sensor_off", "requests_sensor is off.")


def test_a_dagster_whose_database_is_down(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    (told,) = daemon_health.findings()
    assert told[0] == "dagster_unreachable"
    assert "hunter2" not in str(told)


@pytest.mark.parametrize(
    ("tick_seconds", "database_seconds", "code"),
    [
        (7200, 0, "clock_set_back"),  # the clock of this machine, and of the database, was set back
        (-1800, 0, "sensors_silent"),
        (-60, 3600, "sensors_silent"),  # this machine is the daemon's, whose clock was set back
        (-60, 0, None),
    ],
)
def test_a_clock_that_was_set_back_is_a_finding(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tick_seconds: int,
    database_seconds: int,
    code: str | None,
) -> None:
    prepare_home()
    now = datetime.now(UTC)
    monkeypatch.setattr(daemon_health, "_clocks", lambda: [now, now + timedelta(seconds=database_seconds)])
    with dg.DagsterInstance.get() as instance:
        state = InstigatorState(_origin(), InstigatorType.SENSOR, InstigatorStatus.RUNNING, None)
        instance.add_instigator_state(state)
        tick = TickData(
            state.instigator_origin_id, "requests_sensor", InstigatorType.SENSOR, TickStatus.SKIPPED,
            now.timestamp() + tick_seconds, selector_id=state.selector_id,
        )  # fmt: skip
        instance.create_tick(tick)
        found = list(daemon_health._sensors(instance, daemon_runs=True))
    assert [told[0] for told in found] == ([code] if code else [])


def _origin() -> RemoteInstigatorOrigin:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="export_pipeline.definitions"))
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), "requests_sensor")


def test_a_home_that_cannot_be_written_is_reported_in_one_line(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "home"))
    for line in (("health", "--json"), ("request", "takeoff", "--scope", "a", "--format", "csv")):
        ended = command(*line)
        assert ended.code
        assert "Traceback" not in ended.out + ended.err
    (finding,) = [one for one in command("health", "--json").json if one["code"] == "dagster_unreachable"]
    assert finding["wrong"].startswith("DAGSTER_HOME: the folder")
