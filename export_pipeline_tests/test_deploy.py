"""The files of deploy/ fit the project: programs, settings and files that they name exist."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from celery.bin.celery import celery

from export_pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
BIN = Path(sys.executable).parent


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """As systemd reads them, on a machine where the project lies elsewhere."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/export-pipeline/.venv/bin", str(BIN))
        text = text.replace("/opt/export-pipeline", str(ROOT)).replace("User=exports", "User=root")
        (tmp_path / unit.name).write_text(text)
    units = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=240
    )
    messages = [
        line for line in done.stderr.splitlines() if "export-pipeline" in line
    ]  # others are the machine's
    assert (done.returncode, messages) == (0, [])


def test_programs_are_those_that_are_installed() -> None:
    commands = [line for unit in UNITS for line in re.findall(r"^ExecStart\w*=(.+)$", unit.read_text(), re.M)]
    assert len(commands) == 8
    for command in commands:
        path, *_ = command.split()
        assert path.startswith("/opt/export-pipeline/.venv/bin/")
        assert (BIN / Path(path).name).exists(), command


def test_processes_that_stay_share_their_memory_among_threads() -> None:
    """With glibc's 16 arenas of two cores the daemon kept 28 MB more after half an hour, its code server 31."""
    texts = [unit.read_text() for unit in UNITS if "Restart=always" in unit.read_text()]
    texts.append((DEPLOY / "Dockerfile").read_text())
    assert len(texts) == 5
    assert all(re.search(r"^(ENV |Environment=)MALLOC_ARENA_MAX=2$", text, re.M) for text in texts)


def test_settings_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "export-pipeline.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    known = {f"EXPORT_{name.upper()}" for name in Settings.model_fields}
    assert set(values) <= known | {"DAGSTER_HOME", "DAGSTER_POSTGRES_URL"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert str(Settings().staging_folder) == "/var/lib/export-pipeline/staging"


def is_in_build_context(path: str) -> bool:
    """Docker's rule: the last line of .dockerignore that matches a path, or a folder above it, counts."""
    parts = path.split("/")
    above = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        anywhere = pattern.removeprefix("**/")
        tried = (
            parts
            if anywhere != pattern
            else [name for name in above if name.count("/") == pattern.count("/")]
        )
        if any(fnmatchcase(name, anywhere) for name in tried):
            kept = line.startswith("!")
    return kept


@pytest.mark.parametrize(
    "path",
    [
        *(f"{folder}{name}" for folder in ("", "deploy/", "export_pipeline/", "export_pipeline/defs/orders/")
          for name in (".env", ".env.production", ".envrc")),
        "deploy/export-pipeline.env", "exports/s/1.csv", ".staging/1/rows.arrow", "demo_data/applications.db",
        ".dagster_home/storage/1", ".git/config", ".venv/bin/python", "export_pipeline/__pycache__/a.pyc",
        "id_rsa", "backup.sql", "deploy/passwords.txt",
    ],
)  # fmt: skip
def test_no_secret_and_no_data_go_into_the_image(path: str) -> None:
    assert not is_in_build_context(path)


def test_files_of_the_image_are_there() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    sources = [name for names in copied for name in names.split()]
    assert all((ROOT / name).exists() and is_in_build_context(name) for name in sources)
    assert is_in_build_context("export_pipeline/defs/records/defs.yaml")
    needed = re.findall(r'^"(\S+)" = "export_pipeline/project', (ROOT / "pyproject.toml").read_text(), re.M)
    assert set(needed) <= set(sources)
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"migrate", "daemon", "webserver", "service", "broker", "worker"}
    for name, service in services.items():
        assert service.get("profiles", []) == (["celery"] if name in ("broker", "worker") else [])
        if name == "broker":
            continue
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        state, instance = service["volumes"]
        assert state == "state:/var/lib/export-pipeline"
        assert (
            instance
            == f"${{DAGSTER_YAML:-./dagster-postgres.yaml}}:{state.partition(':')[2]}/dagster/dagster.yaml:ro"
        )


def test_many_machines_differ_from_one_in_the_launcher_only() -> None:
    one, many = (
        yaml.safe_load((DEPLOY / f"dagster-{name}.yaml").read_text()) for name in ("postgres", "celery")
    )
    assert many.pop("run_launcher")["class"] == "CeleryRunLauncher"
    assert one.pop("run_launcher")["class"] == "WarmRunLauncher"
    # What waits in the broker's queue is neither lost nor to be limited as one machine is.
    for instance in (one, many):
        del instance["run_monitoring"]["start_timeout_seconds"]
        del instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert many == one


def test_worker_settings_are_those_of_the_unit() -> None:
    unit = (DEPLOY / "systemd" / "export-pipeline-worker.service").read_text().replace("\\\n", "")
    (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.M)
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]
    options = set(command.split()[1:]) - {"--hostname", "%b@%H"}
    assert set(service["command"].split()[1:]) == options
    with redirect_stdout(io.StringIO()) as out, suppress(SystemExit):
        celery.main(["worker", "--help"])
    assert all(option in out.getvalue() for option in options if option.startswith("--"))


def test_the_image_makes_private_files(tmp_path: Path) -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert all("entrypoint" not in service for service in services.values())
    made = tmp_path / "a b"
    command = [*json.loads(entry), sys.executable, "-c", f"open({str(made)!r}, 'w')"]
    path = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the image's python is on its PATH
    )
    subprocess.run(command, env={**os.environ, "PATH": path}, check=True)
    assert stat.filemode(made.stat().st_mode) == "-rw-------"
