"""What a shell's usual umask would open to everybody is its user's alone: data, staging, files, Dagster's records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *arguments: str) -> str:
    """A command as a person would type it in a new folder."""
    names = [name for name in os.environ if not name.startswith(("EXPORT_", "DAGSTER_"))]
    done = subprocess.run(
        [sys.executable, "-m", "export_pipeline.cli", *arguments],
        cwd=folder,
        env={name: os.environ[name] for name in names},
        umask=0o022,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_nobody_else_can_read_what_an_export_leaves(tmp_path: Path) -> None:
    run(tmp_path, "demo")
    run(tmp_path, "migrate")
    scope = json.loads(run(tmp_path, "datasets", "--scopes", "records", "--json"))[0]["scopes"][0]["scope"]
    run(tmp_path, "request", "records", "--scope", scope, "--format", "csv,excel")
    made = [path for path in tmp_path.rglob("*") if not path.is_symlink()]
    assert {path.suffix for path in made} >= {".csv", ".xlsx", ".db"}
    assert {path.name for path in tmp_path.iterdir()} >= {
        "demo_data",
        "demo_files",
        "store",
        ".staging",
        ".dagster_home",
    }
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_a_dataset_is_written_as_the_shell_would(tmp_path: Path) -> None:
    run(tmp_path, "init", "project")
    (made,) = (tmp_path / "project").rglob(".env.example")
    assert made.stat().st_mode & 0o777 == 0o644
