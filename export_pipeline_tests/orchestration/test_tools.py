"""Dagster's own commands work on this project."""

import os
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.tools import require_tool

pytestmark = pytest.mark.slow


def run(tool: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = require_tool(tool)
    return subprocess.run(
        [path, *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{path.parent}:{os.environ['PATH']}", "COLUMNS": "200"} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def home(command: Command, source: Source) -> str:
    """An instance where no daemon has run, but a request of the first project; gives its id."""
    assert command("request", "takeoff", "--scope", source.scopes[0], "--format", "csv").code == 0
    return source.scopes[0]


def test_definitions_are_listed(environment: dict[str, str]) -> None:
    """`make check` runs `dg check defs`."""
    listed = run("dg", "list", "defs", "--json")
    assert listed.returncode == 0, listed.stderr
    for name in (
        "takeoff/on_demand/ost",
        "takeoff_weekly_schedule",
        "takeoff_scopes_sensor",
        "housekeeping_sensor",
    ):
        assert name in listed.stdout


def test_a_wrong_setting_is_named_by_dagsters_own_commands(environment: dict[str, str]) -> None:
    checked = run("dg", "check", "defs", EXPORT_TIMEZONE="Nowhere")
    assert checked.returncode != 0
    assert "EXPORT_TIMEZONE: 'Nowhere' is not an IANA time zone" in checked.stdout + checked.stderr


def test_assets_are_started_from_the_command_line(home: str, source: Source, tmp_path: Path) -> None:
    """`dg launch` does this with the code of `dagster asset materialize`."""
    with dg.DagsterInstance.get() as instance:
        (scope,) = instance.get_dynamic_partitions("takeoff_scopes")
    assert scope.endswith(f"({home})")
    done = run("dg", "launch", "--assets", "key:takeoff/daily/csv", "--partition", f"{scope}|2026-02-01")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "store" / "exports" / home / "takeoff" / "daily"
    assert {file.name for file in folder.iterdir()} == {"2026-02-01.csv", "2026-02-01.csv.manifest.json"}
