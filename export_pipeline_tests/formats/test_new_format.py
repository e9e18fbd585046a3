"""A new format is a package and a line in the registry: everything else learns of it from `Format`."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from export_pipeline.project.new_project import write_project
from export_pipeline_tests.paths import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project on a small database, with a dataset that `introspect` wrote."""
    folder = tmp_path / "project"
    write_project(folder)
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE orders (id integer PRIMARY KEY, name text, price numeric(9, 2))")
        connection.execute("INSERT INTO orders VALUES (1, 'first', 12.5), (2, 'second: \"#\"', NULL)")
    (folder / ".env").write_text(f"EXPORT_SOURCE_URL=sqlite:///{tmp_path}/app.db\nEXPORT_STORE_URL=./files\n")
    run(folder, "introspect", "orders", "--write")
    return folder


def run(project: Path, *arguments: str, code: int = 0) -> str:
    """Run the command line with the format registered; returns what it printed."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EXPORT_")},
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(
        (sys.executable, "-m", "export_pipeline_tests.formats.yaml_format", *arguments),
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_registered_format_is_offered_exported_proven_published_and_verified(project: Path) -> None:
    assert "yaml" in [row["format"] for row in json.loads(run(project, "formats", "--json"))]
    defs = project / "defs/orders/defs.yaml"
    assert "yaml" in yaml.safe_load(defs.read_text("utf-8"))["attributes"]["formats"]

    run(project, "request", "orders", "--format", "yaml", "-o", "yaml_key=orders")
    (file,) = (project / "files").rglob("*.yaml")
    assert yaml.safe_load(file.read_text("utf-8")) == {
        "orders": [
            {"id": 1, "name": "first", "price": "12.50"},
            {"id": 2, "name": 'second: "#"', "price": None},
        ]
    }
    manifest: dict[str, Any] = json.loads(file.with_name(f"{file.name}.manifest.json").read_text("utf-8"))
    assert manifest["hash"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert (manifest["format"], manifest["mediatype"], manifest["rows"]) == ("yaml", "application/yaml", 2)
    assert [field["name"] for field in manifest["schema"]["fields"]] == ["Id", "Name", "Price"]
    report = json.loads(run(project, "verify", str(file), "--json"))
    assert (report["rows"], report["problems"], report["manifest"]) == (2, [], "compared")

    defs.write_text(defs.read_text("utf-8").replace("formats: [", "formats: [zip, ", 1), "utf-8")
    run(project, "request", "orders", "--format", "zip", "-o", "zip_formats=yaml,csv", "-o", "yaml_key=k")
    (archive,) = (project / "files").rglob("*.zip")
    with zipfile.ZipFile(archive) as opened:
        assert list(yaml.safe_load(opened.read("orders.yaml"))) == ["k"]
    report = json.loads(run(project, "verify", str(archive), "--json"))
    assert (report["rows"], report["problems"]) == (4, [])


@pytest.mark.slow
def test_a_file_of_a_registered_format_that_holds_other_numbers_is_not_published(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YAML_WRITES_WRONG_NUMBERS", "1")
    assert "price adds up to 12.60" in run(project, "request", "orders", "--format", "yaml", code=1)
    assert list((project / "files").rglob("*.yaml")) == []


@pytest.mark.slow
def test_a_registered_format_is_among_those_of_small_exports_over_http() -> None:
    program = (
        "from export_pipeline.formats.registry import FORMATS\n"
        "from export_pipeline_tests.formats.yaml_format.format import Yaml\n"
        "FORMATS['yaml'] = Yaml()\n"
        "from export_pipeline.api.app import build_app\n"
        "from export_pipeline.settings import Settings\n"
        "paths = build_app(Settings(jobs_url='sqlite:////tmp/none.db')).openapi()['paths']\n"
        "parameters = paths['/v1/datasets/{name}/export.{extension}']['get']['parameters']\n"
        "print(next(one['description'] for one in parameters if one['name'] == 'extension'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "csv, xlsx, pdf, json, jsonl, parquet, yaml"
