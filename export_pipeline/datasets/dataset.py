"""A declared dataset: its attributes, its source and shape, and the options of its exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from pydantic import BaseModel

from export_pipeline.core.export_data import Shape
from export_pipeline.datasets.attributes import DatasetModel
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
    def reuse_within(self) -> timedelta | None: ...

    source: Source
    spec: Mapping[str, Any]
    scoped: bool
    windowed: bool

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
    """

    attributes: DatasetModel
    source: Source
    shape: Shape
    spec: Mapping[str, Any]
    scoped: bool
    windowed: bool = True

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.attributes.dataset

    @property
    def formats(self) -> Sequence[str]:
        """Names of the formats that it offers."""
        return self.attributes.formats

    @property
    def reuse_within(self) -> timedelta | None:
        """Age of the data up to which a finished file serves the same request; None: never."""
        seconds = self.attributes.reuse_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    def option_models(self) -> tuple[type[BaseModel], ...]:
        """Return the pydantic models that define the options of the dataset."""
        return self.shape.options(self.spec), FormatOptions

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
