"""A wrong defs.yaml is told with file, line and field."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from export_pipeline.components.catalogue import datasets
from export_pipeline.datasets.options import OptionError
from export_pipeline.datasets.shaped import ShapedModel

TAKEOFF = Path(__file__).parents[2] / "export_pipeline" / "defs" / "takeoff" / "defs.yaml"


def attributes(**changed: Any) -> dict[str, Any]:
    return dict(yaml.safe_load(TAKEOFF.read_text())["attributes"]) | changed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"formats": ["csv", "doc"]}, "doc: unknown format; there are csv, excel"),
        ({"formats": ["csv", "exel"]}, "exel: unknown format; did you mean excel? There are csv"),
        ({"formats": []}, "formats"),
        ({"dataset": "Take Off"}, "dataset"),
        ({"source": "export_pipeline.sources.nothing"}, "there is no module export_pipeline.sources.nothing"),
        ({"shape": "export_pipeline.takeoff.source"}, "has no options, build, layout"),
        ({"start": "yesterday"}, "start"),
        ({"cadences": {"daily": {"cron": "every day"}}}, "no cron line"),
        ({"options": {"group_by": "x"}}, "option group_by"),
        ({"options": {"grup_by": "page"}}, "There is no option grup_by; there are include_unverified"),
        ({"descripton": "x"}, "descripton"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changed: dict[str, Any], said: str) -> None:
    text = yaml.safe_dump(attributes(**changed))
    with pytest.raises(Exception, match=re.escape(said)):
        ShapedModel.model_validate(yaml.safe_load(text))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('cron: "15 2 * * *"', "cron: every day", "'every day' is no cron line of five fields"),
        ("start:", "strat:", "strat: there is no 'strat'; did you mean start?"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, said: str
) -> None:
    """With file, line and field, by the command line and by Dagster's own check."""
    package = tmp_path / "export_pipeline"
    shutil.copytree(TAKEOFF.parents[2], package, ignore=shutil.ignore_patterns("__pycache__", "fonts"))
    shutil.copyfile(TAKEOFF.parents[3] / "pyproject.toml", tmp_path / "pyproject.toml")
    file = package / "defs" / "takeoff" / "defs.yaml"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    script = (
        "from export_pipeline.components.catalogue import *\n"
        "try: datasets()\n"
        "except DefsError as error: print(error)\n"
        "try: definitions_of(component_tree())\n"
        "except Exception as error: print('---', error, error.__cause__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    line, _, dagsters = done.stdout.partition("---")
    assert line.startswith("A defs.yaml is wrong: "), done.stdout + done.stderr
    assert line.count("\n") == 1
    assert said in line
    place = f"{file}:{file.read_text()[: file.read_text().index(wrong)].count(chr(10)) + 1}"
    assert place in line
    assert place in dagsters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "wrong", "said"),
    [
        (
            "takeoff",
            "type: export_pipeline.ShapdExport",
            "takeoff/defs.yaml:1, type: there is no 'export_pipeline.ShapdExport'; did you mean "
            "export_pipeline.ShapedExport? There are export_pipeline.BundleExport,",
        ),
        (
            "takeoff",
            "type: export_pipelin.ShapedExport",
            "takeoff/defs.yaml:1, type: there is no 'export_pipelin",
        ),
        ("copy", "type: export_pipeline.ShapedExport", "two datasets are called 'takeoff' ("),
        ("copy", "type: export_pipeline.ShapedExport", "defs/takeoff/defs.yaml:4)"),
    ],
)
def test_a_type_there_is_not_and_a_name_twice(tmp_path: Path, folder: str, wrong: str, said: str) -> None:
    package = tmp_path / "export_pipeline"
    shutil.copytree(TAKEOFF.parents[2], package, ignore=shutil.ignore_patterns("__pycache__", "fonts"))
    shutil.copyfile(TAKEOFF.parents[3] / "pyproject.toml", tmp_path / "pyproject.toml")
    file = package / "defs" / folder / "defs.yaml"
    file.parent.mkdir(exist_ok=True)
    right = "type: export_pipeline.ShapedExport"
    assert right in TAKEOFF.read_text()
    file.write_text(TAKEOFF.read_text().replace(right, wrong))
    script = (
        "from export_pipeline.components.catalogue import *\n"
        "try: datasets()\n"
        "except DefsError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("A defs.yaml is wrong: "), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert said in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{type}\nattributes:\n  datset: x\n  strat: x\n",
            [
                "takeoff/defs.yaml:3, datset: there is no 'datset'; did you mean dataset?",
                "takeoff/defs.yaml:4, strat: there is no 'strat'; did you mean start?",
            ],
        ),
        ("{type}\n", ["takeoff/defs.yaml: no line begins with `attributes:`"]),
        ("", ["takeoff/defs.yaml: no line begins with `type:`"]),
        (
            "{type}\nattribute:\n  dataset: x\n",
            ["takeoff/defs.yaml:2, attribute: there is no 'attribute'; did you mean attributes?"],
        ),
        ("{type}\nattributes:\n   dataset: x\n  title: x\n", ['takeoff/defs.yaml", line 4, column 3']),
    ],
)
def test_each_mistake_is_a_line_of_its_own(tmp_path: Path, text: str, said: list[str]) -> None:
    package = tmp_path / "export_pipeline"
    shutil.copytree(TAKEOFF.parents[2], package, ignore=shutil.ignore_patterns("__pycache__", "fonts"))
    shutil.copyfile(TAKEOFF.parents[3] / "pyproject.toml", tmp_path / "pyproject.toml")
    file = package / "defs" / "takeoff" / "defs.yaml"
    file.write_text(text.format(type="type: export_pipeline.ShapedExport"))
    done = subprocess.run(
        [sys.executable, "-m", "export_pipeline.cli", "datasets"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert len(lines) == len(said), done.stderr
    assert all(line.startswith("Error: A defs.yaml is wrong: ") for line in lines), done.stderr
    assert all(part in line for part, line in zip(said, lines, strict=True)), done.stderr


def test_options_of_a_request_are_typed() -> None:
    takeoff = datasets()["takeoff"]
    id = "00000000-0000-0000-0000-00000000000A"
    given = {"include_costs": "false", "group_by": "page", "condition_ids": f"{id}, ", "page_ids": ""}
    assert takeoff.typed_options(given) == {
        "include_costs": False, "group_by": "page", "condition_ids": [id.lower()], "page_ids": [],
    }  # fmt: skip
    with pytest.raises(OptionError, match="option include_costs"):
        takeoff.typed_options({"include_costs": "perhaps"})
