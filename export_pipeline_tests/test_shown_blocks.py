"""Every block of code in README and docs is run by a test, which is named here; the shell's own are run here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator

from export_pipeline.api.problems import CODES
from export_pipeline.components.loading import datasets
from export_pipeline.datasets.options import parse_options
from export_pipeline.settings import Settings
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.tools import require_tool

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("[a-z]*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HERE, COMMANDS, SOUND = "test_shown_blocks.py", "test_documented_commands.py", "test_docs.py"
NO_CODE = HERE
"""Drawings that explain, and code of others that is replaced."""
RUN_BY = {
    ("README.md", ""): (HERE, COMMANDS),
    ("README.md", "sql"): ("test_operating.py",),
    ("api.md", ""): (COMMANDS,),
    ("api.md", "sh"): ("api/test_api_docs.py",),
    ("api.md", "json"): (HERE,),
    ("api.md", "nginx"): ("api/test_proxy.py",),
    ("api.md", "ini"): ("api/test_proxy.py",),
    ("architecture.md", ""): (NO_CODE,),
    ("architecture.md", "mermaid"): ("test_drawing.py",),
    ("commands.md", "sh"): (HERE, COMMANDS),
    ("formats.md", "sh"): (COMMANDS,),
    ("integrating.md", ""): (COMMANDS,),
    ("integrating.md", "sql"): ("test_integrating.py",),
    ("integrating.md", "python"): ("test_integrating.py",),
    ("integrating.md", "json"): ("test_integrating.py",),
    ("introspect.md", ""): (COMMANDS,),
    ("many-machines.md", ""): (HERE,),
    ("many-machines.md", "json"): (HERE,),
    ("many-machines.md", "mermaid"): (NO_CODE,),
    ("many-machines.md", "sh"): (HERE,),
    ("many-machines.md", "yaml"): ("test_kubernetes.py",),
    ("operating.md", ""): (COMMANDS,),
    ("operating.md", "mermaid"): (NO_CODE,),
    ("operating.md", "sh"): (HERE, COMMANDS),
    ("operating.md", "sql"): ("test_operating.py",),
    ("operating.md", "json"): (HERE,),
    ("operating.md", "prometheus"): ("test_operating.py",),
    ("performance.md", "sh"): (HERE,),
    ("replace.md", ""): (COMMANDS,),
    ("replace.md", "text"): (NO_CODE,),
    ("replace.md", "python"): ("api/test_replace.py",),
    ("replace.md", "typescript"): ("api/test_replace.py",),
    ("scale.md", "sh"): (HERE,),
    ("tables.md", "yaml"): (SOUND,),
    ("tables.md", "sh"): (COMMANDS, "orchestration/test_tools.py"),
}
"""The tests that run the blocks of a page in a language."""


def blocks(page: str, language: str) -> list[str]:
    (path,) = (path for path in PAGES if path.name == page)
    return [block for named, block in BLOCK.findall(path.read_text("utf-8")) if named == language]


def test_every_block_has_a_test() -> None:
    shown = {
        (page.name, language) for page in PAGES for language, _ in BLOCK.findall(page.read_text("utf-8"))
    }
    assert shown == RUN_BY.keys()
    tests = {test for named in RUN_BY.values() for test in named}
    assert {test for test in tests if not (ROOT / "export_pipeline_tests" / test).exists()} == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_target_of_make_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    targets = {*re.findall(r"`make ([a-z-]+)", text), *re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)}
    assert len(targets) >= 3
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
def test_the_first_steps_with_a_table_of_your_own(postgres: PostgresServer, tmp_path: Path) -> None:
    (steps,) = (block for block in blocks("README.md", "") if "init ../my-exports" in block)
    checkout = tmp_path / "a checkout, größer"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "activate").write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EXPORT_", "HOME"))}
    with postgres.database() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE orders (id int PRIMARY KEY, name text)")
            connection.exec_driver_sql("INSERT INTO orders VALUES (1, 'first')")
        engine.dispose()
        address = url.replace("postgresql+psycopg2", "postgresql")
        script = steps.replace("postgresql://user:password@host:5432/app", address)
        assert address in script
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=checkout, env=kept, capture_output=True, text=True
        )
    assert ended.returncode == 0, ended.stderr
    made = {file.suffix for file in (tmp_path / "my-exports" / "store").rglob("*") if file.is_file()}
    assert made >= {".csv", ".xlsx", ".pdf"}


SHELL = [
    pytest.param(block, id=f"{page}-{number}")
    for page, language in RUN_BY
    if language in ("", "sh") and page != "architecture.md"
    for number, block in enumerate(blocks(page, language))
]


@pytest.mark.parametrize("block", SHELL)
def test_a_block_of_the_shell_is_sound_and_names_what_is_here(block: str) -> None:
    if not block.startswith("*/5 * * * *"):  # a line of cron
        subprocess.run(["bash", "-n"], input=block, text=True, check=True, capture_output=True)
    for path in re.findall(r"(?<!-n )(?<!exec )\b(?:deploy|benchmarks)/[\w./-]+", block):
        assert (ROOT / path).exists(), path
    for line in re.findall(r"systemctl enable --now ([^#\n]+)", block):
        for unit in line.split():
            file = unit if "." in unit else f"{unit}.service"
            assert (ROOT / "deploy" / "systemd" / file).exists(), unit
    for resource in re.findall(r"exec deploy/([\w-]+)", block):
        names = [
            each["metadata"]["name"]
            for each in yaml.safe_load_all((ROOT / f"deploy/kubernetes/{resource}.yaml").read_text())
            if each["kind"] == "Deployment"
        ]
        assert names == [resource]


def test_what_jq_takes_out_of_the_json_of_commands_is_there() -> None:
    (block,) = blocks("commands.md", "sh")
    answers = {
        "request": {"exports": [{"file_key": "exports/a/1.csv"}]},
        "jobs": [{"id": "1", "error_code": "unknown_scope"}],
    }
    printed = []
    for command, program in re.findall(r"export-pipeline (\w+) .*? \| jq -r '(.*)'", block):
        answer = json.dumps(answers[command])
        done = subprocess.run(
            [require_tool("jq"), "-r", program], input=answer, check=True, capture_output=True, text=True
        )
        printed.append(done.stdout.strip())
    assert printed == ["exports/a/1.csv", "1\tunknown_scope"]


@pytest.mark.slow
def test_every_call_of_a_benchmark_has_options_that_it_knows() -> None:
    calls = {
        call
        for page in PAGES
        for call in re.findall(r"benchmarks/(\w+\.py[^`#\n]*)", page.read_text("utf-8"))
    }
    assert len(calls) > 8
    for call in calls:
        script, *arguments = call.split()
        known = subprocess.run(
            [sys.executable, ROOT / "benchmarks" / script, "--help"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert [one for one in arguments if one.startswith("--") and one not in known] == [], call


def test_the_filters_of_a_row_are_those_of_the_dataset(read_once: None) -> None:
    (block,) = blocks("operating.md", "json")
    parse_options({"filters": json.loads(block)}, *datasets()["records"].option_models())


def test_the_problem_that_is_shown_is_one(read_once: None) -> None:
    (block,) = blocks("api.md", "json")
    problem = json.loads(block)
    assert problem["type"] == f"/errors/{problem['code']}"
    assert problem["title"] == CODES[problem["code"]]
    assert problem["errors"][0]["allowed"] == list(datasets()["records"].formats)
    assert problem["detail"].endswith(f"it has {', '.join(datasets()['records'].formats)}.")


def test_the_lifecycle_rule_is_one_of_s3_for_the_folder_of_the_setting() -> None:
    (line,), (block,) = blocks("many-machines.md", ""), blocks("many-machines.md", "json")
    name, _, url = line.strip().partition("=")
    assert name.removeprefix("EXPORT_").lower() in Settings.model_fields
    rule = json.loads(block)
    assert rule["Rules"][0]["Filter"]["Prefix"] == urlsplit(url).path.lstrip("/") + "/"
    shape = (
        get_session().get_service_model("s3").operation_model("PutBucketLifecycleConfiguration").input_shape
    )
    call = {"Bucket": "bucket", "LifecycleConfiguration": rule}
    assert not ParamValidator().validate(call, shape).has_errors()
