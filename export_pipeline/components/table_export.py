"""A dataset that is a table: declared in one YAML file, no code."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from export_pipeline.components.dataset import DatasetComponent
from export_pipeline.components.scaffold import TableScaffolder
from export_pipeline.datasets.table import TableModel, table_dataset


@dg.scaffold_with(TableScaffolder)
class TableExport(DatasetComponent):
    """Exports of a table, a view or a select, with columns, filters, scope and windows as the YAML says."""

    model = TableModel

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, TableModel)
        return cls(**vars(table_dataset(attributes, context.path)))
