"""Datasets with a shape of their own (such as takeoff's project > conditions > measurements)."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Annotated, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from export_pipeline.core.export_data import Shape
from export_pipeline.datasets.attributes import DatasetModel
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.options import parse_options
from export_pipeline.formats.options import FormatOptions
from export_pipeline.sources.snapshot import Source
from export_pipeline.tabular.spec import RowSecurity


class ShapedModel(DatasetModel):
    """Attributes in defs.yaml of a dataset with a shape of its own."""

    source: Annotated[str, Field(description="Module with `scopes` and `read`.")]
    shape: Annotated[str, Field(description="Module with `options`, `build` and `layout`.")]
    scope_label: Annotated[
        Literal["name", "id"],
        Field(description="What Dagster shows of a scope: its name with its id, or the id alone."),
    ] = "name"
    row_security: Annotated[
        RowSecurity,
        Field(description="What to do if row level security hides rows: fail, or leave them out."),
    ] = "refuse"

    @field_validator("source")
    @classmethod
    def _reads(cls, name: str) -> str:
        return _module(name, "scopes", "read").__name__

    @field_validator("shape")
    @classmethod
    def _shapes(cls, name: str) -> str:
        return _module(name, "options", "build", "layout").__name__

    @model_validator(mode="after")
    def _options_are_valid(self) -> Self:
        parse_options(self.options, import_module(self.shape).options({}), FormatOptions)
        return self


def shaped_dataset(attributes: ShapedModel) -> Dataset:
    """Return the dataset of an application whose data are more than one table."""
    spec = {} if attributes.row_security == "refuse" else {"row_security": attributes.row_security}
    source, shape = (
        cast(Source, import_module(attributes.source)),
        cast(Shape, import_module(attributes.shape)),
    )
    labels_scopes = attributes.scope_label == "name"
    return Dataset(
        attributes, source=source, shape=shape, spec=spec, scoped=True, labels_scopes=labels_scopes
    )


def _module(name: str, *attributes: str) -> ModuleType:
    """Import and return a module. Raise ValueError if it lacks one of these attributes."""
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {error.name}") from None
    if missing := [attribute for attribute in attributes if not hasattr(module, attribute)]:
        raise ValueError(f"module {name} has no {', '.join(missing)}")
    return module
