"""A wrong defs.yaml is told with file, line and field."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from export_pipeline.components import loading
from export_pipeline.components.loading import datasets
from export_pipeline.datasets.loading import DefsError
from export_pipeline.datasets.options import OptionError
from export_pipeline.datasets.shaped import ShapedModel
from export_pipeline_tests.commands import Command

TAKEOFF = Path(__file__).parents[2] / "export_pipeline" / "defs" / "takeoff" / "defs.yaml"


def attributes(**changed: Any) -> dict[str, Any]:
    return dict(yaml.safe_load(TAKEOFF.read_text())["attributes"]) | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"formats": ["csv", "doc"]}, "doc: unknown format; there are csv, excel"),
        ({"formats": ["csv", "exel"]}, "exel: unknown format; did you mean excel? There are csv"),
        ({"formats": []}, "formats"),
        ({"dataset": "Take Off"}, "dataset"),
        ({"source": "export_pipeline.sources.nothing"}, "there is no module export_pipeline.sources.nothing"),
        ({"shape": "export_pipeline.takeoff.source"}, "has no options, build, layout"),
        ({"start": "yesterday"}, "start"),
        ({"cadences": {"daily": {"cron": "every day"}}}, "not a cron line"),
        ({"options": {"group_by": "x"}}, "option group_by"),
        ({"options": {"grup_by": "page"}}, "There is no option grup_by; there are include_unverified"),
        ({"descripton": "x"}, "descripton"),
    ],
)
def test_a_mistake_is_reported_with_its_place(changed: dict[str, Any], message: str) -> None:
    text = yaml.safe_dump(attributes(**changed))
    with pytest.raises(Exception, match=re.escape(message)):
        ShapedModel.model_validate(yaml.safe_load(text))


@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a copy of one sample, which is read instead of all."""
    folder = tmp_path / "defs"
    shutil.copytree(TAKEOFF.parent, folder / "takeoff")
    monkeypatch.setattr(loading, "defs_folder", lambda: folder)
    return folder


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('cron: "15 2 * * *"', "cron: every day", "'every day' is not a cron line of five fields"),
        ("start:", "strat:", "strat: there is no 'strat'; did you mean start?"),
    ],
)
def test_a_wrong_file_is_reported_in_one_line(defs: Path, right: str, wrong: str, message: str) -> None:
    """With file, line and field, by the command line and by Dagster's own check."""
    file = defs / "takeoff" / "defs.yaml"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    place = f"{file}:{file.read_text()[: file.read_text().index(wrong)].count(chr(10)) + 1}"
    with pytest.raises(DefsError) as caught:
        datasets()
    line = str(caught.value)
    assert line.startswith("A defs.yaml is wrong: ")
    assert line.count("\n") == 0
    assert message in line
    assert place in line
    with pytest.raises(Exception) as dagsters:  # noqa: PT011
        loading.definitions_of(loading.component_tree())
    assert place in f"{dagsters.value} {dagsters.value.__cause__}"


@pytest.mark.parametrize(
    ("folder", "wrong", "messages"),
    [
        (
            "takeoff",
            "type: export_pipeline.ShapdExport",
            [
                "takeoff/defs.yaml:1, type: there is no 'export_pipeline.ShapdExport'; did you mean "
                "export_pipeline.ShapedExport? There are export_pipeline.BundleExport,"
            ],
        ),
        (
            "takeoff",
            "type: export_pipelin.ShapedExport",
            ["takeoff/defs.yaml:1, type: there is no 'export_pipelin"],
        ),
        (
            "copy",
            "type: export_pipeline.ShapedExport",
            ["two datasets are called 'takeoff' (", "defs/takeoff/defs.yaml:4)"],
        ),
    ],
)
def test_a_type_there_is_not_and_a_name_twice(
    defs: Path, folder: str, wrong: str, messages: list[str]
) -> None:
    file = defs / folder / "defs.yaml"
    file.parent.mkdir(exist_ok=True)
    right = "type: export_pipeline.ShapedExport"
    assert right in TAKEOFF.read_text()
    file.write_text(TAKEOFF.read_text().replace(right, wrong))
    with pytest.raises(DefsError) as caught:
        datasets()
    assert str(caught.value).startswith("A defs.yaml is wrong: ")
    assert str(caught.value).count("\n") == 0
    assert [part for part in messages if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "messages"),
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
def test_each_mistake_is_a_line_of_its_own(
    command: Command, defs: Path, text: str, messages: list[str]
) -> None:
    (defs / "takeoff" / "defs.yaml").write_text(text.format(type="type: export_pipeline.ShapedExport"))
    done = command("datasets")
    lines = done.err.splitlines()
    assert done.code == 2
    assert len(lines) == len(messages), done.err
    assert all(line.startswith("Error: A defs.yaml is wrong: ") for line in lines), done.err
    assert all(part in line for part, line in zip(messages, lines, strict=True)), done.err


def test_options_of_a_request_are_typed() -> None:
    takeoff = datasets()["takeoff"]
    id = "00000000-0000-0000-0000-00000000000A"
    given = {"include_costs": "false", "group_by": "page", "condition_ids": f"{id}, ", "page_ids": ""}
    assert takeoff.typed_options(given) == {
        "include_costs": False, "group_by": "page", "condition_ids": [id.lower()], "page_ids": [],
    }  # fmt: skip
    with pytest.raises(OptionError, match="option include_costs"):
        takeoff.typed_options({"include_costs": "perhaps"})
