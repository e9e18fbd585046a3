"""A dataset that is a table: declared in one YAML file, no code."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import BaseModel

from export_pipeline.components.dataset import Dataset
from export_pipeline.components.scaffold import TableScaffolder
from export_pipeline.components.table_model import SHAPE, TableModel
from export_pipeline.core.strict import wrong

_SOURCE = "export_pipeline.sources.tables.read"


@dg.scaffold_with(TableScaffolder)
class TableExport(Dataset):
    """Exports of a table, a view or a select, with columns, filters, scope and windows as the YAML says."""

    model = TableModel

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, TableModel)
        if attributes.source.sql is not None:
            file = context.path / attributes.source.sql
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                message = f"{file.name} cannot be read: {error}; it lies beside the YAML"
                raise wrong("TableExport", {("source", "sql"): message}) from None
            source = attributes.source.model_copy(update={"sql": text})
            attributes = attributes.model_copy(update={"source": source})
        return cls(
            attributes,
            source=_SOURCE,
            shape=SHAPE,
            spec=attributes.spec(),
            scoped=attributes.scope is not None,
            windowed=attributes.window is not None,
        )
