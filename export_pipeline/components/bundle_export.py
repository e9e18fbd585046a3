"""A dataset that is a bundle: several datasets of one snapshot in one ZIP or one workbook."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from export_pipeline.components.dataset import DatasetComponent
from export_pipeline.datasets.bundle import BundleModel, bundle_dataset


class BundleExport(DatasetComponent):
    """Several datasets of one snapshot, in one ZIP with their manifests, or in one workbook."""

    model = BundleModel

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, BundleModel)
        folder = context.path.parent
        dataset = bundle_dataset(attributes, lambda name: context.load_component(folder / name))
        return cls(**vars(dataset))
