"""A wrong defs.yaml is told with file, line and field."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from pydantic import ValidationError

from export_pipeline.components import ShapedExport
from export_pipeline.components.catalogue import datasets
from export_pipeline.orchestration.launch_config import OptionError

TAKEOFF = Path(__file__).parents[2] / "export_pipeline" / "defs" / "takeoff" / "defs.yaml"


def attributes(**changed: Any) -> dict[str, Any]:
    return dict(yaml.safe_load(TAKEOFF.read_text())["attributes"]) | changed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"formats": ["csv", "doc"]}, "doc: no such format; there are csv, excel"),
        ({"formats": []}, "formats"),
        ({"dataset": "Take Off"}, "dataset"),
        ({"source": "export_pipeline.sources.nothing"}, "there is no module export_pipeline.sources.nothing"),
        ({"shape": "export_pipeline.sources.takeoff"}, "has no Options, build, layout"),
        ({"start": "yesterday"}, "start"),
        ({"cadences": {"daily": {"cron": "every day"}}}, "no cron line"),
        ({"options": {"group_by": "x"}}, "option group_by"),
        ({"options": {"grup_by": "page"}}, "There is no option grup_by; there are include_unverified"),
        ({"descripton": "x"}, "descripton"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changed: dict[str, Any], said: str) -> None:
    text = yaml.safe_dump(attributes(**changed))
    with pytest.raises((dg.DagsterError, ValidationError, ValueError)) as caught:
        ShapedExport.resolve_from_yaml(text)
    assert said in str(caught.value)
    assert "<string>:" in str(caught.value)  # the file, and then the line


def test_options_of_a_request_are_typed() -> None:
    takeoff = datasets()["takeoff"]
    id = "00000000-0000-0000-0000-00000000000A"
    given = {"include_costs": "false", "group_by": "page", "condition_ids": f"{id}, ", "page_ids": ""}
    assert takeoff.typed_options(given) == {
        "include_costs": False, "group_by": "page", "condition_ids": [id.lower()], "page_ids": [],
    }  # fmt: skip
    with pytest.raises(OptionError, match="option include_costs"):
        takeoff.typed_options({"include_costs": "perhaps"})
