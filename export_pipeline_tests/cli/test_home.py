"""A DAGSTER_HOME on a full or read-only disk: each command says so in one line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.formats.csv import write as csv
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source

REQUEST = ("request", "takeoff", "--format", "csv", "--scope")
COMMANDS = [("health", "--json"), ("purge",), ("dev",), (*REQUEST, "SCOPE")]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 4 MB that holds DAGSTER_HOME."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount a small disk: {mounted.stderr.strip()}")
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "home"))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def lock(disk: Path) -> None:
    """Make the disk read-only, as Linux does after an error of the disk."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line[0])
@pytest.mark.parametrize(
    ("spoil", "reason"), [(fill, "No space left on device"), (lock, "Read-only file system")]
)
def test_a_home_that_cannot_be_written(
    command: Command,
    source: Source,
    disk: Path,
    line: tuple[str, ...],
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    spoil(disk)
    ended = command(*(source.scopes[0] if word == "SCOPE" else word for word in line))
    assert ended.code in (1, 2)
    if line[0] == "health":
        (finding,) = [one for one in ended.json if one["code"] == "dagster_unreachable"]
        assert finding["do"].startswith("Free some space")
        message = finding["wrong"]
    else:
        (message,) = ended.err.strip().splitlines()
    assert f"DAGSTER_HOME: the folder {os.environ['DAGSTER_HOME']} cannot be written: {reason}" in message


def test_a_home_that_becomes_full_while_a_request_runs(
    command: Command, source: Source, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = csv.render

    def render(*given: Any, **options: Any) -> Any:
        fill(disk)
        return real(*given, **options)

    monkeypatch.setattr(csv, "render", render)
    ended = command(*REQUEST, source.scopes[0])
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    *_, message = ended.err.strip().splitlines()  # Dagster has a line for each message that it cannot keep
    assert message.startswith(
        "Error: Dagster's own database cannot be used: database or disk is full. Look at"
    )
    assert message.endswith(f"at the disk of DAGSTER_HOME ({disk / 'home'}).")
