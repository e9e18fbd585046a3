"""A dataset with a shape of its own (such as takeoff's project > conditions > measurements)."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from export_pipeline.components.dataset import DatasetComponent
from export_pipeline.datasets.shaped import ShapedModel, shaped_dataset


class ShapedExport(DatasetComponent):
    """Exports of an application whose data are more than one table.

    Two modules are specific to the application: one reads its tables, one defines the shape of its export.
    """

    model = ShapedModel

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, ShapedModel)
        return cls(**vars(shaped_dataset(attributes)))
