"""The defs.yaml of a table export, as a model that checks it."""

from __future__ import annotations

from importlib import import_module
from typing import Self

from pydantic import ValidationError, model_validator

from export_pipeline.components.dataset import DatasetModel
from export_pipeline.core.plain_errors import plain
from export_pipeline.core.strict import wrong
from export_pipeline.formats.options import FormatOptions
from export_pipeline.orchestration.launch_config import OptionError, parse_options
from export_pipeline.tabular.spec import TableSpec
from export_pipeline.tabular.validation import CheckedTableSpec

SHAPE = "export_pipeline.tabular"
_NO_WINDOW = "say by which time of a row its window is found, e.g. `window: {column: created_at}`"


class DefsYamlError(ValueError):
    """The text of a defs.yaml is not sound. The message is one line with the field's place."""


class TableModel(DatasetModel, CheckedTableSpec):
    """The defs.yaml of a table export."""

    @model_validator(mode="after")
    def _options_are_valid(self) -> Self:
        preset = next(iter(self.presets), None) if self.preset_required else None
        given = {"preset": preset, **self.options} if preset else self.options
        try:
            parse_options(given, import_module(SHAPE).options(self.spec()), FormatOptions)
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
        """The table's own part as JSON values."""
        own = {name: getattr(self, name) for name in TableSpec.model_fields}
        return TableSpec.model_construct(**own).model_dump(mode="json", by_alias=True, exclude_defaults=True)


def check_yaml(text: str) -> None:
    """Check the text of a defs.yaml as Dagster would, so that nothing is written that does not load.

    Raises:
        DefsYamlError: a field is wrong.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        TableModel.model_validate(yaml.safe_load(text)["attributes"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DefsYamlError(f"{place}: {plain(first)}") from None
