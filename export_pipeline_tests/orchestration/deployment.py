"""A whole deployment for one test: a source, a store, staging, a Dagster instance, and runs on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from export_pipeline.demo import takeoff
from export_pipeline.store import Store, open_store
from export_pipeline_tests.hostile.project import HOSTILE_PROJECT

SAMPLES = [replace(takeoff.SAMPLES[0], measurements=150), replace(HOSTILE_PROJECT, measurements=60)]


QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class Source:
    """A filled sample database and its projects' ids: an ordinary one and a hostile one."""

    path: Path
    scopes: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def exported(self, scope: str) -> int:
        """Return the number of measurements in an export of a scope without options."""
        ((count,),) = self.rows(
            "SELECT count(*) FROM measurements m JOIN conditions c ON c.id = m.condition_id "
            f"WHERE c.project_id = '{scope}' AND NOT m.is_rejected"
        )
        return int(count)

    def rows(self, sql: str) -> list[Any]:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            result = connection.execute(sa.text(sql))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return rows


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment by the settings of the environment, and an instance."""

    source: Source
    folder: Path
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    @property
    def store(self) -> Store:
        return open_store(str(self.folder / "store"))

    @property
    def scope(self) -> str:
        return self.source.scopes[0]

    def stored(self) -> set[str]:
        """Keys of all export files in the store, manifests too."""
        return {file.key for file in self.store.list("exports/")}

    def read(self, key: str) -> bytes:
        with self.store.open(key) as file:
            return file.read()

    def manifest(self, key: str) -> dict[str, Any]:
        return dict(json.loads(self.read(f"{key}.manifest.json")))

    def run(
        self,
        formats: Sequence[str] = ("csv",),
        cadence: str = "on_demand",
        partition: str | None = "",
        config: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dg.ExecuteInProcessResult:
        """Run some assets in this process. An empty partition is the first scope; None is none."""
        scope = self.scope if partition == "" else partition
        self.instance.add_dynamic_partitions("takeoff_scopes", list(self.source.scopes))
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(["takeoff", cadence, format]) for format in formats],
            partition_key=scope,
            run_config=QUIET | ({"ops": {f"takeoff_{cadence}": {"config": dict(config)}}} if config else {}),
            raise_on_error=False,
            **more,
        )


def files(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Metadata of the materializations, by format."""
    return {
        event.asset_key.path[-1]: {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return the message of each failed step, by the op's name."""
    failed = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            data = event.step_failure_data.user_failure_data
            failed[event.step_key.rpartition(".")[2]] = str(
                data.description if data else event.step_failure_data.error
            )
    return failed


def steps(result: Any) -> list[str]:
    """Names of the ops that succeeded, in order."""
    return [e.step_key.rpartition(".")[2] for e in result.all_events if e.is_step_success and e.step_key]
