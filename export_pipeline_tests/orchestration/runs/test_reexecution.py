import shutil
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any

import dagster as dg
import pytest

from export_pipeline.formats.csv import write as csv
from export_pipeline.formats.json import write as json
from export_pipeline.orchestration import ops, staging_io_manager
from export_pipeline.orchestration.resources import SourceDatabase
from export_pipeline_tests.orchestration.deployment import QUIET, Deployment, Source, failures, files, steps
from export_pipeline_tests.orchestration.jobs import exports, in_processes

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(source: Source, environment: dict[str, str], tmp_path: Any) -> Iterator[Deployment]:
    """On an instance that is kept on disk, as a re-execution looks its parent up there."""
    from export_pipeline.definitions import defs

    with dg.instance_for_test() as instance:
        yield Deployment(source, tmp_path, defs(), instance)


def reexecute(deployment: Deployment, run_id: str) -> dg.JobExecutionResult:
    return dg.execute_job(
        dg.reconstructable(exports),
        deployment.instance,
        tags={"dagster/partition": deployment.scope},
        reexecution_options=dg.ReexecutionOptions.from_failure(run_id, deployment.instance),
    )


def broken(*_: Any) -> Any:
    raise RuntimeError("broken")


def test_only_what_failed_is_repeated_even_twice(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(csv, "render", broken)
        patch.setattr(json, "render", broken)
        first = deployment.run(["csv", "json", "ost"])
    assert set(failures(first)) == {"render_csv", "render_json"}
    assert set(files(first)) == {"ost"}
    monkeypatch.setenv("EXPORT_SOURCE_URL", "sqlite:////nowhere/gone.db")  # nothing may be read again
    with monkeypatch.context() as patch:
        patch.setattr(json, "render", broken)
        with reexecute(deployment, first.run_id) as second:
            assert steps(second) == ["render_csv"]
    with reexecute(deployment, second.run_id) as third:
        assert third.success
        assert steps(third) == ["render_json"]
    # The files of one request share their id, whichever run made them.
    assert {key for key in deployment.stored() if not key.endswith(".manifest.json")} == {
        f"exports/{deployment.scope}/{first.run_id}{extension}" for extension in (".csv", ".json", ".xml")
    }


@pytest.mark.parametrize(
    ("step", "repeated"),
    [
        ("csv.write.render", ["render_csv", "render_json"]),
        ("takeoff.shape", ["build_export_data", "sanitize", "render_csv", "render_json"]),
        ("sanitize", ["sanitize", "render_csv", "render_json"]),
    ],
)
def test_on_another_machine_the_rows_are_read_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, step: str, repeated: list[str]
) -> None:
    """The parent run has staged them on its own machine only, or they were removed after a day."""
    with monkeypatch.context() as patch:
        if step == "sanitize":
            patch.setattr(ops, "clean", broken)
        elif step == "takeoff.shape":
            patch.setattr(ops, "build", broken)
        else:
            patch.setattr(csv, "render", broken)
            patch.setattr(json, "render", broken)
        first = deployment.run(["csv", "json"], config={"include_drawings": True})
    assert not first.success
    shutil.rmtree(deployment.staging)
    snapshots = count_snapshots(monkeypatch)
    with reexecute(deployment, first.run_id) as second:
        assert second.success
        assert steps(second) == repeated
    assert len(snapshots) == 1  # both formats show the same moment
    key = f"exports/{deployment.scope}/{first.run_id}"
    assert deployment.manifest(f"{key}.csv")["rows"] == deployment.source.exported(deployment.scope)
    assert (
        deployment.manifest(f"{key}.csv")["snapshot_at"] == deployment.manifest(f"{key}.json")["snapshot_at"]
    )


def count_snapshots(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows with each snapshot of the source."""
    opened: list[object] = []
    snapshot = SourceDatabase.snapshot
    monkeypatch.setattr(SourceDatabase, "snapshot", lambda self: opened.append(self) or snapshot(self))
    return opened


def test_steps_on_different_machines_need_a_common_folder(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each step would read the source again."""
    monkeypatch.setattr(staging_io_manager, "save_all", lambda *_: None)
    assert "common folder" in failures(deployment.run(["csv"]))["build_export_data"]


@pytest.fixture
def fork_server_of_its_own(deployment: Deployment) -> Iterator[None]:
    """A process forks from one server, which keeps the environment of the test that first used it."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # Python's own tests end it so
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("fork_server_of_its_own")
def test_steps_run_in_processes_of_their_own(deployment: Deployment) -> None:
    deployment.instance.add_dynamic_partitions("takeoff_scopes", [deployment.scope])
    with dg.execute_job(
        dg.reconstructable(in_processes),
        deployment.instance,
        run_config=QUIET | {"execution": {"config": {"max_concurrent": 1}}},
        tags={"dagster/partition": deployment.scope},
    ) as result:
        assert result.success
        assert steps(result) == ["fetch_source", "build_export_data", "sanitize", "render_csv"]
        pids = {e.message for e in result.all_events if "Launching subprocess" in str(e.message)}
        assert len(pids) == 4
    assert len(deployment.stored()) == 2


def test_the_same_window_gives_the_same_rows_and_replaces_the_files(deployment: Deployment) -> None:
    formats = ["csv", "excel", "pdf", "json", "ost"]
    partition = f"{deployment.scope}|2026-02-01"
    config = {"include_drawings": True}
    assert deployment.run(formats, "daily", partition, config).success
    first = {key: deployment.read(key) for key in deployment.stored()}
    made = {key: deployment.manifest(key)["run_id"] for key in first if not key.endswith(".manifest.json")}
    # What came after the window's end changes nothing in it.
    deployment.source.rows(
        "UPDATE measurements SET created_at = '2026-02-02 00:00:00.000000' WHERE is_rejected"
    )
    assert deployment.run(formats, "daily", partition, config).success
    assert deployment.stored() == set(first)  # replaced, not duplicated
    changed = {key for key in first if deployment.read(key) != first[key]}
    # These say when the data were read; CSV and OST say nothing but rows.
    dated = {key for key in made if key.endswith((".xlsx", ".pdf", ".json"))}
    assert changed == dated | {f"{key}.manifest.json" for key in made}
    assert all(deployment.manifest(key)["run_id"] != run_id for key, run_id in made.items())
