"""Bundles: several datasets of one snapshot in one ZIP or one workbook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from export_pipeline.core.strict_model import error_at
from export_pipeline.datasets.attributes import DatasetModel
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.sources.bundle import BundleSource
from export_pipeline.tabular.bundle import Bundle

_FORMATS = ("zip", "excel")


class BundleModel(DatasetModel):
    """Attributes of a bundle in defs.yaml."""

    title: Annotated[str, Field(min_length=1, description="Title for people.")]
    datasets: Annotated[Sequence[str], Field(min_length=1, description="The datasets it holds, in order.")]
    formats: Annotated[
        Sequence[str],
        Field(
            min_length=1,
            description="zip (`zip_formats` lists the formats in it), excel (one workbook, a sheet per "
            "dataset), or both.",
        ),
    ] = ("zip",)


def bundle_dataset(attributes: BundleModel, load: Callable[[str], object]) -> Dataset:
    """Return the dataset of a bundle.

    Args:
        load: Loads what the folder of this name, beside the bundle's, declares.

    Raises:
        ValidationError: a member cannot be loaded, or the members do not fit together.
    """
    if others := [name for name in attributes.formats if name not in _FORMATS]:
        message = (
            f"a bundle is a zip or an excel workbook, not {others[0]}; `options: {{zip_formats: [csv]}}`"
        )
        raise error_at("BundleExport", {("formats",): message})
    members: dict[str, Dataset] = {}
    for position, name in enumerate(attributes.datasets):
        try:
            dataset = load(name)
        except Exception as error:
            message = f"dataset {name!r} cannot be loaded from {name}/defs.yaml: {error}"
            raise error_at("BundleExport", {("datasets", position): message}) from error
        if not isinstance(dataset, Dataset):
            raise error_at("BundleExport", {("datasets", position): f"{name} is not a dataset"})
        members[name] = dataset
    if len({member.scoped for member in members.values()}) > 1:
        names = ", ".join(name for name, member in members.items() if member.scoped)
        message = f"only {names} have scopes: bundle datasets that all have the same, or none"
        raise error_at("BundleExport", {("datasets",): message})
    spec = {
        "title": attributes.title,
        "members": {
            name: {
                "spec": member.spec,
                "options": dict(member.attributes.options),
            }
            for name, member in members.items()
        },
    }
    if not all(member.attributes.preview for member in members.values()):
        attributes = attributes.model_copy(update={"preview": False})
    scoped = any(member.scoped for member in members.values())
    windowed = all(member.windowed for member in members.values())
    shape = Bundle({name: member.shape for name, member in members.items()})
    source = BundleSource(shape, {name: member.source for name, member in members.items()})
    return Dataset(
        attributes,
        source=source,
        shape=shape,
        spec=spec,
        scoped=scoped,
        windowed=windowed,
        labels_scopes=all(member.labels_scopes for member in members.values()),
    )
