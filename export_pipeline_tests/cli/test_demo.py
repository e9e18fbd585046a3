"""The demo, once, as a person runs it in a new folder: its files, its screen, and who may read what it leaves."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import pytest
import sqlalchemy as sa

from export_pipeline.cli import entry
from export_pipeline.demo import takeoff
from export_pipeline.formats.registry import FORMATS

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Ended:
    """A folder in which the demo has run, and what it has printed."""

    folder: Path
    out: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, read_once: None) -> Iterator[Ended]:
    """Run the demo, with small projects, in a new folder under a shell's usual umask and without settings."""
    folder, out = tmp_path_factory.mktemp("demo"), io.StringIO()
    small = tuple(replace(sample, measurements=20) for sample in takeoff.SAMPLES)
    before = os.umask(0o022)
    with mock.patch.dict(os.environ), pytest.MonkeyPatch.context() as patch:  # the command sets DAGSTER_HOME
        patch.chdir(folder)
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.setattr(takeoff, "SAMPLES", small)
        patch.setattr(sys, "argv", ["export-pipeline", "demo"])
        patch.setattr(entry, "handle_termination", lambda: None)  # the signals are pytest's
        with redirect_stdout(out), pytest.raises(SystemExit) as ended:
            entry.main()
        os.umask(before)
        assert ended.value.code == 0
        yield Ended(folder, out.getvalue())


def run(folder: Path, *arguments: str) -> str:
    """Run a command in a process of its own under a shell's usual umask, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "export_pipeline.cli", *arguments],
        cwd=folder, umask=0o022, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_demo_makes_every_format_of_every_project(demo: Ended) -> None:
    names = [file.name for file in (demo.folder / "store").rglob("*") if file.is_file()]
    for format in FORMATS.values():
        assert any(name.endswith(format.extension) for name in names), format.name
    copies = [path for path in (demo.folder / "demo_files").rglob("*") if path.is_file()]
    assert len(copies) == sum(not name.endswith((".manifest.json", ".export-store.json")) for name in names)
    lines = demo.out.splitlines()
    assert len(lines) <= 24  # a screen
    shown = [demo.folder / line.strip() for line in lines if line.startswith("  demo_files/")]
    assert len(shown) == 4
    assert all(path in copies for path in shown)
    engine = sa.create_engine(f"sqlite:///{demo.folder}/demo_data/applications.db")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM projects")).scalar() == 2
    engine.dispose()


def test_nobody_else_can_read_what_an_export_leaves(demo: Ended) -> None:
    """Data, staging, files and Dagster's records are readable by their user only, whatever the umask."""
    run(demo.folder, "request", "sellers", "--format", "csv,excel")
    made = [path for path in demo.folder.rglob("*") if not path.is_symlink()]
    assert {path.suffix for path in made} >= {".csv", ".xlsx", ".db"}
    assert {path.name for path in demo.folder.iterdir()} >= {
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
