"""The examples of docs/tables.md work: its YAML loads, its expressions compile, its lists are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from export_pipeline.cli.arguments import filters
from export_pipeline.components.loading import datasets
from export_pipeline.core.columns import Kind
from export_pipeline.datasets.attributes import DatasetModel
from export_pipeline.datasets.bundle import BundleModel
from export_pipeline.datasets.table import TableModel
from export_pipeline.expressions.compiler import compile_expression
from export_pipeline.expressions.functions import FUNCTIONS
from export_pipeline.expressions.parser import ExpressionError
from export_pipeline.expressions.types import DATE, INTEGER, TEXT, Type, decimal
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.settings import Settings
from export_pipeline.tabular.file_names import PLACEHOLDERS
from export_pipeline.tabular.options import options
from export_pipeline.tabular.spec import (
    Among,
    ColumnSpec,
    FilterSpec,
    Operator,
    Readers,
    Relation,
    Scope,
    Source,
    TableSpec,
    WindowSpec,
)
from export_pipeline.tabular.types import TYPES
from export_pipeline.tabular.validation import DAY_PARTS, TIME_PARTS

DOCS = Path(__file__).parents[1] / "docs"
TABLES = (DOCS / "tables.md").read_text(encoding="utf-8")
MODELS: dict[str, type[BaseModel]] = {
    "export_pipeline.TableExport": TableModel,
    "export_pipeline.BundleExport": BundleModel,
}
FILES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TABLES, re.DOTALL)]
_AT = Type(Kind.TIMESTAMP, zone="UTC")
COLUMNS = {
    "qty": INTEGER, "fees_cents": INTEGER, "price": decimal(10, 2), "rate": decimal(6, 4), "code": TEXT,
    "due": DATE, "created_at": _AT, "shipped_at": _AT, "x": TEXT,
}  # fmt: skip


def _section(title: str) -> str:
    """The text below a heading, up to the next one of any level."""
    return re.split(r"^#+ ", TABLES.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file["attributes"]["dataset"]))
def test_every_example_loads(file: dict[str, Any]) -> None:
    MODELS[file["type"]].model_validate(file["attributes"])


def test_the_request_of_the_reference_is_one() -> None:
    """The options, filters and columns of the example of the command line are those of the first file."""
    table = TableModel.model_validate(FILES[0]["attributes"])
    command = _section("Asking for an export")
    given = filters(re.findall(r"--filter (\S+=\S+)", command.split("```")[1]))
    asked = options(table.spec()).model_validate(
        {"filters": given, "preset": "essential", "sort": ["-sale_date"]}
    )
    assert asked.model_dump(by_alias=True, exclude_none=True)["filters"]["status"]["in"] == (
        "SUCCESSFUL",
        "RETURN_CLOSED",
    )


def test_every_example_of_a_function_compiles() -> None:
    section = _section("Computed columns")
    shown = set()
    for name, examples in re.findall(r"^\| (`[a-z_]+\(.*?) \| .* \| (.*) \|$", section, re.MULTILINE):
        shown |= set(re.findall(r"`([a-z_]+)\(", name))
        for example in re.findall(r"`(.*?)`", examples):
            compile_expression(example, COLUMNS)
    assert shown == FUNCTIONS.keys()
    for sound in ("due < '2026-11-21'", "case(qty == 0, 0, price / qty)", "code in ('A', 'B')"):
        assert sound.replace("code", "x") in section or sound in section
        compile_expression(sound, COLUMNS)
    with pytest.raises(ExpressionError, match="is_null"):
        compile_expression("x == null", COLUMNS)


@pytest.mark.parametrize(
    ("section", "models"),
    [
        ("The dataset", (DatasetModel, TableSpec)),
        ("source", (Source, Relation)),
        ("columns", (ColumnSpec,)),
        ("filters and sort", (FilterSpec, Among)),
        ("scope", (Scope, Readers)),
        ("window and cadences", (WindowSpec,)),
        ("Options of the formats", (FormatOptions,)),
    ],
)
def test_every_field_is_named(section: str, models: tuple[Any, ...]) -> None:
    """A new field must be documented; fields with a section of their own are documented there."""
    text = _section(section) + "".join(f"`{name}`" for name in ("source", "columns", "presets", "filters"))
    text += "`sort` `scope` `window` `cadences` `single_run` `readers`" if section == "The dataset" else ""
    for model in models:
        for name, field in model.model_fields.items():
            word = field.alias or name
            assert re.search(rf"\b{word}\b", text), f"{section}: {model.__name__}.{word}"


def test_docs_list_every_type_operator_and_part() -> None:
    for word in TYPES:
        assert f"`{word}`" in _section("columns")
    for operator in get_args(Operator):
        assert f"| `{operator}` |" in _section("filters and sort")
    for part in (*DAY_PARTS, *TIME_PARTS):
        assert f"`{part}`" in _section("columns")
    for placeholder in PLACEHOLDERS:
        assert f"{{{placeholder}" in _section("The dataset")
    for format in FORMATS.keys() - {"ost"}:
        assert f"`{format}`" in _section("The dataset")


PAGES = "".join(page.read_text("utf-8") for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"])


def test_every_setting_is_documented() -> None:
    assert {name for name in Settings.model_fields if f"`EXPORT_{name.upper()}`" not in PAGES} == set()


def test_every_option_of_a_request_is_documented(read_once: None) -> None:
    models = [model for dataset in datasets().values() for model in dataset.option_models()]
    assert {name for model in models for name in model.model_fields if f"`{name}`" not in PAGES} == set()


def test_the_json_of_every_operator_is_shown_and_works() -> None:
    columns = [
        {"name": "status"},
        {"name": "item_name"},
        {"name": "sale_date", "type": "date"},
    ]
    allowed = {
        "status": ["equals", "in"],
        "item_name": ["contains"],
        "sale_date": ["range", "is_null"],
    }
    model = options({"source": {"table": "t"}, "columns": columns, "filters": allowed})
    shown = re.findall(r'^\| `([a-z_]+)` \| `(\{"[^`]*)`', _section("filters and sort"), re.MULTILINE)
    assert {operator for operator, _ in shown} == set(get_args(Operator))
    for operator, written in shown:
        ((name, used),) = json.loads(written).items()
        assert [operator] == list(used)
        parsed = model.model_validate({"filters": json.loads(written)})
        assert parsed.model_dump(mode="json", by_alias=True, exclude_none=True)["filters"][name] == used


@pytest.mark.parametrize(
    "page", [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_dataset_of_the_readme_is_there(read_once: None) -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert {name for name in datasets() if f"`{name}`" not in readme} == set()
