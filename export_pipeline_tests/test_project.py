"""A project of one's own: written by `init`, used from its folder with the installed package."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from export_pipeline.datasets.table import TableModel
from export_pipeline.project import own_project
from export_pipeline.project.new_project import ProjectError, write_project
from export_pipeline_tests.commands import Command
from export_pipeline_tests.paths import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project on a small database."""
    folder = tmp_path / "my exports"
    write_project(folder)
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE orders (id integer PRIMARY KEY, name text)")
        connection.execute("INSERT INTO orders VALUES (1, 'first')")
    (folder / ".env").write_text(f"EXPORT_SOURCE_URL=sqlite:///{tmp_path}/app.db\n")
    return folder


def run(project: Path, *arguments: str) -> str:
    """Run a program of this environment in the project's folder; returns what it printed."""
    tools = str(Path(sys.executable).parent)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EXPORT_")},
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(Path(tools).parent),
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(arguments, cwd=project, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.slow
def test_commands_work_in_a_new_project_and_load_no_sample(project: Path) -> None:
    cli = (sys.executable, "-m", "export_pipeline.cli")
    assert "defs/orders/defs.yaml" in run(project, *cli, "introspect", "orders", "--write")
    listed = run(project, *cli, "datasets", "--json")
    assert [dataset["dataset"] for dataset in yaml.safe_load(listed)] == ["orders"]
    run(project, *cli, "request", "orders", "--format", "csv")
    (file,) = (project / "store").rglob("*.csv")
    assert file.read_text("utf-8-sig").splitlines()[1:] == ["1,first"]
    assert "All definitions loaded successfully" in run(project, "dg", "check", "defs")


def test_the_next_step_can_be_copied(tmp_path: Path, command: Command) -> None:
    ended = command("init", str(tmp_path / "my exports"))
    assert f"Next: cd '{tmp_path}/my exports', copy" in ended.out


def test_a_folder_with_files_is_left_alone(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    ended = command("init", str(folder))
    assert ended.code == 2
    assert "is not empty" in ended.err
    assert [path.name for path in folder.iterdir()] == ["mine"]
    with pytest.raises(ProjectError, match="name a folder that you may write"):
        write_project(folder / "mine" / "below")


def test_the_example_is_a_sound_dataset(project: Path) -> None:
    example = yaml.safe_load((project / "defs/example/defs.yaml.example").read_text())
    assert TableModel.model_validate(example["attributes"]).dataset == "orders"


def test_only_a_folder_with_dg_toml_and_defs_is_a_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert own_project() == project
    (project / "dg.toml").unlink()
    assert own_project() is None


def test_a_wheel_brings_the_files_that_a_project_needs() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    included = build["force-include"]
    assert set(included.values()) == {
        f"export_pipeline/project/{name}"
        for name in ("dagster.yaml", "dagster-postgres.yaml", "workspace.yaml")
    }
    assert all((ROOT / source).is_file() for source in included)


@pytest.mark.slow
def test_a_project_without_a_dataset_says_how_to_write_one(project: Path) -> None:
    command = [sys.executable, "-m", "export_pipeline.cli", "datasets"]
    ended = subprocess.run(
        command, cwd=project, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: There is no dataset in ")
    assert "`export-pipeline introspect TABLE --write`" in ended.stderr
