"""The command and the scaffolder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import yaml

from export_pipeline.cli import datasets
from export_pipeline.cli.app import run
from export_pipeline.components.scaffold import TableParams, TableScaffolder
from export_pipeline.datasets.table import TableModel


@pytest.fixture
def defs(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of datasets, for a deployment on the shop."""
    monkeypatch.setenv("EXPORT_SOURCE_URL", shop)
    monkeypatch.setattr(datasets, "defs_folder", lambda: tmp_path / "defs")
    return tmp_path / "defs"


@pytest.mark.slow
def test_the_command_prints_or_writes_but_never_over_a_dataset(
    defs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["introspect", "orders"]) == 0
    printed = capsys.readouterr().out
    assert not defs.exists()

    assert run(["introspect", "orders", "--write"]) == 0
    assert (defs / "orders" / "defs.yaml").read_text("utf-8") == printed
    assert "export-pipeline request orders" in capsys.readouterr().out

    (defs / "orders" / "defs.yaml").write_text("mine")
    assert run(["introspect", "orders", "--write"]) == 2
    assert (defs / "orders" / "defs.yaml").read_text() == "mine"
    assert "choose a --name" in capsys.readouterr().err
    assert run(["introspect", "orders", "--write", "--name", "sold"]) == 0
    assert yaml.safe_load((defs / "sold" / "defs.yaml").read_text())["attributes"]["dataset"] == "sold"


@pytest.mark.parametrize("name", ["../up", "Orders", "1st", ""])
def test_a_dataset_cannot_have_any_name(defs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["introspect", "orders", "--write", "--name", name]) == 2
    assert "dataset" in capsys.readouterr().err
    assert not defs.exists()


def asked(folder: Path, table: str) -> Any:
    """A request of `dg scaffold defs` to the scaffolder, in a new folder."""
    folder.mkdir()
    ask: Callable[..., Any] = dg.ScaffoldRequest
    return ask(
        type_name="export_pipeline.TableExport",
        target_path=folder,
        scaffold_format="yaml",
        project_root=folder.parent,
        params=TableParams(table=table),
    )


def test_the_scaffolder_writes_the_same(defs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    request = asked(folder, "orders")
    TableScaffolder().scaffold(request)

    declared = yaml.safe_load((folder / "defs.yaml").read_text("utf-8"))
    assert declared["type"] == "export_pipeline.TableExport"
    assert TableModel.model_validate(declared["attributes"]).dataset == "orders"


def test_the_scaffolder_says_what_is_wrong_and_leaves_nothing(defs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "oders"
    request = asked(folder, "oders")
    with pytest.raises(click.ClickException, match="did you mean orders"):
        TableScaffolder().scaffold(request)
    assert not folder.exists()
