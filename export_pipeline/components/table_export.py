"""A dataset that is a table: declared in one YAML file, no code."""

from __future__ import annotations

from importlib import import_module
from typing import Self

import dagster as dg
from pydantic import BaseModel, model_validator

from export_pipeline.components.dataset import Dataset, DatasetModel
from export_pipeline.components.scaffold import TableScaffolder
from export_pipeline.core.strict import wrong
from export_pipeline.formats.options import FormatOptions
from export_pipeline.orchestration.launch_config import OptionError, parse_options
from export_pipeline.tabular.spec import TableSpec
from export_pipeline.tabular.validation import CheckedTableSpec

_NO_WINDOW = "say by which time of a row its window is found, e.g. `window: {column: created_at}`"
_SOURCE, _SHAPE = "export_pipeline.sources.tables.read", "export_pipeline.tabular"


class TableModel(DatasetModel, CheckedTableSpec):
    """Attributes of a table export in defs.yaml."""

    @model_validator(mode="after")
    def _options_are_valid(self) -> Self:
        preset = next(iter(self.presets), None) if self.preset_required else None
        given = {"preset": preset, **self.options} if preset else self.options
        try:
            parse_options(given, import_module(_SHAPE).options(self.spec()), FormatOptions)
        except OptionError as error:
            raise wrong("TableExport", {("options",): str(error)}) from None
        return self

    @model_validator(mode="after")
    def _cadences_have_windows(self) -> Self:
        for name in self.cadences.named():
            if self.window is None:
                raise wrong("TableExport", {("cadences", name): _NO_WINDOW})
        return self

    def spec(self) -> dict[str, object]:
        """Return the attributes of the table itself as JSON values."""
        own = {name: getattr(self, name) for name in TableSpec.model_fields}
        return TableSpec.model_construct(**own).model_dump(mode="json", by_alias=True, exclude_defaults=True)


@dg.scaffold_with(TableScaffolder)
class TableExport(Dataset):
    """Exports of a table, a view or a select. The YAML declares columns, filters, scope and windows."""

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
            shape=_SHAPE,
            spec=attributes.spec(),
            scoped=attributes.scope is not None,
            windowed=attributes.window is not None,
        )
