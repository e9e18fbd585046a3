"""A declared dataset: its attributes, its source and shape, and the options of its exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from pydantic import BaseModel

from export_pipeline.core.description import ShapeDescription
from export_pipeline.core.export_data import Shape, describe
from export_pipeline.datasets.attributes import DatasetModel, Resources
from export_pipeline.datasets.options import OptionError, is_list, parse_options
from export_pipeline.formats.options import FormatOptions, of_other_formats
from export_pipeline.sources.snapshot import Source


class Exportable(Protocol):
    """The part of a dataset that requests use."""

    @property
    def dataset(self) -> str: ...
    @property
    def formats(self) -> Sequence[str]: ...
    @property
    def format_aliases(self) -> Mapping[str, str]: ...
    @property
    def reuse_within(self) -> timedelta | None: ...

    source: Source
    spec: Mapping[str, Any]
    scoped: bool
    windowed: bool
    labels_scopes: bool

    def option_names(self) -> set[str]: ...
    def typed_options(self, given: Mapping[str, Any]) -> dict[str, Any]: ...


@dataclass(eq=False)
class Dataset:
    """A dataset: its attributes from defs.yaml, its source and its shape.

    Attributes:
        attributes: Attributes from defs.yaml.
        source: Reads its scopes and rows.
        shape: Its options, computations and layout.
        spec: Description of the dataset for its source and shape; JSON values only.
        scoped: True if its rows belong to scopes.
        windowed: True if it can be exported for a day, week or month.
        labels_scopes: True if Dagster shows the names of scopes; False for their ids alone.
    """

    attributes: DatasetModel
    source: Source
    shape: Shape
    spec: Mapping[str, Any]
    scoped: bool
    windowed: bool = True
    labels_scopes: bool = True

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.attributes.dataset

    @property
    def formats(self) -> Sequence[str]:
        """Names of the formats that it offers."""
        return self.attributes.formats

    @property
    def format_aliases(self) -> Mapping[str, str]:
        """Other names by which requests may ask for formats, with the formats' own names."""
        return self.attributes.format_aliases

    @property
    def resources(self) -> Resources:
        """Size of the pod of its runs on Kubernetes."""
        return self.attributes.resources

    @property
    def reuse_within(self) -> timedelta | None:
        """Age of the data up to which a finished file serves the same request; None: never."""
        seconds = self.attributes.reuse_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def windows_have_scopes(self) -> bool:
        """True if partitions of a cadence are scopes and windows; False if they are windows only."""
        return self.scoped and self.attributes.partition_windows_by_scope

    def describe(self) -> ShapeDescription:
        """Return the description of its columns and tables for people."""
        return describe(self.shape, self.spec)

    def option_models(self) -> tuple[type[BaseModel], ...]:
        """Return the pydantic models that define the options of the dataset."""
        return self.shape.options(self.spec), FormatOptions

    def choices(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that differ from the dataset's defaults and change the content of an export.

        Options of formats are left out, and those that the model lists as `same_content`, such as the order.

        Args:
            options: All options of the export, as JSON values.
        """
        model = self.shape.options(self.spec)
        defaults = {**_defaults_of(model), **self.attributes.options}
        return {
            name: options[name]
            for name in model.model_fields
            if name in options and name not in getattr(model, "same_content", ())
            if _chosen(options[name]) != _chosen(defaults.get(name))
        }

    def option_names(self) -> set[str]:
        """Return the names of all options."""
        return {name for model in self.option_models() for name in model.model_fields}

    def typed_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the given options to the launchpad's config. A list may be a comma-separated string.

        Raises:
            OptionError: an option is unknown or has an invalid value.
        """
        if other := sorted(of_other_formats(self.formats).intersection(given)):
            message = (
                f"option {other[0]}: {self.dataset} has no such format; it has {', '.join(self.formats)}"
            )
            raise OptionError(message)
        models = self.option_models()
        lists = {name for model in models for name, field in model.model_fields.items() if is_list(field)}
        values = {
            name: [part.strip() for part in value.split(",") if part.strip()]
            if name in lists and isinstance(value, str)
            else value
            for name, value in given.items()
        }
        parsed = parse_options({**self.attributes.options, **values}, *models)
        typed = {
            name: value
            for model in parsed
            for name, value in model.model_dump(mode="json", by_alias=True, exclude_none=True).items()
        }
        return {name: typed.get(name, []) for name in given if name in typed or name in lists}


def _defaults_of(model: type[BaseModel]) -> dict[str, Any]:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def _chosen(value: Any) -> Any:
    """Return a value as JSON without what is empty, so that values given and left out can be compared."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        kept = {name: _chosen(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in (None, {}, [])} or None
    return [_chosen(item) for item in value] or None if isinstance(value, list | tuple) else value
