"""The image is built by `deploy/Dockerfile` without a daemon, and its commands run as its own user.

`python:3.11-slim` is on a registry. Its stand-in is made of Debian's packages, with the certificates of this
machine, so that packages can be fetched as this machine fetches them.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.demo import bookkeeping
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.tools import require_tool

pytestmark = pytest.mark.slow

_BASE = """\
FROM scratch
ADD base.tar /
COPY certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s python3 /usr/bin/python
"""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_SECRET = "correct-horse-battery-staple"
_USER = 999
_NOT_HERE = re.compile(
    "operation not permitted|failed to fetch|could not resolve|connection (?:refused|timed out)", re.I
)
"""Errors of a machine that forbids to build, or that reaches no packages."""


@dataclass(frozen=True, slots=True)
class Image:
    """The built image, and a container of it in which commands run by the image's entrypoint."""

    buildah: tuple[str, ...]
    container: str

    def config(self) -> dict[str, object]:
        """The settings of the image."""
        config = json.loads(_run(*self.buildah, "inspect", self.container))["OCIv1"]["config"]
        return dict(config)

    def run(self, *command: str, volume: Path | None = None, **environment: str) -> str:
        """Run a command as a container runtime would, and return what it prints."""
        options = [f"--env={name}={value}" for name, value in environment.items()]
        if volume is not None:
            options.append(f"--volume={volume}:/data")
        entrypoint = self.config()["Entrypoint"]
        assert isinstance(entrypoint, list)
        return _run(*self.buildah, "run", *options, self.container, "--", *entrypoint, *command)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    program, packages = require_tool("buildah"), require_tool("mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("An image is built by root here.")
    folder = tmp_path_factory.mktemp("image")
    places = (str(program), "--root", str(folder / "storage"), "--runroot", str(folder / "run"))
    # Overlays take half the time, but not every file system can have them.
    drivers = [(*places, "--storage-driver", driver) for driver in ("overlay", "vfs")]
    buildah = next(
        one for one in drivers if subprocess.run((*one, "info"), capture_output=True).returncode == 0
    )
    build = (*buildah, "build", "--isolation", "chroot", "--pull-never", "--layers=false")
    base = folder / "base"
    base.mkdir()
    _run(
        str(packages), "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io",
        "--include=python3,python3-pip,ca-certificates", "bookworm", str(base / "base.tar"),
    )  # fmt: skip
    shutil.copyfile(_CERTIFICATES, base / "certificates.crt")
    (base / "Containerfile").write_text(_BASE)
    try:
        _run(*build, "--tag", "docker.io/library/python:3.11-slim", str(base))
        context = _context(folder / "context")
        _run(
            *build,
            "--network=host",
            "--tag",
            "export-pipeline",
            f"--file={context}/deploy/Dockerfile",
            str(context),
        )
        container = _run(*buildah, "from", "--pull-never", "export-pipeline").strip()
        yield Image(buildah, container)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _context(folder: Path) -> Path:
    """Copy what a checkout has, and put secrets and data where people have them."""
    names = _run("git", "-C", str(ROOT), "ls-files").splitlines()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
        (folder / name).chmod(0o600)  # as a checkout under a umask of 077 has it
    for name in (".env", "deploy/.env", "export_pipeline/.env.local", "store/file.csv", "dagster_home/x.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(_SECRET)
    return folder


def test_it_exports_as_its_own_user_without_a_shell(image: Image, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    engine = sa.create_engine(f"sqlite:///{data}/app.db")
    bookkeeping.fill(engine)
    with engine.connect() as connection:
        sql = (
            "SELECT account_id, count(*) FROM bookkeeping_records WHERE deleted_at IS NULL GROUP BY 1 LIMIT 1"
        )
        scope, rows = connection.execute(sa.text(sql)).one()
    engine.dispose()
    for path in (data, data / "app.db"):
        os.chown(path, _USER, _USER)
    settings = {
        "EXPORT_SOURCE_URL": "sqlite:////data/app.db",
        "EXPORT_STORE_URL": "/data/store",
        "EXPORT_STAGING_URL": "/data/staging",
        "DAGSTER_HOME": "/data/home",
    }
    image.run("export-pipeline", "migrate", volume=data, **settings)
    asked = ("records", "--scope", str(scope), "--format", "csv,excel,pdf")
    made = json.loads(image.run("export-pipeline", "request", *asked, "--json", volume=data, **settings))
    assert [one["row_count"] for one in made["exports"]] == [rows] * 3
    files = [data / "store" / one["file_key"] for one in made["exports"]]
    with files[0].open(newline="") as text:
        assert len(list(csv.reader(text))) == 1 + rows
    assert {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in files} == {(_USER, 0o600)}
    entrypoint = image.config()["Entrypoint"]
    assert isinstance(entrypoint, list)
    assert entrypoint[0] == "python"


def test_its_user_may_write_only_where_data_belong(image: Image) -> None:
    assert image.config()["User"] == f"{_USER}:{_USER}"
    search = (
        "find",
        "/",
        "-xdev",
        "-writable",
        "(",
        "-type",
        "d",
        "-o",
        "-type",
        "f",
        ")",
        "-not",
        "-path",
        "/proc/*",
    )
    # find fails where it may not look; what it has found counts.
    writable = image.run("sh", "-c", " ".join(f"'{word}'" for word in search) + " 2>/dev/null; true").split()
    usual = {"/tmp", "/var/tmp", "/run/lock", "/dev/shm", "/dev/mqueue"}
    assert {path for path in writable if not path.startswith("/proc")} - usual == {
        "/var/lib/export-pipeline/dagster",
        "/var/lib/export-pipeline/staging",
    }


def test_it_has_the_launchers_and_no_secret(image: Image) -> None:
    image.run("python", "-c", "import dagster_celery, dagster_k8s, dagster_aws, dagster_postgres")
    kept = image.run("sh", "-c", f"grep -rl {_SECRET} /opt /var/lib /tmp 2>/dev/null; true")
    assert kept == ""


def _run(*command: str) -> str:
    """Run a program, and return what it prints.

    Raises:
        AssertionError: it failed; the message has the end of what it said.
    """
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    errors = done.stderr[-3000:]
    if done.returncode and _NOT_HERE.search(errors):
        pytest.skip(f"No image can be built on this machine: {errors[-300:]}")
    assert done.returncode == 0, f"{' '.join(command)}: {errors}"
    return done.stdout
