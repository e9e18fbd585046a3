"""What deploy/ holds fits the project: programs, settings and files that it names are there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from export_pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
BIN = Path(sys.executable).parent


def test_units_are_right(tmp_path: Path) -> None:
    """As systemd reads them, on a machine where the project lies elsewhere."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/export-pipeline/.venv/bin", str(BIN))
        text = text.replace("/opt/export-pipeline", str(ROOT)).replace("User=exports", "User=root")
        (tmp_path / unit.name).write_text(text)
    units = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60
    )
    said = [
        line for line in done.stderr.splitlines() if "export-pipeline" in line
    ]  # others are the machine's
    assert (done.returncode, said) == (0, [])


def test_programs_are_those_that_are_installed() -> None:
    commands = [line for unit in UNITS for line in re.findall(r"^ExecStart\w*=(.+)$", unit.read_text(), re.M)]
    assert len(commands) == 6
    for command in commands:
        path, *_ = command.split()
        assert path.startswith("/opt/export-pipeline/.venv/bin/")
        assert (BIN / Path(path).name).exists(), command


def test_settings_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "export-pipeline.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    known = {f"EXPORT_{name.upper()}" for name in Settings.model_fields}
    assert set(values) <= known | {"DAGSTER_HOME", "DAGSTER_POSTGRES_URL"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert str(Settings().staging_folder) == "/var/lib/export-pipeline/staging"


def test_files_of_the_image_are_there() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert all((ROOT / name).exists() for names in copied for name in names.split())
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"migrate", "daemon", "webserver"}
    for service in services.values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        sources = [volume.split(":")[0] for volume in service["volumes"]]
        assert all((DEPLOY / source).is_file() for source in sources if source.startswith("."))
