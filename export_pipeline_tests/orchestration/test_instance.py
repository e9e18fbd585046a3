import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.settings import SettingsError
from export_pipeline_tests.orchestration.deployment import Source, steps
from export_pipeline_tests.orchestration.jobs import exports
from export_pipeline_tests.paths import ROOT


def test_the_home_gets_the_file_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    address = postgres_url.partition("://")[2]
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)
    home = prepare_home()
    assert "storage" not in yaml.safe_load((home / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", f"postgresql://{address}")
    prepare_home()
    assert "storage" in yaml.safe_load((home / "dagster.yaml").read_text())
    assert os.environ["DAGSTER_POSTGRES_URL"] == f"postgresql+psycopg2://{address}"
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_home()
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


@pytest.mark.parametrize("url", ["foo", "postgresql://u:hunter2@127.0.0.1:1/d", "nosuchdb://h/d"])
def test_a_wrong_instance_database_is_reported_in_one_line(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    with pytest.raises(SettingsError, match=r"^DAGSTER_POSTGRES_URL: [^\n]+$") as caught:
        prepare_home()
    assert "hunter2" not in str(caught.value)


def test_both_instances_are_alike_but_for_their_storage() -> None:
    embedded = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    postgres = yaml.safe_load((ROOT / "deploy" / "dagster-postgres.yaml").read_text())
    assert postgres.pop("storage")
    assert embedded == postgres
    assert embedded["run_monitoring"]["enabled"]  # or dagster/max_runtime would do nothing
    assert embedded["run_monitoring"]["max_runtime_seconds"]
    # Else a run is started only when the one before it has imported everything: 15 a minute, on any machine.
    starting = embedded["run_coordinator"]["config"]
    assert starting["dequeue_use_threads"]
    assert starting["dequeue_num_workers"] == embedded["concurrency"]["runs"]["max_concurrent_runs"]


@pytest.mark.slow
def test_runs_are_recorded_in_postgres(
    source: Source, environment: dict[str, str], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_url)
    prepare_home()
    (scope, _) = source.scopes
    with dg.DagsterInstance.get() as instance:
        assert "Postgres" in type(instance.run_storage).__name__
        instance.add_dynamic_partitions("takeoff_scopes", [scope])
        with dg.execute_job(
            dg.reconstructable(exports),
            instance,
            tags={"dagster/partition": scope},
            asset_selection=[dg.AssetKey(["takeoff", "on_demand", "csv"])],
        ) as result:
            assert steps(result)[-1] == "render_csv"
    with dg.DagsterInstance.get() as again:
        event = again.get_latest_materialization_event(dg.AssetKey(["takeoff", "on_demand", "csv"]))
        assert event
        assert event.asset_materialization
        assert event.asset_materialization.metadata["dagster/row_count"].value == source.exported(scope)


@pytest.mark.slow
def test_the_documented_migration_takes_a_spelling_that_health_takes(
    tmp_path: Path, postgres_url: str
) -> None:
    address = postgres_url.partition("://")[2]
    (tmp_path / "dagster.yaml").write_text((ROOT / "deploy" / "dagster-postgres.yaml").read_text())
    environment = {"DAGSTER_HOME": str(tmp_path), "DAGSTER_POSTGRES_URL": f"postgres://{address}"}
    command = [str(Path(sys.executable).parent / "dagster"), "instance", "migrate"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert address.partition("@")[0].partition(":")[2] not in done.stdout + done.stderr
